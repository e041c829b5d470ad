//! The epilogue of a product: what follows it while its results are still in the cache.

use super::activation::Act;
use super::floats::Floats;
use super::level::{fma, multiversion};

/// What follows a product.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// One result a part.
    Store,
    /// One part; its product times the factor is added to these numbers.
    Add(Floats<'a>, f32),
    /// One result a part: `act(product)`.
    Activate(Act),
    /// Two parts, one result: `act(first) * second`.
    Gate(Act),
}

multiversion! {
    pub(super) fn add_bias<const FMA: bool>(tile: &mut [f32], bias: Floats<'_>) {
        for row in tile.chunks_exact_mut(bias.len()) {
            for (i, v) in row.iter_mut().enumerate() {
                *v += bias.at(i);
            }
        }
    }
}

multiversion! {
    pub(super) fn add_residual<const FMA: bool>(values: &mut [f32], residual: Floats<'_>, factor: f32) {
        match residual {
            Floats::F32(r) => {
                for (v, r) in values.iter_mut().zip(r) {
                    *v = fma::<FMA>(*v, factor, *r);
                }
            }
            Floats::Bf16(r) => {
                for (v, r) in values.iter_mut().zip(r) {
                    *v = fma::<FMA>(*v, factor, r.to_f32());
                }
            }
            Floats::F16(r) => {
                for (v, r) in values.iter_mut().zip(r) {
                    *v = fma::<FMA>(*v, factor, r.to_f32());
                }
            }
        }
    }
}
