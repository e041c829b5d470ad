//! The filters that remove unlikely tokens (and, for XTC, likely ones).
//!
//! Candidates are pairs of a token and its logit and stay in the order of their tokens: a filter finds a threshold on a
//! scratch copy of the logits and then keeps what passes. So the outcome depends on no sorting algorithm, and a draw
//! with the same seed is the same draw with every compiler.

use super::SamplingParams;
use super::softmax::{self, Stats, exp, largest, sum_of};

type Candidates = Vec<(u32, f32)>;

/// Which filters to run, and their scratch space.
#[derive(Debug)]
pub(super) struct Truncation {
    pub top_n_sigma: Option<f64>,
    pub typical_p: Option<f64>,
    pub top_p: Option<f64>,
    pub min_p: Option<f32>,
    pub min_keep: usize,
    pub xtc_probability: f32,
    xtc_threshold: f64,
    xtc_excluded: Vec<u32>,
    pub top_k: Option<usize>,
    scratch: Vec<f32>,
}

impl Truncation {
    pub fn new(params: &SamplingParams, vocab_size: usize, xtc_excluded: &[u32]) -> Self {
        let mut xtc_excluded = xtc_excluded.to_vec();
        xtc_excluded.sort_unstable();
        let top_k = params.top_k as usize;
        Truncation {
            top_n_sigma: (params.top_n_sigma > 0.0).then_some(f64::from(params.top_n_sigma)),
            typical_p: (params.typical_p < 1.0).then_some(f64::from(params.typical_p)),
            top_p: (params.top_p > 0.0 && params.top_p < 1.0).then_some(f64::from(params.top_p)),
            min_p: (params.min_p > 0.0).then_some(params.min_p),
            min_keep: params.min_tokens_to_keep as usize,
            xtc_probability: params.xtc_probability,
            xtc_threshold: f64::from(params.xtc_threshold),
            xtc_excluded,
            top_k: (top_k > 0 && top_k < vocab_size).then_some(top_k),
            scratch: Vec::new(),
        }
    }

    /// Leaves in `out` the tokens that pass every filter, at least one, with their logits.
    pub fn apply(&mut self, logits: &[f32], stats: &Stats, xtc: bool, out: &mut Candidates) {
        let mut stats = *stats;
        let mut floor = f32::MIN;
        if let Some(n) = self.top_n_sigma {
            let (_, deviation) = softmax::mean_and_deviation(logits);
            floor = (f64::from(stats.max) - n * deviation).max(f64::from(f32::MIN)) as f32;
            stats.mass = sum_of(logits, |&x| if x >= floor { exp(x - stats.max) } else { 0.0 });
        }
        match self.typical_p {
            Some(p) => {
                gather(logits, floor, out);
                self.typical(p, &mut stats, out);
            }
            None => {
                let floor = floor.max(self.sure_floor(logits.len(), &stats));
                // The filters left all keep a beginning of the descending order, so the last can run first.
                match self.top_k.filter(|_| !xtc) {
                    Some(k) => gather_top(logits, k, floor, out, &mut self.scratch),
                    None => gather(logits, floor, out),
                }
            }
        }
        if let Some(p) = self.top_p {
            self.nucleus(p, &stats, out);
        }
        if let Some(p) = self.min_p {
            self.min_p(p, &stats, out);
        }
        if xtc {
            self.xtc(&stats, out);
        }
        if let Some(k) = self.top_k {
            keep_top(k, out, &mut self.scratch);
        }
    }

    /// A logit below which `top_p` or `min_p` surely removes everything, found without looking at the logits.
    fn sure_floor(&self, vocab_size: usize, stats: &Stats) -> f32 {
        let mut floor = f32::MIN;
        if let Some(p) = self.top_p {
            // All tokens below it together have less mass than what lies outside the nucleus. Halved for rounding.
            let share = 0.5 * (1.0 - p) * stats.mass / vocab_size as f64;
            floor = floor.max(stats.max + share.ln() as f32);
        }
        if let Some(p) = self.min_p.filter(|_| self.min_keep == 1) {
            floor = floor.max(stats.max + p.ln());
        }
        floor
    }

    /// mlx-lm's `apply_top_p`: a token stays while the mass of the tokens above it is less than `p` of the whole.
    /// Tokens as likely as the last one stay too.
    fn nucleus(&mut self, p: f64, stats: &Stats, out: &mut Candidates) {
        let target = p * stats.mass;
        refill(&mut self.scratch, out);
        let weight = |&x: &f32| exp(x - stats.max);
        let threshold = -first_to_reach(&mut self.scratch, |x| -f64::from(x), weight, |mass| mass >= target);
        out.retain(|&(_, x)| f64::from(x) >= threshold);
    }

    /// mlx-lm's `apply_min_p`.
    fn min_p(&mut self, p: f32, stats: &Stats, out: &mut Candidates) {
        let mut floor = stats.max + p.ln();
        // The `min_keep` most likely tokens stay in any case.
        if self.min_keep > 1 {
            let above = out.iter().filter(|&&(_, x)| x >= floor).count();
            if above < self.min_keep {
                keep_top(self.min_keep, out, &mut self.scratch);
                floor = f32::MIN;
            }
        }
        out.retain(|&(_, x)| x >= floor);
    }

    /// Locally typical sampling. Surprise minus entropy is the mean logit (weighted by probability) minus the logit, so
    /// the tokens nearest to the entropy are those whose logit is nearest to the mean. Ties with the last one stay.
    fn typical(&mut self, p: f64, stats: &mut Stats, out: &mut Candidates) {
        let max = stats.max;
        let weight = |&x: &f32| exp(x - max);
        let mean = sum_of(out, |&(_, x)| weight(&x) * (x - max)) / stats.mass;
        let distance = |x: f32| (f64::from(x - max) - mean).abs();
        let target = p * stats.mass;

        refill(&mut self.scratch, out);
        let mut bound = first_to_reach(&mut self.scratch, distance, weight, |mass| mass > target);
        if let Some(last) = self.min_keep.min(out.len()).checked_sub(1) {
            let by_distance = |a: &f32, b: &f32| distance(*a).total_cmp(&distance(*b));
            bound = bound.max(distance(*self.scratch.select_nth_unstable_by(last, by_distance).1));
        }
        out.retain(|&(_, x)| distance(x) <= bound);
        // The most likely token may be gone, and the later filters measure against what is left.
        stats.max = largest(out);
        stats.mass = sum_of(out, |&(_, x)| exp(x - stats.max));
    }

    /// mlx-lm's `apply_xtc`, if the draw enables it: of the tokens above the threshold only the least likely stays. By
    /// p-e-w (text-generation-webui, pull request 6335).
    fn xtc(&self, stats: &Stats, out: &mut Candidates) {
        let mass = sum_of(out, |&(_, x)| exp(x - stats.max));
        let threshold = (self.xtc_threshold * mass).ln();
        let top = |x: f32| f64::from(x - stats.max) > threshold;
        let least = out.iter().map(|&(_, x)| x).filter(|&x| top(x)).fold(f32::INFINITY, f32::min);
        out.retain(|&(token, x)| x <= least || self.xtc_excluded.binary_search(&token).is_ok());
    }
}

fn refill(scratch: &mut Vec<f32>, candidates: &Candidates) {
    scratch.clear();
    scratch.extend(candidates.iter().map(|&(_, x)| x));
}

/// How many logits are compared at once before any of them is examined.
const BLOCK: usize = 64;

/// The tokens with a logit of at least `floor`.
pub(super) fn gather(logits: &[f32], floor: f32, out: &mut Candidates) {
    out.clear();
    for (token, block) in (0u32..).step_by(BLOCK).zip(logits.chunks(BLOCK)) {
        if any_from(block, floor) {
            out.extend((token..).zip(block.iter().copied()).filter(|&(_, x)| x >= floor));
        }
    }
}

/// The `k` tokens with the largest logits, of those with at least `floor`; of equal ones the lower token.
pub(super) fn gather_top(logits: &[f32], k: usize, mut floor: f32, out: &mut Candidates, scratch: &mut Vec<f32>) {
    out.clear();
    for (token, block) in (0u32..).step_by(BLOCK).zip(logits.chunks(BLOCK)) {
        if any_from(block, floor) {
            out.extend((token..).zip(block.iter().copied()).filter(|&(_, x)| x >= floor));
            if out.len() >= 2 * k + BLOCK {
                // Only something larger than the least of the best so far can still get in.
                floor = keep_top(k, out, scratch).next_up();
            }
        }
    }
    keep_top(k, out, scratch);
}

/// Whether any logit reaches the floor. Without an early exit, and so with vector instructions.
fn any_from(block: &[f32], floor: f32) -> bool {
    block.iter().fold(false, |any, &x| any | (x >= floor))
}

/// Keeps the `k` largest, of equal ones the lower token, and returns the smallest of them.
fn keep_top(k: usize, out: &mut Candidates, scratch: &mut Vec<f32>) -> f32 {
    if k == 0 || out.len() <= k {
        out.truncate(out.len().min(k));
        return f32::MIN;
    }
    refill(scratch, out);
    let (_, &mut least, _) = scratch.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    let mut equal = k - out.iter().filter(|&&(_, x)| x > least).count();
    out.retain(|&(_, x)| {
        let tie = x == least && equal > 0;
        equal -= usize::from(tie);
        x > least || tie
    });
    least
}

/// Adds up weights in ascending order of `key` and returns the key of the first item at which the sum is enough, or
/// the largest key. Linear on average: each step halves the part that can hold the answer, by selection, not sorting.
fn first_to_reach(
    items: &mut [f32],
    key: impl Fn(f32) -> f64,
    weight: impl Fn(&f32) -> f32,
    enough: impl Fn(f64) -> bool,
) -> f64 {
    let order = |a: &f32, b: &f32| key(*a).total_cmp(&key(*b));
    let mut rest = items;
    let mut before = 0.0;
    while rest.len() > 32 {
        let middle = rest.len() / 2;
        rest.select_nth_unstable_by(middle, order);
        let (near, far) = rest.split_at_mut(middle);
        let mass = before + sum_of(near, &weight);
        if enough(mass) {
            rest = near;
        } else {
            (before, rest) = (mass, far);
        }
    }
    rest.sort_unstable_by(order);
    let reached = rest.iter().find(|&&x| {
        before += f64::from(weight(&x));
        enough(before)
    });
    reached.or(rest.last()).map_or(f64::INFINITY, |&x| key(x))
}
