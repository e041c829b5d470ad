//! Finds the tags of a template.

/// The longest tag, in bytes. Real ones have a few hundred.
const TAG_LIMIT: usize = 64 << 10;

pub(super) enum Part<'a> {
    Text(&'a str),
    /// Comments, `raw` blocks, and what never ends: for the engine to see as it is.
    Verbatim(&'a str),
    Print(Tag<'a>),
    Statement(Tag<'a>),
}

/// `{%- if x -%}` in three pieces.
pub(super) struct Tag<'a> {
    pub whole: &'a str,
    pub open: &'a str,
    pub inner: &'a str,
    pub close: &'a str,
}

impl Part<'_> {
    pub fn text(&self) -> &str {
        match self {
            Part::Text(text) | Part::Verbatim(text) => text,
            Part::Print(tag) | Part::Statement(tag) => tag.whole,
        }
    }
}

pub(super) fn parts(source: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = source;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let at =
            rest.as_bytes().windows(2).position(|pair| matches!(pair, b"{%" | b"{{" | b"{#")).unwrap_or(rest.len());
        let (part, end) = match at {
            0 => tag(rest),
            _ => (Part::Text(&rest[..at]), at),
        };
        rest = &rest[end..];
        Some(part)
    })
}

/// The tag that `rest` begins with, and where it ends.
fn tag(rest: &str) -> (Part<'_>, usize) {
    let verbatim = |end: usize| (Part::Verbatim(&rest[..end]), end);
    let close = match &rest[..2] {
        "{#" => return verbatim(rest.find("#}").map_or(rest.len(), |end| end + 2)),
        "{%" if name(rest) == "raw" => {
            let after = rest[2..].match_indices("{%").find(|(at, _)| name(&rest[2 + at..]) == "endraw");
            let end = after.and_then(|(at, _)| Some(2 + at + end(&rest[2 + at..], "%}")?));
            return verbatim(end.unwrap_or(rest.len()));
        }
        "{%" => "%}",
        _ => "}}",
    };
    let Some(end) = end(rest, close) else { return verbatim(rest.len()) };
    let whole = &rest[..end];
    let open = if whole[2..].starts_with(['-', '+']) && end > 4 { 3 } else { 2 };
    let signs = if close == "%}" { &['-', '+'][..] } else { &['-'] };
    let stop = end - 2 - usize::from(end - 2 > open && whole[..end - 2].ends_with(signs));
    let tag = Tag { whole, open: &whole[..open], inner: &whole[open..stop], close: &whole[stop..] };
    (if close == "%}" { Part::Statement(tag) } else { Part::Print(tag) }, end)
}

/// Refuses tags that are longer than any should be.
pub(super) fn check_length(tag: &Tag) -> Result<(), String> {
    if tag.whole.len() > TAG_LIMIT { Err(format!("a tag is longer than {} KiB", TAG_LIMIT >> 10)) } else { Ok(()) }
}

/// The word that a tag beginning `{%` starts with.
fn name(tag: &str) -> &str {
    let inner = tag[2..].trim_start_matches(['-', '+']).trim_start();
    &inner[..inner.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(inner.len())]
}

/// Where a tag ends that closes with `close`: string literals in it may hold anything.
fn end(tag: &str, close: &str) -> Option<usize> {
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
            (None, _) if depth == 0 && bytes[i..].starts_with(close.as_bytes()) => return Some(i + 2),
            (None, b'{' | b'[' | b'(') => depth += 1,
            (None, b'}' | b']' | b')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        i += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_end_where_they_should() {
        let shown = |source: &str| {
            let part = |part: Part| match part {
                Part::Text(text) => format!("text {text}"),
                Part::Verbatim(text) => format!("as is {text}"),
                Part::Print(tag) => format!("print {}[{}]{}", tag.open, tag.inner, tag.close),
                Part::Statement(tag) => format!("do {}[{}]{}", tag.open, tag.inner, tag.close),
            };
            parts(source).map(part).collect::<Vec<_>>()
        };
        assert_eq!(shown("a{%- if x -%}b"), ["text a", "do {%-[ if x ]-%}", "text b"]);
        assert_eq!(shown("{{ {'a': {}}}}{{ '}}' }}"), ["print {{[ {'a': {}}]}}", "print {{[ '}}' ]}}"]);
        assert_eq!(
            shown("{# {% if %} #}{% raw %}{{ x {% endraw %}"),
            ["as is {# {% if %} #}", "as is {% raw %}{{ x {% endraw %}"]
        );
        assert_eq!(shown("{%+ if x +%}{{-1-}}"), ["do {%+[ if x ]+%}", "print {{-[1]-}}"]);
        assert_eq!(shown("{{ x"), ["as is {{ x"]);
    }
}
