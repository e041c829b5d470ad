//! Python's arithmetic on integers, floats and truth values.

use minijinja::Value;
use minijinja::value::ValueKind;

use super::base::{Result, fail, is_space};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int(i128),
    Float(f64),
}

pub(super) fn as_number(value: &Value) -> Option<Number> {
    match value.kind() {
        ValueKind::Bool => Some(Number::Int(i128::from(value.is_true()))),
        ValueKind::Number if value.is_integer() => i128::try_from(value.clone()).ok().map(Number::Int),
        ValueKind::Number => f64::try_from(value.clone()).ok().map(Number::Float),
        _ => None,
    }
}

/// The integer that a value is; truth values are integers too.
pub(super) fn as_int(value: &Value) -> Option<i128> {
    match as_number(value) {
        Some(Number::Int(number)) => Some(number),
        _ => None,
    }
}

pub(super) fn int(number: i128) -> Value {
    i64::try_from(number).map_or_else(|_| Value::from(number), Value::from)
}

impl Number {
    pub fn float(self) -> f64 {
        match self {
            Number::Int(number) => number as f64,
            Number::Float(number) => number,
        }
    }

    pub fn value(self) -> Value {
        match self {
            Number::Int(number) => int(number),
            Number::Float(number) => Value::from(number),
        }
    }

    pub fn compare(self, other: Number) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
            (Number::Float(a), Number::Float(b)) => a.partial_cmp(&b),
            // Beyond 2^53 floats have no fraction, and integers no exact float.
            (Number::Int(a), Number::Float(b)) if b.abs() >= 9e15 && b.abs() < 1e38 => Some(a.cmp(&(b as i128))),
            (Number::Float(a), Number::Int(b)) if a.abs() >= 9e15 && a.abs() < 1e38 => Some((a as i128).cmp(&b)),
            (a, b) => a.float().partial_cmp(&b.float()),
        }
    }
}

fn exact(number: Option<i128>) -> Result<Number> {
    match number {
        Some(number) => Ok(Number::Int(number)),
        None => fail("the number is too large"),
    }
}

pub(super) fn arithmetic(op: &str, a: Number, b: Number) -> Result<Number> {
    let zero = || fail("division by zero");
    if let (Number::Int(a), Number::Int(b)) = (a, b) {
        return match op {
            "+" => exact(a.checked_add(b)),
            "-" => exact(a.checked_sub(b)),
            "*" => exact(a.checked_mul(b)),
            "/" | "//" | "%" if b == 0 => zero(),
            "/" => Ok(Number::Float(divide(a, b))),
            "//" => exact(a.checked_div_euclid(b)).map(|_| Number::Int(floor_div(a, b))),
            "%" => exact(a.checked_rem(b)).map(|_| Number::Int(a - b * floor_div(a, b))),
            _ if b >= 0 => exact(u32::try_from(b).ok().and_then(|b| a.checked_pow(b)).or(match a {
                0 | 1 => Some(a),
                -1 => Some(if b % 2 == 0 { 1 } else { -1 }),
                _ => None,
            })),
            _ if a == 0 => fail("0.0 cannot be raised to a negative power"),
            _ => Ok(Number::Float((a as f64).powf(b as f64))),
        };
    }
    let (a, b) = (a.float(), b.float());
    Ok(Number::Float(match op {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" | "//" | "%" if b == 0.0 => return zero(),
        "/" => a / b,
        "//" => divmod(a, b).0,
        "%" => divmod(a, b).1,
        _ if a == 0.0 && b < 0.0 => return fail("0.0 cannot be raised to a negative power"),
        _ if a < 0.0 && b.is_finite() && b.fract() != 0.0 => return fail("complex numbers are not supported"),
        _ => match a.powf(b) {
            power if power.is_infinite() && a.is_finite() && b.is_finite() => {
                return fail("Numerical result out of range");
            }
            power => power,
        },
    }))
}

/// The quotient rounded once. Where both are exact floats that is the hardware's; else the low bits decide.
fn divide(a: i128, b: i128) -> f64 {
    const EXACT: i128 = 1 << 53;
    if a.abs() <= EXACT && b.abs() <= EXACT {
        return a as f64 / b as f64;
    }
    match a % b {
        0 => (a / b) as f64,
        _ => a as f64 / b as f64,
    }
}

fn floor_div(a: i128, b: i128) -> i128 {
    let quotient = a / b;
    if a % b != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient }
}

fn divmod(a: f64, b: f64) -> (f64, f64) {
    let mut rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest != 0.0 {
        if (b < 0.0) != (rest < 0.0) {
            rest += b;
            quotient -= 1.0;
        }
    } else {
        rest = 0.0_f64.copysign(b);
    }
    let floor = if quotient != 0.0 {
        let floor = quotient.floor();
        if quotient - floor > 0.5 { floor + 1.0 } else { floor }
    } else {
        0.0_f64.copysign(a / b)
    };
    (floor, rest)
}

/// `round(number, digits)`: halves go to the even neighbour of the exact value.
pub(super) fn round(number: f64, digits: i64) -> f64 {
    if !number.is_finite() || digits > 300 {
        return number;
    }
    if digits >= 0 {
        return format!("{number:.*}", digits as usize).parse().unwrap_or(number);
    }
    if digits < -308 {
        return 0.0_f64.copysign(number);
    }
    let scale = 10_f64.powi(-digits as i32);
    let quotient = number / scale;
    quotient.round_ties_even() * scale
}

/// `round(number, digits)` of an integer.
pub(super) fn round_int(number: i128, digits: i64) -> i128 {
    if digits >= 0 {
        return number;
    }
    let Some(scale) = 10_i128.checked_pow(u32::try_from(-digits).unwrap_or(u32::MAX)) else { return 0 };
    let below = floor_div(number, scale);
    let rest = number - below * scale;
    let up = rest * 2 > scale || (rest * 2 == scale && below % 2 != 0);
    (below + i128::from(up)).saturating_mul(scale)
}

/// `int(text)` in the decimal system.
pub(super) fn parse_int(text: &str, radix: u32) -> Option<i128> {
    let text = text.trim_matches(is_space);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let prefix = match radix {
        2 => "0b",
        8 => "0o",
        16 => "0x",
        _ => "",
    };
    let stripped = lower.strip_prefix(prefix).unwrap_or(&lower);
    let digits = if prefix.is_empty() || stripped.len() == lower.len() {
        lower.as_str()
    } else {
        stripped.trim_start_matches('_')
    };
    if digits.is_empty() || digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    let mut number = 0_i128;
    for c in digits.chars().filter(|&c| c != '_') {
        let digit = i128::from(c.to_digit(radix)?);
        number = number.checked_mul(i128::from(radix))?;
        number = if negative { number.checked_sub(digit)? } else { number.checked_add(digit)? };
    }
    Some(number)
}

/// `float(text)`
pub(super) fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim_matches(is_space);
    let digit = |i: usize| text.as_bytes().get(i).is_some_and(u8::is_ascii_digit);
    let grouped = text.match_indices('_').all(|(at, _)| at > 0 && digit(at - 1) && digit(at + 1));
    // Both languages know the same spellings, but for the underscores.
    if grouped { text.replace('_', "").parse().ok() } else { None }
}
