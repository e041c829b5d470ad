//! Signs, widths and digits, as both kinds of formatting lay them out.

use super::base::{Result, fail};

#[derive(Clone, Copy, Default)]
pub(super) struct Spec {
    pub fill: Option<char>,
    pub align: Option<char>,
    pub sign: Option<char>,
    pub alternate: bool,
    pub zero: bool,
    pub width: usize,
    pub group: Option<char>,
    pub precision: Option<usize>,
}

/// More digits than this no template needs, and more width no line. Rust formats at most 65,535 digits, and `general` may
/// ask for a few more than it is given.
const LIMIT: usize = 65_000;

pub(super) fn radix(kind: char, number: i128) -> (&'static str, String) {
    let number = number.unsigned_abs();
    match kind {
        'x' => ("0x", format!("{number:x}")),
        'X' => ("0X", format!("{number:X}")),
        'b' => ("0b", format!("{number:b}")),
        _ => ("0o", format!("{number:o}")),
    }
}

/// The digits of a number that is not negative.
pub(super) fn float(kind: char, number: f64, spec: &Spec) -> String {
    let upper = kind.is_ascii_uppercase();
    let precision = spec.precision.unwrap_or(6);
    let text = match kind.to_ascii_lowercase() {
        _ if number.is_nan() => "nan".to_owned(),
        _ if number.is_infinite() => "inf".to_owned(),
        'f' => format!("{number:.precision$}"),
        'e' => exponent(&format!("{number:.precision$e}")),
        _ => general(number, precision.max(1), spec.alternate),
    };
    let text = if spec.alternate && precision == 0 && number.is_finite() && !text.contains('.') {
        match text.find('e') {
            Some(at) => format!("{}.{}", &text[..at], &text[at..]),
            None => text + ".",
        }
    } else {
        text
    };
    if upper { text.to_uppercase() } else { text }
}

/// Rust writes 1e5 for 1e+05.
pub(super) fn exponent(text: &str) -> String {
    match text.split_once('e') {
        Some((mantissa, exponent)) => match exponent.strip_prefix('-') {
            Some(digits) => format!("{mantissa}e-{digits:0>2}"),
            None => format!("{mantissa}e+{exponent:0>2}"),
        },
        None => text.to_owned(),
    }
}

pub(super) fn general(number: f64, precision: usize, keep_zeros: bool) -> String {
    let scientific = format!("{number:.*e}", precision - 1);
    let power: i64 = scientific.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    let strip = |text: &str| match text.contains('.') && !keep_zeros {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..precision as i64).contains(&power) {
        return strip(&format!("{number:.*}", (precision as i64 - 1 - power) as usize));
    }
    let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    exponent(&format!("{}e{power}", strip(mantissa)))
}

/// Sign, prefix and digits, brought to the width.
pub(super) fn number_text(spec: &Spec, negative: bool, prefix: &str, digits: &str) -> String {
    let sign = if negative {
        "-".to_owned()
    } else {
        spec.sign.filter(|&sign| sign != '-').map_or(String::new(), String::from)
    };
    let align = spec.align.unwrap_or(if spec.zero { '=' } else { '>' });
    let fill = spec.fill.unwrap_or(if spec.zero { '0' } else { ' ' });
    let head = sign + prefix;
    if align == '=' {
        let width = spec.width.saturating_sub(head.chars().count());
        let digits = if fill == '0' { group_to(digits, spec.group, width) } else { group_to(digits, spec.group, 0) };
        let missing = width.saturating_sub(digits.chars().count());
        return head + &String::from(fill).repeat(missing) + &digits;
    }
    let spec = Spec { fill: Some(fill), ..*spec };
    pad(&spec, head + &group_to(digits, spec.group, 0), align)
}

/// Puts separators between the thousands, and zeros before them until `width` is reached.
pub(super) fn group_to(text: &str, group: Option<char>, width: usize) -> String {
    let Some(separator) = group else { return text.to_owned() };
    let end = text.find(|c: char| !c.is_ascii_hexdigit() || c == 'e').unwrap_or(text.len());
    let (whole, rest) = text.split_at(end);
    let mut digits: Vec<char> = whole.chars().rev().collect();
    let grouped = |digits: &[char]| {
        let mut out = String::new();
        for (i, c) in digits.iter().enumerate() {
            if i > 0 && i % 3 == 0 {
                out.insert(0, separator);
            }
            out.insert(0, *c);
        }
        out
    };
    while grouped(&digits).len() + rest.len() < width && width <= LIMIT.min(1000) {
        digits.push('0');
    }
    grouped(&digits) + rest
}

pub(super) fn pad(spec: &Spec, text: String, default: char) -> String {
    let missing = spec.width.saturating_sub(text.chars().count());
    let fill = spec.fill.unwrap_or(' ').to_string();
    match spec.align.unwrap_or(default) {
        '<' => text + &fill.repeat(missing),
        '^' => fill.repeat(missing / 2) + &text + &fill.repeat(missing - missing / 2),
        _ => fill.repeat(missing) + &text,
    }
}

pub(super) fn digits(chars: &mut std::iter::Peekable<std::str::Chars>) -> Result<Option<usize>> {
    let mut number = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        number = Some(limited(number.unwrap_or(0) * 10 + digit as usize)?);
    }
    Ok(number)
}

pub(super) fn limited(width: usize) -> Result<usize> {
    if width > LIMIT { fail("the width is too large") } else { Ok(width) }
}
