//! Scratch memory, which each thread keeps for its next kernel.

use std::cell::RefCell;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with scratch memory of this thread; its contents are arbitrary numbers.
pub(super) fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = FREE.with(|free| free.borrow_mut().pop()).unwrap_or_default();
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    let result = f(&mut buffer[..len]);
    // What a long prompt needed once is not kept for ever.
    if buffer.len() <= 1 << 22 {
        FREE.with(|free| free.borrow_mut().push(buffer));
    }
    result
}
