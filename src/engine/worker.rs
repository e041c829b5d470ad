//! The engine's thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use once_cell::sync::Lazy;
use parking_lot::Mutex;

use super::exit::{InHost, begin_exit};
use super::panic::panic_error;
use super::prefix::{Held, Prefixes};
use super::scheduler::{Demand, Rules, Scheduler};
use super::serving::Serving;
use super::task::enter_observed_thread;
use crate::array::{Device, before_exit, memory, set_device, synchronize};
use crate::error::{Error, Result};
use crate::fork::Process;
use crate::generate::Others;
use crate::models::LanguageModel;
use crate::threads;

/// What one step of a job did.
pub(crate) enum Step {
    /// There is more to do.
    Again,
    /// There will be more to do: work elsewhere is under way.
    Waiting,
    /// The job has reported its end.
    Done,
}

/// Work on the engine's thread.
pub(crate) trait Job {
    /// Does a little and returns.
    fn step(&mut self, worker: &mut Worker) -> Step;

    /// The last step panicked; the job will be dropped.
    fn panicked(&mut self, error: Error);
}

type Start = Box<dyn FnOnce(&mut Worker) -> Box<dyn Job> + Send>;

enum Message {
    Start(Start),
    Unload(u64),
    /// A generation.
    Generate(Demand),
    /// What generations leave from now on, and how they are scheduled.
    Configure(usize, Held, Rules),
    /// Forget what generations left.
    ClearPrefixes,
    /// The engine is gone: free everything and wait for the next one.
    Release,
    /// The process ends: free everything, say so, and touch MLX no more.
    Exit(Sender<()>),
}

/// Threads whose engine is gone. MLX keeps a worker for every thread that ever computed, so threads are used again
/// instead of ended.
static IDLE: Lazy<Mutex<Vec<Handle>>> = Lazy::new(Default::default);

/// A thread, and the way to it.
#[derive(Clone)]
struct Thread {
    id: ThreadId,
    sender: Sender<Message>,
    in_host: InHost,
}

/// All threads, for the end of the process.
static THREADS: Lazy<Mutex<Vec<Thread>>> = Lazy::new(Default::default);

/// The process of these threads.
static STARTED_IN: OnceLock<Process> = OnceLock::new();

/// How often jobs that wait for work elsewhere are asked, where there is nothing else to do.
const NAP: Duration = Duration::from_millis(20);

/// How long the end of the process waits for steps under way.
const EXIT_PATIENCE: Duration = Duration::from_secs(10);

/// How often it looks at threads that may be in a callback.
const EXIT_TICK: Duration = Duration::from_millis(2);

/// Stops all engines; without it they would use MLX while it is being destroyed.
extern "C" fn stop_all() {
    // In a forked process there are no threads to be stopped.
    if !STARTED_IN.get().is_some_and(|process| process.is_current()) || !begin_exit() {
        return;
    }
    // A callback that ends the process is on one of the threads, which therefore does nothing else any more.
    let here = thread::current().id();
    let others = THREADS.lock().iter().filter(|other| other.id != here).cloned().collect::<Vec<_>>();
    let stopping = others.into_iter().filter_map(|other| {
        let (stopped, is_stopped) = channel();
        other.sender.send(Message::Exit(stopped)).ok()?;
        Some((other.in_host, is_stopped))
    });
    let until = Instant::now() + EXIT_PATIENCE;
    for (in_host, is_stopped) in stopping.collect::<Vec<_>>() {
        // A thread in a callback stays there, so it need not be waited for.
        while matches!(is_stopped.recv_timeout(EXIT_TICK), Err(RecvTimeoutError::Timeout)) && !in_host.get() {
            if Instant::now() > until {
                return;
            }
        }
    }
}

/// The way to an engine's thread.
pub struct Handle {
    device: Device,
    sender: Sender<Message>,
}

impl Handle {
    /// An idle thread for this device, or a new one.
    pub fn acquire(device: Device) -> Result<Handle> {
        STARTED_IN.get_or_init(Process::current);
        let mut idle = IDLE.lock();
        if let Some(i) = idle.iter().position(|h| h.device == device) {
            return Ok(idle.swap_remove(i));
        }
        drop(idle);
        let (sender, receiver) = channel();
        let (ready, is_ready) = channel();
        let (again, to_stop) = (sender.clone(), sender.clone());
        threads::spawn("mlx-engine", None, move || {
            let result = set_device(device);
            let failed = result.is_err();
            if !failed {
                let in_host = InHost::of_this_thread();
                THREADS.lock().push(Thread { id: thread::current().id(), sender: to_stop, in_host });
                before_exit(stop_all);
            }
            let _ = ready.send(result);
            if !failed {
                Worker::default().run(&receiver, || Handle { device, sender: again.clone() });
            }
        })?;
        is_ready.recv().map_err(|_| Error::internal("the engine's thread ended while starting"))??;
        Ok(Handle { device, sender })
    }

    pub fn start(&self, start: Start) {
        // The thread outlives all handles: it keeps a sender to itself.
        let _ = self.sender.send(Message::Start(start));
    }

    pub fn unload(&self, id: u64) {
        let _ = self.sender.send(Message::Unload(id));
    }

    pub fn submit(&self, demand: Demand) {
        let _ = self.sender.send(Message::Generate(demand));
    }

    /// Keeps what generations leave, within so many bytes, and schedules them by these rules.
    pub fn configure(&self, budget: usize, held: Held, rules: Rules) {
        let _ = self.sender.send(Message::Configure(budget, held, rules));
    }

    pub fn clear_prefixes(&self) {
        let _ = self.sender.send(Message::ClearPrefixes);
    }

    pub fn release(self) {
        let _ = self.sender.send(Message::Release);
    }
}

/// What lives on the engine's thread.
#[derive(Default)]
pub struct Worker {
    jobs: Vec<Box<dyn Job>>,
    scheduler: Scheduler,
    serving: Serving,
    /// All jobs wait for work that is done elsewhere.
    waiting: bool,
}

impl Worker {
    /// Serves messages and runs jobs in turns, forever. `handle` makes a handle for the idle list.
    fn run(&mut self, receiver: &Receiver<Message>, handle: impl Fn() -> Handle) {
        enter_observed_thread();
        loop {
            let idle = self.jobs.is_empty() && self.scheduler.is_empty() && self.serving.decodings.is_empty();
            let message = match (idle, self.waiting) {
                (true, _) => receiver.recv().ok(),
                (false, true) => receiver.recv_timeout(NAP).ok(),
                (false, false) => receiver.try_recv().ok(),
            };
            match message {
                Some(Message::Start(start)) => self.admit(start),
                Some(Message::Unload(id)) => self.forget(id),
                Some(Message::Generate(demand)) => {
                    self.waiting = false;
                    self.scheduler.submit(demand);
                }
                Some(Message::Configure(budget, held, rules)) => {
                    self.serving.prefixes = Prefixes::new(budget, held);
                    self.serving.token_gap = rules.token_gap;
                    self.scheduler = Scheduler::new(rules);
                }
                Some(Message::ClearPrefixes) => {
                    self.serving.prefixes.clear(None);
                    memory::clear_cache();
                }
                Some(Message::Release) => {
                    // Tasks and models keep their engine alive, so nothing is left to run or to hold.
                    self.jobs.clear();
                    self.scheduler.clear();
                    self.serving.clear();
                    memory::clear_cache();
                    IDLE.lock().push(handle());
                }
                Some(Message::Exit(stopped)) => {
                    self.jobs.clear();
                    self.scheduler.clear();
                    self.serving.clear();
                    // MLX's own worker for this thread has nothing left to do either.
                    let _ = synchronize();
                    let _ = stopped.send(());
                    // Whatever still comes is dropped, which ends tasks that somebody may wait for.
                    receiver.iter().for_each(drop);
                }
                None => self.turn(),
            }
        }
    }

    /// Starts a job; a panic while starting drops what the closure held, which tells its observer.
    fn admit(&mut self, start: Start) {
        if let Ok(job) = catch_unwind(AssertUnwindSafe(|| start(self))) {
            self.waiting = false;
            self.jobs.push(job);
        }
    }

    /// One step of each job, a chunk of one prompt, and one token of each sequence that is decoded.
    fn turn(&mut self) {
        self.waiting = true;
        for mut job in std::mem::take(&mut self.jobs) {
            // A job that panicked is told so and dropped; its arrays go with it, the other jobs go on.
            let step = catch_unwind(AssertUnwindSafe(|| job.step(self)));
            match step {
                Ok(Step::Again) => {
                    self.waiting = false;
                    self.jobs.push(job);
                }
                Ok(Step::Waiting) => self.jobs.push(job),
                Ok(Step::Done) => {}
                Err(payload) => {
                    let error = panic_error(&*payload);
                    log::error!("{error}");
                    let _ = catch_unwind(AssertUnwindSafe(|| job.panicked(error)));
                }
            }
        }
        if self.scheduler.turn(&mut self.serving) {
            self.waiting = false;
        }
        if !self.serving.decodings.is_empty() {
            self.waiting = false;
            self.serving.next_tokens();
        }
    }

    /// The model of this id.
    pub(crate) fn model(&self, id: u64) -> Result<Rc<dyn LanguageModel>> {
        self.serving.model(id)
    }

    /// What is decoded beside a job.
    pub(super) fn others(&mut self) -> &mut dyn Others {
        &mut self.serving
    }

    /// Frees kept states while MLX holds more than its limit.
    pub(super) fn relieve(&mut self) {
        self.serving.prefixes.relieve();
    }

    /// Keeps a model under an id.
    pub(crate) fn keep(&mut self, id: u64, model: Rc<dyn LanguageModel>) {
        self.serving.models.insert(id, model);
        // By now MLX has made more that must outlive the engines.
        before_exit(stop_all);
    }

    /// Frees a model. What is generated with it ends as cancelled.
    pub(super) fn forget(&mut self, id: u64) {
        self.scheduler.cancel(id, &mut self.serving);
        self.serving.forget(id);
    }
}
