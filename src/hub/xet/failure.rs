//! Failures of Xet storage, and the meaning of its refusals.

use time::OffsetDateTime;
use ureq::Body;
use ureq::http::{self, Response};

use crate::error::{Error, ErrorKind};
use crate::http::{network, retry_after, short};
use crate::retry::Failure;

pub(super) fn in_context(failure: Failure, what: &str) -> Failure {
    Failure { error: failure.error.context(what), ..failure }
}

/// The meaning of a status of the storage service, or of the storage of xorbs.
pub(super) fn refused(response: &Response<Body>, url: &str) -> Failure {
    let status = response.status();
    let text = format!("{}: the server answered {}", short(url), status.as_u16());
    let error = match status {
        http::StatusCode::NOT_FOUND => Error::not_found(text),
        http::StatusCode::UNAUTHORIZED | http::StatusCode::FORBIDDEN => Error::new(ErrorKind::AccessDenied, text),
        _ => network(text),
    };
    let transient = matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504);
    let after = retry_after(response.headers(), OffsetDateTime::now_utc());
    Failure { error, transient, after: after.filter(|_| transient), status: Some(status.as_u16()) }
}
