//! Reading small files of a model directory, which is untrusted: every size is bounded before memory is taken.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};

/// Configuration files are small; this is far above any that was ever published.
pub const MAX_CONFIG: u64 = 16 << 20;

/// Reads a UTF-8 file of at most `limit` bytes.
pub fn read_text(path: &Path, limit: u64) -> Result<String> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut text = String::new();
    let read = file.take(limit + 1).read_to_string(&mut text).map_err(|e| Error::io(path, e))?;
    if read as u64 > limit {
        return Err(Error::new(ErrorKind::Io, format!("{}: larger than the limit of {limit} bytes", path.display())));
    }
    Ok(text)
}

/// Reads a JSON file of at most [`MAX_CONFIG`] bytes whose top level is an object.
pub fn read_json(path: &Path) -> Result<Value> {
    let text = read_text(path, MAX_CONFIG)?;
    parse_json(&text).map_err(|e| e.context(path.file_name().unwrap_or_default().to_string_lossy()))
}

/// Parses JSON whose top level is an object.
pub fn parse_json(text: &str) -> Result<Value> {
    let value: Value = serde_json::from_str(text).map_err(|e| Error::invalid_config(e.to_string()))?;
    match value.is_object() {
        true => Ok(value),
        false => Err(Error::invalid_config("the top level is not a JSON object")),
    }
}

/// Like [`read_json`]; `None` where there is no such file.
pub fn read_json_if_there(path: &Path) -> Result<Option<Value>> {
    match read_json(path) {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
