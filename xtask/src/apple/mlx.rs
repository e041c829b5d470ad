//! MLX and mlx-c for one platform, built with CMake.
//!
//! mlx-sys builds them for the Mac it runs on; its script is not made for iOS. The sources and versions are its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::platform::{Metal, Platform};
use super::runner::Runner;
use super::xcrun;
use crate::repository::Result;

/// An installed MLX.
pub struct Mlx {
    /// lib/libmlx.a, lib/libmlxc.a, include/
    pub prefix: PathBuf,
    pub metallib: Option<PathBuf>,
}

pub fn build(runner: &mut Runner, platform: &Platform, mlx_c: &Path, work: &Path) -> Result<Mlx> {
    let (build, prefix, kernels) = (work.join("mlx-build"), work.join("mlx"), work.join("kernels"));
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    if platform.metal != Metal::None && platform.sdk != "macosx" {
        let folder = work.join("bin");
        runner.note(platform, &format!("put an xcrun for {} in {}", platform.sdk, folder.display()));
        if !runner.dry {
            xcrun::install(&folder, &found("xcrun", &path)?, platform)?;
        }
        path = std::env::join_paths(std::iter::once(folder).chain(std::env::split_paths(&path)))?;
    }
    let cmake = |arguments: &[String]| {
        let mut command = Command::new("cmake");
        command.args(arguments).env("PATH", &path);
        command
    };
    let jobs = std::thread::available_parallelism().map_or(2, |n| n.get()).to_string();
    let text = |path: &Path| path.display().to_string();
    runner.run(platform, "configure MLX", &mut cmake(&configuration(platform, mlx_c, &build, &kernels)))?;
    let arguments = ["--build".into(), text(&build), "--parallel".into(), jobs];
    runner.run(platform, "build MLX", &mut cmake(&arguments))?;
    let arguments = ["--install".into(), text(&build), "--prefix".into(), text(&prefix)];
    runner.run(platform, "install MLX beside it", &mut cmake(&arguments))?;
    let metallib = (platform.metal != Metal::None).then(|| kernels.join("mlx.metallib"));
    if !runner.dry {
        let files = [prefix.join("lib/libmlx.a"), prefix.join("lib/libmlxc.a")];
        for file in files.iter().chain(&metallib) {
            if !file.exists() {
                return Err(format!("{}: MLX's build did not make {}", platform.slice, file.display()).into());
            }
        }
    }
    Ok(Mlx { prefix, metallib })
}

fn configuration(platform: &Platform, mlx_c: &Path, build: &Path, kernels: &Path) -> Vec<String> {
    let switch = |on: bool| if on { "ON" } else { "OFF" };
    let mut arguments = vec!["-S".into(), mlx_c.display().to_string(), "-B".into(), build.display().to_string()];
    let mut define = |name: &str, value: &str| arguments.push(format!("-D{name}={value}"));
    define("CMAKE_BUILD_TYPE", "Release");
    // Line tables for the dSYM: half the frames of a crash in here are MLX's.
    define("CMAKE_CXX_FLAGS_RELEASE", "-O3 -DNDEBUG -gline-tables-only");
    // Relative paths to the libraries, as in the flat layout that Mlx describes.
    define("CMAKE_INSTALL_LIBDIR", "lib");
    define("CMAKE_OSX_ARCHITECTURES", "arm64");
    define("CMAKE_OSX_DEPLOYMENT_TARGET", platform.minimum_os);
    define("CMAKE_OSX_SYSROOT", platform.sdk);
    if platform.system != "Darwin" {
        define("CMAKE_SYSTEM_NAME", platform.system);
        define("CMAKE_SYSTEM_PROCESSOR", "arm64");
        // Programs for iOS need a signature; a test that compiles does not need a program.
        define("CMAKE_TRY_COMPILE_TARGET_TYPE", "STATIC_LIBRARY");
    }
    define("BUILD_SHARED_LIBS", "OFF");
    define("MLX_C_BUILD_EXAMPLES", "OFF");
    // GGUF files are not among what we load, and its reader's symbols clash with llama.cpp's.
    define("MLX_BUILD_GGUF", "OFF");
    define("MLX_BUILD_METAL", switch(platform.metal != Metal::None));
    define("MLX_METAL_JIT", switch(platform.metal == Metal::Jit));
    if platform.metal != Metal::None {
        define("MLX_METAL_PATH", &kernels.display().to_string());
    }
    arguments
}

/// Where a program lies on PATH.
fn found(program: &str, path: &std::ffi::OsStr) -> Result<PathBuf> {
    std::env::split_paths(path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .ok_or_else(|| format!("{program} is not on PATH").into())
}

#[cfg(test)]
mod tests {
    use super::super::platform::PLATFORMS;
    use super::*;

    #[test]
    fn each_platform_gets_its_own_configuration() {
        let [ios, simulator, macos] =
            PLATFORMS.map(|p| configuration(&p, Path::new("c"), Path::new("b"), Path::new("/kernels")).join(" "));
        assert!(ios.contains("-DCMAKE_SYSTEM_NAME=iOS"));
        assert!(ios.contains("-DCMAKE_OSX_SYSROOT=iphoneos ") && ios.contains("-DMLX_METAL_JIT=ON"), "{ios}");
        assert!(ios.contains("-DCMAKE_OSX_DEPLOYMENT_TARGET=17.0") && ios.contains("-DMLX_METAL_PATH=/kernels"));
        assert!(
            simulator.contains("-DCMAKE_OSX_SYSROOT=iphonesimulator") && simulator.contains("-DMLX_BUILD_METAL=OFF")
        );
        assert!(!simulator.contains("MLX_METAL_PATH"), "{simulator}");
        assert!(macos.contains("-DMLX_METAL_JIT=OFF") && macos.contains("-DMLX_BUILD_METAL=ON"), "{macos}");
        assert!(!macos.contains("CMAKE_SYSTEM_NAME"), "{macos}");
    }
}
