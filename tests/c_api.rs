//! The C API as C and C++ programs see it: tests/c, compiled with warnings as errors against the library that Cargo
//! has just built beside this test (the `cdylib` and `staticlib` are built together with the crate it links).
//!
//! For `make test-sanitizers`: `MLXE_TEST_CFLAGS` adds compiler flags (`-fsanitize=...`), `MLXE_TEST_RUNNER` is what
//! runs the programs (`valgrind ...`), and `MLXE_TEST_ROUNDS` makes the stress shorter, without the check on resident
//! memory, which sanitizers fill themselves. `MLXE_TEST_LIBRARIES` is where the libraries are (`make test-valgrind-release`).

use std::path::{Path, PathBuf};
use std::process::Command;

#[cfg(feature = "hub")]
#[path = "support/hub_server.rs"]
#[allow(dead_code)]
mod hub_server;
mod support;
use support::{TempDir, write_case};

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-Wpedantic"];

/// The kinds of program, and what links them.
#[derive(Clone, Copy)]
enum Link {
    Shared,
    Static,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where Cargo puts libraries: beside this test, unless `MLXE_TEST_LIBRARIES` names another profile's `deps`.
fn libraries() -> PathBuf {
    let beside = || std::env::current_exe().unwrap().parent().unwrap().to_path_buf();
    let deps = std::env::var_os("MLXE_TEST_LIBRARIES").map_or_else(beside, PathBuf::from);
    for name in ["libmlx_engine.so", "libmlx_engine.a"] {
        assert!(deps.join(name).exists(), "{} has no {name}", deps.display());
    }
    deps
}

/// Runs a command; a failure shows all that it said.
fn run(command: &mut Command) -> String {
    // Cargo points this at its target folder, where an older build of the library may lie.
    command.env_remove("LD_LIBRARY_PATH");
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{}\n{out}\n{err}", output.status);
    out
}

fn compile(source: &str, program: &Path, link: Link) {
    compile_with(source, program, link, &[]);
}

/// `flags` come last, so that they count.
fn compile_with(source: &str, program: &Path, link: Link, flags: &[&str]) {
    let (compiler, standard) = match source.ends_with(".cpp") {
        true => ("c++", "-std=c++20"),
        false => ("cc", "-std=c11"),
    };
    let deps = libraries();
    let mut command = Command::new(compiler);
    // MLX is where build.rs has put it, for programs in this folder as well as for those beside the library.
    let mlx = deps.join("../mlx-engine/mlx/lib");
    command.args([standard, "-g", "-D_GNU_SOURCE"]).args(WARNINGS);
    command.args(std::env::var("MLXE_TEST_CFLAGS").unwrap_or_default().split_whitespace()).args(flags);
    command.arg("-I").arg(root().join("include")).arg(root().join(source)).arg("-o").arg(program);
    match link {
        Link::Shared => command.arg("-L").arg(&deps).arg("-lmlx_engine"),
        Link::Static => command.arg(deps.join("libmlx_engine.a")).arg("-L").arg(&mlx).args([
            "-lmlx",
            "-lstdc++",
            "-lgcc_s",
            "-lutil",
            "-lrt",
            "-lpthread",
            "-lm",
            "-ldl",
            "-lc",
        ]),
    };
    command.arg(format!("-Wl,-rpath,{}", deps.display())).arg(format!("-Wl,-rpath,{}", mlx.display()));
    command.args(["-pthread", "-lm"]);
    run(&mut command);
}

/// Compiles a program and runs it on a small model.
fn program(source: &str, link: Link, arguments: &[&str]) -> String {
    program_with(source, link, &[], arguments)
}

fn program_with(source: &str, link: Link, flags: &[&str], arguments: &[&str]) -> String {
    let dir = TempDir::new("c");
    write_case("qwen3", dir.path(), 2);
    let binary = dir.path().join("program");
    compile_with(&format!("tests/c/{source}"), &binary, link, flags);
    let runner = std::env::var("MLXE_TEST_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    let mut command = match words.next() {
        Some(first) => Command::new(first),
        None => Command::new(&binary),
    };
    if !runner.is_empty() {
        command.args(words).arg(&binary);
    }
    run(command.arg(dir.path()).args(arguments))
}

#[test]
fn smoke() {
    assert!(program("smoke.c", Link::Shared, &[]).starts_with("MLXEngine "));
}

#[test]
fn smoke_static() {
    program("smoke.c", Link::Static, &[]);
}

#[test]
fn arguments() {
    program("arguments.c", Link::Shared, &[]);
}

#[test]
fn sampler() {
    program("sampler.c", Link::Shared, &[]);
}

/// Another MLX that the process has loaded first is refused, by its version.
#[test]
fn another_mlx_is_refused() {
    let dir = TempDir::new("other-mlx");
    write_case("qwen3", dir.path(), 1);
    let (source, library, binary) = (dir.path().join("mlx.cpp"), dir.path().join("other.so"), dir.path().join("smoke"));
    std::fs::write(&source, "namespace mlx::core { const char *version() { return \"0.29.1\"; } }\n").unwrap();
    run(Command::new("c++").args(["-std=c++17", "-shared", "-fPIC"]).arg(&source).arg("-o").arg(&library));
    compile("tests/c/smoke.c", &binary, Link::Shared);
    // A sanitizer has to be the first library.
    let output = Command::new(&binary)
        .arg(dir.path())
        .env_remove("LD_LIBRARY_PATH")
        .env("LD_PRELOAD", &library)
        .env("ASAN_OPTIONS", "verify_asan_link_order=0:detect_leaks=0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("has loaded MLX 0.29.1"), "{said}");
}

/// Python with ctypes: multiprocessing by fork and by spawn, and posix_spawn.
#[test]
fn python_processes() {
    let dir = TempDir::new("python");
    write_case("qwen3", dir.path(), 1);
    for what in ["fork", "fork-first", "spawn", "posix-spawn"] {
        let mut command = Command::new("python3");
        command.arg(root().join("tests/c/processes.py")).arg(libraries().join("libmlx_engine.so"));
        run(command.arg(dir.path()).arg(what).env("ASAN_OPTIONS", "detect_leaks=0"));
    }
}

#[test]
fn score() {
    program("score.c", Link::Shared, &[]);
}

#[test]
fn contract() {
    program("contract.c", Link::Shared, &[]);
}

#[cfg(feature = "hub")]
#[test]
fn pull() {
    program("pull.c", Link::Shared, &[]);
}

#[test]
fn contract_static() {
    program("contract.c", Link::Static, &[]);
}

/// On the trained model, which has a tokenizer.
#[test]
fn text() {
    let dir = TempDir::new("text");
    let binary = dir.path().join("program");
    compile("tests/c/text.c", &binary, Link::Shared);
    run(Command::new(&binary).arg(root().join("tests/fixtures/tiny-qwen3")));
}

#[test]
fn wrapper() {
    program_with("wrapper.cpp", Link::Shared, &["-std=c++17"], &[]);
}

#[test]
fn wrapper_without_exceptions() {
    program_with("wrapper.cpp", Link::Static, &["-std=c++17", "-fno-exceptions"], &[]);
}

#[test]
fn modern_cpp() {
    program("modern.cpp", Link::Shared, &[]);
}

#[test]
fn stress() {
    match std::env::var("MLXE_TEST_ROUNDS") {
        Ok(rounds) => program("stress.c", Link::Shared, &[&rounds, "without-rss"]),
        Err(_) => program("stress.c", Link::Shared, &[]),
    };
}

#[cfg(feature = "hub")]
#[test]
fn download() {
    use hub_server::{At, Fault, HubServer, Repo};
    let (dir, model) = (TempDir::new("download"), TempDir::new("model"));
    write_case("qwen3", model.path(), 2);
    let trained = Repo::from_folder("org/tiny", &root().join("tests/fixtures/tiny-qwen3"));
    let server = HubServer::start(vec![Repo::from_folder("org/model", model.path()).private("hf_secret"), trained]);
    // The pull that is cancelled may meet some of them.
    server.fault(At::Storage, Fault::Status(503, Some(1)), 3);
    let binary = dir.path().join("program");
    compile("tests/c/download.c", &binary, Link::Shared);
    run(Command::new(&binary).arg(&server.endpoint).arg("org/model").arg(dir.path().join("cache")).arg("org/tiny"));
}

#[cfg(feature = "hub")]
#[test]
fn search() {
    use hub_server::{At, Fault, HubServer, Repo};
    let (dir, model) = (TempDir::new("search"), TempDir::new("model"));
    write_case("qwen3", model.path(), 2);
    let server = HubServer::start(vec![Repo::from_folder("org/model", model.path())]);
    let binary = dir.path().join("program");
    compile("tests/c/search.c", &binary, Link::Shared);
    let command = || {
        let mut command = Command::new(&binary);
        command.arg(&server.endpoint).arg("org/model").arg(dir.path().join("cache"));
        command
    };
    run(&mut command());
    server.fault(At::Storage, Fault::Stall(8), 1);
    run(command().arg("cancel"));
}

#[cfg(feature = "hub")]
#[test]
fn hub() {
    use hub_server::{At, Fault, HubServer, Port, Repo};
    let (dir, model) = (TempDir::new("hub"), TempDir::new("model"));
    write_case("qwen3", model.path(), 2);
    let server = HubServer::start(vec![Repo::from_folder("org/model", model.path()).xet(8)]);
    // The pull that is cancelled may meet some of them.
    server.fault(At::Storage, Fault::Status(503, Some(1)), 3);
    let binary = dir.path().join("program");
    compile("tests/c/hub.c", &binary, Link::Shared);
    run(Command::new(&binary).arg(&server.endpoint).arg("org/model").arg(dir.path()).arg(model.path()));
    assert!(server.seen().iter().all(|r| r.port != Port::Xet));
}

/// MLX's statics are destroyed at the end of the process while engines still work or free: many times, because a race
/// is lost only now and then.
#[test]
fn leaving_at_any_moment() {
    let dir = TempDir::new("leave");
    write_case("qwen3", dir.path(), 2);
    let binary = dir.path().join("program");
    compile("tests/c/leave.c", &binary, Link::Shared);
    for moment in ["freed", "load", "generate", "callback"] {
        for _ in 0..20 {
            // What was under way is lost, which is no leak.
            run(Command::new(&binary).arg(dir.path()).arg(moment).env("ASAN_OPTIONS", "detect_leaks=0"));
        }
    }
}

/// Signals, forks, and the end of the process while a callback waits.
#[test]
fn processes() {
    let dir = TempDir::new("process");
    write_case("qwen3", dir.path(), 2);
    let binary = dir.path().join("program");
    compile("tests/c/process.c", &binary, Link::Shared);
    for what in ["signals", "fork", "fork-first", "exit-in-callback"] {
        run(Command::new(&binary).arg(dir.path()).arg(what).env("ASAN_OPTIONS", "detect_leaks=0"));
    }
}

/// The examples compile as cleanly as the tests, and say what is wrong with their arguments.
#[test]
fn examples() {
    for source in ["examples/c/chat.c", "examples/cpp/chat.cpp"] {
        let dir = TempDir::new("example");
        let binary = dir.path().join("chat");
        compile(source, &binary, Link::Shared);
        assert_eq!(
            Command::new(&binary).env_remove("LD_LIBRARY_PATH").output().unwrap().status.code(),
            Some(2),
            "{source}: usage"
        );
        let failed = Command::new(&binary).args(["/nonexistent/model", "Hello"]).output().unwrap();
        assert_eq!(failed.status.code(), Some(1), "{source}: a model that is not there");
        assert!(String::from_utf8_lossy(&failed.stderr).contains("/nonexistent/model"), "{source}");
    }
}

/// The examples hold a conversation with the trained model.
#[test]
fn examples_talk() {
    let model = root().join("tests/fixtures/tiny-qwen3");
    for source in ["examples/c/chat.c", "examples/cpp/chat.cpp"] {
        let dir = TempDir::new("example");
        let binary = dir.path().join("chat");
        compile(source, &binary, Link::Shared);
        let output = Command::new(&binary).arg(&model).arg("Hello").output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{source}\n{log}");
        assert!(!output.stdout.is_empty() && log.contains("100%") && log.contains("tokens/s"), "{source}\n{log}");
    }
}
