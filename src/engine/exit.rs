//! The end of the process, and the threads that must not notice it in the middle of work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

static EXITING: AtomicBool = AtomicBool::new(false);

/// Whether the process is ending. The observers' owners may be gone already.
pub(super) fn is_exiting() -> bool {
    EXITING.load(Ordering::SeqCst)
}

/// Notes that the process is ending; false if that was known.
pub(super) fn begin_exit() -> bool {
    !EXITING.swap(true, Ordering::SeqCst)
}

/// Whether a thread runs the host's code at the moment.
#[derive(Clone, Default)]
pub(super) struct InHost(Arc<AtomicBool>);

thread_local! {
    static THIS: InHost = InHost::default();
}

impl InHost {
    /// That of this thread, for others to look at.
    pub fn of_this_thread() -> InHost {
        THIS.with(InHost::clone)
    }

    /// If the process is ending, such a thread never comes back, so nobody has to wait for it.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Calls the host. Where the process begins to end meanwhile this thread stays here for good: what it would go on with may
/// be gone.
pub(crate) fn call_host<T>(call: impl FnOnce() -> T) -> T {
    struct Inside(InHost);
    impl Drop for Inside {
        fn drop(&mut self) {
            self.0.0.store(false, Ordering::SeqCst);
            while is_exiting() {
                self.0.0.store(true, Ordering::SeqCst);
                thread::park();
            }
        }
    }
    let inside = Inside(InHost::of_this_thread());
    inside.0.0.store(true, Ordering::SeqCst);
    call()
}
