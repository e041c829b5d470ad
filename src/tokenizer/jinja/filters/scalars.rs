//! Filters of numbers, and of values of any kind.

use minijinja::Value;
use minijinja::value::ValueKind;

use super::super::args::{Args, int_or, str_of, truth};
use super::super::base::{Result, fail};
use super::super::number::{self, Number, as_number, parse_float, parse_int};
use super::super::value::{Dict, dict, text as paid, type_name};
use super::super::{access, compare, long, print};

/// What Python calls an undefined value's refusal to be a number.
fn refuse_undefined(value: &Value) -> Result<()> {
    if value.is_undefined() { fail("the value is undefined") } else { Ok(()) }
}

pub(super) fn abs(value: Value, args: Args) -> Result<Value> {
    args.none("abs")?;
    match as_number(&value) {
        Some(Number::Int(int)) => match int.checked_abs() {
            Some(int) => Ok(number::int(int)),
            None => fail("the number is too large"),
        },
        Some(Number::Float(float)) => Ok(float.abs().into()),
        None if let Some(digits) = long::digits(&value) => Ok(long::from_text(digits.trim_start_matches('-'))),
        None => fail(format!("bad operand type for abs(): '{}'", type_name(&value))),
    }
}

pub(super) fn attr(value: Value, args: Args) -> Result<Value> {
    let [name] = args.bind("attr", ["name"], 1)?;
    refuse_undefined(&value)?;
    Ok(access::own_attribute(&value, &print::str(&name.unwrap_or_default())?)?.unwrap_or_default())
}

pub(super) fn default(value: Value, args: Args) -> Result<Value> {
    let [default, boolean] = args.bind("default", ["default_value", "boolean"], 0)?;
    let missing = value.is_undefined() || (truth(boolean.as_ref()) && !value.is_true());
    Ok(if missing { default.unwrap_or("".into()) } else { value })
}

/// `int(default=0, base=10)`: what is no number becomes the default.
pub(super) fn int(value: Value, args: Args) -> Result<Value> {
    let [default, base] = args.bind("int", ["default", "base"], 0)?;
    let base = int_or(base.as_ref(), 10)?;
    let whole = |float: f64| (float.is_finite() && float.abs() < 1e38).then_some(float as i128);
    refuse_undefined(&value)?;
    if long::digits(&value).is_some() {
        return Ok(value);
    }
    let number = match (value.as_str(), as_number(&value)) {
        (Some(text), _) => {
            let int = match base {
                0 => [10, 16, 8, 2].into_iter().find_map(|radix| parse_int(text, radix)),
                2..=36 => parse_int(text, base as u32),
                _ => None,
            };
            int.or_else(|| parse_float(text).and_then(whole))
        }
        (_, Some(Number::Int(int))) => Some(int),
        (_, Some(Number::Float(float))) => whole(float),
        _ => None,
    };
    Ok(number.map(number::int).or(default).unwrap_or_else(|| 0.into()))
}

/// `float(default=0.0)`: what is no number becomes the default.
pub(super) fn float(value: Value, args: Args) -> Result<Value> {
    let [default] = args.bind("float", ["default"], 0)?;
    refuse_undefined(&value)?;
    let number = match value.as_str() {
        Some(text) => parse_float(text),
        None => long::digits(&value).map_or_else(|| as_number(&value).map(Number::float), parse_float),
    };
    Ok(number.map(Value::from).or(default).unwrap_or_else(|| 0.0.into()))
}

pub(super) fn round(value: Value, args: Args) -> Result<Value> {
    let [precision, method] = args.bind("round", ["precision", "method"], 0)?;
    let precision = int_or(precision.as_ref(), 0)?;
    let method = method.unwrap_or("common".into());
    let Some(number) = as_number(&value) else {
        return fail(format!("type {} doesn't define __round__ method", type_name(&value)));
    };
    let step: fn(f64) -> f64 = match (str_of(&method)?, number) {
        ("common", Number::Int(int)) => return Ok(number::int(number::round_int(int, precision))),
        ("common", Number::Float(float)) => return Ok(number::round(float, precision).into()),
        ("ceil", _) => f64::ceil,
        ("floor", _) => f64::floor,
        _ => return fail("method must be common, ceil or floor"),
    };
    let scale = 10_f64.powi(precision.clamp(-400, 400) as i32);
    let scaled = step(number.float() * scale);
    if !scaled.is_finite() || scale == 0.0 {
        return fail("the number is too large");
    }
    Ok((scaled / scale).into())
}

pub(super) fn filesizeformat(value: Value, args: Args) -> Result<Value> {
    let [binary] = args.bind("filesizeformat", ["binary"], 0)?;
    let binary = truth(binary.as_ref());
    let bytes = match value.as_str() {
        Some(text) => parse_float(text),
        None => as_number(&value).map(Number::float),
    };
    let Some(bytes) = bytes else { return fail("filesizeformat wants a number") };
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    if bytes == 1.0 {
        return Ok("1 Byte".into());
    }
    if bytes < base {
        return paid(format!("{} Bytes", bytes as i128));
    }
    let units = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
    let power = (1..units.len()).find(|power| bytes < base.powi(*power as i32 + 1)).unwrap_or(units.len());
    let (unit, kind) = (units[power - 1], if binary { "iB" } else { "B" });
    let unit = if binary { unit.to_uppercase() } else { unit.to_owned() };
    paid(format!("{:.1} {unit}{kind}", bytes / base.powi(power as i32)))
}

/// `pprint.pformat`, as far as it fits in a line: mappings are sorted.
pub(super) fn pprint(value: Value, args: Args) -> Result<Value> {
    args.none("pprint")?;
    paid(print::repr(&sorted(&value, 0)?)?)
}

fn sorted(value: &Value, depth: usize) -> Result<Value> {
    if value.kind() != ValueKind::Map || depth > print::DEPTH {
        return Ok(value.clone());
    }
    let Some(mapping) = value.downcast_object_ref::<Dict>() else { return Ok(value.clone()) };
    let mut pairs = Vec::new();
    for (key, value) in &mapping.pairs {
        pairs.push((key.clone(), sorted(value, depth + 1)?));
    }
    pairs.sort_by(|a, b| compare::order(&a.0, &b.0).ok().flatten().unwrap_or(std::cmp::Ordering::Equal));
    dict(pairs)
}
