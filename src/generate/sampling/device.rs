//! The same choice on the device, so that the next step can be submitted before this one's token is known.
//!
//! The host makes the random number and the device picks the token that [`Sampler::sample`] would pick, but for rounding:
//! sums over the vocabulary are in f32 here. For temperature, `top_k`, `top_p` and `min_p`; what needs the history or
//! reports probabilities is left to the host.

use super::{Sampler, uniform};
use crate::array::{Array, Dtype, Element, full, zeros};
use crate::error::Result;

/// What a device needs to choose a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    temperature: f32,
    top_k: Option<usize>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    /// Which of the tokens, as a fraction of their cumulative probability.
    at: f32,
}

/// The largest fraction: the sum of all times this is less than the sum.
const LAST: f32 = 1.0 - f32::EPSILON;

impl Draw {
    /// A draw that uses every operation, to warm them up.
    pub fn with_everything() -> Draw {
        Draw { temperature: 0.7, top_k: Some(40), top_p: Some(0.95), min_p: Some(0.05), at: 0.5 }
    }
}

impl Sampler {
    /// Whether a device can choose tokens by [`Draw`]s.
    pub fn is_drawable(&self) -> bool {
        let t = &self.truncation;
        let only_simple =
            t.top_n_sigma.is_none() && t.typical_p.is_none() && t.xtc_probability == 0.0 && t.min_keep == 1;
        let unchanged = self.penalties.is_empty() && self.dry.is_none() && self.mirostat.is_none();
        !self.wants_logprobs() && unchanged && (self.temperature == 0.0 || only_simple)
    }

    /// The next draw. Takes as many random numbers as [`sample`](Self::sample) does.
    pub fn draw(&mut self) -> Draw {
        if self.temperature == 0.0 {
            return Draw { temperature: 1.0, top_k: Some(1), top_p: None, min_p: None, at: 0.0 };
        }
        let t = &self.truncation;
        Draw {
            temperature: self.temperature,
            top_k: t.top_k,
            top_p: t.top_p.map(|p| p as f32),
            min_p: t.min_p,
            at: (uniform(&mut self.rng) as f32).min(LAST),
        }
    }
}

/// The chosen tokens, `[rows]` as u32, from logits `[rows, vocabulary]` and a draw for each row. A token that is not in
/// the vocabulary signals logits that cannot be sampled.
pub fn choose(logits: &Array, draws: &[Draw]) -> Result<Array> {
    let x = logits.astype(Dtype::F32)?;
    let nothing = zeros(&[], Dtype::F32)?;
    let largest = x.max(-1, true)?;
    let below = (&x - &largest)?;

    let kept = kept(&x, &largest, draws)?;
    let weights = (&below / &column(draws, |d| d.temperature)?)?.exp()?;
    let weights = match &kept {
        Some(kept) => weights.where_(kept, &nothing)?,
        None => weights,
    };
    // Sums that are formed in parallel may fall by a rounding where nothing is added: only tokens with a weight count.
    let sums = weights.cumsum(-1)?.where_(&weights.greater(&nothing)?, &full(&[], -1.0, Dtype::F32)?)?;
    let total = sums.max(-1, true)?;
    let beyond = sums.greater(&(&total * &column(draws, |d| d.at)?)?)?;
    let tokens = beyond.astype(Dtype::U32)?.argmax(-1, true)?;

    // NaN and infinities propagate to the sum, which is otherwise finite or minus infinity.
    let sound =
        x.sum(-1, true)?.less(&full(&[], f32::INFINITY, Dtype::F32)?)?.logical_and(&total.greater(&nothing)?)?;
    let none = Array::from_slice(&[x.dim(-1) as u32], &[1, 1])?;
    tokens.where_(&sound, &none)?.squeeze_axis(-1)
}

/// A value for each row, `[rows, 1]`.
fn column<T: Element>(draws: &[Draw], value: impl Fn(&Draw) -> T) -> Result<Array> {
    Array::from_slice(&draws.iter().map(value).collect::<Vec<T>>(), &[draws.len() as i32, 1])
}

/// The tokens that pass the filters; `None` for all.
fn kept(x: &Array, largest: &Array, draws: &[Draw]) -> Result<Option<Array>> {
    let vocabulary = x.dim(-1) as usize;
    let uses = |f: &dyn Fn(&Draw) -> bool| draws.iter().any(f);
    let mut kept: Option<Array> = None;
    let mut keep = |more: Array| {
        kept = Some(match kept.take() {
            Some(kept) => kept.logical_and(&more)?,
            None => more,
        });
        Ok::<(), crate::Error>(())
    };
    if uses(&|d| d.min_p.is_some()) {
        let floor = (largest + &column(draws, |d| d.min_p.map_or(f32::NEG_INFINITY, f32::ln))?)?;
        keep(x.greater_equal(&floor)?)?;
    }
    let (nucleus, top) = (uses(&|d| d.top_p.is_some()), uses(&|d| d.top_k.is_some()));
    if !nucleus && !top {
        return Ok(kept);
    }
    let sorted = x.sort(-1)?;
    if nucleus {
        // In ascending order, tokens are kept after which less than `top_p` of the total mass remains.
        let mass = (&sorted - largest)?.exp()?.cumsum(-1)?;
        let whole = mass.slice_axis(-1, vocabulary as i32 - 1, vocabulary as i32)?;
        let outside = (&whole * &column(draws, |d| d.top_p.map_or(-1.0, |p| 1.0 - p))?)?;
        let inside = mass.greater(&outside)?;
        let least = sorted.where_(&inside, &full(&[], f32::INFINITY, Dtype::F32)?)?.min(-1, true)?;
        // Rounding may exclude even the most likely token.
        keep(x.greater_equal(&least.minimum(largest)?)?)?;
    }
    if top {
        // Of tokens as likely as the last one kept, the lowest ids.
        let k = |d: &Draw| d.top_k.unwrap_or(vocabulary).min(vocabulary);
        let least = sorted.take_along_axis(&column(draws, |d| (vocabulary - k(d)) as u32)?, -1)?;
        let above = x.greater(&least)?;
        let equal = x.equal(&least)?;
        let room = (&column(draws, |d| k(d) as f32)? - &above.astype(Dtype::F32)?.sum(-1, true)?)?;
        let rank = equal.astype(Dtype::F32)?.cumsum(-1)?;
        keep(above.logical_or(&equal.logical_and(&rank.less_equal(&room)?)?)?)?;
    }
    Ok(kept)
}
