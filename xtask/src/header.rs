//! `cargo xtask header`: include/mlx_engine.h from src/ffi.

use crate::repository::{Result, root};

/// Writes the header, or with `check` only says whether it is current.
pub fn generate(check: bool) -> Result {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml"))?;
    let mut builder = cbindgen::Builder::new().with_config(config);
    // In the order in which a reader wants them.
    for file in [
        "version",
        "error",
        "text",
        "optional",
        "log",
        "process_options",
        "process",
        "engine_options",
        "engine",
        "task",
        "progress",
        "hub_options",
        "hub",
        "load_options",
        "load",
        "hub_search",
        "model",
        "tokenizer",
        "generate_options",
        "sampler",
        "generate",
        "generation",
        "scores",
        "events",
        "copies",
    ] {
        builder = builder.with_src(root().join(format!("src/ffi/{file}.rs")));
    }
    let mut text = Vec::new();
    builder.generate()?.write(&mut text);
    let path = root().join("include/mlx_engine.h");
    if check {
        return match std::fs::read(&path) {
            Ok(current) if current == text => Ok(()),
            _ => Err("include/mlx_engine.h is not current: run `cargo xtask header`".into()),
        };
    }
    std::fs::write(&path, text)?;
    println!("wrote {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    /// `cargo xtask header` would change nothing.
    #[test]
    fn header_is_current() {
        super::generate(true).unwrap_or_else(|e| panic!("{e}"));
    }
}
