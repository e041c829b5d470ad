//! Models from the local cache, without a network.

#[path = "../../tests/support/mod.rs"]
mod support;

use serde_json::Value;
use support::{TempDir, write_case};

#[test]
fn the_local_hub_cache_is_found() {
    let cache = TempDir::new("hub");
    let snapshot = cache.path().join("models--org--tiny/snapshots/abc123");
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(cache.path().join("models--org--tiny/refs")).unwrap();
    std::fs::write(cache.path().join("models--org--tiny/refs/main"), "abc123").unwrap();
    write_case("llama", &snapshot, 1);
    // Another process, because the environment belongs to all threads of this one.
    let run = |id: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_mlxe"))
            .args(["generate", "--model", id, "--tokens", "1,2,3", "-n", "4", "--json"])
            .env("HF_HUB_CACHE", cache.path())
            .env("HF_HUB_OFFLINE", "1")
            .output()
            .unwrap()
    };
    let found = run("org/tiny");
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let json: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(json["tokens"].as_array().unwrap().len(), 4);
    let missing = run("org/other");
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("org/other"));
}
