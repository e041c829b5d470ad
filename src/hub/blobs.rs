//! Writing into the cache: blobs and their locks, links to them, listings, branches.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::cache::Repository;
use super::disk::disk;
use super::listing::Listing;
use crate::error::{Error, ErrorKind, Result};
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

    /// Points a branch or tag to a commit.
    pub fn save_ref(&self, revision: &str, commit: &str) -> Result<()> {
        let path = self.root.join("refs").join(revision);
        match revision == commit || read_text(&path, 256).is_ok_and(|old| old == commit) {
            true => Ok(()),
            false => write(&path, commit.as_bytes()),
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
        let pointer = self.pointer(commit, path);
        if pointer.is_file() {
            return Ok(());
        }
        create_folder_of(&pointer)?;
        // A link to nothing may be left over from a blob that was removed.
        let _ = fs::remove_file(&pointer);
        let up = "../".repeat(path.matches('/').count() + 2);
        let linked = std::os::unix::fs::symlink(format!("{up}blobs/{etag}"), &pointer)
            // Some file systems have no symbolic links, some of those have hard ones.
            .or_else(|_| fs::hard_link(self.blob(etag), &pointer))
            .or_else(|_| fs::rename(self.blob(etag), &pointer));
        match linked {
            Err(_) if pointer.is_file() => Ok(()),
            other => other.map_err(|e| Error::io(&pointer, e)),
        }
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

/// Writes a small file so that readers see the old text or the new one.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    create_folder_of(path)?;
    let unique = format!("{}.{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".");
    temporary.push(unique);
    let result = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    result.map_err(|e| {
        let _ = fs::remove_file(&temporary);
        disk(path, e)
    })
}
