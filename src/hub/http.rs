//! HTTP to a Hub: redirects, who may see the token, errors that say what to do, retries.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use ureq::http::header::{AUTHORIZATION, DATE, LINK, LOCATION, RANGE, RETRY_AFTER};
use ureq::http::{HeaderMap, Response, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy};

use super::control::Control;
use super::options::{HubOptions, Token};
use super::proxy::{Proxies, Route};
use super::retry::{Backoff, Failure};
use crate::error::{Error, ErrorKind, Result};
use mlx_engine_base::progress::Retry;

/// The longest answer of an API that is read.
const MAX_JSON: u64 = 32 << 20;
/// The most header bytes of one answer; signed addresses take a few KiB.
const MAX_HEADERS: usize = 64 << 10;
const MAX_REDIRECTS: usize = 10;
const MAX_URL: usize = 16 << 10;

/// A client of one Hub. Cloning shares connections and control.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    options: HubOptions,
    origin: Origin,
    proxies: Proxies,
    agents: Mutex<Agents>,
    control: Control,
}

/// The connections of each way out. Certificates are read once for each that is used.
struct Agents {
    direct: Agent,
    http: Agent,
    https: Agent,
}

impl Agents {
    fn new(options: &HubOptions, proxies: &Proxies) -> Agents {
        let through = |proxy| agent(options, proxy);
        Agents { direct: through(None), http: through(proxies.http.clone()), https: through(proxies.https.clone()) }
    }

    fn on(&self, route: Route) -> &Agent {
        match route {
            Route::Direct => &self.direct,
            Route::Http => &self.http,
            Route::Https => &self.https,
        }
    }

    fn shutdown(self) {
        [self.direct, self.http, self.https].into_iter().for_each(Agent::shutdown);
    }
}

/// Scheme, host and port: who sees the token.
#[derive(Clone, PartialEq, Eq)]
struct Origin {
    secure: bool,
    host: String,
    port: u16,
}

impl Origin {
    fn of(uri: &Uri) -> Option<Origin> {
        let secure = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Some(Origin { secure, host: uri.host()?.to_ascii_lowercase(), port })
    }
}

/// What a request is about, for messages.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub id: &'a str,
    pub revision: &'a str,
    pub file: Option<&'a str>,
}

/// An answer behind all redirects.
pub(super) struct Reply {
    pub response: Response<Body>,
    /// Where it came from, if that is not the endpoint.
    pub elsewhere: Option<String>,
    /// The headers of the endpoint's own last answer: the answer itself, or the redirect away.
    pub own: HeaderMap,
}

impl Client {
    /// A client.
    ///
    /// # Errors
    /// If the endpoint or the proxy is no URL.
    pub fn new(options: HubOptions) -> Result<Client> {
        let endpoint = options.endpoint.trim_end_matches('/').to_owned();
        let bad = || Error::invalid_argument(format!("the endpoint {endpoint:?} is no http or https URL"));
        let uri: Uri = endpoint.parse().map_err(|_| bad())?;
        if uri.query().is_some() || uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err(bad());
        }
        let origin = Origin::of(&uri).ok_or_else(bad)?;
        let options = HubOptions { endpoint: endpoint.clone(), ..options };
        let proxies = Proxies::of(&options)?;
        let agents = Mutex::new(Agents::new(&options, &proxies));
        Ok(Client { inner: Arc::new(Inner { options, origin, proxies, agents, control: Control::new() }) })
    }

    /// How this client was set up.
    pub fn options(&self) -> &HubOptions {
        &self.inner.options
    }

    pub(super) fn control(&self) -> &Control {
        &self.inner.control
    }

    /// Ends all that this client does, at once and for good.
    pub fn cancel(&self) {
        self.inner.control.cancel();
        self.close();
    }

    /// Closes all connections; what used them begins again when [`resume`](Self::resume)d, where it was.
    pub fn pause(&self) {
        self.inner.control.pause();
        self.close();
    }

    /// Closes all connections; requests under way fail.
    fn close(&self) {
        let fresh = Agents::new(&self.inner.options, &self.inner.proxies);
        std::mem::replace(&mut *self.inner.agents.lock(), fresh).shutdown();
    }

    /// Goes on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.inner.control.resume();
    }

    /// `{endpoint}/{path}`
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.inner.options.endpoint)
    }

    /// One GET without redirects, with the token where it belongs.
    fn send(&self, url: &str, range: Option<(u64, u64)>) -> Result<Response<Body>, Failure> {
        let bearer = self.inner.options.token.as_ref().filter(|_| self.is_own(url)).map(Token::bearer);
        self.request(url, range, bearer.as_deref())
    }

    /// One GET without redirects, with this authorization or none.
    pub(super) fn request(
        &self,
        url: &str,
        range: Option<(u64, u64)>,
        authorization: Option<&str>,
    ) -> Result<Response<Body>, Failure> {
        if self.inner.options.offline {
            return Err(Error::not_found(format!("{url}: not asked for, this is the offline mode")).into());
        }
        let agent = self.inner.agents.lock().on(self.inner.proxies.route(&parsed(url)?)).clone();
        // Behind that, so that connections that have been closed are not replaced by new ones.
        self.check()?;
        let mut request = agent.get(url);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some((start, end)) = range {
            request = request.header(RANGE, format!("bytes={start}-{}", end - 1));
        }
        request.call().map_err(|e| self.network(url, e))
    }

    /// GET, following redirects. Statuses other than 2xx are failures.
    pub(super) fn get(&self, url: &str, range: Option<(u64, u64)>, about: Subject) -> Result<Reply, Failure> {
        let mut url = url.to_owned();
        let mut own = HeaderMap::new();
        for _ in 0..=MAX_REDIRECTS {
            let uri = parsed(&url)?;
            let mut response = self.send(&url, range)?;
            let here = Origin::of(&uri).as_ref() == Some(&self.inner.origin);
            if here {
                own = response.headers().clone();
            }
            let status = response.status().as_u16();
            match status {
                200..=299 => return Ok(Reply { response, elsewhere: (!here).then_some(url), own }),
                301 | 302 | 303 | 307 | 308 => {
                    url = self.redirect(&uri, response.headers())?;
                    // A short body is read, so that the connection can be used again.
                    let _ = response.body_mut().with_config().limit(16 << 10).read_to_vec();
                }
                _ => return Err(self.refused(status, &mut response, &url, about)),
            }
        }
        Err(network(format!("{}: more than {MAX_REDIRECTS} redirects", about.name())).into())
    }

    /// Where a redirect leads.
    fn redirect(&self, from: &Uri, headers: &HeaderMap) -> Result<String> {
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
            None => Err(bad("a redirect to something that is no http or https URL")),
            Some(o) if scheme == "https" && !o.secure => Err(bad("a redirect from https to http, not followed")),
            Some(_) => Ok(target),
        }
    }

    /// GET of JSON, with retries; also returns where the next page is.
    pub(super) fn json(
        &self,
        url: &str,
        about: Subject,
        notice: &dyn Fn(Option<Retry>),
    ) -> Result<(Value, Option<String>)> {
        self.retrying(notice, || {
            let mut reply = self.get(url, None, about)?;
            let next = next_page(reply.response.headers()).filter(|n| self.is_own(n));
            let text = reply.response.body_mut().with_config().limit(MAX_JSON).read_to_vec();
            let text = text.map_err(|e| self.network(url, e))?;
            let broken = |e: serde_json::Error| Failure::transient(network(format!("{}: no JSON: {e}", short(url))));
            Ok((serde_json::from_slice(&text).map_err(broken)?, next))
        })
    }

    /// Whether an address that a server names may be asked: without TLS only if the endpoint has none either.
    pub(super) fn may_ask(&self, url: &str) -> bool {
        let origin = url.parse::<Uri>().ok().as_ref().and_then(Origin::of);
        url.len() <= MAX_URL && origin.is_some_and(|o| o.secure || !self.inner.origin.secure)
    }

    fn is_own(&self, url: &str) -> bool {
        url.parse::<Uri>().ok().as_ref().and_then(Origin::of).as_ref() == Some(&self.inner.origin)
    }

    /// Tries until it works, the failure is final, or the tries are used up.
    pub(super) fn retrying<T>(
        &self,
        notice: &dyn Fn(Option<Retry>),
        mut work: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T> {
        let mut backoff = self.backoff();
        loop {
            self.inner.control.wait_while_paused()?;
            match work() {
                Ok(value) => {
                    notice(None);
                    return Ok(value);
                }
                Err(failure) => self.wait(&mut backoff, failure, notice)?,
            }
        }
    }

    pub(super) fn backoff(&self) -> Backoff {
        Backoff::new(self.inner.options.backoff, self.inner.options.retries)
    }

    /// Waits before the next try, or ends with the error. Failures of a cancel or a pause do not count.
    pub(super) fn wait(&self, backoff: &mut Backoff, failure: Failure, notice: &dyn Fn(Option<Retry>)) -> Result<()> {
        self.inner.control.check()?;
        if self.inner.control.is_paused() || failure.error.kind() == ErrorKind::Cancelled {
            return self.inner.control.wait_while_paused();
        }
        let retry = backoff.next(failure)?;
        log::warn!(
            "{}; trying again in {:.1} s ({} of {})",
            retry.reason,
            retry.wait.as_secs_f64(),
            retry.attempt,
            retry.limit
        );
        let wait = retry.wait;
        notice(Some(retry));
        self.inner.control.sleep(wait)
    }

    /// Whether requests may go on. Those that a pause ends have not failed.
    fn check(&self) -> Result<(), Failure> {
        self.inner.control.check()?;
        match self.inner.control.is_paused() {
            true => Err(Failure::transient(Error::new(ErrorKind::Cancelled, "paused"))),
            false => Ok(()),
        }
    }

    /// A failure on the way to a server.
    pub(super) fn network(&self, url: &str, error: ureq::Error) -> Failure {
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
                format!("no answer for {} s", self.inner.options.stall.as_secs_f32())
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
    fn refused(&self, status: u16, response: &mut Response<Body>, url: &str, about: Subject) -> Failure {
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let code = header("X-Error-Code").to_owned();
        let mut said = header("X-Error-Message").to_owned();
        let after = retry_after(response.headers(), OffsetDateTime::now_utc());
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
        let said: String = said.chars().filter(|c| !c.is_control()).take(300).collect();
        let (id, name, endpoint) = (about.id, about.name(), &self.inner.options.endpoint);
        let page = format!("{endpoint}/{id}");
        let denied = |text: String| Error::new(ErrorKind::AccessDenied, text);
        let has_token = self.inner.options.token.is_some();
        let error = match (status, code.as_str(), has_token) {
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
        };
        let transient = matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504);
        Failure { error, transient, after: after.filter(|_| transient), status: Some(status) }
    }
}

impl Subject<'_> {
    pub fn name(&self) -> String {
        match self.file {
            Some(file) => format!("{}/{file}", self.id),
            None => self.id.to_owned(),
        }
    }
}

fn agent(options: &HubOptions, proxy: Option<Proxy>) -> Agent {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let seconds = |s| Some(Duration::from_secs(s));
    let config = Agent::config_builder()
        .tls_config(tls)
        .proxy(proxy)
        .user_agent(concat!("mlx-engine/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        // Compressed answers have no length and no ranges.
        .accept_encoding("identity")
        .max_response_header_size(MAX_HEADERS)
        .timeout_resolve(Some(options.connect))
        .timeout_connect(Some(options.connect))
        .timeout_send_request(seconds(30))
        .timeout_recv_response(Some(options.stall.max(Duration::from_secs(1)) + Duration::from_secs(10)))
        .timeout_per_read(Some(options.stall))
        .timeout_per_write(Some(options.stall))
        .max_idle_connections(64)
        .max_idle_connections_per_host(options.connections.max(1))
        .input_buffer_size(256 << 10)
        .output_buffer_size(16 << 10)
        .build();
    config.new_agent()
}

/// A body's bytes as they come.
pub(super) fn reader(response: Response<Body>) -> impl Read + Send {
    response.into_body().into_with_config().limit(u64::MAX).reader()
}

pub(super) fn network(message: String) -> Error {
    Error::new(ErrorKind::Network, message)
}

/// An I/O error without the layers around it.
pub(super) fn io_text(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the connection was closed too early".into(),
        _ => error.to_string(),
    }
}

fn parsed(url: &str) -> Result<Uri> {
    url.parse().map_err(|_| network(format!("{}: no URL", short(url))))
}

/// An address without its query, which may hold a signature.
pub(super) fn short(url: &str) -> String {
    url.split('?').next().unwrap_or_default().chars().take(200).collect()
}

/// What is wrong with a server's certificate, or with those of the authorities on this machine. Trying again mends
/// neither.
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
pub(super) fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
    let date = |text: &str| OffsetDateTime::parse(text, &Rfc2822).ok();
    let after = text(RETRY_AFTER)?;
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = text(DATE).and_then(date).unwrap_or(now);
    Some((date(after)? - now).try_into().unwrap_or_default())
}

/// The address of the next page in a `Link` header.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(LINK)?.to_str().ok()?;
    link.split(',')
        .find(|part| part.contains("rel=\"next\""))
        .and_then(|part| part.split_once('<')?.1.split_once('>'))
        .map(|(url, _)| url.to_owned())
}

/// Percent-encodes what is not plainly allowed in a path. Slashes stay if `keep` has them.
pub(super) fn encode(text: &str, keep: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.as_bytes().contains(&byte) {
            true => out.push(byte as char),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
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
        let options = HubOptions { endpoint: "https://hub.example".into(), ..HubOptions::from_env().unwrap() };
        let client = Client::new(options).unwrap();
        let from: Uri = "https://hub.example/a/b/c?x=1".parse().unwrap();
        let go = |to: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, to.parse().unwrap());
            client.redirect(&from, &headers)
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

    #[test]
    fn paths_are_encoded() {
        assert_eq!(encode("a b/c%ü", "/"), "a%20b/c%25%C3%BC");
        assert_eq!(encode("refs/pr/1", ""), "refs%2Fpr%2F1");
    }

    #[test]
    fn endpoints_must_be_urls() {
        for endpoint in ["", "hub.example", "ftp://hub.example", "https://user:pass@hub.example", "https://h/?q=1"] {
            let options = HubOptions { endpoint: endpoint.into(), ..HubOptions::from_env().unwrap() };
            assert!(Client::new(options).is_err(), "{endpoint}");
        }
    }
}
