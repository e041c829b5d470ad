//! Verifying the models directory.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::cache::Repository;
use super::super::checksum::Checksum;
use super::super::disk::disk;
use super::super::listing::RepoFile;
use super::remove::{Leftover, unreferenced};
use super::{Meter, Stage, Storage, Watch, files_below, folder_names};
use crate::error::{Error, ErrorKind, Result};
use crate::files::read_json;

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WhatIsWrong {
    /// The model needs it, and it is missing.
    Missing,
    /// Its link exists, its content does not.
    Dangling,
    /// It has the wrong size.
    Size,
    /// Its content does not match its checksum.
    Checksum,
    /// It points outside the model's folder.
    Outside,
    /// It cannot be read, or is not JSON where it should be.
    Unreadable,
    /// Leftover of a download or of other work that is no longer running. The next download of the model continues it.
    Leftover,
    /// No revision refers to it.
    Unreferenced,
}

/// A problem.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    /// The model; empty for what belongs to none.
    pub id: String,
    /// The file, from the model's folder.
    pub file: String,
    /// What is wrong with it.
    pub problem: WhatIsWrong,
    /// A sentence for people.
    pub message: String,
    /// Bytes it takes.
    pub bytes: u64,
    /// Whether it was removed, so that the next download can fetch it again.
    pub fixed: bool,
    #[serde(skip)]
    path: PathBuf,
}

/// The result of a verification.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verification {
    /// The models that were verified.
    pub models: Vec<String>,
    /// Files whose content was read.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Whether all models are intact. Leftovers and unreferenced files only take up space.
    pub sound: bool,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl Storage {
    /// Checks one model, or all: that what each revision needs is there, sizes, checksums, links, and what killed
    /// processes have left. With `fix`, damaged, leftover and useless files are removed.
    ///
    /// # Errors
    /// If the model is not there, is being changed (with `fix`: is in use), or `watch` returns an error.
    pub fn verify(&self, id: Option<&str>, fix: bool, watch: Watch<'_>) -> Result<Verification> {
        let models = match id {
            Some(id) => vec![self.info(id)?],
            None => self.list()?,
        };
        let jobs = models.iter().map(|m| Ok((&m.id, self.repository(&m.id)?))).collect::<Result<Vec<_>>>()?;
        // What the meter expects; others may change it before it is checked.
        let size = |p: &PathBuf| fs::metadata(p).map_or(0, |m| m.len());
        let blobs: Vec<PathBuf> = jobs.iter().flat_map(|(_, repository)| blobs_of(repository)).collect();
        let mut meter = Meter::new(Stage::Verifying, blobs.len(), blobs.iter().map(size).sum(), watch);
        let mut result = Verification::default();
        for (id, repository) in &jobs {
            verify_one(id, repository, fix, &mut meter, &mut result)?;
        }
        result.problems.extend(self.left_by_the_killed(fix));
        use WhatIsWrong::{Leftover, Unreferenced};
        result.sound = result.problems.iter().all(|p| matches!(p.problem, Leftover | Unreferenced));
        Ok(result)
    }

    /// Folders of imports and removals that never ended.
    fn left_by_the_killed(&self, fix: bool) -> Vec<Problem> {
        let problem = |left: Leftover| {
            let path = left.folder.clone();
            let bytes = files_below(&path).iter().filter_map(|f| fs::metadata(f).ok()).map(|m| m.len()).sum();
            let file = path.strip_prefix(&self.root).unwrap_or(&path).display().to_string();
            let message = format!("{file}: left by a process that was killed");
            let fixed = fix && self.throw_away(&left.folder).is_ok();
            Problem { id: String::new(), file, problem: WhatIsWrong::Leftover, message, bytes, fixed, path }
        };
        self.leftovers().into_iter().map(problem).collect()
    }
}

/// Checks one model, while it cannot be changed.
fn verify_one(
    id: &str,
    repository: &Repository,
    fix: bool,
    meter: &mut Meter,
    result: &mut Verification,
) -> Result<()> {
    let changing = || Error::new(ErrorKind::Busy, format!("{id} is being changed; try again later"));
    let _guard = match fix {
        true => repository.own(id)?,
        false => repository.share()?.ok_or_else(changing)?,
    };
    if !repository.root.is_dir() {
        // Another process has removed it since.
        return Ok(());
    }
    result.models.push(id.to_owned());
    let mut found = Model { id, repository, listed: listed(repository), problems: Vec::new() };
    found.check_links();
    for blob in &blobs_of(repository) {
        result.bytes += found.check_content(blob, meter)?;
        result.files += 1;
    }
    found.check_rest();
    let mut problems = found.problems;
    if fix {
        problems.iter_mut().try_for_each(repair)?;
        // Links to damaged files are dangling now.
        let links = files_below(&repository.root.join("snapshots"));
        for link in links.iter().filter(|l| !l.exists()) {
            fs::remove_file(link).map_err(|e| disk(link, e))?;
        }
    }
    result.problems.extend(problems);
    Ok(())
}

/// The files whose content is checked: complete blobs, and regular files in snapshots.
fn blobs_of(repository: &Repository) -> Vec<PathBuf> {
    let part = |p: &PathBuf| p.to_string_lossy().contains(".incomplete");
    let mut all: Vec<PathBuf> = files_below(&repository.root.join("blobs")).into_iter().filter(|p| !part(p)).collect();
    let own = files_below(&repository.root.join("snapshots")).into_iter();
    all.extend(own.filter(|p| fs::symlink_metadata(p).is_ok_and(|m| m.is_file())));
    all
}

/// What the listings say of a file: by the name of its blob, and by its place in a snapshot.
fn listed(repository: &Repository) -> HashMap<PathBuf, RepoFile> {
    let mut all = HashMap::new();
    for commit in folder_names(&repository.root.join("snapshots")) {
        for file in repository.listing(&commit).into_iter().flat_map(|l| l.files.into_values()) {
            all.insert(repository.pointer(&commit, &file.path), file.clone());
            all.insert(repository.blob(file.etag()), file);
        }
    }
    all
}

/// Removes what is in the way.
fn repair(problem: &mut Problem) -> Result<()> {
    if matches!(problem.problem, WhatIsWrong::Missing) {
        return Ok(());
    }
    match fs::remove_file(&problem.path) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(disk(&problem.path, e)),
    }
    problem.fixed = true;
    Ok(())
}

struct Model<'a> {
    id: &'a str,
    repository: &'a Repository,
    listed: HashMap<PathBuf, RepoFile>,
    problems: Vec<Problem>,
}

impl Model<'_> {
    fn report(&mut self, path: &Path, problem: WhatIsWrong, what: &str) {
        let file = path.strip_prefix(&self.repository.root).unwrap_or(path).display().to_string();
        let message = format!("{}: {file}: {what}", self.id);
        let bytes = fs::symlink_metadata(path).map_or(0, |m| m.len());
        let (id, path) = (self.id.to_owned(), path.to_owned());
        self.problems.push(Problem { id, file, problem, message, bytes, fixed: false, path });
    }

    /// Names in snapshots: all that are needed are there, and lead somewhere within the model.
    fn check_links(&mut self) {
        let root = fs::canonicalize(&self.repository.root).unwrap_or_default();
        for commit in folder_names(&self.repository.root.join("snapshots")) {
            let folder = self.repository.snapshot(&commit);
            for path in files_below(&folder) {
                match fs::canonicalize(&path) {
                    Err(_) => self.report(&path, WhatIsWrong::Dangling, "its content is gone"),
                    Ok(target) if !target.starts_with(&root) => {
                        self.report(&path, WhatIsWrong::Outside, "leads out of the model's folder");
                    }
                    // Whatever the checksum says: what is no JSON cannot be loaded.
                    Ok(_) if path == folder.join("config.json") => {
                        if let Err(e) = read_json(&path) {
                            self.report(&path, WhatIsWrong::Unreadable, &e.to_string());
                        }
                    }
                    Ok(_) => {}
                }
            }
            for path in self.needed(&commit) {
                let path = folder.join(path);
                if fs::symlink_metadata(&path).is_err() {
                    self.report(&path, WhatIsWrong::Missing, "the model needs it, and it is missing");
                }
            }
        }
    }

    fn needed(&self, commit: &str) -> Vec<String> {
        let Some(listing) = self.repository.listing(commit) else {
            let complete = self.repository.is_complete(commit);
            return if complete { Vec::new() } else { vec!["config.json".into()] };
        };
        let index = self.repository.index(commit).ok().flatten();
        let weights = listing.weight_files(index.as_deref()).unwrap_or_default();
        listing.small_files().into_iter().chain(weights).map(|f| f.path.clone()).collect()
    }

    /// Size and checksum. Returns the bytes read.
    fn check_content(&mut self, path: &Path, meter: &mut Meter) -> Result<u64> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) => {
                self.report(path, WhatIsWrong::Unreadable, &e.to_string());
                return Ok(0);
            }
        };
        let size = file.metadata().map_err(|e| Error::io(path, e))?.len();
        meter.file(format!("{}/{name}", self.id), size)?;
        let listed = self.listed.get(path).cloned();
        if let Some(listed) = listed.as_ref().filter(|l| l.size != size) {
            self.report(path, WhatIsWrong::Size, &format!("{size} bytes instead of {}", listed.size));
            meter.add(size)?;
            return Ok(0);
        }
        // Without a listing the name of a blob is its checksum, except on servers that name them otherwise.
        let expected = listed.map_or(name, |l| l.etag().to_owned());
        let mut sum = match expected.len() {
            _ if !expected.bytes().all(|b| b.is_ascii_hexdigit()) => None,
            64 => Some(Checksum::sha256()),
            40 => Some(Checksum::git(size)),
            _ => None,
        };
        let mut buffer = vec![0; 1 << 20];
        let mut read = 0;
        loop {
            let n = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) => {
                    self.report(path, WhatIsWrong::Unreadable, &e.to_string());
                    return Ok(read);
                }
            };
            if let Some(sum) = &mut sum {
                sum.update(&buffer[..n]);
            }
            read += n as u64;
            meter.add(n as u64)?;
        }
        if let Some(found) = sum.map(Checksum::hex).filter(|found| *found != expected) {
            self.report(path, WhatIsWrong::Checksum, &format!("damaged: its checksum is {found}"));
        }
        Ok(read)
    }

    /// Files that only take up space.
    fn check_rest(&mut self) {
        let running: HashSet<String> = self
            .repository
            .incomplete()
            .into_iter()
            .filter(|b| !matches!(self.repository.try_lock(b), Ok(Some(_))))
            .collect();
        for path in files_below(&self.repository.root) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let blob = name.split('.').next().unwrap_or_default();
            let partial = name.contains(".incomplete") && path.parent().is_some_and(|p| p.ends_with("blobs"));
            if partial && !running.contains(blob) {
                self.report(&path, WhatIsWrong::Leftover, "a part of a download that is no longer running");
            } else if !partial && name.ends_with(".tmp") {
                self.report(&path, WhatIsWrong::Leftover, "left by a process that was killed");
            }
        }
        for path in unreferenced(self.repository) {
            if !self.problems.iter().any(|p| p.path == path) {
                self.report(&path, WhatIsWrong::Unreferenced, "no revision has it");
            }
        }
    }
}
