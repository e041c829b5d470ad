//! The public face: the header in every dialect, and what the shared library exports.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn has(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok_and(|o| o.status.success())
}

/// Compiles nothing but the header, included twice as by two other headers.
fn accepts(compiler: &str, arguments: &[&str]) {
    accepts_file(compiler, arguments, "header_stub.h");
}

fn accepts_file(compiler: &str, arguments: &[&str], stub: &str) {
    let stub: PathBuf = root().join("tests/c").join(stub);
    let output = Command::new(compiler)
        .args(["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wpedantic"])
        .args(arguments)
        .arg("-I")
        .arg(root().join("include"))
        .arg(&stub)
        .output()
        .unwrap_or_else(|e| panic!("{compiler}: {e}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{compiler} {arguments:?}\n{errors}");
}

#[test]
fn header_compiles_as_c_and_cpp() {
    for standard in ["c11", "c17", "c2x"] {
        accepts("cc", &["-x", "c", &format!("-std={standard}")]);
    }
    for standard in ["c++17", "c++20", "c++23"] {
        accepts("c++", &["-x", "c++", &format!("-std={standard}")]);
    }
}

#[test]
fn wrapper_compiles_as_cpp() {
    for standard in ["c++17", "c++20", "c++23"] {
        for exceptions in ["-fexceptions", "-fno-exceptions"] {
            let standard = format!("-std={standard}");
            accepts_file("c++", &["-x", "c++", &standard, exceptions], "wrapper_stub.hpp");
        }
    }
}

#[test]
fn header_compiles_for_apple() {
    if !has("clang") {
        // `make test` installs it and lets nothing be skipped.
        assert!(std::env::var_os("MLXE_REQUIRE_TOOLS").is_none(), "clang is not installed");
        eprintln!("SKIPPED: clang is not installed");
        return;
    }
    for target in ["arm64-apple-ios17.0", "arm64-apple-ios17.0-simulator", "arm64-apple-macos14.0"] {
        for (language, standard) in [("c", "c11"), ("objective-c", "c11"), ("c++", "c++20"), ("objective-c++", "c++20")]
        {
            // Freestanding: the header needs no SDK, only what the compiler itself brings.
            let standard = format!("-std={standard}");
            accepts("clang", &["-target", target, "-ffreestanding", "-nostdlibinc", "-x", language, &standard]);
        }
    }
}

/// mlxe_* and nothing else: the library can live beside another copy of MLX. A change of this list is a change of the
/// interface: `nm -D --defined-only libmlx_engine.so` gives the new one.
#[test]
fn exported_symbols() {
    let library = std::env::current_exe().unwrap().with_file_name("libmlx_engine.so");
    let output = Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(&library).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut exported: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    exported.sort_unstable();
    let golden = std::fs::read_to_string(root().join("tests/exported_symbols.txt")).unwrap();
    assert_eq!(exported, golden.lines().collect::<Vec<_>>());
    // What is exported is declared, and the other way round.
    let header = std::fs::read_to_string(root().join("include/mlx_engine.h")).unwrap();
    // Nor is what every program compiles for itself.
    let code = header.lines().filter(|line| !line.trim_start().starts_with("//") && !line.starts_with("static inline"));
    let declared = code.flat_map(|l| l.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '(')).filter_map(|w| {
        let (name, _) = w.split_once('(')?;
        name.starts_with("mlxe_").then_some(name)
    });
    let mut declared: Vec<&str> = declared.collect();
    declared.sort_unstable();
    assert_eq!(declared, exported, "declared once each, and exported");
}
