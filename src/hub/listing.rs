//! The files of a repository, and which of them a model needs.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::json;

use crate::error::{Error, ErrorKind, Result};
use crate::shards::Shards;

/// More files than any model has.
pub(super) const MAX_FILES: usize = 100_000;

/// A file as a repository lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoFile {
    /// Its path in the repository, with `/`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// The git object's id, which is the SHA-1 of a small file.
    pub blob_id: String,
    /// The SHA-256 of a large file.
    pub sha256: Option<String>,
    /// Its hash in Xet storage.
    pub xet_hash: Option<String>,
}

impl RepoFile {
    /// The name of its blob in the cache: what the server sends as its ETag.
    pub fn etag(&self) -> &str {
        self.sha256.as_deref().unwrap_or(&self.blob_id)
    }

    /// Checks what will become file names, and drops a Xet hash that is none. `None` for what no model needs and what could
    /// not be a file everywhere: the others are no worse for it.
    fn checked(mut self) -> Result<Option<Self>> {
        if leads_out(&self.path) {
            return Err(network(format!(
                "the repository lists the file name {:?}, which would be outside of its folder",
                self.path
            )));
        }
        let hex = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
        self.xet_hash = self.xet_hash.filter(|hash| hex(hash, 64));
        let named = hex(&self.blob_id, 40) && self.sha256.as_deref().is_none_or(|s| hex(s, 64));
        match (named, is_plain(&self.path)) {
            (true, true) => Ok(Some(self)),
            (false, true) if may_be_needed(&self.path) => {
                Err(network(format!("{}: the server lists it with an impossible checksum", self.path)))
            }
            _ => {
                log::info!("{:?} is left out: no name or checksum that can be kept", self.path);
                Ok(None)
            }
        }
    }

    /// One entry of the API's tree; `None` for folders.
    pub(super) fn from_api(entry: &Value) -> Result<Option<Self>> {
        if entry.get("type").and_then(Value::as_str) != Some("file") {
            return Ok(None);
        }
        let text = |v: Option<&Value>| v.and_then(Value::as_str).map(str::to_owned);
        let lfs = entry.get("lfs");
        let Some(path) = text(entry.get("path")) else {
            return Err(network("the server's list of files is malformed: an entry without a path".into()));
        };
        let (Some(size), Some(blob_id)) = (entry.get("size").and_then(Value::as_u64), text(entry.get("oid"))) else {
            return match may_be_needed(&path) || leads_out(&path) {
                true => Err(network(format!("{path}: the server lists it without a size or a checksum"))),
                false => Ok(None),
            };
        };
        let sha256 = text(lfs.and_then(|l| l.get("oid")));
        let size = lfs.and_then(|l| l.get("size")).and_then(Value::as_u64).unwrap_or(size);
        RepoFile { path, size, blob_id, sha256, xet_hash: text(entry.get("xetHash")) }.checked()
    }
}

fn network(message: String) -> Error {
    Error::new(ErrorKind::Network, message)
}

/// Whether a path would lead out of the folder it is meant for, on any system.
fn leads_out(path: &str) -> bool {
    let drive = path.as_bytes().get(1) == Some(&b':') && path.contains(['\\', '/']);
    path.is_empty() || path.starts_with(['/', '\\']) || drive || path.split(['/', '\\']).any(|p| p == "..")
}

/// Whether a path is made of characters that are valid in file names everywhere.
fn is_plain(path: &str) -> bool {
    path.len() <= 1024
        && !path.chars().any(|c| c.is_control() || "\\:".contains(c))
        && path.split('/').all(|p| !p.is_empty() && p.len() <= 255 && p != ".")
}

/// Whether a model may need a file with this path.
pub(super) fn may_be_needed(path: &str) -> bool {
    is_small_part(path) || path.ends_with(".safetensors") && !path.contains('/')
}

/// All files of a commit, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// In the order of their names.
    pub files: BTreeMap<String, RepoFile>,
}

impl Listing {
    /// From the format in which `huggingface_hub` keeps listings (`trees/{commit}.json`).
    pub(super) fn from_json(json: &Value) -> Option<Listing> {
        if json.get("format_version")?.as_u64()? != 1 {
            return None;
        }
        let mut files = BTreeMap::new();
        for (path, entry) in json.get("files")?.as_object()? {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
            let size = entry.get("lfs_size").and_then(Value::as_u64).or_else(|| entry.get("size")?.as_u64())?;
            let file = RepoFile {
                path: path.clone(),
                size,
                blob_id: text("blob_id")?,
                sha256: text("lfs_sha256"),
                xet_hash: text("xet_hash"),
            };
            if let Some(file) = file.checked().ok()? {
                files.insert(path.clone(), file);
            }
        }
        Some(Listing { files })
    }

    pub(super) fn to_json(&self) -> Value {
        let entry = |f: &RepoFile| {
            let mut json = json!({"size": f.size, "blob_id": f.blob_id});
            if let Some(sha256) = &f.sha256 {
                json["lfs_sha256"] = json!(sha256);
                json["lfs_size"] = json!(f.size);
            }
            if let Some(xet) = &f.xet_hash {
                json["xet_hash"] = json!(xet);
            }
            json
        };
        let files: serde_json::Map<_, _> = self.files.values().map(|f| (f.path.clone(), entry(f))).collect();
        json!({"format_version": 1, "files": files})
    }

    /// The first of these names of a commit's files that a model may need and that is not here: the list is cut short.
    pub(super) fn lacks<'a>(&self, names: &'a [String]) -> Option<&'a str> {
        let missing = |name: &&String| may_be_needed(name) && is_plain(name) && !self.files.contains_key(*name);
        names.iter().find(missing).map(String::as_str)
    }

    /// Whether it has any tokenizer. A list that has none may have been cut short by whoever kept it.
    pub(super) fn has_tokenizer(&self) -> bool {
        self.small_files().iter().any(|f| is_tokenizer(&f.path))
    }

    /// Configuration, tokenizer and templates: small, and needed before anything else. `config.json` comes first.
    pub fn small_files(&self) -> Vec<&RepoFile> {
        let mut files: Vec<&RepoFile> = self.files.values().filter(|f| is_small_part(&f.path)).collect();
        files.sort_by_key(|f| f.path != "config.json");
        files
    }

    /// The weight files, once and in one format. `index` is the text of `model.safetensors.index.json`.
    ///
    /// # Errors
    /// If there are none in safetensors format, or a part of the checkpoint is not there.
    pub fn weight_files(&self, index: Option<&str>) -> Result<Vec<&RepoFile>> {
        let shards = Shards::choose(self.files.keys().map(String::as_str), index)?;
        shards.notes.iter().for_each(|note| log::info!("{note}"));
        if !shards.files.is_empty() {
            return Ok(shards.files.iter().filter_map(|name| self.files.get(name)).collect());
        }
        let other = |ends: &[&str]| self.files.keys().find(|p| ends.iter().any(|e| p.ends_with(e)));
        Err(Error::unsupported(match other(&[".gguf", ".bin", ".pth", ".pt", ".onnx", ".npz"]) {
            Some(file) => format!("the repository has no safetensors weights, only other formats such as {file}"),
            None => "the repository has no weights".into(),
        }))
    }
}

/// Whether a file of this name is a tokenizer.
pub(super) fn is_tokenizer(name: &str) -> bool {
    let ends = [".tiktoken", ".model", ".spm", ".vocab"];
    matches!(name, "tokenizer.json" | "vocab.json" | "vocab.txt" | "tekken.json")
        || ends.iter().any(|end| name.ends_with(end))
}

/// Whether a file is small and needed: JSON, templates and tokenizers at the top, and more templates.
fn is_small_part(path: &str) -> bool {
    if let Some(rest) = path.strip_prefix("additional_chat_templates/") {
        return !rest.contains('/') && rest.ends_with(".jinja");
    }
    let endings = [".json", ".jinja", ".tiktoken", ".model", ".spm", ".vocab"];
    !path.contains('/') && (endings.iter().any(|e| path.ends_with(e)) || matches!(path, "vocab.txt" | "merges.txt"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(paths: &[&str]) -> Listing {
        let file =
            |p: &&str| RepoFile { path: (*p).into(), size: 1, blob_id: "0".repeat(40), sha256: None, xet_hash: None };
        Listing { files: paths.iter().map(|p| ((*p).to_owned(), file(p))).collect() }
    }

    fn names(files: Vec<&RepoFile>) -> Vec<&str> {
        files.iter().map(|f| f.path.as_str()).collect()
    }

    #[test]
    fn one_format_only() {
        let all = listing(&[
            "README.md",
            "config.json",
            "tokenizer.json",
            "tokenizer.model",
            "chat_template.jinja",
            "model.safetensors",
            "pytorch_model.bin",
            "model.gguf",
            "onnx/model.onnx",
            "onnx/config.json",
            "original/consolidated.00.pth",
            "consolidated.safetensors",
            "model.fp16.safetensors",
            "additional_chat_templates/tool.jinja",
            "a.png",
        ]);
        let small = [
            "config.json",
            "additional_chat_templates/tool.jinja",
            "chat_template.jinja",
            "tokenizer.json",
            "tokenizer.model",
        ];
        assert_eq!(names(all.small_files()), small);
        assert_eq!(names(all.weight_files(None).unwrap()), ["model.safetensors"]);
        let error = listing(&["config.json", "model.Q4.gguf"]).weight_files(None).unwrap_err();
        assert!(error.message().contains("model.Q4.gguf"), "{error}");
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        let entry = |path: &str| json!({"type": "file", "path": path, "size": 1, "oid": "0".repeat(40)});
        for path in ["../x", "a/../../x", "/etc/passwd", "", "C:\\x", "c:/x", "a\\..\\b", "\\\\host\\x"] {
            assert!(RepoFile::from_api(&entry(path)).is_err(), "{path:?}");
        }
        assert!(RepoFile::from_api(&entry("a/b.json")).unwrap().is_some());
        assert_eq!(RepoFile::from_api(&json!({"type": "directory", "path": "a"})).unwrap(), None);
    }

    /// A plot with a time in its name is no reason to refuse a model.
    #[test]
    fn what_no_model_needs_may_have_any_name() {
        let long = "x".repeat(256);
        let entry = |path: &str| json!({"type": "file", "path": path, "size": 1, "oid": "0".repeat(40)});
        for path in ["runs/12:30.png", "a\0", "a\nb", "a\\b", "./a", "a//b", &long, "notes: draft.json"] {
            assert_eq!(RepoFile::from_api(&entry(path)).unwrap(), None, "{path:?}");
        }
        for bad in [json!({"oid": "../../x", "size": 1}), json!({"oid": "0".repeat(64), "size": 1}), json!({"size": 1})]
        {
            let with = |path: &str| {
                let mut entry = bad.clone();
                (entry["type"], entry["path"]) = (json!("file"), json!(path));
                RepoFile::from_api(&entry)
            };
            assert_eq!(with("a.png").unwrap(), None);
            assert!(with("config.json").unwrap_err().message().contains("config.json"));
        }
    }

    #[test]
    fn listings_survive_the_disk() {
        let mut all = listing(&["config.json", "model.safetensors"]);
        all.files.get_mut("model.safetensors").unwrap().sha256 = Some("a".repeat(64));
        assert_eq!(Listing::from_json(&all.to_json()), Some(all));
    }
}
