//! Text in which special tokens are text.
//!
//! What a user writes may spell a token such as `<|im_end|>`. Encoded as usual it would be that token, and would end the
//! message. Here special tokens of a text are spelled like any other; those that a chat template writes are known by
//! another name, an alias that nobody can guess.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use tokenizers::{AddedToken, Tokenizer};

use super::encode::encode;
use crate::{Error, Result};

/// Where special tokens stand in a text.
#[derive(Debug)]
pub(super) struct Specials {
    /// By their first character, longest first.
    by_start: HashMap<char, Vec<(String, u32)>>,
    ids: Vec<u32>,
    /// Some are looked for in the normalised text, where they may be spelled otherwise.
    normalized: bool,
}

impl Specials {
    pub fn of(tokenizer: &Tokenizer) -> Specials {
        let mut by_start: HashMap<char, Vec<(String, u32)>> = HashMap::new();
        let (mut ids, mut normalized) = (Vec::new(), false);
        for (id, token) in tokenizer.get_added_tokens_decoder() {
            let Some(start) = token.content.chars().next().filter(|_| token.special) else { continue };
            normalized |= token.normalized && tokenizer.get_normalizer().is_some();
            by_start.entry(start).or_default().push((token.content, id));
            ids.push(id);
        }
        by_start.values_mut().for_each(|tokens| tokens.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then(a.cmp(b))));
        ids.sort_unstable();
        Specials { by_start, ids, normalized }
    }

    /// The ids, in ascending order.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// From left to right, the longest of each place.
    pub fn find(&self, text: &str) -> Vec<(Range<usize>, u32)> {
        let mut found: Vec<(Range<usize>, u32)> = Vec::new();
        for (at, c) in text.char_indices() {
            if found.last().is_some_and(|(last, _)| at < last.end) {
                continue;
            }
            let tokens = self.by_start.get(&c).map_or(&[][..], Vec::as_slice);
            if let Some((token, id)) = tokens.iter().find(|(token, _)| text[at..].starts_with(token.as_str())) {
                found.push((at..at + token.len(), *id));
            }
        }
        found
    }

    /// Whether the text ends with what could become a special token by what follows.
    pub fn is_unfinished(&self, text: &str) -> bool {
        let Some(longest) = self.by_start.values().flatten().map(|(token, _)| token.len()).max() else { return false };
        let from = text.len().saturating_sub(longest - 1);
        let goes_on = |at: usize, token: &str| token.len() > text.len() - at && token.starts_with(&text[at..]);
        text.char_indices().rev().take_while(|(at, _)| *at >= from).any(|(at, c)| {
            self.by_start.get(&c).is_some_and(|tokens| tokens.iter().any(|(token, _)| goes_on(at, token)))
        })
    }

    /// Whether [`find`](Self::find) may miss some.
    pub fn are_normalized(&self) -> bool {
        self.normalized
    }
}

/// A tokenizer for such texts: a copy, made when the first text needs it.
#[derive(Debug)]
pub(super) struct Plain {
    tokenizer: Tokenizer,
    aliases: HashMap<u32, String>,
    /// The tokens that the aliases stand for.
    tokens: HashMap<u32, u32>,
    /// Special tokens that no text becomes, in ascending order. What a vocabulary cannot spell may be one of them, which is
    /// not here.
    forbidden: Vec<u32>,
}

impl Plain {
    pub fn new(tokenizer: &Tokenizer, unknown: Option<u32>) -> Result<Plain> {
        let failed = |error: tokenizers::Error| Error::tokenizer(format!("special tokens as text: {error}"));
        let mut tokenizer = tokenizer.clone();
        tokenizer.set_encode_special_tokens(true);
        let secret = RandomState::new().hash_one(std::time::SystemTime::now());
        let mut special: Vec<(u32, AddedToken)> =
            tokenizer.get_added_tokens_decoder().into_iter().filter(|(_, token)| token.special).collect();
        special.sort_by_key(|(id, _)| *id);
        let alias = |id: u32| format!("\u{FDD2}{secret:016x}{id:08x}\u{FDD3}");
        let named = special.iter().map(|(id, token)| {
            AddedToken::from(alias(*id), false).lstrip(token.lstrip).rstrip(token.rstrip).normalized(token.normalized)
        });
        tokenizer.add_tokens(named.collect::<Vec<_>>()).map_err(failed)?;
        let (mut aliases, mut tokens) = (HashMap::new(), HashMap::new());
        for (id, _) in &special {
            let name = alias(*id);
            let own = tokenizer.token_to_id(&name).ok_or_else(|| Error::internal("an alias is no token"))?;
            aliases.insert(*id, name);
            tokens.insert(own, *id);
        }
        let forbidden = special.iter().map(|(id, _)| *id).filter(|id| Some(*id) != unknown).collect();
        Ok(Plain { tokenizer, aliases, tokens, forbidden })
    }

    /// The ids of a text. `own` are the special tokens in it that are to be tokens, in order.
    pub fn encode(
        &self,
        text: &str,
        own: &[(Range<usize>, u32)],
        specials: &Specials,
        add_special_tokens: bool,
    ) -> Result<Vec<u32>> {
        let mut named = String::with_capacity(text.len());
        let mut at = 0;
        for (range, id) in own {
            named.push_str(&text[at..range.start]);
            named.push_str(self.aliases.get(id).map_or(&text[range.clone()], String::as_str));
            at = range.end;
        }
        named.push_str(&text[at..]);
        let mut parts = vec![&named[..]];
        if encode(&self.tokenizer, &parts, false)?.iter().any(|id| self.forbidden.binary_search(id).is_ok()) {
            // The model's own vocabulary has such a token as a word. No token reaches over a cut.
            parts.clear();
            let mut from = 0;
            for (range, _) in specials.find(&named) {
                let first = named[range.clone()].chars().next().map_or(0, char::len_utf8);
                parts.push(&named[from..range.start + first]);
                from = range.start + first;
            }
            parts.push(&named[from..]);
        }
        let ids = encode(&self.tokenizer, &parts, add_special_tokens)?;
        Ok(ids.into_iter().map(|id| self.tokens.get(&id).copied().unwrap_or(id)).collect())
    }
}
