//! Arrays that grow at their ends.

use crate::array::fused::STEP;
use crate::array::{Array, concatenate, zeros};
use crate::error::Result;

/// An array that grows along its last but one axis.
#[derive(Clone, Default)]
pub(super) struct Growing {
    buffer: Option<Array>,
    len: i32,
}

impl Growing {
    /// All of `buffer`.
    pub fn full(buffer: Array) -> Growing {
        Growing { len: buffer.dim(-2), buffer: Some(buffer) }
    }

    /// Appends `new`.
    pub fn append(&mut self, new: &Array) -> Result<()> {
        let n = new.dim(-2);
        let axis = new.ndim() - 2;
        if self.len + n > self.buffer.as_ref().map_or(0, |b| b.dim(-2)) {
            let mut shape = new.shape().to_vec();
            shape[axis] = (n + STEP - 1) / STEP * STEP;
            let more = zeros(&shape, new.dtype())?;
            self.buffer = Some(match self.buffer.take() {
                None => more,
                Some(old) => concatenate([&old.slice_axis(-2, 0, self.len)?, &more], -2)?,
            });
        }
        let buffer = self.buffer.take().expect("grown above");
        let mut start = vec![0; new.ndim()];
        let mut stop = buffer.shape().to_vec();
        (start[axis], stop[axis]) = (self.len, self.len + n);
        // `buffer` is dropped before anything is computed, so that MLX writes in place.
        self.buffer = Some(buffer.slice_update(new, &start, &stop)?);
        self.len += n;
        Ok(())
    }

    pub fn trim(&mut self, n: i32) {
        self.len = (self.len - n).max(0);
    }

    pub fn len(&self) -> i32 {
        self.len
    }

    /// The buffer, with room after its contents.
    pub fn array(&self) -> Option<&Array> {
        self.buffer.as_ref()
    }

    /// Its contents.
    pub fn all(&self) -> Result<Option<Array>> {
        self.buffer.as_ref().map(|buffer| buffer.slice_axis(-2, 0, self.len)).transpose()
    }
}
