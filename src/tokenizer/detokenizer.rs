//! Token ids to text, streaming or not.

use super::decoder::Pipeline;
use super::{Piece, Tokenizer};
use crate::Result;

impl Tokenizer {
    /// The text of `ids`, without special tokens if `skip_special_tokens`. Ids that are not in the vocabulary are left
    /// out, and bytes that are not UTF-8 come out as U+FFFD.
    ///
    /// # Errors
    ///
    /// None today; a decoder that can fail would be [`ErrorKind::Tokenizer`].
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        let mut detokenizer = self.detokenizer(skip_special_tokens);
        let mut text = String::new();
        for &id in ids {
            detokenizer.push_to(id, &mut text);
        }
        text.push_str(&detokenizer.finish());
        Ok(text)
    }

    /// A decoder that takes one id at a time.
    pub fn detokenizer(&self, skip_special_tokens: bool) -> StreamingDetokenizer {
        StreamingDetokenizer::new(self.clone(), skip_special_tokens)
    }
}

/// Turns token ids into text as they come. Made by [`Tokenizer::detokenizer`].
///
/// What [`push`](Self::push) returned, and then [`finish`](Self::finish), concatenated, is what [`Tokenizer::decode`]
/// returns for all the ids. No returned text ends inside a code point. Bytes that never become UTF-8 come out as
/// U+FFFD, no later than at the end.
#[derive(Clone, Debug)]
pub struct StreamingDetokenizer {
    tokenizer: Tokenizer,
    skip_special_tokens: bool,
    pipeline: Pipeline,
}

impl StreamingDetokenizer {
    fn new(tokenizer: Tokenizer, skip_special_tokens: bool) -> Self {
        let pipeline = tokenizer.pipeline().clone();
        StreamingDetokenizer { tokenizer, skip_special_tokens, pipeline }
    }

    /// The text that `id` completes; often empty. Ids that are not in the vocabulary add nothing.
    pub fn push(&mut self, id: u32) -> String {
        let mut out = String::new();
        self.push_to(id, &mut out);
        out
    }

    /// The text that was held back. The detokenizer is then as new.
    pub fn finish(&mut self) -> String {
        let mut out = String::new();
        std::mem::replace(&mut self.pipeline, self.tokenizer.pipeline().clone()).finish(&mut out);
        out
    }

    fn push_to(&mut self, id: u32, out: &mut String) {
        match self.tokenizer.piece(id, self.skip_special_tokens) {
            Some(Piece::Added(token)) => self.pipeline.push_added(token, out),
            Some(Piece::Plain(piece)) => self.pipeline.push(piece, out),
            None => {}
        }
    }
}
