//! Queries that grow with their position, so that softmax over long contexts stays sharp (Llama 4, Mistral 3 and 4).

use crate::array::fused::Offset;
use crate::array::{Array, Dtype};
use crate::error::Result;
use crate::models::config::invalid;

/// A query at position `p` is multiplied by `1 + scale * ln(1 + floor((p + shift) / period))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Temperature {
    /// How much queries grow.
    pub scale: f32,
    /// Positions that have the same factor.
    pub period: f32,
    /// Added to positions.
    pub shift: i32,
}

impl Temperature {
    pub(super) fn validate(&self) -> Result<()> {
        match self.period >= 1.0 && self.scale.is_finite() {
            true => Ok(()),
            false => Err(invalid(format!("queries grow by {} every {} positions", self.scale, self.period))),
        }
    }

    /// The factors of new positions, `[rows, 1, length, 1]`; one row where they are the same for all sequences.
    pub(super) fn factors(&self, offset: &Offset, length: i32, dtype: Dtype) -> Result<Array> {
        let factor = |position: i32| {
            let steps = ((f64::from(position) + f64::from(self.shift)) / f64::from(self.period)).floor();
            (1.0 + f64::from(self.scale) * steps.ln_1p()) as f32
        };
        let factors: Vec<f32> = match offset {
            Offset::Same(first) => (*first..first + length).map(factor).collect(),
            Offset::Each(firsts, _) => firsts.iter().flat_map(|n| (*n..n + length).map(factor)).collect(),
            Offset::Explicit(places, _) => places.iter().copied().map(factor).collect(),
        };
        let rows = factors.len() as i32 / length.max(1);
        Array::from_slice(&factors, &[rows, 1, length, 1])?.astype(dtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_a_period_have_the_same_factor() {
        let temperature = Temperature { scale: 0.1, period: 4.0, shift: 1 };
        let factors = temperature.factors(&Offset::Same(2), 3, Dtype::F32).unwrap();
        let grown = 1.0 + 0.1 * 2f32.ln();
        assert_eq!(factors.to_vec::<f32>().unwrap(), [1.0, grown, grown]);
        let each = Offset::new(vec![0, 7]).unwrap();
        let factors = temperature.factors(&each, 1, Dtype::F32).unwrap();
        assert_eq!((factors.shape(), factors.to_vec::<f32>().unwrap()[0]), (&[2, 1, 1, 1][..], 1.0));
        assert!(Temperature { period: 0.0, ..temperature }.validate().is_err());
    }
}
