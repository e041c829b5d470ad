//! Forked processes.
//!
//! A child of `fork` has only the thread that forked. Threads of this library and of MLX are not there, and locks that they
//! held stay locked. So whatever was made before a fork is of no use after it, and says so instead of waiting for ever.
#![allow(unsafe_code)]

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, ErrorKind, Result};

static GENERATION: AtomicU32 = AtomicU32::new(0);

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// A process, as opposed to those that it was forked from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(u32);

impl Process {
    /// This one. Forks are noticed from the first call on.
    pub fn current() -> Process {
        static WATCH: Once = Once::new();
        WATCH.call_once(|| {
            // SAFETY: the handler only counts, which is safe in a child of a process with threads. Without memory for the
            // handler forks go unnoticed.
            unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        });
        Process(GENERATION.load(Ordering::Relaxed))
    }

    /// Whether this is still the current process.
    pub fn is_current(self) -> bool {
        self.0 == GENERATION.load(Ordering::Relaxed)
    }

    /// [`ErrorKind::Forked`] in a child of this process. `what` is what was made in it.
    ///
    /// # Errors
    /// As said.
    pub fn check(self, what: &str) -> Result<()> {
        match self.is_current() {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Forked,
                format!("{what} before this process was forked; its threads stayed there"),
            )),
        }
    }
}
