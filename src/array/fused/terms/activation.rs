//! Activation functions.

use crate::array::Array;
use crate::error::{Error, Result};

/// An element-wise activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x * sigmoid(x)`
    Silu,
    /// `x * Phi(x)` with the exact normal distribution.
    Gelu,
    /// GELU with the tanh approximation (Hendrycks and Gimpel 2016, arXiv:1606.08415).
    GeluTanh,
    /// `max(x, 0)`
    Relu,
    /// The clamped SwiGLU of GPT-OSS, only as a gate: `g * sigmoid(1.702 g) * (u + 1)`, where `g` is at most 7 and `u` between
    /// -7 and 7.
    SwigluOai,
    /// `max(x, 0)^2`
    ReluSquared,
}

impl Activation {
    /// Applies the function; the result has the type of `x`.
    pub fn apply(self, x: &Array) -> Result<Array> {
        match self {
            Activation::Silu => x * x.sigmoid(),
            Activation::Gelu => (x * ((x * std::f32::consts::FRAC_1_SQRT_2)?.erf()? + 1.0))? * 0.5,
            Activation::GeluTanh => {
                // sqrt(2 / pi)
                const SCALE: f32 = 0.797_884_6;
                let cubic = ((x.square()? * x)? * 0.044_715)?;
                let inner = ((x + cubic)? * SCALE)?.tanh()?;
                (x * (inner + 1.0))? * 0.5
            }
            Activation::Relu => x.maximum(&Array::scalar(0.0, x.dtype())?),
            Activation::SwigluOai => Err(Error::internal("an activation that is only a gate")),
            Activation::ReluSquared => Activation::Relu.apply(x)?.square(),
        }
    }

    /// `apply(gate) * up`, or what the function is of both.
    pub fn gate(self, gate: &Array, up: &Array) -> Result<Array> {
        let Activation::SwigluOai = self else { return self.apply(gate)? * up };
        let limit = |sign: f32| Array::scalar(sign * 7.0, gate.dtype());
        let gate = gate.minimum(&limit(1.0)?)?;
        let up = up.minimum(&limit(1.0)?)?.maximum(&limit(-1.0)?)?;
        (&gate * (&gate * 1.702)?.sigmoid()?)? * (up + 1.0)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against formulas in f64.
    #[test]
    fn values() {
        let xs: Vec<f32> = (-40..=40).map(|i| i as f32 / 8.0).collect();
        let x = Array::from_slice(&xs, &[xs.len() as i32]).unwrap();
        // Abramowitz and Stegun 7.1.5: the series of erf, enough terms for |x| < 5.
        let erf = |x: f64| {
            let (mut sum, mut term) = (x, x);
            for n in 1..200 {
                term *= -x * x / n as f64;
                sum += term / (2 * n + 1) as f64;
            }
            sum * 2.0 / std::f64::consts::PI.sqrt()
        };
        type Reference<'a> = &'a dyn Fn(f64) -> f64;
        let cases: [(Activation, Reference); 5] = [
            (Activation::Silu, &|x| x / (1.0 + (-x).exp())),
            (Activation::Gelu, &|x| x * 0.5 * (1.0 + erf(x / 2f64.sqrt()))),
            (Activation::GeluTanh, &|x| {
                x * 0.5 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
            }),
            (Activation::Relu, &|x| x.max(0.0)),
            (Activation::ReluSquared, &|x| x.max(0.0).powi(2)),
        ];
        for (activation, reference) in cases {
            let got = activation.apply(&x).unwrap().to_vec::<f32>().unwrap();
            for (x, y) in xs.iter().zip(got) {
                let want = reference(f64::from(*x));
                assert!(
                    (f64::from(y) - want).abs() < 2e-6 * want.abs().max(1.0),
                    "{activation:?}({x}) = {y}, expected {want}"
                );
            }
        }
    }
}
