//! Writing into the cache: blobs and their locks, links to them, listings, branches.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::cache::Repository;
use super::disk::disk;
use super::listing::Listing;
use crate::error::{ErrorKind, Result};
use crate::files::read_text;
use crate::shards::{INDEX, MAX_INDEX};

impl Repository {
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    /// Where a file is in a snapshot.
    pub fn pointer(&self, commit: &str, path: &str) -> PathBuf {
        self.snapshot(commit).join(path)
    }

    pub fn save_listing(&self, commit: &str, listing: &Listing) -> Result<()> {
        write(&self.tree(commit), listing.to_json().to_string().as_bytes())
    }

    /// Points a branch or tag to a commit. One that has no place beside another of a name like `a` and `a/b` has another.
    pub fn save_ref(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit || self.noted(revision).is_ok_and(|old| old.as_deref() == Some(commit)) {
            return Ok(());
        }
        let [path, other] = self.ref_paths(revision);
        match write(&path, commit.as_bytes()) {
            Err(_) if path.is_dir() || path.ancestors().skip(1).any(Path::is_file) => write(&other, commit.as_bytes()),
            result => result,
        }
    }

    /// The files of a commit's index, if it has one.
    pub fn index(&self, commit: &str) -> Result<Option<String>> {
        match read_text(&self.snapshot(commit).join(INDEX), MAX_INDEX) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Makes a complete blob visible in a snapshot.
    pub fn link(&self, commit: &str, path: &str, etag: &str) -> Result<()> {
        let (blob, pointer) = (self.blob(etag), self.pointer(commit, path));
        if same_file(&pointer, &blob) {
            return Ok(());
        }
        create_folder_of(&pointer)?;
        let up = "../".repeat(path.matches('/').count() + 2);
        // What is there may be a link to nothing, or damaged: readers see that or the right file.
        let new = pointer.with_file_name(temporary(&pointer));
        let linked = std::os::unix::fs::symlink(format!("{up}blobs/{etag}"), &new)
            // Some file systems have no symbolic links, some of those have hard ones.
            .or_else(|_| fs::hard_link(&blob, &new))
            .or_else(|_| fs::rename(&blob, &new))
            .and_then(|()| fs::rename(&new, &pointer));
        linked.map_err(|e| {
            let _ = fs::remove_file(&new);
            disk(&pointer, e)
        })
    }

    /// The lock of a blob, shared with the Python libraries; `None` while it is held elsewhere.
    pub fn try_lock(&self, etag: &str) -> Result<Option<File>> {
        let path = self.locks.join(format!("{etag}.lock"));
        create_folder_of(&path)?;
        let failed = |e| disk(&path, e);
        let file = File::options().create(true).write(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            // Without locks in the file system the worst is that a file is downloaded twice.
            Err(fs::TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => return Ok(Some(file)),
            Err(fs::TryLockError::Error(e)) => return Err(failed(e)),
        }
        // The file may have been removed between opening and locking it; the lock is then ineffective.
        let same = fs::metadata(&path).is_ok_and(|at| file.metadata().is_ok_and(|m| m.ino() == at.ino()));
        Ok(same.then_some(file))
    }
}

/// Creates the folder of a file.
pub(super) fn create_folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|e| disk(folder, e))
}

/// Whether both names lead to the same file.
pub(super) fn same_file(a: &Path, b: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    id(a).is_some_and(|a| Some(a) == id(b))
}

/// The name of a file until it is whole. Git lets no branch end like that.
pub(super) fn temporary(path: &Path) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // A name may be as long as the file system allows already.
    let name = path.file_name().and_then(|n| n.to_str()).filter(|n| n.len() < 200).unwrap_or("new");
    format!("{name}.{}.{}.tmp.lock", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Whether a file has such a name, or one that earlier versions gave.
pub(super) fn is_temporary(name: &str) -> bool {
    let numbers =
        |text: &str| text.rsplitn(3, '.').take(2).all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let old =
        |name: &str| name.strip_suffix(".tmp").is_some_and(|rest| rest.matches('.').count() >= 2 && numbers(rest));
    name.ends_with(".tmp.lock") || old(name)
}

/// Writes a small file so that readers see the old text or the new one.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    create_folder_of(path)?;
    let new = path.with_file_name(temporary(path));
    let result = fs::write(&new, bytes).and_then(|()| fs::rename(&new, path));
    result.map_err(|e| {
        let _ = fs::remove_file(&new);
        disk(path, e)
    })
}
