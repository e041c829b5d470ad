//! Removing and pruning models.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::super::cache::Repository;
use super::super::disk::disk;
use super::{Meter, Stage, Storage, StoredModel, Watch, files_below, lock};
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
        self.info(id)?;
        let repository = self.repository(id)?;
        let commit = match revision {
            None => None,
            Some(revision) => {
                super::super::cache::check_revision(revision)?;
                let missing = || Error::not_found(format!("{id} has no revision {revision} here"));
                Some(repository.commit(revision)?.ok_or_else(missing)?)
            }
        };
        let _alone = repository.own(id)?;
        // Another process may have removed it first.
        let before = self.info(id)?;
        match commit {
            Some(commit) if before.revisions.len() > 1 => self.remove_revision(&repository, &before, &commit)?,
            _ => {
                self.throw_away(&repository.root)?;
                // The record is useless now; if it stays, nothing is lost.
                let _ = self.change_usage(|record| record.retain(|other, _| other != id));
            }
        }
        let left = self.info(id).map_or(0, |m| m.bytes);
        self.sweep();
        Ok(Removed { id: id.to_owned(), bytes: before.bytes.saturating_sub(left) })
    }

    /// First what points to the files, then the files: killed in between, [`verify`](Self::verify) finds the rest.
    fn remove_revision(&self, repository: &Repository, model: &StoredModel, commit: &str) -> Result<()> {
        for name in model.revisions.iter().filter(|r| r.commit == commit).flat_map(|r| &r.refs) {
            let path = repository.root.join("refs").join(name);
            fs::remove_file(&path).map_err(|e| disk(&path, e))?;
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
        models.retain(|m| !prune.keep.contains(&m.id));
        let mut meter = Meter::new(Stage::Removing, models.len(), result.bytes.saturating_sub(prune.budget), watch);
        for model in models {
            if result.bytes <= prune.budget {
                break;
            }
            meter.file(&model.id, model.bytes)?;
            let removed = match prune.dry_run {
                true => Ok(Removed { id: model.id.clone(), bytes: model.bytes }),
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

/// Complete blobs that no snapshot points to.
pub(super) fn unreferenced(repository: &Repository) -> Vec<std::path::PathBuf> {
    let links = files_below(&repository.root.join("snapshots"));
    let used: HashSet<_> = links.iter().filter_map(|l| fs::canonicalize(l).ok()).collect();
    let blobs = files_below(&repository.root.join("blobs")).into_iter();
    let whole = blobs.filter(|b| !b.to_string_lossy().contains(".incomplete"));
    whole.filter(|b| fs::canonicalize(b).is_ok_and(|b| !used.contains(&b))).collect()
}
