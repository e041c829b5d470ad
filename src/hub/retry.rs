//! When and how to retry.

use std::time::Duration;

use mlx_engine_base::progress::Retry;

use crate::error::Error;

/// Servers may ask for longer waits; then the error is final instead.
const LONGEST: Duration = Duration::from_secs(300);

/// The longest wait of our own choice.
const SLOWEST: Duration = Duration::from_secs(30);

/// Why one attempt failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub error: Error,
    /// Whether a retry may help.
    pub transient: bool,
    /// When the server asked to retry (`Retry-After`).
    pub after: Option<Duration>,
    /// The HTTP status, if there was one.
    pub status: Option<u16>,
}

impl Failure {
    /// A failure that may go away with a retry.
    pub fn transient(error: Error) -> Self {
        Failure { error, transient: true, after: None, status: None }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

/// So that it can come out of a [`std::io::Read`].
impl std::error::Error for Failure {}

impl From<Failure> for std::io::Error {
    fn from(failure: Failure) -> Self {
        std::io::Error::other(failure)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure { error, transient: false, after: None, status: None }
    }
}

/// Counts failures in a row.
pub(super) struct Backoff {
    first: Duration,
    limit: u32,
    attempt: u32,
}

impl Backoff {
    pub fn new(first: Duration, limit: u32) -> Self {
        Backoff { first, limit, attempt: 0 }
    }

    /// An attempt made progress.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// What to do about a failure: wait and retry, or give up with its error.
    pub fn next(&mut self, failure: Failure) -> Result<Retry, Error> {
        let wait = match failure.after {
            Some(after) if after > LONGEST => {
                return Err(failure.error.context(format!("the server asks to wait {} s", after.as_secs())));
            }
            // As long as the server wants, and a little more so that not all of its clients come at once.
            Some(after) => after + self.first.mul_f64(random()),
            None => (self.first * 2u32.saturating_pow(self.attempt.min(16))).min(SLOWEST).mul_f64(0.5 + 0.5 * random()),
        };
        if !failure.transient {
            return Err(failure.error);
        }
        if self.attempt >= self.limit {
            return Err(failure.error.context(format!("gave up after {} attempts", self.attempt + 1)));
        }
        self.attempt += 1;
        Ok(Retry { attempt: self.attempt, limit: self.limit, wait, reason: failure.error.to_string() })
    }
}

/// 0 to 1, good enough to spread retries.
fn random() -> f64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    (RandomState::new().build_hasher().finish() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn failure() -> Failure {
        Failure::transient(Error::new(ErrorKind::Network, "broken"))
    }

    #[test]
    fn waits_grow_and_end() {
        let mut backoff = Backoff::new(Duration::from_millis(100), 4);
        for expected in [100, 200, 400, 800] {
            let wait = backoff.next(failure()).unwrap().wait.as_millis();
            assert!((expected / 2..=expected).contains(&wait), "{wait} of {expected}");
        }
        let error = backoff.next(failure()).unwrap_err();
        assert_eq!(error.message(), "gave up after 5 attempts: broken");
        backoff.reset();
        assert_eq!(backoff.next(failure()).unwrap().attempt, 1);
    }

    #[test]
    fn the_servers_wish_counts_within_reason() {
        let after = |seconds| Failure { after: Some(Duration::from_secs(seconds)), ..failure() };
        let mut backoff = Backoff::new(Duration::from_millis(100), 4);
        let wait = backoff.next(after(7)).unwrap().wait;
        assert!(wait >= Duration::from_secs(7) && wait <= Duration::from_millis(7100));
        assert!(backoff.next(after(86_400)).is_err());
    }

    #[test]
    fn final_failures_are_not_repeated() {
        let mut backoff = Backoff::new(Duration::from_millis(100), 4);
        assert!(backoff.next(Error::not_found("nothing").into()).is_err());
    }
}
