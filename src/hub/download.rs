//! Downloading a model: what it needs and what is missing, over several connections.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use mlx_engine_base::progress::{Progress, Retry, Stage};
use parking_lot::{Condvar, Mutex};

use super::cache::Repository;
use super::disk::{check_room, prepare, sync_folder};
use super::http::{Client, Subject};
use super::listing::{Listing, RepoFile};
use super::name::{ModelName, check_revision};
use super::options::HubOptions;
use super::progress::{FileProgress, Speed};
use super::retry::Failure;
use super::transfer::{Claim, Transfer};
use super::wanted::{Check, DownloadRequest};
use super::xet::Xet;
use crate::error::{Error, ErrorKind, Result};
use crate::threads;

/// How long a cancelled download may take to end before waiting callers are told that it is over. Connecting cannot be
/// interrupted; its thread then ends later, without touching anything.
const PATIENCE: Duration = Duration::from_millis(100);

/// A running download. Dropping it cancels it; what has arrived is kept for the next one.
pub struct Download {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    repository: Repository,
    id: String,
    revision: String,
    /// The revision is a commit of which everything is here, as far as is known.
    cached_will_do: bool,
    stage: Mutex<Stage>,
    commit: Mutex<Option<String>>,
    xet: OnceLock<Arc<Xet>>,
    transfers: Mutex<Vec<Arc<Transfer>>>,
    /// One slot for each worker, and one for the requests before them.
    retries: Mutex<Vec<Option<Retry>>>,
    /// Another process has the model alone.
    changing: AtomicBool,
    /// Bytes received, for the speed.
    traffic: AtomicU64,
    speed: Mutex<Speed>,
    failure: Mutex<Option<Error>>,
    result: Mutex<Option<Result<PathBuf>>>,
    over: Condvar,
}

impl Download {
    /// Starts a download on its own threads.
    ///
    /// # Errors
    /// If the id, the revision or the endpoint is malformed, or no thread can be started.
    pub fn start(options: HubOptions, request: DownloadRequest) -> Result<Download> {
        let name = ModelName::parse_at(&request.id, &options.endpoint)?;
        let (id, revision) = name.with_revision(request.revision.as_deref())?;
        let revision = revision.unwrap_or_else(|| "main".into());
        check_revision(&revision)?;
        let repository = Repository::new(&options.cache, &id)?;
        let cached = match request.cached_will_do {
            true => repository.commit(&revision)?.filter(|commit| repository.is_complete(commit)),
            false => None,
        };
        let shared = Arc::new(Shared {
            repository,
            client: Client::new(options)?,
            id,
            cached_will_do: cached.is_some(),
            // It is completed, not replaced by a newer one.
            revision: cached.unwrap_or(revision),
            stage: Mutex::new(Stage::Listing),
            commit: Mutex::default(),
            xet: OnceLock::new(),
            transfers: Mutex::default(),
            retries: Mutex::default(),
            changing: AtomicBool::new(false),
            traffic: AtomicU64::new(0),
            speed: Mutex::default(),
            failure: Mutex::default(),
            result: Mutex::default(),
            over: Condvar::new(),
        });
        let (this, check) = (shared.clone(), request.check);
        spawn("mlx-download", move || {
            let run = std::panic::AssertUnwindSafe(|| this.run(check));
            let result = std::panic::catch_unwind(run)
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Panic, "panic while downloading")));
            this.result.lock().get_or_insert(result);
            this.over.notify_all();
            // Only after the result is stored: waiting callers would otherwise take this for their own cancel.
            this.client.cancel();
        })?;
        Ok(Download { shared })
    }

    /// Closes all connections until [`resume`](Self::resume). What has arrived is kept.
    pub fn pause(&self) {
        self.shared.client.pause();
    }

    /// Continues where it stopped.
    pub fn resume(&self) {
        self.shared.client.resume();
    }

    /// Pauses or resumes it, if it is not in that state already.
    pub fn set_paused(&self, paused: bool) {
        match (paused, self.shared.client.control().is_paused()) {
            (true, false) => self.pause(),
            (false, true) => self.resume(),
            _ => {}
        }
    }

    /// Ends the download with [`ErrorKind::Cancelled`]. What has arrived is kept for the next one.
    pub fn cancel(&self) {
        self.shared.client.cancel();
    }

    /// Its progress.
    pub fn progress(&self) -> Progress {
        self.shared.progress()
    }

    /// Progress of each file that the model needs, as far as known, including files that were there before.
    pub fn files(&self) -> Vec<FileProgress> {
        self.shared.files()
    }

    /// The commit, once it is known.
    pub fn commit(&self) -> Option<String> {
        self.shared.commit.lock().clone()
    }

    /// Waits for the end and returns the folder of the snapshot.
    ///
    /// # Errors
    /// The error of the download.
    pub fn wait(&self) -> Result<PathBuf> {
        loop {
            if let Some(result) = self.wait_for(Duration::from_secs(1)) {
                return result;
            }
        }
    }

    /// Like [`wait`](Self::wait), but gives up after a while and returns `None`.
    pub fn wait_for(&self, at_most: Duration) -> Option<Result<PathBuf>> {
        let until = Instant::now() + at_most;
        let mut result = self.shared.result.lock();
        let mut cancelled = None;
        while result.is_none() {
            let now = Instant::now();
            if self.shared.client.control().is_cancelled() && self.shared.failure.lock().is_none() {
                if now >= *cancelled.get_or_insert(now) + PATIENCE {
                    *result = Some(Err(Error::cancelled()));
                    break;
                }
            } else if now >= until {
                return None;
            }
            // Short enough to notice a cancel.
            self.shared
                .over
                .wait_for(&mut result, until.saturating_duration_since(now).clamp(PATIENCE / 10, PATIENCE / 4));
        }
        result.clone()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.cancel();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    threads::spawn(name, Some(512 << 10), work)
}

impl Shared {
    fn run(self: &Arc<Self>, check: Option<Check>) -> Result<PathBuf> {
        let result = self.download(check);
        // Of all workers' failures the first one is reported.
        match &*self.failure.lock() {
            Some(error) if result.is_err() => Err(error.clone()),
            _ => result,
        }
    }

    fn download(self: &Arc<Self>, check: Option<Check>) -> Result<PathBuf> {
        if self.client.options().offline {
            return self.offline();
        }
        prepare(&self.client.options().cache)?;
        // The model cannot be removed or moved meanwhile.
        let _in_use = loop {
            let guard = self.repository.share()?;
            self.changing.store(guard.is_none(), Ordering::Relaxed);
            match guard {
                Some(guard) => break guard,
                None => self.client.control().sleep(Duration::from_millis(20))?,
            }
        };
        let (commit, names) = match self.client.commit(self.about(), &|r| self.notice(0, r)) {
            Err(error) if self.cached_will_do && error.kind() != ErrorKind::Cancelled => {
                log::warn!("{}: its list of files names no tokenizer, and the Hub cannot be asked: {error}", self.id);
                return Ok(self.repository.snapshot(&self.revision));
            }
            found => found?,
        };
        *self.commit.lock() = Some(commit.clone());
        let (mut listing, kept) = match self.kept(&commit, &names) {
            Some(listing) => (listing, true),
            None => (self.list(&commit, &names)?, false),
        };
        self.fetch_small(&commit, &listing, check)?;
        let mut index = self.repository.index(&commit)?;
        if kept && listing.weight_files(index.as_deref()).is_err() {
            // Whoever kept the list may have been told of a part of it only.
            listing = self.list(&commit, &names)?;
            self.fetch_small(&commit, &listing, None)?;
            index = self.repository.index(&commit)?;
        }
        let weights = listing.weight_files(index.as_deref()).map_err(|e| e.context(&self.id))?;
        *self.stage.lock() = Stage::Weights;
        self.fetch(&commit, &weights)?;
        let snapshot = self.repository.snapshot(&commit);
        sync_folder(&self.repository.root.join("blobs"));
        sync_folder(&snapshot);
        self.repository.save_ref(&self.revision, &commit)?;
        Ok(snapshot)
    }

    /// Configuration, tokenizer and templates. `config.json` comes first, and is checked.
    fn fetch_small(self: &Arc<Self>, commit: &str, listing: &Listing, check: Option<Check>) -> Result<()> {
        *self.stage.lock() = Stage::Config;
        let (config, small): (Vec<&RepoFile>, Vec<&RepoFile>) =
            listing.small_files().into_iter().partition(|f| f.path == "config.json");
        if config.is_empty() {
            return Err(Error::unsupported(format!(
                "{}: the repository has no config.json, so it is not a model",
                self.id
            )));
        }
        self.fetch(commit, &config)?;
        if let Some(check) = check {
            check(&self.repository.pointer(commit, "config.json"))?;
        }
        self.fetch(commit, &small)
    }

    /// The snapshot in the cache, or an error that says what to do.
    fn offline(&self) -> Result<PathBuf> {
        let commit = self.repository.commit(&self.revision)?;
        match commit.filter(|c| self.repository.is_complete(c)) {
            Some(commit) => Ok(self.repository.snapshot(&commit)),
            None => Err(Error::not_found(format!(
                "{} (revision {}) is not, or not completely, in the models directory {}, and nothing is downloaded offline: {}",
                self.id,
                self.revision,
                self.client.options().cache.display(),
                self.client.options().why_offline()
            ))),
        }
    }

    fn about(&self) -> Subject<'_> {
        Subject { id: &self.id, revision: &self.revision, file: None }
    }

    fn notice(&self, slot: usize, retry: Option<Retry>) {
        let mut retries = self.retries.lock();
        if retries.len() <= slot {
            retries.resize(slot + 1, None);
        }
        retries[slot] = retry;
    }

    /// The list of a commit's files that is kept, unless it was cut short: by a version that lost pages, or a server.
    fn kept(&self, commit: &str, names: &[String]) -> Option<Listing> {
        let listing = self.repository.listing(commit)?;
        let known = !names.is_empty();
        let fine = listing.files.contains_key("config.json")
            && listing.lacks(names).is_none()
            && (known || listing.has_tokenizer());
        fine.then_some(listing)
    }

    /// All files of a commit, as the Hub lists them. A commit never changes, so the list is kept.
    fn list(&self, commit: &str, names: &[String]) -> Result<Listing> {
        let listing = self.client.files(commit, names, self.about(), &|r| self.notice(0, r))?;
        self.repository.save_listing(commit, &listing)?;
        Ok(listing)
    }

    /// Downloads what is missing of these files.
    fn fetch(self: &Arc<Self>, commit: &str, files: &[&RepoFile]) -> Result<()> {
        let xet = self.xet.get_or_init(|| Arc::new(Xet::new(self.client.clone(), &self.id, commit)));
        let mut new = Vec::new();
        for file in files {
            let transfer = Transfer::new(
                self.client.clone(),
                self.repository.clone(),
                &self.id,
                commit,
                (*file).clone(),
                xet.clone(),
            );
            transfer.take_cached()?;
            new.push(Arc::new(transfer));
        }
        {
            let mut all = self.transfers.lock();
            all.retain(|old| new.iter().all(|new| new.file.path != old.file.path));
            all.extend(new.iter().cloned());
        }
        let missing: Vec<Arc<Transfer>> = new.into_iter().filter(|t| !t.is_done()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let needed = missing.iter().map(|t| t.missing_bytes()).sum();
        check_room(&self.client.options().cache, needed, &self.id)?;
        let workers = self.client.options().connections.clamp(1, 64);
        let crowd = Crowd { limit: workers, busy: 0, refused: Instant::now() };
        let pool = Arc::new(Pool {
            working: Mutex::new(0),
            changed: Condvar::new(),
            transfers: missing,
            crowd: Mutex::new(crowd),
            most: workers,
        });
        for slot in 1..=workers {
            let (this, of) = (self.clone(), pool.clone());
            *pool.working.lock() += 1;
            spawn("mlx-download", move || {
                let run = std::panic::AssertUnwindSafe(|| this.work(slot, &of));
                let result = std::panic::catch_unwind(run)
                    .unwrap_or_else(|_| Err(Error::new(ErrorKind::Panic, "panic while downloading")));
                if let Err(error) = result {
                    this.fail(error);
                }
                *of.working.lock() -= 1;
                of.changed.notify_all();
            })?;
        }
        let mut working = pool.working.lock();
        while *working > 0 {
            pool.changed.wait(&mut working);
        }
        drop(working);
        pool.transfers.iter().for_each(|t| t.close());
        if let Some(error) = self.failure.lock().clone() {
            return Err(error);
        }
        self.client.control().check()
    }

    /// The first failure is kept, and everything else stops.
    fn fail(&self, error: Error) {
        if error.kind() != ErrorKind::Cancelled {
            self.failure.lock().get_or_insert(error);
            self.client.cancel();
        }
    }

    /// What one worker does: ranges of any file, until there is nothing left.
    fn work(&self, slot: usize, pool: &Pool) -> Result<()> {
        let control = self.client.control();
        let notice = |retry| self.notice(slot, retry);
        loop {
            control.wait_while_paused()?;
            if pool.is_over() {
                return Ok(());
            }
            if !pool.enter() {
                control.sleep(Duration::from_millis(20))?;
                continue;
            }
            let result = self.work_once(pool, &notice);
            pool.exit();
            if !result? {
                control.sleep(Duration::from_millis(20))?;
            }
        }
    }

    /// Fetches a range of the first file that has one; false if there is nothing to do now.
    fn work_once(&self, pool: &Pool, notice: &dyn Fn(Option<Retry>)) -> Result<bool> {
        for transfer in &pool.transfers {
            if let Claim::Chunk(chunk) = transfer.claim()? {
                let left = Cell::new(false);
                let leaves = |failure: &Failure| {
                    left.set(pool.leaves(failure));
                    left.get()
                };
                transfer.fetch(chunk, notice, &self.traffic, &leaves)?;
                if !left.get() {
                    pool.worked();
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn files(&self) -> Vec<FileProgress> {
        let file = |t: &Arc<Transfer>| FileProgress {
            name: t.file.path.clone(),
            size: t.file.size,
            done: t.progress(),
            finished: t.is_done(),
        };
        self.transfers.lock().iter().map(file).collect()
    }

    /// What another process has to finish first.
    fn waiting(&self) -> Option<String> {
        if self.changing.load(Ordering::Relaxed) {
            return Some(format!("{} is being removed or moved by another process", self.id));
        }
        let transfers = self.transfers.lock();
        let elsewhere = transfers.iter().find(|t| !t.is_done() && t.is_elsewhere());
        elsewhere.map(|t| format!("{} is being downloaded by another process", t.file.path))
    }

    fn progress(&self) -> Progress {
        let stage = *self.stage.lock();
        let files = self.files();
        let (bytes_done, bytes_total) = (files.iter().map(|f| f.done).sum(), files.iter().map(|f| f.size).sum::<u64>());
        let speed = self.speed.lock().measure(self.traffic.load(Ordering::Relaxed), Instant::now());
        let seconds = (speed > 0.0).then(|| bytes_total.saturating_sub(bytes_done) as f64 / speed);
        // The files of the stage, of which the first that is not finished is at hand, else the last.
        let of_stage = |f: &&FileProgress| f.name.ends_with(".safetensors") == (stage == Stage::Weights);
        let files: Vec<&FileProgress> = files.iter().filter(of_stage).collect();
        let place = files.iter().position(|f| !f.finished).or_else(|| files.len().checked_sub(1));
        let file = place.map(|p| files[p]);
        Progress {
            stage,
            file: file.map_or_else(String::new, |f| f.name.clone()),
            file_index: place.map_or(0, |p| p + 1),
            total_files: files.len(),
            file_bytes_done: file.map_or(0, |f| f.done),
            file_bytes_total: file.map_or(0, |f| f.size),
            bytes_done,
            bytes_total,
            bytes_per_second: speed,
            remaining: seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()),
            retry: self.retries.lock().iter().flatten().max_by_key(|r| r.attempt).cloned(),
            paused: self.client.control().is_paused(),
            waiting: self.waiting(),
        }
    }
}

/// The workers of one stage.
struct Pool {
    transfers: Vec<Arc<Transfer>>,
    working: Mutex<usize>,
    changed: Condvar,
    crowd: Mutex<Crowd>,
    /// The most connections at once.
    most: usize,
}

/// How many connections the server takes at once, as far as is known.
struct Crowd {
    limit: usize,
    busy: usize,
    /// When it last refused one, or was last tried with one more.
    refused: Instant,
}

/// After how much time without refusals a server is tried with one more connection.
const CALM: Duration = Duration::from_secs(10);

impl Pool {
    fn is_over(&self) -> bool {
        self.transfers.iter().all(|t| t.is_done())
    }

    /// Whether one more worker may be busy.
    fn enter(&self) -> bool {
        let mut crowd = self.crowd.lock();
        let may = crowd.busy < crowd.limit;
        crowd.busy += usize::from(may);
        may
    }

    fn exit(&self) {
        self.crowd.lock().busy -= 1;
    }

    /// Whether a worker gives up its connection because the server has enough of them. The last one waits instead.
    fn leaves(&self, failure: &Failure) -> bool {
        let mut crowd = self.crowd.lock();
        let leaves = matches!(failure.status, Some(429 | 503)) && crowd.busy > 1;
        if leaves {
            crowd.limit = crowd.limit.min(crowd.busy - 1).max(1);
            crowd.refused = Instant::now();
            log::warn!("{failure}; going on with {} connections", crowd.limit);
        }
        leaves
    }

    /// A range has come.
    fn worked(&self) {
        let mut crowd = self.crowd.lock();
        if crowd.limit < self.most && crowd.refused.elapsed() >= CALM {
            crowd.limit += 1;
            crowd.refused = Instant::now();
        }
    }
}
