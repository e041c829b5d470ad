//! Decoding: the next token of several sequences in one step of their model.

use std::rc::Rc;

use super::sampling::{Draw, choose};
use super::sequence::{Next, Sequence};
use crate::array::{self, Array, Device, Dtype, fused};
use crate::cache::{Cache, Layout};
use crate::error::{Error, Result};
use crate::models::{Inputs, LanguageModel};

/// What sequences that are decoded together share. Lives on the thread of its model. After an error its arrays are not to
/// be trusted, and it must be dropped.
pub struct Batch {
    network: Rc<dyn LanguageModel>,
    cache: Option<Cache>,
    sequences: usize,
    /// The next tokens of all sequences, being computed: scheduled before those before them were read.
    pending: Option<Array>,
    layout: Layout,
    /// Whether the device also draws tokens.
    draws: bool,
    logits: Vec<f32>,
}

/// What a step says about the next tokens.
pub enum Step<'a> {
    /// The token of each sequence.
    Tokens(Vec<u32>),
    /// The logits of each sequence, so many of them, one sequence after the other.
    Logits(&'a mut [f32], usize),
}

impl Step<'_> {
    /// One for each sequence.
    pub fn nexts(&mut self) -> Box<dyn Iterator<Item = Next<'_>> + '_> {
        match self {
            Step::Tokens(tokens) => Box::new(tokens.iter().map(|id| Next::Token(*id))),
            Step::Logits(logits, vocabulary) => Box::new(logits.chunks_exact_mut(*vocabulary).map(Next::Logits)),
        }
    }
}

impl Batch {
    /// Without sequences so far. Tokens are drawn where the model runs: on a GPU, because reading logits makes it wait for
    /// the host; on a CPU by the host itself.
    pub fn new(network: Rc<dyn LanguageModel>, layout: Layout) -> Batch {
        let draws = array::device() == Device::Gpu;
        Batch { network, cache: None, sequences: 0, pending: None, layout, draws, logits: Vec::new() }
    }

    /// Whether a sequence can join now: not while a step is under way.
    pub fn is_open(&self) -> bool {
        self.pending.is_none()
    }

    /// Adds a sequence by its cache, behind those that are here.
    pub fn join(&mut self, cache: Cache) -> Result<()> {
        if !self.is_open() {
            return Err(Error::internal("a sequence joined in the middle of a step"));
        }
        self.sequences += 1;
        match &mut self.cache {
            Some(all) => all.push(cache, self.layout),
            None => {
                self.cache = Some(cache);
                Ok(())
            }
        }
    }

    /// Forgets the sequence at `row`, also in a step under way.
    pub fn leave(&mut self, row: usize) -> Result<()> {
        self.sequences -= 1;
        if self.sequences == 0 {
            // Whoever waits may look at memory at once.
            (self.cache, self.pending) = (None, None);
            return Ok(());
        }
        if let Some(cache) = &mut self.cache {
            cache.remove(row)?;
        }
        if let Some(tokens) = &self.pending {
            let rest: Vec<u32> = (0..=self.sequences as u32).filter(|&i| i != row as u32).collect();
            self.pending = Some(tokens.take(&Array::from_slice(&rest, &[rest.len() as i32])?, 0)?);
        }
        Ok(())
    }

    /// One step of all sequences, in the order in which they joined. With `ahead` the step after it may be under way when
    /// this returns.
    pub fn step(&mut self, sequences: &mut [&mut Sequence], ahead: bool) -> Result<Step<'_>> {
        let last: Vec<u32> = sequences.iter().map(|s| s.last()).collect();
        let last = || Array::from_slice(&last, &[last.len() as i32]);
        let on_device = |s: &&mut Sequence| s.is_greedy() || self.draws && s.is_drawable();
        if self.pending.is_none() && !sequences.iter().all(on_device) {
            let logits = self.decode(&last()?)?.astype(Dtype::F32)?;
            let vocabulary = logits.dim(-1) as usize;
            let values = &mut self.logits;
            logits.read(|all: &[f32]| {
                values.clear();
                values.extend_from_slice(all);
            })?;
            return Ok(Step::Logits(&mut self.logits, vocabulary));
        }
        let tokens = match self.pending.take() {
            Some(tokens) => tokens,
            None => self.schedule(&last()?, sequences)?,
        };
        if ahead && sequences.iter().any(|s| s.wants_more(1)) {
            self.pending = Some(self.schedule(&tokens, sequences)?);
        }
        Ok(Step::Tokens(tokens.to_vec()?))
    }

    /// The logits behind one more token each, `[sequences, vocabulary]`.
    fn decode(&mut self, tokens: &Array) -> Result<Array> {
        let cache = self.cache.as_mut().ok_or_else(|| Error::internal("a step without sequences"))?;
        let output = self.network.forward(&Inputs::tokens(tokens.expand_dims(1)?), cache)?;
        let logits = self.network.logits(&output.hidden)?.squeeze_axis(1)?;
        cache.settle()?;
        Ok(logits)
    }

    /// Starts computing the tokens behind these.
    fn schedule(&mut self, tokens: &Array, sequences: &mut [&mut Sequence]) -> Result<Array> {
        let logits = self.decode(tokens)?;
        let next = if sequences.iter().all(|s| s.is_greedy()) {
            fused::argmax(&logits)?
        } else {
            let draws: Vec<Draw> = sequences.iter_mut().map(|s| s.draw()).collect();
            choose(&logits, &draws)?
        };
        array::async_eval([&next])?;
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::{random, set_device};
    use crate::cache::CacheOptions;
    use crate::generate::{GenerateOptions, GenerationEvent, ModelFacts, Prefill, Request};
    use crate::models::{Content, Output};

    /// Remembers nothing: the logits behind a token are its row, `[vocabulary, vocabulary]`.
    struct Table(Array);

    impl LanguageModel for Table {
        fn forward(&self, inputs: &Inputs, _: &mut Cache) -> Result<Output> {
            let Content::Tokens(tokens) = &inputs.content else { return Err(Error::unsupported("no tokens")) };
            Ok(Output { hidden: self.embed(tokens)?, taps: Vec::new() })
        }

        fn embed(&self, tokens: &Array) -> Result<Array> {
            self.0.take(tokens, 0)
        }

        fn logits(&self, hidden: &Array) -> Result<Array> {
            Ok(hidden.clone())
        }

        fn new_cache(&self, options: &CacheOptions) -> Result<Cache> {
            Cache::new([], options)
        }

        fn vocab_size(&self) -> i32 {
            self.0.dim(0)
        }

        fn context_length(&self) -> Option<i32> {
            None
        }

        fn prefill_step(&self, _: Device) -> i32 {
            16
        }
    }

    /// The tokens of three sequences that are decoded together, the first of them greedily.
    fn decoded(network: &Rc<dyn LanguageModel>, draws: bool) -> Vec<Vec<u32>> {
        let samplings = [
            r#"{"max_tokens": 40}"#,
            r#"{"max_tokens": 40, "temperature": 0.8, "top_k": 12, "seed": 3}"#,
            r#"{"max_tokens": 40, "temperature": 1.1, "top_p": 0.9, "min_p": 0.02, "seed": 4}"#,
        ];
        let mut batch = Batch { draws, ..Batch::new(network.clone(), Layout::best()) };
        let mut sequences = Vec::new();
        let mut tokens = vec![Vec::new(); samplings.len()];
        for (i, sampling) in samplings.into_iter().enumerate() {
            let options: GenerateOptions = serde_json::from_str(sampling).unwrap();
            let facts = ModelFacts {
                vocab_size: network.vocab_size(),
                context_length: None,
                eos_token_ids: &[],
                tokenizer: None,
            };
            let request = Request::new(&facts, vec![5 + i as u32, 9, 30], options).unwrap();
            let mut prefill = Prefill::new(network.clone(), request).unwrap();
            while !prefill.advance(&mut |_| {}).unwrap() {}
            batch.join(prefill.cache).unwrap();
            sequences.push(prefill.sequence);
        }
        for _ in 0..40 {
            let mut all: Vec<&mut Sequence> = sequences.iter_mut().collect();
            let mut step = batch.step(&mut all, true).unwrap();
            assert_eq!(matches!(step, Step::Tokens(_)), draws);
            for ((sequence, next), tokens) in sequences.iter_mut().zip(step.nexts()).zip(&mut tokens) {
                let mut emit = |event: &GenerationEvent| {
                    if let GenerationEvent::Token { token, .. } = event {
                        tokens.push(token.id);
                    }
                };
                sequence.accept(next, &mut emit).unwrap();
            }
        }
        tokens
    }

    fn table(scale: f32) -> Rc<dyn LanguageModel> {
        set_device(Device::Cpu).unwrap();
        let key = random::key(7).unwrap();
        Rc::new(Table(random::normal(&[300, 300], scale, Dtype::F32, &key).unwrap()))
    }

    #[test]
    fn sequences_get_the_same_tokens_wherever_they_are_drawn() {
        let network = table(2.0);
        let (device, host) = (decoded(&network, true), decoded(&network, false));
        assert!(device.iter().all(|tokens| tokens.len() == 40));
        assert_eq!(device, host);
    }

    #[test]
    fn logits_that_cannot_be_sampled_are_an_error() {
        let network = table(f32::NAN);
        let options = GenerateOptions { temperature: Some(1.0), ..Default::default() };
        let facts = ModelFacts { vocab_size: 300, context_length: None, eos_token_ids: &[], tokenizer: None };
        for draws in [true, false] {
            let request = Request::new(&facts, vec![1], options.clone()).unwrap();
            let prefill = Prefill::new(network.clone(), request).unwrap();
            let mut batch = Batch { draws, ..Batch::new(network.clone(), Layout::best()) };
            batch.join(prefill.cache).unwrap();
            let mut sequence = prefill.sequence;
            let mut step = batch.step(&mut [&mut sequence], true).unwrap();
            let next = step.nexts().next().unwrap();
            let error = sequence.accept(next, &mut |_| {}).unwrap_err();
            assert!(error.to_string().contains("NaN"), "{error}");
        }
    }
}
