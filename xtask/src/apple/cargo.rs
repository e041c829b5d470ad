//! The Rust part, with an MLX that is already there.
//!
//! mlx-sys says `links = "mlx"`, so a table of Cargo's configuration can stand for its build script:
//! https://doc.rust-lang.org/cargo/reference/build-scripts.html#overriding-build-scripts

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::platform::{Metal, Platform};
use crate::repository::{Result, root};

/// Writes the configuration file. `bindings` is the folder of mlx-sys's bindings.rs; without `mlx` there is nothing to
/// link, which is enough to compile.
pub fn write_override(path: &Path, platform: &Platform, bindings: &Path, mlx: Option<&Path>) -> Result {
    let text = |value: &Path| serde_json::to_string(&value.display().to_string()).expect("text");
    // TOML's strings are JSON's.
    let mut table = format!("[target.{}.mlx]\nrustc-env = {{ OUT_DIR = {} }}\n", platform.triple, text(bindings));
    if let Some(prefix) = mlx {
        let search = format!("native={}", prefix.join("lib").display());
        let mut libraries = vec!["static=mlxc", "static=mlx", "c++", "framework=Foundation", "framework=Accelerate"];
        if platform.metal != Metal::None {
            libraries.extend(["framework=Metal", "framework=QuartzCore"]);
        }
        table += &format!("rustc-link-search = [{}]\n", text(Path::new(&search)));
        table += &format!("rustc-link-lib = {}\n", serde_json::to_string(&libraries)?);
        // Metadata, as mlx-sys publishes it for scripts of crates that use it.
        let include = prefix.join("include");
        let folders = std::env::join_paths([include.clone(), include.join("metal_cpp")])?;
        table += &format!("include = {}\ndefines = \"MLX_STATIC\"\n", text(Path::new(&folders)));
    }
    fs::write(path, table).map_err(|e| format!("{}: {e}", path.display()).into())
}

/// The command that makes the static library and names the libraries it needs.
pub fn static_library(cargo: Command, platform: &Platform, configuration: &Path, profile: &str) -> Result<Command> {
    let mut command = cargo;
    command
        .args(["rustc", "--locked", "--package", "mlx-engine", "--lib", "--crate-type", "staticlib"])
        .args(["--profile", profile, "--target", platform.triple])
        .arg("--config")
        .arg(configuration)
        .env(platform.deployment_variable, platform.minimum_os)
        .current_dir(root());
    Ok(command)
}

/// Where Cargo puts the static library.
pub fn static_library_path(target: &Path, platform: &Platform, profile: &str) -> PathBuf {
    target.join(platform.triple).join(profile).join("libmlx_engine.a")
}

#[cfg(test)]
mod tests {
    use super::super::platform::PLATFORMS;
    use super::*;

    /// Cargo takes the table in place of a build script that would fail.
    #[test]
    fn override_replaces_the_build_script() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        file("Cargo.toml", "[package]\nname = \"mlx-sys\"\nversion = \"1.0.0\"\nedition = \"2024\"\nlinks = \"mlx\"\n");
        file("build.rs", "fn main() { panic!(\"the script ran\") }");
        file("src/lib.rs", "include!(concat!(env!(\"OUT_DIR\"), \"/bindings.rs\")); pub use there as it_is;");
        file("a \"quoted\" folder/bindings.rs", "pub fn there() {}");
        // The host stands for the platform: nothing else is sure to compile here.
        let rustc = Command::new("rustc").arg("-vV").output().unwrap();
        let host = String::from_utf8(rustc.stdout).unwrap();
        let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        let platform = Platform { triple: String::leak(host.into()), ..PLATFORMS[0] };
        let configuration = folder.path().join("override.toml");
        let bindings = folder.path().join("a \"quoted\" folder");
        let check = |mlx: Option<&Path>| {
            write_override(&configuration, &platform, &bindings, mlx).unwrap();
            let output = Command::new(env!("CARGO"))
                .args(["check", "--offline", "--target", host, "--config"])
                .arg(&configuration)
                .current_dir(folder.path())
                .env("CARGO_TARGET_DIR", folder.path().join("target"))
                .output()
                .unwrap();
            (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let (success, errors) = check(None);
        assert!(success, "{errors}");
        // Elsewhere rustc refuses Apple's frameworks, which shows that they reach it.
        let (success, errors) = check(Some(Path::new("/an/mlx")));
        let refused = errors.contains("`framework` is only supported on Apple targets");
        assert!(if cfg!(target_vendor = "apple") { success } else { refused }, "{errors}");
    }

    #[test]
    fn override_names_what_is_linked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("override.toml");
        let text = |platform: &Platform| {
            write_override(&path, platform, Path::new("/bindings"), Some(Path::new("/mlx"))).unwrap();
            fs::read_to_string(&path).unwrap()
        };
        let [ios, simulator, _] = &PLATFORMS;
        assert!(text(ios).contains("[target.aarch64-apple-ios.mlx]"));
        assert!(text(ios).contains("\"native=/mlx/lib\"") && text(ios).contains("framework=Metal"));
        assert!(!text(simulator).contains("framework=Metal"));
        assert!(text(simulator).contains("static=mlxc"));
    }
}
