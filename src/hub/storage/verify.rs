//! Verifying the models directory.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::blobs::is_temporary;
use super::super::cache::Repository;
use super::super::checksum::Checksum;
use super::super::disk::disk;
use super::super::listing::RepoFile;
use super::super::whole::is_pointer;
use super::remove::{Leftover, is_whole_blob, unreferenced};
use super::{Meter, Stage, Storage, Watch, files_below, folder_names};
use crate::error::{Error, ErrorKind, Result};
use crate::files::{open, read_json, read_text};

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
    let listed = listed(repository);
    let mut found = Model { id, repository, listed, problems: Vec::new(), doubtful: Vec::new(), named_by_git: false };
    found.check_links();
    for blob in &blobs_of(repository) {
        result.bytes += found.check_content(blob, meter)?;
        result.files += 1;
    }
    found.check_doubtful();
    found.check_rest();
    let mut problems = found.problems;
    if fix {
        problems.iter_mut().try_for_each(repair)?;
        // Links to damaged files are dangling now.
        let gone = |l: &&PathBuf| fs::metadata(l).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
        for link in files_below(&repository.root.join("snapshots")).iter().filter(gone) {
            fs::remove_file(link).map_err(|e| disk(link, e))?;
        }
    }
    result.problems.extend(problems);
    Ok(())
}

/// The files whose content is checked: complete blobs, and regular files in snapshots.
fn blobs_of(repository: &Repository) -> Vec<PathBuf> {
    let mut all = files_below(&repository.root.join("blobs"));
    all.retain(|path| is_whole_blob(path));
    let own = files_below(&repository.root.join("snapshots")).into_iter();
    all.extend(own.filter(|p| fs::symlink_metadata(p).is_ok_and(|m| m.is_file())));
    all
}

/// What the lists say of a file: by the name of its blob, by its place in a snapshot, and by where that leads, which is a
/// blob of another name where a mirror's ETags are no checksums.
fn listed(repository: &Repository) -> HashMap<PathBuf, RepoFile> {
    let mut all = HashMap::new();
    for commit in folder_names(&repository.root.join("snapshots")) {
        for file in repository.listing(&commit).into_iter().flat_map(|l| l.files.into_values()) {
            let pointer = repository.pointer(&commit, &file.path);
            if let Ok(target) = fs::canonicalize(&pointer) {
                all.entry(target).or_insert_with(|| file.clone());
            }
            all.insert(pointer, file.clone());
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
    /// Blobs that no list has, and whose names may be checksums of git that they do not have.
    doubtful: Vec<(PathBuf, String)>,
    /// Whether a name of a blob is such a checksum.
    named_by_git: bool,
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
        let full = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let root = full(&self.repository.root);
        let (blobs, all) = (full(&self.repository.root.join("blobs")), self.repository.root.parent().map(full));
        // Blobs may be kept elsewhere, by links from their folder, and what models share beside them.
        let is_inside = |path: &Path, target: &Path| {
            let link = fs::read_link(path).ok().and_then(|to| path.parent()?.join(to).parent().map(full));
            target.starts_with(&root)
                || link == Some(blobs.clone())
                || all.as_ref().is_some_and(|all| target.starts_with(all))
        };
        for commit in folder_names(&self.repository.root.join("snapshots")) {
            let folder = self.repository.snapshot(&commit);
            for path in files_below(&folder) {
                match fs::canonicalize(&path) {
                    Err(_) => self.report(&path, WhatIsWrong::Dangling, "its content is gone"),
                    Ok(target) if !is_inside(&path, &target) => {
                        self.report(&path, WhatIsWrong::Outside, "leads out of the model's folder");
                    }
                    Ok(_) if is_pointer(&path) => {
                        let what = "is a Git LFS pointer, not the file itself";
                        self.report(&path, WhatIsWrong::Unreadable, what);
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
        let mut file = match open(path) {
            Ok(file) => file,
            Err(e) => {
                self.report(path, WhatIsWrong::Unreadable, &e.to_string());
                return Ok(0);
            }
        };
        let size = file.metadata().map_err(|e| Error::io(path, e))?.len();
        meter.file(format!("{}/{name}", self.id), size)?;
        let full = || fs::canonicalize(path).ok();
        let listed = self.listed.get(path).or_else(|| self.listed.get(&full()?)).cloned();
        let in_blobs = path.starts_with(self.repository.root.join("blobs"));
        // A blob whose name is its checksum is right whatever the lists say, and so is one that a list has by another.
        let wanted: Vec<&str> =
            in_blobs.then_some(name.as_str()).into_iter().chain(listed.as_ref().map(RepoFile::etag)).collect();
        let of = |length| wanted.iter().any(|w| w.len() == length && w.bytes().all(|b| b.is_ascii_hexdigit()));
        let mut sums = Vec::new();
        if of(64) {
            sums.push(Checksum::sha256());
        }
        let git = of(40).then_some(sums.len());
        if git.is_some() {
            sums.extend([Checksum::git(size), Checksum::sha1()]);
        }
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
            sums.iter_mut().for_each(|sum| sum.update(&buffer[..n]));
            read += n as u64;
            meter.add(n as u64)?;
        }
        let found: Vec<String> = sums.into_iter().map(Checksum::hex).collect();
        let is_right = found.iter().any(|sum| wanted.contains(&sum.as_str()));
        let damaged = || format!("damaged: its checksum is {}", found[0]);
        match listed {
            _ if is_right => self.named_by_git |= in_blobs && git.is_some_and(|at| found[at] == name),
            Some(listed) if listed.size != size => {
                self.report(path, WhatIsWrong::Size, &format!("{size} bytes instead of {}", listed.size));
            }
            _ if found.is_empty() => {}
            None if name.len() == 40 => self.doubtful.push((path.to_owned(), damaged())),
            _ => self.report(path, WhatIsWrong::Checksum, &damaged()),
        }
        Ok(read)
    }

    /// Servers other than the Hub name blobs by ETags that look like its checksums and are none.
    fn check_doubtful(&mut self) {
        for (path, what) in std::mem::take(&mut self.doubtful) {
            match self.named_by_git {
                true => self.report(&path, WhatIsWrong::Checksum, &what),
                false => log::info!("{}: nothing says what its checksum should be", path.display()),
            }
        }
    }

    /// Whether a file that is named like one on its way is a file of the model, or says where a branch is.
    fn is_something(&self, path: &Path) -> bool {
        let of_refs = path.strip_prefix(self.repository.root.join("refs")).is_ok();
        let commit =
            || read_text(path, 256).is_ok_and(|c| self.repository.snapshot(c.trim()).is_dir() && !c.trim().is_empty());
        self.listed.contains_key(path) || of_refs && commit()
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
            } else if !partial && is_temporary(&name) && !self.is_something(&path) {
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
