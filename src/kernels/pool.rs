//! Threads for kernels.
//!
//! One pool a process, sized once. A worker that has finished watches for the next job for a few microseconds, because
//! the next kernel of a step is about to come, and then sleeps: an idle pool uses no processor time.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use once_cell::sync::OnceCell;
use parking_lot::{Condvar, Mutex};

/// How long a worker watches before it sleeps.
const WATCH: Duration = Duration::from_micros(50);

/// Marks a job that workers may join; the low half counts those who did, the high half jobs.
const OPEN: u64 = 1 << 31;
const JOINED: u64 = OPEN - 1;

type Body<'a> = dyn Fn(usize) + Sync + 'a;

struct Pool {
    threads: usize,
    /// Held by whoever runs a job.
    owner: Mutex<()>,
    gate: AtomicU64,
    body: AtomicPtr<&'static Body<'static>>,
    /// The next task of each thread's share.
    next: Vec<Share>,
    tasks: AtomicUsize,
    panicked: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleepers: Mutex<usize>,
    wake: Condvar,
}

/// Alone on its lines of cache, of which processors fetch two at a time.
#[repr(align(128))]
struct Share(AtomicUsize);

static POOL: OnceCell<&'static Pool> = OnceCell::new();
static WANTED: AtomicUsize = AtomicUsize::new(0);

/// Sets how many threads kernels use, the calling one included. Takes effect before the first kernel runs; returns
/// false where that is too late.
pub fn set_threads(threads: usize) -> bool {
    WANTED.store(threads.clamp(1, 256), Ordering::Relaxed);
    POOL.get().is_none_or(|pool| pool.threads == threads)
}

/// How many threads kernels use: what [`set_threads`] said, else `MLXE_THREADS`, else one a core.
pub fn threads() -> usize {
    pool().threads
}

fn pool() -> &'static Pool {
    POOL.get_or_init(|| {
        let cores = || std::thread::available_parallelism().map_or(1, |n| n.get());
        let environment = || mlx_engine_base::env::MLXE_THREADS.text()?.parse().ok().filter(|&n| n > 0);
        let threads = match WANTED.load(Ordering::Relaxed) {
            0 => environment().unwrap_or_else(cores).min(256),
            n => n,
        };
        let pool: &'static Pool = Box::leak(Box::new(Pool {
            threads,
            owner: Mutex::new(()),
            gate: AtomicU64::new(0),
            body: AtomicPtr::new(std::ptr::null_mut()),
            next: (0..threads).map(|_| Share(AtomicUsize::new(0))).collect(),
            tasks: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            panic: Mutex::new(None),
            sleepers: Mutex::new(0),
            wake: Condvar::new(),
        }));
        for i in 1..threads {
            if let Err(e) = mlx_engine_base::threads::spawn(&format!("mlx-cpu-{i}"), None, move || worker(pool, i)) {
                log::warn!("kernels have {i} of {threads} threads: {e}");
                break;
            }
        }
        pool
    })
}

/// Calls `body` with each number below `tasks`, on all threads of the pool; returns when all calls have. A panic in one
/// of them goes on here. While another job is running, the calls are made here, one after the other.
pub fn run(tasks: usize, body: &Body<'_>) {
    let pool = pool();
    let owner = if tasks > 1 && pool.threads > 1 { pool.owner.try_lock() } else { None };
    if owner.is_none() {
        return (0..tasks).for_each(body);
    }
    // SAFETY: only the lifetime changes. Workers use the reference between joining and leaving, and this call ends
    // after all of them have left.
    let mut reference: &'static Body<'static> =
        unsafe { std::mem::transmute::<&Body<'_>, &'static Body<'static>>(body) };
    pool.body.store(&mut reference, Ordering::Relaxed);
    pool.tasks.store(tasks, Ordering::Relaxed);
    for (thread, share) in pool.next.iter().enumerate() {
        share.0.store(pool.share(thread, tasks).start, Ordering::Relaxed);
    }
    let job = (pool.gate.load(Ordering::Relaxed) >> 32).wrapping_add(1) << 32;
    pool.gate.store(job | OPEN, Ordering::SeqCst);
    {
        let sleepers = pool.sleepers.lock();
        if *sleepers > 0 {
            pool.wake.notify_all();
        }
    }
    pool.work(0, body);
    // Close the gate, then wait for those who are inside.
    pool.gate.fetch_and(!OPEN, Ordering::SeqCst);
    let mut rounds = 0u32;
    while pool.gate.load(Ordering::Acquire) & JOINED != 0 {
        rounds += 1;
        if rounds < 2000 { std::hint::spin_loop() } else { std::thread::yield_now() }
    }
    if pool.panicked.swap(false, Ordering::Relaxed)
        && let Some(panic) = pool.panic.lock().take()
    {
        drop(owner);
        resume_unwind(panic);
    }
}

impl Pool {
    /// The tasks that are meant for a thread: neighbours, because what they read lies in a row.
    fn share(&self, thread: usize, tasks: usize) -> Range<usize> {
        thread * tasks / self.threads..(thread + 1) * tasks / self.threads
    }

    /// Takes tasks until none is left: a thread's own, then those of the others.
    fn work(&self, thread: usize, body: &Body<'_>) {
        let tasks = self.tasks.load(Ordering::Relaxed);
        for victim in (thread..self.threads).chain(0..thread) {
            let (next, end) = (&self.next[victim].0, self.share(victim, tasks).end);
            loop {
                let task = next.fetch_add(1, Ordering::Relaxed);
                if task >= end {
                    break;
                }
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(task))) {
                    self.next.iter().for_each(|share| share.0.store(tasks, Ordering::Relaxed));
                    self.panic.lock().get_or_insert(panic);
                    self.panicked.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// Joins the job that is open, if one is that this worker has not seen.
    fn join(&self, thread: usize, seen: &mut u64) -> bool {
        let gate = self.gate.load(Ordering::Acquire);
        if gate & OPEN == 0 || gate >> 32 == *seen {
            return false;
        }
        if self.gate.compare_exchange(gate, gate + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return false;
        }
        *seen = gate >> 32;
        // SAFETY: the job cannot end before this worker has left, see `run`.
        let body = unsafe { *self.body.load(Ordering::Relaxed) };
        self.work(thread, body);
        self.gate.fetch_sub(1, Ordering::AcqRel);
        true
    }
}

fn worker(pool: &'static Pool, thread: usize) {
    let mut seen = 0;
    let mut idle = Instant::now();
    loop {
        if pool.join(thread, &mut seen) {
            idle = Instant::now();
            continue;
        }
        for _ in 0..32 {
            std::hint::spin_loop();
        }
        if idle.elapsed() < WATCH {
            continue;
        }
        let mut sleepers = pool.sleepers.lock();
        let gate = pool.gate.load(Ordering::SeqCst);
        if gate & OPEN == 0 || gate >> 32 == seen {
            *sleepers += 1;
            pool.wake.wait(&mut sleepers);
            *sleepers -= 1;
        }
        drop(sleepers);
        idle = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for tasks in [0, 1, 2, 7, 1000] {
            let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            for _ in 0..50 {
                run(tasks, &|i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
            }
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 50));
        }
    }

    #[test]
    fn several_callers_at_once() {
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        run(13, &|i| {
                            total.fetch_add(i, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 4 * 200 * 78);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let result = catch_unwind(|| run(8, &|i| assert!(i != 5, "five")));
        assert!(result.is_err());
        every_task_runs_once();
    }
}
