//! Compiled kernels in the cache folder.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::array::MLX_VERSION;

/// Where compiled kernels are kept: the user's cache, as the build has it for MLX.
pub fn folder() -> Option<PathBuf> {
    crate::env::engine_cache().map(|d| d.join("cuda"))
}

/// FNV-1a of what determines the code; the file has the source itself.
pub fn file_name(source: &str, architecture: &str) -> String {
    let bytes = source.bytes().chain(MLX_VERSION.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("{architecture}-{hash:016x}")
}

/// Much more than a kernel has.
const MAX_FILE: u64 = 4 << 20;

/// The code in a file for this source: the file has the source, a NUL, and the code.
pub fn read(path: &Path, source: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    let code = bytes.strip_prefix(source.as_bytes())?.strip_prefix(b"\0")?;
    (!code.is_empty()).then(|| code.to_vec())
}

pub fn write(path: &Path, source: &str, code: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
    let done =
        fs::write(&unfinished, [source.as_bytes(), b"\0", code].concat()).and_then(|()| fs::rename(&unfinished, path));
    if done.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    done
}
