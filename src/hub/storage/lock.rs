//! Who may do what with a model at the same time, in this process and in others.
//!
//! Downloads and loads share a model; removing, importing and moving need it alone. The locks of single blobs, which
//! downloads take and which the Python libraries know, are separate.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind as Io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::super::blobs::create_folder_of;
use super::super::cache::Repository;
use super::super::disk::disk;
use crate::error::{Error, ErrorKind, Result};

/// A lock that is released with the value, or when the process ends.
#[derive(Debug)]
pub struct InUse {
    _file: Option<File>,
}

/// `None` while the lock is held elsewhere.
pub(super) fn try_lock(path: &Path, alone: bool) -> Result<Option<InUse>> {
    let file = match open(path) {
        Ok(file) => file,
        // A read-only directory cannot change, so reading it needs no lock.
        Err(error) if !alone && error.kind() == ErrorKind::Io => return Ok(Some(InUse { _file: None })),
        Err(error) => return Err(error),
    };
    match if alone { file.try_lock() } else { file.try_lock_shared() } {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        // The file system has no locks; only one process at a time is supported there.
        Err(TryLockError::Error(e)) if e.kind() == Io::Unsupported => return Ok(Some(InUse { _file: None })),
        Err(TryLockError::Error(e)) => return Err(disk(path, e)),
    }
    // The file may have been removed between opening and locking it; the lock is then ineffective.
    let same = fs::metadata(path).is_ok_and(|at| file.metadata().is_ok_and(|m| m.ino() == at.ino()));
    Ok(same.then_some(InUse { _file: Some(file) }))
}

/// Like [`try_lock`] alone, but tries for a while.
pub(super) fn lock(path: &Path, patience: Duration) -> Result<Option<InUse>> {
    let until = Instant::now() + patience;
    loop {
        match try_lock(path, true)? {
            None if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            other => return Ok(other),
        }
    }
}

fn open(path: &Path) -> Result<File> {
    if let Ok(file) = File::open(path) {
        return Ok(file);
    }
    create_folder_of(path)?;
    File::options().create(true).append(true).open(path).map_err(|e| disk(path, e))
}

impl Repository {
    fn lock_path(&self) -> std::path::PathBuf {
        self.locks.join("mlx-engine.lock")
    }

    /// For downloading or reading the model; `None` while it is held exclusively.
    pub(in super::super) fn share(&self) -> Result<Option<InUse>> {
        try_lock(&self.lock_path(), false)
    }

    /// For removing, replacing or moving the model: no download, ours or of the Python libraries, and no load of it is
    /// running.
    pub(super) fn own(&self, id: &str) -> Result<InUse> {
        let busy =
            || Error::new(ErrorKind::Busy, format!("{id} is being downloaded, loaded or changed; try again later"));
        // Loads of complete models are short; waiting a moment spares the caller a retry.
        let guard = lock(&self.lock_path(), Duration::from_millis(200))?.ok_or_else(busy)?;
        for blob in self.incomplete() {
            self.try_lock(&blob)?.ok_or_else(busy)?;
        }
        Ok(guard)
    }

    /// The blobs of which a part is there.
    pub(super) fn incomplete(&self) -> Vec<String> {
        let names = fs::read_dir(self.root.join("blobs")).into_iter().flatten().flatten();
        let names = names.filter_map(|e| e.file_name().into_string().ok());
        let mut blobs: Vec<String> = names
            .filter(|n| n.ends_with(".incomplete"))
            .filter_map(|n| Some(n.split_once('.')?.0.to_owned()))
            .collect();
        blobs.dedup();
        blobs
    }
}
