//! The one error type of the crate.
//!
//! An [`Error`] has a [`kind`](Error::kind) for programs, a message for people that names the file, key or value at
//! fault, and an optional source. Each [`ErrorKind`] is one C code (`MLXE_ERROR_*`) and one Swift case; the numbers
//! never change and are never reused.

use std::fmt;
use std::sync::Arc;

/// `std::result::Result` with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of failure, which a program can react to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is missing, malformed or out of range.
    InvalidArgument = 1,
    /// A file (weights included), directory, model or other named object does not exist.
    NotFound = 2,
    /// The operating system refused to read, write or create something.
    Io = 3,
    /// `config.json` or another JSON file of a model is malformed or contradicts itself.
    InvalidConfig = 4,
    /// The `model_type` (or a feature a model needs) is not supported.
    UnsupportedModel = 5,
    /// Weight files are broken, truncated or overlapping, lack tensors, or do not fit the model.
    InvalidWeights = 6,
    /// A tokenizer cannot be read, or text cannot be encoded or decoded.
    Tokenizer = 7,
    /// A chat template is missing, malformed, or refused the messages it was given.
    Template = 8,
    /// MLX reported an error.
    Mlx = 9,
    /// Device or host memory ran out.
    OutOfMemory = 10,
    /// The work was cancelled.
    Cancelled = 11,
    /// A blocking call was made inside a callback, where it could deadlock.
    Reentrant = 12,
    /// A panic was caught at the library's boundary. This is a bug in the library.
    Panic = 13,
    /// The handle was in use when a panic was caught and can no longer be trusted.
    Poisoned = 14,
    /// The network or a server failed.
    Network = 15,
    /// The prompt does not fit the model's context.
    ContextFull = 16,
    /// An invariant of the library did not hold. This is a bug in the library.
    Internal = 17,
    /// A server requires a token, or the token's account has no access.
    AccessDenied = 18,
    /// The disk is full.
    DiskFull = 19,
    /// The same model is in use by other work, in this process or another; or as many generations wait as may.
    Busy = 20,
    /// The process was forked from one that had made this, or an engine; it cannot be used here.
    Forked = 21,
}

impl ErrorKind {
    /// Every kind, in the order of its code.
    pub const ALL: [ErrorKind; 21] = [
        ErrorKind::InvalidArgument,
        ErrorKind::NotFound,
        ErrorKind::Io,
        ErrorKind::InvalidConfig,
        ErrorKind::UnsupportedModel,
        ErrorKind::InvalidWeights,
        ErrorKind::Tokenizer,
        ErrorKind::Template,
        ErrorKind::Mlx,
        ErrorKind::OutOfMemory,
        ErrorKind::Cancelled,
        ErrorKind::Reentrant,
        ErrorKind::Panic,
        ErrorKind::Poisoned,
        ErrorKind::Network,
        ErrorKind::ContextFull,
        ErrorKind::Internal,
        ErrorKind::AccessDenied,
        ErrorKind::DiskFull,
        ErrorKind::Busy,
        ErrorKind::Forked,
    ];

    /// The number this kind has in the C API.
    pub const fn code(self) -> i32 {
        self as i32
    }
}

/// The most characters of a summary.
const SUMMARY_CHARS: usize = 200;

/// An error: kind, message and cause.
///
/// Cloning is cheap; a task returns the same error to every caller that waits for it.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with a message and no source.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), source: None }
    }

    /// Adds the cause of this error. [`Display`](fmt::Display) prints it after the message.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Puts `what` (a file, a key, a step) before the message.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message, without the source.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The message in brief, for a screen with little room: its first line, and of a list of problems the first one.
    pub fn summary(&self) -> String {
        let text = self.to_string();
        let first = text.lines().next().unwrap_or_default();
        let brief = first.split("; ").next().unwrap_or_default();
        match brief.char_indices().nth(SUMMARY_CHARS) {
            Some((end, _)) => format!("{}…", brief[..end].trim_end()),
            None => brief.to_owned(),
        }
    }
}

/// `fn name(message) -> Error` for the kinds that are raised in many places.
macro_rules! constructors {
    ($($name:ident => $kind:ident),+ $(,)?) => {
        impl Error {
            $(
                #[doc = concat!("An error of kind [`ErrorKind::", stringify!($kind), "`].")]
                pub fn $name(message: impl Into<String>) -> Self {
                    Error::new(ErrorKind::$kind, message)
                }
            )+
        }
    };
}

constructors! {
    invalid_argument => InvalidArgument,
    not_found => NotFound,
    invalid_config => InvalidConfig,
    unsupported => UnsupportedModel,
    invalid_weights => InvalidWeights,
    tokenizer => Tokenizer,
    template => Template,
    mlx => Mlx,
    internal => Internal,
}

impl Error {
    /// An I/O error about `path`: [`ErrorKind::NotFound`] where the system says so, else [`ErrorKind::Io`].
    pub fn io(path: impl AsRef<std::path::Path>, source: std::io::Error) -> Self {
        let kind = match source.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Error::new(kind, path.as_ref().display().to_string()).with_source(source)
    }

    /// The error every cancelled piece of work ends with.
    pub fn cancelled() -> Self {
        Error::new(ErrorKind::Cancelled, "cancelled")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|s| &**s as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_dense_and_in_order() {
        for (i, kind) in ErrorKind::ALL.iter().enumerate() {
            assert_eq!(kind.code(), i as i32 + 1);
        }
    }

    #[test]
    fn a_summary_has_the_first_problem_only() {
        let summary = |text: &str| Error::invalid_weights(text).summary();
        assert_eq!(summary("two places: a is missing; b is missing"), "two places: a is missing");
        assert_eq!(summary("one line\nand another"), "one line");
        assert_eq!(summary(""), "");
        let long = summary(&"ä".repeat(1000));
        assert_eq!(long, format!("{}…", "ä".repeat(SUMMARY_CHARS)));
        assert_eq!(Error::io("a.json", std::io::Error::other("disk on fire")).summary(), "a.json: disk on fire");
    }

    #[test]
    fn display_names_context_and_source() {
        let error = Error::io("a/b.json", std::io::Error::other("disk on fire")).context("loading");
        assert_eq!(error.to_string(), "loading: a/b.json: disk on fire");
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(std::error::Error::source(&error).is_some());
    }
}
