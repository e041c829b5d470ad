//! Limits of options.

use std::fmt::Display;

use crate::error::{Error, Result};

/// Refuses an invalid value, naming it and what it must be.
///
/// # Errors
/// [`InvalidArgument`](crate::error::ErrorKind::InvalidArgument)
pub fn check<T: Copy + Display>(name: &str, value: T, right: impl Fn(T) -> bool, want: &str) -> Result<()> {
    match right(value) {
        true => Ok(()),
        false => Err(Error::invalid_argument(format!("{name} must be {want}, not {value}"))),
    }
}
