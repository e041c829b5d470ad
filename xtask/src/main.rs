//! Maintenance commands: `cargo xtask <command>`.

mod apple;
mod archive;
mod bindings;
mod docs;
mod header;
mod install;
mod options;
mod release;
mod repository;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <command>

  bindings            regenerate src/array/sys/bindings.rs from mlx-c's headers (needs libclang)
  check-apple         what can be checked of the Apple platforms on any machine
  docs [--check] [--from FOLDER]
                      generate docs/supported-models.md and docs/environment.md; --from takes mlxe from a folder of the
                      target directory
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
        ["docs", ref arguments @ ..] => docs::generate(arguments),
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
