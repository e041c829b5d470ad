//! Reading small files of a model directory, which is untrusted: every size is bounded before memory is allocated.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};

/// Configuration files are small; this is far larger than any published one.
pub const MAX_CONFIG: u64 = 16 << 20;

/// Whether a file that begins like this stands for another one, which Git LFS was to bring. The first 8 bytes do.
pub fn is_lfs_pointer(beginning: &[u8]) -> bool {
    const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
    beginning.len() >= 8 && POINTER.starts_with(&beginning[..beginning.len().min(POINTER.len())])
}

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

/// Parses JSON. `NaN` is read as null, `Infinity` as the largest double, which as f32 is infinite: Python writes them, and
/// published configurations have them.
pub fn parse_value(text: &str) -> Result<Value> {
    serde_json::from_str(text).or_else(|e| serde_json::from_str(&with_plain_numbers(text)).map_err(|_| e)).map_err(
        |e| match is_lfs_pointer(text.as_bytes()) {
            true => Error::invalid_config("is a Git LFS pointer, not the file itself; `git lfs pull` brings that"),
            false => Error::invalid_config(e.to_string()),
        },
    )
}

/// [`parse_value`] of what must be an object.
pub fn parse_json(text: &str) -> Result<Value> {
    let value = parse_value(text)?;
    match value.is_object() {
        true => Ok(value),
        false => Err(Error::invalid_config("the top level is not a JSON object")),
    }
}

/// Like [`read_json`], for what a model works without: `None` where there is no such file, and, with a warning, where it is
/// broken.
pub fn read_json_if_there(path: &Path) -> Result<Option<Value>> {
    match read_json(path) {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) if e.kind() == ErrorKind::InvalidConfig => {
            log::warn!("{}: not used: {e}", path.display());
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// Replaces Python's `NaN` and `Infinity` outside of strings by valid JSON.
fn with_plain_numbers(text: &str) -> String {
    const WORDS: [(&str, &str); 2] = [("NaN", "null"), ("Infinity", "1.7976931348623157e308")];
    let mut plain = String::with_capacity(text.len());
    let (mut rest, mut in_string) = (text, false);
    while let Some(c) = rest.chars().next() {
        let word = WORDS.iter().find(|(word, _)| !in_string && rest.starts_with(word));
        let (taken, written) = match (c, word) {
            (_, Some((word, number))) => (word.len(), *number),
            ('\\', None) if in_string => {
                let escaped = rest.chars().nth(1).map_or(0, char::len_utf8);
                (1 + escaped, &rest[..1 + escaped])
            }
            ('"', None) => {
                in_string = !in_string;
                (1, "\"")
            }
            (c, None) => (c.len_utf8(), &rest[..c.len_utf8()]),
        };
        plain += written;
        rest = &rest[taken..];
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_that_are_none_are_read() {
        let text = r#"{"a": [0.0, Infinity], "b": -Infinity, "c": NaN, "d": "NaN \" Infinity \\", "Infinity": 1}"#;
        let value = parse_json(text).unwrap();
        assert_eq!(value["a"][1].as_f64().unwrap() as f32, f32::INFINITY);
        assert_eq!(value["b"].as_f64().unwrap() as f32, f32::NEG_INFINITY);
        assert_eq!(value["c"], Value::Null);
        assert_eq!((&value["d"], &value["Infinity"]), (&json!("NaN \" Infinity \\"), &json!(1)));
    }

    #[test]
    fn what_is_broken_stays_broken() {
        for text in ["{\"a\": Infinite}", "{\"a\": NaN,,}", "[Infinity]", "{\"a\": \"\\", "", "{\"\u{e4}\": NaN"] {
            assert!(parse_json(text).is_err(), "{text}");
        }
    }
}
