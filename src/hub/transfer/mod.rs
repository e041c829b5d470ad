//! The transfer of one file: ranges, resume, checksum, publication.
//!
//! Data is written in place into `blobs/{etag}.mlxe.incomplete`. Its completed ranges are recorded in
//! `{etag}.mlxe.incomplete.json`, written often enough that a killed process loses at most a second. Only when the file is
//! complete and its checksum is right does it become a blob, and then visible in the snapshot.

mod parts;
mod receive;
mod request;
mod saved;
mod sum;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use mlx_engine_base::progress::Retry;
use parking_lot::{Condvar, Mutex};

use super::blobs::{create_folder_of, same_file};
use super::cache::Repository;
use super::checksum::Checksum;
use super::disk::disk;
use super::http::{Client, network};
use super::listing::RepoFile;
use super::ranges::Ranges;
use super::retry::Failure;
use super::whole::{is_pointer, is_whole};
use super::xet::Xet;
use crate::error::{Error, Result};

pub(super) use parts::Chunk;
use parts::Parts;

/// Bytes read and written at once, per connection.
const BUFFER: usize = 256 << 10;
/// Bytes of one request at least and at most, in files larger than that.
const CHUNK: (u64, u64) = (4 << 20, 32 << 20);
/// Bytes after which earlier failures are forgotten.
const PROGRESS: u64 = 64 << 10;
/// Between etag and ending of an unfinished file: `{etag}.incomplete` is the Python libraries', which take its length for what
/// is there.
const OURS: &str = "mlxe";
/// What servers without Git LFS deliver in place of a file.
const POINTER: &str = "delivers a Git LFS pointer in place of the file";
/// The largest file whose checksum is compared where nothing else keeps it from being changed.
const QUICK: u64 = 4 << 20;
/// How often a file is restarted because its content turned out wrong.
const RESTARTS: u32 = 2;

/// The transfer of one file.
pub(super) struct Transfer {
    pub file: RepoFile,
    client: Client,
    repository: Repository,
    id: String,
    commit: String,
    xet: Arc<Xet>,
    chunk: u64,
    /// Bytes that have arrived. Falls where they turn out wrong.
    pub done: AtomicU64,
    /// The most bytes that were reported.
    reported: AtomicU64,
    state: Mutex<State>,
    /// One connection writes at a time: the kernel admits only one writer per file, and the others spin.
    writing: Mutex<()>,
    /// Another process has its lock.
    elsewhere: AtomicBool,
    /// Signals more bytes, a checksum, or the end of the file.
    moved: Condvar,
}

/// The state of a file.
///
/// ```text
/// Waiting -> Fetching -> Checking -> Done
///              |    ^       |
///              v    |       |   the checksum is wrong
///            Spoiled <------+   the content is
/// ```
///
/// From anywhere to `Done` if the cache turns out to have the file. A file that is spoiled a third time is an error.
#[derive(Default)]
enum Step {
    /// Waiting for its lock, which another download may hold.
    #[default]
    Waiting,
    /// It is open, and workers fetch its parts.
    Fetching,
    /// What has arrived is useless, and is discarded once the last worker has left.
    Spoiled(Error),
    /// All bytes have arrived; the checksum is pending.
    Checking,
    /// It is visible in the snapshot.
    Done,
}

#[derive(Default)]
struct State {
    step: Step,
    /// While it is open, so that no other process writes into it.
    lock: Option<File>,
    out: Option<Arc<File>>,
    parts: Parts,
    source: Source,
    restarts: u32,
    /// Counts the restarts, so that a checksum of an earlier attempt is not used.
    epoch: u64,
    /// The checksum of this attempt.
    digest: Option<(u64, Result<String>)>,
    saved: Option<Instant>,
}

/// What is known about the source of the file.
#[derive(Default)]
struct Source {
    /// No `Range` is requested.
    plain: bool,
    /// The target of the endpoint's redirect.
    location: Option<String>,
}

impl State {
    /// The content is wrong. The first reason is kept.
    fn spoil(&mut self, error: Error) {
        if matches!(self.step, Step::Fetching) {
            self.step = Step::Spoiled(error);
        }
    }

    /// Whether a worker's range does not count any more.
    fn has_abandoned(&self, chunk: &Chunk) -> bool {
        !matches!(self.step, Step::Fetching) || !self.parts.counts(chunk)
    }
}

/// What a worker can do for a file.
pub(super) enum Claim {
    /// Fetch this range.
    Chunk(Chunk),
    /// Nothing now: others are on it, here or in another process.
    Busy,
    /// Nothing any more.
    Done,
}

/// How the attempt at a range ended.
enum Attempt {
    Whole,
    /// Another worker does the rest.
    Abandoned,
}

/// Where a worker reports what it does.
struct Told<'a> {
    /// A failure that is about to be retried, or the end of that wait.
    notice: &'a dyn Fn(Option<Retry>),
    /// Counts the bytes received.
    traffic: &'a AtomicU64,
}

impl Transfer {
    pub fn new(client: Client, repository: Repository, id: &str, commit: &str, file: RepoFile, xet: Arc<Xet>) -> Self {
        let chunk = chunk_size(file.size, client.options().connections as u64);
        Transfer {
            file,
            client,
            repository,
            id: id.to_owned(),
            commit: commit.to_owned(),
            xet,
            chunk,
            done: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            state: Mutex::default(),
            writing: Mutex::default(),
            elsewhere: AtomicBool::new(false),
            moved: Condvar::new(),
        }
    }

    pub fn is_done(&self) -> bool {
        matches!(self.state.lock().step, Step::Done)
    }

    /// Bytes that have arrived, for whoever watches: never less than before, also where a file is restarted.
    pub fn progress(&self) -> u64 {
        let done = self.done.load(Ordering::Relaxed).min(self.file.size);
        self.reported.fetch_max(done, Ordering::Relaxed).max(done)
    }

    /// Leaves an unfinished file for later. No worker is on it any more.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.out = None;
        state.lock = None;
    }

    /// Whether the file, or the blob it will point to, exists already.
    pub fn take_cached(&self) -> Result<bool> {
        let blob = self.repository.blob(self.file.etag());
        let pointer = self.repository.pointer(&self.commit, &self.file.path);
        if !self.is_right(&pointer, &blob) {
            if !is_whole(&blob, self.file.size) {
                return Ok(false);
            }
            self.repository.link(&self.commit, &self.file.path, self.file.etag())?;
        }
        self.clear_away();
        self.end();
        Ok(true)
    }

    /// Whether a file of the snapshot is what it should be. One that is no link, as on file systems without them, has a
    /// name under which people edit it.
    fn is_right(&self, pointer: &Path, blob: &Path) -> bool {
        if !is_whole(pointer, self.file.size) {
            return false;
        }
        let own = fs::symlink_metadata(pointer).is_ok_and(|m| m.is_file());
        if !own || self.file.size > QUICK || same_file(pointer, blob) {
            return true;
        }
        let mut sum = Checksum::of(&self.file);
        fs::read(pointer).is_ok_and(|bytes| {
            sum.update(&bytes);
            sum.hex() == self.file.etag()
        })
    }

    /// Another program has brought the file: what we have of it is of no use, unless a process of ours is at it.
    fn clear_away(&self) {
        if self.incomplete().exists() {
            let locked = self.state.lock().lock.is_some();
            if locked || matches!(self.repository.try_lock(self.file.etag()), Ok(Some(_))) {
                self.discard();
            }
        }
    }

    /// Whether another process is downloading the file.
    pub fn is_elsewhere(&self) -> bool {
        self.elsewhere.load(Ordering::Relaxed)
    }

    /// Bytes that still need space on the disk.
    pub fn missing_bytes(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let held = fs::metadata(self.incomplete()).map_or(0, |m| m.blocks() * 512);
        if self.is_done() { 0 } else { self.file.size.saturating_sub(held) }
    }

    /// What has to be fetched next.
    pub fn claim(self: &Arc<Self>) -> Result<Claim> {
        let mut state = self.state.lock();
        match &state.step {
            Step::Done => return Ok(Claim::Done),
            Step::Checking | Step::Spoiled(_) => return Ok(Claim::Busy),
            // Another worker of ours has just got the lock.
            Step::Waiting if state.lock.is_some() => return Ok(Claim::Busy),
            Step::Waiting => {
                let lock = self.repository.try_lock(self.file.etag())?;
                self.elsewhere.store(lock.is_none(), Ordering::Relaxed);
                if lock.is_none() {
                    return Ok(Claim::Busy);
                }
                state.lock = lock;
                drop(state);
                // The previous holder of the lock may have done the work.
                if self.take_cached()? {
                    return Ok(Claim::Done);
                }
                state = self.state.lock();
                self.open(&mut state)?;
            }
            Step::Fetching => {}
        }
        if let Some(chunk) = state.parts.claim() {
            return Ok(Claim::Chunk(chunk));
        }
        // An empty or already complete file has nothing to fetch, but still has to be finished.
        drop(state);
        self.settle()?;
        Ok(Claim::Busy)
    }

    /// Opens the incomplete file and finds out what is in it.
    fn open(self: &Arc<Self>, state: &mut State) -> Result<()> {
        create_folder_of(&self.incomplete())?;
        let taken = self.take_over();
        let (out, length) = self.create()?;
        let is_new = taken.is_some();
        let there = match taken {
            Some(taken) => taken,
            None if length == self.file.size => self.saved_ranges().unwrap_or_default(),
            None => Ranges::default(),
        };
        state.parts = Parts::new(self.file.size, there, self.piece(state));
        self.done.store(state.parts.total(), Ordering::Relaxed);
        state.out = Some(Arc::new(out));
        state.step = Step::Fetching;
        if is_new {
            self.save(state);
        }
        self.follow(state.epoch)
    }

    /// The incomplete file, as long as the whole, and its length before.
    fn create(&self) -> Result<(File, u64)> {
        let path = self.incomplete();
        let failed = |e| disk(&path, e);
        let out = File::options().create(true).read(true).write(true).truncate(false).open(&path).map_err(failed)?;
        let length = out.metadata().map_err(failed)?.len();
        out.set_len(self.file.size).map_err(failed)?;
        Ok((out, length))
    }

    /// Bytes of one request.
    fn piece(&self, state: &State) -> u64 {
        if state.source.plain { self.file.size.max(1) } else { self.chunk }
    }

    fn incomplete(&self) -> PathBuf {
        self.repository.blob(&format!("{}.{OURS}.incomplete", self.file.etag()))
    }

    /// Fetches a range, with retries. `leaves` says of a failure whether the rest of the range is left to others.
    pub fn fetch(
        self: &Arc<Self>,
        mut chunk: Chunk,
        notice: &dyn Fn(Option<Retry>),
        traffic: &AtomicU64,
        leaves: &dyn Fn(&Failure) -> bool,
    ) -> Result<()> {
        let told = Told { notice, traffic };
        let mut backoff = self.client.backoff();
        // A server that says when to come back is believed once.
        let mut told_to_wait = false;
        let result = loop {
            let from = chunk.at;
            let hash = self.xet_hash();
            let outcome = match hash {
                Some(hash) => self.attempt_xet(hash, &mut chunk, &told),
                None => self.attempt(&mut chunk, &told),
            };
            if chunk.at >= from + PROGRESS {
                backoff.reset();
            }
            match outcome {
                Ok(Attempt::Whole | Attempt::Abandoned) => break Ok(()),
                // The server wants fewer connections, and others have some: they go on without this one.
                Err(failure) if (failure.after.is_none() || told_to_wait) && leaves(&failure) => {
                    self.state.lock().parts.give_back(&chunk);
                    break Ok(());
                }
                Err(failure) => {
                    told_to_wait |= failure.after.is_some();
                    // The URL may have expired: ask the endpoint again.
                    self.state.lock().source.location = None;
                    if let Err(error) = self.client.wait(&mut backoff, failure, notice) {
                        // What Xet storage does not deliver, plain HTTP may.
                        match hash {
                            Some(_) if self.xet.give_up(&error) => backoff.reset(),
                            Some(_) => break Err(error),
                            None => break Err(self.xet.explain(error)),
                        }
                    }
                }
            }
        };
        notice(None);
        self.leave(&chunk);
        result?;
        self.settle()
    }

    /// The worker leaves its range.
    fn leave(&self, chunk: &Chunk) {
        let mut state = self.state.lock();
        state.parts.leave(chunk);
        if matches!(state.step, Step::Fetching) {
            self.save(&mut state);
        }
        self.moved.notify_all();
    }

    /// The name by which to ask Xet storage, unless plain HTTP is to be used. A file that came out damaged twice is
    /// tried that way once.
    fn xet_hash(&self) -> Option<&str> {
        let state = self.state.lock();
        let usable = self.xet.is_on() && !state.source.plain && state.restarts < RESTARTS;
        self.file.xet_hash.as_deref().filter(|_| usable)
    }

    /// The rest of a range from Xet storage.
    fn attempt_xet(&self, hash: &str, chunk: &mut Chunk, told: &Told) -> Result<Attempt, Failure> {
        if self.state.lock().has_abandoned(chunk) {
            return Ok(Attempt::Abandoned);
        }
        let body = self.xet.open(&self.file.path, hash, chunk.at, chunk.end)?;
        self.receive(body, true, chunk, told)
    }

    /// Once no worker is on the file any more: restarts it, or verifies and publishes it.
    fn settle(self: &Arc<Self>) -> Result<()> {
        let mut state = self.state.lock();
        if !state.parts.is_idle() {
            return Ok(());
        }
        match std::mem::take(&mut state.step) {
            Step::Spoiled(error) => return self.restart(&mut state, error),
            Step::Fetching => state.step = Step::Fetching,
            other => {
                state.step = other;
                return Ok(());
            }
        }
        if state.parts.has_queue() {
            return Ok(());
        }
        if state.parts.total() < self.file.size {
            // Workers left because another wanted to do everything, and that one failed.
            let piece = self.piece(&state);
            state.parts.cut(piece);
            self.done.store(state.parts.total(), Ordering::Relaxed);
            return Ok(());
        }
        state.step = Step::Checking;
        drop(state);
        let found = self.digest()?;
        if is_pointer(&self.incomplete()) {
            // Its list says so, too: the next time brings the same.
            self.discard();
            let from = &self.client.options().endpoint;
            return Err(network(format!("{}/{}: {from} {POINTER}", self.id, self.file.path)));
        }
        let expected = self.file.etag();
        if found != expected {
            let error = network(format!(
                "{}/{}: damaged on the way: its checksum is {found}, it should be {expected}",
                self.id, self.file.path
            ));
            return self.restart(&mut self.state.lock(), error);
        }
        self.publish()
    }

    /// Discards everything and restarts, or gives up.
    fn restart(self: &Arc<Self>, state: &mut State, error: Error) -> Result<()> {
        self.forget();
        state.step = Step::Fetching;
        state.epoch += 1;
        state.source.location = None;
        state.restarts += 1;
        let piece = self.piece(state);
        state.parts.clear(piece);
        self.done.store(0, Ordering::Relaxed);
        self.moved.notify_all();
        if state.restarts > RESTARTS {
            self.discard();
            return Err(error.context(format!("gave up after {} attempts", state.restarts)));
        }
        log::warn!("{error}; beginning anew");
        self.follow(state.epoch)
    }

    fn discard(&self) {
        let _ = fs::remove_file(self.incomplete());
        self.forget();
    }

    /// The file is complete and correct: publishes it.
    fn publish(self: &Arc<Self>) -> Result<()> {
        let blob = self.repository.blob(self.file.etag());
        let out = self.state.lock().out.clone();
        // A name must not appear before its bytes are on the disk, even if the power fails.
        out.map_or(Ok(()), |out| out.sync_all()).map_err(|e| disk(&blob, e))?;
        match fs::rename(self.incomplete(), &blob) {
            // Another program has cleaned up meanwhile.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let (out, _) = self.create()?;
                let mut state = self.state.lock();
                state.out = Some(Arc::new(out));
                let error = Error::io(self.incomplete(), e).context("removed while it was downloaded");
                return self.restart(&mut state, error);
            }
            other => other.map_err(|e| disk(&blob, e))?,
        }
        self.forget();
        self.repository.link(&self.commit, &self.file.path, self.file.etag())?;
        self.end();
        Ok(())
    }

    fn end(&self) {
        let mut state = self.state.lock();
        state.step = Step::Done;
        state.out = None;
        state.lock = None;
        self.done.store(self.file.size, Ordering::Relaxed);
        self.moved.notify_all();
    }
}

/// Bytes of one request for a file: all connections get the same number of them, so that none is left with the last one
/// while the others have nothing to do.
fn chunk_size(file: u64, connections: u64) -> u64 {
    let share = file.div_ceil(connections.max(1));
    let requests = share.div_ceil(CHUNK.1).max(1);
    share.div_ceil(requests).max(CHUNK.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_share_a_file_evenly() {
        for (file, connections) in [(400_000_000, 8), (1_000_000_000, 8), (5_000_000_001, 3), (260_000_000, 1)] {
            let chunk = chunk_size(file, connections);
            assert!((CHUNK.0..=CHUNK.1).contains(&chunk), "{chunk}");
            assert_eq!(file.div_ceil(chunk) % connections, 0, "{file} bytes in chunks of {chunk}");
        }
        assert_eq!(
            [chunk_size(0, 8), chunk_size(9_000_000, 8), chunk_size(9_000_000, 0)],
            [CHUNK.0, CHUNK.0, 9_000_000]
        );
    }
}
