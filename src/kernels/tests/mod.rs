//! Every kernel at every level of this processor against formulas in f64.

mod attention;
mod experts;
mod norm;
mod product;
mod recurrence;
mod stored;

use half::{bf16, f16};
use rand::Rng;
use rand::rngs::SmallRng;

use super::*;

/// Numbers of a type, and what they are exactly.
enum Numbers {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

const KINDS: [Kind; 3] = [Kind::F32, Kind::F16, Kind::Bf16];

/// Whether this usually runs in an emulator (`make test-neon`), which takes a hundred times as long.
const EMULATED: bool = cfg!(all(target_arch = "aarch64", target_os = "linux"));

impl Numbers {
    fn random(rng: &mut SmallRng, kind: Kind, n: usize, scale: f32) -> Numbers {
        let values = (0..n).map(|_| (0..4).map(|_| rng.random_range(-1.0f32..1.0)).sum::<f32>() * scale);
        match kind {
            Kind::F32 => Numbers::F32(values.collect()),
            Kind::F16 => Numbers::F16(values.map(f16::from_f32).collect()),
            Kind::Bf16 => Numbers::Bf16(values.map(bf16::from_f32).collect()),
        }
    }

    fn zeros(kind: Kind, n: usize) -> Numbers {
        match kind {
            Kind::F32 => Numbers::F32(vec![0.0; n]),
            Kind::F16 => Numbers::F16(vec![f16::ZERO; n]),
            Kind::Bf16 => Numbers::Bf16(vec![bf16::ZERO; n]),
        }
    }

    fn floats(&self) -> Floats<'_> {
        match self {
            Numbers::F32(v) => Floats::F32(v),
            Numbers::F16(v) => Floats::F16(F16::slice(v)),
            Numbers::Bf16(v) => Floats::Bf16(Bf16::slice(v)),
        }
    }

    fn floats_mut(&mut self) -> FloatsMut<'_> {
        match self {
            Numbers::F32(v) => FloatsMut::F32(v),
            Numbers::F16(v) => FloatsMut::F16(F16::slice_mut(v)),
            Numbers::Bf16(v) => FloatsMut::Bf16(Bf16::slice_mut(v)),
        }
    }

    fn exact_at(&self, i: usize) -> f64 {
        f64::from(self.floats().at(i))
    }

    fn exact(&self) -> Vec<f64> {
        let floats = self.floats();
        (0..floats.len()).map(|i| f64::from(floats.at(i))).collect()
    }
}

/// Half a unit in the last place, relative.
fn rounding(kind: Kind) -> f64 {
    match kind {
        Kind::F32 => 2f64.powi(-24),
        Kind::F16 => 2f64.powi(-11),
        Kind::Bf16 => 2f64.powi(-8),
    }
}

/// Each value within its rounding, plus what sums in f32 may lose of their scale.
fn check(got: &Numbers, want: &[f64], scale: f64, what: &str) {
    let kind = got.floats().kind();
    for (i, (g, w)) in got.exact().iter().zip(want).enumerate() {
        // Inputs in bf16 may be rounded to 16 bits of the largest of their block.
        let sums = if kind == Kind::Bf16 { 1e-5 } else { 2e-6 };
        let allowed = w.abs() * rounding(kind) * 1.01 + scale * sums + if kind == Kind::F16 { 1e-7 } else { 0.0 };
        assert!((g - w).abs() <= allowed, "{what}: element {i} is {g}, expected {w} +- {allowed:.2e}");
    }
}

type Formula = fn(f64) -> f64;

const ACTS: [(Act, Formula); 5] = [
    (Act::Silu, |x| x / (1.0 + (-x).exp())),
    (Act::Gelu, |x| 0.5 * x * (1.0 + erf(x / 2f64.sqrt()))),
    (Act::GeluTanh, |x| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())),
    (Act::Relu, |x| x.max(0.0)),
    (Act::ReluSquared, |x| x.max(0.0).powi(2)),
];

/// Abramowitz and Stegun 7.1.6: a series of positive terms.
fn erf(x: f64) -> f64 {
    let (mut sum, mut term) = (x, x);
    for n in 1..400 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    if x.abs() > 6.0 { x.signum() } else { sum * 2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() }
}
