//! Failures of requests, and the meaning of a server's refusals.

use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use ureq::Body;
use ureq::http::header::{DATE, RETRY_AFTER};
use ureq::http::{HeaderMap, Response};

use super::super::retry::Failure;
use super::address::short;
use super::error::{io_text, network};
use super::{Client, Subject};
use crate::error::{Error, ErrorKind};

impl Client {
    /// A failure before a response arrived.
    pub(in super::super) fn network(&self, url: &str, error: ureq::Error) -> Failure {
        if let Err(stopped) = self.check() {
            return stopped;
        }
        let proxy = self.inner.proxies.name(url);
        let mut last = matches!(error, ureq::Error::LargeResponseHeader(..) | ureq::Error::BadUri(_));
        let text = match &error {
            ureq::Error::ConnectProxyFailed(said) => {
                last = said.contains(" 4");
                match said.contains(" 407") {
                    true => "the proxy wants another name or password: http://name:password@host:port".into(),
                    false => said.clone(),
                }
            }
            ureq::Error::Timeout(ureq::Timeout::PerRead) => {
                format!("no response for {} s", self.inner.options.stall.as_secs_f32())
            }
            other => match (certificate(other), other) {
                (Some(wrong), _) => {
                    last = true;
                    wrong
                }
                (None, ureq::Error::Io(e)) => io_text(e),
                (None, other) => other.to_string(),
            },
        };
        let through = proxy.map_or_else(String::new, |p| format!(" through the proxy {p}"));
        let error = network(format!("{}{through}: {text}", short(url)));
        Failure { error, transient: !last, after: None, status: None }
    }

    /// The meaning of an HTTP status.
    pub(super) fn refused(&self, status: u16, response: &mut Response<Body>, url: &str, about: Subject) -> Failure {
        let code = header(response, "X-Error-Code").to_owned();
        let after = retry_after(response.headers(), OffsetDateTime::now_utc());
        let said = said(response);
        let error = self.meaning(status, &code, &said, url, about);
        let transient = matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504);
        Failure { error, transient, after: after.filter(|_| transient), status: Some(status) }
    }

    fn meaning(&self, status: u16, code: &str, said: &str, url: &str, about: Subject) -> Error {
        let (id, name, endpoint) = (about.id, about.name(), &self.inner.options.endpoint);
        let page = format!("{endpoint}/{id}");
        let denied = |text: String| Error::new(ErrorKind::AccessDenied, text);
        let has_token = self.inner.options.token.is_some();
        match (status, code, has_token) {
            (401 | 403, "GatedRepo", true) => denied(format!(
                "{id} is gated and this account has no access yet: ask for it at {page} while logged in with the \
                 account of the token, then try again"
            )),
            (401 | 403, "GatedRepo", false) => denied(format!(
                "{id} is gated: accept its terms at {page}, then give an access token (HF_TOKEN, or `hf auth login`)"
            )),
            (401 | 404, "RepoNotFound", true) | (401, "", true) => denied(format!(
                "{id} does not exist at {endpoint}, or it is private and the token's account cannot read it"
            )),
            (401 | 404, "RepoNotFound", false) | (401, "", false) => denied(format!(
                "{id} does not exist at {endpoint}, or it is private: check the name, or give an access token (HF_TOKEN, \
                 or `hf auth login`)"
            )),
            (404, "RevisionNotFound", _) => {
                Error::not_found(format!("{id} has no branch, tag or commit {}", about.revision))
            }
            (404, _, _) => Error::not_found(format!("{name}: no such file at {endpoint}")),
            (401 | 403, _, _) => denied(format!("{name}: access denied by {} ({status} {said})", short(url))),
            _ => network(format!("{name}: the server answered {status} {said}").trim_end().to_owned()),
        }
    }
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// A server's reason for a refusal: in a header, or in the `error` of a JSON response.
fn said(response: &mut Response<Body>) -> String {
    let mut said = header(response, "X-Error-Message").to_owned();
    if said.is_empty() {
        said = response
            .body_mut()
            .with_config()
            .limit(4 << 10)
            .read_to_vec()
            .ok()
            .and_then(|text| serde_json::from_slice::<Value>(&text).ok())
            .and_then(|json| json.get("error")?.as_str().map(str::to_owned))
            .unwrap_or_default();
    }
    said.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// What is wrong with a server's certificate, or with those of the authorities on this machine. Retrying fixes neither.
fn certificate(error: &ureq::Error) -> Option<String> {
    use rustls::Error as Tls;
    let error = match error {
        ureq::Error::Rustls(error) => error,
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref::<Tls>()?,
        _ => return None,
    };
    match error {
        Tls::InvalidCertificate(why) => Some(format!(
            "the server's certificate is not trusted ({why}); if an authority of your own has signed it, name that \
             authority's certificate in SSL_CERT_FILE"
        )),
        Tls::General(why) => Some(why.clone()),
        _ => None,
    }
}

/// `Retry-After`: seconds, or a date, which is by the server's clock.
pub(in super::super) fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
    let date = |text: &str| OffsetDateTime::parse(text, &Rfc2822).ok();
    let after = text(RETRY_AFTER)?;
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = text(DATE).and_then(date).unwrap_or(now);
    Some((date(after)? - now).try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_clock_counts_for_a_date_to_wait_for() {
        let now = date("Sun, 06 Nov 1994 08:49:37 GMT");
        let wait = |after: &str, at: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, after.parse().unwrap());
            at.map(|at| headers.insert(DATE, at.parse().unwrap()));
            retry_after(&headers, now).map(|d| d.as_secs())
        };
        assert_eq!(wait("7", None), Some(7));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:07 GMT", None), Some(30));
        assert_eq!(wait("Sun, 06 Nov 1994 09:00:00 GMT", Some("Sun, 06 Nov 1994 08:59:55 GMT")), Some(5));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:00 GMT", None), Some(0));
        for malformed in ["soon", "-1", "06/11/94", ""] {
            assert_eq!(wait(malformed, None), None, "{malformed}");
        }
    }

    fn date(text: &str) -> OffsetDateTime {
        OffsetDateTime::parse(text, &Rfc2822).unwrap()
    }
}
