//! Models on the disk: what is listed, checked, removed, imported and moved; with two processes, killed ones, a full
//! disk and a read-only one.
#![cfg(feature = "hub")]

#[path = "support/hub_server.rs"]
#[allow(dead_code)]
mod hub_server;
#[path = "support/storage.rs"]
mod stored;
mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hub_server::{HubServer, Repo};
use mlx_engine::ErrorKind;
use mlx_engine::hub::{Download, DownloadRequest, HubOptions, Import, Prune, Storage, WhatIsWrong, complete_snapshot};
use mlx_engine::progress::{Progress, Stage};
use stored::{check_all, import, problems, quiet, tiny, write_model};
use support::TempDir;

#[test]
fn an_imported_model_is_like_a_downloaded_one() {
    let dir = TempDir::new("storage");
    let storage = Storage::new(dir.path());
    assert_eq!(storage.list().unwrap(), []);
    let mut seen = Vec::new();
    let what = Import { folder: tiny(), id: "local/tiny".into(), link: false, check: None };
    let model = storage.import(&what, &mut |a: &Progress| {
        seen.push(a.clone());
        Ok(())
    });
    let model = model.unwrap();
    let last = seen.last().unwrap();
    assert_eq!((last.stage, last.bytes_done, last.file_index), (Stage::Copying, last.bytes_total, last.total_files));
    assert!(model.complete && model.model_type.as_deref() == Some("qwen3"), "{model:?}");
    assert_eq!(storage.list().unwrap(), [storage.info("local/tiny").unwrap()]);
    assert!(model.bytes >= last.bytes_total);
    check_all(&storage);
    let snapshot = complete_snapshot(dir.path(), "local/tiny", None).unwrap().unwrap();
    let weights = |p: &Path| fs::read(p.join("model.safetensors")).unwrap();
    assert!(weights(&snapshot) == weights(&tiny()));
    assert!(!snapshot.join("README.md").exists());
    // Again is fine; other files under the same name are not.
    assert_eq!(import(&storage, &tiny(), "local/tiny", false).unwrap().revisions, model.revisions);
    let other = TempDir::new("other");
    write_model(other.path(), 1);
    let error = import(&storage, other.path(), "local/tiny", false).unwrap_err();
    assert!(error.message().contains("already"), "{error}");
    // A download of the same files finds them here.
    let server = HubServer::start(vec![Repo::from_folder("local/tiny", &tiny())]);
    let options = HubOptions { endpoint: server.endpoint.clone(), ..HubOptions::with_cache(dir.path()).unwrap() };
    let options = HubOptions { token: None, offline: false, ..options };
    Download::start(options, DownloadRequest::new("local/tiny", None)).unwrap().wait().unwrap();
    assert_eq!(storage.info("local/tiny").unwrap().revisions.len(), 2);
    assert!(server.seen().iter().all(|r| !r.storage && !r.path.contains("/resolve/")), "{:?}", server.seen());
    assert_eq!(problems(&storage, "local/tiny"), []);
    // One revision goes, and the files stay with the other.
    let commit = model.revisions[0].commit.clone();
    storage.remove("local/tiny", Some(&commit)).unwrap();
    assert_eq!(storage.info("local/tiny").unwrap().revisions.len(), 1);
    check_all(&storage);
    assert_eq!(storage.remove("local/tiny", Some("v9")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_hard_link_takes_no_room() {
    use std::os::unix::fs::MetadataExt;
    let dir = TempDir::new("storage");
    write_model(&dir.path().join("source"), 1);
    let storage = Storage::new(dir.path().join("models"));
    import(&storage, &dir.path().join("source"), "local/linked", true).unwrap();
    let source = fs::metadata(dir.path().join("source/model.safetensors")).unwrap();
    let snapshot = complete_snapshot(storage.root(), "local/linked", None).unwrap().unwrap();
    assert_eq!(fs::metadata(snapshot.join("model.safetensors")).unwrap().ino(), source.ino());
    storage.remove("local/linked", None).unwrap();
    assert!(dir.path().join("source/model.safetensors").is_file());
}

#[test]
fn what_is_no_model_is_not_imported() {
    let dir = TempDir::new("storage");
    let storage = Storage::new(dir.path().join("models"));
    let folder = dir.path().join("source");
    let refused = |id: &str, kind: ErrorKind, word: &str| {
        let error = import(&storage, &folder, id, false).unwrap_err();
        assert!(
            error.kind() == kind && error.to_string().contains(word),
            "{kind:?} {word}: {:?} {error}",
            error.kind()
        );
        assert_eq!(storage.list().unwrap(), []);
    };
    refused("a/b", ErrorKind::NotFound, "no such folder");
    write_model(&folder, 1);
    refused("../x", ErrorKind::InvalidArgument, "is not a model id");
    fs::write(folder.join("config.json"), "{}").unwrap();
    refused("a/b", ErrorKind::InvalidConfig, "model_type");
    fs::write(folder.join("config.json"), r#"{"model_type": "llama"}"#).unwrap();
    let weights = folder.join("model.safetensors");
    let size = fs::metadata(&weights).unwrap().len();
    fs::File::options().write(true).open(&weights).unwrap().set_len(size - 1).unwrap();
    refused("a/b", ErrorKind::InvalidWeights, "its header says");
    fs::write(&weights, [255; 20]).unwrap();
    refused("a/b", ErrorKind::InvalidWeights, "header");
    fs::remove_file(&weights).unwrap();
    refused("a/b", ErrorKind::UnsupportedModel, "no weights");
}

#[test]
fn every_damage_is_found_and_can_be_removed() {
    let dir = TempDir::new("storage");
    let storage = Storage::new(dir.path());
    let reset = || {
        let _ = storage.remove("a/b", None);
        import(&storage, &tiny(), "a/b", false).unwrap();
        complete_snapshot(dir.path(), "a/b", None).unwrap().unwrap()
    };
    type Damage = fn(&Path, &Path);
    let cases: [(WhatIsWrong, bool, Damage); 8] = [
        (WhatIsWrong::Missing, false, |_, file| fs::remove_file(file).unwrap()),
        (WhatIsWrong::Dangling, false, |_, file| fs::remove_file(fs::canonicalize(file).unwrap()).unwrap()),
        (WhatIsWrong::Size, false, |_, file| {
            fs::File::options().write(true).open(file).unwrap().set_len(100).unwrap();
        }),
        (WhatIsWrong::Checksum, false, |_, file| {
            let mut bytes = fs::read(file).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(file, bytes).unwrap();
        }),
        (WhatIsWrong::Outside, false, |_, file| {
            fs::remove_file(file).unwrap();
            std::os::unix::fs::symlink("/etc/hostname", file).unwrap();
        }),
        (WhatIsWrong::Leftover, true, |root, _| {
            fs::write(root.join("blobs").join(format!("{}.incomplete", "a".repeat(64))), "half").unwrap();
        }),
        (WhatIsWrong::Leftover, true, |root, _| fs::write(root.join("refs/main.1.2.tmp"), "half").unwrap()),
        (WhatIsWrong::Unreferenced, true, |root, _| {
            fs::write(root.join("blobs/ce013625030ba8dba906f756967f9e9ca394464a"), "hello\n").unwrap();
        }),
    ];
    for (expected, sound, damage) in cases {
        let snapshot = reset();
        let root = storage.info("a/b").unwrap().directory;
        damage(&root, &snapshot.join("model.safetensors"));
        let found = storage.verify(None, false, &mut quiet).unwrap();
        assert!(found.problems.iter().any(|p| p.problem == expected), "{expected:?}: {:?}", found.problems);
        assert_eq!(found.sound, sound, "{expected:?}");
        storage.verify(Some("a/b"), true, &mut quiet).unwrap();
        // What is left lacks files at most, which a download brings.
        let left = problems(&storage, "a/b");
        assert!(left.iter().all(|p| *p == WhatIsWrong::Missing), "{expected:?}: {left:?}");
        assert_eq!(complete_snapshot(dir.path(), "a/b", None).unwrap().is_some(), sound, "{expected:?}");
    }
    assert_eq!(storage.verify(Some("a/c"), false, &mut quiet).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn the_longest_unused_go_first() {
    let (dir, source) = (TempDir::new("storage"), TempDir::new("source"));
    write_model(source.path(), 1);
    let storage = Storage::new(dir.path());
    let now = SystemTime::now();
    for (id, days) in [("a/new", 1), ("a/old", 30), ("a/older", 60), ("a/kept", 90)] {
        import(&storage, source.path(), id, false).unwrap();
        storage.set_last_used(id, now - Duration::from_secs(days * 86400)).unwrap();
    }
    let one = storage.info("a/new").unwrap().bytes;
    let prune = Prune { budget: 2 * one + one / 2, keep: vec!["a/kept".into()], dry_run: true };
    let ids = |p: &mlx_engine::hub::Pruned| p.removed.iter().map(|r| r.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&storage.prune(&prune, &mut quiet).unwrap()), ["a/older", "a/old"]);
    assert_eq!(storage.list().unwrap().len(), 4);
    let pruned = storage.prune(&Prune { dry_run: false, ..prune.clone() }, &mut quiet).unwrap();
    assert_eq!((ids(&pruned), pruned.within_budget), (vec!["a/older".into(), "a/old".into()], true));
    assert_eq!(storage.bytes().unwrap(), pruned.bytes);
    // What is in use stays.
    let guard = storage.in_use("a/new").unwrap().unwrap();
    let pruned = storage.prune(&Prune { budget: 0, ..Default::default() }, &mut quiet).unwrap();
    assert_eq!(
        (ids(&pruned), pruned.busy.as_slice(), pruned.within_budget),
        (vec!["a/kept".into()], &["a/new".to_owned()][..], false)
    );
    assert_eq!(storage.remove("a/new", None).unwrap_err().kind(), ErrorKind::Busy);
    drop(guard);
    // An import is no use, as a download is none.
    assert_eq!(storage.info("a/new").unwrap().uses, 0);
    storage.remove("a/new", None).unwrap();
    assert_eq!(storage.list().unwrap(), []);
}

#[test]
fn what_is_being_downloaded_is_not_removed() {
    let (dir, source) = (TempDir::new("storage"), TempDir::new("source"));
    write_model(source.path(), 4);
    let server = HubServer::start(vec![Repo::from_folder("a/b", source.path())]);
    server.set_rate(1 << 20);
    let options = HubOptions { endpoint: server.endpoint.clone(), ..HubOptions::with_cache(dir.path()).unwrap() };
    let options = HubOptions { token: None, offline: false, ..options };
    let download = Download::start(options, DownloadRequest::new("a/b", None)).unwrap();
    let storage = Storage::new(dir.path());
    while !storage.info("a/b").is_ok_and(|m| m.partial_bytes > 0) {
        assert!(download.wait_for(Duration::from_millis(5)).is_none());
    }
    assert_eq!(storage.remove("a/b", None).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(storage.prune(&Prune::default(), &mut quiet).unwrap().busy, ["a/b"]);
    // Nor is it taken for a leftover.
    assert!(!problems(&storage, "a/b").contains(&WhatIsWrong::Leftover));
    server.set_rate(0);
    download.wait().unwrap();
    check_all(&storage);
    drop(download);
    storage.remove("a/b", None).unwrap();
}

#[test]
fn a_cancelled_import_leaves_nothing() {
    let (dir, source) = (TempDir::new("storage"), TempDir::new("source"));
    write_model(source.path(), 4);
    let storage = Storage::new(dir.path());
    let what = Import { folder: source.path().into(), id: "a/b".into(), link: false, check: None };
    let cancel = &mut |a: &Progress| if a.bytes_done > 1 << 20 { Err(mlx_engine::Error::cancelled()) } else { Ok(()) };
    assert_eq!(storage.import(&what, cancel).unwrap_err().kind(), ErrorKind::Cancelled);
    check_all(&storage);
    assert_eq!(storage.list().unwrap(), []);
}
