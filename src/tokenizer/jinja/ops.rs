//! Operators that compute something.

use minijinja::Value;

use super::base::{Result, fail};
use super::number::{arithmetic, as_int, as_number};
use super::value::{Flavor, Seq, seq, type_name};
use super::{budget, percent, print};

pub(super) fn binary(op: &str, a: &Value, b: &Value) -> Result<Value> {
    if let (Some(x), Some(y)) = (as_number(a), as_number(b)) {
        return arithmetic(op, x, y).map(|number| number.value());
    }
    if is_number(a) && is_number(b) {
        return fail("the number is too large");
    }
    let result = match op {
        "+" => add(a, b)?,
        "*" => match (as_int(a), as_int(b)) {
            (None, Some(times)) => repeat(a, times)?,
            (Some(times), None) => repeat(b, times)?,
            _ => None,
        },
        "%" => match a.as_str() {
            Some(pattern) => Some(Value::from(percent::percent(pattern, b)?)),
            None => None,
        },
        _ => None,
    };
    match result {
        Some(value) => Ok(value),
        None => fail(format!("unsupported operand type(s) for {op}: '{}' and '{}'", type_name(a), type_name(b))),
    }
}

fn is_number(value: &Value) -> bool {
    matches!(type_name(value), "int" | "float" | "bool")
}

fn add(a: &Value, b: &Value) -> Result<Option<Value>> {
    if let (Some(x), Some(y)) = (a.as_str(), b.as_str()) {
        if a.is_safe() || b.is_safe() {
            let escaped = |value: &Value, text: &str| if value.is_safe() { text.to_owned() } else { escape(text) };
            // Before it is made: escaping makes up to five characters of one.
            budget::bytes(x.len() + y.len())?;
            let markup = escaped(a, x) + &escaped(b, y);
            budget::bytes(markup.len())?;
            return Ok(Some(Value::from_safe_string(markup)));
        }
        budget::bytes(x.len() + y.len())?;
        return Ok(Some(Value::from([x, y].concat())));
    }
    let (Some(x), Some(y)) = (a.downcast_object_ref::<Seq>(), b.downcast_object_ref::<Seq>()) else { return Ok(None) };
    let flavor = match (x.flavor, y.flavor) {
        (Flavor::List, Flavor::List) => Flavor::List,
        (Flavor::Tuple | Flavor::Group, Flavor::Tuple | Flavor::Group) => Flavor::Tuple,
        _ => return Ok(None),
    };
    budget::items(x.items.len() + y.items.len())?;
    seq(flavor, [x.items.as_slice(), &y.items].concat()).map(Some)
}

fn repeat(value: &Value, times: i128) -> Result<Option<Value>> {
    let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
    if let Some(part) = value.as_str() {
        budget::bytes(part.len().saturating_mul(times))?;
        return Ok(Some(Value::from(if part.is_empty() { String::new() } else { part.repeat(times) })));
    }
    let Some(part) = value.downcast_object_ref::<Seq>() else { return Ok(None) };
    let flavor = match part.flavor {
        Flavor::List => Flavor::List,
        Flavor::Tuple | Flavor::Group => Flavor::Tuple,
        _ => return Ok(None),
    };
    budget::items(part.items.len().saturating_mul(times))?;
    let times = if part.items.is_empty() { 0 } else { times };
    seq(flavor, std::iter::repeat_n(&part.items, times).flatten().cloned().collect()).map(Some)
}

/// `a ~ b ~ ..`, which takes no notice of markup.
pub(super) fn concat(values: &[Value]) -> Result<Value> {
    let mut out = String::new();
    for value in values {
        out.push_str(&print::str(value)?);
    }
    Ok(Value::from(out))
}

pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
