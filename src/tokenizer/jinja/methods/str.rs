//! The methods of `str`.

use minijinja::Value;
use std::borrow::Cow;

use super::super::super::protect::is_mark;
use super::super::args::{Args, given, int_or, str_of, truth};
use super::super::base::{Result, fail, is_space};
use super::super::braces;
use super::super::budget;
use super::super::print;
use super::super::value::{Dict, Flavor, Seq, iterate, strings, text as paid, tuple, type_name};

pub(super) fn call(text: &str, name: &str, args: Args) -> Result<Value> {
    match name {
        "upper" => args.none(name).and_then(|()| paid(text.to_uppercase())),
        "lower" => args.none(name).and_then(|()| paid(text.to_lowercase())),
        "casefold" => args.none(name).and_then(|()| paid(text.to_lowercase().replace('ß', "ss"))),
        "title" => args.none(name).and_then(|()| paid(title(text))),
        "capitalize" => args.none(name).and_then(|()| paid(capitalize(text))),
        "swapcase" => {
            args.none(name)?;
            let swap =
                |c: char| if c.is_uppercase() { c.to_lowercase().to_string() } else { c.to_uppercase().to_string() };
            paid(text.chars().map(swap).collect())
        }
        "strip" | "lstrip" | "rstrip" => {
            let [set] = args.bind(name, [""], 0)?;
            let set = given(set);
            paid(strip(text, name, set.as_ref().map(str_of).transpose()?).into_owned())
        }
        "removeprefix" => paid(text.strip_prefix(str_of(&args.one(name)?)?).unwrap_or(text).to_owned()),
        "removesuffix" => paid(text.strip_suffix(str_of(&args.one(name)?)?).unwrap_or(text).to_owned()),
        "split" | "rsplit" => {
            let [sep, limit] = args.bind(name, ["sep", "maxsplit"], 0)?;
            let limit = usize::try_from(int_or(limit.as_ref(), -1)?).unwrap_or(usize::MAX);
            let sep = given(sep);
            let sep = sep.as_ref().map(str_of).transpose()?;
            if sep == Some("") {
                return fail("empty separator");
            }
            budget::items(text.len() / 8)?;
            strings(split(text, sep, limit, name == "rsplit"))
        }
        "splitlines" => {
            let [keep] = args.bind(name, ["keepends"], 0)?;
            budget::items(text.len() / 8)?;
            strings(split_lines(text, truth(keep.as_ref())))
        }
        "partition" | "rpartition" => {
            let sep = args.one(name)?;
            let sep = str_of(&sep)?;
            let parts = match name {
                _ if sep.is_empty() => return fail("empty separator"),
                "partition" => text.split_once(sep).map_or((text, "", ""), |(head, tail)| (head, sep, tail)),
                _ => text.rsplit_once(sep).map_or(("", "", text), |(head, tail)| (head, sep, tail)),
            };
            tuple([parts.0, parts.1, parts.2].map(Value::from).to_vec())
        }
        "join" => {
            let items = iterate(&args.one(name)?)?;
            let mut out = String::new();
            for (i, item) in items.iter().enumerate() {
                let Some(item) = item.as_str() else {
                    return fail(format!("sequence item {i}: expected str instance, {} found", type_name(item)));
                };
                budget::bytes(text.len() + item.len())?;
                if i > 0 {
                    out.push_str(text);
                }
                out.push_str(item);
            }
            Ok(Value::from(out))
        }
        "replace" => {
            let [old, new, count] = args.bind(name, ["", "", "count"], 2)?;
            let count = int_or(count.as_ref(), -1)?;
            replace(text, str_of(&old.unwrap_or_default())?, str_of(&new.unwrap_or_default())?, count)
        }
        "startswith" | "endswith" => {
            let [wanted, start, end] = args.bind(name, ["", "", ""], 1)?;
            let text = without_marks(text);
            let part = window(&text, given(start), given(end))?;
            let wanted = wanted.unwrap_or_default();
            let fits = |wanted: &Value| -> Result<bool> {
                let wanted = str_of(wanted)?;
                Ok(part.is_some_and(|(_, part)| match name {
                    "startswith" => part.starts_with(wanted),
                    _ => part.ends_with(wanted),
                }))
            };
            match wanted.downcast_object_ref::<Seq>().filter(|seq| seq.flavor == Flavor::Tuple) {
                Some(all) => {
                    for wanted in &all.items {
                        if fits(wanted)? {
                            return Ok(true.into());
                        }
                    }
                    Ok(false.into())
                }
                None => fits(&wanted).map(Value::from),
            }
        }
        "find" | "rfind" | "index" | "rindex" | "count" => {
            let [wanted, start, end] = args.bind(name, ["", "", ""], 1)?;
            let wanted = wanted.unwrap_or_default();
            let wanted = str_of(&wanted)?;
            let part = window(text, given(start), given(end))?;
            if name == "count" {
                return Ok(part.map_or(0, |(_, part)| part.matches(wanted).count()).into());
            }
            let found = part.and_then(|(before, part)| {
                let at = if name.starts_with('r') { part.rfind(wanted) } else { part.find(wanted) };
                at.map(|at| before + part[..at].chars().count())
            });
            match found {
                Some(at) => Ok(at.into()),
                None if name.ends_with("find") => Ok((-1).into()),
                None => fail("substring not found"),
            }
        }
        "ljust" | "rjust" | "center" => {
            let [width, fill] = args.bind(name, ["", ""], 1)?;
            let fill = fill.unwrap_or(" ".into());
            justify(text, name, int_or(width.as_ref(), 0)?, str_of(&fill)?)
        }
        "zfill" => {
            let width = int_or(Some(&args.one(name)?), 0)?;
            let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
            let sign = &text[..text.len() - digits.len()];
            let missing = print::width(width)?.saturating_sub(text.chars().count());
            Ok(format!("{sign}{}{digits}", "0".repeat(missing)).into())
        }
        "expandtabs" => {
            let [size] = args.bind(name, ["tabsize"], 0)?;
            expand_tabs(text, int_or(size.as_ref(), 8)?)
        }
        "format" => braces::braces(text, &args).map(Value::from),
        "format_map" => {
            let mapping = args.one(name)?;
            let Some(mapping) = mapping.downcast_object_ref::<Dict>() else {
                return fail("format_map() wants a mapping");
            };
            let keyword =
                mapping.pairs.iter().filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value.clone())));
            braces::braces(text, &Args { positional: Vec::new(), keyword: keyword.collect() }).map(Value::from)
        }
        _ => fail(format!("'str' object has no method {name}")),
    }
}

/// What `start` and `end` leave of a text, and how many characters stand before it.
fn window(text: &str, start: Option<Value>, end: Option<Value>) -> Result<Option<(usize, &str)>> {
    if start.is_none() && end.is_none() {
        return Ok(Some((0, text)));
    }
    let len = text.chars().count() as i64;
    let clamp = |bound: i64| if bound < 0 { (bound.saturating_add(len)).max(0) } else { bound };
    let start = clamp(int_or(start.as_ref(), 0)?);
    let end = clamp(int_or(end.as_ref(), len)?).min(len);
    if start > len || end < start {
        return Ok(None);
    }
    let byte = |at: i64| text.char_indices().nth(at as usize).map_or(text.len(), |(byte, _)| byte);
    Ok(Some((start as usize, &text[byte(start)..byte(end)])))
}

pub(crate) fn strip<'a>(text: &'a str, name: &str, set: Option<&str>) -> Cow<'a, str> {
    let drop = |c: char| set.map_or_else(|| is_space(c), |set| set.contains(c));
    if !(budget::is_marked() && text.contains(is_mark)) {
        let text = if name == "rstrip" { text } else { text.trim_start_matches(drop) };
        return Cow::Borrowed(if name == "lstrip" { text } else { text.trim_end_matches(drop) });
    }
    // Marks are no text: what is stripped may lie beyond them, and they stay.
    let skip = |c: char| drop(c) || is_mark(c);
    let rest = if name == "rstrip" { text } else { text.trim_start_matches(skip) };
    let before = &text[..text.len() - rest.len()];
    let middle = if name == "lstrip" { rest } else { rest.trim_end_matches(skip) };
    let marks = |text: &str| text.chars().filter(|&c| is_mark(c)).collect::<String>();
    Cow::Owned(marks(before) + middle + &marks(&rest[middle.len()..]))
}

fn without_marks(text: &str) -> Cow<'_, str> {
    match budget::is_marked() && text.contains(is_mark) {
        true => Cow::Owned(text.replace(is_mark, "")),
        false => Cow::Borrowed(text),
    }
}

pub(crate) fn replace(text: &str, old: &str, new: &str, count: i64) -> Result<Value> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let times = text.matches(old).count().min(count);
    budget::bytes(text.len() + times.saturating_mul(new.len()))?;
    Ok(text.replacen(old, new, count).into())
}

pub(crate) fn justify(text: &str, name: &str, width: i64, fill: &str) -> Result<Value> {
    if fill.chars().count() != 1 {
        return fail("The fill character must be exactly one character long");
    }
    let width = print::width(width)?;
    let missing = width.saturating_sub(text.chars().count());
    // Python puts the odd character of a centred text on the left when the width is odd.
    let before = match name {
        "ljust" => 0,
        "center" => missing / 2 + (missing & width & 1),
        _ => missing,
    };
    paid(format!("{}{text}{}", fill.repeat(before), fill.repeat(missing - before)))
}

/// `str.title`: a letter behind a letter is small, any other is a capital.
pub(crate) fn title(text: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match inside {
            true => out.extend(c.to_lowercase()),
            false => out.push_str(&capital(c)),
        }
        inside = c.is_lowercase() || c.is_uppercase();
    }
    out
}

pub(crate) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| capital(first) + &chars.as_str().to_lowercase())
}

/// A letter as a word begins with it: of `ß` only the first `S` is a capital.
fn capital(c: char) -> String {
    let c = match c {
        'Ǆ'..='ǆ' => return "ǅ".into(),
        'Ǉ'..='ǉ' => return "ǈ".into(),
        'Ǌ'..='ǌ' => return "ǋ".into(),
        'Ǳ'..='ǳ' => return "ǲ".into(),
        c => c,
    };
    let mut upper = c.to_uppercase();
    let first = upper.next().map_or(String::new(), String::from);
    first + &upper.collect::<String>().to_lowercase()
}

fn expand_tabs(text: &str, size: i64) -> Result<Value> {
    let size = print::width(size)?;
    let mut column = 0;
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\t' => {
                let blanks = if size == 0 { 0 } else { size - column % size };
                budget::bytes(blanks)?;
                out.push_str(&" ".repeat(blanks));
                column += blanks;
            }
            c => {
                out.push(c);
                column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    paid(out)
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
pub(crate) fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
