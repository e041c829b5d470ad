//! Filters that look at the words of a text.

use minijinja::Value;

use super::super::args::{Args, given, int_or, str_of};
use super::super::base::{Result, fail};
use super::super::methods::split_lines;
use super::super::value::text as paid;
use super::super::{budget, print};

pub(super) fn wordcount(value: Value, args: Args) -> Result<Value> {
    args.none("wordcount")?;
    let text = print::str(&value)?;
    Ok(text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).count().into())
}

/// `textwrap.wrap` of each line.
pub(super) fn wordwrap(value: Value, args: Args) -> Result<Value> {
    let names = ["width", "break_long_words", "wrapstring", "break_on_hyphens"];
    let [width, break_long, separator, break_hyphens] = args.bind("wordwrap", names, 0)?;
    let width = int_or(width.as_ref(), 79)?;
    let on = |value: Option<Value>| value.is_none_or(|value| value.is_true());
    let (break_long, break_hyphens) = (on(break_long), on(break_hyphens));
    let separator = given(separator).unwrap_or("\n".into());
    let separator = str_of(&separator)?;
    if width <= 0 {
        return fail(format!("invalid width {width} (must be > 0)"));
    }
    let width = width as usize;
    let mut lines = Vec::new();
    for line in split_lines(str_of(&value)?, false) {
        let parts = wrap(line, width, break_long, break_hyphens);
        // A long separator between many lines is more than either of them.
        budget::bytes(separator.len().saturating_mul(parts.len()))?;
        lines.push(parts.join(separator));
    }
    paid(lines.join(separator))
}

fn wrap(line: &str, width: usize, break_long: bool, break_hyphens: bool) -> Vec<String> {
    let mut chunks: Vec<String> = chunks(line, break_hyphens);
    chunks.reverse();
    let len = |text: &str| text.chars().count();
    let blank = |text: &str| text.chars().all(is_blank);
    let mut lines: Vec<String> = Vec::new();
    while !chunks.is_empty() {
        let mut current: Vec<String> = Vec::new();
        let mut used = 0;
        while let Some(chunk) = chunks.pop_if(|chunk| used + len(chunk) <= width) {
            used += len(&chunk);
            current.push(chunk);
        }
        if let Some(chunk) = chunks.pop_if(|chunk| len(chunk) > width) {
            let room = if break_long { (width - used).max(1) } else { usize::MAX };
            let room = match chunk.char_indices().take(room).filter(|(_, c)| *c == '-').last() {
                // As textwrap does: a word that is cut anyway is cut at its last hyphen.
                Some((at, _)) if break_long && break_hyphens && at > 0 && !chunk[..at].chars().all(|c| c == '-') => {
                    chunk[..=at].chars().count()
                }
                _ => room,
            };
            if break_long {
                let cut = chunk.char_indices().nth(room).map_or(chunk.len(), |(at, _)| at);
                current.push(chunk[..cut].to_owned());
                if cut < chunk.len() {
                    chunks.push(chunk[cut..].to_owned());
                }
            } else if current.is_empty() {
                current.push(chunk);
            } else {
                chunks.push(chunk);
            }
        }
        if current.last().is_some_and(|last| blank(last)) {
            current.pop();
        }
        if !current.is_empty() {
            lines.push(current.concat());
        }
        // White space that begins a line goes, but for the first.
        if !lines.is_empty() {
            while chunks.pop_if(|chunk| blank(chunk)).is_some() {}
        }
    }
    lines
}

fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\x0b' | '\x0c' | '\r' | ' ')
}

/// Words and the blanks between them; words end behind hyphens between letters.
fn chunks(line: &str, break_hyphens: bool) -> Vec<String> {
    let chars: Vec<char> = line.chars().collect();
    let mut out = Vec::new();
    let mut current = String::new();
    for (i, &c) in chars.iter().enumerate() {
        if current.chars().last().is_some_and(|last| is_blank(last) != is_blank(c)) {
            out.push(std::mem::take(&mut current));
        }
        current.push(c);
        let letter =
            |at: Option<usize>| at.and_then(|at| chars.get(at)).is_some_and(|c| c.is_alphabetic() || *c == '_');
        let splits = break_hyphens
            && c == '-'
            && letter(i.checked_sub(1))
            && (letter(i.checked_sub(2)) || i.checked_sub(2).and_then(|at| chars.get(at)) == Some(&'-'))
            && letter(Some(i + 1))
            && (letter(Some(i + 2)) || chars.get(i + 2) == Some(&'-'));
        if splits {
            out.push(std::mem::take(&mut current));
        }
    }
    if !current.is_empty() {
        out.push(current);
    }
    out
}
