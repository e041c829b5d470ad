//! What all kernels ask.

use crate::array::host;

/// Whether operations of this thread run through these kernels.
#[inline]
pub fn active() -> bool {
    host::available()
}
