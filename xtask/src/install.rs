//! `cargo xtask install --prefix DIR`: what C and C++ programs need, in one folder that can be moved.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::archive;
use crate::repository::{Result, defined, package_version, root, target_folder};

/// What a static library of ours needs besides MLX, on Linux with the GNU C library.
const STATIC_LIBS: &str = "-lmlx -lstdc++ -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc";

/// Builds the library and the command line (or takes what `--from` has) and installs them under `--prefix`.
pub fn install(arguments: &[&str]) -> Result {
    if cfg!(target_vendor = "apple") {
        return Err("install: this is for Linux; on Apple's systems the library is a framework (docs/apple.md)".into());
    }
    let (mut prefix, mut from, mut profile) = (None, None, "release");
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "--prefix" => prefix = rest.next(),
            "--from" => from = rest.next(),
            "--debug" => profile = "debug",
            other => return Err(format!("install: what is {other}?").into()),
        }
    }
    let prefix = PathBuf::from(prefix.ok_or("install: --prefix DIR is missing")?);
    let built = match from {
        Some(folder) => PathBuf::from(folder),
        None => build(profile)?,
    };
    place(&built, &prefix)
}

/// Builds and returns the folder of the profile.
fn build(profile: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.args(["build", "--locked", "--package", "mlx-engine", "--package", "mlxe"]).current_dir(root());
    if profile == "release" {
        command.arg("--release");
    }
    if !command.status()?.success() {
        return Err("the build failed".into());
    }
    Ok(target_folder()?.join(profile))
}

fn place(built: &Path, prefix: &Path) -> Result {
    let version = defined("pub const MLXE_ABI_VERSION: i32 = ", "src/ffi/version.rs")?;
    let package = package_version()?;
    let (include, lib) = (prefix.join("include"), prefix.join("lib"));
    for folder in [&include, &lib, &prefix.join("bin"), &lib.join("pkgconfig"), &lib.join("cmake/mlx_engine")] {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    for header in ["mlx_engine.h", "mlx_engine.hpp", "module.modulemap"] {
        copy(&root().join("include").join(header), &include.join(header))?;
    }
    // libmlx_engine.so.1.0.1.0 <- libmlx_engine.so.1 (what programs ask for) <- libmlx_engine.so (what linkers ask for)
    let (real, soname) = (format!("libmlx_engine.so.{version}.{package}"), format!("libmlx_engine.so.{version}"));
    copy(&built.join("libmlx_engine.so"), &lib.join(&real))?;
    link(&real, &lib.join(&soname))?;
    link(&soname, &lib.join("libmlx_engine.so"))?;
    archive::localize(&built.join("libmlx_engine.a"), &lib.join("libmlx_engine.a"))?;
    if built.join("mlxe").exists() {
        copy(&built.join("mlxe"), &prefix.join("bin/mlxe"))?;
    }
    // The run paths of library and program lead to $ORIGIN/mlx-engine and $ORIGIN/../lib/mlx-engine.
    for entry in fs::read_dir(built.join("mlx-engine"))? {
        let entry = entry?;
        let target = lib.join("mlx-engine").join(entry.file_name());
        let source = entry.path().canonicalize()?;
        match entry.file_name() == "mlx" {
            true => copy_libraries(&source.join("lib"), &target.join("lib"))?,
            false => copy_libraries(&source, &target)?,
        }
    }
    fs::write(lib.join("pkgconfig/mlx_engine.pc"), pkg_config(&package))?;
    fs::write(lib.join("cmake/mlx_engine/mlx_engine-config.cmake"), cmake_config(&soname))?;
    fs::write(lib.join("cmake/mlx_engine/mlx_engine-config-version.cmake"), cmake_version(&package))?;
    println!("installed mlx_engine {package} in {}", prefix.display());
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result {
    // A program that runs keeps the old file.
    let _ = fs::remove_file(to);
    fs::copy(from, to).map_err(|e| format!("{} to {}: {e}", from.display(), to.display()))?;
    Ok(())
}

fn link(target: &str, link: &Path) -> Result {
    let _ = fs::remove_file(link);
    symlink(target, link).map_err(|e| format!("{}: {e}", link.display()).into())
}

/// The shared libraries of a folder; MLX's headers and build files stay where they are.
fn copy_libraries(from: &Path, to: &Path) -> Result {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_file() && name.contains(".so") {
            copy(&path, &to.join(name))?;
        }
    }
    Ok(())
}

fn pkg_config(version: &str) -> String {
    format!(
        "prefix=${{pcfiledir}}/../..\n\
         includedir=${{prefix}}/include\n\
         libdir=${{prefix}}/lib\n\
         # MLX and what it needs. A program linked statically needs it in its run path.\n\
         mlxlibdir=${{libdir}}/mlx-engine/mlx/lib\n\
         \n\
         Name: MLXEngine\n\
         Description: Find, load and run language models on MLX\n\
         Version: {version}\n\
         Cflags: -I${{includedir}}\n\
         Libs: -L${{libdir}} -lmlx_engine\n\
         Libs.private: -L${{mlxlibdir}} {STATIC_LIBS}\n"
    )
}

fn cmake_config(soname: &str) -> String {
    let libs = STATIC_LIBS.replace("-lmlx ", "").replace("-l", "").replace(' ', ";");
    format!(
        r#"# find_package(mlx_engine) gives the targets
#   mlx_engine::mlx_engine   the shared library
#   mlx_engine::static       the static library; programs find MLX through their build run path
get_filename_component(_mlx_engine_lib "${{CMAKE_CURRENT_LIST_DIR}}/../.." ABSOLUTE)
get_filename_component(_mlx_engine_prefix "${{_mlx_engine_lib}}/.." ABSOLUTE)
set(_mlx_engine_mlx "${{_mlx_engine_lib}}/mlx-engine/mlx/lib/libmlx.so")

if(NOT TARGET mlx_engine::mlx_engine)
  add_library(mlx_engine::mlx_engine SHARED IMPORTED)
  set_target_properties(mlx_engine::mlx_engine PROPERTIES
    IMPORTED_LOCATION "${{_mlx_engine_lib}}/{soname}"
    IMPORTED_SONAME "{soname}"
    IMPORTED_LINK_DEPENDENT_LIBRARIES "${{_mlx_engine_mlx}}"
    INTERFACE_INCLUDE_DIRECTORIES "${{_mlx_engine_prefix}}/include")
endif()
if(NOT TARGET mlx_engine::static)
  add_library(mlx_engine::static STATIC IMPORTED)
  set_target_properties(mlx_engine::static PROPERTIES
    IMPORTED_LOCATION "${{_mlx_engine_lib}}/libmlx_engine.a"
    INTERFACE_LINK_LIBRARIES "${{_mlx_engine_mlx}};{libs}"
    INTERFACE_INCLUDE_DIRECTORIES "${{_mlx_engine_prefix}}/include")
endif()

unset(_mlx_engine_lib)
unset(_mlx_engine_prefix)
unset(_mlx_engine_mlx)
"#
    )
}

fn cmake_version(version: &str) -> String {
    // Before 1.0 each minor version may break the interface.
    format!(
        r#"set(PACKAGE_VERSION "{version}")
string(REGEX MATCH "^[0-9]+\\.[0-9]+" _mlx_engine_series "${{PACKAGE_VERSION}}")
if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()
if("${{PACKAGE_FIND_VERSION_MAJOR}}.${{PACKAGE_FIND_VERSION_MINOR}}" STREQUAL _mlx_engine_series
    AND NOT PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
elseif(NOT PACKAGE_FIND_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
unset(_mlx_engine_series)
"#
    )
}
