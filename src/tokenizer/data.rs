//! The JSON that chat templates are given: messages, tools, documents, variables.
//!
//! Read as Python's `json.loads` reads it, because templates print what they get: integers keep all their digits, `NaN` and
//! `Infinity` are numbers. `serde_json` has no numbers for these; they are objects with one key of our own.

use serde_json::{Map, Value as Json};

use crate::{Error, Result};

/// The key of an object that stands for a number.
const NUMBER: &str = "$mlx_engine::number";
/// How deep JSON may nest. Copying and freeing it takes a call for each level, on the caller's stack.
pub(super) const MAX_DEPTH: usize = 500;
/// Python's limit for an integer.
const MAX_DIGITS: usize = 4300;

/// Reads the JSON text that holds messages, tools, documents or variables of a chat template; `name` is what errors call it.
///
/// Integers of up to 4300 digits, `NaN` and `Infinity` reach the template as Python's numbers. Those that `serde_json` cannot
/// hold are objects in the value that is returned.
///
/// # Errors
///
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for what is not JSON, for values that nest more than 500 deep, and
/// for halves of surrogate pairs (`"\ud83d"`), which no tokenizer takes. The message says where.
pub fn parse_template_data(text: &str, name: &str) -> Result<Json> {
    let mut reader = Reader { text, at: 0, open: Vec::new() };
    reader.read().map_err(|what| {
        let before = text.get(..reader.at).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        Error::invalid_argument(format!("{name}{}: {what} at line {line} column {column}", reader.path()))
    })
}

/// The digits of an integer, or `NaN` or an infinity, where `json` stands for such a number.
pub(super) fn number_text(json: &Json) -> Option<&str> {
    let map = json.as_object().filter(|map| map.len() == 1)?;
    let text = map.get(NUMBER)?.as_str()?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_int = (1..=MAX_DIGITS).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    (is_int || digits == "Infinity" || text == "NaN").then_some(text)
}

fn number(text: &str) -> Json {
    Json::Object(Map::from_iter([(NUMBER.to_owned(), text.into())]))
}

/// A container that is not closed yet.
enum Open {
    Array(Vec<Json>),
    /// With the key whose value comes next.
    Object(Map<String, Json>, String),
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    open: Vec<Open>,
}

type Step<T> = std::result::Result<T, String>;

impl Reader<'_> {
    fn read(&mut self) -> Step<Json> {
        loop {
            // A value, or the beginning of one.
            let mut value = match self.value()? {
                Some(value) => value,
                None => continue,
            };
            // What it completes.
            loop {
                let next = self.peek();
                match self.open.last_mut() {
                    None if next.is_none() => return Ok(value),
                    None => return Err("more after the end of the value".into()),
                    Some(Open::Array(items)) => items.push(value),
                    Some(Open::Object(map, key)) => _ = map.insert(std::mem::take(key), value),
                }
                match (next, self.open.last_mut()) {
                    (Some(b','), Some(Open::Array(_))) => {
                        self.at += 1;
                        break;
                    }
                    (Some(b','), _) => {
                        self.at += 1;
                        let next = self.key()?;
                        if let Some(Open::Object(_, key)) = self.open.last_mut() {
                            *key = next;
                        }
                        break;
                    }
                    (Some(b']'), Some(Open::Array(items))) => value = Json::Array(std::mem::take(items)),
                    (Some(b'}'), Some(Open::Object(map, _))) => value = Json::Object(std::mem::take(map)),
                    (_, Some(Open::Array(_))) => return Err("expected `,` or `]`".into()),
                    _ => return Err("expected `,` or `}`".into()),
                }
                self.at += 1;
                self.open.pop();
            }
        }
    }

    /// The next character that is no white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next value; `None` where a container with something in it was opened.
    fn value(&mut self) -> Step<Option<Json>> {
        let first = self.peek();
        if matches!(first, Some(b'[' | b'{')) && self.open.len() == MAX_DEPTH {
            return Err(format!("nests more than {MAX_DEPTH} deep"));
        }
        match first {
            Some(b'"') => self.string().map(|text| Some(text.into())),
            Some(b'[') => {
                self.at += 1;
                if self.peek() == Some(b']') {
                    self.at += 1;
                    return Ok(Some(Json::Array(Vec::new())));
                }
                self.open.push(Open::Array(Vec::new()));
                Ok(None)
            }
            Some(b'{') => {
                self.at += 1;
                if self.peek() == Some(b'}') {
                    self.at += 1;
                    return Ok(Some(Json::Object(Map::new())));
                }
                let key = self.key()?;
                self.open.push(Open::Object(Map::new(), key));
                Ok(None)
            }
            Some(b'-' | b'0'..=b'9') if !self.text[self.at..].starts_with("-I") => self.number().map(Some),
            _ => self.word().map(Some),
        }
    }

    fn key(&mut self) -> Step<String> {
        if self.peek() != Some(b'"') {
            return Err("expected a key in quotes".into());
        }
        let key = self.string()?;
        if self.peek() != Some(b':') {
            return Err("expected `:`".into());
        }
        self.at += 1;
        Ok(key)
    }

    fn word(&mut self) -> Step<Json> {
        let words = ["null", "true", "false", "NaN", "Infinity", "-Infinity"];
        let Some(word) = words.into_iter().find(|word| self.text[self.at..].starts_with(word)) else {
            return Err("expected a value".into());
        };
        self.at += word.len();
        Ok(match word {
            "null" => Json::Null,
            "true" | "false" => (word == "true").into(),
            _ => number(word),
        })
    }

    fn number(&mut self) -> Step<Json> {
        let rest = &self.text[self.at..];
        let digits = |from: usize| rest.as_bytes()[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let sign = usize::from(rest.starts_with('-'));
        let whole = match digits(sign) {
            0 => return Err("expected a digit".into()),
            _ if rest.as_bytes()[sign] == b'0' => 1,
            count => count,
        };
        let mut end = sign + whole;
        if rest[end..].starts_with('.') && digits(end + 1) > 0 {
            end += 1 + digits(end + 1);
        }
        if rest[end..].starts_with(['e', 'E']) {
            let signed = end + 1 + usize::from(rest[end + 1..].starts_with(['+', '-']));
            if digits(signed) > 0 {
                end = signed + digits(signed);
            }
        }
        let text = &rest[..end];
        let value = if end == sign + whole {
            if whole > MAX_DIGITS {
                return Err(format!("an integer of more than {MAX_DIGITS} digits"));
            }
            match (text.parse::<i64>(), text.parse::<u64>()) {
                (Ok(int), _) => int.into(),
                (_, Ok(int)) => int.into(),
                _ => number(text),
            }
        } else {
            match text.parse::<f64>() {
                Ok(float) if float.is_finite() => float.into(),
                // As Python reads 1e999.
                Ok(float) if float < 0.0 => number("-Infinity"),
                _ => number("Infinity"),
            }
        };
        self.at += end;
        Ok(value)
    }

    fn string(&mut self) -> Step<String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.bytes().take_while(|&b| b != b'"' && b != b'\\' && b >= b' ').count();
            out.push_str(&rest[..plain]);
            self.at += plain;
            match rest.as_bytes().get(plain) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) => return Err("a control character in a string".into()),
                None => return Err("a string without an end".into()),
            }
        }
    }

    /// What an escape sequence stands for. Errors point at its beginning.
    fn escape(&mut self) -> Step<char> {
        let rest = &self.text.as_bytes()[self.at..];
        let (c, length) = match rest.get(1) {
            Some(b'u') => {
                let unit = |at: usize| {
                    let digits = self.text.get(self.at + at..self.at + at + 4)?;
                    let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
                    u16::from_str_radix(digits, 16).ok().filter(|_| hex)
                };
                let Some(first) = unit(2) else { return Err("expected four hexadecimal digits after `\\u`".into()) };
                let second = if rest[6..].starts_with(b"\\u") { unit(8) } else { None };
                match (char::from_u32(first.into()), second) {
                    (Some(c), _) => (c, 6),
                    (None, Some(second)) => match char::decode_utf16([first, second]).next() {
                        Some(Ok(c)) => (c, 12),
                        _ => return Err(half(first)),
                    },
                    (None, None) => return Err(half(first)),
                }
            }
            Some(b'n') => ('\n', 2),
            Some(b't') => ('\t', 2),
            Some(b'r') => ('\r', 2),
            Some(b'b') => ('\x08', 2),
            Some(b'f') => ('\x0c', 2),
            Some(&c @ (b'"' | b'\\' | b'/')) => (c.into(), 2),
            _ => return Err("an unknown escape sequence".into()),
        };
        self.at += length;
        Ok(c)
    }

    /// Where the reader is: `[0].content`.
    fn path(&self) -> String {
        let step = |open: &Open| match open {
            Open::Array(items) => format!("[{}]", items.len()),
            // The value behind this key is complete.
            Open::Object(_, key) if key.is_empty() => String::new(),
            Open::Object(_, key) => format!(".{key}"),
        };
        self.open.iter().take(8).map(step).collect()
    }
}

fn half(unit: u16) -> String {
    format!("`\\u{unit:04x}` is half of a surrogate pair, which is no text,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Json {
        parse_template_data(text, "data").unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn what_serde_json_reads_is_read_alike() {
        for text in [
            r#"{"a": [1, -2, 3.5, 1e3, -0.5E-2, true, false, null, ""], "b": {}, "c": [], "a b": "x"}"#,
            r#" [ "\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é😀" , 18446744073709551615, -9223372036854775808 ] "#,
            r#"{"a": 1, "b": 2, "a": 3}"#,
            "1",
            "\t\r\n\"x\"",
            "[[[[]]], {\"a\": {\"b\": [{}]}}]",
        ] {
            let value = read(text);
            assert_eq!(value, serde_json::from_str::<Json>(text).unwrap());
            assert_eq!(read(&value.to_string()), value);
        }
    }

    #[test]
    fn numbers_are_pythons() {
        let long = "123456789012345678901234567890123456789012345678901234567890";
        for text in ["18446744073709551616", "-9223372036854775809", long, "NaN", "Infinity", "-Infinity"] {
            assert_eq!(number_text(&read(text)), Some(text));
        }
        assert_eq!(number_text(&read("1e999")), Some("Infinity"));
        assert_eq!(number_text(&read("-1.5e999")), Some("-Infinity"));
        assert_eq!(read("-0"), json!(0));
        for other in
            [json!({NUMBER: "1x"}), json!({NUMBER: ""}), json!({NUMBER: "1", "a": 1}), json!({NUMBER: 1}), json!({})]
        {
            assert_eq!(number_text(&other), None, "{other}");
        }
    }

    #[test]
    fn errors_name_the_place() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        read(&deep(MAX_DEPTH));
        for (text, message) in [
            ("", "data: expected a value at line 1 column 1"),
            ("[1,]", "data[1]: expected a value at line 1 column 4"),
            ("[1 2]", "data[1]: expected `,` or `]` at line 1 column 4"),
            ("{\"a\": 1\n \"b\"}", "data: expected `,` or `}` at line 2 column 2"),
            ("{\"a\" 1}", "data: expected `:` at line 1 column 6"),
            ("{a: 1}", "data: expected a key in quotes at line 1 column 2"),
            (
                "[{\"content\": \"é\\ud83d\"}]",
                "data[0].content: `\\ud83d` is half of a surrogate pair, which is no text, at line 1 column 16",
            ),
            ("\"\\ude00\\ud83d\"", "data: `\\ude00` is half of a surrogate pair, which is no text, at line 1 column 2"),
            ("\"\\ud83d\\u0041\"", "data: `\\ud83d` is half of a surrogate pair, which is no text, at line 1 column 2"),
            ("\"\\u12é4\"", "data: expected four hexadecimal digits after `\\u` at line 1 column 2"),
            ("\"\\x\"", "data: an unknown escape sequence at line 1 column 2"),
            ("\"a\nb\"", "data: a control character in a string at line 1 column 3"),
            ("\"a", "data: a string without an end at line 1 column 3"),
            ("01", "data: more after the end of the value at line 1 column 2"),
            ("1.", "data: more after the end of the value at line 1 column 2"),
            ("-", "data: expected a digit at line 1 column 1"),
            ("{\"a\": [", "data.a[0]: expected a value at line 1 column 8"),
        ] {
            assert_eq!(parse_template_data(text, "data").unwrap_err().message(), message, "{text}");
        }
        let error = parse_template_data(&deep(MAX_DEPTH + 1), "data").unwrap_err();
        assert!(error.message().ends_with(": nests more than 500 deep at line 1 column 501"), "{error}");
        let error = parse_template_data(&"9".repeat(MAX_DIGITS + 1), "data").unwrap_err();
        assert!(error.message().contains("more than 4300 digits"), "{error}");
        read(&"9".repeat(MAX_DIGITS));
    }
}
