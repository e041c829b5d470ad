//! Maintenance commands: `cargo xtask <command>`.

mod bindings;
mod docs;
mod header;
mod install;

use std::path::PathBuf;
use std::process::ExitCode;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const USAGE: &str = "usage: cargo xtask <command>

  bindings            regenerate src/array/sys/bindings.rs from mlx-c's headers (needs libclang)
  docs [--check]      generate docs/supported-models.md from the registry
  header [--check]    generate include/mlx_engine.h from src/ffi (or only see whether it is current)
  install --prefix DIR [--debug] [--from FOLDER]
                      install header, libraries, MLX, pkg-config and CMake files, and mlxe, in a folder that can
                      be moved; --from takes what lies in a folder of the target directory
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["bindings"] => bindings::generate(),
        ["docs"] => docs::generate(false),
        ["docs", "--check"] => docs::generate(true),
        ["header"] => header::generate(false),
        ["header", "--check"] => header::generate(true),
        ["install", ref arguments @ ..] => install::install(arguments),
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
