//! URLs: their origin, targets of redirects and pages, and valid characters.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode, utf8_percent_encode};
use ureq::http::header::{LINK, LOCATION};
use ureq::http::{HeaderMap, Uri};
use url::Url;

use super::error::network;
use crate::error::Result;

pub(super) const MAX_URL: usize = 16 << 10;
/// What must be escaped in a segment of a path and in a query.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What must be escaped in a path.
const PATH: &AsciiSet = &SEGMENT.remove(b'/');
/// What is escaped of an address in a header before anything else: what is not ASCII.
const NOT_ASCII: &AsciiSet = &AsciiSet::EMPTY;

/// Scheme, host and port: where the token may be sent.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) secure: bool,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Origin {
    pub(super) fn of(uri: &Uri) -> Option<Origin> {
        let secure = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Some(Origin { secure, host: uri.host()?.to_ascii_lowercase(), port })
    }
}

/// Where a redirect leads.
pub(super) fn redirect(from: &str, headers: &HeaderMap) -> Result<String> {
    let bad = |what: &str| network(format!("{}: {what}", short(from)));
    let to = headers.get(LOCATION).map(|l| l.as_bytes()).filter(|l| !l.is_empty());
    let to = to.ok_or_else(|| bad("a redirect to nowhere"))?;
    if to.len() > MAX_URL {
        return Err(bad("a redirect to an endless address"));
    }
    let base = url(from)?;
    // As browsers do: what may not stand in an address, such as spaces and UTF-8, is escaped.
    let to = percent_encode(to, NOT_ASCII).to_string();
    let mut target =
        base.join(to.trim()).map_err(|_| bad("a redirect to something other than an http or https URL"))?;
    target.set_fragment(None);
    match (base.scheme(), target.scheme()) {
        _ if target.as_str().len() > MAX_URL => Err(bad("a redirect to an endless address")),
        ("https", "http") => Err(bad("a redirect from https to http, not followed")),
        (_, "http" | "https") => Ok(target.into()),
        _ => Err(bad("a redirect to something other than an http or https URL")),
    }
}

/// The address of the next page of a list. The answer to `asked` came from `from`, after redirects; `own` if that is the
/// endpoint.
///
/// Pages of a list differ in their queries only. So a mirror may pass on the addresses of its origin, or none but a query.
pub(super) fn next_page(asked: &str, from: &str, own: bool, headers: &HeaderMap) -> Result<Option<String>> {
    let bad = |what: &str| network(format!("{}: the address of the next page of the list {what}", short(asked)));
    let base = url(from)?;
    let mut next = None;
    for value in headers.get_all(LINK) {
        let text = percent_encode(value.as_bytes(), NOT_ASCII).to_string();
        let text = text.trim().trim_end_matches([',', ';', ' ']);
        let links = match http_link::parse_link_header(text, &base) {
            Ok(links) => links,
            Err(_) if !text.to_ascii_lowercase().contains("next") => continue,
            Err(error) => return Err(bad(&format!("cannot be read ({error}): {:?}", cut(text)))),
        };
        next = next.or(links.into_iter().find(|link| link.rel == "next").map(|link| link.target));
    }
    let Some(next) = next else { return Ok(None) };
    let of_api = |url: &Url| {
        let path = percent_decode_str(url.path()).decode_utf8_lossy().into_owned();
        path.find("/api/").map(|at| path[at..].trim_end_matches('/').to_owned())
    };
    let asked_url = url(asked)?;
    let path = of_api(&next).filter(|_| matches!(next.scheme(), "http" | "https"));
    let path = path.filter(|path| [&base, &asked_url].iter().any(|url| of_api(url).as_ref() == Some(path)));
    let (Some(_), Some(query)) = (path, next.query()) else {
        return Err(bad(&format!("is not that of a page of it: {:?}", cut(next.as_str()))));
    };
    let here = if own { base } else { asked_url };
    let mut page = here.clone();
    page.set_query(Some(query));
    match page.as_str().len() <= MAX_URL && page != here {
        true => Ok(Some(page.into())),
        false => Err(bad(&format!("leads nowhere: {:?}", cut(next.as_str())))),
    }
}

fn url(text: &str) -> Result<Url> {
    Url::parse(text).map_err(|_| network(format!("{}: no URL", short(text))))
}

/// The beginning of a server's text, for messages.
fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}

pub(super) fn parsed(url: &str) -> Result<Uri> {
    url.parse().map_err(|_| network(format!("{}: no URL", short(url))))
}

/// An address without its query, which may hold a signature.
pub(in super::super) fn short(url: &str) -> String {
    url.split('?').next().unwrap_or_default().chars().take(200).collect()
}

/// A text as one segment of a path, or as a value in a query.
pub(in super::super) fn encode_segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// A text as a path: its slashes stay.
pub(in super::super) fn encode_path(text: &str) -> String {
    utf8_percent_encode(text, PATH).to_string()
}

#[cfg(test)]
mod tests {
    use ureq::http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_endpoint_itself_sees_the_token() {
        let origin = |url: &str| Origin::of(&url.parse().unwrap());
        assert!(origin("https://Hub.example/a") == origin("https://hub.example:443/b"));
        for other in
            ["http://hub.example", "https://hub.example:444", "https://cdn.hub.example", "https://hub.example.evil"]
        {
            assert!(origin("https://hub.example") != origin(other), "{other}");
        }
        assert!(origin("ftp://hub.example").is_none());
    }

    #[test]
    fn redirects_resolve_like_a_browsers() {
        let from = "https://hub.example/a/b/c?x=1";
        let go = |to: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, HeaderValue::from_bytes(to).unwrap());
            redirect(from, &headers)
        };
        for (to, target) in [
            ("/x?y=2", "https://hub.example/x?y=2"),
            ("x", "https://hub.example/a/b/x"),
            ("../x", "https://hub.example/a/x"),
            ("?y=2", "https://hub.example/a/b/c?y=2"),
            ("//cdn.example/x", "https://cdn.example/x"),
            ("https://cdn.example/x", "https://cdn.example/x"),
            ("/login?next=https://hub.example/x", "https://hub.example/login?next=https://hub.example/x"),
            ("x?u=http://a/b", "https://hub.example/a/b/x?u=http://a/b"),
            ("/a model/weights 1.bin?n=a b", "https://hub.example/a%20model/weights%201.bin?n=a%20b"),
            ("/mod\u{e8}le/\u{6a21}", "https://hub.example/mod%C3%A8le/%E6%A8%A1"),
            ("https://cdn.example/a%20b%2Fc?s=%2B%3D&t=1#part", "https://cdn.example/a%20b%2Fc?s=%2B%3D&t=1"),
        ] {
            assert_eq!(go(to.as_bytes()).unwrap(), target);
        }
        assert_eq!(go(b"/mod\xe8le").unwrap(), "https://hub.example/mod%E8le");
        for bad in ["http://hub.example/x", "file:///etc/passwd", "https://", "javascript:alert(1)"] {
            assert!(go(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(go(format!("/{}", "x".repeat(MAX_URL)).as_bytes()).is_err());
    }

    #[test]
    fn the_next_page_of_a_list_is_found_however_it_is_written() {
        let asked = "https://mirror.example/hf/api/models/org/name/tree/abc?recursive=true";
        let next = |links: &[&str], from: &str, own: bool| {
            let mut headers = HeaderMap::new();
            for link in links {
                headers.append(LINK, HeaderValue::from_bytes(link.as_bytes()).unwrap());
            }
            next_page(asked, from, own, &headers)
        };
        let path = "https://mirror.example/hf/api/models/org/name/tree/abc";
        for link in [
            "<https://mirror.example/hf/api/models/org/name/tree/abc?cursor=a,b>; rel=\"next\"",
            "<https://hub.example/api/models/org/name/tree/abc?cursor=a,b>; rel=next",
            "</hf/api/models/org/name/tree/abc?cursor=a,b>;rel = \"next\"",
            "</api/models/org/name/tree/abc?cursor=a,b> ; REL=\"Next\"",
            "<abc?cursor=a,b>; title=\"x, rel=prev\"; rel=\"last next\"",
            "<?cursor=a,b>; rel=\"NEXT\",",
            "<?cursor=0>; rel=first, <?cursor=a,b>; rel=\"next\"; rel=prev",
            "<//hub.example/api/models/org%2Fname/tree/abc?cursor=a,b>; rel=next",
        ] {
            assert_eq!(next(&[link], asked, true).unwrap(), Some(format!("{path}?cursor=a,b")), "{link}");
        }
        let two = ["<?cursor=0>; rel=\"prev\"", "<?cursor=2>; rel=\"next\""];
        assert_eq!(next(&two, asked, true).unwrap(), Some(format!("{path}?cursor=2")));
        for none in [&[][..], &["<?cursor=0>; rel=\"prev\""], &["<x>; rel=\"nextish\""], &["nonsense"], &[""]] {
            assert_eq!(next(none, asked, true).unwrap(), None, "{none:?}");
        }
        // A model with a new name; and a mirror that sends to its origin, whose pages are asked for at the mirror.
        let new = "https://mirror.example/hf/api/models/org/new/tree/abc";
        let link = ["<https://hub.example/api/models/org/new/tree/abc?cursor=2>; rel=next"];
        assert_eq!(next(&link, new, true).unwrap(), Some(format!("{new}?cursor=2")));
        let away = "https://hub.example/api/models/org/new/tree/abc";
        assert_eq!(next(&link, away, false).unwrap(), Some(format!("{path}?cursor=2")));
        for bad in [
            "<https://hub.example/elsewhere?cursor=2>; rel=next",
            "<https://hub.example/api/models/other/name/tree/abc?cursor=2>; rel=next",
            "<file:///etc/passwd>; rel=next",
            "<ftp://hub.example/api/models/org/name/tree/abc?cursor=2>; rel=next",
            "<abc>; rel=next",
            "<?recursive=true>; rel=next",
            "<http://[>; rel=next",
            "?cursor=2; rel=next",
        ] {
            let error = next(&[bad], asked, true).unwrap_err();
            assert!(error.message().contains("next page"), "{bad}: {error}");
        }
    }

    #[test]
    fn paths_are_encoded() {
        assert_eq!(encode_path("a b/c%ü"), "a%20b/c%25%C3%BC");
        assert_eq!(encode_segment("refs/pr/1"), "refs%2Fpr%2F1");
    }
}
