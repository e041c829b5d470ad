//! `cargo xtask check-apple`: what can be known of the Apple platforms without a Mac.
//!
//! The Rust library is compiled for each platform (against mlx-c's declarations, without MLX) and linked against the
//! list of the system's symbols; what comes out is looked at as the App Store would, put into frameworks and an
//! XCFramework by the functions that make the real one, and given to clang and to SwiftPM. Nothing is run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cargo::{static_library, static_library_path, write_override};
use super::framework::{Parts, assemble};
use super::link::{Link, Linker, frameworks, native_libraries, rust_lld, write_symbol_list};
use super::macho::Dylib;
use super::plan::errors_of;
use super::platform::{Metal, NAME, PLATFORMS, Platform};
use super::plists::{REASONS, UNDECLARED};
use super::{macho, package, stub};
use crate::bindings;
use crate::repository::{Result, exported_symbols, package_version, root, target_folder};

/// Quick to compile: nothing of it is run.
const PROFILE: &str = "apple-check";
const PROFILE_TEXT: &str = "
[profile.apple-check]
inherits = \"dev\"
debug = false
incremental = false
[profile.apple-check.package.\"*\"]
opt-level = 0
[profile.apple-check.build-override]
opt-level = 0
";

pub fn check() -> Result {
    let target = target_folder()?;
    let work = target.join("apple-check");
    fs::create_dir_all(&work).map_err(|e| format!("{}: {e}", work.display()))?;
    let std = StandardLibrary::find()?;
    println!("standard library: {}", std.says());
    let symbols = PathBuf::from(script("symbols.sh", &[])?);
    let system = fs::read_to_string(symbols.join("libSystem.tbd"))?;
    let (exported, version, lld) = (exported_symbols()?, package_version()?, rust_lld()?);
    let mlx_c = bindings::mlx_c_folder()?;

    let mut slices = Vec::new();
    for platform in &PLATFORMS {
        let folder = work.join(platform.slice);
        let sdk = folder.join("sdk");
        fs::create_dir_all(sdk.join("usr"))?;
        copy_if_new(&symbols.join("include"), &sdk.join("usr/include"))?;
        stub::write(&sdk, platform, &system)?;
        bindings::generate_for_apple(&mlx_c, platform.target, &sdk, &folder)?;
        let configuration = folder.join("override.toml");
        write_override(&configuration, platform, &folder, None)?;
        fs::write(&configuration, fs::read_to_string(&configuration)? + PROFILE_TEXT)?;

        let mut compile = static_library(std.cargo(), platform, &configuration, PROFILE)?;
        with_c_compiler(std.add_flags(&mut compile), platform, &sdk).args(["--", "--print", "native-static-libs"]);
        let libraries = native_libraries(&std.explain(errors_of(&mut compile))?)?;

        let (dylib, symbol_list) = (folder.join(NAME), folder.join("exported_symbols"));
        write_symbol_list(&exported, &symbol_list)?;
        let link = Link {
            archive: &static_library_path(&target, platform, PROFILE),
            symbol_list: &symbol_list,
            libraries: &libraries,
            version: &version,
            output: &dylib,
        };
        errors_of(&mut link.command(platform, &Linker::Lld { program: &lld, sdk: &sdk }))?;
        let read = macho::read(&dylib)?;
        macho::verify(&read, platform, &exported)?;
        let declared = fs::read_to_string(folder.join("bindings.rs"))?;
        known_imports(&read, &stub::symbols(&system), &mlx_functions(&declared), &frameworks(&libraries))?;
        declared_reasons(&read)?;

        // Stands for MLX's kernels, which only Xcode can compile.
        let kernels = folder.join("kernels");
        fs::write(&kernels, "no kernels: this XCFramework was made by cargo xtask check-apple\n")?;
        let metallib = (platform.metal != Metal::None).then_some(kernels.as_path());
        assemble(&folder, platform, &Parts { dylib: &dylib, metallib, version: &version, toolchain: None })?;
        compile_with_framework(&folder, platform)?;
        println!(
            "{}: compiles, links ({} symbols exported, {} imported of the system), framework importable",
            platform.slice,
            read.exports.len(),
            read.imports.iter().filter(|name| !name.starts_with("mlx_")).count()
        );
        slices.push((*platform, folder));
    }

    // The command line, the tests and the examples are for macOS too.
    let (mac, folder) = &slices[2];
    let mut all = std.cargo();
    all.args(["check", "--locked", "--all-targets", "--profile", PROFILE, "--target", mac.triple, "--config"]);
    all.arg(folder.join("override.toml")).current_dir(root());
    std.explain(errors_of(with_c_compiler(std.add_flags(&mut all), mac, &folder.join("sdk"))))?;
    println!("{}: command line, tests, examples and benchmarks type-check", mac.slice);

    let made = package::xcframework(&work, &slices)?;
    let (archive, checksum) = package::archive(&made)?;
    println!("{}: {checksum}", archive.display());
    println!("{}", script("slices.sh", &[&made.display().to_string(), &checksum])?);
    Ok(())
}

/// Where the standard library for Apple's targets comes from.
enum StandardLibrary {
    /// `rustup target add` was here.
    Installed,
    /// Sources beside the nightly compiler: `rustup component add rust-src`.
    Nightly,
    /// Sources of Debian, for the nightly compiler.
    Debian(PathBuf),
}

impl StandardLibrary {
    fn find() -> Result<Self> {
        let exists = |command: &mut Command, below: &str| {
            let text = command.output().ok().filter(|o| o.status.success()).map(|o| o.stdout).unwrap_or_default();
            let text = String::from_utf8(text).unwrap_or_default();
            !text.trim().is_empty() && Path::new(text.trim()).join(below).exists()
        };
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let installed = |platform: &Platform| {
            exists(Command::new(&rustc).args(["--print", "target-libdir", "--target", platform.triple]), "")
        };
        if PLATFORMS.iter().all(installed) {
            return Ok(StandardLibrary::Installed);
        }
        let sources = "lib/rustlib/src/rust/library/Cargo.lock";
        if exists(nightly("rustc").args(["--print", "sysroot"]), sources) {
            return Ok(StandardLibrary::Nightly);
        }
        let output = nightly("rustc").arg("--version").output()?;
        let version = String::from_utf8(output.stdout)?;
        // rustc 1.97.0-nightly (e50aa6fba 2026-05-19)
        let version =
            version.split_whitespace().nth(1).ok_or_else(|| format!("there is no nightly compiler. {HELP}"))?;
        let folder = script("rust-src.sh", &[version]).map_err(|e| format!("{e}\n{HELP}"))?;
        Ok(StandardLibrary::Debian(folder.into()))
    }

    fn says(&self) -> String {
        match self {
            StandardLibrary::Installed => "installed for all targets".into(),
            StandardLibrary::Nightly => "built from the nightly compiler's own sources".into(),
            StandardLibrary::Debian(folder) => format!("built from Debian's sources in {}", folder.display()),
        }
    }

    fn cargo(&self) -> Command {
        match self {
            StandardLibrary::Installed => Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
            StandardLibrary::Nightly => nightly("cargo"),
            StandardLibrary::Debian(folder) => {
                let mut cargo = nightly("cargo");
                // Cargo's way to say where the sources are, for tests of its own: the only one there is.
                cargo.env("__CARGO_TESTS_ONLY_SRC_ROOT", folder);
                cargo
            }
        }
    }

    fn add_flags<'a>(&self, cargo: &'a mut Command) -> &'a mut Command {
        match self {
            StandardLibrary::Installed => cargo,
            _ => cargo.arg("-Zbuild-std"),
        }
    }

    /// Says what may be wrong when a compilation failed in the standard library.
    fn explain<T>(&self, result: Result<T>) -> Result<T> {
        match self {
            StandardLibrary::Debian(folder) => result.map_err(|e| {
                format!(
                    "{e}\n\nIf the errors are in {}, the sources do not fit the nightly compiler. {HELP}",
                    folder.display()
                )
                .into()
            }),
            _ => result,
        }
    }
}

const HELP: &str = "One of these gives a standard library that fits:\n  \
    rustup target add aarch64-apple-ios aarch64-apple-ios-sim aarch64-apple-darwin\n  \
    rustup component add rust-src --toolchain nightly";

/// A tool of the nightly toolchain, whatever toolchain runs this.
fn nightly(tool: &str) -> Command {
    let mut command = Command::new(tool);
    let name = std::env::var("NIGHTLY").unwrap_or_else(|_| "nightly".into());
    command.arg(format!("+{name}"));
    for variable in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(variable);
    }
    command
}

/// Runs a script of tools/apple and returns what it printed; what it complained of is passed on.
fn script(name: &str, arguments: &[&str]) -> Result<String> {
    let path = root().join("tools/apple").join(name);
    let output = Command::new(&path).args(arguments).output().map_err(|e| format!("{}: {e}", path.display()))?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{}: {}", path.display(), complaints.trim()).into());
    }
    eprint!("{complaints}");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn copy_if_new(from: &Path, to: &Path) -> Result {
    if to.exists() { Ok(()) } else { package::copy_folder(from, to) }
}

/// Lets crates that bring C code compile it: clang stands for Xcode's.
fn with_c_compiler<'a>(cargo: &'a mut Command, platform: &Platform, sdk: &Path) -> &'a mut Command {
    if cfg!(target_os = "macos") {
        return cargo;
    }
    let triple = platform.triple.replace('-', "_");
    cargo.env(format!("CC_{triple}"), "clang").env(format!("AR_{triple}"), "ar").env("SDKROOT", sdk)
}

/// Prefixes of the functions and constants of Apple's frameworks, of which there is no list here.
const FRAMEWORK_PREFIXES: &[(&str, &[&str])] =
    &[("CoreFoundation", &["CF", "kCF"]), ("Security", &["Sec", "kSec"]), ("SystemConfiguration", &["SC", "kSC"])];

/// Fails if the library needs something that neither the system nor mlx-c has. That of mlx-c is part of what is not
/// built here.
fn known_imports(dylib: &Dylib, system: &BTreeSet<&str>, mlx_c: &BTreeSet<&str>, frameworks: &[&str]) -> Result {
    let prefixes: Vec<&str> = FRAMEWORK_PREFIXES
        .iter()
        .filter(|(name, _)| frameworks.contains(name))
        .flat_map(|(_, prefixes)| prefixes.iter().copied())
        .collect();
    let known = |name: &str| {
        system.contains(format!("_{name}").as_str())
            || system.contains(name)
            || mlx_c.contains(name)
            || prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    match dylib.imports.iter().filter(|name| !known(name)).collect::<Vec<_>>() {
        unknown if unknown.is_empty() => Ok(()),
        unknown => Err(format!("nobody has {unknown:?} (linked: {frameworks:?})").into()),
    }
}

/// The functions that bindings of mlx-c declare.
fn mlx_functions(bindings: &str) -> BTreeSet<&str> {
    bindings
        .split("pub fn ")
        .skip(1)
        .filter_map(|text| text.split_once('(').map(|(name, _)| name))
        .filter(|name| name.starts_with("mlx_") || name.starts_with("_mlx_"))
        .collect()
}

/// Fails if the library uses a required-reason API that PrivacyInfo.xcprivacy does not declare.
fn declared_reasons(dylib: &Dylib) -> Result {
    // With suffixes as in fstat$INODE64.
    let same =
        |name: &str, function: &str| name.strip_prefix(function).is_some_and(|r| r.is_empty() || r.starts_with('$'));
    let used = |function: &&str| dylib.imports.iter().any(|name| same(name, function));
    if let Some(function) = UNDECLARED.iter().find(|function| used(function)) {
        return Err(format!("the library calls {function}, and the privacy manifest gives no reason for it").into());
    }
    if !REASONS.iter().flat_map(|r| r.functions).any(used) {
        return Err(
            "the library reads files, and none of the functions for that is imported: is the list wrong?".into()
        );
    }
    Ok(())
}

/// The header and the module as a program sees them that has the framework.
fn compile_with_framework(folder: &Path, platform: &Platform) -> Result {
    let header = format!("#include <{NAME}/mlx_engine.h>\nint32_t use(void) {{ return mlxe_abi_version(); }}\n");
    let module = format!("@import {NAME};\nint32_t use(void) {{ return mlxe_abi_version(); }}\n");
    let cases = [
        ("c", "c11", &header),
        ("c++", "c++20", &header),
        ("objective-c", "c11", &header),
        ("objective-c++", "c++20", &header),
        ("objective-c", "c11", &module),
    ];
    for (language, standard, text) in cases {
        let source = folder.join("program");
        fs::write(&source, text)?;
        let mut clang = Command::new("clang");
        clang.args(["-target", platform.target, "-ffreestanding", "-nostdlibinc", "-fsyntax-only", "-Wall", "-Wextra"]);
        clang.args(["-Werror", "-fmodules", &format!("-std={standard}"), "-x", language]).arg(&source);
        clang.arg("-F").arg(folder).arg(format!("-fmodules-cache-path={}", folder.join("modules").display()));
        errors_of(&mut clang).map_err(|e| format!("{language}: {e}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_mlx_c_are_found_in_bindings() {
        let bindings = "pub type mlx_x = i32;\nextern \"C\" {\n    pub fn mlx_add(\n res: i32);\n pub fn malloc();\n \
                        pub fn _mlx_error(x: i32);\n}\n";
        assert_eq!(mlx_functions(bindings).into_iter().collect::<Vec<_>>(), ["_mlx_error", "mlx_add"]);
    }

    #[test]
    fn unknown_imports_are_found() {
        let dylib =
            |names: &[&str]| Dylib { imports: names.iter().map(|n| n.to_string()).collect(), ..Dylib::default() };
        let (system, mlx_c) = (BTreeSet::from(["_malloc", "dyld_stub_binder"]), BTreeSet::from(["mlx_add"]));
        let check = |names: &[&str], frameworks: &[&str]| known_imports(&dylib(names), &system, &mlx_c, frameworks);
        check(&["malloc", "mlx_add", "dyld_stub_binder"], &[]).unwrap();
        check(&["CFRelease", "kSecTrust"], &["Security", "CoreFoundation"]).unwrap();
        assert!(check(&["CFRelease"], &["Security"]).is_err());
        // What only Linux has.
        assert!(check(&["posix_fallocate64"], &[]).unwrap_err().to_string().contains("posix_fallocate64"));
    }

    #[test]
    fn undeclared_uses_are_found() {
        let dylib =
            |names: &[&str]| Dylib { imports: names.iter().map(|n| n.to_string()).collect(), ..Dylib::default() };
        declared_reasons(&dylib(&["malloc", "fstat"])).unwrap();
        let error = declared_reasons(&dylib(&["fstat", "OBJC_CLASS_$_NSUserDefaults"])).unwrap_err().to_string();
        assert!(error.contains("NSUserDefaults"), "{error}");
        declared_reasons(&dylib(&["malloc", "statfs$INODE64"])).unwrap();
        assert!(declared_reasons(&dylib(&["fstatus"])).is_err());
        assert!(declared_reasons(&dylib(&["malloc"])).is_err());
    }
}
