//! What a model of the Hub is made of, without downloading it: its configuration, and the headers of its weight files by
//! range requests.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use safetensors::tensor::Metadata;
use serde_json::Value;
use ureq::http::header::CONTENT_RANGE;

use super::cache::{check_id, check_revision};
use super::http::{Client, Subject, encode, io_text, network, reader};
use super::listing::{Listing, MAX_FILES, RepoFile};
use super::retry::Failure;
use crate::error::{Error, Result};
use crate::files::{MAX_CONFIG, parse_json};

/// What is asked for first: most headers are shorter.
const FIRST: u64 = 64 << 10;
/// The longest header that is read; a tensor takes about 130 bytes.
const MAX_HEADER: u64 = 32 << 20;
/// The index of a sharded checkpoint.
const MAX_INDEX: u64 = 64 << 20;
/// Weight files of one model at most.
const MAX_WEIGHT_FILES: usize = 2000;
/// Pages of a listing at most.
const MAX_PAGES: usize = 200;
const INDEX: &str = "model.safetensors.index.json";

/// A tensor as its header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorHeader {
    /// `BF16`, `U32`, ...
    pub dtype: String,
    /// Sizes of all axes.
    pub shape: Vec<usize>,
    /// Bytes in the file.
    pub bytes: u64,
}

/// A model of the Hub as its small files and headers describe it.
#[derive(Clone, Debug)]
pub struct RemoteModel {
    /// `organisation/name`
    pub id: String,
    /// The commit that all of this is from.
    pub commit: String,
    /// Its `config.json`.
    pub config: Value,
    /// Bytes of each weight file.
    pub weight_files: BTreeMap<String, u64>,
    /// Every tensor by name.
    pub tensors: BTreeMap<String, TensorHeader>,
    /// Bytes that were received of weight files: their headers.
    pub header_bytes: u64,
    /// Bytes of all that a download would bring.
    pub download_bytes: u64,
}

impl Client {
    /// Looks at a model without downloading it.
    ///
    /// # Errors
    /// If the id or the revision is malformed, the repository cannot be read or has no weights in safetensors format,
    /// or a file is not what it should be.
    pub fn inspect(&self, id: &str, revision: Option<&str>) -> Result<RemoteModel> {
        let revision = revision.unwrap_or("main");
        check_id(id)?;
        check_revision(revision)?;
        let about = Subject { id, revision, file: None };
        let url = self.url(&format!("api/models/{id}/revision/{}", encode(revision, "")));
        let (json, _) = self.json(&url, about, &|_| ())?;
        let commit = json.get("sha").and_then(Value::as_str).unwrap_or_default().to_owned();
        if commit.len() != 40 || !commit.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(network(format!("{url}: the answer names no commit")));
        }
        let listing = self.files(id, &commit, about)?;
        let Some(config) = listing.files.get("config.json") else {
            return Err(Error::unsupported(format!("{id}: the repository has no config.json, so it is no model")));
        };
        let text = self.small(id, &commit, config, MAX_CONFIG)?;
        let config = parse_json(&text).map_err(|e| e.context(format!("{id}/config.json")))?;
        let index = listing.files.get(INDEX).map(|file| self.small(id, &commit, file, MAX_INDEX)).transpose()?;
        let files = listing.weight_files(index.as_deref()).map_err(|e| e.context(id))?;
        if files.len() > MAX_WEIGHT_FILES {
            return Err(Error::invalid_weights(format!("{id}: {} weight files", files.len())));
        }
        let small: u64 = listing.small_files().iter().map(|f| f.size).sum();
        let headers = self.headers(id, &commit, &files)?;
        let mut tensors = BTreeMap::new();
        let mut header_bytes = 0;
        for (file, (found, bytes)) in files.iter().zip(headers) {
            header_bytes += bytes;
            for (name, tensor) in found {
                if tensors.insert(name.clone(), tensor).is_some() {
                    return Err(Error::invalid_weights(format!("{name} is in two files, one of them {}", file.path)));
                }
            }
        }
        let weight_files: BTreeMap<String, u64> = files.iter().map(|f| (f.path.clone(), f.size)).collect();
        let download_bytes = small + weight_files.values().sum::<u64>();
        Ok(RemoteModel { id: id.to_owned(), commit, config, weight_files, tensors, header_bytes, download_bytes })
    }

    fn files(&self, id: &str, commit: &str, about: Subject) -> Result<Listing> {
        let mut listing = Listing::default();
        let mut next = Some(self.url(&format!("api/models/{id}/tree/{commit}?recursive=true")));
        for _ in 0..MAX_PAGES {
            let Some(url) = next else { break };
            let (page, following) = self.json(&url, about, &|_| ())?;
            for entry in page.as_array().ok_or_else(|| network(format!("{url}: the answer is no list of files")))? {
                if let Some(file) = RepoFile::from_api(entry).map_err(|e| e.context(id))? {
                    listing.files.insert(file.path.clone(), file);
                }
            }
            if listing.files.len() > MAX_FILES {
                return Err(network(format!("{id}: more than {MAX_FILES} files")));
            }
            next = following;
        }
        Ok(listing)
    }

    /// Bytes `from..to` of a file. A server without ranges is listened to no longer than needed.
    fn bytes(&self, id: &str, commit: &str, file: &RepoFile, from: u64, to: u64) -> Result<Vec<u8>> {
        let url = self.url(&format!("{id}/resolve/{commit}/{}", encode(&file.path, "/")));
        let about = Subject { id, revision: commit, file: Some(&file.path) };
        let wrong = |what: &str| Failure::transient(network(format!("{}: {what}", about.name())));
        self.retrying(&|_| (), || {
            let reply = self.get(&url, (to > from).then_some((from, to)), about)?;
            let skip = match reply.response.status().as_u16() {
                206 => {
                    let range = reply.response.headers().get(CONTENT_RANGE).and_then(|r| r.to_str().ok());
                    match range.is_some_and(|r| r.starts_with(&format!("bytes {from}-"))) {
                        true => 0,
                        false => return Err(wrong("the server sent another range")),
                    }
                }
                _ => from,
            };
            let mut reader = reader(reply.response).take(skip + (to - from));
            let mut bytes = Vec::new();
            let failed = |e: std::io::Error| match self.control().check() {
                Err(cancelled) => cancelled.into(),
                Ok(()) => wrong(&io_text(&e)),
            };
            std::io::copy(&mut reader.by_ref().take(skip), &mut std::io::sink()).map_err(failed)?;
            reader.read_to_end(&mut bytes).map_err(failed)?;
            match bytes.len() as u64 == to - from {
                true => Ok(bytes),
                false => Err(wrong("the connection was closed too early")),
            }
        })
    }

    fn small(&self, id: &str, commit: &str, file: &RepoFile, limit: u64) -> Result<String> {
        if file.size > limit {
            return Err(Error::invalid_config(format!("{id}/{}: {} bytes", file.path, file.size)));
        }
        let bytes = self.bytes(id, commit, file, 0, file.size)?;
        String::from_utf8(bytes).map_err(|_| Error::invalid_config(format!("{id}/{}: not UTF-8", file.path)))
    }

    /// The headers of all files, several at a time.
    fn headers(
        &self,
        id: &str,
        commit: &str,
        files: &[&RepoFile],
    ) -> Result<Vec<(BTreeMap<String, TensorHeader>, u64)>> {
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<Result<_>>>> = files.iter().map(|_| Mutex::new(None)).collect();
        let work = || {
            while let i = next.fetch_add(1, Ordering::Relaxed)
                && let Some(file) = files.get(i)
            {
                let header = self.header(id, commit, file);
                if header.is_err() {
                    // The others need not begin.
                    next.store(files.len(), Ordering::Relaxed);
                }
                *results[i].lock() = Some(header);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.options().connections.clamp(1, 16).min(files.len()) {
                // Fewer threads do as well.
                let _ = std::thread::Builder::new().name("mlx-headers".into()).spawn_scoped(scope, work);
            }
            work();
        });
        let mut found: Vec<Option<Result<_>>> = results.into_iter().map(Mutex::into_inner).collect();
        if let Some(i) = found.iter().position(|r| matches!(r, Some(Err(_)))) {
            return Err(found.swap_remove(i).and_then(Result::err).expect("just seen"));
        }
        found.into_iter().map(|r| r.unwrap_or_else(|| Err(Error::internal("a header was left out")))).collect()
    }

    /// One file's header, and how many bytes were received for it.
    fn header(&self, id: &str, commit: &str, file: &RepoFile) -> Result<(BTreeMap<String, TensorHeader>, u64)> {
        let bad = |what: String| Error::invalid_weights(format!("{id}/{}: {what}", file.path));
        if file.size < 8 {
            return Err(bad(format!("{} bytes are too few for a safetensors file", file.size)));
        }
        let mut bytes = self.bytes(id, commit, file, 0, file.size.min(FIRST))?;
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"));
        if length > MAX_HEADER || length > file.size - 8 {
            return Err(bad(format!("the header claims {length} bytes in a file of {}", file.size)));
        }
        let (end, have) = (8 + length, bytes.len() as u64);
        if end > have {
            bytes.extend(self.bytes(id, commit, file, have, end)?);
        }
        let metadata: Metadata =
            serde_json::from_slice(&bytes[8..end as usize]).map_err(|e| bad(format!("broken header: {e}")))?;
        if metadata.data_len() as u64 != file.size - end {
            return Err(bad(format!(
                "{} bytes of data, the header describes {}",
                file.size - end,
                metadata.data_len()
            )));
        }
        let tensor = |info: &safetensors::tensor::TensorInfo| TensorHeader {
            dtype: format!("{:?}", info.dtype),
            shape: info.shape.clone(),
            bytes: (info.data_offsets.1 - info.data_offsets.0) as u64,
        };
        let found = metadata.tensors().into_iter().map(|(name, info)| (name, tensor(info))).collect();
        Ok((found, bytes.len() as u64))
    }
}
