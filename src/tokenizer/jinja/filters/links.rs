//! `urlize`: the addresses in a text as links.

use minijinja::Value;

use super::super::args::{Args, given, int_or, str_of, truth};
use super::super::base::{Result, fail, is_space};
use super::super::value::{iterate, text as paid};
use super::super::{budget, ops, print};

/// The domains that make an address of a word without `http://` and `www.`.
const DOMAINS: [&str; 8] = ["com", "net", "int", "edu", "gov", "org", "info", "mil"];

/// How links look.
struct Style {
    limit: Option<i64>,
    attributes: String,
    schemes: Vec<String>,
}

pub(super) fn urlize(value: Value, args: Args) -> Result<Value> {
    let names = ["trim_url_limit", "nofollow", "target", "rel", "extra_schemes"];
    let [limit, no_follow, target, rel, schemes] = args.bind("urlize", names, 0)?.map(given);
    let limit = limit.map(|limit| int_or(Some(&limit), 0)).transpose()?;
    let rel = rel.as_ref().map_or(Ok(""), str_of)?;
    let mut relations: Vec<&str> = rel.split(is_space).filter(|part| !part.is_empty()).chain(["noopener"]).collect();
    if truth(no_follow.as_ref()) {
        relations.push("nofollow");
    }
    relations.sort_unstable();
    relations.dedup();
    let mut attributes = format!(" rel=\"{}\"", ops::escape(&relations.join(" ")));
    if let Some(target) = target.filter(Value::is_true) {
        attributes += &format!(" target=\"{}\"", ops::escape(&print::str(&target)?));
    }
    let mut style = Style { limit, attributes, schemes: Vec::new() };
    for scheme in schemes.map_or(Ok(Vec::new()), |schemes| iterate(&schemes))? {
        let scheme = str_of(&scheme)?;
        if !is_scheme(scheme) {
            return fail(format!("{} is not a valid URI scheme prefix.", print::str_repr(scheme)));
        }
        style.schemes.push(scheme.to_owned());
    }
    let text = print::str(&value)?;
    let text = if value.is_safe() { text } else { ops::escape(&text) };
    let mut out = String::with_capacity(text.len());
    for part in text.split_inclusive(is_space) {
        let word = part.trim_end_matches(is_space);
        style.write(word, &mut out)?;
        out.push_str(&part[word.len()..]);
    }
    paid(out)
}

impl Style {
    /// Writes a word, as a link if it is an address.
    fn write(&self, word: &str, out: &mut String) -> Result<()> {
        let (head, middle, tail) = bare(word);
        out.push_str(head);
        let shown = |text: &str| match self.limit {
            Some(limit) if text.chars().count() as i64 > limit => {
                let kept = if limit < 0 { text.chars().count() as i64 + limit } else { limit };
                text.chars().take(kept.max(0) as usize).collect::<String>() + "..."
            }
            _ => text.to_owned(),
        };
        let attributes = &self.attributes;
        let link = if is_url(middle) {
            let has_scheme = middle.starts_with("https://") || middle.starts_with("http://");
            let scheme = if has_scheme { "" } else { "https://" };
            Some(format!("<a href=\"{scheme}{middle}\"{attributes}>{}</a>", shown(middle)))
        } else if let Some(email) = middle.strip_prefix("mailto:").filter(|email| is_email(email)) {
            Some(format!("<a href=\"{middle}\">{email}</a>"))
        } else if !middle.starts_with("www.") && !middle.starts_with('@') && !middle.contains(':') && is_email(middle) {
            Some(format!("<a href=\"mailto:{middle}\">{middle}</a>"))
        } else if self.schemes.iter().any(|scheme| middle != scheme && middle.starts_with(scheme)) {
            Some(format!("<a href=\"{middle}\"{attributes}>{middle}</a>"))
        } else {
            None
        };
        if let Some(link) = &link {
            // The attributes may be long, and there may be many links.
            budget::bytes(link.len())?;
        }
        out.push_str(link.as_deref().unwrap_or(middle));
        out.push_str(tail);
        Ok(())
    }
}

/// A word without the brackets around it and the punctuation after it, but with the brackets that it opens itself.
fn bare(word: &str) -> (&str, &str, &str) {
    let mut rest = word;
    while let Some(shorter) = ["(", "<", "&lt;"].iter().find_map(|open| rest.strip_prefix(open)) {
        rest = shorter;
    }
    let (head, rest) = word.split_at(word.len() - rest.len());
    let mut middle = rest;
    while let Some(shorter) = [")", ">", ".", ",", "&gt;"].iter().find_map(|end| middle.strip_suffix(end)) {
        middle = shorter;
    }
    let mut end = middle.len();
    for (open, close) in [("(", ")"), ("<", ">"), ("&lt;", "&gt;")] {
        let opened = rest[..end].matches(open).count();
        if opened > rest[..end].matches(close).count() {
            let closing = rest[end..].match_indices(close).take(opened).last();
            end += closing.map_or(0, |(at, _)| at + close.len());
        }
    }
    (head, &rest[..end], &rest[end..])
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// `name:`, `name:/` or `name://`
fn is_scheme(text: &str) -> bool {
    let Some((name, slashes)) = text.split_once(':') else { return false };
    name.chars().count() >= 2
        && name.chars().all(|c| is_word(c) || ".+-".contains(c))
        && matches!(slashes, "" | "/" | "//")
}

fn is_email(text: &str) -> bool {
    let Some((name, host)) = text.rsplit_once('@') else { return false };
    let Some((domain, last)) = host.rsplit_once('.') else { return false };
    !name.is_empty()
        && domain.starts_with(is_word)
        && domain.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
        && !last.is_empty()
        && last.chars().all(is_word)
}

fn is_url(text: &str) -> bool {
    let lower = text.to_lowercase();
    let after = |prefix: &str| lower.strip_prefix(prefix);
    let http = after("https://").or_else(|| after("http://"));
    if let Some(rest) = http {
        return is_host(rest, |host| is_named(host) || is_ipv4(host) || is_ipv6(host));
    }
    after("www.").is_some_and(|rest| is_host(rest, is_named)) || is_host(&lower, is_well_known)
}

/// Whether a text is a host, perhaps with a port and a path.
fn is_host(text: &str, fits: impl Fn(&str) -> bool) -> bool {
    let host = text.split(['/', '?', '#']).next().unwrap_or_default();
    let is_port = |port: &str| (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
    fits(host) || host.rsplit_once(':').is_some_and(|(host, port)| is_port(port) && fits(host))
}

fn is_label(label: &str) -> bool {
    !label.is_empty() && label.chars().all(|c| is_word(c) || matches!(c, '%' | '-'))
}

/// A host after `http://` or `www.`.
fn is_named(host: &str) -> bool {
    let (domains, last) = host.rsplit_once('.').map_or((None, host), |(domains, last)| (Some(domains), last));
    let plain = |last: &str| (2..=63).contains(&last.len()) && last.bytes().all(|b| b.is_ascii_lowercase());
    let international = |last: &str| {
        last.strip_prefix("xn--").is_some_and(|rest| {
            (2..=59).contains(&rest.chars().count()) && rest.chars().all(|c| is_word(c) || c == '%')
        })
    };
    domains.is_none_or(|domains| domains.split('.').all(is_label)) && (plain(last) || international(last))
}

/// A host without anything before it.
fn is_well_known(host: &str) -> bool {
    let Some((domains, last)) = host.rsplit_once('.') else { return false };
    let is_long = |label: &str| (2..=63).contains(&label.chars().count());
    DOMAINS.contains(&last) && domains.split('.').all(|label| is_label(label) && is_long(label))
}

fn is_ipv4(host: &str) -> bool {
    let is_byte = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    host.split('.').count() == 4 && host.split('.').all(is_byte)
}

/// As loose as Jinja: two short groups, then up to six more that need not be separated.
fn is_ipv6(host: &str) -> bool {
    let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) else { return false };
    let mut groups = inner.split(':');
    let (Some(first), Some(second), true) = (groups.next(), groups.next(), inner.matches(':').count() >= 2) else {
        return false;
    };
    let rest: Vec<&str> = groups.collect();
    let (last, others) = rest.split_last().unwrap_or((&"", &[]));
    let count = others.iter().map(|group| group.len().div_ceil(4).max(1)).sum::<usize>() + last.len().div_ceil(4);
    [first, second].iter().all(|group| group.len() <= 4)
        && inner.chars().all(|c| c == ':' || c.is_ascii_hexdigit())
        && count <= 6
}
