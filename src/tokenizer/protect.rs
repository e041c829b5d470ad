//! Marks around what looks like a special token in the data that a chat template renders, so that it can be told from what
//! the template itself writes.
//!
//! The marks are two of Unicode's noncharacters, which text does not have. They stand outside of the token, so that a
//! template that looks for `</think>` finds it; methods that strip white space look past them. Where a template notices
//! them all the same (the text without them is another one), they are put inside: then it sees no token.

use std::ops::Range;

use serde_json::{Map, Value as Json};

use super::data::number_text;
use super::plain::Specials;

const OPEN: char = '\u{FDD0}';
const CLOSE: char = '\u{FDD1}';

/// Whether a character is one of the marks, or of those that name tokens.
pub(super) fn is_mark(c: char) -> bool {
    matches!(c, OPEN..='\u{FDD3}')
}

/// Where the marks are put.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Outside,
    Inside,
}

/// Whether anything in a value looks like a special token, or might become one by what a template writes after it.
pub(super) fn has_special(value: &Json, specials: &Specials) -> bool {
    let looks =
        |text: &str| specials.are_normalized() || !specials.find(text).is_empty() || specials.is_unfinished(text);
    match value {
        Json::String(text) => looks(text),
        Json::Array(items) => items.iter().any(|item| has_special(item, specials)),
        number if number_text(number).is_some() => false,
        Json::Object(map) => map.iter().any(|(key, value)| looks(key) || has_special(value, specials)),
        _ => false,
    }
}

/// The value with marks.
pub(super) fn marked(value: &Json, specials: &Specials, place: Place) -> Json {
    match value {
        Json::String(text) => Json::String(marked_text(text, specials, place)),
        Json::Array(items) => items.iter().map(|item| marked(item, specials, place)).collect(),
        number if number_text(number).is_some() => number.clone(),
        Json::Object(map) => {
            let pair =
                |(key, value): (&String, &Json)| (marked_text(key, specials, place), marked(value, specials, place));
            Json::Object(map.iter().map(pair).collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

fn marked_text(text: &str, specials: &Specials, place: Place) -> String {
    let text = text.replace(is_mark, "");
    let (found, unfinished) = (specials.find(&text), specials.is_unfinished(&text));
    let mut out = String::with_capacity(text.len() + 6 * found.len() + 3);
    let mut at = 0;
    for (range, _) in found {
        out.push_str(&text[at..range.start]);
        let token = &text[range.clone()];
        let first = token.chars().next().map_or(0, char::len_utf8);
        match place {
            Place::Outside => out.push_str(&format!("{OPEN}{token}{CLOSE}")),
            Place::Inside => out.push_str(&format!("{}{OPEN}{}", &token[..first], &token[first..])),
        }
        at = range.end;
    }
    out.push_str(&text[at..]);
    if unfinished {
        // What the template writes after it does not complete it.
        out.push(CLOSE);
    }
    out
}

/// A text, and the special tokens in it that are the template's own.
pub(super) type Rendering = (String, Vec<(Range<usize>, u32)>);

/// A rendering without its marks, and where in it the template's own special tokens are. `plain` is the rendering of data
/// without marks.
pub(super) fn unmarked(rendered: String, plain: &str, specials: &Specials) -> Rendering {
    // As JSON in ASCII spells them, unless that is somebody's text.
    let rendered = match plain.contains("\\ufdd") {
        true => rendered,
        false => rendered.replace("\\ufdd0", "\u{FDD0}").replace("\\ufdd1", "\u{FDD1}"),
    };
    let is_own =
        |range: &Range<usize>| !(rendered[..range.start].ends_with(OPEN) && rendered[range.end..].starts_with(CLOSE));
    let mut own = Vec::new();
    let mut text = String::with_capacity(rendered.len());
    let mut at = 0;
    for (range, id) in specials.find(&rendered) {
        text.extend(rendered[at..range.start].chars().filter(|&c| !is_mark(c)));
        let start = text.len();
        text.push_str(&rendered[range.clone()]);
        if is_own(&range) {
            own.push((start..text.len(), id));
        }
        at = range.end;
    }
    text.extend(rendered[at..].chars().filter(|&c| !is_mark(c)));
    (text, own)
}
