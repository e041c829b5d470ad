//! One file on its way: ranges, what is there already, checksum, publication.
//!
//! Data is written in place into `blobs/{etag}.incomplete`. Which ranges of it are there stands in
//! `{etag}.incomplete.json`, written often enough that a killed process loses at most a second. Only when the whole
//! file is there and its checksum is right does it become a blob, and then visible in the snapshot.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use serde_json::{Value, json};
use ureq::http::HeaderMap;

use super::cache::{Repository, create_folder_of, write};
use super::checksum::Checksum;
use super::disk::disk;
use super::http::{Client, Reply, Subject, encode, io_text, network, reader};
use super::listing::RepoFile;
use super::pace::Pace;
use super::ranges::Ranges;
use super::retry::Failure;
use super::xet::Xet;
use crate::error::{Error, ErrorKind, Result};
use crate::files::read_text;
use mlx_engine_base::progress::Retry;

/// Bytes that are read and written at once, for each connection.
const BUFFER: usize = 256 << 10;
/// Bytes of one request at least and at most, in files larger than that.
const CHUNK: (u64, u64) = (4 << 20, 32 << 20);
/// How long bytes may wait in memory for more.
const FLUSH: Duration = Duration::from_millis(100);
/// How often the state of a file is written down.
const SAVE: Duration = Duration::from_millis(500);
/// Bytes after which earlier failures are forgotten.
const PROGRESS: u64 = 64 << 10;
/// How often a file is begun anew because its content turned out wrong.
const RESTARTS: u32 = 2;
/// Files whose checksum is computed while they arrive.
const FOLLOWED: u64 = 4 << 20;

/// One file on its way.
pub(super) struct Transfer {
    pub file: RepoFile,
    client: Client,
    repository: Repository,
    id: String,
    commit: String,
    xet: Arc<Xet>,
    chunk: u64,
    /// Bytes that are there.
    pub done: AtomicU64,
    state: Mutex<State>,
    /// One connection writes at a time: the kernel lets no more into a file, and those that it keeps out spin.
    writing: Mutex<()>,
    /// More bytes are there, or a checksum is, or the file is over.
    moved: Condvar,
}

#[derive(Default)]
struct State {
    stage: Stage,
    lock: Option<File>,
    out: Option<Arc<File>>,
    there: Ranges,
    queue: VecDeque<(u64, u64)>,
    active: Vec<Active>,
    next_id: u64,
    /// The connection that alone fetches everything, from a server without ranges.
    alone: Option<u64>,
    /// No `Range` is asked for.
    plain: bool,
    /// Where the endpoint sent us.
    location: Option<String>,
    /// The ETag there.
    remote: Option<String>,
    /// Everything that arrived so far is to be thrown away.
    restart: Option<Error>,
    restarts: u32,
    /// Counts the beginnings, so that a checksum of an earlier one is not used.
    epoch: u64,
    digest: Option<(u64, Result<String>)>,
    saved: Option<Instant>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Waiting,
    Open,
    Finishing,
    Done,
}

struct Active {
    id: u64,
    start: u64,
    at: u64,
}

/// What a worker can do for a file.
pub(super) enum Claim {
    /// Fetch this range.
    Chunk(Chunk),
    /// Nothing now: others work on it, here or in another process.
    Busy,
    /// Nothing any more.
    Done,
}

/// A range that a worker fetches.
pub(super) struct Chunk {
    id: u64,
    at: u64,
    end: u64,
}

/// How the attempt at a range ended.
enum Attempt {
    Whole,
    /// Somebody else does the rest.
    Abandoned,
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
            state: Mutex::default(),
            writing: Mutex::default(),
            moved: Condvar::new(),
        }
    }

    pub fn is_done(&self) -> bool {
        self.state.lock().stage == Stage::Done
    }

    /// Leaves an unfinished file to whoever comes next. Nobody works on it any more.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.out = None;
        state.lock = None;
    }

    /// Whether the file, or the blob it will point to, is there already.
    pub fn take_cached(&self) -> Result<bool> {
        let size = |path: PathBuf| fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|m| m.len());
        let cached = size(self.repository.pointer(&self.commit, &self.file.path)) == Some(self.file.size);
        if !cached {
            if size(self.repository.blob(self.file.etag())) != Some(self.file.size) {
                return Ok(false);
            }
            self.repository.link(&self.commit, &self.file.path, self.file.etag())?;
        }
        self.end(&mut self.state.lock());
        Ok(true)
    }

    /// Bytes that still have to find room on the disk.
    pub fn missing_bytes(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let held = fs::metadata(self.incomplete()).map_or(0, |m| m.blocks() * 512);
        if self.is_done() { 0 } else { self.file.size.saturating_sub(held) }
    }

    /// What has to be fetched next.
    pub fn claim(self: &Arc<Self>) -> Result<Claim> {
        let mut state = self.state.lock();
        match state.stage {
            Stage::Done => return Ok(Claim::Done),
            Stage::Finishing => return Ok(Claim::Busy),
            Stage::Waiting => {
                let Some(lock) = self.repository.try_lock(self.file.etag())? else { return Ok(Claim::Busy) };
                state.lock = Some(lock);
                drop(state);
                // Whoever had the lock before may have done the work.
                if self.take_cached()? {
                    return Ok(Claim::Done);
                }
                state = self.state.lock();
                self.open(&mut state)?;
            }
            Stage::Open => {}
        }
        if state.restart.is_some() {
            return Ok(Claim::Busy);
        }
        let Some((at, end)) = state.queue.pop_front() else {
            // An empty or already complete file has nothing to fetch, but still has to be finished.
            if state.active.is_empty() {
                drop(state);
                self.settle()?;
            }
            return Ok(Claim::Busy);
        };
        let id = state.next_id;
        state.next_id += 1;
        state.active.push(Active { id, start: at, at });
        Ok(Claim::Chunk(Chunk { id, at, end }))
    }

    /// Opens the incomplete file and finds out what is in it.
    fn open(self: &Arc<Self>, state: &mut State) -> Result<()> {
        let path = self.incomplete();
        create_folder_of(&path)?;
        let failed = |e| disk(&path, e);
        let out = File::options().create(true).read(true).write(true).truncate(false).open(&path).map_err(failed)?;
        let kept = out.metadata().map_err(failed)?.len() == self.file.size;
        state.there = if kept { self.saved_ranges().unwrap_or_default() } else { Ranges::default() };
        out.set_len(self.file.size).map_err(failed)?;
        state.out = Some(Arc::new(out));
        state.stage = Stage::Open;
        self.fill_queue(state);
        self.follow(state.epoch)
    }

    fn fill_queue(&self, state: &mut State) {
        let size = if state.plain { self.file.size.max(1) } else { self.chunk };
        state.queue = state.there.gaps(self.file.size, size);
        self.done.store(state.there.total(), Ordering::Relaxed);
    }

    fn incomplete(&self) -> PathBuf {
        self.repository.blob(&format!("{}.incomplete", self.file.etag()))
    }

    fn state_path(&self) -> PathBuf {
        self.repository.blob(&format!("{}.incomplete.json", self.file.etag()))
    }

    /// The ranges that an earlier process has left.
    fn saved_ranges(&self) -> Option<Ranges> {
        let json: Value = serde_json::from_str(&read_text(&self.state_path(), 1 << 20).ok()?).ok()?;
        let fits = json.get("size")?.as_u64()? == self.file.size && json.get("etag")?.as_str()? == self.file.etag();
        fits.then(|| Ranges::from_json(json.get("there")?, self.file.size)).flatten()
    }

    fn save(&self, state: &mut State) {
        let mut there = state.there.clone();
        for part in &state.active {
            there.insert(part.start, part.at);
        }
        let json = json!({"etag": self.file.etag(), "size": self.file.size, "there": there.to_json()});
        // Without it the next process fetches more than it has to; nothing worse.
        if let Err(error) = write(&self.state_path(), json.to_string().as_bytes()) {
            log::warn!("{error}");
        }
        state.saved = Some(Instant::now());
    }

    /// Fetches a range, trying again where that may help.
    pub fn fetch(
        self: &Arc<Self>,
        mut chunk: Chunk,
        notice: &dyn Fn(Option<Retry>),
        network: &AtomicU64,
    ) -> Result<()> {
        let mut backoff = self.client.backoff();
        let result = loop {
            let from = chunk.at;
            let hash = self.xet_hash();
            let outcome = match hash {
                Some(hash) => self.attempt_xet(hash, &mut chunk, notice, network),
                None => self.attempt(&mut chunk, notice, network),
            };
            if chunk.at >= from + PROGRESS {
                backoff.reset();
            }
            match outcome {
                Ok(Attempt::Whole | Attempt::Abandoned) => break Ok(()),
                Err(failure) => {
                    // The address may be what is wrong: ask the endpoint again.
                    self.state.lock().location = None;
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
        self.release(&chunk);
        result?;
        self.settle()
    }

    /// The worker leaves its range.
    fn release(&self, chunk: &Chunk) {
        let mut state = self.state.lock();
        if let Some(place) = state.active.iter().position(|a| a.id == chunk.id) {
            let part = state.active.swap_remove(place);
            state.there.insert(part.start, part.at);
        }
        if state.alone == Some(chunk.id) {
            state.alone = None;
        }
        if state.stage == Stage::Open && state.restart.is_none() {
            self.save(&mut state);
        }
        self.moved.notify_all();
    }

    /// The name by which to ask Xet storage, unless plain HTTP is to be used. A file that came out damaged twice is
    /// tried that way once.
    fn xet_hash(&self) -> Option<&str> {
        let state = self.state.lock();
        let usable = self.xet.is_on() && !state.plain && state.restarts < RESTARTS;
        self.file.xet_hash.as_deref().filter(|_| usable)
    }

    /// The rest of a range from Xet storage.
    fn attempt_xet(
        &self,
        hash: &str,
        chunk: &mut Chunk,
        notice: &dyn Fn(Option<Retry>),
        traffic: &AtomicU64,
    ) -> Result<Attempt, Failure> {
        if self.is_abandoned(&self.state.lock(), chunk) {
            return Ok(Attempt::Abandoned);
        }
        let body = self.xet.open(&self.file.path, hash, chunk.at, chunk.end)?;
        self.receive(body, true, chunk, notice, traffic)
    }

    /// One request for the rest of a range.
    fn attempt(
        &self,
        chunk: &mut Chunk,
        notice: &dyn Fn(Option<Retry>),
        traffic: &AtomicU64,
    ) -> Result<Attempt, Failure> {
        let (location, plain) = {
            let state = self.state.lock();
            if self.is_abandoned(&state, chunk) {
                return Ok(Attempt::Abandoned);
            }
            (state.location.clone(), state.plain)
        };
        let file = Some(self.file.path.as_str());
        let about = Subject { id: &self.id, revision: &self.commit, file };
        let url = match &location {
            Some(url) => url.clone(),
            None => self.client.url(&format!("{}/resolve/{}/{}", self.id, self.commit, encode(&self.file.path, "/"))),
        };
        let range = (!plain).then_some((chunk.at, chunk.end));
        let reply = match self.client.get(&url, range, about) {
            Ok(reply) => reply,
            Err(failure) => return self.refused(failure, location.is_some()),
        };
        self.check_identity(&reply, location.is_some())?;
        match reply.response.status().as_u16() {
            206 => self.check_range(reply.response.headers(), chunk)?,
            _ => {
                self.check_length(reply.response.headers())?;
                if !self.go_alone(chunk) {
                    return Ok(Attempt::Abandoned);
                }
            }
        }
        let whole = reply.response.status().as_u16() == 206 || chunk.end == self.file.size;
        self.receive(reader(reply.response), whole, chunk, notice, traffic)
    }

    /// What an error status means here.
    fn refused(&self, failure: Failure, was_elsewhere: bool) -> Result<Attempt, Failure> {
        match failure.status {
            // A signed address that has expired.
            Some(400 | 401 | 403 | 404 | 410) if was_elsewhere => Err(Failure { transient: true, ..failure }),
            // The server believes that the file is shorter. Asking for all of it shows who is right.
            Some(416) => {
                self.state.lock().plain = true;
                Ok(self.ask_restart(failure.error))
            }
            _ => Err(failure),
        }
    }

    /// Whether this is the file that was listed, and the same as in earlier answers.
    fn check_identity(&self, reply: &Reply, by_location: bool) -> Result<(), Failure> {
        let text = |headers: &HeaderMap, name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let wrong = |what: String| Failure::transient(network(format!("{}/{}: {what}", self.id, self.file.path)));
        if !by_location {
            let own = &reply.own;
            if let Some(commit) = text(own, "X-Repo-Commit").filter(|c| *c != self.commit) {
                return Err(wrong(format!("the server sends commit {commit} instead of {}", self.commit)));
            }
            let linked = text(own, "X-Linked-Etag").or_else(|| text(own, "ETag").filter(|_| reply.elsewhere.is_none()));
            let is_sum = |e: &String| matches!(e.len(), 40 | 64) && e.bytes().all(|b| b.is_ascii_hexdigit());
            let expected = self.file.etag();
            if let Some(etag) = linked.map(|e| plain_etag(&e)).filter(is_sum).filter(|e| *e != expected) {
                return Err(wrong(format!("the server's ETag is {etag}, its list of files says {expected}")));
            }
            let size = text(own, "X-Linked-Size").and_then(|s| s.parse::<u64>().ok());
            if let Some(size) = size.filter(|s| *s != self.file.size) {
                return Err(wrong(format!("the server says {size} bytes, its list of files {}", self.file.size)));
            }
        }
        if let (Some(url), Some(etag)) = (&reply.elsewhere, text(reply.response.headers(), "ETag")) {
            let etag = plain_etag(&etag);
            let mut state = self.state.lock();
            state.location = Some(url.clone());
            match &state.remote {
                Some(known) if *known != etag => {
                    let error = network(format!(
                        "{}/{}: the file changed while it was downloaded (ETag {known}, now {etag})",
                        self.id, self.file.path
                    ));
                    state.remote = Some(etag);
                    state.restart.get_or_insert(error);
                }
                _ => state.remote = Some(etag),
            }
        }
        Ok(())
    }

    fn check_range(&self, headers: &HeaderMap, chunk: &Chunk) -> Result<(), Failure> {
        let header = headers.get("Content-Range").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let parsed = header.strip_prefix("bytes ").and_then(|r| r.split_once('/')).and_then(|(range, total)| {
            let start: u64 = range.split_once('-')?.0.parse().ok()?;
            Some((start, total.parse::<u64>().ok()))
        });
        match parsed {
            Some((start, total)) if start == chunk.at && total.is_none_or(|t| t == self.file.size) => Ok(()),
            _ => Err(Failure::transient(network(format!(
                "{}/{}: asked for bytes from {} of {}, the server sends {header:?}",
                self.id, self.file.path, chunk.at, self.file.size
            )))),
        }
    }

    fn check_length(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let length = headers.get("Content-Length").and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
        match length {
            Some(length) if length != self.file.size => Err(Failure::transient(network(format!(
                "{}/{}: the server sends {length} bytes, its list of files says {}",
                self.id, self.file.path, self.file.size
            )))),
            _ => Ok(()),
        }
    }

    /// The server sends the whole file: this connection takes all of it, the others leave. False if another does.
    fn go_alone(&self, chunk: &mut Chunk) -> bool {
        let mut state = self.state.lock();
        if self.is_abandoned(&state, chunk) {
            return false;
        }
        let whole = chunk.at == 0 && chunk.end == self.file.size;
        if !whole {
            state.alone = Some(chunk.id);
            state.queue.clear();
            state.there = Ranges::default();
            // Parts of connections that are leaving count for nothing, or the file would be complete too early.
            state.active.retain(|a| a.id == chunk.id);
        }
        for part in &mut state.active {
            (part.start, part.at) = (0, 0);
        }
        (chunk.at, chunk.end) = (0, self.file.size);
        self.done.store(0, Ordering::Relaxed);
        true
    }

    fn is_abandoned(&self, state: &State, chunk: &Chunk) -> bool {
        state.restart.is_some()
            || state.alone.is_some_and(|id| id != chunk.id)
            || !state.active.iter().any(|a| a.id == chunk.id)
    }

    fn ask_restart(&self, error: Error) -> Attempt {
        self.state.lock().restart.get_or_insert(error);
        Attempt::Abandoned
    }

    /// Writes what arrives. `whole` if nothing should follow the range.
    fn receive(
        &self,
        mut body: impl Read,
        whole: bool,
        chunk: &mut Chunk,
        notice: &dyn Fn(Option<Retry>),
        traffic: &AtomicU64,
    ) -> Result<Attempt, Failure> {
        let mut buffer = vec![0; BUFFER];
        let mut pace = Pace::new(self.client.options().stall);
        let mut told = false;
        let out = {
            let state = self.state.lock();
            // While the answer came, another connection may have done everything.
            if self.is_abandoned(&state, chunk) {
                return Ok(Attempt::Abandoned);
            }
            state.out.clone().ok_or_else(|| Error::internal("the file is not open"))?
        };
        while chunk.at < chunk.end {
            let room = buffer.len().min((chunk.end - chunk.at) as usize);
            let (n, read) = fill(&mut body, &mut buffer[..room]);
            let control = self.client.control();
            control.check()?;
            if control.is_paused() {
                return Err(Failure::transient(Error::new(ErrorKind::Cancelled, "paused")));
            }
            {
                let mut state = self.state.lock();
                if self.is_abandoned(&state, chunk) {
                    return Ok(Attempt::Abandoned);
                }
                if state.saved.is_none_or(|s| s.elapsed() >= SAVE) {
                    self.save(&mut state);
                }
            }
            let writing = self.writing.lock();
            out.write_all_at(&buffer[..n], chunk.at).map_err(|e| disk(&self.incomplete(), e))?;
            drop(writing);
            chunk.at += n as u64;
            traffic.fetch_add(n as u64, Ordering::Relaxed);
            let mut state = self.state.lock();
            if let Some(part) = state.active.iter_mut().find(|a| a.id == chunk.id) {
                part.at = chunk.at;
                self.done.fetch_add(n as u64, Ordering::Relaxed);
            }
            drop(state);
            if !told && n > 0 {
                told = true;
                notice(None);
            }
            if let Err(error) = read
                && chunk.at < chunk.end
            {
                return Err(self.broken(error, chunk));
            }
            if let Err(what) = pace.add(n)
                && chunk.at < chunk.end
            {
                return Err(Failure::transient(network(format!("{}/{}: {what}", self.id, self.file.path))));
            }
        }
        // Reading the end gives the connection back for the next range.
        if whole {
            let _ = body.read(&mut buffer[..1]);
        }
        Ok(Attempt::Whole)
    }

    fn broken(&self, error: io::Error, chunk: &Chunk) -> Failure {
        let name = format!("{}/{} at byte {}", self.id, self.file.path, chunk.at);
        let error = match error.downcast::<Failure>() {
            Ok(failure) => return failure,
            Err(error) => error,
        };
        match error.downcast::<ureq::Error>() {
            Ok(error) => self.client.network(&name, error),
            Err(error) => Failure::transient(network(format!("{name}: {}", io_text(&error)))),
        }
    }

    /// Begins anew or finishes, once nobody works on the file any more.
    fn settle(self: &Arc<Self>) -> Result<()> {
        let mut state = self.state.lock();
        if state.stage != Stage::Open || !state.active.is_empty() {
            return Ok(());
        }
        if let Some(error) = state.restart.take() {
            return self.restart(&mut state, error);
        }
        if !state.queue.is_empty() {
            return Ok(());
        }
        if state.there.total() < self.file.size {
            // Connections left because another wanted to do everything, and that one failed.
            self.fill_queue(&mut state);
            return Ok(());
        }
        state.stage = Stage::Finishing;
        drop(state);
        let found = self.digest()?;
        let mut state = self.state.lock();
        let expected = self.file.etag();
        if found != expected {
            state.stage = Stage::Open;
            let error = network(format!(
                "{}/{}: damaged on the way: its checksum is {found}, it should be {expected}",
                self.id, self.file.path
            ));
            return self.restart(&mut state, error);
        }
        drop(state);
        self.publish()
    }

    /// Throws everything away and begins anew, or gives up.
    fn restart(self: &Arc<Self>, state: &mut State, error: Error) -> Result<()> {
        let _ = fs::remove_file(self.state_path());
        state.there = Ranges::default();
        state.epoch += 1;
        state.location = None;
        state.alone = None;
        state.restarts += 1;
        self.done.store(0, Ordering::Relaxed);
        self.moved.notify_all();
        if state.restarts > RESTARTS {
            let _ = fs::remove_file(self.incomplete());
            return Err(error.context(format!("given up after {} tries", state.restarts)));
        }
        log::warn!("{error}; beginning anew");
        self.fill_queue(state);
        self.follow(state.epoch)
    }

    /// The file is whole and right: shows it.
    fn publish(&self) -> Result<()> {
        let blob = self.repository.blob(self.file.etag());
        let out = self.state.lock().out.clone();
        // A name must not be there before its bytes are, whatever becomes of the power.
        out.map_or(Ok(()), |out| out.sync_all()).map_err(|e| disk(&blob, e))?;
        fs::rename(self.incomplete(), &blob).map_err(|e| disk(&blob, e))?;
        let _ = fs::remove_file(self.state_path());
        self.repository.link(&self.commit, &self.file.path, self.file.etag())?;
        self.end(&mut self.state.lock());
        Ok(())
    }

    fn end(&self, state: &mut MutexGuard<State>) {
        state.stage = Stage::Done;
        state.out = None;
        state.lock = None;
        self.done.store(self.file.size, Ordering::Relaxed);
        self.moved.notify_all();
    }

    /// The checksum of the whole file.
    fn digest(&self) -> Result<String> {
        let mut state = self.state.lock();
        loop {
            let epoch = state.epoch;
            match &state.digest {
                Some((of, digest)) if *of == epoch => return digest.clone(),
                None if self.file.size <= FOLLOWED => break,
                _ => {}
            }
            self.moved.wait_for(&mut state, Duration::from_millis(50));
            self.client.control().check()?;
        }
        let out = state.out.clone().ok_or_else(|| Error::internal("the file is not open"))?;
        drop(state);
        let mut sum = Checksum::of(&self.file);
        self.add(&out, &mut sum, 0, self.file.size)?;
        Ok(sum.hex())
    }

    /// Computes the checksum of a large file while it arrives, on a thread of its own.
    fn follow(self: &Arc<Self>, epoch: u64) -> Result<()> {
        if self.file.size <= FOLLOWED {
            return Ok(());
        }
        let this = self.clone();
        let run = move || {
            let result = this.follow_epoch(epoch);
            if let Some(digest) = result.transpose() {
                this.state.lock().digest = Some((epoch, digest));
                this.moved.notify_all();
            }
        };
        let thread = std::thread::Builder::new().name("mlx-checksum".into()).spawn(run);
        thread.map(drop).map_err(|e| Error::new(ErrorKind::Io, "cannot start a thread").with_source(e))
    }

    /// `None` if the file is begun anew or given up meanwhile.
    fn follow_epoch(&self, epoch: u64) -> Result<Option<String>> {
        let mut sum = Checksum::of(&self.file);
        let mut at = 0;
        while at < self.file.size {
            let (out, to) = {
                let mut state = self.state.lock();
                loop {
                    if state.epoch != epoch || self.client.control().is_cancelled() {
                        return Ok(None);
                    }
                    let to = frontier(&state);
                    // In large pieces, except for the last.
                    if to >= (at + (1 << 20)).min(self.file.size) {
                        break (state.out.clone(), to);
                    }
                    self.moved.wait_for(&mut state, Duration::from_millis(50));
                }
            };
            let Some(out) = out else { return Ok(None) };
            self.add(&out, &mut sum, at, to)?;
            at = to;
        }
        Ok(Some(sum.hex()))
    }

    fn add(&self, out: &File, sum: &mut Checksum, mut at: u64, to: u64) -> Result<()> {
        let mut buffer = vec![0; BUFFER];
        while at < to {
            self.client.control().check()?;
            let room = buffer.len().min((to - at) as usize);
            out.read_exact_at(&mut buffer[..room], at).map_err(|e| disk(&self.incomplete(), e))?;
            sum.update(&buffer[..room]);
            at += room as u64;
        }
        Ok(())
    }
}

/// Bytes of one request for a file: all connections get the same number of them, so that none is left with the last one
/// while the others have nothing to do.
fn chunk_size(file: u64, connections: u64) -> u64 {
    let share = file.div_ceil(connections.max(1));
    let requests = share.div_ceil(CHUNK.1).max(1);
    share.div_ceil(requests).max(CHUNK.0)
}

/// Up to where everything is there.
fn frontier(state: &State) -> u64 {
    let mut there = state.there.clone();
    for part in &state.active {
        there.insert(part.start, part.at);
    }
    there.prefix()
}

/// Reads until the buffer is full, what is in it has waited long enough, or an error, which does not undo what came
/// before it.
fn fill(body: &mut impl Read, buffer: &mut [u8]) -> (usize, io::Result<()>) {
    let start = Instant::now();
    let mut filled = 0;
    while filled < buffer.len() && (filled == 0 || start.elapsed() < FLUSH) {
        match body.read(&mut buffer[filled..]) {
            Ok(0) => return (filled, Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => filled += n,
            Err(e) => return (filled, Err(e)),
        }
    }
    (filled, Ok(()))
}

fn plain_etag(etag: &str) -> String {
    etag.trim_start_matches("W/").trim_matches('"').to_owned()
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
