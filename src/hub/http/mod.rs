//! HTTP requests to a Hub: redirects, where the token may be sent, errors that say what to do, retries.

mod address;
mod agents;
mod encoding;
mod error;
mod failure;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mlx_engine_base::progress::Retry;
use parking_lot::Mutex;
use serde_json::Value;
use ureq::Body;
use ureq::http::header::{AUTHORIZATION, RANGE};
use ureq::http::{HeaderMap, Response, Uri};

use super::control::Control;
use super::options::{HubOptions, Token};
use super::proxy::Proxies;
use super::retry::{Backoff, Failure};
use crate::error::{Error, ErrorKind, Result};

use address::{MAX_URL, Origin, next_page, parsed, redirect};
pub(super) use address::{encode_path, encode_segment, short};
use agents::Agents;
use encoding::{Encoding, looks_like_page};
pub(super) use encoding::{PAGE, is_encoded, is_page, reader};
pub(super) use error::{io_text, network};
pub(super) use failure::retry_after;

/// The longest API response that is read.
const MAX_JSON: u64 = 32 << 20;
const MAX_REDIRECTS: usize = 10;

/// A client of one Hub. Clones share connections, pause and cancel.
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
    /// A server has answered.
    answered: AtomicBool,
}

/// What a request is about, for messages.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub id: &'a str,
    pub revision: &'a str,
    pub file: Option<&'a str>,
}

/// The response after all redirects.
pub(super) struct Reply {
    pub response: Response<Body>,
    /// Where it came from.
    pub url: String,
    /// The same, if that is not the endpoint.
    pub elsewhere: Option<String>,
    /// The headers of the endpoint's own last response: the response itself, or the redirect away.
    pub own: HeaderMap,
}

impl Client {
    /// A client.
    ///
    /// # Errors
    /// If the endpoint or the proxy is not a URL.
    pub fn new(options: HubOptions) -> Result<Client> {
        let endpoint = options.endpoint.trim_end_matches('/').to_owned();
        let bad = || Error::invalid_argument(format!("the endpoint {endpoint:?} is not an http or https URL"));
        let uri: Uri = endpoint.parse().map_err(|_| bad())?;
        if uri.query().is_some() || uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err(bad());
        }
        let origin = Origin::of(&uri).ok_or_else(bad)?;
        let options = HubOptions { endpoint: endpoint.clone(), ..options };
        let proxies = Proxies::of(&options)?;
        let agents = Mutex::new(Agents::new(&options, &proxies));
        let (control, answered) = (Control::new(), AtomicBool::new(false));
        Ok(Client { inner: Arc::new(Inner { options, origin, proxies, agents, control, answered }) })
    }

    /// The options of this client.
    pub fn options(&self) -> &HubOptions {
        &self.inner.options
    }

    pub(super) fn control(&self) -> &Control {
        &self.inner.control
    }

    /// Ends all work of this client, immediately and permanently.
    pub fn cancel(&self) {
        self.inner.control.cancel();
        self.close();
    }

    /// Closes all connections; the requests that used them continue where they stopped after [`resume`](Self::resume).
    pub fn pause(&self) {
        self.inner.control.pause();
        self.close();
    }

    /// Closes all connections; requests in flight fail.
    fn close(&self) {
        let fresh = Agents::new(&self.inner.options, &self.inner.proxies);
        std::mem::replace(&mut *self.inner.agents.lock(), fresh).shutdown();
    }

    /// Continues after [`pause`](Self::pause).
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
            return Err(Error::not_found(format!(
                "{url}: not requested offline: {}",
                self.inner.options.why_offline()
            ))
            .into());
        }
        let agent = self.inner.agents.lock().on(self.inner.proxies.route(&parsed(url)?)).clone();
        // Only then, so that closed connections are not replaced by new ones.
        self.check()?;
        let mut request = agent.get(url);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some((start, end)) = range {
            request = request.header(RANGE, format!("bytes={start}-{}", end - 1));
        }
        let response = request.call().map_err(|e| self.network(url, e))?;
        self.inner.answered.store(true, Ordering::Relaxed);
        Ok(response)
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
                200..=299 => {
                    if let Encoding::Unknown(encoding) = Encoding::of(response.headers()) {
                        let (name, from) = (about.name(), short(&url));
                        return Err(network(format!(
                            "{name}: {from} sends it with the Content-Encoding {encoding:?}, though it was asked for none"
                        ))
                        .into());
                    }
                    return Ok(Reply { response, elsewhere: (!here).then(|| url.clone()), url, own });
                }
                301 | 302 | 303 | 307 | 308 => {
                    url = redirect(&url, response.headers())?;
                    // A short body is read, so that the connection can be used again.
                    let _ = response.body_mut().with_config().limit(16 << 10).read_to_vec();
                }
                _ => return Err(self.refused(status, response, &url, about)),
            }
        }
        Err(network(format!("{}: more than {MAX_REDIRECTS} redirects", about.name())).into())
    }

    /// GET of JSON, with retries; also returns where the next page is.
    pub(super) fn json(
        &self,
        url: &str,
        about: Subject,
        notice: &dyn Fn(Option<Retry>),
    ) -> Result<(Value, Option<String>)> {
        self.retrying(notice, || {
            let reply = self.get(url, None, about)?;
            let from = reply.url;
            let page = || network(format!("{}: the response is not JSON: {PAGE} ({})", short(url), short(&from)));
            if is_page(reply.response.headers()) {
                return Err(page().into());
            }
            let next = next_page(url, &from, self.is_own(&from), reply.response.headers())?;
            let mut text = Vec::new();
            let read = reader(reply.response).take(MAX_JSON + 1).read_to_end(&mut text);
            read.map_err(|e| self.broken(url, e))?;
            if text.len() as u64 > MAX_JSON {
                return Err(network(format!("{}: the response is larger than {MAX_JSON} bytes", short(url))).into());
            }
            let broken = |e: serde_json::Error| match looks_like_page(&text) {
                true => Failure::transient(page()),
                false => Failure::transient(network(format!("{}: the response is not JSON: {e}", short(url)))),
            };
            Ok((serde_json::from_slice(&text).map_err(broken)?, next))
        })
    }

    /// Whether a URL from a server may be requested: without TLS only if the endpoint has none either.
    pub(super) fn may_ask(&self, url: &str) -> bool {
        let origin = url.parse::<Uri>().ok().as_ref().and_then(Origin::of);
        url.len() <= MAX_URL && origin.is_some_and(|o| o.secure || !self.inner.origin.secure)
    }

    fn is_own(&self, url: &str) -> bool {
        url.parse::<Uri>().ok().as_ref().and_then(Origin::of).as_ref() == Some(&self.inner.origin)
    }

    /// Retries until it works, the failure is final, or the attempts are used up.
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

    /// Waits before the next attempt, or ends with the error. Failures caused by a cancel or a pause do not count.
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

    /// Whether requests may continue. Those that a pause ends have not failed.
    fn check(&self) -> Result<(), Failure> {
        self.inner.control.check()?;
        match self.inner.control.is_paused() {
            true => Err(Failure::transient(Error::new(ErrorKind::Cancelled, "paused"))),
            false => Ok(()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_must_be_urls() {
        for endpoint in ["", "hub.example", "ftp://hub.example", "https://user:pass@hub.example", "https://h/?q=1"] {
            let options = HubOptions { endpoint: endpoint.into(), ..HubOptions::from_env().unwrap() };
            assert!(Client::new(options).is_err(), "{endpoint}");
        }
    }
}
