//! Downloads from a server on loopback that behaves, and that does not.
#![cfg(feature = "hub")]

#[path = "support/downloads.rs"]
#[allow(dead_code)]
mod downloads;
mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mlx_engine::chat::ChatSession;
use mlx_engine::engine::{Control, Model};
use mlx_engine::generate::GenerateOptions;
use mlx_engine::load::{LoadEvent, LoadingPhase, ModelConfiguration};

use downloads::hub_server::{At, Fault, HubServer, Repo, Rule};
use downloads::plain::{blobs, check_snapshots, files, needed, server};
use downloads::{ID, options, pull, quick};
use mlx_engine::hub::{self, Download, DownloadRequest, Hub, HubOptions, Prune, Token};
use mlx_engine::progress::Stage;
use mlx_engine::{Error, ErrorKind, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::TempDir;

#[test]
fn a_model_arrives_in_the_shared_layout() {
    let (server, cache) = (server(), TempDir::new("hub"));
    let commit = server.repo(ID).commit().to_owned();
    let download = Download::start(options(&server, cache.path()), DownloadRequest::new(ID, None)).unwrap();
    let snapshot = download.wait().unwrap();
    assert!(snapshot.ends_with(format!("models--org--model/snapshots/{commit}")));
    check_snapshots(cache.path(), true);
    let root = cache.path().join("models--org--model");
    assert_eq!(std::fs::read_to_string(root.join("refs/main")).unwrap(), commit);
    let link = std::fs::read_link(snapshot.join("additional_chat_templates/tool use.jinja")).unwrap();
    assert!(link.starts_with("../../../blobs"), "{}", link.display());
    assert!(blobs(cache.path()).iter().all(|b| !b.contains("incomplete")), "{:?}", blobs(cache.path()));
    let progress = download.progress();
    assert_eq!((progress.stage, progress.file_index), (Stage::Weights, progress.total_files));
    assert_eq!((progress.bytes_done, download.files().iter().all(|f| f.finished)), (progress.bytes_total, true));
    assert_eq!(download.commit(), Some(commit.clone()));
    // Nothing is fetched twice.
    server.forget();
    pull(options(&server, cache.path())).unwrap();
    assert!(server.seen().iter().all(|r| r.path.contains("/revision/")), "{:?}", server.seen());
    assert_eq!(hub::complete_snapshot(cache.path(), ID, None).unwrap(), Some(snapshot.clone()));
    assert_eq!(hub::complete_snapshot(cache.path(), ID, Some(&commit)).unwrap(), Some(snapshot));
}

#[test]
fn large_files_come_in_parallel_ranges() {
    let (server, cache) = (server(), TempDir::new("hub"));
    server.set_rate(2 << 20);
    pull(options(&server, cache.path())).unwrap();
    let ranges = server.seen().iter().filter(|r| r.storage && r.range.is_some()).count();
    // Two files, one of them in two ranges.
    assert!(ranges >= 3 && server.busiest() >= 3, "{ranges} ranges, {} at once", server.busiest());
    check_snapshots(cache.path(), true);
}

#[test]
fn revisions_are_branches_tags_and_commits() {
    let (server, cache) = (server(), TempDir::new("hub"));
    let commit = server.repo(ID).commit().to_owned();
    for revision in ["v1.0", "refs/pr/1", commit.as_str()] {
        let request = DownloadRequest::new(ID, Some(revision.into()));
        let snapshot = Download::start(options(&server, cache.path()), request).unwrap().wait().unwrap();
        assert_eq!(hub::snapshot(cache.path(), ID, Some(revision)).unwrap(), snapshot);
    }
    let request = DownloadRequest::new(ID, Some("v9".into()));
    let error = Download::start(options(&server, cache.path()), request).unwrap().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("v9"), "{error}");
    for bad in ["../x", "a//b", ""] {
        let request = DownloadRequest::new(ID, Some(bad.into()));
        assert!(Download::start(options(&server, cache.path()), request).is_err(), "{bad}");
    }
}

/// What one fault leads to.
enum End {
    /// The model arrives nevertheless.
    Fine,
    /// An error of this kind that says this.
    Error(ErrorKind, &'static str),
}

#[test]
fn every_fault_ends_well_or_with_a_clear_error() {
    use ErrorKind::*;
    use Fault::*;
    let always = u32::MAX;
    let cases: Vec<(At, Fault, u32, End)> = vec![
        (At::Api, Redirects(301, 3), 1, End::Fine),
        (At::Resolve, Redirects(302, 5), 2, End::Fine),
        (At::Storage, Redirects(307, 5), 2, End::Fine),
        (At::Resolve, Redirects(302, 50), always, End::Error(Network, "redirects")),
        (At::Resolve, RedirectTo("file:///etc/passwd".into()), always, End::Error(Network, "other than an http")),
        (At::Api, Status(503, None), 2, End::Fine),
        (At::Api, Status(503, None), always, End::Error(Network, "503")),
        (At::Resolve, Status(500, None), 3, End::Fine),
        (At::Storage, Status(502, None), 3, End::Fine),
        (At::Storage, Status(403, None), always, End::Error(AccessDenied, "403")),
        (At::Api, Status(404, None), always, End::Error(NotFound, "org/model")),
        (At::Resolve, Status(404, None), always, End::Error(NotFound, "config.json")),
        (At::Storage, Status(429, Some(1)), 1, End::Fine),
        (At::Storage, Status(429, Some(100_000)), always, End::Error(Network, "100000 s")),
        (At::Storage, Status(416, None), 1, End::Fine),
        (At::Storage, Status(416, None), always, End::Error(Network, "416")),
        (At::Api, Garbage("<html>".into()), 1, End::Fine),
        (At::Api, Garbage("{\"sha\": \"../../x\"}".into()), 1, End::Error(Network, "no commit")),
        (At::Storage, Truncate(1000), 3, End::Fine),
        (At::Resolve, Truncate(10), 2, End::Fine),
        (At::Storage, Truncate(0), always, End::Error(Network, "closed")),
        (At::Storage, Corrupt(70_000), 1, End::Fine),
        (At::Storage, Corrupt(70_000), always, End::Error(Network, "checksum")),
        (At::Storage, Stall(5000), 2, End::Fine),
        (At::Storage, Stall(0), always, End::Error(Network, "no response")),
        (At::Storage, Drip(100), 2, End::Fine),
        (At::Storage, Drip(100), always, End::Error(Network, "bytes in")),
        (At::Storage, ChangeEtag, 1, End::Fine),
        // The checksum decides, whatever mirrors and the nodes of a CDN call the file.
        (At::Storage, ChangeEtag, always, End::Fine),
        (At::Resolve, ChangeEtag, always, End::Fine),
        (At::Storage, NoRange, 1, End::Fine),
        (At::Storage, NoRange, always, End::Fine),
        (At::Api, HugeHeader(10 << 20), always, End::Error(Network, "header")),
        (At::Storage, HugeHeader(10 << 20), always, End::Error(Network, "header")),
        (At::Storage, WrongRange, 1, End::Fine),
        (At::Storage, WrongRange, always, End::Error(Network, "asked for bytes")),
        (At::Resolve, WrongSize(7), always, End::Error(Network, "bytes")),
    ];
    for (at, fault, times, end) in cases {
        let (server, cache) = (server(), TempDir::new("hub"));
        server.fault(at, fault.clone(), times);
        // Where nothing is slow on purpose, a slow machine must not count as a stall.
        let stall = match fault {
            Stall(_) | Drip(_) => Duration::from_millis(300),
            _ => Duration::from_secs(5),
        };
        let result = pull(HubOptions { stall, ..options(&server, cache.path()) });
        check_snapshots(cache.path(), result.is_ok());
        match (end, result) {
            (End::Fine, Ok(_)) => {}
            (End::Error(kind, word), Err(e)) if e.kind() == kind && e.to_string().contains(word) => {}
            (_, result) => panic!("{at:?} {fault:?} x {times}: {result:?}"),
        }
        // Whatever it was, the next time works, from what is there.
        server.set_faults(Vec::new());
        pull(options(&server, cache.path())).unwrap_or_else(|e| panic!("after {at:?} {fault:?}: {e}"));
        check_snapshots(cache.path(), true);
    }
}

/// MLXE_HUB_SEED=n repeats one schedule.
#[test]
fn random_faults_never_leave_half_a_file() {
    let only: Option<u64> = std::env::var("MLXE_HUB_SEED").ok().map(|s| s.parse().unwrap());
    let seeds: Vec<u64> = only.map_or_else(|| (0..100).collect(), |s| vec![s]);
    let (mut fine, mut failed) = (0, 0);
    let server = server();
    for seed in seeds {
        let mut random = StdRng::seed_from_u64(seed);
        let rules: Vec<Rule> = (0..random.random_range(1..8))
            .map(|_| {
                let at = [At::Api, At::Resolve, At::Storage, At::Storage][random.random_range(0..4)];
                let fault = match random.random_range(0..13) {
                    0 => Fault::Status([401, 403, 404, 416, 500, 502, 503, 504][random.random_range(0..8)], None),
                    1 => Fault::Status(429, Some(0)),
                    2 => Fault::Redirects(
                        [301, 302, 303, 307, 308][random.random_range(0..5)],
                        random.random_range(1..13),
                    ),
                    3 | 4 => Fault::Truncate(random.random_range(0..3_000_000)),
                    5 | 6 => Fault::Corrupt(random.random_range(0..3_000_000)),
                    7 => Fault::Stall(random.random_range(0..100_000)),
                    8 => Fault::ChangeEtag,
                    9 => Fault::NoRange,
                    10 => Fault::HugeHeader(random.random_range(0..200_000)),
                    11 => Fault::WrongSize(random.random_range(-1000..1000)),
                    _ => Fault::WrongRange,
                };
                Rule { at, fault, times: random.random_range(1..4) }
            })
            .collect();
        let cache = TempDir::new("hub");
        server.set_faults(rules.clone());
        let result = pull(HubOptions { stall: Duration::from_millis(150), ..options(&server, cache.path()) });
        println!("seed {seed}: {rules:?}: {result:?}");
        check_snapshots(cache.path(), result.is_ok());
        match result {
            Ok(_) => fine += 1,
            Err(error) => {
                failed += 1;
                assert!(
                    !matches!(error.kind(), ErrorKind::Internal | ErrorKind::Panic | ErrorKind::Cancelled),
                    "{error}"
                );
                assert!(!error.message().is_empty());
            }
        }
        server.set_faults(Vec::new());
        let again = pull(options(&server, cache.path()));
        assert!(again.is_ok(), "seed {seed}, second time: {again:?}");
        check_snapshots(cache.path(), true);
    }
    println!("{fine} arrived, {failed} failed with an error");
    assert!(
        only.is_some() || (fine >= 20 && failed >= 5),
        "{fine} arrived, {failed} failed: the faults are too mild or too harsh"
    );
}

#[test]
fn the_token_goes_to_the_endpoint_only() {
    let (server, cache) = (server(), TempDir::new("hub"));
    let token = Token::new("hf_secret").unwrap();
    pull(HubOptions { token, ..options(&server, cache.path()) }).unwrap();
    let seen = server.seen();
    assert!(seen.iter().any(|r| r.storage) && seen.iter().any(|r| !r.storage));
    for request in seen {
        assert_eq!(request.authorization.is_some(), !request.storage, "{request:?}");
    }
}

#[test]
fn closed_repositories_say_what_to_do() {
    let private = Repo::new("org/private", &files()).private("hf_right");
    let gated = Repo::new("org/gated", &files()).gated();
    let (server, cache) = (HubServer::start(vec![private, gated]), TempDir::new("hub"));
    let try_with = |id: &str, token: &str| {
        let options = HubOptions { token: Token::new(token).unwrap(), ..options(&server, cache.path()) };
        Download::start(options, DownloadRequest::new(id, None)).unwrap().wait()
    };
    let says = |result: Result<PathBuf>, words: &[&str]| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error}");
        assert!(words.iter().all(|w| error.message().contains(w)), "{error}");
        assert!(!error.to_string().contains("hf_"), "{error}");
    };
    says(try_with("org/private", ""), &["org/private", "HF_TOKEN"]);
    says(try_with("org/private", "hf_wrong"), &["org/private", "token's account"]);
    says(try_with("org/absent", ""), &["org/absent", "check the name"]);
    says(try_with("org/gated", ""), &["accept its terms", &server.endpoint, "HF_TOKEN"]);
    says(try_with("org/gated", "hf_right"), &["ask for it at"]);
    try_with("org/private", "hf_right").unwrap();
}

#[test]
fn offline_uses_the_cache_and_nothing_else() {
    let (server, cache) = (server(), TempDir::new("hub"));
    let offline = || HubOptions { offline: true, ..options(&server, cache.path()) };
    let error = pull(offline()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().ends_with("offline: the option offline is set"), "{error}");
    assert!(server.seen().is_empty());
    let snapshot = pull(options(&server, cache.path())).unwrap();
    server.forget();
    assert_eq!(pull(offline()).unwrap(), snapshot);
    // A snapshot with a hole is none.
    std::fs::remove_file(snapshot.join("model-00002-of-00002.safetensors")).unwrap();
    assert_eq!(pull(offline()).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(server.seen().is_empty());
}

#[test]
fn names_that_lead_out_of_the_folder_are_refused() {
    for name in ["../../evil.json", "a/../../../evil.json", "/evil.json", "..\\evil.json"] {
        let mut all = files();
        all.push((name, b"{}".to_vec()));
        let (server, cache) = (HubServer::start(vec![Repo::new(ID, &all)]), TempDir::new("hub"));
        let error = pull(options(&server, cache.path())).unwrap_err();
        assert!(error.message().contains("outside of its folder"), "{error}");
        check_snapshots(cache.path(), false);
        assert!(blobs(cache.path()).is_empty());
    }
}

/// Starts a slow download and waits until a part of the first weight file is there.
fn under_way(server: &HubServer, cache: &Path) -> Download {
    server.set_rate(1 << 20);
    let download = Download::start(options(server, cache), DownloadRequest::new(ID, None)).unwrap();
    let start = Instant::now();
    while download.files().iter().all(|f| f.done == 0 || f.finished || f.size < 1 << 20) {
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", download.progress());
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(300));
    download
}

/// Cancels, and says how long that took.
fn cancel(download: &Download) -> Duration {
    let start = Instant::now();
    download.cancel();
    assert_eq!(download.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    start.elapsed()
}

#[test]
fn cancel_is_quick_and_what_arrived_is_kept() {
    let (server, cache) = (server(), TempDir::new("hub"));
    let download = under_way(&server, cache.path());
    cancel(&download);
    let kept = download.progress().bytes_done;
    quick(|| {
        server.set_rate(1 << 20);
        cancel(&under_way(&server, TempDir::new("hub").path()))
    });
    server.set_rate(0);
    server.forget();
    pull(options(&server, cache.path())).unwrap();
    check_snapshots(cache.path(), true);
    let total: u64 = files().iter().filter(|(n, _)| needed(n)).map(|(_, b)| b.len() as u64).sum();
    assert!(server.sent() < total - kept / 2, "{} sent of {total}, {kept} kept", server.sent());
}

/// Also while nothing comes: in a stall, and in the wait before a retry.
#[test]
fn cancel_interrupts_every_kind_of_waiting() {
    for fault in [Fault::Stall(10), Fault::Status(503, Some(200))] {
        for at in [At::Api, At::Resolve, At::Storage] {
            // A listing is text, which does not stall.
            if at == At::Api && matches!(fault, Fault::Stall(_)) {
                continue;
            }
            quick(|| {
                let (server, cache) = (server(), TempDir::new("hub"));
                server.fault(at, fault.clone(), u32::MAX);
                let slow = HubOptions { stall: Duration::from_secs(60), ..options(&server, cache.path()) };
                let download = Download::start(slow, DownloadRequest::new(ID, None)).unwrap();
                let waits = || match fault {
                    Fault::Stall(_) => server.faulted() > 0,
                    _ => download.progress().retry.is_some(),
                };
                while !waits() {
                    let over = download.wait_for(Duration::from_millis(5));
                    assert!(over.is_none(), "{fault:?} at {at:?}: {over:?}");
                }
                if let Some(retry) = download.progress().retry {
                    assert!(retry.reason.contains("503") && retry.wait >= Duration::from_secs(200), "{retry:?}");
                }
                cancel(&download)
            });
        }
    }
}

#[test]
fn a_paused_download_stands_still() {
    let (server, cache) = (server(), TempDir::new("hub"));
    let download = under_way(&server, cache.path());
    download.pause();
    // Not paused it would be over before the last of these looks.
    let look = || {
        std::thread::sleep(Duration::from_millis(700));
        download.progress()
    };
    let mut at = look();
    for _ in 0..10 {
        let now = look();
        if now.bytes_done == at.bytes_done {
            break;
        }
        at = now;
    }
    let now = look();
    assert!(now.paused && now.bytes_done == at.bytes_done && now.bytes_done < now.bytes_total, "{at:?}, {now:?}");
    server.set_rate(0);
    download.resume();
    download.wait().unwrap();
    check_snapshots(cache.path(), true);
    quick(|| {
        let download = under_way(&server, TempDir::new("hub").path());
        download.pause();
        cancel(&download)
    });
}

#[test]
fn a_check_of_the_configuration_comes_before_the_weights() {
    let (server, cache) = (server(), TempDir::new("hub"));
    let check = |path: &Path| {
        assert_eq!(std::fs::read(path).unwrap(), files()[0].1);
        Err(Error::unsupported("not this one"))
    };
    let request = DownloadRequest { check: Some(Box::new(check)), ..DownloadRequest::new(ID, None) };
    let error = Download::start(options(&server, cache.path()), request).unwrap().wait().unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::UnsupportedModel, "not this one"));
    assert!(server.seen().iter().all(|r| !r.storage && !r.path.contains("tokenizer")), "{:?}", server.seen());
}

#[test]
fn a_model_larger_than_the_disk_is_refused_at_once() {
    let mut repo = files();
    repo[5].1 = br#"{"weight_map": {"a": "huge.safetensors", "b": "model-00001-of-00002.safetensors"}}"#.to_vec();
    let huge = TempDir::new("hub");
    for (name, bytes) in &repo {
        let path = huge.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let (server, cache) = (HubServer::start(vec![Repo::from_folder(ID, huge.path())]), TempDir::new("hub"));
    let commit = server.repo(ID).commit().to_owned();
    // The list of files as it is kept, with one of an exabyte.
    let trees = cache.path().join("models--org--model/trees");
    pull(options(&server, cache.path())).unwrap_err();
    let path = trees.join(format!("{commit}.json"));
    let mut list: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    list["files"]["huge.safetensors"] = serde_json::json!({"size": 1u64 << 60, "blob_id": "0".repeat(40), "lfs_sha256": "0".repeat(64), "lfs_size": 1u64 << 60});
    std::fs::write(&path, list.to_string()).unwrap();
    let error = pull(options(&server, cache.path())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    assert!(error.message().contains("free"), "{error}");
    assert!(blobs(cache.path()).iter().all(|b| !b.contains("incomplete")));
}

#[test]
fn several_downloads_of_the_same_model_share_the_work() {
    let (server, cache) = (server(), TempDir::new("hub"));
    server.set_rate(4 << 20);
    let all: Vec<Download> = (0..3)
        .map(|_| Download::start(options(&server, cache.path()), DownloadRequest::new(ID, None)).unwrap())
        .collect();
    for download in &all {
        download.wait().unwrap();
    }
    check_snapshots(cache.path(), true);
    let total: u64 = files().iter().filter(|(n, _)| needed(n)).map(|(_, b)| b.len() as u64).sum();
    assert!(server.sent() < total + total / 2, "{} sent of {total}", server.sent());
}

/// A server with a small model that really loads.
fn real_model(config: impl FnOnce(&mut serde_json::Value)) -> (HubServer, TempDir) {
    let dir = TempDir::new("model");
    support::write_case("qwen3", dir.path(), 3);
    let path = dir.path().join("config.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config(&mut json);
    std::fs::write(&path, json.to_string()).unwrap();
    (HubServer::start(vec![Repo::from_folder(ID, dir.path())]), dir)
}

fn load(options: HubOptions, cancel_at: Option<&'static str>) -> (Result<()>, Vec<LoadEvent>, Duration) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let configuration = ModelConfiguration::hub(&Hub::new(options), ID, None).without_tokenizer();
    let cancelled = std::sync::Arc::new(std::sync::Mutex::new(None));
    let at = cancelled.clone();
    let task = support::cpu_engine().load(configuration, move |event: &LoadEvent| {
        sender.send(event.clone()).unwrap();
        match cancel_at == Some(event.phase.name()) {
            true => {
                at.lock().unwrap().get_or_insert(Instant::now());
                Control::Cancel
            }
            false => Control::Continue,
        }
    });
    let result = task.wait().map(drop);
    let took = cancelled.lock().unwrap().map_or(Duration::ZERO, |at: Instant| at.elapsed());
    (result, receiver.iter().collect(), took)
}

#[test]
fn a_load_downloads_what_is_missing() {
    let ((server, _dir), cache) = (real_model(|_| ()), TempDir::new("hub"));
    server.set_rate(200_000);
    server.fault(At::Storage, Fault::Status(503, Some(1)), 1);
    let (result, events, _) = load(options(&server, cache.path()), None);
    result.unwrap();
    let mut names: Vec<&str> = events.iter().map(|e| e.phase.name()).collect();
    names.dedup();
    let want =
        ["downloadingConfig", "downloadingWeights", "loadingWeights", "loadingTokenizer", "initializingModel", "ready"];
    assert_eq!(names, want);
    assert!(events.is_sorted_by(|a, b| a.estimated_progress <= b.estimated_progress));
    let retry =
        events.iter().find(|e| e.progress.as_ref().is_some_and(|p| p.retry.is_some())).expect("a retry is told");
    assert!(
        retry.description().contains("trying again") && retry.description().contains("503"),
        "{}",
        retry.description()
    );
    let mut last = 0;
    for event in &events {
        if event.phase == LoadingPhase::DownloadingWeights {
            let p = event.progress.as_ref().unwrap();
            assert!(p.stage == Stage::Weights && p.file.ends_with(".safetensors"), "{p:?}");
            assert!(p.file_index >= last && p.total_files == 3 && p.file_bytes_done <= p.file_bytes_total, "{p:?}");
            assert!(event.estimated_progress <= 0.5 + 1e-9);
            last = p.file_index;
        }
    }
    assert_eq!(last, 3);
    // The second time nothing is asked.
    server.forget();
    let (result, events, _) = load(options(&server, cache.path()), None);
    result.unwrap();
    assert!(server.seen().is_empty());
    assert_eq!(events[0].description(), "Reading configuration");
    assert!(events.iter().all(|e| !e.phase.name().starts_with("downloading")));
}

#[test]
fn a_model_of_the_catalogue_ends_at_its_extra_eos() {
    let id = "org/tiny-extra-eos";
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen3");
    let (server, cache) = (HubServer::start(vec![Repo::from_folder(id, &folder)]), TempDir::new("hub"));
    let other = TempDir::new("hub");
    let hubs = [&cache, &other].map(|cache| Hub::new(options(&server, cache.path())));
    let model = |configuration| support::load(&support::cpu_engine(), configuration).unwrap();
    let by_id = |hub: &Hub| model(ModelConfiguration::hub(hub, id, None));
    let answer = |model: &Model| {
        let mut session = ChatSession::new(model.tokenizer().unwrap().clone()).unwrap();
        session.push("user", "Tell me a story.");
        let limited = GenerateOptions { max_tokens: Some(30), ..Default::default() };
        support::tokens(model, &session.prompt().unwrap(), limited)
    };
    let before = by_id(&hubs[0]);
    let (tokenizer, whole) = (before.tokenizer().unwrap(), answer(&before));
    let end = whole[9];
    assert!(!before.info().eos_token_ids.contains(&end));
    let entry = serde_json::json!({
        "id": id, "name": "Tiny", "short_name": "tiny-extra-eos", "parameters": 1, "bits": 16, "architecture": "qwen3",
        "context": 64, "extra_eos": [tokenizer.id_to_token(end).unwrap(), "no such token"],
    });
    let ends = |model: Model| {
        assert!(model.info().eos_token_ids.contains(&end), "{:?}", model.info());
        assert!(before.info().eos_token_ids.iter().all(|id| model.info().eos_token_ids.contains(id)));
        let first = whole.iter().position(|t| *t == end).unwrap();
        assert_eq!(answer(&model), whole[..first]);
    };
    // From the models directory, by a download, and by the folder that a download gives.
    for hub in &hubs {
        hub.catalog().add_json(&entry.to_string()).unwrap();
        ends(by_id(hub));
        let folder = hub.snapshot(id, None).unwrap().unwrap();
        ends(model(ModelConfiguration::directory(&folder).with_hub(hub)));
        // Another hub's catalogue knows nothing of it.
        assert_eq!(answer(&model(ModelConfiguration::directory(&folder))), whole);
        assert_eq!(answer(&by_id(&Hub::new(hub.options().clone()))), whole);
    }
    // A directory elsewhere has no id.
    assert_eq!(answer(&model(ModelConfiguration::directory(&folder).with_hub(&hubs[0]))), whole);
}

/// The documented way after a download: its folder is loaded like the model by its id.
#[test]
fn a_folder_of_a_models_directory_is_the_model_that_it_is() {
    let ((server, dir), cache) = (real_model(|_| ()), TempDir::new("hub"));
    let hub = Hub::new(options(&server, cache.path()));
    let folder = hub.download(DownloadRequest::new(ID, None)).unwrap().wait().unwrap();
    let load = |folder: &Path| {
        let storage = hub.storage();
        let (sender, receiver) = std::sync::mpsc::channel();
        let configuration = ModelConfiguration::directory(folder).without_tokenizer();
        let task = support::cpu_engine().load(configuration, move |event: &LoadEvent| {
            if event.phase == LoadingPhase::LoadingWeights {
                // Down to nothing.
                sender.send(storage.prune(&Prune::default(), &mut |_| Ok(())).unwrap().busy).unwrap();
            }
            Control::Continue
        });
        task.wait().map(drop).unwrap();
        receiver.iter().collect::<Vec<_>>()
    };
    // Pruning everything leaves what is being read, and each load counts as a use.
    for (n, way) in
        [folder.clone(), folder.join("../../snapshots").join(folder.file_name().unwrap())].iter().enumerate()
    {
        let busy = load(way);
        assert!(!busy.is_empty() && busy.iter().all(|b| b == &[ID]), "{busy:?}");
        assert_eq!(hub.storage().info(ID).unwrap().uses, n as u64 + 1);
    }
    // Whoever changes the model has it alone.
    let lock =
        std::fs::File::options().write(true).open(cache.path().join(".locks/models--org--model/mlx-engine.lock"));
    let lock = lock.unwrap();
    lock.lock().unwrap();
    let error = support::load(&support::cpu_engine(), ModelConfiguration::directory(&folder)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy);
    lock.unlock().unwrap();
    // A folder elsewhere is nobody's, and nothing is written beside it.
    let before = std::fs::read_dir(dir.path()).unwrap().count();
    support::load(&support::cpu_engine(), support::bare(dir.path())).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), before);
}

/// A load can be paused while it downloads, and its events say so.
#[test]
fn a_load_that_downloads_can_be_paused() {
    let ((server, _dir), cache) = (real_model(|_| ()), TempDir::new("hub"));
    server.set_rate(20_000);
    let hub = Hub::new(options(&server, cache.path()));
    let configuration = ModelConfiguration::hub(&hub, ID, None).without_tokenizer();
    let (sender, receiver) = std::sync::mpsc::channel();
    let task = support::cpu_engine().load(configuration, move |event: &LoadEvent| {
        let _ = sender.send(event.progress.clone());
        Control::Continue
    });
    let wait_for = |paused: bool| receiver.iter().flatten().find(|p| p.paused == paused && p.file_index > 0).unwrap();
    wait_for(false);
    task.pause();
    wait_for(true);
    assert!(task.wait_for(Duration::from_millis(100)).is_none());
    server.set_rate(0);
    task.resume();
    task.wait().map(drop).unwrap();
}

/// Without a network there is no use in trying again and again.
#[test]
fn a_host_that_nobody_knows_is_said_at_once() {
    let (server, cache) = (HubServer::start(vec![]), TempDir::new("hub"));
    let mut options = options(&server, cache.path());
    (options.endpoint, options.retries) = ("http://nowhere.invalid".into(), 100_000);
    let (result, events, _) = load(options, None);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.message().contains("nowhere.invalid") && error.message().contains("offline"), "{error}");
    let last = events.last().unwrap();
    assert_eq!(last.failure.as_ref().unwrap().phase, LoadingPhase::DownloadingConfig);
    assert!(last.description().starts_with("Loading failed while downloading the configuration: "));
}

#[test]
fn an_unknown_architecture_is_refused_before_its_weights_come() {
    let ((server, _dir), cache) = (real_model(|c| c["model_type"] = "warp_drive".into()), TempDir::new("hub"));
    let (result, events, _) = load(options(&server, cache.path()), None);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedModel);
    assert!(error.message().contains("warp_drive"), "{error}");
    assert!(server.seen().iter().all(|r| !r.storage), "{:?}", server.seen());
    assert!(events.iter().all(|e| matches!(e.phase.name(), "downloadingConfig" | "failed")));
}

#[test]
fn a_load_that_downloads_is_cancelled_quickly() {
    for phase in ["downloadingConfig", "downloadingWeights"] {
        quick(|| {
            let ((server, _dir), cache) = (real_model(|_| ()), TempDir::new("hub"));
            server.set_rate(20_000);
            let (result, _, took) = load(options(&server, cache.path()), Some(phase));
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled, "{phase}");
            took
        });
    }
}
