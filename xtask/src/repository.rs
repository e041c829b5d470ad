//! What every command needs to know of the repository.

use std::fs;
use std::path::{Path, PathBuf};

/// What a command returns: its errors are texts for the person who ran it.
pub type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ lies in the repository").to_path_buf()
}

/// The target folder of the workspace.
pub fn target_folder() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let output = std::process::Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root())
        .output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let target = metadata["target_directory"].as_str().ok_or("cargo metadata names no target folder")?;
    Ok(PathBuf::from(target))
}

/// The number or text after `before` at the start of a line.
pub fn defined(before: &str, file: &str) -> Result<String> {
    let text = fs::read_to_string(root().join(file))?;
    let line = text.lines().find_map(|line| line.strip_prefix(before)).ok_or(format!("{file}: no {before}"))?;
    Ok(line.trim_end_matches([';', '"']).to_owned())
}

/// The version in Cargo.toml.
pub fn package_version() -> Result<String> {
    defined("version = \"", "Cargo.toml")
}

/// The interface: what shared libraries and installed archives export, and nothing else.
pub fn exported_symbols() -> Result<Vec<String>> {
    let path = root().join("tests/exported_symbols.txt");
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// What a path of the repository is from its root.
pub fn shown(path: &Path) -> PathBuf {
    path.strip_prefix(root()).unwrap_or(path).to_path_buf()
}
