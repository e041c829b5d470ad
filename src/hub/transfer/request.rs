//! One request for a range over plain HTTP, and validation of its response.

use std::io::Read;
use std::sync::atomic::Ordering;

use ureq::http::HeaderMap;

use super::super::http::{PAGE, Reply, Subject, encode_path, is_encoded, is_page, network, reader, short};
use super::super::retry::Failure;
use super::super::whole::MAX_POINTER;
use super::{Attempt, Chunk, POINTER, Told, Transfer};
use crate::error::{Error, Result};
use crate::files::is_lfs_pointer;

impl Transfer {
    /// One request for the rest of a range.
    pub(super) fn attempt(&self, chunk: &mut Chunk, told: &Told) -> Result<Attempt, Failure> {
        let (location, plain) = {
            let state = self.state.lock();
            if state.has_abandoned(chunk) {
                return Ok(Attempt::Abandoned);
            }
            (state.source.location.clone(), state.source.plain)
        };
        let file = Some(self.file.path.as_str());
        let about = Subject { id: &self.id, revision: &self.commit, file };
        let url = match &location {
            Some(url) => url.clone(),
            None => self.client.url(&format!("{}/resolve/{}/{}", self.id, self.commit, encode_path(&self.file.path))),
        };
        let range = (!plain).then_some((chunk.at, chunk.end));
        let reply = match self.client.get(&url, range, about) {
            Ok(reply) => reply,
            Err(failure) => return self.refused(failure, location.is_some()),
        };
        self.check_identity(&reply, location.is_some())?;
        let (status, encoded) = (reply.response.status().as_u16(), is_encoded(reply.response.headers()));
        if status == 206 && encoded {
            // A range of something else. All of it can be decoded.
            let mut state = self.state.lock();
            state.source.plain = true;
            state.spoil(self.wrong("the server sent a range of the compressed file"));
            return Ok(Attempt::Abandoned);
        }
        let fits = match status {
            206 => self.check_range(reply.response.headers(), chunk),
            _ if encoded => Ok(()),
            _ => self.check_length(reply.response.headers()),
        };
        if let Err(failure) = fits {
            return Err(self.something_else(reply).unwrap_or(failure));
        }
        if status != 206 && !self.go_alone(chunk) {
            return Ok(Attempt::Abandoned);
        }
        let whole = status == 206 || chunk.end == self.file.size;
        self.receive(reader(reply.response), whole, chunk, told)
    }

    /// What came in place of the file, where that can be told. Trying again brings the same.
    fn something_else(&self, reply: Reply) -> Option<Failure> {
        let from = short(&reply.url);
        if is_page(reply.response.headers()) {
            return Some(self.wrong(&format!("{PAGE} ({from})")).into());
        }
        let mut text = Vec::new();
        let begins = reader(reply.response).take(MAX_POINTER).read_to_end(&mut text).is_ok() && is_lfs_pointer(&text);
        begins.then(|| self.wrong(&format!("{from} {POINTER}")).into())
    }

    fn wrong(&self, what: &str) -> Error {
        network(format!("{}/{}: {what}", self.id, self.file.path))
    }

    /// What an error status means here.
    fn refused(&self, failure: Failure, was_elsewhere: bool) -> Result<Attempt, Failure> {
        match failure.status {
            // A signed URL that has expired.
            Some(400 | 401 | 403 | 404 | 410) if was_elsewhere => Err(Failure { transient: true, ..failure }),
            // The server believes that the file is shorter. Asking for all of it shows who is right.
            Some(416) => {
                let mut state = self.state.lock();
                state.source.plain = true;
                state.spoil(failure.error);
                Ok(Attempt::Abandoned)
            }
            _ => Err(failure),
        }
    }

    /// Whether this is the file that was listed, and the same as in earlier responses.
    fn check_identity(&self, reply: &Reply, by_location: bool) -> Result<(), Failure> {
        let text = |headers: &HeaderMap, name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let wrong = |what: String| Failure::transient(network(format!("{}/{}: {what}", self.id, self.file.path)));
        if !by_location {
            let own = &reply.own;
            if let Some(commit) = text(own, "X-Repo-Commit").filter(|c| *c != self.commit) {
                return Err(wrong(format!("the server sends commit {commit} instead of {}", self.commit)));
            }
            let size = text(own, "X-Linked-Size").and_then(|s| s.parse::<u64>().ok());
            if let Some(size) = size.filter(|s| *s != self.file.size) {
                return Err(wrong(format!("the server says {size} bytes, its list of files {}", self.file.size)));
            }
        }
        // ETags say nothing: mirrors have their own, and the nodes of a CDN each another. The checksum does.
        self.state.lock().source.location.clone_from(&reply.elsewhere);
        Ok(())
    }

    fn check_range(&self, headers: &HeaderMap, chunk: &Chunk) -> Result<(), Failure> {
        let header = headers.get("Content-Range").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let parsed = header.strip_prefix("bytes ").and_then(|r| r.split_once('/')).and_then(|(range, total)| {
            let start: u64 = range.split_once('-')?.0.parse().ok()?;
            Some((start, total.parse::<u64>().ok()))
        });
        match parsed {
            Some((start, total)) if start == chunk.at && total.is_none_or(|t| t == self.file.size) => Ok(()),
            _ => Err(Failure::transient(network(format!(
                "{}/{}: asked for bytes from {} of {}, the server sends {header:?}",
                self.id, self.file.path, chunk.at, self.file.size
            )))),
        }
    }

    fn check_length(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let length = headers.get("Content-Length").and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
        match length {
            Some(length) if length != self.file.size => Err(Failure::transient(network(format!(
                "{}/{}: the server sends {length} bytes, its list of files says {}",
                self.id, self.file.path, self.file.size
            )))),
            _ => Ok(()),
        }
    }

    /// The server sends the whole file: this worker takes all of it, the others leave. False if another does.
    fn go_alone(&self, chunk: &mut Chunk) -> bool {
        let mut state = self.state.lock();
        if state.has_abandoned(chunk) {
            return false;
        }
        state.parts.take_all(chunk);
        self.done.store(0, Ordering::Relaxed);
        true
    }
}
