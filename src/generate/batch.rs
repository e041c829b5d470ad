//! Decoding: one step for several sequences of a model.

use std::rc::Rc;

use super::rows::Rows;
use super::sampling::{Draw, choose};
use super::sequence::Next;
use super::turn::{Turn, Wants};
use crate::array::{self, Array, Device, Dtype, fused};
use crate::cache::{Cache, Checkpoint, Layout};
use crate::error::{Error, Result};
use crate::models::{Inputs, LanguageModel};

/// Rows of input up to which a CPU computes each as if it were alone.
const EXACT_ROWS: usize = 16;

/// Sequences that are decoded together. Lives on the thread of its model. After an error its arrays are not to be trusted,
/// and it must be dropped.
///
/// A step computes sequences in sets, each in one pass of the model. Those that get one token each from the device are
/// a set, whose next step is submitted before their tokens are read. On a GPU those that need the host are another, and
/// each that may process several tokens is one of its own, so that the others need not wait for them. On a CPU all that
/// process one token are one set, because a pass costs as much as reading the weights.
pub struct Batch {
    network: Rc<dyn LanguageModel>,
    rows: Rows,
    /// Tokens that are being computed: submitted before the previous ones were read.
    pending: Option<Pending>,
    layout: Layout,
    /// Whether the device also draws tokens.
    draws: bool,
    /// Logits that were read, for each sequence.
    logits: Vec<Vec<f32>>,
    /// Those that were fed several tokens, and where they were before.
    fed: Vec<Option<Fed>>,
}

/// Several tokens that a sequence was fed, some of which may be trimmed.
struct Fed {
    tokens: Vec<u32>,
    before: Checkpoint,
}

struct Pending {
    rows: Vec<usize>,
    tokens: Array,
}

/// What is computed for a set.
enum Answer {
    /// One token each.
    Ahead(Array),
    /// Tokens for these of its rows, `[rows, positions]`, and logits for those, `[rows, positions, vocabulary]`.
    Mixed { chosen: Option<(Vec<usize>, Array)>, read: Option<(Vec<usize>, Array)> },
}

/// What a step says.
pub struct Step<'a> {
    tokens: Vec<Vec<u32>>,
    logits: &'a mut [Vec<f32>],
}

impl Step<'_> {
    /// One for each sequence.
    pub fn nexts(&mut self) -> impl Iterator<Item = Next<'_>> {
        self.tokens.iter().zip(self.logits.iter_mut()).map(|(tokens, logits)| match tokens[..] {
            [] => Next::Logits(logits),
            _ => Next::Tokens(tokens),
        })
    }
}

impl Batch {
    /// Without sequences so far. Tokens are drawn where the model runs: on a GPU, because reading logits makes it wait for
    /// the host; on a CPU by the host itself.
    pub fn new(network: Rc<dyn LanguageModel>, layout: Layout) -> Batch {
        let draws = array::device() == Device::Gpu;
        Batch { network, rows: Rows::new(layout), pending: None, layout, draws, logits: Vec::new(), fed: Vec::new() }
    }

    /// Whether a sequence can join now: not while a step is in flight.
    pub fn is_open(&self) -> bool {
        self.pending.is_none()
    }

    /// Whether the device also draws tokens, which sequences need to know for their turns.
    pub fn draws(&self) -> bool {
        self.draws
    }

    /// Appends a sequence by its cache.
    pub fn join(&mut self, cache: Cache) -> Result<()> {
        if !self.is_open() {
            return Err(Error::internal("a sequence joined in the middle of a step"));
        }
        self.rows.push(cache);
        self.logits.push(Vec::new());
        self.fed.push(None);
        Ok(())
    }

    /// Returns the cache of the sequence at `row`, even with a step in flight: the cache then holds one position more.
    pub fn leave(&mut self, row: usize) -> Result<Cache> {
        self.logits.remove(row);
        self.fed.remove(row);
        if let Some(pending) = &mut self.pending {
            let left: Vec<u32> = (0u32..).zip(&pending.rows).filter(|(_, r)| **r != row).map(|(i, _)| i).collect();
            if left.is_empty() {
                self.pending = None;
            } else {
                if left.len() < pending.rows.len() {
                    pending.tokens = picked(&pending.tokens, left.iter().map(|&i| i as usize))?;
                }
                pending.rows.retain(|r| *r != row);
                pending.rows.iter_mut().filter(|r| **r > row).for_each(|r| *r -= 1);
            }
        }
        self.rows.remove(row)
    }

    /// Takes back the last `n` of the tokens that a sequence was fed in the last step.
    pub fn take_back(&mut self, row: usize, n: usize) -> Result<()> {
        let Some(Fed { tokens, mut before }) = self.fed[row].take() else { return Ok(()) };
        let cache = self.rows.together(&[row])?;
        if n == 0 || cache.trim(&[n as i32])? {
            return Ok(());
        }
        // What cannot be trimmed goes back to where it was, and processes again what stays.
        cache.rewind(&mut before)?;
        let stays = &tokens[..tokens.len() - n];
        let stays = Array::from_slice(stays, &[1, stays.len() as i32])?;
        self.network.forward(&Inputs::tokens(stays), cache)?;
        cache.settle()
    }

    /// One step: a turn of each sequence, in the order in which they joined. With `ahead` the step after it may be in
    /// flight when this returns.
    pub fn step(&mut self, mut turns: Vec<Turn>, ahead: bool) -> Result<Step<'_>> {
        if turns.len() != self.rows.count() {
            return Err(Error::internal(format!("{} turns of {} sequences", turns.len(), self.rows.count())));
        }
        // Where rows are regrouped in each step, a step in flight includes all of them.
        let ahead = ahead && (self.layout == Layout::Aligned || turns.iter().all(Turn::is_ahead));
        let sets = self.sets(&turns);
        // All are submitted before any is read.
        let answers: Vec<Answer> = sets.iter().map(|set| self.submit(set, &mut turns, ahead)).collect::<Result<_>>()?;
        let mut tokens = vec![Vec::new(); turns.len()];
        for (set, answer) in sets.iter().zip(&answers) {
            match answer {
                Answer::Ahead(chosen) => {
                    set.iter().zip(chosen.to_vec::<u32>()?).for_each(|(&row, token)| tokens[row].push(token));
                }
                Answer::Mixed { chosen, read } => {
                    if let Some((rows, chosen)) = chosen {
                        let all = chosen.to_vec::<u32>()?;
                        let parts = all.chunks_exact(chosen.dim(1) as usize);
                        rows.iter().zip(parts).for_each(|(&row, part)| tokens[row].extend(part));
                    }
                    if let Some((rows, read)) = read {
                        let logits = &mut self.logits;
                        read.read(|all: &[f32]| {
                            for (&row, part) in rows.iter().zip(all.chunks_exact(all.len() / rows.len())) {
                                logits[row].clear();
                                logits[row].extend_from_slice(part);
                            }
                        })?;
                    }
                }
            }
        }
        Ok(Step { tokens, logits: &mut self.logits })
    }

    /// Which sequences are computed together, those being waited for first.
    fn sets(&self, turns: &[Turn]) -> Vec<Vec<usize>> {
        let mut sets: Vec<(Kind, Vec<usize>)> = Vec::new();
        for (row, turn) in turns.iter().enumerate() {
            let kind = self.kind(turn, row);
            match sets.iter_mut().find(|(k, rows)| *k == kind && rows.len() < kind.most()) {
                Some((_, rows)) => rows.push(row),
                None => sets.push((kind, vec![row])),
            }
        }
        let mut sets: Vec<Vec<usize>> = sets.into_iter().map(|(_, rows)| rows).collect();
        sets.sort_by_key(|set| set.iter().all(|&row| turns[row].is_ahead()));
        sets
    }

    fn kind(&self, turn: &Turn, row: usize) -> Kind {
        match self.layout {
            Layout::Rows => Kind::Positions(turn.feed.len()),
            Layout::Aligned if turn.seq.proposes() => Kind::Lone(row),
            Layout::Aligned if turn.is_ahead() => Kind::Device,
            Layout::Aligned => Kind::Host,
        }
    }

    /// Starts computing what a set asks for.
    fn submit(&mut self, set: &[usize], turns: &mut [Turn], ahead: bool) -> Result<Answer> {
        if !set.iter().all(|&row| turns[row].is_ahead()) {
            return self.submit_mixed(set, turns);
        }
        let tokens = match self.pending.take() {
            Some(pending) if pending.rows == set => pending.tokens,
            Some(_) => return Err(Error::internal("a step is under way for other sequences")),
            None => {
                let feed: Vec<u32> = set.iter().map(|&row| turns[row].feed[0]).collect();
                self.schedule(set, &Array::from_slice(&feed, &[feed.len() as i32])?, turns)?
            }
        };
        if ahead && set.iter().any(|&row| turns[row].seq.wants_more(1)) {
            let next = self.schedule(set, &tokens, turns)?;
            self.pending = Some(Pending { rows: set.to_vec(), tokens: next });
        }
        Ok(Answer::Ahead(tokens))
    }

    /// Starts computing the tokens after these, one per sequence.
    fn schedule(&mut self, set: &[usize], tokens: &Array, turns: &mut [Turn]) -> Result<Array> {
        let logits = self.forward(set, &tokens.expand_dims(1)?, true)?;
        let next = chosen(&logits, set, turns)?.squeeze_axis(1)?;
        array::async_eval([&next])?;
        Ok(next)
    }

    fn submit_mixed(&mut self, set: &[usize], turns: &mut [Turn]) -> Result<Answer> {
        let length = turns[set[0]].feed.len();
        let feed: Vec<u32> = set.iter().flat_map(|&row| turns[row].feed.iter().copied()).collect();
        if feed.is_empty() || feed.len() != set.len() * length {
            return Err(Error::internal("sequences of a set are fed differently"));
        }
        if length > 1 {
            for &row in set {
                let before = self.rows.together(&[row])?.checkpoint()?;
                self.fed[row] = Some(Fed { tokens: turns[row].feed.clone(), before });
            }
        }
        let last = set.iter().all(|&row| turns[row].wants == Wants::Logits);
        let logits = self.forward(set, &Array::from_slice(&feed, &[set.len() as i32, length as i32])?, last)?;
        let part = |host: bool| {
            let wanted = |i: &usize| (turns[set[*i]].wants != Wants::Token) == host;
            let at: Vec<usize> = (0..set.len()).filter(wanted).collect();
            let rows: Vec<usize> = at.iter().map(|&i| set[i]).collect();
            Ok::<_, Error>(match at.len() {
                0 => None,
                n if n == set.len() => Some((rows, logits.clone())),
                _ => Some((rows, picked(&logits, at.into_iter())?)),
            })
        };
        let (device, host) = (part(false)?, part(true)?);
        let chosen = match device {
            Some((rows, logits)) => {
                let tokens = chosen(&logits, &rows, turns)?;
                Some((rows, tokens))
            }
            None => None,
        };
        let read = match host {
            Some((rows, logits)) => Some((rows, logits.astype(Dtype::F32)?)),
            None => None,
        };
        array::async_eval(chosen.iter().chain(&read).map(|(_, a)| a))?;
        Ok(Answer::Mixed { chosen, read })
    }

    /// The logits after these tokens, `[sequences, positions, vocabulary]`; with `last` of the last position only.
    fn forward(&mut self, set: &[usize], tokens: &Array, last: bool) -> Result<Array> {
        let cache = self.rows.together(set)?;
        let hidden = self.network.forward(&Inputs::tokens(tokens.clone()), cache)?.hidden;
        let length = hidden.dim(1);
        let hidden = if last && length > 1 { hidden.slice_axis(1, length - 1, length)? } else { hidden };
        let logits = self.network.logits(&hidden)?;
        cache.settle()?;
        Ok(logits)
    }
}

/// What a set has in common.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// They process this many tokens.
    Positions(usize),
    /// The device chooses their tokens.
    Device,
    /// The host does.
    Host,
    /// It is this sequence.
    Lone(usize),
}

impl Kind {
    /// The most sequences of a set.
    fn most(self) -> usize {
        match self {
            Kind::Positions(n) if n > 1 => (EXACT_ROWS / n).max(1),
            _ => usize::MAX,
        }
    }
}

/// These rows of an array.
fn picked(a: &Array, rows: impl Iterator<Item = usize>) -> Result<Array> {
    let rows: Vec<u32> = rows.map(|row| row as u32).collect();
    a.take(&Array::from_slice(&rows, &[rows.len() as i32])?, 0)
}

/// The tokens that these sequences get by logits `[sequences, positions, vocabulary]`: `[sequences, positions]`. Only
/// the argmaxes of several positions are available.
fn chosen(logits: &Array, set: &[usize], turns: &mut [Turn]) -> Result<Array> {
    if set.iter().all(|&row| turns[row].seq.is_greedy()) {
        return fused::argmax(logits);
    }
    let draws: Vec<Draw> = set.iter().map(|&row| turns[row].seq.draw()).collect();
    choose(&logits.squeeze_axis(1)?, &draws)?.expand_dims(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::{random, set_device};
    use crate::generate::{GenerateOptions, GenerationEvent, Guides, ModelFacts, Prefill, Proposer, Request, Sequence};
    use crate::models::table::Table;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    fn request(network: &Rc<dyn LanguageModel>, prompt: Vec<u32>, options: GenerateOptions, guides: Guides) -> Request {
        let facts =
            ModelFacts { vocab_size: network.vocab_size(), context_length: None, eos_token_ids: &[], tokenizer: None };
        Request::new(&facts, prompt, options, guides).unwrap()
    }

    /// Sequences that are decoded together, and their tokens.
    struct Decoded {
        batch: Batch,
        sequences: Vec<Sequence>,
        tokens: Vec<Vec<u32>>,
    }

    impl Decoded {
        fn new(network: &Rc<dyn LanguageModel>, layout: Layout, draws: bool) -> Decoded {
            let batch = Batch { draws, ..Batch::new(network.clone(), layout) };
            Decoded { batch, sequences: Vec::new(), tokens: Vec::new() }
        }

        fn join(&mut self, request: Request) {
            let mut prefill = Prefill::new(self.batch.network.clone(), request).unwrap();
            while !prefill.advance(None, &mut (), &mut |_| {}).unwrap() {}
            self.batch.join(prefill.cache).unwrap();
            self.sequences.push(prefill.sequence);
            self.tokens.push(Vec::new());
        }

        /// One step. Returns for each sequence whether the device chose.
        fn step(&mut self, ahead: bool) -> Vec<bool> {
            self.sequences.iter_mut().for_each(Sequence::propose);
            let draws = self.batch.draws();
            let turns = self.sequences.iter_mut().map(|s| Turn::of(s, draws)).collect();
            let mut step = self.batch.step(turns, ahead).unwrap();
            let mut device = Vec::new();
            for ((sequence, mut next), tokens) in self.sequences.iter_mut().zip(step.nexts()).zip(&mut self.tokens) {
                device.push(matches!(next, Next::Tokens(_)));
                let mut emit = |event: &GenerationEvent| {
                    if let GenerationEvent::Token { token, .. } = event {
                        tokens.push(token.id);
                    }
                };
                while sequence.accept(&mut next, &mut emit).unwrap().is_none() && sequence.knows_more() {}
            }
            for (row, sequence) in self.sequences.iter_mut().enumerate() {
                self.batch.take_back(row, sequence.surplus()).unwrap();
            }
            device
        }
    }

    fn drawn(seed: u64) -> GenerateOptions {
        GenerateOptions { temperature: Some(0.8), top_k: Some(12), seed: Some(seed), ..Default::default() }
    }

    fn table(vocabulary: i32, scale: f32) -> Rc<dyn LanguageModel> {
        set_device(Device::Cpu).unwrap();
        let key = random::key(7).unwrap();
        Rc::new(Table(random::normal(&[vocabulary, vocabulary], scale, Dtype::F32, &key).unwrap()))
    }

    #[test]
    fn sequences_get_the_same_tokens_wherever_they_are_drawn() {
        let network = table(300, 2.0);
        let decoded = |draws: bool| {
            let mut all = Decoded::new(&network, Layout::best(), draws);
            let other = GenerateOptions {
                temperature: Some(1.1),
                top_p: Some(0.9),
                min_p: Some(0.02),
                seed: Some(4),
                ..Default::default()
            };
            for (i, options) in [GenerateOptions::default(), drawn(3), other].into_iter().enumerate() {
                let options = GenerateOptions { max_tokens: Some(40), ..options };
                all.join(request(&network, vec![5 + i as u32, 9, 30], options, Guides::default()));
            }
            for _ in 0..40 {
                assert_eq!(all.step(true), [true, draws, draws]);
            }
            all.tokens
        };
        let (device, host) = (decoded(true), decoded(false));
        assert!(device.iter().all(|tokens| tokens.len() == 40));
        assert_eq!(device, host);
    }

    /// On a GPU those that need the host do not keep the others from having their next step in flight.
    #[test]
    fn sequences_that_need_the_host_leave_the_others_their_step_ahead() {
        let network = table(300, 2.0);
        let guessing =
            || Guides { proposer: Some(Box::new(Guess(StdRng::seed_from_u64(1), 300))), ..Default::default() };
        let logprobs = GenerateOptions { logprobs: Some(1), ..Default::default() };
        let kinds = [
            (GenerateOptions::default(), Guides::default(), true),
            (logprobs.clone(), Guides::default(), false),
            (drawn(9), Guides::default(), true),
            (GenerateOptions::default(), guessing(), true),
            (logprobs, guessing(), false),
        ];
        let mut all = Decoded::new(&network, Layout::Aligned, true);
        let mut want = Vec::new();
        let mut device = Vec::new();
        for (i, (options, guides, on_device)) in kinds.into_iter().enumerate() {
            let options = GenerateOptions { max_tokens: Some(40), ..options };
            let prompt = vec![5 + i as u32, 9, 30 + i as u32];
            let mut alone = Decoded::new(&network, Layout::Aligned, true);
            alone.join(request(&network, prompt.clone(), options.clone(), Guides::default()));
            (0..40).for_each(|_| drop(alone.step(true)));
            want.push(alone.tokens.remove(0));
            all.join(request(&network, prompt, options, guides));
            device.push(on_device);
        }
        for _ in 0..30 {
            assert_eq!(all.step(true), device);
            let pending = all.batch.pending.as_ref().map(|p| p.rows.clone());
            assert_eq!(pending, Some(vec![0, 2]));
            // Tokens are read, not logits.
            assert!(all.batch.logits[0].is_empty() && all.batch.logits[2].is_empty());
        }
        for (got, want) in all.tokens.iter().zip(&want) {
            assert!(got.len() >= 30 && *got == want[..got.len()]);
        }
        // A sequence that leaves has a cache of what was processed, with one token more if a step is in flight.
        for (row, ahead) in [(4, 0), (2, 1), (1, 0), (0, 1), (0, 0)] {
            let (cache, tokens) = (all.batch.leave(row).unwrap(), all.tokens.remove(row));
            assert_eq!(cache.position() as usize, 3 + tokens.len() - 1 + ahead);
        }
        assert!(all.batch.is_open());
    }

    /// Proposes likely and unlikely tokens at random.
    struct Guess(StdRng, u32);

    impl Proposer for Guess {
        fn propose(&mut self, _: &[u32]) -> Vec<u32> {
            (0..self.0.random_range(0..5)).map(|_| self.0.random_range(0..self.1)).collect()
        }
    }

    /// Tokens follow each other as often as the model says, whatever was proposed.
    #[test]
    fn proposals_leave_the_distribution_as_it_is() {
        const VOCABULARY: usize = 5;
        const TOKENS: u32 = 6000;
        let network = table(VOCABULARY as i32, 1.0);
        let options =
            GenerateOptions { temperature: Some(1.0), seed: Some(21), max_tokens: Some(TOKENS), ..Default::default() };
        let run = |guides| {
            let mut one = Decoded::new(&network, Layout::best(), false);
            one.join(request(&network, vec![0], options.clone(), guides));
            let mut steps = 0;
            while one.tokens[0].len() < TOKENS as usize {
                one.step(true);
                steps += 1;
            }
            (one.tokens.remove(0), steps)
        };
        let proposer = Guess(StdRng::seed_from_u64(2), VOCABULARY as u32);
        let (tokens, steps) = run(Guides { proposer: Some(Box::new(proposer)), ..Default::default() });
        assert!(steps < TOKENS - 500, "{steps} steps");
        // Even the random numbers are the same.
        assert_eq!(run(Guides::default()), (tokens.clone(), TOKENS));

        let mut counts = [[0.0; VOCABULARY]; VOCABULARY];
        tokens.windows(2).for_each(|pair| counts[pair[0] as usize][pair[1] as usize] += 1.0);
        let all: Vec<u32> = (0..VOCABULARY as u32).collect();
        let rows = network.embed(&Array::from_slice(&all, &[VOCABULARY as i32]).unwrap()).unwrap();
        let rows = rows.softmax(-1, true).unwrap().to_vec::<f32>().unwrap();
        let mut chi_square = 0.0;
        for (counts, row) in counts.iter().zip(rows.chunks_exact(VOCABULARY)) {
            let total: f64 = counts.iter().sum();
            chi_square += counts
                .iter()
                .zip(row)
                .map(|(n, p)| (n - total * f64::from(*p)).powi(2) / (total * f64::from(*p)))
                .sum::<f64>();
        }
        // 20 degrees of freedom: more than 45 happens once in a thousand times.
        assert!(chi_square < 45.0, "{chi_square}");
    }

    #[test]
    fn logits_that_cannot_be_sampled_are_an_error() {
        let network = table(300, f32::NAN);
        let options = GenerateOptions { temperature: Some(1.0), ..Default::default() };
        for draws in [true, false] {
            let mut one = Decoded::new(&network, Layout::best(), draws);
            one.join(request(&network, vec![1], options.clone(), Guides::default()));
            let turns = one.sequences.iter_mut().map(|s| Turn::of(s, draws)).collect();
            let mut step = one.batch.step(turns, true).unwrap();
            let mut next = step.nexts().next().unwrap();
            let error = one.sequences[0].accept(&mut next, &mut |_| {}).unwrap_err();
            assert!(error.to_string().contains("NaN"), "{error}");
        }
    }
}
