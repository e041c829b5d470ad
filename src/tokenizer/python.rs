//! The few pieces of Python that chat templates can see: `repr(float)`, `json.dumps`, `datetime.strftime`, and what
//! `str` takes for white space.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};
use time::PrimitiveDateTime;

/// Whether Python's `str.isspace` and `str.strip` count `c` as white space. Unicode's property lacks four of them.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

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
const DEPTH: usize = 500;

/// `str(value)`. minijinja's own text differs only where floats have exponents.
pub(super) fn str(value: &Value) -> String {
    match value.kind() {
        ValueKind::Number | ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => repr(value, 0),
        _ => value.to_string(),
    }
}

fn repr(value: &Value, depth: usize) -> String {
    if depth > DEPTH {
        return "...".into();
    }
    let inner = |value: &Value| repr(value, depth + 1);
    let list = |open: &str, items: Vec<String>, close: &str| format!("{open}{}{close}", items.join(", "));
    let items = || value.try_iter().into_iter().flatten().map(|item| inner(&item)).collect::<Vec<_>>();
    match (value.kind(), value.as_object()) {
        (ValueKind::Number, _) => as_float(value).map_or_else(|| value.to_string(), float_repr),
        (ValueKind::Seq, _) if value.is_tuple() => list("(", items(), if value.len() == Some(1) { ",)" } else { ")" }),
        (ValueKind::Seq, _) => list("[", items(), "]"),
        // A slice of a list, not a generator.
        (ValueKind::Iterable, _) if value.len().is_some() => list("[", items(), "]"),
        (ValueKind::Map, Some(map)) => {
            let pairs = map.try_iter_pairs().into_iter().flatten();
            list("{", pairs.map(|(key, item)| format!("{}: {}", inner(&key), inner(&item))).collect(), "}")
        }
        _ => format!("{value:?}"),
    }
}

/// The float inside a template value, where it is one.
pub(super) fn as_float(value: &Value) -> Option<f64> {
    if value.kind() == ValueKind::Number && !value.is_integer() { f64::try_from(value.clone()).ok() } else { None }
}

/// How `json.dumps` is asked to write.
pub(super) struct Json {
    pub ensure_ascii: bool,
    pub sort_keys: bool,
    /// What one level of nesting is indented with; `None` keeps everything on one line.
    pub indent: Option<String>,
    pub item_separator: String,
    pub key_separator: String,
}

impl Json {
    /// `json.dumps(value)`. Fails on undefined values and on objects that have no JSON form, as Python does.
    pub fn dumps(&self, value: &Value) -> Result<String, Error> {
        let mut out = String::new();
        self.write(value, 0, &mut out)?;
        Ok(out)
    }

    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        if depth > DEPTH {
            return Err(Error::new(ErrorKind::InvalidOperation, "the value nests too deep for JSON"));
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => match as_float(value) {
                Some(float) => out.push_str(&json_float(float)),
                None => out.push_str(&value.to_string()),
            },
            ValueKind::String => self.write_str(value.as_str().unwrap_or_default(), out),
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?;
                self.write_container(out, '[', ']', depth, items, |item, out| self.write(&item, depth + 1, out))?;
            }
            ValueKind::Map => {
                let mut pairs = Vec::new();
                for (key, item) in value.as_object().and_then(|map| map.try_iter_pairs()).into_iter().flatten() {
                    pairs.push((json_key(&key)?, item));
                }
                if self.sort_keys {
                    pairs.sort_by(|a, b| a.0.cmp(&b.0));
                }
                self.write_container(out, '{', '}', depth, pairs, |(key, item), out| {
                    self.write_str(&key, out);
                    out.push_str(&self.key_separator);
                    self.write(&item, depth + 1, out)
                })?;
            }
            kind => return Err(not_serializable(kind)),
        }
        Ok(())
    }

    fn write_container<T>(
        &self,
        out: &mut String,
        open: char,
        close: char,
        depth: usize,
        items: impl IntoIterator<Item = T>,
        mut write_item: impl FnMut(T, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(open);
        let mut empty = true;
        for item in items {
            if !empty {
                out.push_str(&self.item_separator);
            }
            empty = false;
            self.new_line(depth + 1, out);
            write_item(item, out)?;
        }
        if !empty {
            self.new_line(depth, out);
        }
        out.push(close);
        Ok(())
    }

    fn new_line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
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

fn json_float(value: f64) -> String {
    match value {
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        _ if value.is_nan() => "NaN".into(),
        _ => float_repr(value),
    }
}

/// A key as `json.dumps` writes it: scalars become strings, anything else is refused.
fn json_key(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".into()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.into()),
        ValueKind::Number => Ok(as_float(key).map_or_else(|| key.to_string(), json_float)),
        kind => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("keys must be str, int, float, bool or None, not {kind}"),
        )),
    }
}

fn not_serializable(kind: ValueKind) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("Object of type {kind} is not JSON serializable"))
}

/// `moment.strftime(format)` for a moment without a time zone, in the C locale, with the flags `-`, `_`, `0` and `^`.
/// A directive that does not exist is copied as it is.
pub(super) fn strftime(format: &str, moment: PrimitiveDateTime) -> String {
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let directive = &rest[at + 1..];
        let flags = directive.len() - directive.trim_start_matches(['-', '_', '0', '^', '#']).len();
        let Some(letter) = directive[flags..].chars().next() else {
            rest = &rest[at..];
            break;
        };
        let end = at + 1 + flags + letter.len_utf8();
        match expand(letter, directive[..flags].chars().last(), moment) {
            Some(text) => out.push_str(&text),
            None => out.push_str(&rest[at..end]),
        }
        rest = &rest[end..];
    }
    out + rest
}

fn expand(letter: char, flag: Option<char>, t: PrimitiveDateTime) -> Option<String> {
    // A number in the width and with the padding that the directive has, unless a flag says otherwise.
    let padded = |value: i64, width: usize, default: char| match flag.unwrap_or(default) {
        '-' => value.to_string(),
        '_' => format!("{value:width$}"),
        '0' => format!("{value:0width$}"),
        _ if default == '_' => format!("{value:width$}"),
        _ => format!("{value:0width$}"),
    };
    let number = |value: i64, width: usize| Some(padded(value, width, '0'));
    let word = |text: String, len: usize| {
        let text: String = text.chars().take(len).collect();
        Some(if flag == Some('^') { text.to_uppercase() } else { text })
    };
    let year = i64::from(t.year());
    let hour12 = i64::from((t.hour() + 11) % 12 + 1);
    let day_of_year = i64::from(t.ordinal());
    let from_monday = i64::from(t.weekday().number_days_from_monday());
    let from_sunday = i64::from(t.weekday().number_days_from_sunday());
    let (iso_year, iso_week, _) = t.to_iso_week_date();
    let again = |format: &str| Some(strftime(format, t));
    match letter {
        'Y' => Some(year.to_string()),
        'C' => number(year.div_euclid(100), 2),
        'y' => number(year.rem_euclid(100), 2),
        'm' => number(i64::from(u8::from(t.month())), 2),
        'B' => word(t.month().to_string(), usize::MAX),
        'b' | 'h' => word(t.month().to_string(), 3),
        'd' => number(i64::from(t.day()), 2),
        'e' => Some(padded(i64::from(t.day()), 2, '_')),
        'j' => number(day_of_year, 3),
        'A' => word(t.weekday().to_string(), usize::MAX),
        'a' => word(t.weekday().to_string(), 3),
        'u' => number(from_monday + 1, 1),
        'w' => number(from_sunday, 1),
        'U' => number((day_of_year + 6 - from_sunday) / 7, 2),
        'W' => number((day_of_year + 6 - from_monday) / 7, 2),
        'V' => number(i64::from(iso_week), 2),
        'G' => Some(iso_year.to_string()),
        'g' => number(i64::from(iso_year).rem_euclid(100), 2),
        'H' => number(i64::from(t.hour()), 2),
        'k' => Some(padded(i64::from(t.hour()), 2, '_')),
        'I' => number(hour12, 2),
        'l' => Some(padded(hour12, 2, '_')),
        'M' => number(i64::from(t.minute()), 2),
        'S' => number(i64::from(t.second()), 2),
        'f' => Some(format!("{:06}", t.microsecond())),
        'p' => word(if t.hour() < 12 { "AM" } else { "PM" }.into(), 2),
        'P' => Some(if t.hour() < 12 { "am" } else { "pm" }.into()),
        'D' | 'x' => again("%m/%d/%y"),
        'F' => again("%Y-%m-%d"),
        'T' | 'X' => again("%H:%M:%S"),
        'R' => again("%H:%M"),
        'r' => again("%I:%M:%S %p"),
        'c' => again("%a %b %e %H:%M:%S %Y"),
        // A moment without a time zone has neither name nor offset.
        'Z' | 'z' => Some(String::new()),
        'n' => Some("\n".into()),
        't' => Some("\t".into()),
        '%' => Some("%".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

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
    fn dates_print_as_in_python() {
        let moment = datetime!(2024-07-09 08:05:03.000_042);
        for (format, text) in [
            ("%d %b %Y", "09 Jul 2024"),
            ("%B %-d, %Y", "July 9, 2024"),
            ("%A %a %j %U %W %V %G %u %w", "Tuesday Tue 191 27 28 28 2024 2 2"),
            ("%Y-%m-%dT%H:%M:%S.%f%z", "2024-07-09T08:05:03.000042"),
            ("%I:%M %p|%l|%e|%_d|%^a|%c", "08:05 AM| 8| 9| 9|TUE|Tue Jul  9 08:05:03 2024"),
            ("%D %F %T %R %x %X %y %%", "07/09/24 2024-07-09 08:05:03 08:05 07/09/24 08:05:03 24 %"),
            ("100%", "100%"),
            ("%-", "%-"),
            ("%Q é %é", "%Q é %é"),
        ] {
            assert_eq!(strftime(format, moment), text, "{format}");
        }
    }
}
