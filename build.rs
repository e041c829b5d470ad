//! Links MLX.
//!
//! On Apple the `mlx-sys` dependency has built MLX and told Cargo how to link it. Elsewhere this script compiles the
//! mlx-c sources that the same mlx-sys package carries, and links the official MLX wheel of the version they are made
//! for. docs/architecture.md ("Native MLX") has the whole story.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// MLX as mlx-sys 0.7.0 pins it. The headers change between patch releases, so the match must be exact.
const MLX_VERSION: &str = "0.32.2";

/// SHA-256 of the wheels, by package and machine.
const WHEELS: &[(&str, &str, &str)] = &[
    ("mlx-cpu", "x86_64", "fc5d31b90fc4f457b2f9614ed45651a567d22a6a11a03d114a90a4e10bdd8878"),
    ("mlx-cpu", "aarch64", "d0f94625588b51a878786dd51cec5617894ce586cf3c94645ce1b64e24c27c0b"),
    ("mlx-cuda-13", "x86_64", "335094ccd1c0c6dc3e09c8caba207c8180602bacc0c38ba20c1d81e9456ab394"),
    ("mlx-cuda-13", "aarch64", "49b1a25df9021f3b519a534fd39a32a5cdbf93a1b265a31e59671c2d9fc9f4a2"),
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for var in ["MLX_PREFIX", "MLXE_MLX_PACKAGE", "MLXE_CACHE_DIR", "PYTHON"] {
        println!("cargo:rerun-if-env-changed={var}");
    }
    if env::var_os("DOCS_RS").is_some() {
        return;
    }
    if env::var("CARGO_CFG_TARGET_VENDOR").as_deref() == Ok("apple") {
        // Programs look for the library in their run paths, not where it was built.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libmlx_engine.dylib");
        return;
    }
    if let Err(message) = link_wheel() {
        eprintln!("\nmlx-engine: {message}\n");
        std::process::exit(1);
    }
}

fn link_wheel() -> Result<(), String> {
    let prefix = match env::var_os("MLX_PREFIX") {
        Some(dir) => checked_prefix(PathBuf::from(dir))?,
        None => fetched_prefix()?,
    };
    compile_mlx_c(&mlx_c_sources()?, &prefix.join("include"))?;

    println!("cargo:rustc-link-search=native={}", prefix.join("lib").display());
    println!("cargo:rustc-link-lib=dylib=mlx");
    println!("cargo:rustc-link-lib=dylib=stdc++");
    let profile = place_beside_build_products(&prefix)?;
    // One set of run paths serves the build tree (libraries and programs, tests in deps/) and an installed tree
    // (lib/, bin/), so that nothing is relinked on installing. New-style tags let LD_LIBRARY_PATH choose another
    // back end.
    println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags");
    let run_paths = ["mlx-engine", "../mlx-engine", "../lib/mlx-engine"].map(|d| format!("$ORIGIN/{d}/mlx/lib"));
    for path in &run_paths {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{path}");
    }
    // Cargo passes no arguments on, so the build script of a program reads them (cli/build.rs).
    println!("cargo:run_paths={}", run_paths.join(":"));
    // Engine threads outlive every handle, so the library must outlive its last dlclose.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // Programs ask for the library by the version of its binary interface.
    let soname = format!("libmlx_engine.so.{}", abi_version()?);
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,{soname}");
    for folder in [profile.join("deps"), profile] {
        symlink(&folder.join(&soname), Path::new("libmlx_engine.so"))?;
    }
    Ok(())
}

/// Checks that `dir` is an MLX installation: `include/mlx/mlx.h` and `lib/libmlx.so`, of the pinned version.
fn checked_prefix(dir: PathBuf) -> Result<PathBuf, String> {
    for file in ["include/mlx/mlx.h", "lib/libmlx.so"] {
        if !dir.join(file).exists() {
            return Err(format!("MLX_PREFIX={}: there is no {file} in it", dir.display()));
        }
    }
    let header = dir.join("include/mlx/version.h");
    println!("cargo:rerun-if-changed={}", header.display());
    let text = fs::read_to_string(&header).map_err(|e| format!("{}: {e}", header.display()))?;
    let number = |name: &str| {
        let line = text.lines().find(|l| l.contains(&format!("#define {name} ")))?;
        line.split_whitespace().last().map(str::to_owned)
    };
    let found = ["MLX_VERSION_MAJOR", "MLX_VERSION_MINOR", "MLX_VERSION_PATCH"]
        .map(|name| number(name).unwrap_or_else(|| "?".into()))
        .join(".");
    if found != MLX_VERSION {
        return Err(format!("{}: this is MLX {found}, and {MLX_VERSION} is needed", dir.display()));
    }
    dir.canonicalize().map_err(|e| format!("{}: {e}", dir.display()))
}

/// The unpacked wheel in the user's cache, fetched with pip if it is not there yet.
fn fetched_prefix() -> Result<PathBuf, String> {
    let package = env::var("MLXE_MLX_PACKAGE").unwrap_or_else(|_| "mlx-cpu".into());
    let machine = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let Some((_, _, sha256)) = WHEELS.iter().find(|(p, m, _)| *p == package && *m == machine) else {
        return Err(format!(
            "MLX publishes no {package} package for {machine}. Build MLX {MLX_VERSION} yourself and set MLX_PREFIX \
             to the folder with its include/ and lib/."
        ));
    };
    let home = cache_dir()?.join(format!("{package}-{MLX_VERSION}-{machine}"));
    if !home.join("mlx/lib/libmlx.so").exists() {
        fetch_wheel(&package, sha256, &home).map_err(|why| {
            format!(
                "could not fetch {package} {MLX_VERSION}: {why}\n\
                 Either make `python3 -m pip` work (Debian: apt-get install python3-pip; behind a mirror: PIP_INDEX_URL), \
                 or unpack that wheel yourself and set MLX_PREFIX to the `mlx` folder in it."
            )
        })?;
    }
    checked_prefix(home.join("mlx"))
}

fn cache_dir() -> Result<PathBuf, String> {
    let set = |var: &str| env::var_os(var).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("MLXE_CACHE_DIR")
        .or_else(|| set("XDG_CACHE_HOME").map(|d| d.join("mlx-engine")))
        .or_else(|| set("HOME").map(|d| d.join(".cache/mlx-engine")))
        .ok_or_else(|| "none of MLXE_CACHE_DIR, XDG_CACHE_HOME and HOME is set".into())
}

/// Downloads and unpacks a wheel; `home` appears whole or not at all, whoever else is building at the time.
fn fetch_wheel(package: &str, sha256: &str, home: &Path) -> Result<(), String> {
    let parent = home.parent().expect("the cache folder has a parent");
    let work = parent.join(format!(".fetch-{}", std::process::id()));
    fs::create_dir_all(&work).map_err(|e| format!("{}: {e}", work.display()))?;
    let result = (|| {
        let requirement = work.join("requirement.txt");
        fs::write(&requirement, format!("{package}=={MLX_VERSION} --hash=sha256:{sha256}\n"))
            .map_err(|e| e.to_string())?;
        let python = env::var("PYTHON").unwrap_or_else(|_| "python3".into());
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args(["--only-binary=:all:", "--require-hashes", "--dest"])
            .arg(&work)
            .arg("--requirement")
            .arg(&requirement);
        run(&mut pip)?;
        let wheel = fs::read_dir(&work)
            .map_err(|e| e.to_string())?
            .filter_map(|entry| entry.ok().map(|e| e.path()))
            .find(|path| path.extension().is_some_and(|e| e == "whl"))
            .ok_or("pip downloaded no wheel")?;
        let unpacked = work.join("unpacked");
        run(Command::new(&python).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked))?;
        match fs::rename(&unpacked, home) {
            Err(_) if home.join("mlx/lib/libmlx.so").exists() => Ok(()),
            other => other.map_err(|e| format!("{}: {e}", home.display())),
        }
    })();
    fs::remove_dir_all(&work).ok();
    result
}

/// The mlx-c folder of the mlx-sys package that Cargo.lock names.
///
/// mlx-sys is a dependency for Apple targets only, so Cargo hands this build nothing of it; its sources are still
/// part of the locked graph, and `cargo metadata` downloads them and says where they are.
fn mlx_c_sources() -> Result<PathBuf, String> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("Cargo.toml");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = |offline: bool| {
        let mut command = Command::new(&cargo);
        command.args(["metadata", "--format-version", "1", "--locked", "--manifest-path"]).arg(&manifest);
        if offline {
            command.arg("--offline");
        }
        run(&mut command)
    };
    let text = metadata(true).or_else(|_| metadata(false)).map_err(|e| format!("cargo metadata: {e}"))?;
    let graph: serde_json::Value = serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))?;
    let package = graph["packages"]
        .as_array()
        .and_then(|all| all.iter().find(|p| p["name"] == "mlx-sys"))
        .ok_or("cargo metadata names no mlx-sys package")?;
    let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
    let folder = manifest.with_file_name("src").join("mlx-c");
    match folder.join("mlx/c/mlx.h").exists() {
        true => Ok(folder),
        false => Err(format!("{}: there is no mlx-c in it", manifest.display())),
    }
}

fn compile_mlx_c(mlx_c: &Path, mlx_include: &Path) -> Result<(), String> {
    let compat = Path::new("native/mlxc_compat.h");
    println!("cargo:rerun-if-changed={}", compat.display());
    let mut sources: Vec<PathBuf> = fs::read_dir(mlx_c.join("mlx/c"))
        .map_err(|e| format!("{}: {e}", mlx_c.display()))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "cpp"))
        .collect();
    sources.sort();
    // What our kernels need beside it.
    for source in ["native/host.cpp", "native/cuda.cpp"] {
        println!("cargo:rerun-if-changed={source}");
        sources.push(source.into());
    }
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .opt_level(1)
        .debug(false)
        .warnings(false)
        .include(mlx_c)
        .flag("-isystem")
        .flag(mlx_include.to_str().ok_or("the path of MLX is not UTF-8")?)
        .flag("-include")
        .flag(compat.to_str().unwrap())
        .flag("-fvisibility=hidden")
        // GCC's unique symbols cannot be made local in the installed archive.
        .flag_if_supported("-fno-gnu-unique")
        .files(sources)
        .try_compile("mlxc")
        .map_err(|e| format!("compiling mlx-c failed (is g++ 12 or later installed?): {e}"))
}

/// Makes `mlx-engine/` beside the libraries and programs of this build, with links to MLX in it.
/// Returns the folder of the profile.
fn place_beside_build_products(prefix: &Path) -> Result<PathBuf, String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
    // OUT_DIR is <target>/<profile>/build/<package>/out.
    let profile = out.ancestors().nth(3).ok_or("OUT_DIR is not where Cargo puts it")?;
    let folder = profile.join("mlx-engine");
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut links = vec![(folder.join("mlx"), prefix.to_path_buf())];
    // The wheel keeps what libmlx.so needs in a sibling folder (mlx_cpu.libs) and finds it by a relative path.
    for entry in fs::read_dir(prefix.parent().unwrap_or(prefix)).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("mlx")
            && entry.path().extension().is_some_and(|e| e == "libs")
        {
            links.push((folder.join(entry.file_name()), entry.path()));
        }
    }
    for (link, target) in links {
        symlink(&link, &target)?;
    }
    Ok(profile.to_path_buf())
}

/// Makes a link, or changes where it points, without a moment where there is none.
fn symlink(link: &Path, target: &Path) -> Result<(), String> {
    if fs::read_link(link).ok().as_deref() == Some(target) {
        return Ok(());
    }
    let fresh = link.with_extension(format!("new-{}", std::process::id()));
    std::os::unix::fs::symlink(target, &fresh)
        .and_then(|()| fs::rename(&fresh, link))
        .map_err(|e| format!("{}: {e}", link.display()))
}

/// MLXE_ABI_VERSION.
fn abi_version() -> Result<u32, String> {
    let source = "src/ffi/version.rs";
    println!("cargo:rerun-if-changed={source}");
    let text = fs::read_to_string(source).map_err(|e| format!("{source}: {e}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("pub const MLXE_ABI_VERSION: i32 = ")?.strip_suffix(';')?.parse().ok())
        .ok_or_else(|| format!("{source}: no MLXE_ABI_VERSION"))
}

/// Runs a command and returns what it printed; a failure carries what it complained about.
fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{name}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("{name}: {e}"))
}
