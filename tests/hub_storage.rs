//! Models on the disk: what is listed, checked, removed, imported and moved; with two processes, killed ones, a full
//! disk and a read-only one.
#![cfg(feature = "hub")]

#[path = "support/hub_server.rs"]
#[allow(dead_code)]
mod hub_server;
mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use hub_server::{HubServer, Repo};
use mlx_engine::hub::{
    Activity, Download, DownloadRequest, HubOptions, Import, Prune, Storage, StoredModel, WhatIsWrong,
    complete_snapshot,
};
use mlx_engine::{ErrorKind, Result};
use serde_json::Value;
use support::TempDir;

const TINY: &str = "tests/fixtures/tiny-qwen3";

fn quiet(_: &Activity) -> Result<()> {
    Ok(())
}

fn import(storage: &Storage, folder: &Path, id: &str, link: bool) -> Result<StoredModel> {
    storage.import(&Import { folder: folder.into(), id: id.into(), link, check: None }, &mut quiet)
}

/// A model of `megabytes`, whose weights are zeros.
fn write_model(folder: &Path, megabytes: usize) {
    fs::create_dir_all(folder).unwrap();
    fs::copy(Path::new(TINY).join("config.json"), folder.join("config.json")).unwrap();
    fs::write(folder.join("tokenizer.json"), "{}").unwrap();
    let bytes = megabytes << 20;
    let header = format!(r#"{{"w": {{"dtype": "U8", "shape": [{bytes}], "data_offsets": [0, {bytes}]}}}}"#);
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + bytes, 0);
    fs::write(folder.join("model.safetensors"), file).unwrap();
}

fn mlxe(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mlxe"));
    command.args(arguments).env("MLXE_MODELS_DIR", root).env_remove("HF_HUB_OFFLINE");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn problems(storage: &Storage, id: &str) -> Vec<WhatIsWrong> {
    storage.verify(Some(id), false, &mut quiet).unwrap().problems.iter().map(|p| p.problem).collect()
}

/// Everything visible is whole, and nothing is left behind.
fn check_all(storage: &Storage) {
    for model in storage.list().unwrap() {
        assert!(model.complete, "{model:?}");
    }
    let found = storage.verify(None, false, &mut quiet).unwrap();
    assert!(found.sound && found.problems.is_empty(), "{:?}", found.problems);
}

#[test]
fn an_imported_model_is_like_a_downloaded_one() {
    let dir = TempDir::new("storage");
    let storage = Storage::new(dir.path());
    assert_eq!(storage.list().unwrap(), []);
    let mut seen = Vec::new();
    let what = Import { folder: TINY.into(), id: "local/tiny".into(), link: false, check: None };
    let model = storage.import(&what, &mut |a: &Activity| {
        seen.push(a.clone());
        Ok(())
    });
    let model = model.unwrap();
    let last = seen.last().unwrap();
    assert_eq!((last.stage, last.bytes_done, last.file_index), ("copying", last.bytes_total, last.total_files));
    assert!(model.complete && model.model_type.as_deref() == Some("qwen3"), "{model:?}");
    assert_eq!(storage.list().unwrap(), [storage.info("local/tiny").unwrap()]);
    assert!(model.bytes >= last.bytes_total);
    check_all(&storage);
    let snapshot = complete_snapshot(dir.path(), "local/tiny", None).unwrap().unwrap();
    let weights = |p: &Path| fs::read(p.join("model.safetensors")).unwrap();
    assert!(weights(&snapshot) == weights(Path::new(TINY)));
    assert!(!snapshot.join("README.md").exists());
    // Again is fine; other files under the same name are not.
    assert_eq!(import(&storage, TINY.as_ref(), "local/tiny", false).unwrap().revisions, model.revisions);
    let other = TempDir::new("other");
    write_model(other.path(), 1);
    let error = import(&storage, other.path(), "local/tiny", false).unwrap_err();
    assert!(error.message().contains("already"), "{error}");
    // A download of the same files finds them here.
    let server = HubServer::start(vec![Repo::from_folder("local/tiny", TINY.as_ref())]);
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
    refused("../x", ErrorKind::InvalidArgument, "no model id");
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
        import(&storage, TINY.as_ref(), "a/b", false).unwrap();
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
    let uses = storage.info("a/new").unwrap().uses;
    assert!(uses >= 1, "{uses}");
    storage.remove("a/new", None).unwrap();
    assert_eq!(storage.list().unwrap(), []);
}

/// Starts a command and returns once it has told of some progress.
fn under_way(command: &mut Command, lines: usize) -> Child {
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in 0..lines {
        assert!(out.next().is_some() || line > 0, "it told of nothing");
    }
    std::mem::forget(out);
    child
}

#[test]
fn a_killed_import_leaves_nothing_visible() {
    let (dir, source) = (TempDir::new("storage"), TempDir::new("source"));
    write_model(source.path(), 60);
    let storage = Storage::new(dir.path());
    let folder = source.path().to_str().unwrap();
    let mut halves = 0;
    for lines in 1..8 {
        let mut child = under_way(&mut mlxe(dir.path(), &["import", folder, "a/b", "--json"]), lines);
        child.kill().unwrap();
        child.wait().unwrap();
        let models = storage.list().unwrap();
        assert!(models.iter().all(|m| m.complete), "{models:?}");
        if models.is_empty() {
            halves += 1;
            // What is left is known, and no trouble.
            let found = storage.verify(None, false, &mut quiet).unwrap();
            assert!(found.problems.iter().all(|p| p.problem == WhatIsWrong::Leftover), "{:?}", found.problems);
        } else {
            storage.remove("a/b", None).unwrap();
        }
    }
    assert!(halves >= 2, "killed too late each time");
    import(&storage, source.path(), "a/b", false).unwrap();
    check_all(&storage);
}

#[test]
fn a_killed_move_goes_on() {
    // Another file system, where there is one: then files are copied.
    let shm = Path::new("/dev/shm").join(format!("mlxe-storage-{}", std::process::id()));
    let (dir, source) = (TempDir::new("storage"), TempDir::new("source"));
    let other = TempDir::new("other");
    let to = if Path::new("/dev/shm").is_dir() { shm.clone() } else { other.path().join("to") };
    write_model(source.path(), 24);
    let storage = Storage::new(dir.path());
    for id in ["a/one", "a/two", "a/three"] {
        import(&storage, source.path(), id, false).unwrap();
    }
    fs::write(dir.path().join("notes.txt"), "not ours").unwrap();
    let target = Storage::new(&to);
    for lines in [1, 3, 5, 6] {
        let mut child = under_way(&mut mlxe(dir.path(), &["mv", to.to_str().unwrap(), "--json"]), lines);
        child.kill().unwrap();
        child.wait().unwrap();
        let (here, there) = (storage.list().unwrap(), target.list().unwrap());
        assert!(here.iter().chain(&there).all(|m| m.complete));
        for id in ["a/one", "a/two", "a/three"] {
            assert!(here.iter().chain(&there).any(|m| m.id == id), "{id} is gone");
        }
    }
    storage.relocate(&to, &mut quiet).unwrap();
    assert_eq!((storage.list().unwrap().len(), target.list().unwrap().len()), (0, 3));
    check_all(&target);
    assert!(target.info("a/one").unwrap().uses > 0);
    assert!(dir.path().join("notes.txt").is_file());
    let error = target.relocate(&to.join("within"), &mut quiet).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let _ = fs::remove_dir_all(shm);
}

#[test]
fn a_killed_removal_leaves_no_half_model() {
    let (dir, source) = (TempDir::new("storage"), TempDir::new("source"));
    write_model(source.path(), 1);
    let storage = Storage::new(dir.path());
    for round in 0..12u64 {
        import(&storage, source.path(), "a/b", false).unwrap();
        let mut child = mlxe(dir.path(), &["rm", "a/b"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(round * 4));
        let _ = child.kill();
        child.wait().unwrap();
        assert!(storage.list().unwrap().iter().all(|m| m.complete));
    }
    storage.verify(None, true, &mut quiet).unwrap();
    check_all(&storage);
}

#[test]
fn two_processes_do_not_harm_each_other() {
    let (dir, source) = (TempDir::new("storage"), TempDir::new("source"));
    write_model(source.path(), 8);
    let storage = Storage::new(dir.path());
    let folder = source.path().to_str().unwrap();
    // The same import twice, and removals and prunings in between: each ends well or says why not.
    for _ in 0..3 {
        let all: Vec<Child> = [
            &["import", folder, "a/b"][..],
            &["import", folder, "a/b"],
            &["rm", "a/b"],
            &["prune", "--budget", "0"],
            &["verify"],
            &["list"],
        ]
        .iter()
        .map(|a| mlxe(dir.path(), a).spawn().unwrap())
        .collect();
        for child in all {
            let output = child.wait_with_output().unwrap();
            let said = stderr(&output);
            let fine = ["is not in the models", "try again later", "more than the budget"];
            assert!(output.status.success() || fine.iter().any(|f| said.contains(f)), "{said}");
            assert!(!said.contains("panic"), "{said}");
        }
        assert!(storage.list().unwrap().iter().all(|m| m.complete));
    }
    storage.verify(None, true, &mut quiet).unwrap();
    check_all(&storage);
}

/// Several processes load the same model at once, and threads count uses of it: none is lost.
#[test]
fn every_use_is_counted() {
    let dir = TempDir::new("storage");
    let storage = Storage::new(dir.path());
    import(&storage, TINY.as_ref(), "a/used", false).unwrap();
    let before = storage.info("a/used").unwrap();
    let loads: Vec<_> = (0..4).map(|_| mlxe(dir.path(), &["load", "-m", "a/used"]).spawn().unwrap()).collect();
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| (0..10).for_each(|_| storage.mark_used("a/used")));
        }
    });
    for load in loads {
        let output = load.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let after = storage.info("a/used").unwrap();
    assert_eq!(after.uses, before.uses + 44);
    assert!(after.last_used >= before.last_used);
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
    let cancel = &mut |a: &Activity| if a.bytes_done > 1 << 20 { Err(mlx_engine::Error::cancelled()) } else { Ok(()) };
    assert_eq!(storage.import(&what, cancel).unwrap_err().kind(), ErrorKind::Cancelled);
    check_all(&storage);
    assert_eq!(storage.list().unwrap(), []);
}

/// Runs a script in a mount namespace of its own, as root or as who may pretend to be.
fn with_mounts(script: &str, arguments: &[&Path]) -> Output {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-euc", script, env!("CARGO_BIN_EXE_mlxe")]);
    command.args(arguments).output().unwrap()
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    let (dir, source) = (TempDir::new("storage"), TempDir::new("source"));
    write_model(source.path(), 4);
    // Too small from the beginning, and one that has room for bytes but not for files.
    for (size, word) in [("size=20m", "are free"), ("size=200m,nr_inodes=14", "no room left")] {
        let script = format!(
            "mount -t tmpfs -o {size} tmpfs \"$1\"; export MLXE_MODELS_DIR=\"$1\"; \
             \"$0\" import \"$2\" a/b || echo failed; \"$0\" list; \"$0\" verify; ls -A \"$1\"/.locks/mlx-engine/new || true"
        );
        let output = with_mounts(&script, &[dir.path(), source.path()]);
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(stderr(&output).contains(word), "{size}: {out} {}", stderr(&output));
        assert!(out.starts_with("failed\n0 models"), "{size}: {out} {}", stderr(&output));
    }
}

#[test]
fn a_read_only_directory_can_be_read_and_says_what_it_is() {
    let dir = TempDir::new("storage");
    let storage = Storage::new(dir.path());
    import(&storage, TINY.as_ref(), "a/b", false).unwrap();
    let root: PathBuf = fs::canonicalize(TINY).unwrap();
    let script = "mount --bind \"$1\" \"$1\"; mount -o remount,ro,bind \"$1\"; export MLXE_MODELS_DIR=\"$1\"; \
                  \"$0\" list; \"$0\" verify a/b; \"$0\" load -m a/b; HF_HUB_OFFLINE=1 \"$0\" pull a/b; \
                  \"$0\" rm a/b || echo refused; \"$0\" import \"$2\" a/c || echo refused";
    let output = with_mounts(script, &[dir.path(), &root]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout).into_owned(), stderr(&output));
    assert!(output.status.success() && out.matches("refused").count() == 2, "{out}\n{err}");
    assert_eq!(err.matches("the models directory cannot be written to").count(), 2, "{out}\n{err}");
    check_all(&storage);
}

#[test]
fn the_command_line_speaks_json() {
    let dir = TempDir::new("storage");
    let run = |arguments: &[&str]| {
        let output = mlxe(dir.path(), arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str::<Value>(text.lines().last().unwrap()).unwrap()
    };
    let done = run(&["import", TINY, "a/b", "--json"]);
    assert_eq!((&done["event"], &done["result"]["id"]), (&"done".into(), &"a/b".into()));
    assert_eq!(run(&["list", "--json"])[0]["id"], "a/b");
    assert_eq!(run(&["info", "a/b", "--json"])["model_type"], "qwen3");
    assert_eq!(run(&["info", "--model", TINY, "--device", "cpu", "--threads", "1", "--json"])["model_type"], "qwen3");
    run(&["import", TINY, "a/c", "--json"]);
    let removed = run(&["rm", "a/c", "--json"]);
    assert!(removed["id"] == "a/c" && removed["bytes"].as_u64() > Some(0), "{removed}");
    assert_eq!(run(&["verify", "--json"])["result"]["sound"], true);
    let to = TempDir::new("to");
    assert_eq!(run(&["mv", to.path().to_str().unwrap(), "--json"])["result"]["moved"][0], "a/b");
    let there = ["--models-dir", to.path().to_str().unwrap()];
    assert_eq!(run(&["prune", "--budget", "1k", "--json", there[0], there[1]])["result"]["removed"][0]["id"], "a/b");
    for bad in [&["prune", "--budget", "many"][..], &["rm", "a/b"], &["info"], &["rm", "../x"]] {
        assert!(!mlxe(dir.path(), bad).output().unwrap().status.success(), "{bad:?}");
    }
}

/// The program's help and that of each of its commands.
#[test]
fn the_command_line_explains_itself() {
    let help = |arguments: &[&str]| {
        let output = mlxe(Path::new("."), arguments).arg("--help").output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let all = help(&[]);
    let commands = all.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty());
    let commands: Vec<&str> = commands.map(|l| l.split_whitespace().next().unwrap()).collect();
    for command in ["pull", "search", "list", "info", "verify", "rm", "prune", "fit"] {
        assert!(commands.contains(&command), "{commands:?}");
        assert!(help(&[command]).contains("--json"), "{command}");
    }
    for command in commands.iter().filter(|c| **c != "help") {
        let text = help(&[command]);
        // Whatever loads a model can be told how.
        if text.contains("--dtype") {
            assert!(["--device", "--threads", "--revision", "--tokenizer"].iter().all(|o| text.contains(o)), "{text}");
        }
    }
}
