//! The program as people use it: readers that leave, places in the environment, what is said where no bar is.

#[path = "../../tests/support/downloads.rs"]
#[allow(dead_code)]
mod downloads;
#[path = "../../tests/support/storage.rs"]
#[allow(dead_code)]
mod stored;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use downloads::hub_server::{At, Fault, HubServer, Repo};
use downloads::plain;
use mlx_engine::hub::Storage;
use serde_json::{Value, json};
use stored::{import, tiny};
use support::TempDir;

fn mlxe(arguments: &[&str], cache: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mlxe"));
    command.args(arguments).env("HF_HUB_CACHE", cache).env("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
    command.env_remove("HF_HUB_OFFLINE").env_remove("MLXE_MODELS_DIR").env_remove("HF_HOME");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(output: &Output) -> (String, String) {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// As `mlxe ... | head -0`.
#[test]
fn a_reader_that_leaves_is_no_failure() {
    let cache = TempDir::new("field");
    let storage = Storage::new(cache.path());
    for i in 0..3 {
        import(&storage, &tiny(), &format!("a/model-{i}"), false).unwrap();
    }
    let server = HubServer::start(vec![Repo::from_folder("org/model", &tiny())]);
    let model = tiny().display().to_string();
    let to = TempDir::new("to");
    for arguments in [
        &["list"][..],
        &["list", "--json"],
        &["models"],
        &["models", "--json"],
        &["info", "a/model-0"],
        &["info", "-m", &model, "--device", "cpu"],
        &["verify"],
        &["verify", "--json"],
        &["search", "--library", ""],
        &["search", "--library", "", "--json"],
        &["fit"],
        &["fit", "--json"],
        &["fit", &model, "--device", "cpu"],
        &["pull", "org/model"],
        &["pull", "org/model", "--json"],
        &["tokenize", "-m", &model, "hello"],
        &["template", "-m", &model, r#"[{"role": "user", "content": "hello"}]"#],
        &["load", "-m", &model, "--device", "cpu"],
        &["load", "-m", &model, "--device", "cpu", "--events"],
        &["generate", "-m", &model, "--device", "cpu", "-p", "a", "-n", "4"],
        &["rm", "a/model-1"],
        &["prune", "--budget", "100G"],
        &["mv", to.path().to_str().unwrap()],
    ] {
        let mut child = mlxe(arguments, cache.path()).env("HF_ENDPOINT", &server.endpoint).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let (_, said) = text(&output);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        assert!(!said.contains("panic") && !said.contains("pipe") && !said.contains("cancel"), "{arguments:?}: {said}");
    }
}

#[test]
fn places_may_have_a_tilde_and_variables() {
    let home = TempDir::new("field");
    let storage = Storage::new(home.path().join("models"));
    import(&storage, &tiny(), "a/b", false).unwrap();
    for (name, value) in [
        ("HF_HUB_CACHE", "~/models"),
        ("MLXE_MODELS_DIR", "$HOME/models"),
        ("HF_HUB_CACHE", "${PLACE}/models"),
        ("HUGGINGFACE_HUB_CACHE", "~/models"),
    ] {
        let mut command = mlxe(&["list", "--json"], home.path());
        let command = command.env_remove("HF_HUB_CACHE").env("HOME", home.path()).env("PLACE", home.path());
        let (out, said) = text(&command.env(name, value).output().unwrap());
        assert!(out.contains("a/b"), "{name}={value}: {out} {said}");
    }
    fs::rename(home.path().join("models"), home.path().join("hub")).unwrap();
    let mut command = mlxe(&["list", "--json"], home.path());
    let command = command.env_remove("HF_HUB_CACHE").env("HOME", home.path()).env("HF_HOME", "~");
    assert!(text(&command.output().unwrap()).0.contains("a/b"));
    // The token's file.
    let server = HubServer::start(vec![Repo::new("org/model", &plain::files()).private("hf_right")]);
    fs::write(home.path().join("my token"), "hf_right\n").unwrap();
    let cache = TempDir::new("field");
    let mut command = mlxe(&["pull", "org/model"], cache.path());
    command.env("HF_ENDPOINT", &server.endpoint).env_remove("HF_HUB_DISABLE_IMPLICIT_TOKEN").env_remove("HF_TOKEN");
    let output = command.env("HOME", home.path()).env("HF_TOKEN_PATH", "$HOME/my token").output().unwrap();
    assert!(output.status.success(), "{}", text(&output).1);
}

#[test]
fn retries_and_waiting_are_said_without_a_terminal() {
    let (server, cache) = (plain::server(), TempDir::new("field"));
    server.fault(At::Api, Fault::Status(503, Some(0)), 2);
    let output = mlxe(&["pull", "org/model"], cache.path()).env("HF_ENDPOINT", &server.endpoint).output().unwrap();
    let (_, said) = text(&output);
    assert!(output.status.success() && said.contains("trying again in") && said.contains("(1 of 5)"), "{said}");
    let locks = cache.path().join(".locks/models--org--model");
    let lock = fs::File::options().write(true).open(locks.join("mlx-engine.lock")).unwrap();
    for json in [false, true] {
        lock.lock().unwrap();
        let arguments = if json { &["pull", "org/model", "--json"][..] } else { &["pull", "org/model"] };
        let mut child = mlxe(arguments, cache.path()).env("HF_ENDPOINT", &server.endpoint).spawn().unwrap();
        let told: Box<dyn Read> = match json {
            true => Box::new(child.stdout.take().unwrap()),
            false => Box::new(child.stderr.take().unwrap()),
        };
        let mut lines = BufReader::new(told).lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("another process")).unwrap();
        if json {
            let event: Value = serde_json::from_str(&line).unwrap();
            assert!(event["waiting_for"].as_str().unwrap().contains("org/model"), "{line}");
        }
        lock.unlock().unwrap();
        lines.for_each(drop);
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_search_says_when_it_found_nothing_and_prints_no_escape_codes() {
    let cache = TempDir::new("field");
    let card = json!({"tags": ["license:mit", "license:apache-2.0", "\u{1b}[31mred"], "library_name": "mlx"});
    let server = HubServer::start(vec![Repo::new("org/\u{1b}[2Jmodel\u{9b}31m", &plain::files()[..1]).card(card)]);
    let run = |arguments: &[&str]| {
        let output = mlxe(arguments, cache.path()).env("HF_ENDPOINT", &server.endpoint).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        text(&output)
    };
    for licence in ["mit", "apache-2.0"] {
        for json in [&[][..], &["--json"]] {
            let (out, said) = run(&[&["search", "--licence", licence, "--library", ""][..], json].concat());
            assert!(out.contains("model") && !out.contains(['\u{1b}', '\u{9b}']) && said.is_empty(), "{out:?} {said}");
        }
    }
    let (out, said) = run(&["search", "no such model", "--library", ""]);
    assert!(out.is_empty() && said.contains("No model found"), "{out} {said}");
}

#[test]
fn everything_in_the_cache_needs_no_network() {
    let (server, cache) = (plain::server(), TempDir::new("field"));
    let commit = server.repo("org/model").commit().to_owned();
    let names =
        ["org/model", "org/model@v1.0", "org/model@refs/pr/1", &format!("org/model@{commit}")].map(str::to_owned);
    for name in &names {
        let output = mlxe(&["pull", name], cache.path()).env("HF_ENDPOINT", &server.endpoint).output().unwrap();
        assert!(output.status.success(), "{}", text(&output).1);
    }
    server.forget();
    for name in names.iter().chain([&"https://huggingface.co/org/model/tree/refs%2Fpr%2F1".to_owned()]) {
        let mut command = mlxe(&["pull", name], cache.path());
        let output = command.env("HF_ENDPOINT", &server.endpoint).env("HF_HUB_OFFLINE", "1").output().unwrap();
        assert!(output.status.success() && text(&output).0.contains(&commit), "{name}: {}", text(&output).1);
    }
    // What is not there is refused with what to change: the environment, the option, or both.
    for (variables, flags, why) in [
        (&["HF_HUB_OFFLINE"][..], &[][..], "offline: HF_HUB_OFFLINE in the environment is set"),
        (&["TRANSFORMERS_OFFLINE"], &[], "offline: TRANSFORMERS_OFFLINE in the environment is set"),
        (&[], &["--offline"], "offline: the option offline is set"),
        (&["HF_HUB_OFFLINE"], &["--offline"], "is set, and so is HF_HUB_OFFLINE in the environment"),
    ] {
        let mut command = mlxe(&[&["pull", "org/other"], flags].concat(), cache.path());
        let output = command.env("HF_ENDPOINT", &server.endpoint).envs(variables.iter().map(|v| (v, "1"))).output();
        let said = text(&output.unwrap()).1;
        assert!(said.contains(why), "{said}");
    }
    assert!(server.seen().is_empty());
}

/// The codes of docs/architecture/faces.md.
#[test]
fn exit_codes_are_those_of_the_documentation() {
    let (server, cache) = (plain::server(), TempDir::new("field"));
    let model = tiny().display().to_string();
    let command = |arguments: &[&str]| {
        let mut command = mlxe(arguments, cache.path());
        command.env("HF_ENDPOINT", &server.endpoint);
        command
    };
    // As a shell counts: a signal is 128 and its number.
    let code = |status: std::process::ExitStatus| status.code().or(status.signal().map(|signal| 128 + signal)).unwrap();
    for (expected, arguments) in [
        (0, &["--help"][..]),
        (0, &["models"]),
        (0, &["list"]),
        (1, &["pull", "org/absent"]),
        (1, &["pull", "org/model", "--offline"]),
        (1, &["template", "-m", "/no/such/model", "[]"]),
        (2, &["no-such-command"]),
        (2, &["pull"]),
        (2, &["pull", "org/model", "--connections", "many"]),
        (2, &["pull", "a/b/c/d"]),
        (2, &["template", "-m", &model, "[{"]),
        (2, &["template", "-m", &model, "[{\"role\": \"user\", \"content\": \"\\ud83d\"}]"]),
    ] {
        let output = command(arguments).output().unwrap();
        assert_eq!(code(output.status), expected, "{arguments:?}: {}", text(&output).1);
        assert_eq!(text(&output).1.is_empty(), expected == 0, "{arguments:?}: {}", text(&output).1);
    }
    // Where this process ignores the signal, as in the background of a script, so do its children.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    if ignored.is_some_and(|mask| mask & 0b10 != 0) {
        return;
    }
    server.fault(At::Storage, Fault::Stall(1000), u32::MAX);
    let mut child = command(&["pull", "org/model"]).spawn().unwrap();
    while server.faulted() == 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(code(child.wait().unwrap()), 130);
}
