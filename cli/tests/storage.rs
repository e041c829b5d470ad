//! Models on the disk and the program: killed processes, two at once, a full disk, a read-only one.

#[path = "../../tests/support/storage.rs"]
#[allow(dead_code)]
mod stored;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use mlx_engine::ErrorKind;
use mlx_engine::hub::{Storage, WhatIsWrong};
use serde_json::Value;
use stored::{check_all, import, quiet, tiny, write_model};
use support::TempDir;

fn mlxe(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mlxe"));
    command.args(arguments).env("MLXE_MODELS_DIR", root).env_remove("HF_HUB_OFFLINE");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
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
    storage.mark_used("a/one");
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
    assert_eq!(target.info("a/one").unwrap().uses, 1);
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
    import(&storage, &tiny(), "a/used", false).unwrap();
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
    for (size, word) in [("size=20m", "are free"), ("size=200m,nr_inodes=14", "no space left")] {
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
    import(&storage, &tiny(), "a/b", false).unwrap();
    let root: PathBuf = fs::canonicalize(tiny()).unwrap();
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
    let tiny = tiny().display().to_string();
    let done = run(&["import", &tiny, "a/b", "--json"]);
    assert_eq!((&done["event"], &done["result"]["id"]), (&"done".into(), &"a/b".into()));
    assert_eq!(run(&["list", "--json"])[0]["id"], "a/b");
    assert_eq!(run(&["info", "a/b", "--json"])["model_type"], "qwen3");
    assert_eq!(run(&["info", "--model", &tiny, "--device", "cpu", "--threads", "1", "--json"])["model_type"], "qwen3");
    run(&["import", &tiny, "a/c", "--json"]);
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
