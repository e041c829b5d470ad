//! Events that wait until the host takes them, and a file descriptor that says so.

use std::collections::VecDeque;
use std::ffi::c_int;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::engine::in_callback;
use crate::error::{Error, ErrorKind, Result};
use crate::fork::Process;

/// How long to wait for the next event.
#[derive(Clone, Copy)]
pub(super) enum Wait {
    Forever,
    AtMost(Duration),
    Never,
}

impl Wait {
    /// A time in seconds that a caller gave.
    pub fn seconds(seconds: f64) -> Result<Wait> {
        let time = Duration::try_from_secs_f64(seconds);
        time.map(Wait::AtMost).map_err(|_| Error::invalid_argument(format!("seconds is {seconds}")))
    }
}

/// What there was to take.
pub(super) enum Taken<E> {
    Event(E),
    /// Nothing yet.
    Nothing,
    /// Nothing any more.
    End,
}

/// The events of one task. One end puts them in, the other takes them out, on any threads.
pub(super) struct Queue<E> {
    process: Process,
    state: Mutex<State<E>>,
    changed: Condvar,
}

struct State<E> {
    waiting: VecDeque<E>,
    end: Option<Result<()>>,
    signal: Option<Signal>,
}

impl<E> Queue<E> {
    pub fn new() -> Self {
        let state = State { waiting: VecDeque::new(), end: None, signal: None };
        Queue { process: Process::current(), state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Adds an event. `replaces` says whether it makes the one before it superfluous.
    pub fn push(&self, event: E, replaces: impl FnOnce(usize, &E) -> bool) {
        let mut state = self.state.lock();
        let count = state.waiting.len();
        match state.waiting.back_mut() {
            Some(last) if replaces(count, last) => *last = event,
            _ => state.waiting.push_back(event),
        }
        self.tell(&mut state);
    }

    /// No event follows. Only the first result counts.
    pub fn end(&self, result: Result<()>) {
        let mut state = self.state.lock();
        state.end.get_or_insert(result);
        self.tell(&mut state);
    }

    fn tell(&self, state: &mut State<E>) {
        if let Some(signal) = &mut state.signal {
            signal.set(true);
        }
        self.changed.notify_all();
    }

    /// The next event.
    ///
    /// # Errors
    /// That of the task once all events have been taken; [`ErrorKind::Reentrant`] for a wait inside a callback,
    /// [`ErrorKind::Forked`] in a process that was forked after the start.
    pub fn take(&self, wait: Wait) -> Result<Taken<E>> {
        self.process.check("the task was started")?;
        if in_callback() && !matches!(wait, Wait::Never) {
            return Err(Error::new(ErrorKind::Reentrant, "waiting for events inside a callback would never end"));
        }
        let mut state = self.state.lock();
        // What no clock can count is for ever.
        let until = match wait {
            Wait::AtMost(time) => Instant::now().checked_add(time),
            _ => None,
        };
        while state.waiting.is_empty() && state.end.is_none() {
            match (wait, until) {
                (Wait::Never, _) => return Ok(Taken::Nothing),
                (_, Some(until)) => {
                    if self.changed.wait_until(&mut state, until).timed_out()
                        && state.waiting.is_empty()
                        && state.end.is_none()
                    {
                        return Ok(Taken::Nothing);
                    }
                }
                (_, None) => self.changed.wait(&mut state),
            }
        }
        let Some(event) = state.waiting.pop_front() else {
            return state.end.clone().unwrap_or(Ok(())).map(|()| Taken::End);
        };
        if state.waiting.is_empty()
            && state.end.is_none()
            && let Some(signal) = &mut state.signal
        {
            signal.set(false);
        }
        Ok(Taken::Event(event))
    }

    /// A descriptor that is readable while [`take`](Self::take) would not have to wait.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the system has none left, [`ErrorKind::Forked`] as there.
    pub fn descriptor(&self) -> Result<c_int> {
        self.process.check("the task was started")?;
        let mut state = self.state.lock();
        let ready = !state.waiting.is_empty() || state.end.is_some();
        if state.signal.is_none() {
            state.signal = Some(Signal::new()?);
        }
        let Some(signal) = &mut state.signal else { return Err(Error::internal("there is no descriptor")) };
        signal.set(ready);
        Ok(signal.read.as_raw_fd())
    }
}

/// A descriptor that is readable or not.
struct Signal {
    read: OwnedFd,
    /// The other end of a pipe; an event counter is its own.
    write: Option<OwnedFd>,
    on: bool,
}

impl Signal {
    fn new() -> Result<Signal> {
        let failed = || {
            let error = std::io::Error::last_os_error();
            Error::new(ErrorKind::Io, "there is no file descriptor for events").with_source(error)
        };
        #[cfg(target_os = "linux")]
        {
            // SAFETY: takes numbers only.
            let counter = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
            if counter < 0 {
                return Err(failed());
            }
            // SAFETY: new, and nobody else's.
            Ok(Signal { read: unsafe { OwnedFd::from_raw_fd(counter) }, write: None, on: false })
        }
        #[cfg(not(target_os = "linux"))]
        {
            let mut ends = [0; 2];
            // SAFETY: room for the two that are written.
            if unsafe { libc::pipe(ends.as_mut_ptr()) } != 0 {
                return Err(failed());
            }
            // SAFETY: new, and nobody else's.
            let [read, write] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
            for end in [&read, &write] {
                // SAFETY: an open descriptor, and flags.
                let set = unsafe {
                    libc::fcntl(end.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) == 0
                        && libc::fcntl(end.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) == 0
                };
                if !set {
                    return Err(failed());
                }
            }
            Ok(Signal { read, write: Some(write), on: false })
        }
    }

    /// Both ends hold one message at most, so neither waits.
    fn set(&mut self, on: bool) {
        if on == self.on {
            return;
        }
        let mut one = 1_u64.to_ne_bytes();
        let length = if self.write.is_some() { 1 } else { one.len() };
        let write = self.write.as_ref().unwrap_or(&self.read).as_raw_fd();
        // SAFETY: open descriptors, and `length` bytes that are there.
        let moved = unsafe {
            match on {
                true => libc::write(write, one.as_ptr().cast(), length),
                false => libc::read(self.read.as_raw_fd(), one.as_mut_ptr().cast(), length),
            }
        };
        if moved >= 0 {
            self.on = on;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(descriptor: c_int) -> bool {
        let mut poll = libc::pollfd { fd: descriptor, events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry.
        unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
    }

    fn next(queue: &Queue<u32>) -> Option<u32> {
        match queue.take(Wait::Never).unwrap() {
            Taken::Event(event) => Some(event),
            Taken::Nothing => None,
            Taken::End => Some(99),
        }
    }

    #[test]
    fn the_descriptor_is_readable_while_something_waits() {
        let queue = Queue::new();
        queue.push(1, |_, _| false);
        let descriptor = queue.descriptor().unwrap();
        assert!(readable(descriptor) && queue.descriptor().unwrap() == descriptor);
        queue.push(2, |_, _| false);
        assert_eq!(next(&queue), Some(1));
        assert!(readable(descriptor));
        assert_eq!(next(&queue), Some(2));
        assert!(!readable(descriptor));
        assert_eq!(next(&queue), None);
        queue.push(3, |_, _| false);
        queue.push(4, |count, last| (count, *last) == (1, 3));
        assert!(readable(descriptor));
        assert_eq!((next(&queue), next(&queue)), (Some(4), None));
        assert!(!readable(descriptor));
        queue.end(Ok(()));
        queue.end(Err(Error::cancelled()));
        assert!(readable(descriptor));
        assert_eq!((next(&queue), next(&queue)), (Some(99), Some(99)));
        assert!(readable(descriptor));
    }

    #[test]
    fn waits_end_with_their_time_or_an_event() {
        let queue = Queue::new();
        assert!(matches!(queue.take(Wait::seconds(0.01).unwrap()).unwrap(), Taken::Nothing));
        assert!(Wait::seconds(-1.0).is_err() && Wait::seconds(f64::NAN).is_err());
        std::thread::scope(|scope| {
            scope.spawn(|| queue.push(7, |_, _| false));
            assert!(matches!(queue.take(Wait::seconds(1e19).unwrap()).unwrap(), Taken::Event(7)));
        });
        queue.end(Err(Error::cancelled()));
        assert_eq!(queue.take(Wait::Forever).err().unwrap().kind(), ErrorKind::Cancelled);
    }
}
