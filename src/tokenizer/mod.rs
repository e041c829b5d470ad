//! Text to token ids and back, and chat templates.
//!
//! [`Tokenizer::from_directory`] reads what a model's repository holds for it. Encoding is the `tokenizers` crate's;
//! decoding, streaming or not, is ours ([`StreamingDetokenizer`]); templates render as in transformers 5.
//!
//! Every file is untrusted: sizes are bounded before reading, and a broken file is an error that names it.
#![forbid(unsafe_code)]

mod data;
mod decoder;
mod detokenizer;
mod encode;
mod isolated;
mod jinja;
mod parts;
mod plain;
mod protect;
mod source;
mod template;

use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::{Error, ErrorKind, Result};
use decoder::Pipeline;
use isolated::isolated;
use plain::{Plain, Specials};
use protect::{Place, Rendering, has_special, marked, unmarked};
use template::ChatTemplates;

pub use data::parse_template_data;
pub use detokenizer::StreamingDetokenizer;
pub use template::{TemplateChoice, TemplateOptions};

/// What to change about a tokenizer as it is loaded.
#[derive(Clone, Debug, Default)]
pub struct TokenizerOptions {
    /// Ids that end a generation, besides the tokenizer's own end-of-sequence token. They come from
    /// `generation_config.json` or `config.json`.
    pub eos_token_ids: Vec<u32>,
    /// The source of a chat template that replaces all of the model's.
    pub chat_template: Option<String>,
}

/// A tokenizer with its special tokens and chat templates. Cloning is cheap.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
    eos: Arc<[u32]>,
}

struct Inner {
    tokenizer: tokenizers::Tokenizer,
    /// Tokens by role: `bos_token`, `eos_token`, and whatever else the model names.
    special_tokens: BTreeMap<String, String>,
    templates: ChatTemplates,
    /// The decoder at its start, to be cloned.
    pipeline: Pipeline,
    specials: Specials,
    /// For text whose special tokens are text, once there is some.
    plain: OnceLock<Result<Plain>>,
}

impl Tokenizer {
    /// Reads the tokenizer in `dir`: `tokenizer.json`, or `vocab.json` with `merges.txt`; then `tokenizer_config.json`,
    /// `special_tokens_map.json`, `added_tokens.json` and the chat templates, each of which may be missing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] where there is no tokenizer in `dir`, [`ErrorKind::InvalidConfig`] for malformed JSON,
    /// [`ErrorKind::Tokenizer`] for a tokenizer that cannot be built or that is of a kind that is not supported,
    /// [`ErrorKind::Template`] for unusable template files, [`ErrorKind::Io`]. A template that does not compile fails
    /// when it is used, not here.
    pub fn from_directory(dir: &Path, options: TokenizerOptions) -> Result<Self> {
        let source = isolated(ErrorKind::Tokenizer, "reading the tokenizer", || source::read(dir))??;
        let templates = match options.chat_template {
            Some(template) => BTreeMap::from([("default".to_owned(), template)]),
            None => source.templates,
        };
        let pipeline = Pipeline::new(source.tokenizer.get_decoder(), source.clean_up)?;
        let inner = Inner {
            specials: Specials::of(&source.tokenizer),
            plain: OnceLock::new(),
            tokenizer: source.tokenizer,
            special_tokens: source.special_tokens,
            templates: templates.into_iter().collect(),
            pipeline,
        };
        Ok(Tokenizer { inner: Arc::new(inner), eos: Arc::new([]) }.with_eos(&options.eos_token_ids))
    }

    /// The same tokenizer, ending at `ids` and at its own end-of-sequence token.
    #[must_use]
    pub fn with_eos(mut self, ids: &[u32]) -> Self {
        let mut all: Vec<u32> = ids.iter().copied().chain(self.eos_id()).collect();
        all.sort_unstable();
        all.dedup();
        self.eos = all.into();
        self
    }

    /// The ids of `text`. `add_special_tokens` adds what the tokenizer puts around a text, such as the token that
    /// begins a sequence.
    ///
    /// Rendered chat templates hold their special tokens already: encode them without, or use
    /// [`encode_prompt`](Self::encode_prompt).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Tokenizer`] where the vocabulary has no way to write `text`.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        encode::encode(&self.inner.tokenizer, &[text], add_special_tokens)
    }

    /// The ids of text in which special tokens are text: `<|im_end|>` becomes what spells it, not the token that ends a
    /// message. Added tokens that are not special (`<think>` in many models) are tokens here too, as in transformers with
    /// `split_special_tokens`.
    ///
    /// The first text that has any makes a copy of the tokenizer, which takes as much memory again.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_plain(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        let specials = &self.inner.specials;
        match specials.find(text).is_empty() && !specials.are_normalized() {
            true => self.encode(text, add_special_tokens),
            false => self.plain()?.encode(text, &[], specials, add_special_tokens),
        }
    }

    fn plain(&self) -> Result<&Plain> {
        let make = || Plain::new(&self.inner.tokenizer, self.unk_id());
        self.inner.plain.get_or_init(make).as_ref().map_err(Clone::clone)
    }

    /// The ids of a prompt that may or may not be a rendered chat template: special tokens are added unless `text`
    /// begins with the token that begins a sequence. This is mlx-lm's rule.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        self.encode(text, !self.bos_token().is_some_and(|bos| text.starts_with(bos)))
    }

    /// Renders messages and encodes the result, without adding special tokens that the template did not write.
    ///
    /// Special tokens in messages, tools and documents are text, so that `<|im_end|>` in a message cannot end it:
    /// [`encode_plain`](Self::encode_plain) says what that means, and
    /// [`special_tokens_in_data`](TemplateOptions::special_tokens_in_data) turns it off.
    ///
    /// # Errors
    ///
    /// As [`apply_chat_template`](Self::apply_chat_template) and [`encode`](Self::encode).
    pub fn encode_chat(&self, messages: &Json, options: &TemplateOptions) -> Result<Vec<u32>> {
        let text = self.apply_chat_template(messages, options)?;
        // A tokenizer may have no special tokens in texts at all.
        if options.special_tokens_in_data || self.inner.tokenizer.get_encode_special_tokens() {
            return self.encode(&text, false);
        }
        // Data may nest deeper than the caller's stack allows for.
        let job = || self.with_own_tokens(messages, options, &text);
        match isolated(ErrorKind::Template, "rendering the chat template", job)?? {
            Some((text, own)) => self.plain()?.encode(&text, &own, &self.inner.specials, false),
            None => self.encode(&text, false),
        }
    }

    /// The rendering `text` of data that may have special tokens, and where those of the template itself are; `None` where
    /// all are the template's.
    fn with_own_tokens(&self, messages: &Json, options: &TemplateOptions, text: &str) -> Result<Option<Rendering>> {
        let specials = &self.inner.specials;
        let mut data = [Some(messages), options.tools.as_ref(), options.documents.as_ref()].into_iter().flatten();
        if !data.any(|value| has_special(value, specials)) {
            return Ok(None);
        }
        let render = |place| {
            let mark = |value: &Json| marked(value, specials, place);
            let marked = TemplateOptions {
                tools: options.tools.as_ref().map(mark),
                documents: options.documents.as_ref().map(mark),
                ..options.clone()
            };
            let rendered = self.inner.templates.apply(&mark(messages), &marked, &self.inner.special_tokens, true)?;
            Ok::<_, Error>(unmarked(rendered, text, specials))
        };
        match render(Place::Outside) {
            Ok(found) if found.0 == text => Ok(Some(found)),
            // The template looks at the text more closely: it is not shown the tokens.
            _ => render(Place::Inside).map(Some),
        }
    }

    /// The id of a token as it is spelled in the vocabulary.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.tokenizer.token_to_id(token)
    }

    /// The bytes that a token adds to a text, not at its beginning; they need not be UTF-8. Those of a special token are
    /// its name. `None` where there is no such token.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        Some(match self.piece(id, false)? {
            Piece::Added(token) => self.pipeline().bytes_of(&token, true),
            Piece::Plain(token) => self.pipeline().bytes_of(&token, false),
        })
    }

    /// The ids of all special tokens, in ascending order.
    pub fn special_token_ids(&self) -> &[u32] {
        self.inner.specials.ids()
    }

    /// The id of the token with a role, as [`special_tokens`](Self::special_tokens) names them: `bos_token`, ...
    pub fn role_id(&self, role: &str) -> Option<u32> {
        self.token_to_id(self.special(role)?)
    }

    /// The token of an id as it is spelled in the vocabulary, which need not be the text it decodes to.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.tokenizer.id_to_token(id)
    }

    /// How many tokens there are, with those added to the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.inner.tokenizer.get_vocab_size(true)
    }

    /// Tokens by their role: `bos_token`, `eos_token`, `unk_token`, `sep_token`, `pad_token`, `cls_token`, `mask_token`
    /// and those that the model itself names (`image_token`). Chat templates see them under these names.
    pub fn special_tokens(&self) -> &BTreeMap<String, String> {
        &self.inner.special_tokens
    }

    /// Whether `id` is a special token, which decoding can skip.
    pub fn is_special_token(&self, id: u32) -> bool {
        let added = self.inner.tokenizer.get_added_vocabulary();
        self.id_to_token(id).is_some_and(|token| added.is_special_token(&token))
    }

    fn special(&self, role: &str) -> Option<&str> {
        self.inner.special_tokens.get(role).map(String::as_str)
    }

    /// The token that begins a sequence.
    pub fn bos_token(&self) -> Option<&str> {
        self.special("bos_token")
    }

    /// The token that ends a sequence.
    pub fn eos_token(&self) -> Option<&str> {
        self.special("eos_token")
    }

    /// The token that fills up short sequences of a batch.
    pub fn pad_token(&self) -> Option<&str> {
        self.special("pad_token")
    }

    /// The token for what the vocabulary cannot write.
    pub fn unk_token(&self) -> Option<&str> {
        self.special("unk_token")
    }

    /// The id of [`bos_token`](Self::bos_token).
    pub fn bos_id(&self) -> Option<u32> {
        self.token_to_id(self.bos_token()?)
    }

    /// The id of [`eos_token`](Self::eos_token).
    pub fn eos_id(&self) -> Option<u32> {
        self.token_to_id(self.eos_token()?)
    }

    /// The id of [`pad_token`](Self::pad_token).
    pub fn pad_id(&self) -> Option<u32> {
        self.token_to_id(self.pad_token()?)
    }

    /// The id of [`unk_token`](Self::unk_token).
    pub fn unk_id(&self) -> Option<u32> {
        self.token_to_id(self.unk_token()?)
    }

    /// All ids that end a generation, in ascending order.
    pub fn eos_token_ids(&self) -> &[u32] {
        &self.eos
    }

    /// Compiles the chat templates, so that a malformed one is known before its first use.
    ///
    /// # Errors
    /// [`ErrorKind::Template`]
    pub fn check_chat_templates(&self) -> Result<()> {
        self.inner.templates.compile()
    }

    /// Whether there is a chat template.
    pub fn has_chat_template(&self) -> bool {
        self.inner.templates.names().next().is_some()
    }

    /// The names of the chat templates, sorted. A model with one template calls it `default`.
    pub fn chat_template_names(&self) -> Vec<&str> {
        self.inner.templates.names().collect()
    }

    /// The Jinja source of a chat template.
    pub fn chat_template_source(&self, name: &str) -> Option<&str> {
        self.inner.templates.source(name)
    }

    /// Renders `messages`, an array of objects, with a chat template, as transformers does. [`parse_template_data`] reads
    /// messages from text.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] for messages that are not an array of objects, or empty;
    /// [`ErrorKind::Template`] where there is no such template, where it is malformed, runs too long, or refuses the
    /// messages: then the message is the template's own.
    pub fn apply_chat_template(&self, messages: &Json, options: &TemplateOptions) -> Result<String> {
        self.inner.templates.apply(messages, options, &self.inner.special_tokens, false)
    }

    fn pipeline(&self) -> &Pipeline {
        &self.inner.pipeline
    }

    /// What decoding sees of an id.
    fn piece(&self, id: u32, skip_special_tokens: bool) -> Option<Piece> {
        let added = self.inner.tokenizer.get_added_vocabulary();
        let token = self.id_to_token(id).filter(|token| !(skip_special_tokens && added.is_special_token(token)))?;
        let is_added = added.get_added_tokens_decoder().contains_key(&id);
        Some(if is_added { Piece::Added(token) } else { Piece::Plain(token) })
    }
}

/// A token as it is spelled in the vocabulary.
enum Piece {
    /// Of the model's own vocabulary, in its alphabet.
    Plain(String),
    /// Added to it, as text.
    Added(String),
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("special_tokens", self.special_tokens())
            .field("eos_token_ids", &self.eos_token_ids())
            .field("chat_templates", &self.chat_template_names())
            .finish()
    }
}
