//! Pausing, resuming and cancelling work that several threads do.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, Result};

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Paused,
    Cancelled,
}

/// The requested state of a piece of work.
pub(super) struct Control {
    state: Mutex<State>,
    changed: Condvar,
}

impl Control {
    pub fn new() -> Self {
        Control { state: Mutex::new(State::Running), changed: Condvar::new() }
    }

    fn set(&self, to: State) {
        let mut state = self.state.lock();
        // A cancel is final.
        if *state != State::Cancelled {
            *state = to;
        }
        self.changed.notify_all();
    }

    pub fn pause(&self) {
        self.set(State::Paused);
    }

    pub fn resume(&self) {
        self.set(State::Running);
    }

    pub fn cancel(&self) {
        self.set(State::Cancelled);
    }

    pub fn is_cancelled(&self) -> bool {
        *self.state.lock() == State::Cancelled
    }

    pub fn is_paused(&self) -> bool {
        *self.state.lock() == State::Paused
    }

    /// An error if the work was cancelled.
    pub fn check(&self) -> Result<()> {
        match self.is_cancelled() {
            true => Err(Error::cancelled()),
            false => Ok(()),
        }
    }

    /// Returns once the work may continue.
    pub fn wait_while_paused(&self) -> Result<()> {
        let mut state = self.state.lock();
        while *state == State::Paused {
            self.changed.wait(&mut state);
        }
        drop(state);
        self.check()
    }

    /// Waits, but no longer than until the work is cancelled.
    pub fn sleep(&self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        let mut state = self.state.lock();
        while *state != State::Cancelled && !self.changed.wait_until(&mut state, until).timed_out() {}
        drop(state);
        self.check()
    }
}
