//! `json.dumps`, and the filter `tojson` that transformers makes of it.

use minijinja::Value;
use minijinja::value::ValueKind;

use super::args::{Args, given, int_or, truth};
use super::base::{Result, fail};
use super::number::as_int;
use super::print::{self, DEPTH, float_repr};
use super::value::{Dict, Flavor, Seq, iterate, type_name};
use super::{budget, long};

/// How `json.dumps` is asked to write.
struct Json {
    ensure_ascii: bool,
    sort_keys: bool,
    /// What one level of nesting is indented with; `None` keeps everything on one line.
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    paid: usize,
}

/// `tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`
pub(super) fn to_json(value: &Value, args: Args) -> Result<Value> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ensure_ascii, indent, separators, sort_keys] = args.bind("tojson", names, 0)?.map(given);
    let indent = match indent {
        None => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(int_or(Some(&indent), 0)?.clamp(0, 1000) as usize),
        }),
    };
    let (item_separator, key_separator) = match separators {
        // json.dumps leaves no blank at the end of a line.
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some(pair) => match iterate(&pair)?.as_slice() {
            [item, key] => (print::str(item)?, print::str(key)?),
            _ => return fail("separators must be a pair"),
        },
    };
    let (ensure_ascii, sort_keys) = (truth(ensure_ascii.as_ref()), truth(sort_keys.as_ref()));
    let mut json = Json { ensure_ascii, sort_keys, indent, item_separator, key_separator, paid: 0 };
    let mut out = String::new();
    json.write(value, 0, &mut out)?;
    budget::bytes(out.len() - json.paid)?;
    Ok(Value::from(out))
}

impl Json {
    /// Fails on undefined values and on objects that have no JSON form, as Python does.
    fn write(&mut self, value: &Value, depth: usize, out: &mut String) -> Result<()> {
        if depth > DEPTH {
            return fail("the value nests too deep for JSON");
        }
        if out.len() - self.paid > 4096 {
            budget::bytes(out.len() - self.paid)?;
            self.paid = out.len();
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&json_number(value)),
            ValueKind::String => self.write_str(value.as_str().unwrap_or_default(), out),
            _ => {
                if let Some(seq) = value.downcast_object_ref::<Seq>()
                    && matches!(seq.flavor, Flavor::List | Flavor::Tuple | Flavor::Group)
                {
                    out.push('[');
                    for (i, item) in seq.items.iter().enumerate() {
                        self.separate(i, depth + 1, out)?;
                        self.write(item, depth + 1, out)?;
                    }
                    self.close(']', seq.items.is_empty(), depth, out)?;
                } else if let Some(dict) = value.downcast_object_ref::<Dict>() {
                    let mut pairs = Vec::with_capacity(dict.pairs.len());
                    for (key, item) in &dict.pairs {
                        pairs.push((json_key(key)?, item));
                    }
                    if self.sort_keys {
                        pairs.sort_by(|a, b| a.0.cmp(&b.0));
                    }
                    out.push('{');
                    for (i, (key, item)) in pairs.iter().enumerate() {
                        self.separate(i, depth + 1, out)?;
                        self.write_str(key, out);
                        out.push_str(&self.key_separator);
                        self.write(item, depth + 1, out)?;
                    }
                    self.close('}', pairs.is_empty(), depth, out)?;
                } else if let Some(digits) = long::digits(value) {
                    out.push_str(digits);
                } else {
                    return fail(format!("Object of type {} is not JSON serializable", type_name(value)));
                }
            }
        }
        Ok(())
    }

    fn separate(&mut self, at: usize, depth: usize, out: &mut String) -> Result<()> {
        if at > 0 {
            out.push_str(&self.item_separator);
        }
        self.new_line(depth, out)
    }

    fn close(&mut self, bracket: char, empty: bool, depth: usize, out: &mut String) -> Result<()> {
        if !empty {
            self.new_line(depth, out)?;
        }
        out.push(bracket);
        Ok(())
    }

    /// An indent may be long, and there are as many as the nesting is deep: paid for before they are written.
    fn new_line(&mut self, depth: usize, out: &mut String) -> Result<()> {
        if let Some(indent) = &self.indent {
            let bytes = indent.len().saturating_mul(depth);
            budget::bytes(bytes)?;
            self.paid += bytes;
            out.push('\n');
            out.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
        Ok(())
    }

    fn write_str(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\x08' => out.push_str("\\b"),
                '\x0c' => out.push_str("\\f"),
                c if c < ' ' || (self.ensure_ascii && !(' '..='~').contains(&c)) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

fn json_number(value: &Value) -> String {
    match as_int(value) {
        Some(int) => int.to_string(),
        None => match f64::try_from(value.clone()).unwrap_or(f64::NAN) {
            f64::INFINITY => "Infinity".into(),
            f64::NEG_INFINITY => "-Infinity".into(),
            float if float.is_nan() => "NaN".into(),
            float => float_repr(float),
        },
    }
}

/// A key as `json.dumps` writes it: scalars become strings, anything else is refused.
fn json_key(key: &Value) -> Result<String> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".into()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.into()),
        ValueKind::Number => Ok(json_number(key)),
        _ if let Some(digits) = long::digits(key) => Ok(digits.to_owned()),
        _ => fail(format!("keys must be str, int, float, bool or None, not {}", type_name(key))),
    }
}
