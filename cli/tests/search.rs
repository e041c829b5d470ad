//! `mlxe search` and `mlxe fit`.

#[path = "../../tests/support/hub_server.rs"]
#[allow(dead_code)]
mod hub_server;
#[path = "../../tests/support/random_model.rs"]
mod random_model;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::process::Command;

use hub_server::{HubServer, Repo};
use random_model::random_checkpoint;
use support::TempDir;

#[test]
fn the_command_line_searches_and_estimates() {
    let dir = TempDir::new("cli");
    random_checkpoint(dir.path(), 1, 256, 512, 4, 2, true);
    let server = HubServer::start(vec![Repo::from_folder("org/model", dir.path())]);
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_mlxe"))
            .args(arguments)
            .env("HF_ENDPOINT", &server.endpoint)
            .env("HF_HUB_CACHE", dir.path().join("cache"))
            .output()
            .unwrap();
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let json = |arguments: &[&str]| -> serde_json::Value {
        let (code, out, err) = run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {err}");
        serde_json::from_str(&out).unwrap()
    };
    assert_eq!(json(&["search", "model", "--library", "", "--json"])["models"][0]["id"], "org/model");
    let fit = json(&["fit", "org/model", "--context", "512", "--device", "cpu", "--json"]);
    assert_eq!((&fit["supported"], &fit["bits"], &fit["fits"]), (&true.into(), &4.into(), &true.into()));
    assert_eq!(fit["memory"]["context"], 512);
    let local = json(&["fit", &dir.path().display().to_string(), "--context", "512", "--device", "cpu", "--json"]);
    assert_eq!(local["memory"], fit["memory"]);
    let known = json(&["fit", "--json"]);
    let known = known.as_array().unwrap();
    assert!(known.len() >= 10 && known.iter().all(|m| m["supported"] == true && m["weight_bytes"].as_u64() > Some(1)));
    let (code, out, _) = run(&["search", "--library", ""]);
    assert!(code == Some(0) && out.contains("org/model"), "{out}");
    let (code, out, _) = run(&["fit", "org/model"]);
    assert!(code == Some(0) && out.contains("KV cache"), "{out}");
    for (arguments, word) in [
        (["search", "--size", "huge"], "xlarge"),
        (["search", "--fits", "0"], "--fits"),
        (["fit", "org/absent", "--json"], "org/absent"),
    ] {
        let (code, _, err) = run(&arguments);
        assert!(code != Some(0) && err.contains(word), "{arguments:?}: {err}");
    }
}
