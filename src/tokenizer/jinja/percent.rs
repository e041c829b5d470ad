//! `text % values`

use minijinja::Value;

use super::base::{Result, fail};
use super::budget;
use super::layout::{Spec, digits, float, limited, number_text, pad, radix};
use super::number::{Number, as_int, as_number};
use super::print;
use super::value::{Dict, Flavor, Seq, type_name};

/// `pattern % values`
pub(super) fn percent(pattern: &str, values: &Value) -> Result<String> {
    let tuple = values.downcast_object_ref::<Seq>().filter(|seq| matches!(seq.flavor, Flavor::Tuple | Flavor::Group));
    let single = [values.clone()];
    let items = tuple.map_or(&single[..], |tuple| &tuple.items);
    let mapping = values.downcast_object_ref::<Dict>();
    let mut next = items.iter();
    let mut used_mapping = false;
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        let mut named = None;
        if chars.next_if_eq(&'(').is_some() {
            let mut depth = 1;
            let mut name = String::new();
            loop {
                match chars.next() {
                    None => return fail("incomplete format key"),
                    Some(')') if depth == 1 => break,
                    Some(c) => {
                        depth += i32::from(c == '(') - i32::from(c == ')');
                        name.push(c);
                    }
                }
            }
            let Some(mapping) = mapping else { return fail("format requires a mapping") };
            used_mapping = true;
            match mapping.get(&Value::from(name.as_str())) {
                Some(value) => named = Some(value),
                None => return fail(format!("no key {name:?} for the format")),
            }
        }
        while let Some(flag) = chars.next_if(|c| "-+ #0".contains(*c)) {
            match flag {
                '-' => spec.align = Some('<'),
                '+' => spec.sign = Some('+'),
                ' ' => spec.sign = spec.sign.or(Some(' ')),
                '#' => spec.alternate = true,
                _ => spec.zero = true,
            }
        }
        let mut star = |chars: &mut std::iter::Peekable<std::str::Chars>| -> Result<Option<i128>> {
            if chars.next_if_eq(&'*').is_none() {
                return Ok(None);
            }
            match next.next().map(as_int) {
                Some(Some(number)) => Ok(Some(number)),
                _ => fail("* wants int"),
            }
        };
        match star(&mut chars)? {
            Some(width) => {
                if width < 0 {
                    spec.align = Some('<');
                }
                spec.width = limited(usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX))?;
            }
            None => spec.width = digits(&mut chars)?.unwrap_or(0),
        }
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(match star(&mut chars)? {
                Some(precision) => limited(usize::try_from(precision).unwrap_or(0))?,
                None => digits(&mut chars)?.unwrap_or(0),
            });
        }
        while chars.next_if(|c| "hlL".contains(*c)).is_some() {}
        let Some(kind) = chars.next() else { return fail("incomplete format") };
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = match named {
            Some(value) => value,
            None => match next.next() {
                Some(value) => value,
                None => return fail("not enough arguments for format string"),
            },
        };
        let text = percent_one(kind, &spec, value)?;
        budget::bytes(text.len())?;
        out.push_str(&text);
    }
    let unused = next.next().is_some() && !(tuple.is_none() && (used_mapping || mapping.is_some() || is_bare(values)));
    if unused {
        return fail("not all arguments converted during string formatting");
    }
    Ok(out)
}

/// What Python lets go unused: it may be a mapping, to the eyes of `%`.
fn is_bare(value: &Value) -> bool {
    value.is_undefined()
        || value.downcast_object_ref::<Seq>().is_some_and(|seq| matches!(seq.flavor, Flavor::List | Flavor::Range(..)))
}

fn percent_one(kind: char, spec: &Spec, value: &Value) -> Result<String> {
    let numeric = |kind: char| match as_number(value) {
        Some(number) => Ok(number),
        None => fail(format!("%{kind} format: a number is required, not {}", type_name(value))),
    };
    match kind {
        's' | 'r' | 'a' => {
            let text = if kind == 's' { print::str(value)? } else { print::repr(value)? };
            let text = match spec.precision {
                Some(precision) => text.chars().take(precision).collect(),
                None => text,
            };
            Ok(pad(spec, text, '>'))
        }
        'c' => match (as_int(value), value.as_str()) {
            (Some(code), _) => match u32::try_from(code).ok().and_then(char::from_u32) {
                Some(c) => Ok(pad(spec, c.to_string(), '>')),
                None => fail("%c arg not in range(0x110000)"),
            },
            (_, Some(text)) if text.chars().count() == 1 => Ok(pad(spec, text.to_owned(), '>')),
            _ => fail("%c requires int or char"),
        },
        'd' | 'i' | 'u' => {
            let number = match numeric(kind)? {
                Number::Int(number) => number,
                Number::Float(number) if number.is_finite() => number.trunc() as i128,
                Number::Float(_) => return fail("cannot convert float to integer"),
            };
            Ok(percent_int(spec, number, "", number.unsigned_abs().to_string()))
        }
        'x' | 'X' | 'o' => {
            let Number::Int(number) = numeric(kind)? else {
                return fail(format!("%{kind} format: an integer is required"));
            };
            let (prefix, digits) = radix(kind, number);
            Ok(percent_int(spec, number, if spec.alternate { prefix } else { "" }, digits))
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            let number = numeric(kind)?.float();
            let spec = Spec { zero: spec.zero && spec.align.is_none(), ..*spec };
            Ok(number_text(&spec, number.is_sign_negative() && !number.is_nan(), "", &float(kind, number.abs(), &spec)))
        }
        kind => fail(format!("unsupported format character '{kind}'")),
    }
}

fn percent_int(spec: &Spec, number: i128, prefix: &str, digits: String) -> String {
    let digits = match spec.precision {
        Some(precision) => format!("{digits:0>precision$}"),
        None => digits,
    };
    let spec = Spec { zero: spec.zero && spec.align.is_none(), ..*spec };
    number_text(&spec, number < 0, prefix, &digits)
}
