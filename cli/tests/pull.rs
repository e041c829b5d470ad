//! `mlxe pull`: processes that are killed, and two at once.

#[path = "../../tests/support/downloads.rs"]
#[allow(dead_code)]
mod downloads;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use downloads::hub_server::{HubServer, Port};
use downloads::{ID, in_xet, plain};
use support::TempDir;

/// A process that can be killed.
fn pull(server: &HubServer, cache: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mlxe"));
    command.args(["pull", ID, "--json"]).env("HF_ENDPOINT", &server.endpoint).env("HF_HUB_CACHE", cache);
    command.env_remove("HF_HUB_OFFLINE").env_remove("HF_HUB_DISABLE_XET").env("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Bytes that the next process can build on: whole blobs, and the ranges that are written down of others.
fn kept(cache: &Path) -> u64 {
    let folder = cache.join("models--org--model/blobs");
    let size = |name: &String| std::fs::metadata(folder.join(name)).map_or(0, |m| m.len());
    let ranges = |name: &String| -> u64 {
        let text = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        let state: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let there = state["there"].as_array().cloned().unwrap_or_default();
        there.iter().map(|r| r[1].as_u64().unwrap() - r[0].as_u64().unwrap()).sum()
    };
    let names = plain::blobs(cache);
    let whole = names.iter().filter(|n| !n.contains('.')).map(size);
    whole.chain(names.iter().filter(|n| n.ends_with(".incomplete.json")).map(ranges)).sum()
}

#[test]
fn a_killed_download_goes_on_where_it_was() {
    let (server, cache) = (plain::server(), TempDir::new("hub"));
    server.set_rate(400_000);
    for target in [1_500_000, 3_000_000] {
        let mut child = pull(&server, cache.path()).spawn().unwrap();
        while kept(cache.path()) < target {
            std::thread::sleep(Duration::from_millis(20));
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        }
        // SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
        plain::check_snapshots(cache.path(), false);
    }
    server.set_rate(0);
    server.forget();
    let kept = kept(cache.path());
    let output = pull(&server, cache.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    plain::check_snapshots(cache.path(), true);
    let total: u64 = plain::files().iter().filter(|(n, _)| plain::needed(n)).map(|(_, b)| b.len() as u64).sum();
    // And the listings.
    assert!(server.sent() <= total - kept + 10_000, "{} bytes sent of {total}, {kept} were there", server.sent());
    let last: serde_json::Value =
        serde_json::from_str(String::from_utf8(output.stdout).unwrap().lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], last["commit"].as_str()), (&"done".into(), Some(server.repo(ID).commit())));
}

#[test]
fn two_processes_download_the_same_model() {
    let (server, cache) = (plain::server(), TempDir::new("hub"));
    server.set_rate(2 << 20);
    let children: Vec<_> = (0..2).map(|_| pull(&server, cache.path()).spawn().unwrap()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    plain::check_snapshots(cache.path(), true);
    let total: u64 = plain::files().iter().filter(|(n, _)| plain::needed(n)).map(|(_, b)| b.len() as u64).sum();
    assert!(server.sent() < total + total / 2, "{} sent of {total}", server.sent());
}

#[test]
fn a_killed_download_from_xet_storage_goes_on_where_it_was() {
    let (server, cache) = (in_xet::server(), TempDir::new("xet"));
    // A connection's, and so low that what half a second brings on all of them is little.
    server.set_rate(1 << 18);
    for _ in 0..2 {
        let mut child = pull(&server, cache.path()).spawn().unwrap();
        let begin = server.sent();
        while server.sent() < begin + 6_000_000 {
            std::thread::sleep(Duration::from_millis(20));
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        }
        // SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
        in_xet::check_snapshots(cache.path(), false);
    }
    server.set_rate(0);
    server.forget();
    let output = pull(&server, cache.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    in_xet::check_snapshots(cache.path(), true);
    assert_eq!(in_xet::plain(&server), 0);
    // 19 MB in all, of which 12 had been sent, and of each time the last half second and the chunks under way were lost.
    assert!(server.sent() < 13_000_000, "{} bytes sent again", server.sent());
}

#[test]
fn xet_can_be_turned_off() {
    let (server, cache) = (in_xet::server(), TempDir::new("xet"));
    let output = pull(&server, cache.path()).env("HF_HUB_DISABLE_XET", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    in_xet::check_snapshots(cache.path(), true);
    let seen = server.seen();
    assert!(seen.iter().all(|r| r.port != Port::Xet && !r.path.contains("xet")), "{seen:?}");
}
