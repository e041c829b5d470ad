//! Errors of the network.

use crate::error::{Error, ErrorKind};

pub(in super::super) fn network(message: String) -> Error {
    Error::new(ErrorKind::Network, message)
}

/// An I/O error without the layers around it.
pub(in super::super) fn io_text(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the connection was closed too early".into(),
        _ => error.to_string(),
    }
}
