//! Text to ids.

use tokenizers::{Encoding, Tokenizer};

use super::parts::parts;
use crate::{Error, Result};

/// The ids of texts that follow one another; no token reaches over the border of two.
pub(super) fn encode(tokenizer: &Tokenizer, texts: &[&str], add_special_tokens: bool) -> Result<Vec<u32>> {
    let all: Vec<&str> = texts.iter().flat_map(|text| parts(text)).collect();
    let encoding = match all[..] {
        [one] => tokenizer.encode_fast(one, add_special_tokens),
        ref parts => parts
            .iter()
            .map(|part| tokenizer.encode_fast(*part, false))
            .collect::<Result<Vec<_>, _>>()
            .and_then(|parts| tokenizer.post_process(Encoding::merge(parts, false), None, add_special_tokens)),
    };
    let encoding = encoding.map_err(|error| Error::tokenizer(format!("the text cannot be encoded: {error}")))?;
    Ok(encoding.get_ids().to_vec())
}
