//! `text.format(..)`

use minijinja::Value;

use super::access;
use super::args::Args;
use super::base::{Result, fail};
use super::budget;
use super::layout::{Spec, digits, float, general, number_text, pad, radix};
use super::number::{Number, as_number};
use super::print::{self, float_repr};
use super::value::type_name;

/// `pattern.format(..)`
pub(super) fn braces(pattern: &str, args: &Args) -> Result<String> {
    let mut auto = Some(0);
    expand(pattern, args, &mut auto, 2)
}

fn expand(pattern: &str, args: &Args, auto: &mut Option<usize>, depth: usize) -> Result<String> {
    if pattern.is_empty() {
        return Ok(String::new());
    }
    if depth == 0 {
        return fail("Max string recursion exceeded");
    }
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if rest.starts_with(brace) {
            out.push_str(brace);
            rest = &rest[1..];
            continue;
        }
        if brace == "}" {
            return fail("Single '}' encountered in format string");
        }
        let mut open = 1;
        let end = rest.find(|c| {
            open += i32::from(c == '{') - i32::from(c == '}');
            open == 0
        });
        let Some(end) = end else { return fail("expected '}' before end of string") };
        let text = replacement(&rest[..end], args, auto, depth)?;
        budget::bytes(text.len())?;
        out.push_str(&text);
        rest = &rest[end + 1..];
    }
    Ok(out + rest)
}

fn replacement(field: &str, args: &Args, auto: &mut Option<usize>, depth: usize) -> Result<String> {
    // The bracket of a subscript may hold what would else begin the conversion.
    let mut bracket = false;
    let name_end = field.find(|c| {
        bracket = if c == '[' { true } else { bracket && c != ']' };
        !bracket && (c == '!' || c == ':')
    });
    let (name, rest) = field.split_at(name_end.unwrap_or(field.len()));
    let (conversion, spec) = match rest.strip_prefix('!') {
        Some(rest) => (rest.chars().next(), rest.get(1..).unwrap_or_default()),
        None => (None, rest),
    };
    let spec = match (spec.strip_prefix(':'), spec.is_empty()) {
        (Some(spec), _) => spec,
        (None, true) => "",
        (None, false) => return fail("expected ':' after conversion specifier"),
    };
    let first_end = name.find(['.', '[']).unwrap_or(name.len());
    let (first, mut path) = name.split_at(first_end);
    let mut value = match (first.parse::<usize>(), first) {
        (_, "") => {
            let Some(index) = *auto else { return fail("cannot switch from manual to automatic field numbering") };
            *auto = Some(index + 1);
            args.positional.get(index).cloned()
        }
        (Ok(index), _) => {
            if auto.is_some_and(|auto| auto > 0) {
                return fail("cannot switch from automatic to manual field numbering");
            }
            *auto = None;
            args.positional.get(index).cloned()
        }
        (Err(_), name) => args.keyword.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()),
    };
    if value.is_none() {
        return fail(format!("no argument {first:?} for the format"));
    }
    while let (Some(current), false) = (&value, path.is_empty()) {
        value = Some(if let Some(rest) = path.strip_prefix('.') {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            path = &rest[end..];
            access::attribute(current, &rest[..end])?
        } else {
            let Some((key, rest)) = path[1..].split_once(']') else { return fail("missing ']' in format string") };
            path = rest;
            access::item(current, &key.parse::<i64>().map_or_else(|_| key.into(), Value::from))?
        });
    }
    let mut value = value.unwrap_or_default();
    match conversion {
        None => {}
        Some('s') => value = Value::from(print::str(&value)?),
        Some('r' | 'a') => value = Value::from(print::repr(&value)?),
        Some(c) => return fail(format!("Unknown conversion specifier {c:?}")),
    }
    apply(&value, &expand(spec, args, auto, depth - 1)?)
}

/// `format(value, spec)`
fn apply(value: &Value, text: &str) -> Result<String> {
    if text.is_empty() {
        return print::str(value);
    }
    let mut spec = Spec::default();
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    if chars.len() > 1 && "<>=^".contains(chars[1]) {
        (spec.fill, spec.align, at) = (Some(chars[0]), Some(chars[1]), 2);
    } else if "<>=^".contains(chars[0]) {
        (spec.align, at) = (Some(chars[0]), 1);
    }
    let rest: String = chars[at..].iter().collect();
    let mut chars = rest.chars().peekable();
    spec.sign = chars.next_if(|c| "+- ".contains(*c));
    spec.alternate = chars.next_if_eq(&'#').is_some();
    spec.zero = chars.next_if_eq(&'0').is_some();
    spec.width = digits(&mut chars)?.unwrap_or(0);
    spec.group = chars.next_if(|c| ",_".contains(*c));
    if chars.next_if_eq(&'.').is_some() {
        spec.precision = digits(&mut chars)?;
        if spec.precision.is_none() {
            return fail("Format specifier missing precision");
        }
    }
    let kind = chars.next();
    if chars.next().is_some() {
        return fail("Invalid format specifier");
    }
    if let (Some(text), None | Some('s')) = (value.as_str(), kind) {
        if spec.sign.is_some() || spec.group.is_some() || spec.align == Some('=') {
            return fail("Sign not allowed in string format specifier");
        }
        let fill = spec.fill.or(spec.zero.then_some('0'));
        let text = text.chars().take(spec.precision.unwrap_or(usize::MAX)).collect();
        return Ok(pad(&Spec { fill, ..spec }, text, '<'));
    }
    let Some(number) = as_number(value) else {
        return fail(format!("unsupported format string for {}", type_name(value)));
    };
    match (number, kind) {
        (Number::Int(code), Some('c')) => match u32::try_from(code).ok().and_then(char::from_u32) {
            Some(c) => Ok(pad(&spec, c.to_string(), '<')),
            None => fail("%c arg not in range(0x110000)"),
        },
        (Number::Int(number), None | Some('d' | 'n')) if spec.precision.is_none() => {
            Ok(number_text(&spec, number < 0, "", &number.unsigned_abs().to_string()))
        }
        (Number::Int(number), Some(kind @ ('x' | 'X' | 'o' | 'b'))) if spec.precision.is_none() => {
            let (prefix, digits) = radix(kind, number);
            Ok(number_text(&spec, number < 0, if spec.alternate { prefix } else { "" }, &digits))
        }
        (_, Some(kind @ ('e' | 'E' | 'f' | 'F' | 'g' | 'G'))) => {
            let number = number.float();
            Ok(number_text(&spec, number.is_sign_negative(), "", &float(kind, number.abs(), &spec)))
        }
        (_, Some('%')) => {
            let number = number.float() * 100.0;
            Ok(number_text(&spec, number.is_sign_negative(), "", &(float('f', number.abs(), &spec) + "%")))
        }
        (Number::Float(number), None) => {
            let digits = match spec.precision {
                None => float_repr(number.abs()),
                Some(precision) => match general(number.abs(), precision.max(1), false) {
                    text if text.contains(['.', 'e', 'n']) => text,
                    text => text + ".0",
                },
            };
            Ok(number_text(&spec, number.is_sign_negative(), "", &digits))
        }
        _ => fail(format!("Unknown format code {:?} for object of type '{}'", kind.unwrap_or(' '), type_name(value))),
    }
}
