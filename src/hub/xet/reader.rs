//! The bytes of a range of a file, from its chunks.

use std::collections::BTreeMap;
use std::io::{self, Read};

use ureq::http::header::CONTENT_RANGE;

use super::chunk::{HEADER, Header, Unpacker};
use super::failure::{in_context, refused};
use super::plan::{Fetch, Plan};
use crate::http::{Client, network, reader, short};
use crate::pace::Pace;
use crate::retry::Failure;

/// Reads a range of a file. Each fetch is requested once, one at a time; chunks of it that the file needs again after
/// those of another fetch are kept until then. Errors carry a [`Failure`].
pub(crate) struct FileReader {
    client: Client,
    name: String,
    plan: Plan,
    /// Bytes that are still to come.
    left: u64,
    /// The term that is read, the chunk of it that comes next, and its bytes so far.
    term: usize,
    next: u32,
    read: u64,
    open: Option<Open>,
    kept: BTreeMap<(usize, u32), Vec<u8>>,
    kept_bytes: u64,
    unpacker: Unpacker,
    /// The current chunk, and where in it.
    chunk: Vec<u8>,
    at: usize,
}

/// A fetch in flight.
struct Open {
    fetch: usize,
    /// The chunk that comes next.
    next: u32,
    body: Box<dyn Read + Send>,
    pace: Pace,
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            self.finish();
            return Ok(0);
        }
        while self.at == self.chunk.len() {
            self.next_chunk().map_err(|f| in_context(f, &self.name))?;
        }
        let here = &self.chunk[self.at..];
        let n = here.len().min(buffer.len()).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        buffer[..n].copy_from_slice(&here[..n]);
        self.at += n;
        self.left -= n as u64;
        Ok(n)
    }
}

impl FileReader {
    pub(super) fn new(client: Client, name: String, plan: Plan, length: u64) -> Self {
        let next = plan.terms[0].chunks.start;
        FileReader {
            client,
            name,
            plan,
            left: length,
            term: 0,
            next,
            read: 0,
            open: None,
            kept: BTreeMap::new(),
            kept_bytes: 0,
            unpacker: Unpacker::default(),
            chunk: Vec::new(),
            at: 0,
        }
    }

    /// Goes to the next chunk of the file.
    fn next_chunk(&mut self) -> Result<(), Failure> {
        let mut term = &self.plan.terms[self.term];
        if self.next == term.chunks.end {
            if self.read != term.length {
                let text = format!("a term has {} bytes instead of {}", self.read, term.length);
                return Err(Failure::transient(network(text)));
            }
            self.term += 1;
            let missing = || Failure::transient(network("its terms have too few bytes".into()));
            term = self.plan.terms.get(self.term).ok_or_else(missing)?;
            (self.next, self.read) = (term.chunks.start, 0);
        }
        let (fetch, index) = (term.fetch, self.next);
        self.take(fetch, index)?;
        self.next += 1;
        self.read += self.chunk.len() as u64;
        let before = self.plan.skip.min(self.chunk.len() as u64);
        self.plan.skip -= before;
        self.at = before as usize;
        Ok(())
    }

    /// Makes a chunk the current one.
    fn take(&mut self, fetch: usize, index: u32) -> Result<(), Failure> {
        if let Some(bytes) = self.kept.remove(&(fetch, index)) {
            self.kept_bytes -= bytes.len() as u64;
            self.chunk = bytes;
            return self.keep(fetch, index);
        }
        if self.open.as_ref().is_none_or(|o| o.fetch != fetch) {
            self.leave()?;
            self.open = Some(Open::new(&self.client, &self.plan.fetches[fetch], fetch)?);
        }
        while self.following(Some(index))? != index {}
        Ok(())
    }

    /// Reads the next chunk of the open fetch and says which it is. If it is the wanted one, it is the current one then.
    fn following(&mut self, wanted: Option<u32>) -> Result<u32, Failure> {
        let missing = || Failure::transient(network("a chunk is missing".into()));
        let open = self.open.as_mut().ok_or_else(missing)?;
        let (fetch, index) = (open.fetch, open.next);
        if index >= self.plan.fetches[fetch].chunks.end {
            return Err(missing());
        }
        let url = &self.plan.fetches[fetch].url;
        let mut header = [0; HEADER];
        open.fill(&self.client, url, &mut header)?;
        let header = Header::parse(header)?;
        open.fill(&self.client, url, self.unpacker.room(&header))?;
        open.next += 1;
        if wanted == Some(index) || self.is_needed_later(fetch, index) {
            self.unpacker.unpack(&header, &mut self.chunk)?;
            self.keep(fetch, index)?;
        }
        Ok(index)
    }

    /// Keeps the chunk that has just been read if a later term needs it.
    fn keep(&mut self, fetch: usize, index: u32) -> Result<(), Failure> {
        if self.is_needed_later(fetch, index) {
            self.kept_bytes += self.chunk.len() as u64;
            if self.kept_bytes > self.plan.terms.iter().map(|t| t.length).sum() {
                return Err(Failure::transient(network("its chunks are longer than its terms".into())));
            }
            self.kept.insert((fetch, index), self.chunk.clone());
        }
        Ok(())
    }

    fn is_needed_later(&self, fetch: usize, index: u32) -> bool {
        self.plan.terms[self.term + 1..].iter().any(|t| t.fetch == fetch && t.chunks.contains(&index))
    }

    /// Leaves the open fetch, with all of it that is needed later.
    fn leave(&mut self) -> Result<(), Failure> {
        if let Some(open) = &self.open {
            let later = self.plan.terms[self.term + 1..].iter().filter(|t| t.fetch == open.fetch);
            let end = later.map(|t| t.chunks.end).max().unwrap_or(0);
            for _ in open.next..end {
                self.following(None)?;
            }
        }
        self.finish();
        Ok(())
    }

    /// Reading a response to the end returns its connection.
    fn finish(&mut self) {
        if let Some(mut open) = self.open.take()
            && open.next == self.plan.fetches[open.fetch].chunks.end
        {
            let _ = open.body.read(&mut [0]);
        }
    }
}

impl Open {
    fn new(client: &Client, fetch: &Fetch, index: usize) -> Result<Open, Failure> {
        let (start, end) = fetch.bytes;
        // The URL is signed; no token belongs there.
        let response = client.request(&fetch.url, Some((start, end)), None)?;
        let status = response.status().as_u16();
        if status != 206 && status != 200 {
            let failure = refused(&response, &fetch.url);
            // A new response has a new URL: this one may have expired.
            let expired = matches!(status, 400 | 401 | 403 | 404 | 410);
            return Err(Failure { transient: failure.transient || expired, ..failure });
        }
        let range = response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if status == 200 || !range.starts_with(&format!("bytes {start}-{}/", end - 1)) {
            let text = format!("{}: asked for bytes {start} to {}, got {range:?}", short(&fetch.url), end - 1);
            return Err(Failure::transient(network(text)));
        }
        let body = Box::new(reader(response));
        Ok(Open { fetch: index, next: fetch.chunks.start, body, pace: Pace::new(client.options().stall) })
    }

    fn fill(&mut self, client: &Client, url: &str, mut buffer: &mut [u8]) -> Result<(), Failure> {
        while !buffer.is_empty() {
            let n = match self.body.read(buffer) {
                Ok(0) => return Err(client.broken(url, io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(client.broken(url, e)),
            };
            buffer = &mut buffer[n..];
            self.pace.add(n).map_err(|what| Failure::transient(network(format!("{}: {what}", short(url)))))?;
        }
        Ok(())
    }
}
