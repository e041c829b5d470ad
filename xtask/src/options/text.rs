//! Prose about options.

use super::table::{Kind, Opt, Table};

/// `text` as comments of at most 120 columns, each line after `prefix`.
pub fn comment(prefix: &str, text: &str) -> String {
    let mut lines = String::new();
    for paragraph in text.split("\n\n") {
        if !lines.is_empty() {
            lines += prefix.trim_end();
            lines.push('\n');
        }
        let mut line = prefix.to_owned();
        for word in paragraph.split_whitespace() {
            if line.len() > prefix.len() && line.chars().count() + 1 + word.chars().count() > 120 {
                lines += line.trim_end();
                lines.push('\n');
                line = prefix.to_owned();
            }
            if line.len() > prefix.len() {
                line.push(' ');
            }
            line += word;
        }
        lines += line.trim_end();
        lines.push('\n');
    }
    lines
}

/// A number as people write it.
fn number(x: f64) -> String {
    x.to_string()
}

/// A default as people write it.
fn shown_default(option: &Opt) -> Option<String> {
    Some(match option.default.as_ref()? {
        toml::Value::Float(x) => number(*x),
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => {
            let items = items.iter().map(|item| match item.as_str().unwrap_or_default() {
                "\n" => "newline".to_owned(),
                text => format!("`{text}`"),
            });
            items.collect::<Vec<_>>().join(", ")
        }
        other => other.as_integer().unwrap_or_default().to_string(),
    })
}

/// What a value must be, as in "must be ..".
pub fn demand(option: &Opt) -> Option<String> {
    if let Some(values) = &option.one_of {
        let (last, rest) = values.split_last()?;
        let rest = rest.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        return Some(format!("{rest} or {last}"));
    }
    let float = option.kind == Kind::Float;
    Some(match (option.minimum, option.above, option.maximum) {
        (Some(low), _, Some(high)) => format!("between {} and {}", number(low), number(high)),
        (_, Some(low), Some(high)) => format!("above {} and at most {}", number(low), number(high)),
        (Some(low), _, None) if float => format!("finite and at least {}", number(low)),
        (Some(low), _, None) => format!("at least {}", number(low)),
        (_, Some(low), None) => format!("finite and above {}", number(low)),
        (None, None, Some(high)) => format!("at most {}", number(high)),
        (None, None, None) if float => "finite".into(),
        (None, None, None) => return None,
    })
}

/// The same in the documentation, without what goes without saying.
pub fn limits(option: &Opt) -> String {
    if let Some([from, to]) = option.item_bytes {
        return format!("{from} to {to} bytes each");
    }
    if let Some((last, rest)) = option.choices.split_last() {
        let rest = rest.iter().map(|c| format!("`{}`", c.name)).collect::<Vec<_>>().join(", ");
        return format!("{rest} or `{}`", last.name);
    }
    match demand(option).as_deref() {
        None | Some("finite") => String::new(),
        Some(text) => text.trim_start_matches("finite and ").to_owned(),
    }
}

/// The default, in words.
pub fn default(option: &Opt) -> String {
    let off = if option.off { ", which is off" } else { "" };
    match (shown_default(option), &option.otherwise) {
        (Some(value), _) => format!("{value}{off}"),
        (None, Some(text)) => text.clone(),
        (None, None) if option.kind == Kind::Bool => "false".into(),
        (None, None) => "none".into(),
    }
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// Sentence, limits and default.
pub fn brief(option: &Opt) -> String {
    let limits = limits(option);
    let limits = if limits.is_empty() { String::new() } else { format!(" {}.", capitalized(&limits)) };
    match option.kind {
        Kind::Bool => option.doc.clone(),
        _ => format!("{}{limits} Default: {}.", option.doc, default(option)),
    }
}

/// All that is known about an option.
pub fn full(option: &Opt) -> String {
    match option.details.is_empty() {
        true => brief(option),
        false => format!("{}\n\n{}", brief(option), option.details),
    }
}

/// The help of a flag.
pub fn help(option: &Opt) -> String {
    let doc = option.cli_doc.as_ref().unwrap_or(&option.doc);
    let limits = limits(option);
    let limits = if limits.is_empty() { String::new() } else { format!(" ({limits})") };
    let default = match (shown_default(option), &option.otherwise) {
        (Some(value), _) => format!(" [default: {value}]"),
        (None, Some(text)) => format!(" [default: {text}]"),
        (None, None) => String::new(),
    };
    format!("{}{limits}{default}", doc.trim_end_matches('.'))
}

/// What the options of a table are for, with what is special in a language.
pub fn about(table: &Table, special: &str) -> String {
    match special.is_empty() {
        true => table.doc.clone(),
        false => format!("{} {special}", table.doc),
    }
}
