//! The proxy of a request.

use std::net::IpAddr;

use ureq::Proxy;
use ureq::http::Uri;

use super::options::HubOptions;
use crate::env::{self, Variable};
use crate::error::{Error, Result};

/// The proxy for each scheme, and the hosts reached without one.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies {
    pub http: Option<Proxy>,
    pub https: Option<Proxy>,
    direct: Vec<Direct>,
}

/// The route of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Direct,
    /// Through the proxy for http.
    Http,
    /// Through the proxy for https.
    Https,
}

impl Proxies {
    /// The one from the options, for everything; otherwise from the environment, as curl and Python read it:
    /// `https_proxy` or `http_proxy` by the scheme of the URL, otherwise `all_proxy`, lower case first, and `no_proxy`.
    pub fn of(options: &HubOptions) -> Result<Proxies> {
        match &options.proxy {
            Some(url) => {
                let proxy = Some(parse("the proxy", url.as_str())?);
                Ok(Proxies { http: proxy.clone(), https: proxy, direct: Vec::new() })
            }
            None => Self::from_environment(Variable::in_either_case),
        }
    }

    fn from_environment(get: impl Fn(Variable) -> Option<(String, String)>) -> Result<Proxies> {
        let proxy = |scheme: Variable| {
            let found = get(scheme).or_else(|| get(env::ALL_PROXY));
            found.map(|(name, url)| parse(&name, &url)).transpose()
        };
        let direct =
            get(env::NO_PROXY).map_or_else(Vec::new, |(_, list)| list.split(',').filter_map(Direct::parse).collect());
        Ok(Proxies { http: proxy(env::HTTP_PROXY)?, https: proxy(env::HTTPS_PROXY)?, direct })
    }

    pub fn route(&self, uri: &Uri) -> Route {
        let secure = uri.scheme_str() == Some("https");
        let proxy = if secure { &self.https } else { &self.http };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        match proxy.is_none() || self.direct.iter().any(|d| d.covers(&host, port)) {
            true => Route::Direct,
            false if secure => Route::Https,
            false => Route::Http,
        }
    }

    /// The proxy for an address, for messages: without name and password.
    pub fn name(&self, url: &str) -> Option<String> {
        let proxy = match self.route(&url.parse().ok()?) {
            Route::Direct => None,
            Route::Http => self.http.as_ref(),
            Route::Https => self.https.as_ref(),
        }?;
        let scheme = proxy.protocol().to_string().to_lowercase();
        Some(format!("{scheme}://{}:{}", proxy.host(), proxy.port()))
    }
}

/// The value may hold a password, so messages have only the name.
fn parse(name: &str, url: &str) -> Result<Proxy> {
    let bad = |_| {
        Error::invalid_argument(format!(
            "{name} is not a proxy URL: it should look like http://host:port, https://host:port or socks5://host:port"
        ))
    };
    Proxy::new(url).map_err(bad)
}

/// An entry of `NO_PROXY`: hosts reached without a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Direct {
    All,
    /// A host and all below it, at one port or at any.
    Host(String, Option<u16>),
    /// A block of addresses by how many of their leading bits agree.
    Block(IpAddr, u32),
}

impl Direct {
    fn parse(entry: &str) -> Option<Direct> {
        let entry = entry.trim().to_ascii_lowercase();
        if entry == "*" {
            return Some(Direct::All);
        }
        if let Some((address, bits)) = entry.split_once('/') {
            return Some(Direct::Block(address.parse().ok()?, bits.parse().ok()?));
        }
        if let Ok(address) = entry.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Some(Direct::Block(address, 128));
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (entry.as_str(), None),
        };
        let host = host.trim_start_matches('*').trim_start_matches('.').trim_matches(['[', ']']);
        (!host.is_empty()).then(|| Direct::Host(host.to_owned(), port))
    }

    fn covers(&self, host: &str, port: u16) -> bool {
        match self {
            Direct::All => true,
            Direct::Host(name, at) => {
                let below = |rest: &str| rest.is_empty() || rest.ends_with('.');
                at.is_none_or(|p| p == port) && host.strip_suffix(name.as_str()).is_some_and(below)
            }
            Direct::Block(block, bits) => host.parse().is_ok_and(|address| agree(*block, address, *bits)),
        }
    }
}

/// Whether two addresses of one kind begin with the same bits.
fn agree(a: IpAddr, b: IpAddr, bits: u32) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= bits.min(32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= bits.min(128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(all: &[(&str, &str)]) -> Result<Proxies> {
        let get = |name: &str| all.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Proxies::from_environment(|variable| variable.in_either_case_of(get))
    }

    #[test]
    fn the_scheme_chooses_the_proxy() {
        let name = |all: &[(&str, &str)], url: &str| proxies(all).unwrap().name(url).unwrap_or_default();
        let both = [("HTTP_PROXY", "http://a:1"), ("HTTPS_PROXY", "http://b:2"), ("ALL_PROXY", "socks5h://c:3")];
        assert_eq!(name(&both, "http://hub.example/x"), "http://a:1");
        assert_eq!(name(&both, "https://hub.example/x"), "http://b:2");
        assert_eq!(name(&both[..1], "https://hub.example/x"), "");
        assert_eq!(name(&both[2..], "https://hub.example/x"), "socks5h://c:3");
        assert_eq!(name(&[("https_proxy", "small:8"), both[1]], "https://hub.example/x"), "http://small:8");
        assert_eq!(name(&[("HTTPS_PROXY", " "), both[2]], "https://hub.example/x"), "socks5h://c:3");
        assert_eq!(name(&[], "https://hub.example/x"), "");
    }

    #[test]
    fn some_hosts_are_reached_without_one() {
        let list =
            "localhost, .inside.example,*.corp, hub.example:8443,10.0.0.0/8,192.168.1.7,[::1],fd00::/8, nonsense/x";
        let proxies = proxies(&[("all_proxy", "http://p:1"), ("no_proxy", list)]).unwrap();
        let direct = |url: &str| proxies.route(&url.parse().unwrap()) == Route::Direct;
        for url in [
            "http://localhost:8080",
            "https://inside.example",
            "https://a.b.INSIDE.example/x",
            "https://a.corp",
            "https://hub.example:8443",
            "http://10.200.3.4",
            "http://192.168.1.7:99",
            "http://[::1]:5",
            "http://[fd12::1]",
        ] {
            assert!(direct(url), "{url}");
        }
        for url in [
            "https://notinside.example",
            "https://hub.example",
            "http://11.0.0.1",
            "http://192.168.1.70",
            "http://[fe80::1]",
            "https://inside.example.evil",
        ] {
            assert!(!direct(url), "{url}");
        }
        let everything = Proxies { direct: vec![Direct::All], ..proxies };
        assert_eq!(everything.route(&"https://x".parse().unwrap()), Route::Direct);
    }

    #[test]
    fn passwords_are_not_told() {
        let error = proxies(&[("HTTPS_PROXY", "ftp://me:secret@host:1")]).unwrap_err();
        assert!(error.message().contains("HTTPS_PROXY") && !error.to_string().contains("secret"), "{error}");
        let proxies = proxies(&[("HTTPS_PROXY", "http://me:secret@host:1")]).unwrap();
        assert_eq!(proxies.name("https://hub.example").unwrap(), "http://host:1");
        assert!(!format!("{proxies:?}").contains("secret"));
    }
}
