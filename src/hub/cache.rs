//! The cache layout of `huggingface_hub`: `models--{org}--{name}/{refs,snapshots,blobs}`.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::files::read_text;

/// The cache's folder: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`.
pub fn cache_dir() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("HF_HUB_CACHE")
        .or_else(|| set("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| set("HF_HOME").map(|d| d.join("hub")))
        .or_else(|| set("XDG_CACHE_HOME").map(|d| d.join("huggingface/hub")))
        .or_else(|| set("HOME").map(|d| d.join(".cache/huggingface/hub")))
        .ok_or_else(|| Error::not_found("no model cache: neither HF_HUB_CACHE, HF_HOME nor HOME is set"))
}

/// The folder of a model in a cache. `revision` is a branch, a tag or a commit; `main` if not given.
pub fn snapshot(cache: &Path, id: &str, revision: Option<&str>) -> Result<PathBuf> {
    let revision = revision.unwrap_or("main");
    check_id(id)?;
    check_revision(revision)?;
    let missing =
        || Error::not_found(format!("{id} (revision {revision}) is not in the model cache {}", cache.display()));
    let repository = cache.join(format!("models--{}", id.replace('/', "--")));
    // A branch or tag points to a commit; anything else must be one.
    let commit = match read_text(&repository.join("refs").join(revision), 256) {
        Ok(text) => text.trim().to_owned(),
        Err(e) if e.kind() == ErrorKind::NotFound => revision.to_owned(),
        Err(e) => return Err(e),
    };
    check_revision(&commit)?;
    let folder = repository.join("snapshots").join(commit);
    match folder.is_dir() {
        true => Ok(folder),
        false => Err(missing()),
    }
}

/// `name` or `org/name`, of the characters that the Hub allows.
fn check_id(id: &str) -> Result<()> {
    let part = |p: &str| {
        !p.is_empty()
            && p.len() <= 96
            && !p.starts_with(['.', '-'])
            && !p.contains("..")
            && p.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let parts: Vec<&str> = id.split('/').collect();
    match parts.len() <= 2 && parts.iter().all(|p| part(p)) {
        true => Ok(()),
        false => Err(Error::invalid_argument(format!("{id:?} is no model id (name or organisation/name)"))),
    }
}

/// A relative path without ways up.
fn check_revision(revision: &str) -> Result<()> {
    let fine = !revision.is_empty()
        && revision.len() <= 256
        && !revision.contains(['\\', '\0'])
        && revision.split('/').all(|p| !p.is_empty() && p != "." && p != "..");
    match fine {
        true => Ok(()),
        false => Err(Error::invalid_argument(format!("{revision:?} is no revision"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_ids_that_lead_elsewhere() {
        for id in ["", "a/b/c", "../x", "a/..", "a//b", ".hidden", "a b", "org/na\0me"] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
        for id in ["gpt2", "mlx-community/Qwen3-4B-4bit", "a_b/c.d-e"] {
            check_id(id).unwrap();
        }
    }

    #[test]
    fn finds_by_branch_and_commit() {
        let cache = std::env::temp_dir().join(format!("mlxe-hub-{}", std::process::id()));
        let repository = cache.join("models--org--name");
        std::fs::create_dir_all(repository.join("refs")).unwrap();
        std::fs::create_dir_all(repository.join("snapshots/0123abc")).unwrap();
        std::fs::write(repository.join("refs/main"), "0123abc\n").unwrap();
        std::fs::write(repository.join("refs/evil"), "../../..").unwrap();
        let found = snapshot(&cache, "org/name", None).unwrap();
        assert_eq!(found, snapshot(&cache, "org/name", Some("0123abc")).unwrap());
        assert_eq!(snapshot(&cache, "org/other", None).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(snapshot(&cache, "org/name", Some("v2")).unwrap_err().kind(), ErrorKind::NotFound);
        for revision in ["../..", "evil"] {
            assert_eq!(snapshot(&cache, "org/name", Some(revision)).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
        std::fs::remove_dir_all(cache).unwrap();
    }
}
