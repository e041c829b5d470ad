//! docs/options.md: every option on one page.

use super::rust::value_type;
use super::table::{Kind, Opt, Table};
use super::text::{default, limits};

fn kind(option: &Opt) -> String {
    match option.kind {
        Kind::Float => "number".into(),
        Kind::Bool => "flag".into(),
        Kind::Texts => "strings".into(),
        Kind::Tokens => "token ids".into(),
        Kind::TokenValues => "token ids with numbers".into(),
        Kind::Bytes => "bytes".into(),
        Kind::Choice => "name".into(),
        Kind::Text => "string".into(),
        Kind::Path => "path".into(),
        _ => value_type(option).into(),
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

pub fn page(tables: &[Table]) -> String {
    let mut text = String::from(
        "# Options\n\n\
         Every option is declared once, in `src/options/*.toml`; `cargo xtask options` generates the Rust and C \
         structs, the\nflags of `mlxe`, the Swift structs and this page from there. The name is the same in Rust, C and JSON; \
         Swift uses camel case\nunless another name is given here, the command line uses hyphens.\n\n\
         An option that is not set takes its default. Not set is `None` or `nil` in Rust and Swift (or false, or an empty \
         list),\nall zero in C, and absent or `null` in JSON.\n",
    );
    for table in tables {
        text += &format!("\n## {}\n\n{}\n", table.title, super::text::comment("", &table.doc).trim_end());
        let places = [("Rust", Some(&table.rust)), ("C", table.c.as_ref()), ("Swift", table.swift.as_ref())];
        let places =
            places.iter().filter_map(|(language, place)| Some(format!("{language} `{}`", place.as_ref()?.name)));
        text += &format!("\n{}.\n", places.collect::<Vec<_>>().join(", "));
        for section in &table.sections {
            text += &format!(
                "\n### {}\n\n| name | type | limits | default | |\n| --- | --- | --- | --- | --- |\n",
                section.title
            );
            for option in &section.options {
                let mut names = Vec::new();
                if table.swift.is_some() && option.in_swift && option.swift.is_some() {
                    names.push(format!("Swift `{}`", option.swift_name()));
                }
                if table.cli.is_some() && option.cli && (option.flag.is_some() || option.short.is_some()) {
                    let short = option.short.map_or_else(String::new, |c| format!(", `-{c}`"));
                    names.push(format!("`--{}`{short}", option.flag_name()));
                }
                let names = if names.is_empty() { String::new() } else { format!(" ({})", names.join("; ")) };
                let details = if option.details.is_empty() { String::new() } else { format!(" {}", option.details) };
                text += &format!(
                    "| `{}` | {} | {} | {} | {}{details}{names} |\n",
                    option.name,
                    kind(option),
                    cell(&limits(option)),
                    cell(&default(option)),
                    cell(&option.doc),
                );
            }
        }
    }
    text
}
