//! Errors of the program.

use mlx_engine::ErrorKind;

/// Errors, with the exit code they end the program with.
pub type Result<T = ()> = std::result::Result<T, Failure>;

/// Why a command failed.
pub struct Failure {
    /// For the user.
    pub message: String,
    /// The exit code.
    pub code: u8,
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
        Failure { message: error.to_string(), code: 1 }
    }
}
