//! Xet storage for the tests' Hub server: files as terms of xorbs. Formats as in `huggingface/xet-core`
//! (`xorb_chunk_format.rs`, `openapi/cas.openapi.yaml`); `make hub-parity` reads it with the official client. Names of
//! files and xorbs are hashes of our own: readers take them as they are.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use lz4_flex::frame::FrameEncoder;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

/// Lengths of chunks, in turns. Real ones depend on the content; these are as long, and meet at fixed places, so that
/// tests know what is shared.
const LENGTHS: [usize; 5] = [65_536, 131_072, 9_001, 40_000, 65_536];
/// Equal content at multiples of this is shared.
pub const CYCLE: usize = 311_145;

#[derive(Default)]
pub struct XetStorage {
    xorbs: Vec<Xorb>,
    files: BTreeMap<String, Vec<Term>>,
    /// Where each chunk lies.
    chunks: HashMap<Vec<u8>, (usize, u32)>,
}

struct Xorb {
    hash: String,
    bytes: Arc<Vec<u8>>,
    /// Where each chunk begins, and where the last one ends.
    bounds: Vec<u64>,
    /// Bytes of each chunk, unpacked.
    lengths: Vec<u64>,
}

#[derive(Clone)]
struct Term {
    xorb: usize,
    chunks: Range<u32>,
}

impl XetStorage {
    /// Stores a file, with so many chunks a xorb; returns its Xet hash.
    pub fn add(&mut self, content: &[u8], chunks_per_xorb: usize) -> String {
        let mut terms: Vec<Term> = Vec::new();
        let (mut at, mut fresh) = (0, true);
        for length in LENGTHS.into_iter().cycle() {
            let chunk = &content[at..content.len().min(at + length)];
            if chunk.is_empty() {
                break;
            }
            at += chunk.len();
            let key = digest(&SHA256, chunk).as_ref().to_vec();
            let (xorb, index) = *self.chunks.entry(key).or_insert_with(|| {
                // A xorb belongs to one file, as if each were uploaded by itself.
                if fresh || self.xorbs.last().unwrap().lengths.len() == chunks_per_xorb {
                    self.xorbs.push(Xorb::new(self.xorbs.len()));
                    fresh = false;
                }
                (self.xorbs.len() - 1, self.xorbs.last_mut().unwrap().push(chunk))
            });
            match terms.last_mut() {
                Some(term) if term.xorb == xorb && term.chunks.end == index => term.chunks.end += 1,
                _ => terms.push(Term { xorb, chunks: index..index + 1 }),
            }
        }
        let hash = hex(digest(&SHA256, &[b"xet ", content].concat()).as_ref());
        self.files.insert(hash.clone(), terms);
        hash
    }

    pub fn xorb(&self, hash: &str) -> Option<Arc<Vec<u8>>> {
        self.xorbs.iter().find(|x| x.hash == hash).map(|x| x.bytes.clone())
    }

    /// What a range of a file is made of; `Err` with a status.
    pub fn reconstruction(&self, hash: &str, range: Option<(u64, u64)>, storage: &str) -> Result<Value, u16> {
        let file = self.files.get(hash).ok_or(404u16)?;
        let size: u64 = file.iter().map(|t| self.length(t)).sum();
        let (start, end) = range.unwrap_or((0, size));
        let end = end.min(size);
        if start >= end {
            return Err(416);
        }
        let (mut at, mut skip) = (0, None);
        let mut terms = Vec::new();
        let mut needed: BTreeMap<usize, Vec<Range<u32>>> = BTreeMap::new();
        for term in file {
            // The chunks of the term that have something of the range.
            let mut chunks: Option<Range<u32>> = None;
            for chunk in term.chunks.clone() {
                let next = at + self.xorbs[term.xorb].lengths[chunk as usize];
                if next > start && at < end {
                    skip.get_or_insert(start.saturating_sub(at));
                    chunks = Some(chunks.map_or(chunk, |c| c.start)..chunk + 1);
                }
                at = next;
            }
            let Some(chunks) = chunks else { continue };
            let part = Term { xorb: term.xorb, chunks: chunks.clone() };
            terms.push(json!({
                "hash": self.xorbs[term.xorb].hash, "unpacked_length": self.length(&part),
                "range": {"start": chunks.start, "end": chunks.end},
            }));
            needed.entry(term.xorb).or_default().push(chunks);
        }
        let mut info = json!({});
        for (xorb, mut ranges) in needed {
            ranges.sort_by_key(|r| r.start);
            let mut merged: Vec<Range<u32>> = Vec::new();
            for range in ranges {
                match merged.last_mut() {
                    Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                    _ => merged.push(range),
                }
            }
            let xorb = &self.xorbs[xorb];
            info[&xorb.hash] = merged
                .into_iter()
                .map(|r| {
                    let (first, last) = (xorb.bounds[r.start as usize], xorb.bounds[r.end as usize] - 1);
                    json!({
                        "range": {"start": r.start, "end": r.end},
                        "url": format!("{storage}/xorb/{}?signed={first}-{last}", xorb.hash),
                        "url_range": {"start": first, "end": last},
                    })
                })
                .collect();
        }
        Ok(json!({"offset_into_first_range": skip, "terms": terms, "fetch_info": info}))
    }

    fn length(&self, term: &Term) -> u64 {
        self.xorbs[term.xorb].lengths[term.chunks.start as usize..term.chunks.end as usize].iter().sum()
    }
}

impl Xorb {
    fn new(number: usize) -> Xorb {
        let hash = hex(digest(&SHA256, format!("xorb {number}").as_bytes()).as_ref());
        Xorb { hash, bytes: Arc::default(), bounds: vec![0], lengths: Vec::new() }
    }

    /// Adds a chunk, in all schemes in turns; returns its number.
    fn push(&mut self, chunk: &[u8]) -> u32 {
        let number = self.lengths.len();
        let scheme = number % 3;
        let packed = match scheme {
            0 => chunk.to_vec(),
            1 => lz4(chunk),
            _ => lz4(&(0..4).flat_map(|g| chunk.iter().skip(g).step_by(4).copied()).collect::<Vec<u8>>()),
        };
        let bytes = Arc::make_mut(&mut self.bytes);
        bytes.push(0);
        bytes.extend_from_slice(&packed.len().to_le_bytes()[..3]);
        bytes.push(scheme as u8);
        bytes.extend_from_slice(&chunk.len().to_le_bytes()[..3]);
        bytes.extend_from_slice(&packed);
        self.bounds.push(bytes.len() as u64);
        self.lengths.push(chunk.len() as u64);
        number as u32
    }
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
