//! The Rust structs: what a caller asks for, and what that comes to.

use super::table::{Kind, Opt, Params, Section, Table};
use super::text::{comment, demand, full, origin};

/// The type of a value that is there.
pub fn value_type(option: &Opt) -> &str {
    match option.kind {
        Kind::Bool => "bool",
        Kind::U32 => "u32",
        Kind::I32 => "i32",
        Kind::U64 | Kind::Bytes => "u64",
        Kind::Choice => option.rust_type.as_deref().map_or("", |path| path.rsplit("::").next().unwrap_or(path)),
        Kind::Float => "f32",
        Kind::Text => "String",
        Kind::Path => "PathBuf",
        Kind::Texts => "Vec<String>",
        Kind::Tokens => "Vec<u32>",
        Kind::TokenValues => "BTreeMap<u32, f32>",
    }
}

/// The type of a field of the request.
pub fn request_type(option: &Opt) -> String {
    let value = value_type(option);
    match option.kind {
        Kind::Bool | Kind::Tokens | Kind::TokenValues => value.into(),
        Kind::Texts if !option.is_optional_list() => value.into(),
        _ => format!("Option<{value}>"),
    }
}

/// The type of a field whose default is in place.
fn params_type(option: &Opt) -> String {
    match option.default {
        Some(_) => value_type(option).into(),
        None => request_type(option),
    }
}

/// A default as an expression.
fn literal(option: &Opt) -> String {
    match &option.default {
        None if matches!(option.kind, Kind::Bool) => "false".into(),
        None if request_type(option).starts_with("Option") => "None".into(),
        None => format!("{}::new()", request_type(option).split('<').next().expect("one at least")),
        Some(toml::Value::Float(x)) => format!("{x:?}"),
        Some(toml::Value::String(name)) => variant(option, name),
        Some(toml::Value::Array(items)) => format!("[{}].map(String::from).to_vec()", strings(items)),
        Some(other) => other.as_integer().unwrap_or_default().to_string(),
    }
}

/// A choice.
pub fn variant(option: &Opt, name: &str) -> String {
    let variant: String = name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
    format!("{}::{variant}", value_type(option))
}

fn strings(items: &[toml::Value]) -> String {
    items.iter().map(|item| format!("{:?}", item.as_str().unwrap_or_default())).collect::<Vec<_>>().join(", ")
}

/// The condition under which a value is right, and what it must be.
fn condition(option: &Opt) -> Option<(String, String)> {
    let want = demand(option)?;
    let bound = |x: f64| match option.kind {
        Kind::Float => format!("{x:?}"),
        _ => format!("{x}"),
    };
    let test = match (&option.one_of, option.minimum, option.above, option.maximum) {
        (Some(values), ..) => {
            format!("matches!(x, {})", values.iter().map(i64::to_string).collect::<Vec<_>>().join(" | "))
        }
        (_, Some(low), _, Some(high)) => format!("({}..={}).contains(&x)", bound(low), bound(high)),
        (_, Some(low), _, None) if option.kind == Kind::Float => format!("x.is_finite() && x >= {}", bound(low)),
        (_, Some(low), _, None) => format!("x >= {}", bound(low)),
        (_, _, Some(low), Some(high)) => format!("x > {} && x <= {}", bound(low), bound(high)),
        (_, _, Some(low), None) => format!("x.is_finite() && x > {}", bound(low)),
        (_, _, _, Some(high)) => format!("x <= {}", bound(high)),
        _ => "x.is_finite()".into(),
    };
    Some((test, want))
}

/// A statement that refuses a wrong value. `is_optional` says whether the field is an Option.
fn check(option: &Opt, is_optional: bool) -> String {
    let name = &option.name;
    if option.kind == Kind::TokenValues {
        return format!(
            "for (token, &value) in &self.{name} {{
                check(&format!(\"{name}[{{token}}]\"), value, |x| x < f32::INFINITY, \"a number below infinity\")?;
            }}\n"
        );
    }
    if let Some([from, to]) = option.item_bytes {
        return format!(
            "for (i, text) in self.{name}.iter().enumerate() {{
                let name = format!(\"length in bytes of {name}[{{i}}]\");
                check(&name, text.len(), |x| ({from}..={to}).contains(&x), \"between {from} and {to}\")?;
            }}\n"
        );
    }
    let Some((test, want)) = condition(option) else { return String::new() };
    match is_optional {
        true => format!("if let Some(value) = self.{name} {{ check({name:?}, value, |x| {test}, {want:?})?; }}\n"),
        false => format!("check({name:?}, self.{name}, |x| {test}, {want:?})?;\n"),
    }
}

fn head(about: &str, table: &Table) -> String {
    format!("//! {about}\n//!\n//! {}\n\n", origin(table))
}

/// Imports that the types of these options need.
pub fn collections(options: &[&Opt]) -> &'static str {
    let has = |kind| options.iter().any(|o| o.kind == kind);
    match (has(Kind::TokenValues), has(Kind::Path)) {
        (true, true) => "use std::collections::BTreeMap;\nuse std::path::PathBuf;\n\n",
        (true, false) => "use std::collections::BTreeMap;\n\n",
        (false, true) => "use std::path::PathBuf;\n\n",
        (false, false) => "",
    }
}

/// Imports of the enums that choices are of.
pub fn types(options: &[&Opt], root: &str) -> String {
    let paths = options.iter().filter_map(|o| o.rust_type.as_ref());
    paths.map(|path| format!("use {};\n", path.replacen("crate", root, 1))).collect()
}

/// The struct that a caller fills, with what it can say about itself.
pub fn request(table: &Table) -> String {
    let options: Vec<&Opt> = table.options().collect();
    let name = &table.rust.name;
    let mut text = head("The options that a caller sets.", table);
    if options.iter().any(|o| o.secret) {
        text += "use std::fmt;\n";
    }
    text += collections(&options);
    text += "use serde::{Deserialize, Serialize};\n\n";
    for params in table.sections.iter().filter_map(|s| s.params.as_ref()) {
        text += &format!("use super::{}::{};\n", params.method, params.name);
    }
    let mut checks = String::new();
    for section in &table.sections {
        match &section.params {
            Some(params) => checks += &format!("self.{}().validate()?;\n", params.method),
            None => section.options.iter().for_each(|o| checks += &check(o, request_type(o).starts_with("Option"))),
        }
    }
    for option in options.iter().filter(|o| o.rust_type.is_some()) {
        text += &format!("use {};\n", option.rust_use.as_ref().or(option.rust_type.as_ref()).expect("asked for"));
    }
    if !checks.is_empty() {
        text += "use crate::error::Result;\nuse crate::limits::check;\n";
    }
    text.push('\n');
    let about = format!(
        "{}\n\nOptions that are `None` are not set and take their defaults where they are used. In JSON the keys are \
         the names of the fields, and unknown ones are errors.",
        super::text::about(table, &table.rust.doc)
    );
    text += &comment("/// ", &about);
    let secret = options.iter().any(|o| o.secret);
    let debug = if secret { "" } else { "Debug, " };
    text += &format!("#[derive(Clone, {debug}Default, PartialEq, Serialize, Deserialize)]\n");
    text += &format!("#[serde(default, deny_unknown_fields)]\npub struct {name} {{\n");
    for option in &options {
        text += &comment("    /// ", &full(option));
        if option.secret {
            text += "    #[serde(skip_serializing)]\n";
        }
        text += &format!("    pub {}: {},\n", option.name, request_type(option));
    }
    text += "}\n";
    if secret {
        text += &format!(
            "\n// Some of it is secret.
            impl fmt::Debug for {name} {{
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {{ f.write_str(\"{name}(..)\") }}
            }}\n"
        );
    }
    text += &format!("\nimpl {name} {{\n");
    if !checks.is_empty() {
        text += "    /// Checks every range.\n    ///\n    /// # Errors\n";
        text += "    /// [`InvalidArgument`](crate::error::ErrorKind::InvalidArgument), naming the first option at fault and its \
                 value.\n    pub fn validate(&self) -> Result<()> {\n";
        text += &checks;
        text += "Ok(())\n}\n";
    }
    for section in &table.sections {
        if let Some(params) = &section.params {
            text += &format!(
                "\n/// The options that choose tokens, with their defaults in place.
                pub fn {}(&self) -> {} {{ let o = self.clone(); {} {{\n",
                params.method, params.name, params.name
            );
            for option in &section.options {
                text += &match option.default {
                    Some(toml::Value::Array(_)) => {
                        format!("{0}: o.{0}.unwrap_or_else(|| {1}),\n", option.name, literal(option))
                    }
                    Some(_) => format!("{0}: o.{0}.unwrap_or({1}),\n", option.name, literal(option)),
                    None => format!("{0}: o.{0},\n", option.name),
                };
            }
            text += "}\n}\n";
            continue;
        }
        for option in section.options.iter().filter(|o| o.default.is_some()) {
            text += &format!(
                "\n/// [`{0}`](Self#structfield.{0}), or its default.
                pub fn {0}(&self) -> {1} {{ self.{0}.unwrap_or({2}) }}\n",
                option.name,
                value_type(option),
                literal(option)
            );
        }
    }
    if table.sections.iter().any(|section| section.params.is_some()) {
        text += &format!(
            "\n/// These options with the defaults of those that are not set, where a default is the same for all models.
            #[must_use]
            pub fn with_defaults(&self) -> {name} {{ let mut all = self.clone();\n"
        );
        for option in options.iter().filter(|o| o.default.is_some()) {
            text += &match option.default {
                Some(toml::Value::Array(_)) => {
                    format!("all.{0}.get_or_insert_with(|| {1});\n", option.name, literal(option))
                }
                _ => format!("all.{0}.get_or_insert({1});\n", option.name, literal(option)),
            };
        }
        text += "all\n}\n";
    }
    text + "}\n"
}

/// The struct of a section whose defaults are in place.
pub fn params(table: &Table, section: &Section, params: &Params) -> String {
    let options: Vec<&Opt> = section.options.iter().collect();
    let name = &params.name;
    let mut text = head("The parameters of the sampler.", table);
    text += collections(&options);
    // The enums of choices are in the module that these parameters belong to.
    for option in options.iter().filter(|o| o.rust_type.is_some()) {
        text += &format!("use super::{};\n", value_type(option));
    }
    text += "use crate::error::Result;\nuse crate::limits::check;\n\n";
    text += &comment("/// ", &params.doc);
    text += &format!("#[derive(Clone, Debug, PartialEq)]\npub struct {name} {{\n");
    for option in &options {
        text += &comment("    /// ", &full(option));
        text += &format!("    pub {}: {},\n", option.name, params_type(option));
    }
    text += &format!("}}\n\nimpl Default for {name} {{\n    fn default() -> Self {{\n        {name} {{\n");
    for option in &options {
        text += &format!("{}: {},\n", option.name, literal(option));
    }
    text += &format!("}}\n}}\n}}\n\nimpl {name} {{\n");
    text += "    /// Checks every range.\n    ///\n    /// # Errors\n";
    text += "    /// [`InvalidArgument`](crate::error::ErrorKind::InvalidArgument), naming the first option at fault and its \
             value.\n    pub fn validate(&self) -> Result<()> {\n";
    options.iter().for_each(|o| text += &check(o, params_type(o).starts_with("Option")));
    text + "Ok(())\n}\n}\n"
}
