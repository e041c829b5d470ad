//! Rotary position embedding.

use super::terms::offset::Offset;
use super::terms::rotation::{Rotation, Turns};
use crate::array::fast::{RopeBase, rope, rope_at};
use crate::array::{Array, concatenate, cpu};
use crate::error::{Error, Result};

/// Rotates `[batch, heads, length, features]`, whose sequences begin at `offset`.
#[track_caller]
pub fn rotate(x: &Array, rotation: &Rotation, offset: &Offset) -> Result<Array> {
    if let Offset::Explicit(places, array) = offset {
        // As many sequences of one position, of the length that the last place makes.
        let &[batch, heads, length, features] = x.shape() else { return Err(Error::internal(format!("{x:?}"))) };
        let x = x.swap_axes(1, 2)?.reshape(&[batch * length, heads, 1, features])?;
        let fixed = rotation.at_length(places.iter().max().map_or(0, |last| last.saturating_add(1)));
        let offset = Offset::Each(places.clone(), array.clone());
        let x = rotate(&x, fixed.as_ref().unwrap_or(rotation), &offset)?;
        return x.reshape(&[batch, length, heads, features])?.swap_axes(1, 2);
    }
    let base = match (&rotation.turns, offset) {
        (Turns::Dynamic { .. }, Offset::Same(n)) => {
            let fixed = rotation.at_length(x.dim(-2) + n);
            return fixed.map_or_else(|| Ok(x.clone()), |fixed| rotate(x, &fixed, offset));
        }
        (Turns::Dynamic { .. }, Offset::Each(offsets, _) | Offset::Explicit(offsets, _)) => {
            // Each length has its own base.
            let row = |(n, i): (&i32, i32)| rotate(&x.slice_axis(0, i, i + 1)?, rotation, &Offset::Same(*n));
            return concatenate(&offsets.iter().zip(0..).map(row).collect::<Result<Vec<_>>>()?, 0);
        }
        (Turns::Powers { base, scale }, _) => (RopeBase::Base(*base), *scale),
        (Turns::Wavelengths(_, array), _) => (RopeBase::Freqs(array), 1.0),
    };
    if let Some(rotated) = cpu::rotate(x, rotation, offset) {
        return rotated;
    }
    let scaled;
    let dims = rotation.dims;
    let x = match rotation.magnitude {
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
    let (base, scale) = base;
    match offset {
        Offset::Same(n) => rope(x, dims, rotation.interleaved, base, scale, *n),
        Offset::Each(_, array) | Offset::Explicit(_, array) => {
            rope_at(x, dims, rotation.interleaved, base, scale, array)
        }
    }
}
