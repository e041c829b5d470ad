//! Whether a file on the disk is all of what it should be, as far as can be said without reading it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::files::{is_lfs_pointer, open};

/// The largest header of a safetensors file.
const MAX_HEADER: u64 = 100 << 20;
/// Pointers of Git LFS are shorter, by their specification.
pub(super) const MAX_POINTER: u64 = 1024;

/// Whether a file has this size, and is not a pointer that stands for another.
pub(super) fn is_whole(path: &Path, size: u64) -> bool {
    path.metadata().is_ok_and(|m| m.is_file() && m.len() == size) && !is_pointer(path)
}

/// Whether nothing speaks against a file of which no size is known.
pub(super) fn may_be_whole(path: &Path) -> bool {
    let Ok(metadata) = path.metadata() else { return false };
    let cut = || path.extension().is_some_and(|e| e == "safetensors") && is_cut(path, metadata.len()).unwrap_or(false);
    metadata.is_file() && metadata.len() > 0 && !is_pointer(path) && !cut()
}

/// Whether Git LFS was to bring another file in its place.
pub(super) fn is_pointer(path: &Path) -> bool {
    let small = path.metadata().is_ok_and(|m| m.is_file() && m.len() < MAX_POINTER);
    let mut text = Vec::new();
    small && open(path).is_ok_and(|f| f.take(MAX_POINTER).read_to_end(&mut text).is_ok()) && is_lfs_pointer(&text)
}

/// Whether weights end before what their header describes. `None` where they have no header.
fn is_cut(path: &Path, size: u64) -> Option<bool> {
    let mut file = open(path).ok()?;
    let mut length = [0; 8];
    if file.read_exact(&mut length).is_err() {
        return Some(true);
    }
    let length = Some(u64::from_le_bytes(length)).filter(|n| *n <= MAX_HEADER)?;
    if 8 + length > size {
        return Some(true);
    }
    let header = header(&mut file, length).ok()?;
    Some(size < described(&header, length))
}

fn header(file: &mut File, length: u64) -> std::io::Result<BTreeMap<String, Value>> {
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// The size of a file with this header.
fn described(header: &BTreeMap<String, Value>, length: u64) -> u64 {
    let end = |tensor: &Value| tensor.get("data_offsets")?.get(1)?.as_u64();
    let data = header.iter().filter(|(name, _)| *name != "__metadata__").filter_map(|(_, t)| end(t)).max().unwrap_or(0);
    data.saturating_add(length).saturating_add(8)
}

/// Refuses weights that are not as long as their header says.
pub(super) fn check_weights(path: &Path, size: u64) -> Result<()> {
    let bad = |what: String| Error::invalid_weights(format!("{}: {what}", path.display()));
    let mut file = open(path)?;
    if is_pointer(path) {
        return Err(bad("is a Git LFS pointer, not the file itself; `git lfs pull` brings that".into()));
    }
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|_| bad("too short for a safetensors file".into()))?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER || length > size {
        return Err(bad(format!("a header of {length} bytes")));
    }
    let header = header(&mut file, length).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => bad("truncated within its header".into()),
        _ => bad("its header is not JSON".into()).with_source(e),
    })?;
    match described(&header, length) {
        expected if expected == size => Ok(()),
        expected => Err(bad(format!("{size} bytes; its header says {expected}"))),
    }
}
