//! The Swift struct and what C gets of it.

use super::table::{Kind, Opt, Place, Table, camel_case};
use super::text::{about, comment, full, origin};

fn field_type(option: &Opt) -> String {
    let name = match option.kind {
        Kind::Choice => return format!("{}?", option.swift_type),
        Kind::Bool => "Bool",
        Kind::U32 | Kind::I32 => "Int?",
        Kind::U64 | Kind::Bytes => "UInt64?",
        Kind::Float => "Float?",
        Kind::Text => "String?",
        Kind::Path => "URL?",
        Kind::Texts if option.is_optional_list() => "[String]?",
        Kind::Texts => "[String]",
        Kind::Tokens => "[Token]",
        Kind::TokenValues => "[Token: Float]",
    };
    name.into()
}

fn nothing(option: &Opt) -> &'static str {
    match (option.kind, field_type(option).as_str()) {
        (Kind::Bool, _) => "false",
        (Kind::TokenValues, _) => "[:]",
        (_, "[String]" | "[Token]") => "[]",
        _ => "nil",
    }
}

fn assignment(option: &Opt) -> String {
    let (c, swift) = (&option.name, option.swift_name());
    match option.kind {
        Kind::Bool => format!("options.{c} = {swift}"),
        Kind::Choice => format!("options.{c} = {swift}?.rawValue ?? 0"),
        Kind::U32 | Kind::I32 | Kind::U64 | Kind::Bytes | Kind::Float => format!("options.{c} = optional({swift})"),
        Kind::Text => format!("options.{c} = lent.text({swift} ?? \"\")"),
        Kind::Path => format!("options.{c} = lent.text({swift}?.path ?? \"\")"),
        Kind::Texts => format!("(options.{c}, options.{c}_count) = lent.texts({swift})"),
        Kind::Tokens => format!("(options.{c}, options.{c}_count) = lent.list({swift})"),
        Kind::TokenValues => format!("(options.{c}, options.{c}_count) = lent.list(tokenValues({swift}))"),
    }
}

/// What Swift's struct has.
fn options(table: &Table) -> impl Iterator<Item = &Opt> {
    table.options().filter(|o| o.in_swift)
}

/// Comma-separated items on lines of at most 120 columns.
fn wrapped(indent: &str, items: &[String]) -> String {
    let mut lines = String::new();
    let mut line = indent.to_owned();
    for (i, item) in items.iter().enumerate() {
        let item = if i + 1 < items.len() { format!("{item},") } else { item.clone() };
        if line.len() > indent.len() && line.len() + 1 + item.len() > 120 {
            lines += &line;
            lines.push('\n');
            line = indent.to_owned();
        }
        if line.len() > indent.len() {
            line.push(' ');
        }
        line += &item;
    }
    lines + &line + "\n"
}

pub fn source(table: &Table, place: &Place) -> String {
    let foundation = if options(table).any(|o| o.kind == Kind::Path) { "import Foundation\n" } else { "" };
    let mut text = format!("// {}\n\nimport CMLXEngine\n{foundation}\n", origin(table));
    text += &comment("/// ", &about(table, &place.doc));
    text += "///\n";
    text += &comment("/// ", "Options that are nil are not set and take their defaults.");
    text += &format!("public struct {}: Sendable, Hashable {{\n", place.name);
    for option in options(table).filter(|o| o.kind == Kind::Choice) {
        text += &comment("    /// ", &option.doc);
        text += &format!("    public enum {}: Int32, Sendable, Hashable, CaseIterable {{\n", option.swift_type);
        for (i, choice) in option.choices.iter().enumerate() {
            text += &comment("        /// ", &choice.doc);
            text += &format!(
                "        case {} = {}\n",
                choice.swift.clone().unwrap_or_else(|| camel_case(&choice.name)),
                option.choice_value(i)
            );
        }
        text += "    }\n\n";
    }
    for option in options(table) {
        text += &comment(
            "    /// ",
            &full(option).replace(
                "`dry_multiplier * dry_base^(length - dry_allowed_length)`",
                "`multiplier * base^(length - allowedLength)`",
            ),
        );
        text += &format!("    public var {}: {}\n", option.swift_name(), field_type(option));
    }
    text += "\n    /// Options; those not given are not set.\n    public init(\n";
    let arguments: Vec<String> =
        options(table).map(|o| format!("{}: {} = {}", o.swift_name(), field_type(o), nothing(o))).collect();
    text += &wrapped("        ", &arguments);
    text += "    ) {\n";
    for option in options(table) {
        text += &format!("        self.{0} = {0}\n", option.swift_name());
    }
    text += &format!("    }}\n}}\n\nextension {} {{\n", place.name);
    text += "    /// Lends C these options for the duration of a call.\n";
    let c = table.c.as_ref().expect("Swift speaks to C");
    text += &format!(
        "    func withCOptions<Result>(\n        _ body: (UnsafeMutablePointer<{}>) throws -> Result\n    ) rethrows -> Result {{\n",
        c.name
    );
    text += &format!("        var options = {}()\n", c.name);
    text += &format!("        {}(&options, MemoryLayout<{}>.size)\n", c.function, c.name);
    let lends = options(table)
        .any(|o| matches!(o.kind, Kind::Text | Kind::Path | Kind::Texts | Kind::Tokens | Kind::TokenValues));
    if lends {
        text += "        let lent = Lent()\n";
    }
    for option in options(table) {
        text += &format!("        {}\n", assignment(option));
    }
    match lends {
        true => text += "        return try withExtendedLifetime(lent) { try body(&options) }\n    }\n",
        false => text += "        return try body(&options)\n    }\n",
    }
    if c.readable {
        text += "\n    /// The current settings, from C.\n";
        text += &format!("    init(_ options: {}) {{\n        self.init(\n", c.name);
        let arguments: Vec<String> =
            options(table).map(|o| format!("{}: value(options.{})", o.swift_name(), o.name)).collect();
        text += wrapped("            ", &arguments).trim_end();
        text += ")\n    }\n";
    }
    text + "}\n"
}
