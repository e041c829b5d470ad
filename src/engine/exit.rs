//! Whether the process is ending.

use std::sync::atomic::{AtomicBool, Ordering};

static EXITING: AtomicBool = AtomicBool::new(false);

/// Whether the process is ending. The observers' owners may be gone already.
pub(super) fn is_exiting() -> bool {
    EXITING.load(Ordering::Acquire)
}

/// Notes that the process is ending; false if that was known.
pub(super) fn begin_exit() -> bool {
    !EXITING.swap(true, Ordering::AcqRel)
}
