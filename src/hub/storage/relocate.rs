//! Moving the models directory.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::blobs::{create_folder_of, temporary};
use super::super::disk::{check_room, disk, prepare, sync_folder};
use super::import::Staging;
use super::{Meter, Stage, Storage, Watch, files_below};
use crate::error::{Error, ErrorKind, Result};
use crate::files::open;

/// What moving gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Moved {
    /// Where the models are now.
    pub directory: PathBuf,
    /// The models that are there now.
    pub moved: Vec<String>,
    /// Models that stayed because they are in use, or because others of the same name are already there.
    pub stayed: Vec<String>,
}

impl Storage {
    /// Moves all models to another directory, one after the other: by a rename, or to another file system by a copy
    /// that becomes visible when it is complete, before the original is removed. If the process is killed at any
    /// moment, each model is complete in one place or in both, and moving again continues. Everything else in the
    /// directory stays.
    ///
    /// # Errors
    /// If either directory cannot be written to, the disk is full, or `watch` returns an error.
    pub fn relocate(&self, to: &Path, watch: Watch<'_>) -> Result<Moved> {
        prepare(to)?;
        let full = |p: &Path| fs::canonicalize(p).map_err(|e| Error::io(p, e));
        let (from, to) = (full(&self.root)?, full(to)?);
        if from == to || to.starts_with(&from) || from.starts_with(&to) {
            return Err(Error::invalid_argument(format!(
                "{} and {} lie within each other",
                from.display(),
                to.display()
            )));
        }
        let target = Storage::new(&to);
        let models = self.list()?;
        let mut meter = Meter::new(Stage::Copying, models.len(), models.iter().map(|m| m.bytes).sum(), watch);
        let mut result = Moved { directory: to, ..Default::default() };
        self.sweep();
        target.sweep();
        for model in models {
            meter.file(&model.id, model.bytes)?;
            let before = meter.progress.bytes_done;
            match self.relocate_model(&target, &model.id, model.bytes, &mut meter) {
                Ok(true) => result.moved.push(model.id),
                Ok(false) => result.stayed.push(model.id),
                Err(e) if e.kind() == ErrorKind::Busy => result.stayed.push(model.id),
                Err(e) => return Err(e),
            }
            meter.add((before + model.bytes).saturating_sub(meter.progress.bytes_done))?;
        }
        Ok(result)
    }

    /// False if another model of that name is in its place.
    fn relocate_model(&self, target: &Storage, id: &str, bytes: u64, meter: &mut Meter) -> Result<bool> {
        let (from, to) = (self.repository(id)?, target.repository(id)?);
        let (_alone, _alone_there) = (from.own(id)?, to.own(id)?);
        if to.root.exists() {
            // A killed move leaves a model in both places.
            let same = contents(&from.root).is_some_and(|c| Some(c) == contents(&to.root));
            if same {
                self.throw_away(&from.root)?;
            }
            return Ok(same);
        }
        if from.root.is_symlink() {
            let elsewhere = fs::canonicalize(&from.root).map_err(|e| Error::io(&from.root, e))?;
            symlink(elsewhere, &to.root).map_err(|e| disk(&to.root, e))?;
            fs::remove_file(&from.root).map_err(|e| disk(&from.root, e))?;
            self.move_usage(target, id);
            return Ok(true);
        }
        settle_links(&from.root)?;
        match fs::rename(&from.root, &to.root) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::CrossesDevices => {
                check_room(&target.root, bytes, id)?;
                let staging = Staging::new(target)?;
                let copy = staging.folder.join("model");
                copy_tree(&from.root, &copy, meter)?;
                fs::rename(&copy, &to.root).map_err(|e| disk(&to.root, e))?;
                sync_folder(&target.root);
                self.throw_away(&from.root)?;
            }
            Err(e) => return Err(disk(&to.root, e)),
        }
        self.move_usage(target, id);
        Ok(true)
    }

    fn move_usage(&self, target: &Storage, id: &str) {
        let usage = self.usage().get(id).copied();
        let _ = target.change_usage(|record| record.extend(usage.map(|u| (id.to_owned(), u))));
        let _ = self.change_usage(|record| record.retain(|other, _| other != id));
    }
}

/// Makes links that lead out of a model independent of where it lies: files become its own, without a copy where the file
/// system can, and links to folders absolute.
fn settle_links(root: &Path) -> Result<()> {
    let whole = fs::canonicalize(root).map_err(|e| Error::io(root, e))?;
    for path in files_below(root) {
        let (Ok(link), Ok(target)) = (fs::read_link(&path), fs::canonicalize(&path)) else { continue };
        if target.starts_with(&whole) {
            continue;
        }
        let new = path.with_file_name(temporary(&path));
        let settled = match target.is_dir() {
            true if link.is_absolute() => continue,
            true => symlink(&target, &new),
            false => fs::hard_link(&target, &new).or_else(|_| fs::copy(&target, &new).map(drop)),
        };
        settled.and_then(|()| fs::rename(&new, &path)).map_err(|e| {
            let _ = fs::remove_file(&new);
            disk(&path, e)
        })?;
    }
    Ok(())
}

/// What a folder has, without reading it: names, sizes, and where links point.
fn contents(folder: &Path) -> Option<Vec<(PathBuf, u64, Option<PathBuf>)>> {
    let mut all = Vec::new();
    for path in files_below(folder) {
        let metadata = fs::symlink_metadata(&path).ok()?;
        let link = metadata.is_symlink().then(|| fs::read_link(&path)).transpose().ok()?;
        all.push((path.strip_prefix(folder).ok()?.to_owned(), metadata.len(), link));
    }
    Some(all)
}

fn copy_tree(from: &Path, to: &Path, meter: &mut Meter) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    for path in files_below(from) {
        let Ok(name) = path.strip_prefix(from) else { continue };
        let copy = to.join(name);
        create_folder_of(&copy)?;
        if let Ok(link) = fs::read_link(&path) {
            symlink(link, &copy).map_err(|e| disk(&copy, e))?;
            continue;
        }
        let mut source = open(&path)?;
        let mut out = File::create(&copy).map_err(|e| disk(&copy, e))?;
        loop {
            let n = source.read(&mut buffer).map_err(|e| Error::io(&path, e))?;
            if n == 0 {
                break;
            }
            out.write_all(&buffer[..n]).map_err(|e| disk(&copy, e))?;
            meter.add(n as u64)?;
        }
        out.sync_all().map_err(|e| disk(&copy, e))?;
    }
    Ok(())
}
