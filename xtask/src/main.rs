//! Maintenance commands: `cargo xtask <command>`.

mod apple;
mod bindings;
mod docs;
mod header;
mod install;
mod options;
mod release;

use std::path::PathBuf;
use std::process::ExitCode;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const USAGE: &str = "usage: cargo xtask <command>

  bindings            regenerate src/array/sys/bindings.rs from mlx-c's headers (needs libclang)
  check-apple         what can be checked of the Apple platforms on any machine
  docs [--check]      generate docs/supported-models.md from the registry
  header [--check]    generate include/mlx_engine.h from src/ffi (or only see whether it is current)
  install --prefix DIR [--debug] [--from FOLDER]
                      install header, libraries, MLX, pkg-config and CMake files, and mlxe, in a folder that can
                      be moved; --from takes what lies in a folder of the target directory
  options [--check]   generate what follows from the tables in src/options: structs of Rust, C and Swift, flags, a page
  release-manifest URL CHECKSUM
                      write where a release's XCFramework is into Package.swift
  release-notes VERSION
                      print what CHANGELOG.md says about a version, which must be the one in Cargo.toml
  xcframework [--output DIR] [--only SLICE] [--sign IDENTITY] [--dry-run]
                      build CMLXEngine.xcframework and its archive (needs a Mac with Xcode, CMake and the Rust
                      targets; --dry-run says every step anywhere)
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["bindings"] => bindings::generate(),
        ["check-apple"] => apple::check(),
        ["docs"] => docs::generate(false),
        ["docs", "--check"] => docs::generate(true),
        ["header"] => header::generate(false),
        ["header", "--check"] => header::generate(true),
        ["options"] => options::generate(false),
        ["options", "--check"] => options::generate(true),
        ["install", ref arguments @ ..] => install::install(arguments),
        ["release-manifest", url, checksum] => release::manifest(url, checksum),
        ["release-notes", version] => release::notes(version),
        ["xcframework", ref arguments @ ..] => apple::xcframework(arguments),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ lies in the repository").to_path_buf()
}

/// The target folder of the workspace.
fn target_folder() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let output = std::process::Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root())
        .output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let target = metadata["target_directory"].as_str().ok_or("cargo metadata names no target folder")?;
    Ok(PathBuf::from(target))
}

/// The number or text behind `before` at the start of a line.
fn defined(before: &str, file: &str) -> Result<String> {
    let text = std::fs::read_to_string(root().join(file))?;
    let line = text.lines().find_map(|line| line.strip_prefix(before)).ok_or(format!("{file}: no {before}"))?;
    Ok(line.trim_end_matches([';', '"']).to_owned())
}

/// The version in Cargo.toml.
fn package_version() -> Result<String> {
    defined("version = \"", "Cargo.toml")
}
