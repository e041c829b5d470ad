//! Keys and values of all positions, quantized over the features of a head.

use super::attention::{AttentionParams, differs_by_sequence, grouped};
use super::kv::Growing;
use crate::array::Array;
use crate::array::cpu::{self, Remembered};
use crate::array::fast::Mask;
use crate::array::quant::{Quantized, Scheme};
use crate::error::{Error, Result};

/// Codes, scales and biases that grow together.
#[derive(Default)]
struct Part {
    packed: Growing,
    scales: Growing,
    biases: Growing,
}

impl Part {
    /// Quantizes and appends.
    fn append(&mut self, new: &Array, scheme: Scheme) -> Result<()> {
        let q = Quantized::quantize(new, scheme)?;
        let biases = q.biases.as_ref().expect("the affine scheme has biases");
        self.packed.push(&q.packed)?;
        self.scales.push(&q.scales)?;
        self.biases.push(biases)?;
        Ok(())
    }

    /// All, with an axis for the heads of a group.
    fn all(&self, scheme: Scheme) -> Result<Quantized> {
        let group = |g: &Growing| g.all()?.expand_dims(2);
        let biases = Some(group(&self.biases)?);
        Ok(Quantized { packed: group(&self.packed)?, scales: group(&self.scales)?, biases, scheme })
    }

    /// The buffers themselves, with room behind what is in them.
    fn whole(&self, scheme: Scheme) -> Result<Quantized> {
        let buffer = |g: &Growing| g.array().cloned().ok_or_else(|| Error::internal("an empty cache was read"));
        let biases = Some(buffer(&self.biases)?);
        Ok(Quantized { packed: buffer(&self.packed)?, scales: buffer(&self.scales)?, biases, scheme })
    }

    fn trim(&mut self, n: i32) {
        for part in [&mut self.packed, &mut self.scales, &mut self.biases] {
            part.trim(n);
        }
    }

    fn arrays(&self) -> impl Iterator<Item = &Array> {
        [&self.packed, &self.scales, &self.biases].into_iter().filter_map(Growing::array)
    }
}

/// Quantized keys and values.
pub struct QuantizedKv {
    keys: Part,
    values: Part,
    scheme: Scheme,
}

impl QuantizedKv {
    /// Quantizes what was remembered so far.
    pub(super) fn new(keys: &Array, values: &Array, scheme: Scheme) -> Result<QuantizedKv> {
        let mut this = QuantizedKv { keys: Part::default(), values: Part::default(), scheme };
        this.keys.append(keys, scheme)?;
        this.values.append(values, scheme)?;
        Ok(this)
    }

    pub(super) fn attend(
        &mut self,
        q: &Array,
        k: &Array,
        v: &Array,
        mask: &Mask,
        params: &AttentionParams,
    ) -> Result<Array> {
        self.keys.append(k, self.scheme)?;
        self.values.append(v, self.scheme)?;
        self.attend_again(q, mask, params)
    }

    /// Attends over what is there.
    pub(super) fn attend_again(&self, q: &Array, mask: &Mask, params: &AttentionParams) -> Result<Array> {
        if cpu::active() && !differs_by_sequence(mask) {
            let (keys, values) = (self.keys.whole(self.scheme)?, self.values.whole(self.scheme)?);
            let n = self.position();
            let (keys, values) = (Remembered::Quantized(&keys, n), Remembered::Quantized(&values, n));
            return cpu::attention(q, keys, values, params.scale, params.softcap, mask);
        }
        let (keys, values) = (self.keys.all(self.scheme)?, self.values.all(self.scheme)?);
        grouped(
            q,
            keys.packed.dim(1),
            self.position(),
            mask,
            params,
            |q| keys.matmul_transposed(q),
            |weights| values.matmul(weights),
        )
    }

    pub(super) fn position(&self) -> i32 {
        self.keys.packed.len()
    }

    pub(super) fn trim(&mut self, n: i32) {
        self.keys.trim(n);
        self.values.trim(n);
    }

    pub(super) fn arrays(&self) -> Vec<&Array> {
        self.keys.arrays().chain(self.values.arrays()).collect()
    }
}
