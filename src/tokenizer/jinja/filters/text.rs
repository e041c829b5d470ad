//! Filters that make texts of texts.

use minijinja::Value;

use super::super::args::{Args, given, int_or, str_of, truth};
use super::super::base::{Result, fail, is_space};
use super::super::value::{Dict, dict, iterate, length, text as paid, tuple, type_name};
use super::super::{budget, methods, ops, percent, print};

pub(super) fn upper(value: Value, args: Args) -> Result<Value> {
    args.none("upper")?;
    paid(print::str(&value)?.to_uppercase())
}

pub(super) fn lower(value: Value, args: Args) -> Result<Value> {
    args.none("lower")?;
    paid(print::str(&value)?.to_lowercase())
}

pub(super) fn capitalize(value: Value, args: Args) -> Result<Value> {
    args.none("capitalize")?;
    paid(methods::capitalize(&print::str(&value)?))
}

/// Unlike `str.title`, this knows words by the blanks and brackets before them.
pub(super) fn title(value: Value, args: Args) -> Result<Value> {
    args.none("title")?;
    let text = print::str(&value)?;
    let mut out = String::with_capacity(text.len());
    let mut begins = true;
    let separates = |c: char| is_space(c) || "-({[<".contains(c);
    let mut word = String::new();
    for c in text.chars() {
        if separates(c) || begins {
            out.push_str(&word.to_lowercase());
            word.clear();
            out.extend(c.to_uppercase());
        } else {
            word.push(c);
        }
        begins = separates(c);
    }
    out.push_str(&word.to_lowercase());
    paid(out)
}

pub(super) fn trim(value: Value, args: Args) -> Result<Value> {
    let [chars] = args.bind("trim", ["chars"], 0)?;
    let text = print::str(&value)?;
    let chars = given(chars);
    let text = methods::strip(&text, "strip", chars.as_ref().map(str_of).transpose()?);
    paid(text.into_owned())
}

pub(super) fn center(value: Value, args: Args) -> Result<Value> {
    let [width] = args.bind("center", ["width"], 0)?;
    methods::justify(&print::str(&value)?, "center", int_or(width.as_ref(), 80)?, " ")
}

pub(super) fn replace(value: Value, args: Args) -> Result<Value> {
    let [old, new, count] = args.bind("replace", ["old", "new", "count"], 2)?;
    let count = int_or(given(count).as_ref(), -1)?;
    let text = |value: Option<Value>| print::str(&value.unwrap_or_default());
    methods::replace(&print::str(&value)?, &text(old)?, &text(new)?, count)
}

pub(super) fn string(value: Value, args: Args) -> Result<Value> {
    args.none("string")?;
    if value.as_str().is_some() { Ok(value) } else { print::str(&value).map(Value::from) }
}

pub(super) fn safe(value: Value, args: Args) -> Result<Value> {
    args.none("safe")?;
    print::str(&value).map(Value::from_safe_string)
}

pub(super) fn escape(value: Value, args: Args) -> Result<Value> {
    args.none("escape")?;
    if value.is_safe() {
        return Ok(value);
    }
    forceescape(value, Args::default())
}

pub(super) fn forceescape(value: Value, args: Args) -> Result<Value> {
    args.none("forceescape")?;
    let text = ops::escape(&print::str(&value)?);
    budget::bytes(text.len())?;
    Ok(Value::from_safe_string(text))
}

/// `pattern|format(..)`: the operator `%`.
pub(super) fn format(value: Value, args: Args) -> Result<Value> {
    let pattern = print::str(&value)?;
    let values = match (args.positional.is_empty(), args.keyword.is_empty()) {
        (false, false) => return fail("can't handle positional and keyword arguments at the same time"),
        (true, false) => dict(args.keyword.into_iter().map(|(key, value)| (Value::from(key), value)))?,
        _ => tuple(args.positional)?,
    };
    percent::percent(&pattern, &values).map(Value::from)
}

/// Jinja's `indent`, which keeps a line end at the end.
pub(super) fn indent(value: Value, args: Args) -> Result<Value> {
    let [width, first, blank] = args.bind("indent", ["width", "first", "blank"], 0)?;
    let indention = match &width {
        Some(text) if text.as_str().is_some() => text.as_str().unwrap_or_default().to_owned(),
        width => " ".repeat(print::width(int_or(width.as_ref(), 4)?)?),
    };
    let (first, blank) = (truth(first.as_ref()), truth(blank.as_ref()));
    let text = format!("{}\n", str_of(&value)?);
    let lines = methods::split_lines(&text, false);
    budget::bytes(text.len() + lines.len().saturating_mul(indention.len()))?;
    let mut out = String::new();
    for (i, line) in lines.into_iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        if if i == 0 { first } else { blank || !line.is_empty() } {
            out.push_str(&indention);
        }
        out.push_str(line);
    }
    Ok(Value::from(out))
}

pub(super) fn truncate(value: Value, args: Args) -> Result<Value> {
    let names = ["length", "killwords", "end", "leeway"];
    let [limit, kill_words, end, leeway] = args.bind("truncate", names, 0)?;
    let limit = int_or(limit.as_ref(), 255)?;
    let end = end.unwrap_or("...".into());
    let end = str_of(&end)?;
    let leeway = int_or(given(leeway).as_ref(), 5)?;
    let keep = limit.saturating_sub(end.chars().count() as i64);
    if keep < 0 || leeway < 0 {
        return fail(format!("expected length >= {}, got {limit}", end.chars().count()));
    }
    if length(&value)? as i64 <= limit.saturating_add(leeway) {
        return Ok(value);
    }
    let text: String = str_of(&value)?.chars().take(keep as usize).collect();
    let text =
        if truth(kill_words.as_ref()) { &text } else { text.rsplit_once(' ').map_or(text.as_str(), |(head, _)| head) };
    paid(format!("{text}{end}"))
}

/// Takes tags and comments away, resolves entities, closes up white space.
pub(super) fn striptags(value: Value, args: Args) -> Result<Value> {
    args.none("striptags")?;
    let whole = print::str(&value)?;
    let mut text = String::with_capacity(whole.len());
    let mut rest = whole.as_str();
    while let Some((head, comment)) = rest.split_once("<!--") {
        let Some((_, tail)) = comment.split_once("-->") else { break };
        text.push_str(head);
        rest = tail;
    }
    text.push_str(rest);
    let mut bare = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((head, tag)) = rest.split_once('<') {
        match tag.split_once('>') {
            Some((_, tail)) => {
                bare.push_str(head);
                rest = tail;
            }
            // None of the rest is a tag either.
            None => break,
        }
    }
    bare.push_str(rest);
    let words: Vec<&str> = bare.split(is_space).filter(|word| !word.is_empty()).collect();
    let closed = words.join(" ");
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&#x27;", "'")];
    let text = entities.iter().fold(closed, |text, (entity, c)| text.replace(entity, c)).replace("&amp;", "&");
    paid(text)
}

pub(super) fn urlencode(value: Value, args: Args) -> Result<Value> {
    args.none("urlencode")?;
    let pairs = if let Some(dict) = value.downcast_object_ref::<Dict>() {
        dict.pairs.clone()
    } else if value.as_str().is_some() || iterate_fails(&value) {
        return paid(quote(&print::str(&value)?, "/"));
    } else {
        let pair = |item: Value| match iterate(&item)?.as_slice() {
            [key, value] => Ok((key.clone(), value.clone())),
            _ => fail("urlencode wants pairs"),
        };
        iterate(&value)?.into_iter().map(pair).collect::<Result<_>>()?
    };
    let mut parts = Vec::new();
    for (key, value) in pairs {
        let part = |value: &Value| print::str(value).map(|text| quote(&text, "").replace("%20", "+"));
        parts.push(format!("{}={}", part(&key)?, part(&value)?));
    }
    paid(parts.join("&"))
}

fn iterate_fails(value: &Value) -> bool {
    matches!(type_name(value), "NoneType" | "bool" | "int" | "float" | "Namespace")
}

fn quote(text: &str, safe: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(byte.into()),
            byte if safe.as_bytes().contains(&byte) => out.push(byte.into()),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

pub(super) fn xmlattr(value: Value, args: Args) -> Result<Value> {
    let [space] = args.bind("xmlattr", ["autospace"], 0)?;
    let Some(dict) = value.downcast_object_ref::<Dict>() else { return fail("xmlattr wants a mapping") };
    let mut parts = Vec::new();
    for (key, value) in dict.pairs.iter().filter(|(_, value)| !value.is_none() && !value.is_undefined()) {
        let key = str_of(key)?;
        if key.contains(|c: char| is_space(c) || matches!(c, '/' | '>' | '=')) {
            return fail(format!("Invalid character in attribute name: {key:?}"));
        }
        let text = if value.is_safe() { print::str(value)? } else { ops::escape(&print::str(value)?) };
        parts.push(format!("{}=\"{text}\"", ops::escape(key)));
    }
    let space = if !parts.is_empty() && space.is_none_or(|space| space.is_true()) { " " } else { "" };
    paid(format!("{space}{}", parts.join(" ")))
}
