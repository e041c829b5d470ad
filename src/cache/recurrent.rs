//! Arrays of fixed shape that every position changes: the states of recurrent layers.

use std::any::Any;

use super::mask::Visible;
use super::options::RecurrentSpec;
use super::saved::Saved;
use super::state::{Reach, State};
use crate::array::fused::Mask;
use crate::array::{Array, concatenate, zeros};
use crate::error::{Error, Result};

/// Named arrays, `[rows, ..]`. Earlier values cannot be computed from later ones: going back needs a checkpoint.
pub struct Recurrent {
    specs: Vec<RecurrentSpec>,
    /// None at the beginning of a sequence.
    arrays: Option<Vec<Array>>,
}

impl Recurrent {
    /// The state before the first position.
    pub fn new(specs: Vec<RecurrentSpec>) -> Recurrent {
        Recurrent { specs, arrays: None }
    }

    /// A state, if it is of this kind.
    pub fn of(state: &mut dyn State) -> Option<&mut Recurrent> {
        state.as_any()?.downcast_mut()
    }

    /// The arrays in the order of their specification; zeros at the beginning of `rows` sequences.
    pub fn get(&self, rows: i32) -> Result<Vec<Array>> {
        match &self.arrays {
            Some(arrays) => Ok(arrays.clone()),
            None => self.specs.iter().map(|spec| zeros(&shape(spec, rows), spec.dtype)).collect(),
        }
    }

    /// What they are after the positions that were processed, in the same order.
    ///
    /// # Errors
    /// If shapes or types are others than specified, or not all of the same rows.
    pub fn set(&mut self, arrays: Vec<Array>) -> Result<()> {
        let rows = arrays.first().map_or(0, |a| a.shape().first().copied().unwrap_or(0));
        let fits = |(spec, a): (&RecurrentSpec, &Array)| a.shape() == shape(spec, rows) && a.dtype() == spec.dtype;
        if arrays.len() != self.specs.len() || rows < 1 || !self.specs.iter().zip(&arrays).all(fits) {
            return Err(Error::internal(format!("a recurrent state {:?} became {arrays:?}", self.specs)));
        }
        self.arrays = Some(arrays);
        Ok(())
    }
}

fn shape(spec: &RecurrentSpec, rows: i32) -> Vec<i32> {
    std::iter::once(rows).chain(spec.shape.iter().copied()).collect()
}

impl State for Recurrent {
    fn kind(&self) -> &'static str {
        "recurrent"
    }

    /// There are no keys to mask, but each position follows from those before it.
    fn mask(&self, n: i32, visible: &Visible) -> Result<Mask> {
        match visible {
            Visible::Causal => Ok(Mask::None),
            Visible::Spans(spans) if spans.iter().all(Vec::is_empty) => Ok(Mask::None),
            _ if n == 1 => Ok(Mask::None),
            _ => Err(Error::unsupported("recurrent layers see causally")),
        }
    }

    fn reach(&self) -> Reach {
        Reach::Recurrent
    }

    fn can_trim(&self, counts: &[i32], _: &[i32]) -> bool {
        counts.iter().all(|n| *n == 0)
    }

    fn can_be_at(&self, position: i32) -> bool {
        self.arrays.is_some() == (position > 0)
    }

    fn trim(&mut self, _: &[i32]) -> Result<()> {
        Ok(())
    }

    fn fork(&mut self) -> Result<Box<dyn State>> {
        Ok(Box::new(Recurrent { specs: self.specs.clone(), arrays: self.arrays.clone() }))
    }

    fn arrays(&self) -> Vec<&Array> {
        self.arrays.iter().flatten().collect()
    }

    fn bytes(&self) -> usize {
        self.arrays.iter().flatten().map(Array::nbytes).sum()
    }

    fn save(&mut self) -> Result<Saved> {
        let named = self.specs.iter().zip(self.arrays.iter().flatten());
        Ok(named.fold(Saved::new(self.kind()), |saved, (spec, a)| saved.with_array(spec.name, a.clone())))
    }

    fn load(&self, saved: &Saved) -> Result<Box<dyn State>> {
        saved.expect(self.kind())?;
        let mut loaded = Recurrent::new(self.specs.clone());
        if !saved.is_empty() {
            let arrays: Vec<Array> = self.specs.iter().map(|spec| saved.array(spec.name)).collect::<Result<_>>()?;
            for (spec, a) in self.specs.iter().zip(&arrays) {
                if a.shape() != shape(spec, 1) || a.dtype() != spec.dtype {
                    return Err(saved.bad(&format!("{} is {a:?}, not of the shape {:?}", spec.name, shape(spec, 1))));
                }
            }
            loaded.arrays = Some(arrays);
        }
        Ok(Box::new(loaded))
    }

    fn as_any(&mut self) -> Option<&mut dyn Any> {
        Some(self)
    }

    /// Rows are one array whatever the layout.
    fn push(&mut self, mut other: Box<dyn State>) -> Result<Option<Box<dyn State>>> {
        let Some(other) = Recurrent::of(&mut *other) else { return Err(Error::internal("states of different kinds")) };
        let (own, more) = (self.get(1)?, other.get(1)?);
        let joined = own.iter().zip(&more).map(|(a, b)| concatenate([a, b], 0)).collect::<Result<_>>()?;
        self.set(joined)?;
        Ok(None)
    }

    fn take(&mut self, row: usize) -> Result<Box<dyn State>> {
        let arrays = self.get(1)?;
        let rows = arrays.first().map_or(1, |a| a.dim(0));
        let at = row as i32;
        if at >= rows {
            return Err(Error::internal(format!("there is no sequence {row} of {rows}")));
        }
        let taken = arrays.iter().map(|a| a.slice_axis(0, at, at + 1)).collect::<Result<_>>()?;
        let rest = |a: &Array| concatenate([&a.slice_axis(0, 0, at)?, &a.slice_axis(0, at + 1, rows)?], 0);
        self.arrays = match rows {
            1 => None,
            _ => Some(arrays.iter().map(rest).collect::<Result<_>>()?),
        };
        Ok(Box::new(Recurrent { specs: self.specs.clone(), arrays: Some(taken) }))
    }
}
