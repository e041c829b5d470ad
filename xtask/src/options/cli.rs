//! The flags of the command line.

use super::rust::{collections, request_type, types, value_type};
use super::table::{Kind, Opt, Place, Table};
use super::text::{help, origin};

fn field_type(option: &Opt) -> String {
    match option.kind {
        Kind::TokenValues => "Vec<(u32, f32)>".into(),
        _ => request_type(option),
    }
}

fn attributes(option: &Opt, place: &Place) -> String {
    let flag = option.flag_name();
    let mut text = match flag == option.name.replace('_', "-") {
        true => "long".to_owned(),
        false => format!("long = {flag:?}"),
    };
    if let Some(short) = option.short {
        text += &format!(", short = {short:?}");
    }
    text += match option.kind {
        Kind::Bool => "",
        Kind::U32 | Kind::I32 | Kind::U64 => ", value_name = \"N\"",
        Kind::Float => ", value_name = \"X\"",
        Kind::Bytes => ", value_name = \"SIZE\", value_parser = super::size",
        Kind::Choice => ", value_name = \"NAME\"",
        Kind::Path => ", value_name = \"DIR\"",
        Kind::Text | Kind::Texts => ", value_name = \"TEXT\"",
        Kind::Tokens => ", value_name = \"ID\"",
        Kind::TokenValues => ", value_name = \"ID=BIAS\", value_parser = super::token_value",
    };
    if option.kind == Kind::Choice {
        text += &format!(", value_parser = super::choice::<{}>", value_type(option));
    }
    if place.global {
        text += ", global = true";
    }
    // So that the library may say what is wrong with a number below zero.
    if matches!(option.kind, Kind::I32 | Kind::Float) {
        text += ", allow_negative_numbers = true";
    }
    text
}

fn value(option: &Opt) -> String {
    let name = &option.name;
    match option.kind {
        Kind::Bool | Kind::U32 | Kind::I32 | Kind::U64 | Kind::Bytes | Kind::Float | Kind::Choice => {
            format!("{name}: self.{name},\n")
        }
        Kind::Text | Kind::Path | Kind::Texts | Kind::Tokens => format!("{name}: self.{name}.clone(),\n"),
        Kind::TokenValues => format!("{name}: self.{name}.iter().copied().collect(),\n"),
    }
}

/// The path of the request for programs.
fn rust_path(table: &Table) -> String {
    let file = table.rust.file.trim_start_matches("src/").trim_end_matches(".rs");
    let module = file.rsplit_once('/').map_or(file, |(folder, _)| folder);
    format!("mlx_engine::{}::{}", module.replace('/', "::"), table.rust.name)
}

pub fn source(table: &Table, place: &Place) -> String {
    let mut text = format!("//! {} on the command line.\n//!\n//! {}\n\n", table.title, origin(table));
    let options: Vec<&Opt> = table.options().filter(|o| o.cli).collect();
    text += collections(&options).replace("use std::collections::BTreeMap;\n", "").trim_start();
    // Programs know the types of `array` from the library's root.
    let types = types(&options, "mlx_engine").replace("mlx_engine::array::", "mlx_engine::");
    text += &format!("use clap::Args;\n{types}use {};\n\n", rust_path(table));
    text += &super::text::comment("/// ", &table.doc);
    text += &format!(
        "#[derive(Args, Clone)]\n#[command(next_help_heading = {:?})]\npub struct {} {{\n",
        table.title, place.name
    );
    for &option in &options {
        text += &super::text::comment("    /// ", &help(option));
        text +=
            &format!("    #[arg({})]\n    pub {}: {},\n", attributes(option, place), option.name, field_type(option));
    }
    text += &format!("}}\n\nimpl {} {{\n    /// The options that the flags set.\n", place.name);
    text += &format!("    pub fn options(&self) -> {0} {{\n        {0} {{\n", table.rust.name);
    for &option in &options {
        text += &value(option);
    }
    if options.len() < table.options().count() {
        text += "..Default::default()\n";
    }
    text + "}\n}\n}\n"
}
