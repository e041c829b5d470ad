//! What an engine's thread holds to answer: models, sequences that are decoded, and what earlier ones left.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::decoding::{Decoding, Stream};
use super::panic::panic_error;
use super::prefix::Prefixes;
use crate::array::memory;
use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::generate::Others;
use crate::models::LanguageModel;

#[derive(Default)]
pub(super) struct Serving {
    pub models: HashMap<u64, Rc<dyn LanguageModel>>,
    pub decodings: Vec<Decoding>,
    pub prefixes: Prefixes,
    /// How long answers under way wait for the prompts of others.
    pub token_gap: Duration,
    /// When they got their last token.
    decoded: Option<Instant>,
}

impl Serving {
    /// The model of this id.
    pub fn model(&self, id: u64) -> Result<Rc<dyn LanguageModel>> {
        self.models.get(&id).cloned().ok_or_else(|| Error::invalid_argument("the model is unloaded"))
    }

    /// One token of each sequence that is decoded.
    pub fn next_tokens(&mut self) {
        for decoding in &mut self.decodings {
            let prefixes = &mut self.prefixes;
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| decoding.step(prefixes))) {
                let error = panic_error(&*payload);
                log::error!("{error}");
                let _ = catch_unwind(AssertUnwindSafe(|| decoding.panicked(&error)));
            }
        }
        self.decodings.retain(|decoding| !decoding.is_over());
        self.decoded = Some(Instant::now());
    }

    /// Decodes a sequence whose prompt is processed, together with others where it can.
    pub fn decode(&mut self, network: Rc<dyn LanguageModel>, stream: Stream, cache: Cache) {
        match self.decodings.iter_mut().find(|decoding| decoding.takes(&stream)) {
            Some(decoding) => decoding.join(stream, cache),
            None => self.decodings.push(Decoding::new(network, stream, cache)),
        }
    }

    /// Frees a model. What is decoded with it ends as cancelled.
    pub fn forget(&mut self, id: u64) {
        for decoding in &mut self.decodings {
            decoding.cancel(id);
        }
        self.decodings.retain(|decoding| !decoding.is_over());
        self.models.remove(&id);
        self.prefixes.clear(Some(id));
        memory::clear_cache();
    }

    /// Frees everything.
    pub fn clear(&mut self) {
        self.decodings.clear();
        self.prefixes.clear(None);
        self.models.clear();
    }
}

/// What is decoded while a prompt is processed.
impl Others for Serving {
    fn are_waiting(&self) -> bool {
        !self.decodings.is_empty()
    }

    fn go_on(&mut self) {
        if self.decoded.is_none_or(|decoded| decoded.elapsed() >= self.token_gap) {
            self.next_tokens();
        }
    }
}
