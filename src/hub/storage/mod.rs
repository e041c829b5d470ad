//! The models directory: listing, removing, importing and moving models.
//!
//! The layout is that of the Python libraries. The module's own files are in `.locks/mlx-engine`, the one folder
//! starting with a dot that those libraries ignore: the usage record, and two folders where models are built before
//! they are renamed into place (`new`) and kept after they are renamed away (`old`). A rename is atomic, so a model is
//! present or absent as a whole, whenever a process is killed.

mod import;
mod lock;
mod record;
mod relocate;
mod remove;
mod usage;
mod verify;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use mlx_engine_base::progress::{Progress, Stage};
use serde::Serialize;
use serde_json::Value;

use super::blobs::create_folder_of;
use super::cache::{Repository, id_of};
use super::name::ModelName;
use super::progress::Speed;
use crate::error::{Error, Result};
use crate::files::{read_json, read_text};

pub use import::Import;
pub use lock::InUse;
pub use relocate::Moved;
pub use remove::{Prune, Pruned, Removed};
pub use verify::{Problem, Verification, WhatIsWrong};

/// Files of one model that are looked at.
const MAX_FILES: usize = 100_000;

/// A models directory.
#[derive(Clone, Debug)]
pub struct Storage {
    root: PathBuf,
}

/// A model in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoredModel {
    /// `organisation/name`
    pub id: String,
    /// Whether it can be loaded: all files of at least one revision are present.
    pub complete: bool,
    /// Bytes on the disk.
    pub bytes: u64,
    /// Those of them that belong to incomplete files.
    pub partial_bytes: u64,
    /// When it was last loaded, otherwise when it was added, in seconds since 1970.
    pub last_used: u64,
    /// How often it was loaded.
    pub uses: u64,
    /// `model_type` of its configuration.
    pub model_type: Option<String>,
    /// The folder of a complete revision.
    pub directory: PathBuf,
    /// Its revisions.
    pub revisions: Vec<Revision>,
}

/// One commit of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Revision {
    /// Its commit.
    pub commit: String,
    /// Branches and tags that point to it.
    pub refs: Vec<String>,
    /// Whether everything that a model needs is present.
    pub complete: bool,
    /// How many files it has.
    pub files: usize,
    /// Their bytes; revisions share files that are the same.
    pub bytes: u64,
    /// Where they are.
    pub directory: PathBuf,
}

/// Called with the progress of the work. An error ends it.
pub(super) type Watch<'a> = &'a mut dyn FnMut(&Progress) -> Result<()>;

impl Storage {
    /// The models directory at `root`, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Storage {
        Storage { root: root.into() }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn own_folder(&self) -> PathBuf {
        self.root.join(".locks/mlx-engine")
    }

    fn repository(&self, id: &str) -> Result<Repository> {
        Repository::new(&self.root, &ModelName::parse(id)?.id)
    }

    /// A fresh name in the folder `new` or `old`.
    fn fresh(&self, folder: &str) -> Result<PathBuf> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = self.own_folder().join(folder).join(unique);
        create_folder_of(&path)?;
        Ok(path)
    }

    /// All models, in the order of their ids.
    ///
    /// # Errors
    /// If the directory cannot be read. One that does not exist is empty.
    pub fn list(&self) -> Result<Vec<StoredModel>> {
        let usage = self.usage();
        let mut models = Vec::new();
        for id in self.ids()? {
            // It may be removed meanwhile.
            if let Ok(model) = self.describe(&id, &usage) {
                models.push(model);
            }
        }
        Ok(models)
    }

    fn ids(&self) -> Result<Vec<String>> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io(&self.root, e)),
        };
        let names = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
        let mut ids: Vec<String> = names.filter_map(|name| id_of(&name)).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// One model.
    ///
    /// # Errors
    /// If it is not there.
    pub fn info(&self, id: &str) -> Result<StoredModel> {
        self.describe(&ModelName::parse(id)?.id, &self.usage())
    }

    /// Whether anything of a model is there.
    ///
    /// # Errors
    /// If the id is malformed.
    pub fn has(&self, id: &str) -> Result<bool> {
        Ok(self.repository(id)?.root.is_dir())
    }

    /// Bytes that all models take on the disk.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn bytes(&self) -> Result<u64> {
        Ok(self.list()?.iter().map(|m| m.bytes).sum())
    }

    /// Keeps a model from being removed or moved while it is read. `None` while it is being changed.
    ///
    /// # Errors
    /// If the id is malformed, or the directory fails.
    pub fn in_use(&self, id: &str) -> Result<Option<InUse>> {
        self.repository(id)?.share()
    }

    fn missing(&self, id: &str) -> Error {
        Error::not_found(format!("{id} is not in the models directory {}", self.root.display()))
    }

    fn describe(&self, id: &str, usage: &record::Record) -> Result<StoredModel> {
        let repository = self.repository(id)?;
        if !repository.root.is_dir() {
            return Err(self.missing(id));
        }
        let mut refs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let folder = repository.root.join("refs");
        for file in files_below(&folder) {
            if let (Ok(name), Ok(commit)) = (file.strip_prefix(&folder), read_text(&file, 256)) {
                refs.entry(commit.trim().to_owned()).or_default().push(ref_of(name));
            }
        }
        let mut revisions = Vec::new();
        for commit in folder_names(&repository.root.join("snapshots")) {
            let directory = repository.snapshot(&commit);
            let files = files_below(&directory);
            let sizes = files.iter().filter_map(|f| fs::metadata(f).ok());
            revisions.push(Revision {
                complete: repository.is_complete(&commit),
                refs: refs.remove(&commit).unwrap_or_default(),
                bytes: sizes.map(|m| m.len()).sum(),
                files: files.len(),
                directory,
                commit,
            });
        }
        revisions.sort_by(|a, b| (!a.complete, &a.commit).cmp(&(!b.complete, &b.commit)));
        let (mut bytes, mut partial_bytes, mut came, mut seen) = (0, 0, 0, HashSet::new());
        for path in files_below(&repository.root) {
            // Blobs may be links to where the Python libraries, or people, keep what several models share.
            let (Ok(own), Ok(metadata)) = (fs::symlink_metadata(&path), fs::metadata(&path)) else { continue };
            if metadata.is_file() && seen.insert((metadata.dev(), metadata.ino())) {
                let partial = path.to_string_lossy().contains(".incomplete");
                let held = held(&path, &metadata);
                bytes += held;
                partial_bytes += if partial { held } else { 0 };
            }
            came = came.max(own.modified().map_or(0, record::since_1970));
        }
        let usage = usage.get(id).copied().unwrap_or_default();
        let config = revisions.first().and_then(|r| read_json(&r.directory.join("config.json")).ok());
        let text = |key: &str| config.as_ref()?.get(key).and_then(Value::as_str).map(str::to_owned);
        Ok(StoredModel {
            complete: revisions.iter().any(|r| r.complete),
            model_type: text("model_type"),
            id: id.to_owned(),
            bytes,
            partial_bytes,
            last_used: if usage.last_used > 0 { usage.last_used } else { came },
            uses: usage.uses,
            directory: repository.root,
            revisions,
        })
    }
}

/// The branch or tag of a file in `refs`.
fn ref_of(path: &Path) -> String {
    let name = path.display().to_string();
    // What has no place of its own name.
    let escaped =
        name.strip_prefix("%/").map(|n| percent_encoding::percent_decode_str(n).decode_utf8_lossy().into_owned());
    escaped.unwrap_or(name)
}

/// Bytes of a file on the disk. Those on their way have holes.
fn held(path: &Path, metadata: &fs::Metadata) -> u64 {
    match path.to_string_lossy().contains(".incomplete") {
        true => metadata.len().min(metadata.blocks() * 512),
        false => metadata.len(),
    }
}

/// Bytes that removing a folder frees: of its own files, those that have no name elsewhere.
fn held_alone(folder: &Path) -> u64 {
    if folder.is_symlink() {
        return 0;
    }
    let mut names: HashMap<(u64, u64), (u64, u64, u64)> = HashMap::new();
    for path in files_below(folder) {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_file() {
            let seen = names.entry((metadata.dev(), metadata.ino())).or_default();
            *seen = (seen.0 + 1, metadata.nlink(), held(&path, &metadata));
        }
    }
    names.values().filter(|(seen, names, _)| seen >= names).map(|(.., held)| held).sum()
}

/// Files and links in a folder and the folders in it. Links to folders are not followed.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) if found.len() < MAX_FILES => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort_unstable();
    found
}

/// The names of the folders in a folder.
fn folder_names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    let mut names: Vec<String> = folders.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// Counts what is done and reports it.
struct Meter<'a> {
    watch: Watch<'a>,
    progress: Progress,
    speed: Speed,
    /// Bytes that went through our hands; those that were there do not make us faster.
    handled: u64,
}

impl<'a> Meter<'a> {
    fn new(stage: Stage, total_files: usize, bytes_total: u64, watch: Watch<'a>) -> Self {
        let progress = Progress { stage, total_files, bytes_total, ..Default::default() };
        Meter { watch, progress, speed: Speed::default(), handled: 0 }
    }

    fn file(&mut self, name: impl Into<String>, size: u64) -> Result<()> {
        self.progress.file = name.into();
        self.progress.file_index += 1;
        (self.progress.file_bytes_done, self.progress.file_bytes_total) = (0, size);
        self.add(0)
    }

    fn add(&mut self, bytes: u64) -> Result<()> {
        self.handled += bytes;
        self.progress.file_bytes_done += bytes;
        self.progress.bytes_done += bytes;
        let speed = self.speed.measure(self.handled, Instant::now());
        self.progress.bytes_per_second = speed;
        let left = self.progress.bytes_total.saturating_sub(self.progress.bytes_done);
        let seconds = (speed > 0.0).then(|| left as f64 / speed);
        self.progress.remaining = seconds.and_then(|s| std::time::Duration::try_from_secs_f64(s).ok());
        (self.watch)(&self.progress)
    }
}
