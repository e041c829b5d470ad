//! Threads that leave the host's signals to the host.
//!
//! A signal that is sent to a process goes to any of its threads that does not block it. A host that waits for signals
//! (`signalfd`, `sigwait`) blocks them in its own threads; with one open thread of a library the process would be killed
//! instead. New threads inherit the mask of the thread that starts them, so it is set around the start; threads that MLX
//! starts on ours inherit it in turn.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::thread;

use crate::error::{Error, ErrorKind, Result};

/// Signals that the kernel raises for what a thread itself did. Blocking these would end the process without a handler.
const SYNCHRONOUS: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGABRT];

/// Calls `start` with all signals blocked but the synchronous ones: threads that it starts never see them.
pub fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    struct Mask(libc::sigset_t);
    impl Drop for Mask {
        fn drop(&mut self) {
            // SAFETY: the mask that this thread had.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, null_mut()) };
        }
    }
    let mut blocked = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: the sets are filled before they are read; the signals exist.
    let _restored = unsafe {
        libc::sigfillset(blocked.as_mut_ptr());
        for signal in SYNCHRONOUS {
            libc::sigdelset(blocked.as_mut_ptr(), signal);
        }
        match libc::pthread_sigmask(libc::SIG_SETMASK, blocked.as_ptr(), before.as_mut_ptr()) {
            0 => Some(Mask(before.assume_init())),
            _ => None,
        }
    };
    start()
}

/// Starts a thread that nobody joins. `stack` is in bytes; `None` is the platform's default.
///
/// # Errors
/// If the system has no thread.
pub fn spawn(name: &str, stack: Option<usize>, body: impl FnOnce() + Send + 'static) -> Result<()> {
    let builder = thread::Builder::new().name(name.into());
    let builder = stack.into_iter().fold(builder, thread::Builder::stack_size);
    without_signals(|| builder.spawn(body))
        .map(drop)
        .map_err(|e| Error::new(ErrorKind::Io, format!("cannot start the thread {name}")).with_source(e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    fn blocks(signal: libc::c_int) -> bool {
        let mut mask = MaybeUninit::uninit();
        // SAFETY: with no new set the call fills in the current one.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), mask.as_mut_ptr());
            libc::sigismember(mask.as_ptr(), signal) == 1
        }
    }

    #[test]
    fn threads_block_signals_and_the_caller_keeps_its_mask() {
        let before = blocks(libc::SIGINT);
        let (sender, receiver) = channel();
        spawn("test", Some(64 << 10), move || {
            let seen = [libc::SIGINT, libc::SIGTERM, libc::SIGCHLD, libc::SIGSEGV].map(blocks);
            // Threads of such a thread are the same.
            let inner = thread::spawn(|| blocks(libc::SIGINT)).join().unwrap();
            sender.send((seen, inner)).unwrap();
        })
        .unwrap();
        assert_eq!(receiver.recv().unwrap(), ([true, true, true, false], true));
        assert_eq!(blocks(libc::SIGINT), before);
        assert!(std::panic::catch_unwind(|| without_signals(|| panic!("on purpose"))).is_err());
        assert_eq!(blocks(libc::SIGINT), before);
    }
}
