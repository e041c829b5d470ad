//! A minijinja environment that renders what transformers' Jinja2 environment renders.
//!
//! minijinja 3 follows Jinja2 closely. This file holds what it leaves to us: the functions and the `tojson` that
//! transformers adds, the methods of Python's `str`, `list` and `dict`, the tests that see values as Python does, and
//! the `{% generation %}` tag.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Object, ObjectRepr, Rest, Tuple, ValueKind, from_args};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value};
use std::fmt;
use std::sync::Arc;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::python::{self, Json, is_space};

/// How many instructions a rendering may take before the first message, and how many more for each message, tool and
/// document. Real templates take a few hundred for each. Values nest no deeper than there are instructions to nest
/// them, so this and the stack in `isolated` belong together.
const FUEL: u64 = 500_000;
const FUEL_PER_ITEM: u64 = 10_000;

/// The instructions that a rendering of `items` messages, tools and documents may take.
pub(super) fn fuel(items: usize) -> u64 {
    FUEL.saturating_add(FUEL_PER_ITEM.saturating_mul(items as u64))
}

/// The longest tag, in bytes. The engine's parser has no limit of its own on chains such as `not not not`, and goes
/// one call deeper for each link.
const TAG_LIMIT: usize = 64 << 10;

/// How deep calls may nest; a macro call counts four. Templates that print JSON schemas go about ten macros deep.
const RECURSION: usize = 300;

/// Where the moment that `strftime_now` prints is passed to it. No template can name this variable.
pub(super) const NOW: &str = "\0now";

/// The environment with one template in it, named `name`.
pub(super) fn compile(name: &str, source: &str) -> Result<Environment<'static>, Error> {
    let mut env = Environment::new();
    env.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_recursion_limit(RECURSION);
    // Errors then say which expression was undefined.
    env.set_debug(true);
    env.set_formatter(|out, _, value| match value.as_str() {
        Some(text) => out.write_str(text).map_err(Error::from),
        None => out.write_str(&python::str(value)).map_err(Error::from),
    });
    env.set_unknown_method_callback(method);

    env.add_filter("tojson", to_json);
    env.add_filter("attr", attr);
    env.add_filter("indent", indent);
    env.add_filter("replace", replace);
    env.add_filter("length", length);
    env.add_filter("count", length);
    env.add_filter("int", int);
    env.add_filter("float", float);
    env.add_filter("string", python::str);
    env.add_test("sequence", is_sequence);
    env.add_test("iterable", is_iterable);
    env.add_test("callable", is_callable);
    env.add_function("raise_exception", raise_exception);
    env.add_function("strftime_now", strftime_now);
    env.add_function("cycler", |items: Rest<Value>| minijinja_contrib::globals::cycler(items.to_vec()));
    env.add_function("joiner", minijinja_contrib::globals::joiner);

    env.add_template_owned(name.to_owned(), prepare(source)?)?;
    Ok(env)
}

/// What a template said by `raise_exception`; it travels as the source of the engine's error.
#[derive(Debug)]
pub(super) struct Raised(pub String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

fn raise_exception(message: &Value) -> Result<Value, Error> {
    let message = message.to_string();
    Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
}

/// The moment `strftime_now` prints.
#[derive(Debug)]
pub(super) struct Now(pub PrimitiveDateTime);

impl Object for Now {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

fn strftime_now(state: &State, format: &str) -> String {
    let given = state.lookup(NOW).and_then(|now| now.downcast_object_ref::<Now>().map(|now| now.0));
    let moment = given.unwrap_or_else(|| {
        // Where the system does not tell its time zone, UTC is the best there is.
        let now = OffsetDateTime::now_local().unwrap_or_else(|_| OffsetDateTime::now_utc());
        PrimitiveDateTime::new(now.date(), now.time())
    });
    python::strftime(format, moment)
}

/// `tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`
fn to_json(value: &Value, args: Rest<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    const NAMES: [&str; 4] = ["ensure_ascii", "indent", "separators", "sort_keys"];
    if args.len() > NAMES.len() {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let mut given = [const { None }; NAMES.len()];
    for (i, name) in NAMES.iter().enumerate() {
        given[i] = args.get(i).cloned().or(kwargs.get::<Option<Value>>(name)?).filter(|value| !value.is_none());
    }
    kwargs.assert_all_used()?;
    let [ensure_ascii, indent, separators, sort_keys] = given;

    let indent = match indent {
        None => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(i64::try_from(indent)?.clamp(0, 64) as usize),
        }),
    };
    let (item_separator, key_separator) = match separators {
        // json.dumps leaves no blank at the end of a line.
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some(pair) => match pair.try_iter()?.collect::<Vec<_>>().as_slice() {
            [item, key] => (item.to_string(), key.to_string()),
            _ => return Err(Error::new(ErrorKind::InvalidOperation, "separators must be a pair")),
        },
    };
    let truth = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let json =
        Json { ensure_ascii: truth(ensure_ascii), sort_keys: truth(sort_keys), indent, item_separator, key_separator };
    json.dumps(value).map(Value::from)
}

/// `value|attr(name)`: Python finds a mapping's methods before its items. A method that is not called is good for
/// nothing, but templates have come to rely on that.
fn attr(value: &Value, name: &str) -> Result<Value, Error> {
    const METHODS: [&str; 11] =
        ["clear", "copy", "fromkeys", "get", "items", "keys", "pop", "popitem", "setdefault", "update", "values"];
    if value.kind() == ValueKind::Map {
        let method = METHODS.contains(&name);
        return Ok(if method { Value::from_object(Method) } else { Value::UNDEFINED });
    }
    minijinja::filters::attr(value, &Value::from(name))
}

#[derive(Debug)]
struct Method;

impl Object for Method {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

/// Jinja's `indent`, which keeps a line end at the end and takes its arguments by position too.
fn indent(
    text: &str,
    width: Option<usize>,
    first: Option<bool>,
    blank: Option<bool>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let width = width.or(kwargs.get("width")?).unwrap_or(4);
    let first = first.or(kwargs.get("first")?).unwrap_or(false);
    let blank = blank.or(kwargs.get("blank")?).unwrap_or(false);
    kwargs.assert_all_used()?;
    let indention = " ".repeat(width.min(1000));
    let mut out = String::new();
    for (i, line) in split_lines(&format!("{text}\n"), false).into_iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        if if i == 0 { first } else { blank || !line.is_empty() } {
            out.push_str(&indention);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// Jinja's `replace`, which can count.
fn replace(text: &Value, old: &str, new: &str, count: Option<usize>) -> String {
    text.to_string().replacen(old, new, count.unwrap_or(usize::MAX))
}

fn length(value: &Value) -> Result<usize, Error> {
    if value.is_undefined() { Ok(0) } else { minijinja::filters::length(value) }
}

/// `int(default=0)`: what is no number becomes the default.
fn int(value: &Value, default: Option<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let default = default.or(kwargs.get("default")?);
    kwargs.assert_all_used()?;
    let number = match value.as_str() {
        Some(text) => text.trim().parse::<i64>().ok().or_else(|| text.trim().parse::<f64>().ok().map(|f| f as i64)),
        None => i64::try_from(value.clone()).ok().or_else(|| python::as_float(value).map(|f| f as i64)),
    };
    Ok(number.map(Value::from).or(default).unwrap_or_else(|| Value::from(0)))
}

/// `float(default=0.0)`: what is no number becomes the default.
fn float(value: &Value, default: Option<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let default = default.or(kwargs.get("default")?);
    kwargs.assert_all_used()?;
    let number = match value.as_str() {
        Some(text) => text.trim().parse::<f64>().ok(),
        None => f64::try_from(value.clone()).ok(),
    };
    Ok(number.map(Value::from).or(default).unwrap_or_else(|| Value::from(0.0)))
}

/// Functions and macros; and undefined, in Jinja.
fn is_callable(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Plain | ValueKind::Undefined)
}

/// Jinja asks for a length and for `[]`: strings, lists and mappings have both, and so has undefined.
fn is_sequence(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Undefined | ValueKind::String | ValueKind::Seq | ValueKind::Map => true,
        // A slice of a list, for one.
        ValueKind::Iterable => value.len().is_some(),
        _ => false,
    }
}

fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// Methods of Python's types. What is missing here is left to minijinja-contrib.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let known = match value.kind() {
        ValueKind::String => string_method(value.as_str().unwrap_or_default(), name, args)?,
        ValueKind::Seq | ValueKind::Iterable => list_method(value, name, args)?,
        ValueKind::Map if name == "copy" => {
            let () = from_args(args)?;
            Some(value.clone())
        }
        _ => None,
    };
    match known {
        Some(result) => Ok(result),
        None => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
    }
}

fn list_method(list: &Value, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(match name {
        "copy" => {
            let () = from_args(args)?;
            Some(list.clone())
        }
        "index" => {
            let (wanted,): (&Value,) = from_args(args)?;
            match list.try_iter()?.position(|item| item == *wanted) {
                Some(at) => Some(Value::from(at)),
                None => return Err(Error::new(ErrorKind::InvalidOperation, format!("{wanted} is not in list"))),
            }
        }
        _ => None,
    })
}

fn string_method(text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let one = |value: String| Ok(Some(Value::from(value)));
    match name {
        "strip" | "lstrip" | "rstrip" => {
            let (set,): (Option<&str>,) = from_args(args)?;
            let drop = |c: char| set.map_or_else(|| is_space(c), |set| set.contains(c));
            let text = if name == "rstrip" { text } else { text.trim_start_matches(drop) };
            one(if name == "lstrip" { text } else { text.trim_end_matches(drop) }.to_owned())
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            one(text.strip_prefix(prefix).unwrap_or(text).to_owned())
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            one(text.strip_suffix(suffix).unwrap_or(text).to_owned())
        }
        "split" | "rsplit" => {
            let (sep, limit, kwargs): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
            let sep = match sep {
                Some(sep) => Some(sep),
                None => kwargs.get::<Option<Value>>("sep")?,
            };
            let limit = match limit {
                Some(limit) => Some(limit),
                None => kwargs.get::<Option<i64>>("maxsplit")?,
            };
            kwargs.assert_all_used()?;
            let sep = match sep.as_ref().filter(|sep| !sep.is_none()) {
                None => None,
                Some(sep) => match sep.as_str() {
                    Some("") => return Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
                    Some(sep) => Some(sep),
                    None => return Err(Error::new(ErrorKind::InvalidOperation, "the separator must be a string")),
                },
            };
            let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
            Ok(Some(split(text, sep, limit, name == "rsplit").into_iter().map(Value::from).collect()))
        }
        "splitlines" => {
            let (keep_ends,): (Option<bool>,) = from_args(args)?;
            Ok(Some(split_lines(text, keep_ends.unwrap_or(false)).into_iter().map(Value::from).collect()))
        }
        "partition" | "rpartition" => {
            let (sep,): (&str,) = from_args(args)?;
            let parts = match name {
                "partition" => text.split_once(sep).map_or((text, "", ""), |(head, tail)| (head, sep, tail)),
                _ => text.rsplit_once(sep).map_or(("", "", text), |(head, tail)| (head, sep, tail)),
            };
            Ok(Some(Value::from(Tuple::from([parts.0, parts.1, parts.2].map(Value::from)))))
        }
        "index" | "rindex" => {
            let (wanted,): (&str,) = from_args(args)?;
            let at = if name == "index" { text.find(wanted) } else { text.rfind(wanted) };
            match at {
                Some(at) => Ok(Some(Value::from(text[..at].chars().count()))),
                None => Err(Error::new(ErrorKind::InvalidOperation, "substring not found")),
            }
        }
        "casefold" => {
            let () = from_args(args)?;
            one(text.to_lowercase())
        }
        "isdecimal" => {
            let () = from_args(args)?;
            Ok(Some(Value::from(!text.is_empty() && text.chars().all(|c| c.is_ascii_digit()))))
        }
        "ljust" | "rjust" | "center" | "zfill" => {
            let (width, fill): (usize, Option<&str>) = from_args(args)?;
            let fill = fill.unwrap_or(if name == "zfill" { "0" } else { " " });
            let missing = width.min(10_000).saturating_sub(text.chars().count());
            // Python puts the odd character of a centred text on the left when the width is odd.
            let before = match name {
                "ljust" => 0,
                "center" => missing / 2 + (missing & width & 1),
                _ => missing,
            };
            let (sign, digits) = match text.strip_prefix(['+', '-']) {
                Some(digits) if name == "zfill" => text.split_at(text.len() - digits.len()),
                _ => ("", text),
            };
            one(format!("{sign}{}{digits}{}", fill.repeat(before), fill.repeat(missing - before)))
        }
        _ => Ok(None),
    }
}

/// `str.split` and `str.rsplit`: at most `limit` cuts, from the left or from the right.
fn split<'a>(text: &'a str, sep: Option<&str>, limit: usize, from_right: bool) -> Vec<&'a str> {
    let pieces = limit.saturating_add(1);
    match (sep, from_right) {
        (Some(sep), false) => text.splitn(pieces, sep).collect(),
        (Some(sep), true) => {
            let mut parts: Vec<_> = text.rsplitn(pieces, sep).collect();
            parts.reverse();
            parts
        }
        (None, _) => {
            // Runs of white space separate. What the last allowed cut leaves keeps its far end as it is.
            let mut parts = Vec::new();
            let trim = |rest: &'a str| match from_right {
                true => rest.trim_end_matches(is_space),
                false => rest.trim_start_matches(is_space),
            };
            let mut rest = trim(text);
            while !rest.is_empty() {
                let cut = if from_right { rest.rfind(is_space) } else { rest.find(is_space) };
                let Some(at) = cut.filter(|_| parts.len() < limit) else {
                    parts.push(rest);
                    break;
                };
                let after = at + rest[at..].chars().next().map_or(1, char::len_utf8);
                let (part, left) =
                    if from_right { (&rest[after..], &rest[..at]) } else { (&rest[..at], &rest[after..]) };
                parts.push(part);
                rest = trim(left);
            }
            if from_right {
                parts.reverse();
            }
            parts
        }
    }
}

/// `str.splitlines`, which knows more line ends than `\n`.
fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let is_end = |c| matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_end) {
        let tail = &rest[at..];
        let end = if tail.starts_with("\r\n") { 2 } else { tail.chars().next().map_or(1, char::len_utf8) };
        lines.push(if keep_ends { &rest[..at + end] } else { &rest[..at] });
        rest = &rest[at + end..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// The template as minijinja can read it: line ends as Jinja normalises them, and `generation` blocks as `with` blocks.
///
/// transformers' `{% generation %}` only marks text that training cares about. Its block has a scope of its own, and
/// so has `with`.
fn prepare(source: &str) -> Result<String, Error> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(at) = rest.as_bytes().windows(2).position(|pair| matches!(pair, b"{%" | b"{{" | b"{#")) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = match &rest[..2] {
            "{#" => rest.find("#}").map_or(rest.len(), |end| end + 2),
            "{{" => tag_end(rest, "}}"),
            _ if tag_name(rest) == "raw" => {
                let after = rest[2..].match_indices("{%").find(|(at, _)| tag_name(&rest[2 + at..]) == "endraw");
                after.map_or(rest.len(), |(at, _)| 2 + at + tag_end(&rest[2 + at..], "%}"))
            }
            _ => tag_end(rest, "%}"),
        };
        let tag = &rest[..end];
        if end > TAG_LIMIT && !tag.starts_with("{#") && tag_name(tag) != "raw" {
            return Err(Error::new(ErrorKind::SyntaxError, format!("a tag is longer than {} KiB", TAG_LIMIT >> 10)));
        }
        let inner = tag.trim_start_matches(['{', '%', '-', '+']).trim_end_matches(['}', '%', '-', '+']).trim();
        match inner {
            "generation" if tag.starts_with("{%") => out.push_str(&tag.replacen("generation", "with", 1)),
            "endgeneration" if tag.starts_with("{%") => out.push_str(&tag.replacen("endgeneration", "endwith", 1)),
            _ => out.push_str(tag),
        }
        rest = &rest[end..];
    }
    Ok(out + rest)
}

/// The word that a tag beginning `{%` starts with.
fn tag_name(tag: &str) -> &str {
    let inner = tag[2..].trim_start_matches(['-', '+']).trim_start();
    &inner[..inner.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(inner.len())]
}

/// Where a tag ends that closes with `close`: string literals in it may hold anything.
fn tag_end(tag: &str, close: &str) -> usize {
    let bytes = tag.as_bytes();
    let mut quote = None;
    let mut depth = 0usize;
    let mut i = 2;
    while i < bytes.len() {
        match (quote, bytes[i]) {
            (Some(_), b'\\') => i += 1,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, c @ (b'"' | b'\'')) => quote = Some(c),
            // `{{ {'a': {}}}}`: the braces of a mapping are not the end.
            (None, _) if depth == 0 && bytes[i..].starts_with(close.as_bytes()) => return i + 2,
            (None, b'{') => depth += 1,
            (None, b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        i += 1;
    }
    tag.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_blocks_become_with_blocks() {
        for (source, prepared) in [
            ("{% generation %}x{% endgeneration %}", "{% with %}x{% endwith %}"),
            ("{%- generation -%}x{%- endgeneration -%}", "{%- with -%}x{%- endwith -%}"),
            ("{%generation%}{%endgeneration%}", "{%with%}{%endwith%}"),
            ("{{ '{% generation %}' }}", "{{ '{% generation %}' }}"),
            ("{{ {'a': {}}}}{% generation %}", "{{ {'a': {}}}}{% with %}"),
            ("{# {% generation %} #}", "{# {% generation %} #}"),
            ("{% raw %}{% generation %}{% endraw %}", "{% raw %}{% generation %}{% endraw %}"),
            ("{% if generation %}\r\n{%", "{% if generation %}\n{%"),
            ("generation", "generation"),
        ] {
            assert_eq!(prepare(source).unwrap(), prepared);
        }
    }

    #[test]
    fn text_splits_as_in_python() {
        assert_eq!(split("  a b  c ", None, usize::MAX, false), ["a", "b", "c"]);
        assert_eq!(split("  a b  c ", None, 1, false), ["a", "b  c "]);
        assert_eq!(split("  a b  c ", None, 1, true), ["  a b", "c"]);
        assert_eq!(split("a  ", None, 1, false), ["a"]);
        assert_eq!(split("", None, usize::MAX, false), [""; 0]);
        assert_eq!(split("", Some(","), usize::MAX, false), [""]);
        assert_eq!(split("a,b,c", Some(","), 1, false), ["a", "b,c"]);
        assert_eq!(split("a,b,c", Some(","), 1, true), ["a,b", "c"]);
        assert_eq!(split("a,b", Some(","), 0, false), ["a,b"]);
        assert_eq!(split_lines("a\r\nb\rc\u{2028}d\n", false), ["a", "b", "c", "d"]);
        assert_eq!(split_lines("a\n\nb", true), ["a\n", "\n", "b"]);
    }
}
