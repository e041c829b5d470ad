//! Untrusted input on a thread of its own.

use crate::threads::without_signals;
use crate::{Error, ErrorKind, Result};

/// Address space, not memory: only what is touched is used.
const STACK: usize = 256 << 20;

/// Runs `job`, which handles untrusted input, on a thread of its own: callers may have little stack (512 KiB on Apple's
/// secondary threads), and where a library panics on a hostile file that becomes an error of `kind`.
pub(super) fn isolated<T: Send>(kind: ErrorKind, what: &str, job: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("mlxe-tokenizer".into()).stack_size(STACK);
        let thread = without_signals(|| thread.spawn_scoped(scope, job))
            .map_err(|error| Error::new(ErrorKind::Io, format!("{what}: no thread to run on")).with_source(error))?;
        thread.join().map_err(|_| Error::new(kind, format!("{what}: a library failed on the input")))
    })
}
