//! The static library as it is installed: one object, in which the interface alone is global.
//!
//! Cargo's archive also has the symbols of MLX's C layer and of every crate, and a program with an mlx-c or a Rust library
//! of its own would have two of each.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::repository::{Result, exported_symbols, root};

/// Writes to `installed` what programs can reach of the archive `built`.
pub fn localize(built: &Path, installed: &Path) -> Result {
    let object = installed.with_extension("o");
    let roots = exported_symbols()?.into_iter().flat_map(|name| ["-u".to_owned(), name]);
    // Without its groups: a C++ program has copies of the same templates, and would drop ours, which only we can see.
    let options = ["-r", "--gc-sections", "--force-group-allocation"];
    run(Command::new("ld").args(options).args(roots).arg(built).arg("-o").arg(&object))?;
    // Bitcode of Rust's standard library: nothing needs it, and other versions of LLVM's linker plugin fail on it.
    let unused = [".llvmbc", ".llvmcmd"].map(|section| format!("--remove-section={section}"));
    let list = root().join("tests/exported_symbols.txt");
    run(Command::new("objcopy").arg("--keep-global-symbols").arg(list).args(unused).arg(&object))?;
    // `ar` would add to an archive that is there.
    let _ = fs::remove_file(installed);
    run(Command::new("ar").arg("rcs").arg(installed).arg(&object))?;
    Ok(fs::remove_file(&object)?)
}

fn run(command: &mut Command) -> Result {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{program} (of the package binutils): {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into()),
    }
}
