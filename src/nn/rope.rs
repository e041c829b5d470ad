//! Rotary position embedding (Su et al. 2021, arXiv:2104.09864) and the ways to stretch it to longer contexts.
//!
//! Formulas and defaults as in mlx-lm 0.32.2 (`models/rope_utils.py`).

use serde_json::Value;

use crate::array::Array;
use crate::array::fused::{Rotation, Turns};
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
    /// How positions are scaled.
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
    /// Not at all, and the other way round.
    Backwards,
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
        /// Whether the ends of the blend are whole pairs.
        truncate: bool,
    },
    /// Of all pairs only the first turn, by the powers that all together would have (Gemma 4).
    Proportional {
        /// The part of the features that turns.
        part: f32,
        /// Their stretch.
        factor: f32,
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
                // GPT-OSS sets it to false; transformers heeds that, mlx-lm does not.
                truncate: map.get("truncate").is_none_or(|v| v.as_bool().unwrap_or(v.as_f64() != Some(0.0))),
            },
            "proportional" => RopeScaling::Proportional {
                part: positive("partial_rotary_factor", Some(1.0))?,
                factor: positive("factor", Some(1.0))?,
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

impl RopeSpec {
    /// Computes the description of the rotation, once.
    pub fn rotation(&self) -> Result<Rotation> {
        let dims = f64::from(self.dims);
        let base = f64::from(self.base);
        let by = |turns: Turns| Rotation::new(self.dims, self.interleaved, turns);
        let powers = || (0..self.dims / 2).map(move |j| base.powf(2.0 * f64::from(j) / dims));
        let mut stretched_by = None;
        let wavelengths: Vec<f64> = match &self.scaling {
            RopeScaling::None => return Ok(by(Turns::Powers { base: self.base, scale: 1.0 })),
            RopeScaling::Linear { factor } => {
                return Ok(by(Turns::Powers { base: self.base, scale: 1.0 / factor }));
            }
            &RopeScaling::Dynamic { factor, original_context } => {
                return Ok(by(Turns::Dynamic { base: self.base, factor, original_context }));
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
            RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, mscale, mscale_all_dim, truncate } => {
                let factor = f64::from(*factor);
                // The pair that makes this many turns within the trained context.
                let pair_of = |turns: f32| {
                    let ratio = f64::from(*original_context) / (f64::from(turns) * 2.0 * std::f64::consts::PI);
                    dims * ratio.ln() / (2.0 * base.ln())
                };
                let (mut low, mut high) = (pair_of(*beta_fast), pair_of(*beta_slow));
                if *truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                low = low.max(0.0);
                high = high.min(dims - 1.0);
                if low == high {
                    high += 0.001;
                }
                let temperature = |m: f32| match factor <= 1.0 {
                    true => 1.0,
                    false => 0.1 * f64::from(m) * factor.ln() + 1.0,
                };
                let magnitude = temperature(*mscale) / temperature(*mscale_all_dim);
                stretched_by = (magnitude != 1.0).then_some(magnitude as f32);
                powers()
                    .enumerate()
                    .map(|(j, f)| {
                        let kept = 1.0 - ((j as f64 - low) / (high - low)).clamp(0.0, 1.0);
                        let stretched = factor * f;
                        stretched * f / (stretched * kept + f * (1.0 - kept))
                    })
                    .collect()
            }
            RopeScaling::Backwards => powers().map(|f| -f).collect(),
            RopeScaling::Proportional { part, factor } => {
                let turning = ((dims * f64::from(*part)) as usize).div_ceil(2);
                let stretched = |(j, f): (usize, f64)| if j < turning { f * f64::from(*factor) } else { f64::INFINITY };
                powers().enumerate().map(stretched).collect()
            }
            RopeScaling::Longrope { long_factor, context, original_context } => {
                let ratio = f64::from(*context) / f64::from(*original_context);
                let magnitude = match ratio <= 1.0 {
                    true => 1.0,
                    false => (1.0 + ratio.ln() / f64::from(*original_context).ln()).sqrt(),
                };
                stretched_by = Some(magnitude as f32);
                let factor = |j: usize| f64::from(long_factor[if long_factor.len() == 1 { 0 } else { j }]);
                powers().enumerate().map(|(j, f)| factor(j) * f).collect()
            }
        };
        let wavelengths_f32: Vec<f32> = wavelengths.iter().map(|w| *w as f32).collect();
        let array = Array::from_slice(&wavelengths_f32, &[wavelengths_f32.len() as i32])?;
        array.eval()?;
        Ok(Rotation { magnitude: stretched_by, ..by(Turns::Wavelengths(wavelengths, array)) })
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
