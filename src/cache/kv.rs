//! Keys and values of all positions.

use std::rc::Rc;

use super::mask::Visible;
use super::options::KvQuantization;
use super::quantized::Quantized;
use super::saved::Saved;
use super::state::{Plain, State, buffer_of};
use crate::array::Array;
use crate::array::fused::{self, At, Attention, KvBuffer, Mask};
use crate::error::{Error, Result};

/// Keys and values as they are, until they are quantized.
pub struct Kv {
    buffer: KvBuffer,
    quantization: Option<KvQuantization>,
    /// Features of keys and values.
    dims: [i32; 2],
}

impl Kv {
    /// Empty; with the sizes of the heads of keys and values.
    pub fn new(dims: [i32; 2], quantization: Option<KvQuantization>) -> Kv {
        Kv { buffer: KvBuffer::default(), quantization, dims }
    }
}

impl State for Kv {
    fn kind(&self) -> &'static str {
        "kv"
    }

    fn attend(&mut self, op: &Attention, qkv: [&Array; 3], at: &At<'_>) -> Result<Array> {
        fused::attend(op, qkv, &mut [&mut self.buffer], at)
    }

    fn extend(&mut self, keys: &Array, beside: &Array) -> Result<Option<(Array, Array)>> {
        self.buffer.append(keys, beside).map(Some)
    }

    fn attend_again(&mut self, op: &Attention, q: &Array, at: &At<'_>) -> Result<Array> {
        let (q, (keys, values)) = (fused::query_heads(op, q, at.offset)?, self.buffer.seen()?);
        fused::over(op, &q, &keys, &values, at.mask)
    }

    fn mask(&self, n: i32, visible: &Visible) -> Result<Mask> {
        visible.mask(n, self.buffer.len(), None)
    }

    fn can_trim(&self, _: &[i32], _: &[i32]) -> bool {
        true
    }

    fn can_be_at(&self, position: i32) -> bool {
        self.buffer.len() == position
    }

    fn trim(&mut self, counts: &[i32]) -> Result<()> {
        self.buffer.trim(counts[0]);
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<Option<Box<dyn State>>> {
        // What has been quantized since has lost its exact values.
        if self.quantization.is_some() { self.fork().map(Some) } else { Ok(None) }
    }

    fn fork(&mut self) -> Result<Box<dyn State>> {
        Ok(Box::new(Kv { buffer: self.buffer.fork(), quantization: self.quantization, dims: self.dims }))
    }

    fn settle(&mut self) -> Result<Option<Box<dyn State>>> {
        match self.quantization {
            Some(q) if !self.buffer.is_empty() && self.buffer.len() >= q.start => {
                let all = self.buffer.all()?;
                let (keys, values) = all.ok_or_else(|| Error::internal("an empty cache was read"))?;
                Ok(Some(Box::new(Quantized::new(&keys, &values, q)?)))
            }
            _ => Ok(None),
        }
    }

    fn arrays(&self) -> Vec<&Array> {
        self.buffer.arrays().collect()
    }

    fn bytes(&self) -> usize {
        self.buffer.bytes()
    }

    fn save(&mut self) -> Result<Saved> {
        Ok(Saved::new(self.kind()).with_pair(self.buffer.all()?))
    }

    fn load(&self, saved: &Saved) -> Result<Box<dyn State>> {
        if let (Some(q), "quantized") = (self.quantization, saved.kind()) {
            return Ok(Box::new(Quantized::load(saved, q, self.dims)?));
        }
        saved.expect(self.kind())?;
        let buffer = match saved.pair(Some(self.dims))? {
            Some((keys, values)) => KvBuffer::from_arrays(keys, values)?,
            None => KvBuffer::default(),
        };
        Ok(Box::new(Kv { buffer, quantization: self.quantization, dims: self.dims }))
    }

    fn buffer(&mut self) -> Option<&mut KvBuffer> {
        Some(&mut self.buffer)
    }

    fn plain(&mut self) -> Result<Option<Plain>> {
        let dims = self.dims;
        let alone = move |all| -> Result<Box<dyn State>> {
            Ok(Box::new(Kv { buffer: buffer_of(all)?, quantization: None, dims }))
        };
        // States that are going to be quantized stay separate.
        Ok(self.quantization.is_none().then(|| Plain {
            buffer: self.buffer.fork(),
            window: None,
            alone: Rc::new(alone),
        }))
    }
}
