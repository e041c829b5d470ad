//! What everything else here uses: the errors of a rendering, and what is white space.

use minijinja::{Error, ErrorKind};

pub(super) type Result<T> = std::result::Result<T, Error>;

pub(super) fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorKind::InvalidOperation, message.into()))
}

/// Whether Python's `str.isspace` and `str.strip` count `c` as white space. Unicode's property lacks four of them.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}
