//! Errors of the program.
//!
//! Exit codes: 0 where all went well, also if whoever read the output has left; 1 where something failed; 2 for a command line
//! that cannot be carried out; 130 for what was cancelled.

use std::io::ErrorKind as Io;

use mlx_engine::ErrorKind;

/// Errors, with the exit code they end the program with.
pub type Result<T = ()> = std::result::Result<T, Failure>;

/// Why a command failed.
pub struct Failure {
    /// For the user; nothing if there is nothing to say.
    pub message: String,
    /// The exit code.
    pub code: u8,
}

impl Failure {
    /// Whoever read the output has left.
    pub fn unread() -> Failure {
        Failure { message: String::new(), code: 0 }
    }
}

impl From<mlx_engine::Error> for Failure {
    fn from(error: mlx_engine::Error) -> Self {
        let code = match error.kind() {
            ErrorKind::InvalidArgument => 2,
            ErrorKind::Cancelled => 130,
            _ => 1,
        };
        Failure { message: error.to_string(), code }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            Io::BrokenPipe => Failure::unread(),
            _ => Failure { message: error.to_string(), code: 1 },
        }
    }
}
