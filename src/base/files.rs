//! Reading small files of a model directory, which is untrusted: every size is bounded before memory is allocated.
#![forbid(unsafe_code)]

use std::fs::{self, File, FileType, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
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

/// Opens a file of a model to be read. What is no regular file is refused: opening a FIFO would wait for a writer, and
/// reading a device need not end.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound) or [`Io`](ErrorKind::Io); the message names the file.
pub fn open(path: &Path) -> Result<File> {
    let refuse = |kind: FileType| {
        Err(Error::new(ErrorKind::Io, format!("{}: is {}, not a regular file", path.display(), describe(kind))))
    };
    // Opening a device may do something, so it is looked at first; it may be replaced in between, so the look is repeated
    // at what was opened, and opening does not wait.
    let found = fs::metadata(path).map_err(|e| Error::io(path, e))?;
    if !found.is_file() {
        return refuse(found.file_type());
    }
    let options = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(options).open(path).map_err(|e| Error::io(path, e))?;
    let opened = file.metadata().map_err(|e| Error::io(path, e))?;
    if opened.is_file() { Ok(file) } else { refuse(opened.file_type()) }
}

fn describe(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "something else",
    }
}

/// Reads a UTF-8 file of at most `limit` bytes.
pub fn read_text(path: &Path, limit: u64) -> Result<String> {
    let file = open(path)?;
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

    /// Each is refused by what it is, at once.
    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("directory")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(at("fifo")).status().unwrap();
        assert!(made.success());
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("device")).unwrap();
        for (name, what) in
            [("directory", "a directory"), ("fifo", "a FIFO"), ("socket", "a socket"), ("device", "a device")]
        {
            let error = open(&at(name)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
            assert!(error.message().ends_with(&format!("{name}: is {what}, not a regular file")), "{error}");
            assert_eq!(read_text(&at(name), 10).unwrap_err().message(), error.message());
        }
        fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        assert_eq!(read_text(&at("link"), 4).unwrap(), "text");
        assert_eq!(open(&at("none")).unwrap_err().kind(), ErrorKind::NotFound);
    }

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
