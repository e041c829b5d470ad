//! Responses that were compressed although nobody asked for it, and pages for people in place of data.

use std::io::Read;

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use ureq::Body;
use ureq::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use ureq::http::{HeaderMap, Response};

/// How a body is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
    Deflate,
    Unknown(String),
}

impl Encoding {
    pub(super) fn of(headers: &HeaderMap) -> Encoding {
        let all =
            headers.get_all(CONTENT_ENCODING).iter().map(|v| String::from_utf8_lossy(v.as_bytes()).to_lowercase());
        let all = all.collect::<Vec<_>>().join(",");
        let real = all.split(',').map(str::trim).filter(|e| !matches!(*e, "" | "identity" | "none"));
        match real.collect::<Vec<_>>().as_slice() {
            [] => Encoding::Plain,
            ["gzip" | "x-gzip"] => Encoding::Gzip,
            ["deflate"] => Encoding::Deflate,
            others => Encoding::Unknown(others.join(", ")),
        }
    }
}

/// Whether a body is encoded, so that its length and ranges are not those of the file.
pub(in super::super) fn is_encoded(headers: &HeaderMap) -> bool {
    Encoding::of(headers) != Encoding::Plain
}

/// The bytes of a body as they come, decoded.
pub(in super::super) fn reader(response: Response<Body>) -> Box<dyn Read + Send> {
    let encoding = Encoding::of(response.headers());
    let body = response.into_body().into_with_config().limit(u64::MAX).reader();
    match encoding {
        Encoding::Gzip => Box::new(MultiGzDecoder::new(body)),
        Encoding::Deflate => Box::new(ZlibDecoder::new(body)),
        Encoding::Plain | Encoding::Unknown(_) => Box::new(body),
    }
}

/// Whether headers announce a page for a browser.
pub(in super::super) fn is_page(headers: &HeaderMap) -> bool {
    let kind =
        headers.get(CONTENT_TYPE).map(|v| String::from_utf8_lossy(v.as_bytes()).to_lowercase()).unwrap_or_default();
    ["text/html", "application/xhtml+xml"].iter().any(|page| kind.trim_start().starts_with(page))
}

/// Whether a text begins as such a page does.
pub(super) fn looks_like_page(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii_start();
    let begins = |word: &str| text.get(..word.len()).is_some_and(|t| t.eq_ignore_ascii_case(word.as_bytes()));
    ["<!doctype", "<html", "<head", "<body", "<?xml", "<meta", "<script"].iter().any(|word| begins(word))
}

/// What to do about a page in place of data.
pub(in super::super) const PAGE: &str = "a web page came instead, as from a network that wants a login in a browser \
    first (a captive portal), or from a proxy";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_and_pages_are_told_by_their_headers() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, value.parse().unwrap());
            }
            Encoding::of(&headers)
        };
        assert_eq!(of(&[]), Encoding::Plain);
        assert_eq!(of(&["identity"]), Encoding::Plain);
        assert_eq!(of(&["GZIP"]), Encoding::Gzip);
        assert_eq!(of(&["identity", "x-gzip"]), Encoding::Gzip);
        assert_eq!(of(&["gzip, br"]), Encoding::Unknown("gzip, br".into()));
        assert!(looks_like_page(b"\xef\xbb\xbf \n<!DOCTYPE html>") && looks_like_page(b"<HTML lang=en>"));
        assert!(!looks_like_page(b"{\"a\": \"<html>\"}") && !looks_like_page(b""));
    }
}
