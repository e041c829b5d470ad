//! Downloads from Xet storage that behaves, and that does not.
#![cfg(feature = "hub")]

#[path = "support/downloads.rs"]
#[allow(dead_code)]
mod downloads;
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use downloads::hub_server::{At, Fault, HubServer, Port, Repo, Rule};
use downloads::in_xet::{CHUNKS_PER_XORB, check_snapshots, files, plain, server};
use downloads::{ID, pull, quick};
use mlx_engine::ErrorKind;
use mlx_engine::hub::{Client, Download, DownloadRequest, HubOptions, Token};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::TempDir;

/// Quick to see a stall, too.
fn options(server: &HubServer, cache: &Path) -> HubOptions {
    HubOptions { stall: Duration::from_millis(300), ..downloads::options(server, cache) }
}

#[test]
fn large_files_come_from_xet_storage_alone() {
    let (server, cache) = (server(), TempDir::new("xet"));
    let download = Download::start(options(&server, cache.path()), DownloadRequest::new(ID, None)).unwrap();
    download.wait().unwrap();
    check_snapshots(cache.path(), true);
    let progress = download.progress();
    assert_eq!((progress.bytes_done, download.files().iter().all(|f| f.finished)), (progress.bytes_total, true));
    assert_eq!(plain(&server), 0);
    let seen = server.seen();
    assert_eq!(seen.iter().filter(|r| r.path.contains("xet-read-token")).count(), 1);
    // Ranges in the middle of a file and of chunks.
    let begins: Vec<u64> = seen.iter().filter(|r| r.port == Port::Xet).map(|r| r.range.unwrap().0).collect();
    assert!(begins.iter().filter(|b| **b > 0).count() >= 3, "{begins:?}");
    // Chunks that are needed twice are fetched once; only the neighbour of a range asks for the same again.
    let mut fetches = BTreeMap::new();
    for request in seen.iter().filter(|r| r.path.starts_with("/xorb/")) {
        *fetches.entry(&request.path).or_insert(0) += 1;
    }
    assert!(fetches.len() >= 5 && fetches.values().all(|n| *n == 1), "{fetches:?}");
    // The numbers were compressed on the way.
    let total: usize = files().iter().map(|(_, b)| b.len()).sum();
    assert!((server.sent() as usize) < total * 97 / 100, "{} sent of {total}", server.sent());
}

#[test]
fn each_token_goes_to_its_own_place() {
    let repo = Repo::new(ID, files()).xet(CHUNKS_PER_XORB).private("hf_secret");
    let (server, cache) = (HubServer::start(vec![repo]), TempDir::new("xet"));
    let token = Token::new("hf_secret").unwrap();
    pull(HubOptions { token, ..options(&server, cache.path()) }).unwrap();
    check_snapshots(cache.path(), true);
    for request in server.seen() {
        let given = request.authorization.as_deref().unwrap_or_default();
        let right = match request.port {
            Port::Hub => given == "Bearer hf_secret",
            Port::Xet => given.starts_with("Bearer xet-"),
            Port::Storage => given.is_empty(),
        };
        assert!(right, "{request:?}");
    }
    assert_eq!(plain(&server), 0);
}

#[test]
fn xet_can_be_turned_off() {
    let (server, cache) = (server(), TempDir::new("xet"));
    pull(HubOptions { xet: false, ..options(&server, cache.path()) }).unwrap();
    check_snapshots(cache.path(), true);
    let seen = server.seen();
    assert!(seen.iter().all(|r| r.port != Port::Xet && !r.path.contains("xet")), "{seen:?}");
}

/// How a download with a fault ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// Through Xet storage nevertheless.
    Xet,
    /// Over plain HTTP.
    Plain,
}

#[test]
fn every_fault_is_survived() {
    use Fault::*;
    let always = u32::MAX;
    let wrong = |cas: &str| Garbage(format!(r#"{{"accessToken": "x", "exp": 99999999999, "casUrl": "{cas}"}}"#));
    let endless =
        format!(r#"{{"offset_into_first_range": 0, "fetch_info": {{}}, "terms": [{}]}}"#, " ".repeat(17 << 20));
    let cases = [
        (At::XetToken, Status(503, None), 2, End::Xet),
        (At::XetToken, Status(503, None), always, End::Plain),
        (At::XetToken, Status(403, None), always, End::Plain),
        (At::XetToken, Status(404, None), 1, End::Plain),
        (At::XetToken, Redirects(307, 3), 1, End::Xet),
        (At::XetToken, Garbage("<html>".into()), 1, End::Xet),
        (At::XetToken, wrong("ftp://127.0.0.1"), 1, End::Plain),
        (At::XetToken, wrong("http://127.0.0.1:1"), always, End::Plain),
        (At::Xet, Status(500, None), 3, End::Xet),
        (At::Xet, Status(429, Some(1)), 1, End::Xet),
        (At::Xet, Status(401, None), 2, End::Xet),
        (At::Xet, Status(403, None), always, End::Plain),
        (At::Xet, Status(404, None), 1, End::Plain),
        (At::Xet, Status(416, None), 1, End::Plain),
        (At::Xet, Truncate(300), 3, End::Xet),
        (At::Xet, Stall(10), 2, End::Xet),
        (At::Xet, Corrupt(2), 1, End::Xet),
        (At::Xet, Garbage("{}".into()), 3, End::Xet),
        (At::Xet, Garbage(endless), always, End::Plain),
        (At::Xet, HugeHeader(10 << 20), always, End::Plain),
        (At::Xorb, Status(403, None), 3, End::Xet),
        (At::Xorb, Status(403, None), always, End::Plain),
        (At::Xorb, Status(502, None), 3, End::Xet),
        (At::Xorb, Truncate(0), 2, End::Xet),
        (At::Xorb, Truncate(100_000), 3, End::Xet),
        (At::Xorb, Stall(5000), 2, End::Xet),
        (At::Xorb, Stall(5000), always, End::Plain),
        (At::Xorb, Drip(100), 2, End::Xet),
        (At::Xorb, Drip(100), always, End::Plain),
        (At::Xorb, WrongRange, 2, End::Xet),
        (At::Xorb, NoRange, 2, End::Xet),
        // A plain chunk's bytes, which only the checksum of the file finds; then the length in its header.
        (At::Xorb, Corrupt(100), 8, End::Xet),
        (At::Xorb, Corrupt(100), always, End::Plain),
        (At::Xorb, Corrupt(2), 2, End::Xet),
        (At::Xorb, Corrupt(65_536 + 5000), 2, End::Xet),
        // A version and a scheme that nobody knows.
        (At::Xorb, Corrupt(0), always, End::Plain),
        (At::Xorb, Corrupt(4), always, End::Plain),
    ];
    for (at, fault, times, end) in cases {
        let (server, cache) = (server(), TempDir::new("xet"));
        server.fault(at, fault.clone(), times);
        let text: String = format!("{at:?} {fault:?}").chars().take(80).collect();
        println!("{text} x {times}");
        pull(options(&server, cache.path())).unwrap_or_else(|e| panic!("{text} x {times}: {e}"));
        check_snapshots(cache.path(), true);
        let found = if plain(&server) > 0 { End::Plain } else { End::Xet };
        assert_eq!(found, end, "{text} x {times}");
    }
}

#[test]
fn what_neither_way_brings_is_an_error_that_says_both() {
    let (server, cache) = (server(), TempDir::new("xet"));
    server.fault(At::Xet, Fault::Status(404, None), u32::MAX);
    server.fault(At::Storage, Fault::Status(403, None), u32::MAX);
    let error = pull(options(&server, cache.path())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error}");
    assert!(["Xet storage failed", "404", "plain HTTP", "403"].iter().all(|w| error.message().contains(w)), "{error}");
    check_snapshots(cache.path(), false);
    server.set_faults(Vec::new());
    pull(options(&server, cache.path())).unwrap();
    check_snapshots(cache.path(), true);
}

#[test]
fn expired_tokens_are_replaced() {
    let (server, cache) = (server(), TempDir::new("xet"));
    let tokens = || server.seen().iter().filter(|r| r.path.contains("xet-read-token")).count();
    // While it runs, without a word.
    server.set_rate(4 << 20);
    let download = Download::start(options(&server, cache.path()), DownloadRequest::new(ID, None)).unwrap();
    while !server.seen().iter().any(|r| r.path.starts_with("/xorb/")) {
        std::thread::sleep(Duration::from_millis(2));
    }
    server.expire_xet_tokens();
    server.set_rate(0);
    download.wait().unwrap();
    check_snapshots(cache.path(), true);
    assert_eq!((tokens(), plain(&server)), (2, 0));
    // Before they expire: those that are valid for 10 s are not used twice.
    let cache = TempDir::new("xet");
    server.forget();
    server.set_xet_life(10);
    pull(options(&server, cache.path())).unwrap();
    let asked = server.seen().iter().filter(|r| r.port == Port::Xet).count();
    assert_eq!((tokens(), plain(&server)), (asked, 0));
}

/// MLXE_HUB_SEED=n repeats one schedule.
#[test]
fn random_faults_never_leave_half_a_file() {
    let only: Option<u64> = std::env::var("MLXE_HUB_SEED").ok().map(|s| s.parse().unwrap());
    let server = server();
    for seed in only.map_or(0..40, |s| s..s + 1) {
        let mut random = StdRng::seed_from_u64(seed);
        let rule = |random: &mut StdRng| {
            let at = [At::XetToken, At::Xet, At::Xorb, At::Xorb, At::Storage][random.random_range(0..5)];
            let fault = match random.random_range(0..8) {
                0 => Fault::Status([401, 403, 404, 416, 500, 503][random.random_range(0..6)], None),
                1 | 2 => Fault::Truncate(random.random_range(0..2_000_000)),
                3 | 4 => Fault::Corrupt(random.random_range(0..2_000_000)),
                5 => Fault::Stall(random.random_range(0..100_000)),
                6 => Fault::NoRange,
                _ => Fault::WrongRange,
            };
            Rule { at, fault, times: random.random_range(1..4) }
        };
        let rules: Vec<Rule> = (0..random.random_range(1..8)).map(|_| rule(&mut random)).collect();
        let cache = TempDir::new("xet");
        server.set_faults(rules.clone());
        let result = pull(HubOptions { stall: Duration::from_millis(150), ..options(&server, cache.path()) });
        println!("seed {seed}: {rules:?}: {result:?}");
        check_snapshots(cache.path(), result.is_ok());
        server.set_faults(Vec::new());
        let again = pull(options(&server, cache.path()));
        assert!(again.is_ok(), "seed {seed}, second time: {again:?}");
        check_snapshots(cache.path(), true);
    }
}

#[test]
fn headers_come_from_xet_storage_where_plain_http_has_none() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen3");
    let (server, cache) = (HubServer::start(vec![Repo::from_folder(ID, &folder).xet(8)]), TempDir::new("xet"));
    let inspect = |xet| Client::new(HubOptions { xet, ..options(&server, cache.path()) }).unwrap().inspect(ID, None);
    let usual = inspect(true).unwrap();
    assert!(!usual.tensors.is_empty() && server.seen().iter().all(|r| r.port != Port::Xet));
    server.fault(At::Storage, Fault::Status(403, None), u32::MAX);
    let other = inspect(true).unwrap();
    assert_eq!((other.tensors, other.header_bytes), (usual.tensors, usual.header_bytes));
    let error = inspect(false).unwrap_err();
    assert!(error.kind() == ErrorKind::AccessDenied && error.message().contains("model.safetensors"), "{error}");
    server.fault(At::Xet, Fault::Status(404, None), u32::MAX);
    let error = inspect(true).unwrap_err().to_string();
    assert!(error.contains("Xet storage") && error.contains("404") && error.contains("403"), "{error}");
}

#[test]
fn cancel_and_pause_interrupt_every_kind_of_waiting() {
    let cases = [
        (At::XetToken, Fault::Status(503, Some(200))),
        (At::Xet, Fault::Status(503, Some(200))),
        (At::Xet, Fault::Stall(10)),
        (At::Xorb, Fault::Stall(10)),
        (At::Xorb, Fault::Stall(100_000)),
        (At::Xorb, Fault::Drip(2000)),
    ];
    for (at, fault) in cases {
        quick(|| {
            let (server, cache) = (server(), TempDir::new("xet"));
            server.fault(at, fault.clone(), u32::MAX);
            let slow = HubOptions { stall: Duration::from_secs(60), ..options(&server, cache.path()) };
            let download = Download::start(slow, DownloadRequest::new(ID, None)).unwrap();
            assert!(download.wait_for(Duration::from_millis(400)).is_none(), "{fault:?} at {at:?}");
            let start = Instant::now();
            download.cancel();
            assert_eq!(download.wait().unwrap_err().kind(), ErrorKind::Cancelled);
            start.elapsed()
        });
    }
    let (server, cache) = (server(), TempDir::new("xet"));
    server.set_rate(1 << 20);
    let download = Download::start(options(&server, cache.path()), DownloadRequest::new(ID, None)).unwrap();
    while download.progress().bytes_done < 1 << 20 {
        std::thread::sleep(Duration::from_millis(5));
    }
    download.pause();
    std::thread::sleep(Duration::from_millis(200));
    let at = download.progress().bytes_done;
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(download.progress().bytes_done, at);
    server.set_rate(0);
    server.set_faults(Vec::new());
    download.resume();
    download.wait().unwrap();
    check_snapshots(cache.path(), true);
    assert_eq!(plain(&server), 0, "a pause is no failure");
}
