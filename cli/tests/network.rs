//! The way to a Hub: proxies, certificates, servers that ask for patience. What the environment decides is tested with
//! `mlxe pull`, which is a process of its own.

#[path = "../../tests/support/hub_server.rs"]
#[allow(dead_code)]
mod hub_server;
#[path = "../../tests/support/proxy.rs"]
mod proxy;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../../tests/support/tls.rs"]
mod tls;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use hub_server::{At, Fault, HubServer, Repo};
use mlx_engine::hub::{Download, DownloadRequest, HubOptions, ProxyUrl};
use mlx_engine::{ErrorKind, Result};
use proxy::TestProxy;
use support::TempDir;

const ID: &str = "org/model";

fn repo() -> Repo {
    let weights = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    Repo::new(ID, &[("config.json", br#"{"model_type": "llama"}"#.to_vec()), ("model.safetensors", weights)])
}

/// `mlxe pull` in this environment: whether it worked, and what it said.
fn pull_in(endpoint: &str, environment: &[(&str, &str)]) -> (bool, String) {
    let cache = TempDir::new("network");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mlxe"));
    command.args(["pull", ID, "--json"]).env("HF_ENDPOINT", endpoint).env("HF_HUB_CACHE", cache.path());
    command.env_remove("HF_HUB_OFFLINE").env("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    let output = command.envs(environment.iter().copied()).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr))
}

fn pull(server: &HubServer, options: impl FnOnce(HubOptions) -> HubOptions) -> Result<PathBuf> {
    let cache = TempDir::new("network");
    let usual = HubOptions {
        endpoint: server.endpoint.clone(),
        token: None,
        offline: false,
        retries: 3,
        backoff: Duration::from_millis(5),
        ..HubOptions::with_cache(cache.path()).unwrap()
    };
    Download::start(options(usual), DownloadRequest::new(ID, None))?.wait()
}

#[test]
fn the_environment_names_the_proxy() {
    let (server, proxy) = (HubServer::start(vec![repo()]), TestProxy::start(None));
    let nowhere = "http://127.0.0.1:1";
    let url = format!("http://{}", proxy.address);
    let hub = server.endpoint.trim_start_matches("http://").to_owned();
    let tunnels_of = |environment: &[(&str, &str)]| {
        let before = proxy.tunnels().len();
        let (worked, said) = pull_in(&server.endpoint, environment);
        assert!(worked, "{environment:?}: {said}");
        proxy.tunnels().split_off(before)
    };
    for environment in [
        vec![("http_proxy", url.as_str())],
        vec![("HTTP_PROXY", &url), ("ALL_PROXY", nowhere), ("HTTPS_PROXY", nowhere)],
        vec![("ALL_PROXY", &url), ("HTTPS_PROXY", nowhere)],
        vec![("HTTP_PROXY", &url), ("NO_PROXY", "localhost, hub.example")],
    ] {
        let tunnels = tunnels_of(&environment);
        assert!(tunnels.contains(&hub), "{environment:?}: {tunnels:?}");
    }
    let none = String::new();
    for (name, value) in [("NO_PROXY", "localhost, 127.0.0.0/8"), ("no_proxy", "*"), ("HTTPS_PROXY", &none)] {
        let other = if name == "HTTPS_PROXY" { name } else { "HTTP_PROXY" };
        assert!(tunnels_of(&[(other, nowhere), (name, value)]).is_empty(), "{name}={value}");
    }
    let (worked, said) = pull_in(&server.endpoint, &[("HTTP_PROXY", "what://me:secret@host")]);
    assert!(!worked && said.contains("HTTP_PROXY") && !said.contains("secret"), "{said}");
}

#[test]
fn a_proxy_may_want_a_password() {
    // `printf 'me:se%cret' | base64`, and what it is in a URL.
    let (server, proxy) = (HubServer::start(vec![repo()]), TestProxy::start(Some("Basic bWU6c2UlY3JldA==")));
    let through = |user: &str| {
        let url = ProxyUrl::new(&format!("http://{user}{}", proxy.address));
        pull(&server, |o| HubOptions { proxy: Some(url), ..o })
    };
    through("me:se%25cret@").unwrap();
    assert!(!proxy.tunnels().is_empty());
    for user in ["", "me:wrong@"] {
        let before = server.seen().len();
        let error = through(user).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Network);
        assert!(text.contains(&proxy.address) && text.contains("name or password"), "{text}");
        assert!(!text.contains("wrong") && !text.contains("attempts"), "{text}");
        assert_eq!(server.seen().len(), before);
    }
    let gone = ProxyUrl::new("http://me:secret@127.0.0.1:1");
    let text = pull(&server, |o| HubOptions { proxy: Some(gone), ..o }).unwrap_err().to_string();
    assert!(text.contains("http://127.0.0.1:1") && text.contains("attempts") && !text.contains("secret"), "{text}");
}

#[test]
fn certificates_are_checked() {
    let (wrap, certificate) = tls::tls();
    let server = HubServer::start_with(vec![repo()], Some(wrap));
    assert!(server.endpoint.starts_with("https://"));
    let folder = TempDir::new("certificates");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (ours, other) = (file("ours.pem", &certificate), file("other.pem", &tls::tls().1));
    let (worked, said) = pull_in(&server.endpoint, &[("SSL_CERT_FILE", &ours)]);
    assert!(worked, "{said}");
    let seen = server.seen();
    assert!(seen.iter().any(|r| r.storage) && seen.iter().any(|r| !r.storage));
    for environment in [vec![("SSL_CERT_FILE", other.as_str())], vec![]] {
        let (worked, said) = pull_in(&server.endpoint, &environment);
        assert!(!worked && said.contains("certificate"), "{said}");
        assert!(!said.contains("attempts") && !said.contains("trying"), "it is of no use to try again: {said}");
    }
    assert_eq!(server.seen().len(), seen.len());
    // Through a tunnel the certificate is still the server's.
    let proxy = TestProxy::start(None);
    let url = format!("http://{}", proxy.address);
    let (worked, said) = pull_in(&server.endpoint, &[("SSL_CERT_FILE", &ours), ("HTTPS_PROXY", &url)]);
    assert!(worked && !proxy.tunnels().is_empty(), "{said}");
}

#[test]
fn a_date_to_wait_for_is_by_the_servers_clock() {
    let now = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (after, waits) in [("Sun, 06 Nov 1994 08:49:38 GMT", true), ("Sun, 06 Nov 1994 09:49:37 GMT", false)] {
        let server = HubServer::start(vec![repo()]);
        server.fault(At::Api, Fault::Until(after.into(), now.into()), 1);
        let start = std::time::Instant::now();
        let result = pull(&server, |o| o);
        match waits {
            true => assert!(result.is_ok() && start.elapsed() >= Duration::from_secs(1), "{result:?}"),
            false => assert!(result.unwrap_err().to_string().contains("3600 s")),
        }
    }
}
