//! The terms of a range of a file, from the storage service (`QueryReconstructionResponse` in xet-core).

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::http::network;

/// The most terms of one range; 32 MiB in the smallest usual chunks of 8 KiB are a quarter of this.
const MAX_TERMS: usize = 16 << 10;
/// The most chunks of a xorb; the format allows 8192.
const MAX_CHUNKS: u32 = 64 << 10;
/// The most bytes of a xorb, packed or not: twice what the format allows.
const MAX_XORB: u64 = 128 << 20;

#[derive(Deserialize)]
pub(super) struct Answer {
    offset_into_first_range: u64,
    terms: Vec<AnswerTerm>,
    fetch_info: BTreeMap<String, Vec<AnswerFetch>>,
}

#[derive(Deserialize)]
struct AnswerTerm {
    hash: String,
    unpacked_length: u64,
    range: Bounds<u32>,
}

#[derive(Deserialize)]
struct AnswerFetch {
    range: Bounds<u32>,
    url: String,
    /// With its last byte.
    url_range: Bounds<u64>,
}

#[derive(Clone, Copy, Deserialize)]
struct Bounds<T> {
    start: T,
    end: T,
}

/// The terms of a range of a file.
#[derive(Debug)]
pub(super) struct Plan {
    /// Bytes of the first term that come before the range.
    pub skip: u64,
    /// In the order of the file.
    pub terms: Vec<Term>,
    pub fetches: Vec<Fetch>,
}

/// Some chunks of a xorb.
#[derive(Debug)]
pub(super) struct Term {
    /// Which fetch has them.
    pub fetch: usize,
    pub chunks: Range<u32>,
    /// Their bytes, unpacked.
    pub length: u64,
}

/// A request for chunks of a xorb.
#[derive(Debug)]
pub(super) struct Fetch {
    pub chunks: Range<u32>,
    pub url: String,
    /// Of the xorb.
    pub bytes: (u64, u64),
}

impl Plan {
    /// The validated part of a response that a range of `wanted` bytes needs.
    pub fn new(answer: Answer, wanted: u64) -> Result<Plan> {
        let bad = |what: String| network(format!("a range of {wanted} bytes: {what}"));
        if answer.terms.len() > MAX_TERMS {
            return Err(bad(format!("{} terms", answer.terms.len())));
        }
        let skip = answer.offset_into_first_range;
        if answer.terms.first().is_some_and(|t| skip >= t.unpacked_length) {
            return Err(bad(format!("begins {skip} bytes after its first term does")));
        }
        let (mut known, mut fetches) = (BTreeMap::new(), Vec::new());
        for (hash, list) in answer.fetch_info {
            let first = fetches.len();
            for fetch in list {
                fetches.push(Fetch::new(fetch).map_err(|e| e.context(format!("xorb {hash}")))?);
            }
            known.insert(hash, first..fetches.len());
        }
        let (mut terms, mut length) = (Vec::new(), 0);
        for term in answer.terms {
            if length >= skip + wanted {
                break;
            }
            let chunks = chunks(term.range)?;
            if !(1..=MAX_XORB).contains(&term.unpacked_length) {
                return Err(bad(format!("a term of {} bytes", term.unpacked_length)));
            }
            let has_all = |f: &usize| fetches[*f].chunks.start <= chunks.start && chunks.end <= fetches[*f].chunks.end;
            let fetch = known.get(&term.hash).and_then(|all| all.clone().find(has_all));
            let fetch = fetch.ok_or_else(|| bad(format!("no address for the chunks {chunks:?} of {}", term.hash)))?;
            length += term.unpacked_length;
            terms.push(Term { fetch, chunks, length: term.unpacked_length });
        }
        match length >= skip + wanted {
            true => Ok(Plan { skip, terms, fetches }),
            false => Err(bad(format!("its terms have {length} bytes, of which {skip} come before it"))),
        }
    }
}

impl Fetch {
    fn new(answer: AnswerFetch) -> Result<Fetch> {
        let Bounds { start, end } = answer.url_range;
        if start > end || end >= MAX_XORB {
            return Err(network(format!("bytes {start} to {end}")));
        }
        Ok(Fetch { chunks: chunks(answer.range)?, url: answer.url, bytes: (start, end + 1) })
    }
}

fn chunks(range: Bounds<u32>) -> Result<Range<u32>, Error> {
    match range.start < range.end && range.end <= MAX_CHUNKS {
        true => Ok(range.start..range.end),
        false => Err(network(format!("chunks {} to {}", range.start, range.end))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn answer(change: impl FnOnce(&mut Value)) -> Result<Plan> {
        let mut json = json!({
            "offset_into_first_range": 10,
            "terms": [
                {"hash": "a", "unpacked_length": 100, "range": {"start": 2, "end": 4}},
                {"hash": "b", "unpacked_length": 50, "range": {"start": 0, "end": 1}},
                {"hash": "a", "unpacked_length": 70, "range": {"start": 7, "end": 8}},
            ],
            "fetch_info": {
                "a": [
                    {"range": {"start": 2, "end": 5}, "url": "http://x/a1", "url_range": {"start": 20, "end": 29}},
                    {"range": {"start": 7, "end": 8}, "url": "http://x/a2", "url_range": {"start": 40, "end": 49}},
                ],
                "b": [{"range": {"start": 0, "end": 1}, "url": "http://x/b", "url_range": {"start": 0, "end": 9}}],
            },
        });
        change(&mut json);
        Plan::new(serde_json::from_value(json).unwrap(), 200)
    }

    #[test]
    fn terms_find_their_addresses() {
        let plan = answer(|_| ()).unwrap();
        let urls: Vec<&str> = plan.terms.iter().map(|t| plan.fetches[t.fetch].url.as_str()).collect();
        assert_eq!(urls, ["http://x/a1", "http://x/b", "http://x/a2"]);
        assert_eq!((plan.skip, plan.fetches[plan.terms[0].fetch].bytes), (10, (20, 30)));
        // What comes after the range is left out.
        assert_eq!(answer(|a| a["terms"][0]["unpacked_length"] = json!(1000)).unwrap().terms.len(), 1);
    }

    #[test]
    fn impossible_answers_are_refused() {
        let refused = |what: &str, change: &dyn Fn(&mut Value)| {
            let error = answer(|a| change(a)).unwrap_err();
            assert!(error.message().contains(what), "{what}: {error}");
        };
        refused("209 bytes", &|a| a["terms"][2]["unpacked_length"] = json!(59));
        refused("begins 100", &|a| a["offset_into_first_range"] = json!(100));
        refused("its terms have 0", &|a| a["terms"] = json!([]));
        refused("no address", &|a| a["terms"][0]["range"]["end"] = json!(6));
        refused("no address", &|a| a["fetch_info"]["b"] = json!([]));
        refused("a term of 0", &|a| a["terms"][1]["unpacked_length"] = json!(0));
        refused("a term of", &|a| a["terms"][1]["unpacked_length"] = json!(u64::MAX));
        refused("chunks 4 to 4", &|a| a["terms"][0]["range"]["start"] = json!(4));
        refused("chunks 0 to 4294967295", &|a| a["fetch_info"]["b"][0]["range"]["end"] = json!(u32::MAX));
        refused("bytes 20 to", &|a| a["fetch_info"]["a"][0]["url_range"]["end"] = json!(u64::MAX));
        refused("20000 terms", &|a| {
            let term = a["terms"][0].clone();
            a["terms"] = Value::Array(vec![term; 20_000]);
        });
    }
}
