//! What assignments write to.

use super::parser::{Parsed, Parser};

/// What an assignment writes to.
pub(super) struct Target {
    pub text: String,
    /// How many values are taken apart; 0 where it is a single one.
    pub count: usize,
    /// Of a namespace, which `text` names.
    pub attribute: Option<String>,
}

pub(super) fn target(parser: &mut Parser, end: &str) -> Parsed<Target> {
    let single = |text| Target { text, count: 0, attribute: None };
    let mut parts = Vec::new();
    let mut comma = false;
    loop {
        if parser.take_op("(") {
            let inner = target(parser, ")")?;
            parser.expect_op(")")?;
            parts.push(inner);
        } else {
            let name = parser.expect_name()?;
            if matches!(name.as_str(), "true" | "false" | "none" | "True" | "False" | "None" | "loop") {
                return Err(format!("can't assign to special variable '{name}'"));
            }
            if parser.take_op(".") {
                let attribute = Some(parser.expect_name()?);
                if !parts.is_empty() || end == "in" {
                    return Err("cannot assign to an attribute here".into());
                }
                return Ok(Target { text: name, count: 0, attribute });
            }
            parts.push(single(name));
        }
        if !parser.take_op(",") {
            break;
        }
        comma = true;
        if parser.is_name(end) || parser.is_op("=") || parser.is_op(")") {
            break;
        }
    }
    if !comma {
        return parts.pop().ok_or_else(|| "expected a name".into());
    }
    let text = |part: &Target| if part.count > 0 { format!("({})", part.text) } else { part.text.clone() };
    let trailing = if parts.len() == 1 { "," } else { "" };
    let texts: Vec<String> = parts.iter().map(text).collect();
    Ok(Target { text: format!("{}{trailing}", texts.join(", ")), count: parts.len(), attribute: None })
}
