//! Checked requests.

use std::time::{Duration, Instant};

use super::constraint::Constraint;
use super::custom::CustomSampler;
use super::options::GenerateOptions;
use super::proposer::{PromptLookup, Proposer};
use super::sampling::{Sampler, SamplingParams, TokenSets, resolve_breakers};
use crate::cache::{CacheOptions, KvQuantization};
use crate::error::{Error, ErrorKind, Result};
use crate::tokenizer::{StreamingDetokenizer, Tokenizer};

/// What a generation needs to know about its model.
pub struct ModelFacts<'a> {
    /// Rows of the output layer.
    pub vocab_size: i32,
    /// The longest sequence the model was trained for.
    pub context_length: Option<i32>,
    /// Tokens that end an answer.
    pub eos_token_ids: &'a [u32],
    /// The tokenizer, if there is one.
    pub tokenizer: Option<&'a Tokenizer>,
}

/// Tokens of an answer for which memory is set aside, where the options name no limit.
const USUAL_ANSWER: usize = 1024;

/// What guides an answer in addition to its options. Nothing by default.
#[derive(Default)]
pub struct Guides {
    /// Restricts the tokens of the answer, before anything else is done with their logits.
    pub constraint: Option<Box<dyn Constraint>>,
    /// Proposes tokens, instead of prompt lookup.
    pub proposer: Option<Box<dyn Proposer>>,
    /// Chooses the tokens, instead of the options' filters, temperature and draw.
    pub sampler: Option<Box<dyn CustomSampler>>,
}

/// A checked request. Made on the caller's thread, so that mistakes are reported immediately.
pub struct Request {
    pub(super) prompt: Vec<u32>,
    pub(super) options: GenerateOptions,
    pub(super) cache: CacheOptions,
    pub(super) guides: Guides,
    pub(super) sampler: Sampler,
    pub(super) eos: Vec<u32>,
    /// The size of the vocabulary.
    pub(super) vocabulary: u32,
    /// The most positions.
    pub(super) limit: usize,
    pub(super) detokenizer: Option<StreamingDetokenizer>,
    /// When it was made.
    pub(super) requested: Instant,
    /// When it has taken as long as it may.
    deadline: Option<Instant>,
}

impl Request {
    /// Checks prompt and options against the model.
    pub fn new(model: &ModelFacts, prompt: Vec<u32>, options: GenerateOptions, mut guides: Guides) -> Result<Request> {
        check_tokens(&prompt, model.vocab_size)?;
        options.validate()?;
        let limit = options.max_context.or(model.context_length).unwrap_or(i32::MAX);
        if prompt.len() > limit as usize {
            return Err(Error::new(
                ErrorKind::ContextFull,
                format!("the prompt has {} tokens, the context holds {limit}", prompt.len()),
            ));
        }
        if options.prompt_lookup_tokens() > 0 {
            let (max_tokens, ngram) = (options.prompt_lookup_tokens(), options.prompt_lookup_ngram());
            guides.proposer.get_or_insert_with(|| Box::new(PromptLookup { max_tokens, ngram }));
        }
        let mut eos = model.eos_token_ids.to_vec();
        eos.extend(&options.extra_eos);
        let sampling = options.sampling();
        let sets = token_sets(model.tokenizer, &sampling, &eos)?;
        let sampler = Sampler::new(&sampling, model.vocab_size as usize, &sets)?;
        if options.ignore_eos {
            eos.clear();
        }
        let detokenizer = model.tokenizer.map(|t| t.detokenizer(options.skip_special_tokens));
        let vocabulary = model.vocab_size as u32;
        let cache = cache_options(&options);
        let requested = Instant::now();
        // A time that cannot be represented never comes.
        let timeout = options.timeout_seconds.and_then(|seconds| Duration::try_from_secs_f32(seconds).ok());
        let deadline = timeout.and_then(|timeout| requested.checked_add(timeout));
        let limit = limit as usize;
        Ok(Request {
            prompt,
            options,
            cache,
            guides,
            sampler,
            eos,
            vocabulary,
            limit,
            detokenizer,
            requested,
            deadline,
        })
    }

    /// Who is served first: the higher priority.
    pub fn priority(&self) -> i32 {
        self.options.priority()
    }

    /// Whether it has taken as long as it may.
    pub fn is_overdue(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// How its state is kept.
    pub fn cache_options(&self) -> &CacheOptions {
        &self.cache
    }

    /// How many positions memory is set aside for: prompt and answer, an answer without a limit of the usual length.
    pub fn positions(&self) -> usize {
        let answer = self.options.max_tokens.map_or(USUAL_ANSWER, |n| n as usize);
        (self.prompt.len().saturating_add(answer)).min(self.limit)
    }
}

/// How keys and values are stored.
fn cache_options(options: &GenerateOptions) -> CacheOptions {
    let quantization = options.kv_bits.map(|bits| KvQuantization {
        bits,
        group_size: options.kv_group_size(),
        start: options.quantized_kv_start(),
    });
    CacheOptions { max_kv_size: options.max_kv_size, quantization }
}

/// Refuses an empty prompt and tokens that the model does not have: MLX would read past the end of the embedding.
pub fn check_tokens(tokens: &[u32], vocab_size: i32) -> Result<()> {
    if tokens.is_empty() {
        return Err(Error::invalid_argument("the prompt has no tokens"));
    }
    match tokens.iter().find(|&&t| t >= vocab_size as u32) {
        Some(token) => {
            Err(Error::invalid_argument(format!("token {token} is not in the model's vocabulary of {vocab_size}")))
        }
        None => Ok(()),
    }
}

/// Token ids that samplers treat specially: XTC never drops the end and the line break (as in mlx-lm 0.32.2), DRY does
/// not look beyond its breakers.
fn token_sets(tokenizer: Option<&Tokenizer>, sampling: &SamplingParams, eos: &[u32]) -> Result<TokenSets> {
    let mut sets = TokenSets::default();
    let Some(tokenizer) = tokenizer else { return Ok(sets) };
    if sampling.xtc_probability > 0.0 {
        sets.xtc_excluded = eos.to_vec();
        sets.xtc_excluded.extend(tokenizer.encode("\n", false)?);
    }
    if sampling.dry_multiplier > 0.0 {
        let texts = (0..tokenizer.vocab_size() as u32)
            .map(|id| Ok((id, tokenizer.decode(&[id], false)?)))
            .collect::<Result<Vec<(u32, String)>>>()?;
        let vocabulary = texts.iter().map(|(id, text)| (*id, text.as_bytes()));
        sets.dry_breakers =
            resolve_breakers(&sampling.dry_sequence_breakers, vocabulary, |text| tokenizer.encode(text, false))?;
    }
    Ok(sets)
}
