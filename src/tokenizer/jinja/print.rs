//! `str` and `repr`.

use minijinja::Value;
use minijinja::value::ValueKind;

use super::base::{Result, fail};
use super::number::as_int;
use super::objects::{Callable, Namespace};
use super::value::{Dict, Flavor, Seq};
use super::{budget, long};

/// `repr(value)`: the shortest digits that read back as the same number, laid out as Python does.
pub(super) fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    // Rust changes to exponents at the same magnitudes as Python, but writes 1e16 and 1e-5 for 1e+16 and 1e-05.
    let text = format!("{value:?}");
    match text.split_once('e') {
        None => text,
        Some((mantissa, exponent)) => match exponent.strip_prefix('-') {
            Some(digits) => format!("{mantissa}e-{digits:0>2}"),
            None => format!("{mantissa}e+{exponent:0>2}"),
        },
    }
}

/// How deep a value may nest to be printed; Python gives up at about a thousand.
pub(super) const DEPTH: usize = 980;

/// `str(value)`
pub(super) fn str(value: &Value) -> Result<String> {
    match value.as_str() {
        Some(text) => {
            budget::bytes(text.len())?;
            Ok(text.to_owned())
        }
        None if value.is_undefined() => Ok(String::new()),
        None => repr(value),
    }
}

pub(super) fn repr(value: &Value) -> Result<String> {
    let mut out = Writer::default();
    out.write(value, 0)?;
    budget::bytes(out.text.len() - out.paid)?;
    Ok(out.text)
}

#[derive(Default)]
struct Writer {
    text: String,
    paid: usize,
}

impl Writer {
    fn write(&mut self, value: &Value, depth: usize) -> Result<()> {
        // As it grows, not when it is too late.
        if self.text.len() - self.paid > 4096 {
            budget::bytes(self.text.len() - self.paid)?;
            self.paid = self.text.len();
        }
        if depth > DEPTH {
            self.text.push_str("...");
            return Ok(());
        }
        match value.kind() {
            ValueKind::Undefined => self.text.push_str("Undefined"),
            ValueKind::None => self.text.push_str("None"),
            ValueKind::Bool => self.text.push_str(if value.is_true() { "True" } else { "False" }),
            ValueKind::Number => match as_int(value) {
                Some(int) => self.text.push_str(&int.to_string()),
                None => self.text.push_str(&float_repr(f64::try_from(value.clone()).unwrap_or(f64::NAN))),
            },
            ValueKind::String => {
                let text = str_repr(value.as_str().unwrap_or_default());
                match value.is_safe() {
                    true => self.text.push_str(&format!("Markup({text})")),
                    false => self.text.push_str(&text),
                }
            }
            _ => return self.write_object(value, depth),
        }
        Ok(())
    }

    fn write_object(&mut self, value: &Value, depth: usize) -> Result<()> {
        if let Some(seq) = value.downcast_object_ref::<Seq>() {
            let (open, close) = match seq.flavor {
                Flavor::List => ("[", "]"),
                Flavor::Tuple | Flavor::Group if seq.items.len() == 1 => ("(", ",)"),
                Flavor::Tuple | Flavor::Group => ("(", ")"),
                Flavor::Range(start, stop, step) => {
                    let step = if step == 1 { String::new() } else { format!(", {step}") };
                    self.text.push_str(&format!("range({start}, {stop}{step})"));
                    return Ok(());
                }
                Flavor::View(name) => {
                    self.text.push_str(name);
                    ("([", "])")
                }
            };
            self.text.push_str(open);
            for (i, item) in seq.items.iter().enumerate() {
                if i > 0 {
                    self.text.push_str(", ");
                }
                self.write(item, depth + 1)?;
            }
            self.text.push_str(close);
        } else if let Some(dict) = value.downcast_object_ref::<Dict>() {
            self.write_pairs(dict.pairs.iter().map(|(key, value)| (key, value)), depth)?;
        } else if let Some(namespace) = value.downcast_object_ref::<Namespace>() {
            self.text.push_str("<Namespace ");
            let pairs: Vec<(Value, Value)> =
                namespace.pairs().into_iter().map(|(key, value)| (Value::from(key), value)).collect();
            self.write_pairs(pairs.iter().map(|(key, value)| (key, value)), depth)?;
            self.text.push('>');
        } else if let Some(digits) = long::digits(value) {
            self.text.push_str(digits);
        } else if let Some(callable) = value.downcast_object_ref::<Callable>() {
            self.text.push_str(&format!("{callable:?}"));
        } else {
            let text = value.to_string();
            match text.strip_prefix("<macro ").and_then(|rest| rest.strip_suffix('>')) {
                Some("caller") => self.text.push_str("<Macro anonymous>"),
                Some(name) => self.text.push_str(&format!("<Macro '{name}'>")),
                None => self.text.push_str(&text),
            }
        }
        Ok(())
    }

    fn write_pairs<'a>(&mut self, pairs: impl Iterator<Item = (&'a Value, &'a Value)>, depth: usize) -> Result<()> {
        self.text.push('{');
        for (i, (key, value)) in pairs.enumerate() {
            if i > 0 {
                self.text.push_str(", ");
            }
            self.write(key, depth + 1)?;
            self.text.push_str(": ");
            self.write(value, depth + 1)?;
        }
        self.text.push('}');
        Ok(())
    }
}

/// `repr(text)`
pub(super) fn str_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x100 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if (c as u32) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push(quote);
    out
}

/// `str.isprintable`, but for code points that Unicode has not given out.
pub(super) fn is_printable(c: char) -> bool {
    if c == ' ' {
        return true;
    }
    let format = matches!(c as u32,
        0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x890 | 0x891 | 0x8e2 | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e
        | 0x2060..=0x2064 | 0x2066..=0x206f | 0xfeff | 0xfff9..=0xfffb | 0x110bd | 0x110cd | 0x13430..=0x1343f
        | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0001 | 0xe0020..=0xe007f);
    let unassigned = matches!(c as u32, 0xe000..=0xf8ff | 0xf_0000.. ) || (c as u32) & 0xfffe == 0xfffe;
    !(c.is_control() || c.is_whitespace() || format || unassigned)
}

/// `bytes` are too many for a width or a count that a template asks for.
pub(super) fn width(wanted: i64) -> Result<usize> {
    let width = usize::try_from(wanted).unwrap_or(0);
    if width > 1 << 30 {
        return fail("the width is too large");
    }
    budget::bytes(width)?;
    Ok(width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_python() {
        for (value, text) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (-2.5e-7, "-2.5e-07"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e300, "1.5e+300"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(float_repr(value), text);
        }
    }

    #[test]
    fn texts_are_quoted_as_in_python() {
        for (text, quoted) in [
            ("a", "'a'"),
            ("it's", "\"it's\""),
            ("'\"", "'\\'\"'"),
            ("\n\t\\\u{1}\u{7f}", "'\\n\\t\\\\\\x01\\x7f'"),
            ("é\u{a0}\u{200b}😀\u{e000}", "'é\\xa0\\u200b😀\\ue000'"),
        ] {
            assert_eq!(str_repr(text), quoted);
        }
    }
}
