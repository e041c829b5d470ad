//! Importing a folder with a model into the models directory.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::super::blobs::create_folder_of;
use super::super::cache::Repository;
use super::super::checksum::Checksum;
use super::super::disk::{check_room, disk, prepare, sync_folder};
use super::super::listing::{Listing, RepoFile};
use super::super::whole::check_weights;
use super::{Meter, Stage, Storage, StoredModel, Watch, files_below, lock};
use crate::error::{Error, ErrorKind, Result};
use crate::files::{open, read_json, read_text};
use crate::shards::{INDEX, MAX_INDEX};

/// Locked while its folder is being built.
pub(super) const LOCK: &str = "lock";
/// Bytes that are read and written at once.
const BUFFER: usize = 1 << 20;

/// Checks a `config.json`.
type Check<'a> = &'a dyn Fn(&Path) -> Result<()>;

/// What to import.
pub struct Import<'a> {
    /// The folder, with `config.json`, weights and tokenizer.
    pub folder: PathBuf,
    /// The name it will have, `organisation/name`.
    pub id: String,
    /// Hard-links weights instead of copying them, where the file system allows: both names are then the same file, and
    /// a change to one changes the other.
    pub link: bool,
    /// Checks `config.json` before anything is copied.
    pub check: Option<Check<'a>>,
}

impl Storage {
    /// Imports the files that a model needs from a folder: verified, named by their checksums like downloads, and made
    /// visible all at once. Importing the same files under the same name again is not an error.
    ///
    /// # Errors
    /// If the folder is no model, the name is taken, the disk is full, or `watch` returns an error.
    pub fn import(&self, import: &Import, watch: Watch<'_>) -> Result<StoredModel> {
        let repository = self.repository(&import.id)?;
        let files = needed(&import.folder, import.check)?;
        let total: u64 = files.iter().map(|(_, size)| size).sum();
        prepare(&self.root)?;
        self.sweep();
        if !import.link {
            check_room(&self.root, total, &import.id)?;
        }
        let staging = Staging::new(self)?;
        let new = Repository { root: staging.folder.join("model"), locks: PathBuf::new() };
        let mut meter = Meter::new(Stage::Copying, files.len(), total, watch);
        let mut listing = Listing::default();
        for (path, size) in &files {
            meter.file(path, *size)?;
            let file = take(&import.folder, path, *size, import.link, &new, &mut meter)?;
            listing.files.insert(path.clone(), file);
        }
        let commit = commit(&listing);
        for file in listing.files.values() {
            new.link(&commit, &file.path, file.etag())?;
        }
        new.save_listing(&commit, &listing)?;
        new.save_ref("main", &commit)?;
        self.publish(&import.id, &repository, &new, &commit)?;
        drop(staging);
        self.info(&import.id)
    }

    fn publish(&self, id: &str, repository: &Repository, new: &Repository, commit: &str) -> Result<()> {
        let _alone = repository.own(id)?;
        if repository.is_complete(commit) {
            return Ok(());
        }
        if repository.root.exists() {
            return Err(Error::invalid_argument(format!(
                "{id} is already in the models directory, with other files; remove it first, or take another name"
            )));
        }
        fs::rename(&new.root, &repository.root).map_err(|e| disk(&repository.root, e))?;
        sync_folder(&self.root);
        Ok(())
    }
}

/// A folder in which a model is built. It is removed with the value, or after a kill by the next sweep.
pub(super) struct Staging {
    pub folder: PathBuf,
    _lock: lock::InUse,
}

impl Staging {
    pub fn new(storage: &Storage) -> Result<Staging> {
        let folder = storage.fresh("new")?;
        let path = folder.join(LOCK);
        create_folder_of(&path)?;
        let lock = lock::lock(&path, Duration::from_secs(2))?;
        let lock = lock.ok_or_else(|| Error::new(ErrorKind::Busy, format!("{} is locked", path.display())))?;
        // An earlier process with the same id may have left something.
        let _ = fs::remove_dir_all(folder.join("model"));
        Ok(Staging { folder, _lock: lock })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Paths and sizes of the files that a model needs, checked as far as possible without reading them all.
fn needed(folder: &Path, check: Option<Check>) -> Result<Vec<(String, u64)>> {
    if !folder.is_dir() {
        return Err(Error::not_found(format!("{}: no such folder", folder.display())));
    }
    let config = folder.join("config.json");
    if read_json(&config)?.get("model_type").and_then(Value::as_str).is_none() {
        return Err(Error::invalid_config(format!("{}: no model_type", config.display())));
    }
    if let Some(check) = check {
        check(&config)?;
    }
    let mut all = Listing::default();
    for path in files_below(folder) {
        let Some(name) = path.strip_prefix(folder).ok().and_then(Path::to_str) else { continue };
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_file() {
            all.files.insert(name.to_owned(), entry(name, metadata.len()));
        }
    }
    let index = match all.files.contains_key(INDEX) {
        true => Some(read_text(&folder.join(INDEX), MAX_INDEX)?),
        false => None,
    };
    let weights = all.weight_files(index.as_deref()).map_err(|e| e.context(folder.display()))?;
    for file in &weights {
        check_weights(&folder.join(&file.path), file.size)?;
    }
    let files = all.small_files().into_iter().chain(weights);
    Ok(files.map(|f| (f.path.clone(), f.size)).collect())
}

fn entry(path: &str, size: u64) -> RepoFile {
    RepoFile { path: path.into(), size, blob_id: String::new(), sha256: None, xet_hash: None }
}

/// Copies or links one file to its blob.
fn take(folder: &Path, path: &str, size: u64, link: bool, new: &Repository, meter: &mut Meter) -> Result<RepoFile> {
    let source = folder.join(path);
    let large = path.ends_with(".safetensors");
    let temporary = new.blob("copy.incomplete");
    create_folder_of(&temporary)?;
    let linked = link && large && fs::canonicalize(&source).is_ok_and(|s| fs::hard_link(s, &temporary).is_ok());
    let mut from = open(&source)?;
    let mut to = match linked {
        true => None,
        false => Some(File::create(&temporary).map_err(|e| disk(&temporary, e))?),
    };
    let mut sum = if large { Checksum::sha256() } else { Checksum::git(size) };
    let (mut buffer, mut copied) = (vec![0; BUFFER], 0);
    loop {
        let n = from.read(&mut buffer).map_err(|e| Error::io(&source, e))?;
        if n == 0 {
            break;
        }
        sum.update(&buffer[..n]);
        if let Some(to) = &mut to {
            to.write_all(&buffer[..n]).map_err(|e| disk(&temporary, e))?;
        }
        copied += n as u64;
        meter.add(n as u64)?;
    }
    if copied != size {
        return Err(Error::new(ErrorKind::Io, format!("{}: changed while it was copied", source.display())));
    }
    if let Some(to) = to {
        to.sync_all().map_err(|e| disk(&temporary, e))?;
    }
    let hex = sum.hex();
    let mut file = entry(path, size);
    match large {
        // Git repositories of the Hub contain a small pointer file instead of a large file.
        true => {
            let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{hex}\nsize {size}\n");
            let mut sum = Checksum::git(pointer.len() as u64);
            sum.update(pointer.as_bytes());
            (file.blob_id, file.sha256) = (sum.hex(), Some(hex));
        }
        false => file.blob_id = hex,
    }
    let blob = new.blob(file.etag());
    fs::rename(&temporary, &blob).map_err(|e| disk(&blob, e))?;
    Ok(file)
}

/// A commit for files that were never committed: the same files get the same one.
fn commit(listing: &Listing) -> String {
    let text: String = listing.files.values().map(|f| format!("{} {}\n", f.etag(), f.path)).collect();
    let mut sum = Checksum::git(text.len() as u64);
    sum.update(text.as_bytes());
    sum.hex()
}
