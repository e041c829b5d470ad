//! `cargo xtask bindings`: Rust declarations of mlx-c for the platforms where mlx-sys does not build.
//!
//! They are made from the same headers and with the same settings as mlx-sys makes its own on Apple, so that the code
//! above sees one API.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::repository::{Result, root};

pub fn generate() -> Result {
    let builder = builder(&mlx_c_folder()?)?
        .rust_target("1.85.0".parse().expect("a Rust version"))
        .clang_arg("-include")
        .clang_arg(root().join("native/mlxc_compat.h").display().to_string())
        .merge_extern_blocks(true);
    let path = root().join("src/array/sys/bindings.rs");
    builder.generate()?.write_to_file(&path)?;
    println!("wrote {}", path.display());
    Ok(())
}

/// Writes `folder/bindings.rs`, what mlx-sys's build script would have made for an Apple target. `sysroot` has the C
/// library's headers in usr/include.
pub fn generate_for_apple(mlx_c: &Path, target: &str, sysroot: &Path, folder: &Path) -> Result {
    let builder = builder(mlx_c)?
        .rust_target("1.73.0".parse().expect("a Rust version"))
        .clang_arg(format!("--target={target}"))
        .clang_args(["-isysroot", &sysroot.display().to_string()])
        // Older versions of clang know __bf16 only where the processor has it. The declarations are the same.
        .clang_arg("-march=armv8.2-a+bf16+fp16");
    builder.generate()?.write_to_file(folder.join("bindings.rs"))?;
    Ok(())
}

/// What all bindings have in common.
fn builder(mlx_c: &Path) -> Result<bindgen::Builder> {
    let mut headers: Vec<PathBuf> = std::fs::read_dir(mlx_c.join("mlx/c"))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "h"))
        .collect();
    headers.sort();
    let builder = bindgen::Builder::default()
        .clang_arg(format!("-I{}", mlx_c.display()))
        .allowlist_item("_?(mlx|MLX)_.*")
        .blocklist_function("malloc")
        .blocklist_function("realloc")
        .layout_tests(false)
        .generate_comments(false);
    Ok(headers.iter().fold(builder, |b, header| b.header(header.display().to_string())))
}

/// Where Cargo keeps the mlx-c sources of the locked mlx-sys.
pub fn mlx_c_folder() -> Result<PathBuf> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()?;
    let graph: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = graph["packages"].as_array().ok_or("cargo metadata failed")?;
    let package = packages.iter().find(|p| p["name"] == "mlx-sys").ok_or("no mlx-sys in the graph")?;
    let manifest = package["manifest_path"].as_str().ok_or("no manifest path")?;
    Ok(Path::new(manifest).with_file_name("src").join("mlx-c"))
}
