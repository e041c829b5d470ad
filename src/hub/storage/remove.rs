//! Removing and pruning models.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind as Io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::blobs::is_temporary;
use super::super::cache::Repository;
use super::super::disk::disk;
use super::super::name::{ModelName, check_revision};
use super::{Meter, Stage, Storage, StoredModel, Watch, files_below, held_alone, lock};
use crate::error::{Error, ErrorKind, Result};

/// The result of removing a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Removed {
    /// The model.
    pub id: String,
    /// Bytes that were freed.
    pub bytes: u64,
}

/// What to prune.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prune {
    /// Bytes that all models together may keep.
    pub budget: u64,
    /// Ids that are never removed.
    pub keep: Vec<String>,
    /// Only reports what would be removed.
    pub dry_run: bool,
}

/// The result of pruning.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pruned {
    /// The removed models, least recently used first.
    pub removed: Vec<Removed>,
    /// Models that were kept because they are in use.
    pub busy: Vec<String>,
    /// Bytes that the others take.
    pub bytes: u64,
    /// Whether that is within the budget.
    pub within_budget: bool,
}

impl Storage {
    /// Removes a model, or one revision of it (branch, tag or commit) with the files that no other revision has.
    ///
    /// # Errors
    /// If it is not there, is being downloaded or loaded ([`ErrorKind::Busy`]), or the directory cannot be written to.
    pub fn remove(&self, id: &str, revision: Option<&str>) -> Result<Removed> {
        let (id, revision) = ModelName::parse(id)?.with_revision(revision)?;
        let (id, revision) = (id.as_str(), revision.as_deref());
        self.info(id)?;
        let repository = self.repository(id)?;
        let commit = match revision {
            None => None,
            Some(revision) => {
                check_revision(revision)?;
                let missing = || Error::not_found(format!("{id} has no revision {revision} here"));
                Some(repository.commit(revision)?.ok_or_else(missing)?)
            }
        };
        let _alone = repository.own(id)?;
        // Another process may have removed it first.
        let before = self.info(id)?;
        let held = held_alone(&repository.root);
        match commit {
            Some(commit) if before.revisions.len() > 1 => self.remove_revision(&repository, &before, &commit)?,
            _ => {
                self.throw_away(&repository.root)?;
                // The record is useless now; if it stays, nothing is lost.
                let _ = self.change_usage(|record| record.retain(|other, _| other != id));
            }
        }
        // What has a name elsewhere stays, so that its bytes are not free now.
        let freed = held.saturating_sub(held_alone(&repository.root));
        self.sweep();
        Ok(Removed { id: id.to_owned(), bytes: freed })
    }

    /// First what points to the files, then the files: killed in between, [`verify`](Self::verify) finds the rest.
    fn remove_revision(&self, repository: &Repository, model: &StoredModel, commit: &str) -> Result<()> {
        for name in model.revisions.iter().filter(|r| r.commit == commit).flat_map(|r| &r.refs) {
            for path in repository.ref_paths(name).iter().filter(|path| path.is_file()) {
                fs::remove_file(path).map_err(|e| disk(path, e))?;
            }
        }
        self.throw_away(&repository.snapshot(commit))?;
        let _ = fs::remove_file(repository.root.join("trees").join(format!("{commit}.json")));
        for blob in unreferenced(repository) {
            fs::remove_file(&blob).map_err(|e| disk(&blob, e))?;
        }
        Ok(())
    }

    /// Removes models, least recently used first, until the others fit a budget.
    ///
    /// # Errors
    /// If the directory cannot be read or written to, or `watch` returns an error; what was removed by then is
    /// gone.
    pub fn prune(&self, prune: &Prune, watch: Watch<'_>) -> Result<Pruned> {
        let mut models = self.list()?;
        let mut result = Pruned { bytes: models.iter().map(|m| m.bytes).sum(), ..Default::default() };
        models.sort_by_key(|m| m.last_used);
        let kept = prune.keep.iter().map(|id| Ok(ModelName::parse(id)?.id)).collect::<Result<Vec<_>>>()?;
        models.retain(|m| !kept.contains(&m.id));
        let mut meter = Meter::new(Stage::Removing, models.len(), result.bytes.saturating_sub(prune.budget), watch);
        for model in models {
            if result.bytes <= prune.budget {
                break;
            }
            meter.file(&model.id, model.bytes)?;
            let removed = match prune.dry_run {
                true => Ok(Removed { id: model.id.clone(), bytes: held_alone(&model.directory) }),
                false => self.remove(&model.id, None),
            };
            match removed {
                Ok(removed) => {
                    result.bytes -= model.bytes;
                    result.removed.push(removed);
                }
                // Another process removed it first.
                Err(e) if e.kind() == ErrorKind::NotFound => result.bytes -= model.bytes,
                Err(e) if e.kind() == ErrorKind::Busy => result.busy.push(model.id),
                Err(e) => return Err(e),
            }
            meter.add(model.bytes)?;
        }
        result.within_budget = result.bytes <= prune.budget;
        Ok(result)
    }

    /// Hides a folder atomically, then deletes it.
    pub(super) fn throw_away(&self, folder: &Path) -> Result<()> {
        let old = self.fresh("old")?;
        match fs::rename(folder, &old) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(Error::io(folder, e)),
            // The name is left over from another process with the same id.
            Err(_) if old.exists() => {
                let _ = fs::remove_dir_all(&old);
                fs::rename(folder, &old).map_err(|e| disk(folder, e))?;
            }
            Err(e) => return Err(disk(folder, e)),
        }
        // It is hidden already; what cannot be deleted now, the next sweep deletes.
        if let Err(error) = fs::remove_dir_all(&old) {
            log::warn!("{}: {error}", old.display());
        }
        Ok(())
    }

    /// Deletes what killed processes have left: everything in `old`, and in `new` what is no longer being built.
    pub(super) fn sweep(&self) {
        for left in self.leftovers() {
            let _ = self.throw_away(&left.folder);
        }
    }

    /// What [`sweep`](Self::sweep) would delete.
    pub(super) fn leftovers(&self) -> Vec<Leftover> {
        let own = self.own_folder();
        let all = |name: &str| {
            let folder = own.join(name);
            super::folder_names(&folder).into_iter().map(move |n| folder.join(n))
        };
        let abandoned = |folder: std::path::PathBuf| {
            // A folder without the lock's file has just been made, or is being freed.
            let lock = folder.join(super::import::LOCK);
            let alone = lock.exists().then(|| lock::try_lock(&lock, true).ok().flatten()).flatten()?;
            Some(Leftover { folder, _alone: Some(alone) })
        };
        let old = all("old").map(|folder| Leftover { folder, _alone: None });
        old.chain(all("new").filter_map(abandoned)).collect()
    }
}

/// What a killed process has left. A folder in which a model was built stays locked as long as this lives: whoever has just
/// made it and is about to lock it must see it go, and make another.
pub(super) struct Leftover {
    pub folder: std::path::PathBuf,
    _alone: Option<lock::InUse>,
}

/// Complete blobs that no snapshot of the models directory leads to, by whatever links. None where that cannot be said.
pub(super) fn unreferenced(repository: &Repository) -> Vec<PathBuf> {
    let blobs = repository.root.join("blobs");
    let Some(used) = used_beside(repository) else { return Vec::new() };
    if blobs.is_symlink() {
        // Who else puts files there is not known.
        return Vec::new();
    }
    let whole = files_below(&blobs).into_iter().filter(|b| is_whole_blob(b));
    // A file with more names than this one is in use elsewhere.
    let unused = |m: fs::Metadata| m.is_file() && m.nlink() == 1 && !used.contains(&(m.dev(), m.ino()));
    whole.filter(|blob| fs::metadata(blob).is_ok_and(unused)).collect()
}

/// Whether a file among the blobs is none on its way.
pub(super) fn is_whole_blob(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !name.contains(".incomplete") && !is_temporary(&name)
}

/// The files that the snapshots of all models beside this one, and its own, lead to. `None` if a folder cannot be read.
fn used_beside(repository: &Repository) -> Option<HashSet<(u64, u64)>> {
    let all = fs::read_dir(repository.root.parent()?).ok()?;
    let mut folders = vec![repository.root.join("snapshots")];
    folders.extend(all.flatten().map(|entry| entry.path().join("snapshots")));
    let (mut used, mut seen) = (HashSet::new(), HashSet::new());
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if matches!(e.kind(), Io::NotFound | Io::NotADirectory) => continue,
            Err(_) => return None,
        };
        for entry in entries {
            let path = entry.ok()?.path();
            match fs::metadata(&path) {
                Ok(m) if m.is_dir() && seen.insert((m.dev(), m.ino())) => folders.push(path),
                Ok(m) if !m.is_dir() => drop(used.insert((m.dev(), m.ino()))),
                Err(e) if e.kind() != Io::NotFound => return None,
                _ => {}
            }
        }
    }
    Some(used)
}
