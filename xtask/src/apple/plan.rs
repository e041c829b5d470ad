//! `cargo xtask xcframework`: the whole build, on a Mac with Xcode.
//!
//! Every step is said before it is done. What can be done without a Mac is tested without one: the tests beside each
//! step, and `cargo xtask check-apple`, which runs most of them on libraries without MLX.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::cargo::{static_library, static_library_path, write_override};
use super::framework::{Parts, assemble};
use super::link::{Link, Linker, native_libraries, write_symbol_list};
use super::platform::{NAME, PLATFORMS, Platform};
use super::plists::Toolchain;
use super::runner::Runner;
use super::{macho, mlx, package};
use crate::bindings;
use crate::repository::{Result, exported_symbols, package_version, root, target_folder};

/// The profile of the libraries that are shipped: a release with the line tables that crash reports need.
const PROFILE: &str = "xcframework";
const PROFILE_TEXT: &str = "profile.xcframework={inherits='release', debug='line-tables-only', split-debuginfo='off'}";

/// `--output DIR`, `--dry-run`, `--only SLICE`, `--sign IDENTITY`.
pub fn xcframework(arguments: &[&str]) -> Result {
    let mut output = root().join("build/apple");
    let (mut dry, mut only, mut identity) = (false, None, "-".to_owned());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("xcframework: {argument} needs a value"));
        match *argument {
            "--dry-run" => dry = true,
            "--output" => output = PathBuf::from(value()?),
            "--only" => only = Some(*value()?),
            "--sign" => identity = (*value()?).to_owned(),
            other => return Err(format!("xcframework: what is {other}?").into()),
        }
    }
    if !dry && !cfg!(target_os = "macos") {
        return Err(
            "the XCFramework can be built on a Mac with Xcode only. `cargo xtask check-apple` does what can be \
                    done elsewhere; --dry-run says every step"
                .into(),
        );
    }
    let platforms: Vec<Platform> =
        PLATFORMS.into_iter().filter(|p| only.is_none_or(|slice| slice == p.slice)).collect();
    if platforms.is_empty() {
        return Err(format!("--only: there is no slice {}", only.unwrap_or_default()).into());
    }
    let mut runner = Runner::new(dry);
    let build = Build { output: &output, identity: &identity, version: package_version()? };
    let mut slices = Vec::new();
    for platform in &platforms {
        slices.push((*platform, build.slice(&mut runner, platform)?));
    }
    if dry {
        println!("then {NAME}.xcframework, its archive and its checksum in {}", output.display());
        return Ok(());
    }
    let made = package::xcframework(&output, &slices)?;
    if identity != "-" {
        // Apple's tools show who made an XCFramework that is signed as a whole.
        runner.run(&platforms[0], "sign the XCFramework", &mut sign(&made, &identity))?;
    }
    let (archive, checksum) = package::archive(&made)?;
    println!("{}\nchecksum {checksum}", archive.display());
    std::fs::write(archive.with_extension("zip.sha256"), format!("{checksum}\n"))?;
    Ok(())
}

struct Build<'a> {
    output: &'a Path,
    identity: &'a str,
    version: String,
}

impl Build<'_> {
    /// One slice; returns the folder with its framework and dSYM.
    fn slice(&self, runner: &mut Runner, platform: &Platform) -> Result<PathBuf> {
        let work = self.output.join(platform.slice);
        let mlx_c = bindings::mlx_c_folder()?;
        if !runner.dry {
            std::fs::create_dir_all(&work).map_err(|e| format!("{}: {e}", work.display()))?;
        }
        let mlx = mlx::build(runner, platform, &mlx_c, &work)?;

        runner.note(platform, "declare mlx-c for Rust, and put MLX in the place of mlx-sys's build script");
        let configuration = work.join("override.toml");
        if !runner.dry {
            let sysroot = text_of(Command::new("xcrun").args(["--sdk", platform.sdk, "--show-sdk-path"]))?;
            bindings::generate_for_apple(&mlx_c, platform.target, Path::new(&sysroot), &work)?;
            write_override(&configuration, platform, &work, Some(&mlx.prefix))?;
        }

        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["--config", PROFILE_TEXT]);
        let mut compile = static_library(cargo, platform, &configuration, PROFILE)?;
        compile.args(["--", "--print", "native-static-libs"]);
        runner.note(platform, "compile the Rust library");
        println!("    {compile:?}");
        let libraries = if runner.dry { Vec::new() } else { native_libraries(&errors_of(&mut compile)?)? };

        let (dylib, symbol_list) = (work.join(NAME), work.join("exported_symbols"));
        let exported = exported_symbols()?;
        let link = Link {
            archive: &static_library_path(&target_folder()?, platform, PROFILE),
            symbol_list: &symbol_list,
            libraries: &libraries,
            version: &self.version,
            output: &dylib,
        };
        if !runner.dry {
            write_symbol_list(&exported, &symbol_list)?;
        }
        runner.run(platform, "link", &mut link.command(platform, &Linker::Xcode))?;
        let dsym = work.join("dSYMs").join(format!("{NAME}.framework.dSYM"));
        let mut extract = Command::new("xcrun");
        runner.run(platform, "collect debugging symbols", extract.arg("dsymutil").arg(&dylib).arg("-o").arg(&dsym))?;
        let mut strip = Command::new("xcrun");
        runner.run(platform, "strip", strip.args(["strip", "-x", "-S"]).arg(&dylib))?;

        runner.note(platform, "check the library, put the framework together");
        let framework = work.join(format!("{NAME}.framework"));
        if !runner.dry {
            macho::verify(&macho::read(&dylib)?, platform, &exported)?;
            let toolchain = toolchain(platform)?;
            let metallib = mlx.metallib.as_deref();
            let parts = Parts { dylib: &dylib, metallib, version: &self.version, toolchain: Some(&toolchain) };
            assemble(&work, platform, &parts)?;
        }
        runner.run(platform, "sign", &mut sign(&framework, self.identity))?;
        Ok(work)
    }
}

fn sign(path: &Path, identity: &str) -> Command {
    let mut command = Command::new("xcrun");
    let timestamp = if identity == "-" { "--timestamp=none" } else { "--timestamp" };
    command.args(["codesign", "--force", "--sign", identity, timestamp]).arg(path);
    command
}

/// What Xcode would write into the bundle.
fn toolchain(platform: &Platform) -> Result<Toolchain> {
    let sdk = |question: &str| text_of(Command::new("xcrun").args(["--sdk", platform.sdk, question]));
    // Xcode 16.2 / Build version 16C5032a
    let xcode = text_of(Command::new("xcodebuild").arg("-version"))?;
    let line = |start: &str| xcode.lines().find_map(|l| l.strip_prefix(start)).unwrap_or_default().to_owned();
    Ok(Toolchain {
        sdk_version: sdk("--show-sdk-version")?,
        sdk_build: sdk("--show-sdk-build-version")?,
        xcode: xcode_number(&line("Xcode ")),
        xcode_build: line("Build version "),
    })
}

/// 16.2 is 1620, 9.4.1 is 0941.
fn xcode_number(version: &str) -> String {
    let mut parts = version.split('.').map(|part| part.trim().parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    format!("{:02}{}{}", next(), next(), next())
}

fn text_of(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Runs a command and returns what it said on the error stream, where rustc's notes are.
pub fn errors_of(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(text) } else { Err(format!("{command:?}\n{text}").into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xcode_versions_as_in_bundles() {
        for (version, number) in [("16.2", "1620"), ("9.4.1", "0941"), ("26.0.1", "2601"), ("15", "1500")] {
            assert_eq!(xcode_number(version), number);
        }
    }

    #[test]
    fn a_dry_run_needs_no_mac_and_makes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out");
        xcframework(&["--dry-run", "--output", output.to_str().unwrap()]).unwrap();
        assert!(!output.exists());
        assert!(xcframework(&["--dry-run", "--only", "watchos"]).is_err());
        assert!(xcframework(&["--frobnicate"]).is_err());
        assert!(xcframework(&["--output"]).is_err());
        if !cfg!(target_os = "macos") {
            let error = xcframework(&[]).unwrap_err().to_string();
            assert!(error.contains("check-apple"), "{error}");
        }
    }
}
