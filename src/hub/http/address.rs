//! URLs: their origin, targets of redirects and pages, and valid characters.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::http::header::{LINK, LOCATION};
use ureq::http::{HeaderMap, Uri};

use super::error::network;
use crate::error::Result;

pub(super) const MAX_URL: usize = 16 << 10;
/// What must be escaped in a segment of a path and in a query.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What must be escaped in a path.
const PATH: &AsciiSet = &SEGMENT.remove(b'/');

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
pub(super) fn redirect(from: &Uri, headers: &HeaderMap) -> Result<String> {
    let bad = |what: &str| network(format!("{}: {what}", short(&from.to_string())));
    let to = headers.get(LOCATION).and_then(|l| l.to_str().ok()).ok_or_else(|| bad("a redirect to nowhere"))?;
    let scheme = from.scheme_str().unwrap_or("https");
    let authority = from.authority().map(|a| a.as_str()).unwrap_or_default();
    let target = match to {
        _ if to.contains("://") => to.to_owned(),
        _ if to.starts_with("//") => format!("{scheme}:{to}"),
        _ if to.starts_with('/') => format!("{scheme}://{authority}{to}"),
        _ => {
            let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{authority}{folder}/{to}")
        }
    };
    if target.len() > MAX_URL {
        return Err(bad("a redirect to an endless address"));
    }
    let origin = target.parse::<Uri>().ok().as_ref().and_then(Origin::of);
    match origin {
        None => Err(bad("a redirect to something other than an http or https URL")),
        Some(o) if scheme == "https" && !o.secure => Err(bad("a redirect from https to http, not followed")),
        Some(_) => Ok(target),
    }
}

/// The address of the next page in a `Link` header.
pub(super) fn next_page(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(LINK)?.to_str().ok()?;
    link.split(',')
        .find(|part| part.contains("rel=\"next\""))
        .and_then(|part| part.split_once('<')?.1.split_once('>'))
        .map(|(url, _)| url.to_owned())
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
        let from: Uri = "https://hub.example/a/b/c?x=1".parse().unwrap();
        let go = |to: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, to.parse().unwrap());
            redirect(&from, &headers)
        };
        assert_eq!(go("/x?y=2").unwrap(), "https://hub.example/x?y=2");
        assert_eq!(go("x").unwrap(), "https://hub.example/a/b/x");
        assert_eq!(go("//cdn.example/x").unwrap(), "https://cdn.example/x");
        assert_eq!(go("https://cdn.example/x").unwrap(), "https://cdn.example/x");
        for bad in ["http://hub.example/x", "file:///etc/passwd", "https://"] {
            assert!(go(bad).is_err(), "{bad}");
        }
        assert!(go(&format!("/{}", "x".repeat(MAX_URL))).is_err());
    }

    #[test]
    fn paths_are_encoded() {
        assert_eq!(encode_path("a b/c%ü"), "a%20b/c%25%C3%BC");
        assert_eq!(encode_segment("refs/pr/1"), "refs%2Fpr%2F1");
    }
}
