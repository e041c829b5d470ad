//! Receiving a range and writing it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::disk::disk;
use super::super::http::network;
use super::super::pace::Pace;
use super::super::retry::Failure;
use super::{Attempt, BUFFER, Chunk, Told, Transfer};
use crate::error::{Error, ErrorKind, Result};

/// How long bytes may wait in memory for more.
const FLUSH: Duration = Duration::from_millis(100);
/// How often the state of a file is recorded.
const SAVE: Duration = Duration::from_millis(500);

impl Transfer {
    /// Writes what arrives. `whole` if nothing should follow the range.
    pub(super) fn receive(
        &self,
        mut body: impl Read,
        whole: bool,
        chunk: &mut Chunk,
        told: &Told,
    ) -> Result<Attempt, Failure> {
        let mut buffer = vec![0; BUFFER];
        let mut pace = Pace::new(self.client.options().stall);
        let mut announced = false;
        let out = {
            let state = self.state.lock();
            // Meanwhile another connection may have done everything.
            if state.has_abandoned(chunk) {
                return Ok(Attempt::Abandoned);
            }
            state.out.clone().ok_or_else(|| Error::internal("the file is not open"))?
        };
        while chunk.at < chunk.end {
            let room = buffer.len().min((chunk.end - chunk.at) as usize);
            let (n, read) = fill(&mut body, &mut buffer[..room]);
            if !self.may_write(chunk)? {
                return Ok(Attempt::Abandoned);
            }
            self.write(&out, &buffer[..n], chunk)?;
            told.traffic.fetch_add(n as u64, Ordering::Relaxed);
            if !announced && n > 0 {
                announced = true;
                (told.notice)(None);
            }
            if let Err(error) = read
                && chunk.at < chunk.end
            {
                return Err(self.broken(error, chunk));
            }
            if let Err(what) = pace.add(n)
                && chunk.at < chunk.end
            {
                return Err(Failure::transient(network(format!("{}/{}: {what}", self.id, self.file.path))));
            }
        }
        // Reading to the end returns the connection for the next range.
        if whole {
            let _ = body.read(&mut buffer[..1]);
        }
        Ok(Attempt::Whole)
    }

    /// Whether what has arrived still counts; records the state from time to time.
    fn may_write(&self, chunk: &Chunk) -> Result<bool, Failure> {
        let control = self.client.control();
        control.check()?;
        if control.is_paused() {
            return Err(Failure::transient(Error::new(ErrorKind::Cancelled, "paused")));
        }
        let mut state = self.state.lock();
        if state.has_abandoned(chunk) {
            return Ok(false);
        }
        if state.saved.is_none_or(|s| s.elapsed() >= SAVE) {
            self.save(&mut state);
        }
        Ok(true)
    }

    fn write(&self, out: &File, bytes: &[u8], chunk: &mut Chunk) -> Result<()> {
        let writing = self.writing.lock();
        out.write_all_at(bytes, chunk.at).map_err(|e| disk(&self.incomplete(), e))?;
        drop(writing);
        chunk.at += bytes.len() as u64;
        if self.state.lock().parts.advance(chunk) {
            self.done.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn broken(&self, error: io::Error, chunk: &Chunk) -> Failure {
        self.client.broken(&format!("{}/{} at byte {}", self.id, self.file.path, chunk.at), error)
    }
}

/// Reads until the buffer is full, what is in it has waited long enough, or an error, which does not undo what came
/// before it.
fn fill(body: &mut impl Read, buffer: &mut [u8]) -> (usize, io::Result<()>) {
    let start = Instant::now();
    let mut filled = 0;
    while filled < buffer.len() && (filled == 0 || start.elapsed() < FLUSH) {
        match body.read(&mut buffer[filled..]) {
            Ok(0) => return (filled, Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => filled += n,
            Err(e) => return (filled, Err(e)),
        }
    }
    (filled, Ok(()))
}
