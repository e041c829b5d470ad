//! Where new positions are.

use crate::array::Array;
use crate::error::{Error, Result};

/// Where new positions are.
#[derive(Clone, Debug)]
pub enum Offset {
    /// One after the other, all sequences from this one on.
    Same(i32),
    /// Each sequence from its own on; the same numbers as an array, i32 `[batch]`.
    Each(Vec<i32>, Array),
    /// Each position at its own place, row by row; the same numbers as an array, i32 `[batch * length]`.
    Explicit(Vec<i32>, Array),
}

impl Offset {
    /// For sequences that continue from these positions.
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
            return Err(Error::unsupported(format!("positions with {axes} axes; this model's RoPE has one")));
        }
        let row: Vec<i32> = places.to_vec()?;
        if let Some(place) = row.iter().find(|place| **place < 0) {
            return Err(Error::invalid_argument(format!("a position at {place}")));
        }
        let all = if rows == batch { row } else { row.repeat(batch as usize) };
        let array = Array::from_slice(&all, &[all.len() as i32])?;
        Ok(Offset::Explicit(all, array))
    }

    /// Where the sequences begin, one for all or one for each; `None` where positions do not follow one another.
    pub fn starts(&self) -> Option<&[i32]> {
        match self {
            Offset::Same(n) => Some(std::slice::from_ref(n)),
            Offset::Each(positions, _) => Some(positions),
            Offset::Explicit(..) => None,
        }
    }

    /// Where all new positions are, u32 `[sequences, length]`; of one sequence where they are the same for all.
    ///
    /// # Errors
    /// If one is not below `most`.
    pub fn places(&self, length: i32, most: i32) -> Result<Array> {
        let consecutive = |first: &i32| *first..first.saturating_add(length);
        let places: Vec<i32> = match self {
            Offset::Same(first) => consecutive(first).collect(),
            Offset::Each(firsts, _) => firsts.iter().flat_map(consecutive).collect(),
            Offset::Explicit(places, _) => places.clone(),
        };
        if let Some(place) = places.iter().find(|place| !(0..most).contains(*place)) {
            return Err(Error::invalid_argument(format!("position {place}: this model knows {most}")));
        }
        let places: Vec<u32> = places.into_iter().map(|place| place as u32).collect();
        Array::from_slice(&places, &[places.len() as i32 / length.max(1), length])
    }

    /// Those of one sequence of so many new positions.
    pub fn row(&self, row: usize, length: i32) -> Result<Offset> {
        match self {
            Offset::Same(n) => Ok(Offset::Same(*n)),
            Offset::Each(positions, _) => Ok(Offset::Same(positions[row])),
            Offset::Explicit(places, _) => {
                let own = &places[row * length as usize..][..length as usize];
                Ok(Offset::Explicit(own.to_vec(), Array::from_slice(own, &[length])?))
            }
        }
    }
}
