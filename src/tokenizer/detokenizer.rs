//! Text from tokens, as they come.

use super::Tokenizer;
use crate::error::Result;

/// Beyond this many tokens without a clean end something else than one cut character is going on.
const LONG: usize = 8;

/// Turns tokens into text one at a time. What it returns, joined, is the text that decoding all tokens at once gives;
/// it never contains half a character.
///
/// A token's text depends on its neighbours (spaces, characters of several bytes), so a short window of tokens is
/// decoded with and without the new ones, and the difference returned once it ends in a whole character.
///
/// One kind of text differs from decoding everything at once: where a SentencePiece model emits bytes, and bytes that
/// make valid characters are followed directly by bytes that do not, the decoder at once gives up the valid ones too.
pub struct StreamingDetokenizer {
    tokenizer: Tokenizer,
    window: Vec<u32>,
    /// Tokens at the beginning of the window whose text was returned.
    returned: usize,
}

impl StreamingDetokenizer {
    /// A detokenizer at the beginning of a text. Special tokens are left out.
    pub fn new(tokenizer: &Tokenizer) -> StreamingDetokenizer {
        StreamingDetokenizer { tokenizer: tokenizer.clone(), window: Vec::new(), returned: 0 }
    }

    /// Takes a token and returns the text that is now certain: whole characters, perhaps none.
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.window.push(id);
        let before = self.text(self.returned)?;
        let all = self.text(self.window.len())?;
        if !all.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(self.advance(self.window.len(), &before, &all));
        }
        if self.window.len() - self.returned > LONG {
            // Not one character that is still incomplete: return what a cut further back leaves unchanged.
            for cut in (self.returned + 1..=self.window.len() - 4).rev() {
                let part = self.text(cut)?;
                if all.starts_with(&part) {
                    return Ok(self.advance(cut, &before, &part));
                }
            }
        }
        Ok(String::new())
    }

    /// The rest, when no more tokens come. Bytes that make no character are U+FFFD.
    pub fn finish(&mut self) -> Result<String> {
        let before = self.text(self.returned)?;
        let all = self.text(self.window.len())?;
        Ok(self.advance(self.window.len(), &before, &all))
    }

    fn text(&self, tokens: usize) -> Result<String> {
        match tokens {
            0 => Ok(String::new()),
            _ => self.tokenizer.decode_known(&self.window[..tokens], true),
        }
    }

    /// Returns the text of the window's first `cut` tokens beyond `before`, and moves the window on. The tokens just
    /// returned stay in it, as neighbours of the next.
    fn advance(&mut self, cut: usize, before: &str, text: &str) -> String {
        let new = text.strip_prefix(before).unwrap_or_default().to_owned();
        if !new.is_empty() {
            self.window.drain(..self.returned);
            self.returned = cut - self.returned;
        }
        new
    }
}
