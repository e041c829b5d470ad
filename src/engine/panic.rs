//! Panics as errors.

use std::any::Any;

use crate::error::{Error, ErrorKind};

/// What a caught panic said.
pub(crate) fn panic_error(payload: &(dyn Any + Send)) -> Error {
    let text = payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into());
    Error::new(ErrorKind::Panic, format!("panic in the library: {text}"))
}
