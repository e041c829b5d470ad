//! Rotary position embedding (Su et al. 2021, arXiv:2104.09864) and the ways to stretch it to longer contexts.
//!
//! Formulas and defaults as in mlx-lm 0.32.2 (`models/rope_utils.py`).

use std::sync::Arc;

use serde_json::Value;

use crate::array::cpu::{self, Rotation};
use crate::array::fast::{RopeBase, rope, rope_at};
use crate::array::{Array, concatenate};
use crate::error::{Error, Result};

/// How to rotate.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeSpec {
    /// How many of the first features of a head are rotated; even.
    pub dims: i32,
    /// Pairs neighbours instead of the two halves.
    pub interleaved: bool,
    /// The base of the wavelengths.
    pub base: f32,
    /// How positions are stretched.
    pub scaling: RopeScaling,
}

impl RopeSpec {
    /// Without scaling, halves paired.
    pub fn plain(dims: i32, base: f32) -> RopeSpec {
        RopeSpec { dims, interleaved: false, base, scaling: RopeScaling::None }
    }

    /// Refuses what cannot be computed.
    pub fn validate(&self) -> Result<()> {
        let bad = |what: String| Err(Error::invalid_config(format!("config.json: {what}")));
        if self.dims < 2 || self.dims % 2 != 0 {
            return bad(format!("{} rotated features a head; an even number of at least 2 is needed", self.dims));
        }
        if !(self.base.is_finite() && self.base > 1.0) {
            return bad(format!("rope_theta is {}, not a number above 1", self.base));
        }
        if let RopeScaling::Longrope { long_factor, .. } = &self.scaling
            && long_factor.len() != 1
            && long_factor.len() as i32 != self.dims / 2
        {
            return bad(format!("rope_scaling.long_factor has {} entries, not {}", long_factor.len(), self.dims / 2));
        }
        Ok(())
    }
}

/// How positions or wavelengths are changed for contexts beyond the trained one.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Positions divided by the factor (Chen et al. 2023, arXiv:2306.15595).
    Linear {
        /// How many times longer the context becomes.
        factor: f32,
    },
    /// The base grows with the length of the sequence ("dynamic NTK").
    Dynamic {
        /// How many times longer the context becomes.
        factor: f32,
        /// The trained context.
        original_context: f32,
    },
    /// Long wavelengths are stretched, short ones kept, those between blended (Llama 3.1).
    Llama3 {
        /// The stretch.
        factor: f32,
        /// Wavelengths above `original_context / low_freq_factor` are stretched in full.
        low_freq_factor: f32,
        /// Wavelengths below `original_context / high_freq_factor` stay.
        high_freq_factor: f32,
        /// The trained context.
        original_context: f32,
    },
    /// Blended by the number of turns within the trained context (YaRN, Peng et al. 2023, arXiv:2309.00071).
    Yarn {
        /// The stretch.
        factor: f32,
        /// The trained context.
        original_context: f32,
        /// Turns above which a pair is left alone.
        beta_fast: f32,
        /// Turns below which a pair is stretched in full.
        beta_slow: f32,
        /// Numerator of the attention temperature.
        mscale: f32,
        /// Its denominator.
        mscale_all_dim: f32,
    },
    /// A factor for each wavelength (LongRoPE, Ding et al. 2024, arXiv:2402.13753). As in mlx-lm the long factors serve
    /// at every length.
    Longrope {
        /// One for all pairs, or one for each.
        long_factor: Vec<f32>,
        /// The context that the factors give.
        context: f32,
        /// The trained context.
        original_context: f32,
    },
}

impl RopeScaling {
    /// Reads a block of `rope_parameters`, null for none; `at` names it in errors. `context` is
    /// `max_position_embeddings`.
    pub fn parse(at: &str, value: &Value, context: Option<i32>) -> Result<RopeScaling> {
        if value.is_null() {
            return Ok(RopeScaling::None);
        }
        let bad = |what: String| Error::invalid_config(format!("config.json: {at}{what}"));
        let map = value.as_object().ok_or_else(|| bad(" is not an object".into()))?;
        let kind = map.get("rope_type").and_then(Value::as_str).unwrap_or("default");
        let number = |key: &str, default: Option<f32>| match map.get(key).filter(|v| !v.is_null()) {
            None => default.ok_or_else(|| bad(format!(".{key} is missing"))),
            Some(v) => match v.as_f64() {
                Some(n) if n.is_finite() => Ok(n as f32),
                _ => Err(bad(format!(".{key} is {v}, not a number"))),
            },
        };
        let positive = |key: &str, default: Option<f32>| match number(key, default)? {
            n if n > 0.0 => Ok(n),
            n => Err(bad(format!(".{key} is {n}, not above 0"))),
        };
        let original = |default| positive("original_max_position_embeddings", default);
        Ok(match kind {
            // With one-dimensional positions the sections of mrope all turn alike.
            "default" | "mrope" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: positive("factor", None)? },
            "dynamic" => RopeScaling::Dynamic {
                factor: positive("factor", None)?,
                original_context: context.ok_or_else(|| bad(" needs max_position_embeddings".into()))? as f32,
            },
            "llama3" => RopeScaling::Llama3 {
                factor: positive("factor", None)?,
                low_freq_factor: positive("low_freq_factor", Some(1.0))?,
                high_freq_factor: positive("high_freq_factor", Some(4.0))?,
                original_context: original(Some(8192.0))?,
            },
            "yarn" | "deepseek_yarn" | "telechat3-yarn" => RopeScaling::Yarn {
                factor: positive("factor", None)?,
                original_context: original(Some(4096.0))?,
                beta_fast: positive("beta_fast", Some(32.0))?,
                beta_slow: positive("beta_slow", Some(1.0))?,
                mscale: number("mscale", Some(1.0))?,
                mscale_all_dim: number("mscale_all_dim", Some(0.0))?,
            },
            "longrope" | "su" => RopeScaling::Longrope {
                long_factor: Self::long_factor(map.get("long_factor")).map_err(bad)?,
                context: context.ok_or_else(|| bad(" needs max_position_embeddings".into()))? as f32,
                original_context: original(None)?,
            },
            other => return Err(Error::unsupported(format!("config.json: {at}: rope_type {other:?} is unknown"))),
        })
    }

    /// `long_factor`: a number or a list of numbers.
    fn long_factor(value: Option<&Value>) -> Result<Vec<f32>, String> {
        let one = |v: &Value| match v.as_f64() {
            Some(n) if n.is_finite() && n > 0.0 => Ok(n as f32),
            _ => Err(format!(".long_factor holds {v}, not a number above 0")),
        };
        match value {
            Some(Value::Array(list)) => list.iter().map(one).collect(),
            Some(v) => Ok(vec![one(v)?]),
            None => Err(".long_factor is missing".into()),
        }
    }
}

/// Where new positions are.
#[derive(Clone, Debug)]
pub enum Offset {
    /// One after the other, all sequences from this one on.
    Same(i32),
    /// Each sequence from its own on; the same numbers as an array, `[batch]`.
    Each(Vec<i32>, Array),
    /// Each position at its own place, row by row, `[batch * length]`.
    Explicit(Vec<i32>, Array),
}

impl Offset {
    /// For sequences that go on from these positions.
    pub fn new(positions: Vec<i32>) -> Result<Offset> {
        match positions[..] {
            [first, ref rest @ ..] if rest.iter().any(|n| *n != first) => {
                let array = Array::from_slice(&positions, &[positions.len() as i32])?;
                Ok(Offset::Each(positions, array))
            }
            [first, ..] => Ok(Offset::Same(first)),
            [] => Ok(Offset::Same(0)),
        }
    }

    /// For positions at these places, i32 `[1, rows, length]`; of one row for all of `batch`.
    ///
    /// # Errors
    /// `Unsupported` if there are several axes: no rotation here has sections.
    pub fn explicit(places: &Array, batch: i32) -> Result<Offset> {
        let &[axes, rows, _] = places.shape() else { return Err(Error::internal(format!("positions {places:?}"))) };
        if axes != 1 {
            return Err(Error::unsupported(format!("positions with {axes} axes; this model's rotation has one")));
        }
        let row: Vec<i32> = places.to_vec()?;
        if let Some(place) = row.iter().find(|place| **place < 0) {
            return Err(Error::invalid_argument(format!("a position at {place}")));
        }
        let all = if rows == batch { row } else { row.repeat(batch as usize) };
        let array = Array::from_slice(&all, &[all.len() as i32])?;
        Ok(Offset::Explicit(all, array))
    }

    /// Whether each position is at the one after that before it.
    pub fn is_sequential(&self) -> bool {
        !matches!(self, Offset::Explicit(..))
    }

    fn as_slice(&self) -> &[i32] {
        match self {
            Offset::Same(n) => std::slice::from_ref(n),
            Offset::Each(positions, _) | Offset::Explicit(positions, _) => positions,
        }
    }
}

/// A rotation ready to be applied.
pub struct Rope {
    spec: RopeSpec,
    /// Factor on positions.
    scale: f32,
    /// Wavelengths where they are not powers of the base.
    freqs: Option<Array>,
    /// Factor on the rotated features, where it is not 1.
    magnitude: Option<f32>,
    /// The same for the CPU kernels; none where the base depends on the length.
    rotation: Option<Arc<Rotation>>,
}

impl Rope {
    /// Computes what the specification needs once.
    pub fn new(spec: &RopeSpec) -> Result<Rope> {
        let dims = f64::from(spec.dims);
        let base = f64::from(spec.base);
        let powers = || (0..spec.dims / 2).map(move |j| base.powf(2.0 * f64::from(j) / dims));
        let mut rope = Rope { spec: spec.clone(), scale: 1.0, freqs: None, magnitude: None, rotation: None };
        let freqs: Vec<f64> = match &spec.scaling {
            RopeScaling::Dynamic { .. } => return Ok(rope),
            RopeScaling::None => {
                rope.rotation = Some(rope.turning(powers()));
                return Ok(rope);
            }
            RopeScaling::Linear { factor } => {
                rope.scale = 1.0 / factor;
                rope.rotation = Some(rope.turning(powers()));
                return Ok(rope);
            }
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                let (factor, low, high) =
                    (f64::from(*factor), f64::from(*low_freq_factor), f64::from(*high_freq_factor));
                let original = f64::from(*original_context);
                powers()
                    .map(|f| {
                        let wavelength = 2.0 * std::f64::consts::PI * f;
                        let stretched = if wavelength > original / low { f * factor } else { f };
                        if wavelength > original / high && wavelength < original / low {
                            let s = (original / wavelength - low) / (high - low);
                            stretched / ((1.0 - s) / factor + s)
                        } else {
                            stretched
                        }
                    })
                    .collect()
            }
            RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, mscale, mscale_all_dim } => {
                let factor = f64::from(*factor);
                // The pair that makes this many turns within the trained context.
                let pair_of = |turns: f32| {
                    let ratio = f64::from(*original_context) / (f64::from(turns) * 2.0 * std::f64::consts::PI);
                    dims * ratio.ln() / (2.0 * base.ln())
                };
                let low = pair_of(*beta_fast).floor().max(0.0);
                let mut high = pair_of(*beta_slow).ceil().min(dims - 1.0);
                if low == high {
                    high += 0.001;
                }
                let temperature = |m: f32| match factor <= 1.0 {
                    true => 1.0,
                    false => 0.1 * f64::from(m) * factor.ln() + 1.0,
                };
                let magnitude = temperature(*mscale) / temperature(*mscale_all_dim);
                rope.magnitude = (magnitude != 1.0).then_some(magnitude as f32);
                powers()
                    .enumerate()
                    .map(|(j, f)| {
                        let kept = 1.0 - ((j as f64 - low) / (high - low)).clamp(0.0, 1.0);
                        let stretched = factor * f;
                        stretched * f / (stretched * kept + f * (1.0 - kept))
                    })
                    .collect()
            }
            RopeScaling::Longrope { long_factor, context, original_context } => {
                let ratio = f64::from(*context) / f64::from(*original_context);
                let magnitude = match ratio <= 1.0 {
                    true => 1.0,
                    false => (1.0 + ratio.ln() / f64::from(*original_context).ln()).sqrt(),
                };
                rope.magnitude = Some(magnitude as f32);
                let factor = |j: usize| f64::from(long_factor[if long_factor.len() == 1 { 0 } else { j }]);
                powers().enumerate().map(|(j, f)| factor(j) * f).collect()
            }
        };
        rope.rotation = Some(rope.turning(freqs.iter().copied()));
        let freqs: Vec<f32> = freqs.into_iter().map(|f| f as f32).collect();
        let array = Array::from_slice(&freqs, &[freqs.len() as i32])?;
        array.eval()?;
        rope.freqs = Some(array);
        Ok(rope)
    }

    /// A rotation by these wavelengths (divided by 2 pi).
    fn turning(&self, wavelengths: impl Iterator<Item = f64>) -> Arc<Rotation> {
        Arc::new(Rotation {
            dims: self.spec.dims as usize,
            interleaved: self.spec.interleaved,
            frequencies: wavelengths.map(|w| (f64::from(self.scale) / w) as f32).collect(),
            magnitude: self.magnitude.unwrap_or(1.0),
        })
    }

    /// The rotation for the CPU kernels, where it is the same at all lengths.
    pub fn rotation(&self) -> Option<&Arc<Rotation>> {
        self.rotation.as_ref()
    }

    /// Rotates `[batch, heads, length, features]`.
    pub fn apply(&self, x: &Array, offset: &Offset) -> Result<Array> {
        if let Offset::Explicit(places, array) = offset {
            // As many sequences of one position.
            let &[batch, heads, length, features] = x.shape() else { return Err(Error::internal(format!("{x:?}"))) };
            let x = x.swap_axes(1, 2)?.reshape(&[batch * length, heads, 1, features])?;
            let base = self.base_for(places.iter().max().map_or(0, |last| last.saturating_add(1)));
            let x = self.turn(&x, &Offset::Each(places.clone(), array.clone()), base)?;
            return x.reshape(&[batch, length, heads, features])?.swap_axes(1, 2);
        }
        if let (RopeScaling::Dynamic { .. }, Offset::Each(offsets, _)) = (&self.spec.scaling, offset) {
            // Each length has a base of its own.
            let rows = offsets
                .iter()
                .zip(0..)
                .map(|(n, i)| self.apply(&x.slice_axis(0, i, i + 1)?, &Offset::Same(*n)))
                .collect::<Result<Vec<_>>>()?;
            return concatenate(&rows, 0);
        }
        let base = match *offset {
            Offset::Same(n) => self.base_for(x.dim(-2) + n),
            Offset::Each(..) | Offset::Explicit(..) => self.spec.base,
        };
        self.turn(x, offset, base)
    }

    /// Rotates by a base, where wavelengths are its powers.
    fn turn(&self, x: &Array, offset: &Offset, base: f32) -> Result<Array> {
        let dims = self.spec.dims;
        if cpu::active() {
            let rotation = match &self.rotation {
                Some(rotation) => rotation.clone(),
                None => {
                    let base = f64::from(base);
                    let powers = (0..dims / 2).map(|j| base.powf(2.0 * f64::from(j) / f64::from(dims)));
                    self.turning(powers)
                }
            };
            return cpu::rotate(x, &rotation, offset.as_slice());
        }
        let scaled;
        let x = match self.magnitude {
            None => x,
            Some(m) if dims == x.dim(-1) => {
                scaled = (x * m)?;
                &scaled
            }
            Some(m) => {
                // Only the rotated features are scaled.
                let mut factors = vec![m; dims as usize];
                factors.resize(x.dim(-1) as usize, 1.0);
                let factors = Array::from_slice(&factors, &[x.dim(-1)])?.astype(x.dtype())?;
                scaled = (x * factors)?;
                &scaled
            }
        };
        let base = match &self.freqs {
            Some(freqs) => RopeBase::Freqs(freqs),
            None => RopeBase::Base(base),
        };
        match offset {
            Offset::Same(n) => rope(x, dims, self.spec.interleaved, base, self.scale, *n),
            Offset::Each(_, array) | Offset::Explicit(_, array) => {
                rope_at(x, dims, self.spec.interleaved, base, self.scale, array)
            }
        }
    }

    /// The base for a sequence of this length.
    fn base_for(&self, length: i32) -> f32 {
        let RopeScaling::Dynamic { factor, original_context } = self.spec.scaling else { return self.spec.base };
        let length = f64::from(length).max(f64::from(original_context));
        let (factor, original) = (f64::from(factor), f64::from(original_context));
        let dims = f64::from(self.spec.dims);
        let growth = factor * length / original - (factor - 1.0);
        (f64::from(self.spec.base) * growth.powf(dims / (dims - 2.0))) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parses_and_refuses() {
        let parse = |v: Value| RopeScaling::parse("block", &v, Some(128));
        assert_eq!(parse(Value::Null).unwrap(), RopeScaling::None);
        assert_eq!(parse(json!({"rope_type": "linear", "factor": 4})).unwrap(), RopeScaling::Linear { factor: 4.0 });
        assert!(matches!(parse(json!({"rope_type": "llama3", "factor": 8.0})).unwrap(), RopeScaling::Llama3 { .. }));
        for (value, word) in [
            (json!({"rope_type": "linear"}), "factor is missing"),
            (json!({"rope_type": "linear", "factor": 0}), "factor is 0"),
            (json!({"rope_type": "yarn", "factor": "x"}), "factor is \"x\""),
            (json!({"rope_type": "spiral"}), "spiral"),
            (json!([]), "not an object"),
        ] {
            let error = parse(value.clone()).unwrap_err();
            assert!(error.message().contains(word), "{value}: {error}");
        }
    }
}
