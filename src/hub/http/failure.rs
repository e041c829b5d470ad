//! Failures of requests, and the meaning of a server's refusals.

use std::io::Read;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use ureq::Body;
use ureq::http::{HeaderMap, Response};

use super::super::retry::Failure;
use super::address::short;
use super::encoding::{PAGE, is_page, reader};
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
        // Whoever has no network wants to know now; whoever loses it for a moment wants the rest.
        let offline = is_offline(&error) && !self.inner.answered.load(Ordering::Relaxed);
        let text = match offline {
            true => format!("no connection, this device seems to be offline ({text})"),
            false => text,
        };
        last |= offline;
        let through = proxy.map_or_else(String::new, |p| format!(" through the proxy {p}"));
        let error = network(format!("{}{through}: {text}", short(url)));
        Failure { error, transient: !last, after: None, status: None }
    }

    /// The failure behind an error while reading a body.
    pub(in super::super) fn broken(&self, url: &str, error: std::io::Error) -> Failure {
        let error = match error.downcast::<Failure>() {
            Ok(failure) => return failure,
            Err(error) => error,
        };
        match error.downcast::<ureq::Error>() {
            Ok(error) => self.network(url, error),
            Err(error) => Failure::transient(network(format!("{}: {}", short(url), io_text(&error)))),
        }
    }

    /// The meaning of an HTTP status.
    pub(super) fn refused(&self, status: u16, response: Response<Body>, url: &str, about: Subject) -> Failure {
        let code = header(&response, "X-Error-Code").to_owned();
        let after = retry_after(response.headers(), OffsetDateTime::now_utc());
        let said = self.said(response);
        let error = self.meaning(status, &code, &said, url, about);
        let transient = matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504);
        Failure { error, transient, after: after.filter(|_| transient), status: Some(status) }
    }

    /// What a server says to a refusal, fit to be shown: short, without escape codes, and without the token.
    fn said(&self, response: Response<Body>) -> String {
        let said: String = words(response).chars().filter(|c| !c.is_control()).take(300).collect();
        let said = match &self.inner.options.token {
            Some(token) => token.hidden_in(&said),
            None => said,
        };
        said.trim().trim_end_matches('.').to_owned()
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
            (401, "", true) if !said.is_empty() => denied(format!(
                "{name}: {} refuses the access token: {said}. Give a valid one, or none for a public model (HF_TOKEN, or \
                 `hf auth login`)",
                short(url)
            )),
            (401, "", false) if !said.is_empty() => denied(format!(
                "{name}: {} wants an access token (HF_TOKEN, or `hf auth login`), or the model does not exist: {said}",
                short(url)
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
            (511, _, _) => network(format!("{name}: {} answered 511: {PAGE}", short(url))),
            (404, _, _) => Error::not_found(format!("{name}: no such file at {endpoint}")),
            (401 | 403, _, _) => denied(format!("{name}: access denied by {} ({status} {said})", short(url))),
            _ => network(format!("{name}: the server answered {status} {said}").trim_end().to_owned()),
        }
    }
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// A server's reason for a refusal: in a header, or in a JSON response.
fn words(response: Response<Body>) -> String {
    let said = header(&response, "X-Error-Message").to_owned();
    if !said.is_empty() {
        return said;
    }
    if is_page(response.headers()) {
        return PAGE.to_owned();
    }
    let mut text = Vec::new();
    let json = reader(response).take(4 << 10).read_to_end(&mut text).ok().and_then(|_| {
        let json: Value = serde_json::from_slice(&text).ok()?;
        let text = |v: &Value| v.as_str().or_else(|| v.get("message")?.as_str()).map(str::to_owned);
        ["error", "message", "detail"].into_iter().find_map(|key| text(json.get(key)?))
    });
    json.unwrap_or_default()
}

/// Whether there is no way to the host, or to anyone who knows it: what a device without a network sees.
fn is_offline(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable};
    match error {
        ureq::Error::HostNotFound => true,
        ureq::Error::Io(e) if matches!(e.kind(), HostUnreachable | NetworkDown | NetworkUnreachable) => true,
        // The standard library has no kind for it.
        ureq::Error::Io(e) => e.to_string().contains("failed to lookup address"),
        _ => false,
    }
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

/// When to come back: `Retry-After`, in seconds or as a date, which is by the server's clock; else what the headers of
/// rate limits say of the limit that is used up.
pub(in super::super) fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
    let date = |text: &str| OffsetDateTime::parse(text, &Rfc2822).ok();
    let now = text("Date").and_then(date).unwrap_or(now);
    if let Some(after) = text("Retry-After") {
        match (after.parse::<f64>(), date(after)) {
            (Ok(seconds), _) if (0.0..1e9).contains(&seconds) => return Some(Duration::from_secs_f64(seconds)),
            (_, Some(date)) => return Some((date - now).try_into().unwrap_or_default()),
            _ => {}
        }
    }
    let seconds = |text: &str| text.trim().trim_matches('"').parse::<u64>().ok();
    let until = |n: u64| match n {
        // Seconds since 1970, in the older headers.
        n if n > 1_000_000_000 => n.saturating_sub(now.unix_timestamp().max(0) as u64),
        n => n,
    };
    let reset = ["RateLimit-Reset", "X-RateLimit-Reset", "X-Rate-Limit-Reset"];
    let reset = || reset.into_iter().find_map(|name| seconds(text(name)?)).map(until);
    rate_limit(headers).or_else(reset).map(Duration::from_secs)
}

/// Seconds until the limits that are used up are renewed, of `RateLimit: "api";r=0;t=55` or, as an older draft had it,
/// `limit=100, remaining=0, reset=55`.
fn rate_limit(headers: &HeaderMap) -> Option<u64> {
    let all = headers.get_all("RateLimit").iter().filter_map(|v| v.to_str().ok());
    let mut waits = Vec::new();
    for limit in all.flat_map(|value| match value.contains(';') {
        true => value.split(',').collect(),
        false => vec![value],
    }) {
        let number = |names: [&str; 2]| {
            limit.split([';', ',']).find_map(|part| {
                let (name, value) = part.split_once('=')?;
                names.contains(&name.trim().to_ascii_lowercase().as_str()).then(|| value.trim().parse::<u64>().ok())?
            })
        };
        if let Some(wait) = number(["t", "reset"]) {
            waits.push((number(["r", "remaining"]).unwrap_or(0), wait));
        }
    }
    let used_up = waits.iter().filter(|(left, _)| *left == 0).map(|(_, wait)| *wait).max();
    used_up.or_else(|| waits.iter().map(|(_, wait)| *wait).max())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_a_network_is_recognised() {
        let io = |kind: std::io::ErrorKind| is_offline(&ureq::Error::Io(kind.into()));
        use std::io::ErrorKind::*;
        assert!(io(NetworkUnreachable) && io(HostUnreachable) && io(NetworkDown));
        assert!(!io(ConnectionRefused) && !io(ConnectionReset) && !io(TimedOut));
        let lookup = std::io::Error::other("failed to lookup address information: Name or service not known");
        assert!(is_offline(&ureq::Error::Io(lookup)) && is_offline(&ureq::Error::HostNotFound));
    }

    #[test]
    fn the_servers_clock_counts_for_a_date_to_wait_for() {
        let now = date("Sun, 06 Nov 1994 08:49:37 GMT");
        let wait = |after: &str, at: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert("Retry-After", after.parse().unwrap());
            at.map(|at| headers.insert("Date", at.parse().unwrap()));
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

    #[test]
    fn rate_limits_say_when_they_are_renewed() {
        let now = date("Sun, 06 Nov 1994 08:49:37 GMT");
        let wait = |all: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in all {
                headers.append(*name, value.parse().unwrap());
            }
            retry_after(&headers, now).map(|d| d.as_secs())
        };
        let policy = ("RateLimit-Policy", "\"fixed window\";\"api\";q=500;w=300");
        assert_eq!(wait(&[("RateLimit", "\"api\";r=0;t=55"), policy]), Some(55));
        assert_eq!(wait(&[("RateLimit", "\"api\" ; r=3 ; t=9, \"resolvers\" ; r=0 ; t=7")]), Some(7));
        assert_eq!(wait(&[("RateLimit", "\"a\";r=1;t=9"), ("RateLimit", "\"b\";r=0;t=8")]), Some(8));
        assert_eq!(wait(&[("RateLimit", "limit=100, remaining=0, reset=50")]), Some(50));
        assert_eq!(wait(&[("RateLimit-Remaining", "0"), ("RateLimit-Reset", "12")]), Some(12));
        assert_eq!(wait(&[("X-RateLimit-Reset", "1700000030"), ("Date", "Tue, 14 Nov 2023 22:13:20 GMT")]), Some(30));
        assert_eq!(wait(&[("Retry-After", "3"), ("RateLimit", "\"api\";r=0;t=55")]), Some(3));
        assert_eq!(wait(&[("Retry-After", "soon"), ("RateLimit", "\"api\";r=0;t=55")]), Some(55));
        assert_eq!(wait(&[policy]), None);
    }

    fn date(text: &str) -> OffsetDateTime {
        OffsetDateTime::parse(text, &Rfc2822).unwrap()
    }
}
