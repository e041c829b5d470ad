//! Reading a model's configuration and the headers of its weight files from the Hub by range requests.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use safetensors::tensor::Metadata;
use ureq::http::header::CONTENT_RANGE;

use super::http::{Client, Subject, encode_path, io_text, is_encoded, network, reader};
use super::listing::RepoFile;
use super::name::{ModelName, check_revision};
use super::remote::{RemoteModel, TensorHeader};
use super::retry::Failure;
use super::xet::Xet;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{MAX_CONFIG, parse_json};
use crate::shards::{INDEX, MAX_INDEX};
use crate::threads::without_signals;

/// The size of the first request: most headers are shorter.
const FIRST: u64 = 64 << 10;
/// The longest header that is read; a tensor takes about 130 bytes.
const MAX_HEADER: u64 = 32 << 20;
/// The most weight files of one model.
const MAX_WEIGHT_FILES: usize = 2000;

impl Client {
    /// Describes a model without downloading it.
    ///
    /// # Errors
    /// If the id or the revision is malformed, the repository cannot be read or has no weights in safetensors format,
    /// or a file is not what it should be.
    pub fn inspect(&self, id: &str, revision: Option<&str>) -> Result<RemoteModel> {
        let name = ModelName::parse_at(id, &self.options().endpoint)?;
        let (id, revision) = name.with_revision(revision)?;
        let (id, revision) = (id.as_str(), revision.as_deref().unwrap_or("main"));
        check_revision(revision)?;
        let about = Subject { id, revision, file: None };
        let (commit, names) = self.commit(about, &|_| ())?;
        let listing = self.files(&commit, &names, about, &|_| ())?;
        let remote = Remote { client: self, id, commit: &commit, xet: Xet::new(self.clone(), id, &commit) };
        let Some(config) = listing.files.get("config.json") else {
            return Err(Error::unsupported(format!("{id}: the repository has no config.json, so it is not a model")));
        };
        let text = remote.small(config, MAX_CONFIG)?;
        let config = parse_json(&text).map_err(|e| e.context(format!("{id}/config.json")))?;
        let index = listing.files.get(INDEX).map(|file| remote.small(file, MAX_INDEX)).transpose()?;
        let files = listing.weight_files(index.as_deref()).map_err(|e| e.context(id))?;
        if files.len() > MAX_WEIGHT_FILES {
            return Err(Error::invalid_weights(format!("{id}: {} weight files", files.len())));
        }
        let small: u64 = listing.small_files().iter().map(|f| f.size).sum();
        let headers = remote.headers(&files)?;
        let mut tensors = BTreeMap::new();
        let mut header_bytes = 0;
        for (found, bytes) in headers {
            header_bytes += bytes;
            for (name, tensor) in found {
                // As in a load, the first file counts.
                tensors.entry(name).or_insert(tensor);
            }
        }
        let weight_files: BTreeMap<String, u64> = files.iter().map(|f| (f.path.clone(), f.size)).collect();
        let download_bytes = small + weight_files.values().sum::<u64>();
        Ok(RemoteModel { id: id.to_owned(), commit, config, weight_files, tensors, header_bytes, download_bytes })
    }
}

/// One commit of a model.
struct Remote<'a> {
    client: &'a Client,
    id: &'a str,
    commit: &'a str,
    xet: Xet,
}

impl Remote<'_> {
    /// Bytes `from..to` of a file: over plain HTTP, which takes one request, and if that fails for good from Xet storage.
    fn bytes(&self, file: &RepoFile, from: u64, to: u64) -> Result<Vec<u8>> {
        let hash = file.xet_hash.as_deref().filter(|_| self.xet.is_on());
        match (self.plain_bytes(file, from, to), hash) {
            (Err(error), Some(hash)) if error.kind() != ErrorKind::Cancelled => self
                .xet_bytes(file, hash, from, to)
                .map_err(|e| e.context(format!("Xet storage, tried because plain HTTP failed ({error})"))),
            (result, _) => result,
        }
    }

    fn xet_bytes(&self, file: &RepoFile, hash: &str, from: u64, to: u64) -> Result<Vec<u8>> {
        self.client.retrying(&|_| (), || {
            let mut bytes = vec![0; (to - from) as usize];
            let mut reader = self.xet.open(&file.path, hash, from, to)?;
            reader.read_exact(&mut bytes).map_err(|e| match e.downcast::<Failure>() {
                Ok(failure) => failure,
                Err(e) => Failure::transient(network(format!("{}/{}: {}", self.id, file.path, io_text(&e)))),
            })?;
            Ok(bytes)
        })
    }

    /// From a server without ranges no more is read than needed.
    fn plain_bytes(&self, file: &RepoFile, from: u64, to: u64) -> Result<Vec<u8>> {
        let client = self.client;
        let url = client.url(&format!("{}/resolve/{}/{}", self.id, self.commit, encode_path(&file.path)));
        let about = Subject { id: self.id, revision: self.commit, file: Some(&file.path) };
        let wrong = |what: &str| Failure::transient(network(format!("{}: {what}", about.name())));
        let mut ranges = to > from;
        client.retrying(&|_| (), || {
            let reply = client.get(&url, ranges.then_some((from, to)), about)?;
            if reply.response.status() == 206 && is_encoded(reply.response.headers()) {
                // A range of something else.
                ranges = false;
                return Err(wrong("the server sent a range of the compressed file"));
            }
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
            let failed = |e: std::io::Error| match client.control().check() {
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

    fn small(&self, file: &RepoFile, limit: u64) -> Result<String> {
        let bad = |what: String| Error::invalid_config(format!("{}/{}: {what}", self.id, file.path));
        if file.size > limit {
            return Err(bad(format!("{} bytes", file.size)));
        }
        let bytes = self.bytes(file, 0, file.size)?;
        String::from_utf8(bytes).map_err(|_| bad("not UTF-8".into()))
    }

    /// The headers of all files, several at a time.
    fn headers(&self, files: &[&RepoFile]) -> Result<Vec<(BTreeMap<String, TensorHeader>, u64)>> {
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<Result<_>>>> = files.iter().map(|_| Mutex::new(None)).collect();
        let work = || {
            while let i = next.fetch_add(1, Ordering::Relaxed)
                && let Some(file) = files.get(i)
            {
                let header = self.header(file);
                if header.is_err() {
                    // The others need not start.
                    next.store(files.len(), Ordering::Relaxed);
                }
                *results[i].lock() = Some(header);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.client.options().connections.clamp(1, 16).min(files.len()) {
                // Fewer threads do as well.
                let thread = std::thread::Builder::new().name("mlx-headers".into());
                let _ = without_signals(|| thread.spawn_scoped(scope, work));
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
    fn header(&self, file: &RepoFile) -> Result<(BTreeMap<String, TensorHeader>, u64)> {
        let bad = |what: String| Error::invalid_weights(format!("{}/{}: {what}", self.id, file.path));
        if file.size < 8 {
            return Err(bad(format!("{} bytes are too few for a safetensors file", file.size)));
        }
        let mut bytes = self.bytes(file, 0, file.size.min(FIRST))?;
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"));
        if length > MAX_HEADER || length > file.size - 8 {
            return Err(bad(format!("the header claims {length} bytes in a file of {}", file.size)));
        }
        let (end, have) = (8 + length, bytes.len() as u64);
        if end > have {
            bytes.extend(self.bytes(file, have, end)?);
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
