//! How to reach a Hub, and where its files go.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::cache::{cache_dir, home};
use super::request::HubRequest;
use crate::env;
use crate::error::{Error, Result};
use crate::files::read_text;

/// The public Hub.
const ENDPOINT: &str = "https://huggingface.co";

/// A secret that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token; `None` where the text is empty.
    ///
    /// # Errors
    /// If it has characters that an HTTP header cannot contain.
    pub fn new(text: &str) -> Result<Option<Token>> {
        let text = text.trim();
        match text.bytes().all(|b| b.is_ascii_graphic()) {
            true if text.is_empty() => Ok(None),
            true => Ok(Some(Token(text.to_owned()))),
            false => Err(Error::invalid_argument("the access token has characters that no token has")),
        }
    }

    /// A text of a server without the token, which some repeat.
    pub(super) fn hidden_in(&self, text: &str) -> String {
        text.replace(&self.0, "(the token)")
    }

    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// A proxy's URL, which may hold a password and is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(String);

impl ProxyUrl {
    /// `http://host:port`, `https://host:port` or `socks5://host:port`, with `name:password@` before the host if
    /// needed; it is checked when it is used.
    pub fn new(url: &str) -> ProxyUrl {
        ProxyUrl(url.trim().to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyUrl(..)")
    }
}

/// How to reach a Hub, and where its files go.
#[derive(Clone, Debug, PartialEq)]
pub struct HubOptions {
    /// URL of the Hub or of a mirror: scheme, host, and path if there is one.
    pub endpoint: String,
    /// Sent to the endpoint's own scheme, host and port, and nowhere else.
    pub token: Option<Token>,
    /// The cache folder, shared with the Python libraries.
    pub cache: PathBuf,
    /// Never touches the network.
    pub offline: bool,
    /// Whether the caller asked for that, for messages; otherwise the environment did.
    pub asked_offline: bool,
    /// Fetches files that are in Xet storage from there, and over plain HTTP where that fails.
    pub xet: bool,
    /// Proxy for all requests; `None` uses `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    pub proxy: Option<ProxyUrl>,
    /// The most connections of one download.
    pub connections: usize,
    /// How often a request may fail in a row, without any progress, before its error is final.
    pub retries: u32,
    /// The wait before the first retry; it doubles with each one, less a random part of up to half.
    pub backoff: Duration,
    /// A connection that is slower than 1 KiB/s for this long is dropped.
    pub stall: Duration,
    /// How long resolving a name and connecting may take, each.
    pub connect: Duration,
}

impl HubOptions {
    /// The requested options, filled in from the environment.
    ///
    /// # Errors
    /// If a value is out of range, the token is malformed, or there is no cache folder.
    pub fn new(request: &HubRequest) -> Result<HubOptions> {
        request.validate()?;
        let mut options = match &request.directory {
            Some(directory) => Self::with_cache(directory)?,
            None => Self::from_env()?,
        };
        options.offline |= request.offline;
        options.asked_offline = request.offline;
        options.xet &= !request.disable_xet;
        options.connections = request.connections() as usize;
        options.retries = request.retries();
        options.proxy = request.proxy.as_deref().map(ProxyUrl::new);
        if let Some(endpoint) = &request.endpoint {
            options.endpoint.clone_from(endpoint);
        }
        if let Some(token) = &request.token {
            options.token = Token::new(token)?;
        }
        Ok(options)
    }

    /// The options from the environment, with the variables of `huggingface_hub`: `HF_ENDPOINT`, `HF_TOKEN`,
    /// `HF_TOKEN_PATH`, `HF_HUB_DISABLE_IMPLICIT_TOKEN`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`,
    /// `HF_HUB_DISABLE_XET`, `HF_HUB_DOWNLOAD_TIMEOUT`.
    ///
    /// # Errors
    /// If there is no cache folder, or the token is malformed.
    pub fn from_env() -> Result<HubOptions> {
        Self::with_cache(cache_dir()?)
    }

    /// Why the network is off, where it is: what would have to be changed.
    pub fn why_offline(&self) -> String {
        let variables: Vec<&str> = offline_variables().collect();
        let environment = format!("{} in the environment", variables.join(" and "));
        match (self.asked_offline || variables.is_empty(), variables.is_empty()) {
            (true, true) => "the option offline is set".into(),
            (true, false) => format!("the option offline is set, and so is {environment}"),
            (false, _) => format!("{environment} {} set", if variables.len() == 1 { "is" } else { "are" }),
        }
    }

    /// Like [`from_env`](Self::from_env), with a cache folder.
    ///
    /// # Errors
    /// If the token is malformed.
    pub fn with_cache(cache: impl Into<PathBuf>) -> Result<HubOptions> {
        let seconds =
            env::HF_HUB_DOWNLOAD_TIMEOUT.text().and_then(|s| s.parse().ok()).filter(|s| (1..=3600).contains(s));
        Ok(HubOptions {
            endpoint: env::HF_ENDPOINT.text().unwrap_or_else(|| ENDPOINT.into()),
            token: token()?,
            cache: cache.into(),
            offline: offline_variables().next().is_some(),
            asked_offline: false,
            xet: !env::HF_HUB_DISABLE_XET.is_true(),
            proxy: None,
            connections: HubRequest::default().connections() as usize,
            retries: HubRequest::default().retries(),
            backoff: Duration::from_millis(500),
            stall: Duration::from_secs(seconds.unwrap_or(20)),
            connect: Duration::from_secs(10),
        })
    }
}

/// The variables that turn the network off.
fn offline_variables() -> impl Iterator<Item = &'static str> {
    [env::HF_HUB_OFFLINE, env::TRANSFORMERS_OFFLINE].into_iter().filter(|v| v.is_true()).map(|v| v.name)
}

/// The token from the environment, otherwise from the file that `hf auth login` writes.
fn token() -> Result<Option<Token>> {
    if env::HF_HUB_DISABLE_IMPLICIT_TOKEN.is_true() {
        return Ok(None);
    }
    if let Some(token) = env::HF_TOKEN.text().or_else(|| env::HUGGING_FACE_HUB_TOKEN.text()) {
        return Token::new(&token);
    }
    let path = env::HF_TOKEN_PATH.path().or_else(|| Some(home()?.join("token")));
    match path.map(|p| read_text(&p, 4096)) {
        Some(Ok(token)) => Token::new(&token),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_not_printed_and_stay_in_one_header() {
        let token = Token::new(" hf_secret\n").unwrap().unwrap();
        assert!(!format!("{token:?}").contains("secret"));
        assert_eq!(Token::new("  ").unwrap(), None);
        assert!(Token::new("a\r\nX-Evil: 1").is_err());
    }
}
