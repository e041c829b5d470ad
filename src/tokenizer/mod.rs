//! Between text and token ids, and from chat messages to prompts.
#![forbid(unsafe_code)]

mod detokenizer;
mod files;
mod template;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokenizers::decoders::DecoderWrapper;

pub use detokenizer::StreamingDetokenizer;
pub use template::{ChatTemplates, TemplateOptions};

use crate::error::{Error, Result};

/// A model's tokenizer: text to ids and back, special tokens, chat templates. Immutable and shared; cloning is cheap,
/// and any thread may use it.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
    /// Tokens that end an answer, sorted.
    eos: Arc<[u32]>,
}

struct Inner {
    tokenizer: tokenizers::Tokenizer,
    byte_level: bool,
    special: SpecialTokens,
    templates: ChatTemplates,
}

/// Tokens with a role, as text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpecialTokens {
    /// By name: `bos_token`, `eos_token`, `unk_token`, `pad_token`, ...
    pub by_name: Map<String, Value>,
}

impl SpecialTokens {
    /// The text of a token, e.g. of `bos_token`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.by_name.get(name)?.as_str()
    }
}

impl Tokenizer {
    /// Reads the tokenizer in a model's directory: `tokenizer.json` (or `vocab.json` and `merges.txt`),
    /// `tokenizer_config.json`, `special_tokens_map.json`, and the chat templates in or beside them.
    ///
    /// # Errors
    /// If a file is missing, malformed or larger than is sane; the message names it.
    pub fn from_directory(directory: &Path) -> Result<Tokenizer> {
        let files = files::Files::read(directory)?;
        let templates = ChatTemplates::new(files.templates, files.special.by_name.clone())?;
        let byte_level = match files.tokenizer.get_decoder() {
            Some(DecoderWrapper::ByteLevel(_)) => true,
            Some(DecoderWrapper::Sequence(s)) => {
                s.get_decoders().iter().any(|d| matches!(d, DecoderWrapper::ByteLevel(_)))
            }
            _ => false,
        };
        let inner = Inner { tokenizer: files.tokenizer, byte_level, special: files.special, templates };
        let tokenizer = Tokenizer { inner: Arc::new(inner), eos: Arc::from([]) };
        Ok(tokenizer.with_eos(&[]))
    }

    /// The same tokenizer with these tokens ending an answer, beside its own `eos_token`.
    #[must_use]
    pub fn with_eos(mut self, ids: &[u32]) -> Tokenizer {
        let own = self.inner.special.get("eos_token").and_then(|text| self.token_to_id(text));
        let all: BTreeSet<u32> = ids.iter().copied().chain(own).chain(self.eos.iter().copied()).collect();
        self.eos = all.into_iter().collect();
        self
    }

    /// Tokens that end an answer, sorted.
    pub fn eos_token_ids(&self) -> &[u32] {
        &self.eos
    }

    /// Tokens with a role.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.inner.special
    }

    /// The number of tokens, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.tokenizer.get_vocab_size(true)
    }

    /// The id of a token given as its text in the vocabulary.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.tokenizer.token_to_id(token)
    }

    /// The text of a token in the vocabulary, which for most is not the text it stands for.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.tokenizer.id_to_token(id)
    }

    /// The bytes a token stands for within a text.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        let token = self.id_to_token(id)?;
        if self.inner.tokenizer.get_added_vocabulary().get_added_tokens_decoder().contains_key(&id) {
            return Some(token.into_bytes());
        }
        if self.inner.byte_level {
            return token.chars().map(byte_of).collect();
        }
        if let Some(hex) = token.strip_prefix("<0x").and_then(|t| t.strip_suffix('>')) {
            return u8::from_str_radix(hex, 16).ok().map(|b| vec![b]);
        }
        Some(token.replace('\u{2581}', " ").into_bytes())
    }

    /// The ids of a text. `add_special_tokens` adds what the tokenizer puts around a text, such as `bos_token`.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        self.inner
            .tokenizer
            .encode_fast(text, add_special_tokens)
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|e| Error::tokenizer(format!("cannot encode the text: {e}")))
    }

    /// The ids of a prompt: special tokens are added unless the text begins with `bos_token`, as the rendering of a
    /// chat template does.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        let begins = self.inner.special.get("bos_token").is_some_and(|bos| text.starts_with(bos));
        self.encode(text, !begins)
    }

    /// The text of ids.
    ///
    /// # Errors
    /// If an id is not in the vocabulary.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        if let Some(id) = ids.iter().find(|&&id| self.inner.tokenizer.id_to_token(id).is_none()) {
            return Err(Error::tokenizer(format!("token {id} is not in the vocabulary of {}", self.vocab_size())));
        }
        self.decode_known(ids, skip_special_tokens)
    }

    /// Like [`decode`](Self::decode), but ids that are not in the vocabulary stand for nothing.
    fn decode_known(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        self.inner
            .tokenizer
            .decode(ids, skip_special_tokens)
            .map_err(|e| Error::tokenizer(format!("cannot decode the tokens: {e}")))
    }

    /// Whether there is a chat template.
    pub fn has_chat_template(&self) -> bool {
        !self.inner.templates.is_empty()
    }

    /// The chat templates.
    pub fn chat_templates(&self) -> &ChatTemplates {
        &self.inner.templates
    }

    /// Renders chat messages (a JSON array of objects with `role` and `content`) as the prompt the model was trained on.
    pub fn apply_chat_template(&self, messages: &Value, options: &TemplateOptions) -> Result<String> {
        self.inner.templates.render(messages, options)
    }
}

/// The byte that a character of a byte-level vocabulary stands for: printable ones stand for themselves, the others
/// are moved up to 256 and above, in order (Radford et al. 2019, GPT-2, `encoder.py`).
fn byte_of(c: char) -> Option<u8> {
    let printable = |b: u32| matches!(b, 33..=126 | 161..=172 | 174..=255);
    match u32::from(c) {
        b if b < 256 => printable(b).then_some(b as u8),
        moved => (0u32..256).filter(|&b| !printable(b)).nth((moved - 256) as usize).map(|b| b as u8),
    }
}
