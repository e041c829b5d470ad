//! Keys and values of all positions, quantized over the features of a head.

use super::growing::Growing;
use super::mask::Visible;
use super::options::KvQuantization;
use super::saved::Saved;
use super::state::State;
use crate::array::fused::{self, At, Attention, Mask};
use crate::array::quant::{Quantized as Codes, Scheme};
use crate::array::{Array, Dtype};
use crate::error::{Error, Result};

/// Codes, scales and biases that grow together.
#[derive(Clone, Default)]
struct Part {
    packed: Growing,
    scales: Growing,
    biases: Growing,
}

impl Part {
    /// Quantizes and appends.
    fn append(&mut self, new: &Array, scheme: Scheme) -> Result<()> {
        let q = Codes::quantize(new, scheme)?;
        let biases = q.biases.as_ref().expect("the affine scheme has biases");
        self.packed.append(&q.packed)?;
        self.scales.append(&q.scales)?;
        self.biases.append(biases)
    }

    /// The buffers, with room after their contents.
    fn whole(&self, scheme: Scheme) -> Result<Codes> {
        let buffer = |g: &Growing| g.array().cloned().ok_or_else(|| Error::internal("an empty cache was read"));
        let biases = Some(buffer(&self.biases)?);
        Ok(Codes { packed: buffer(&self.packed)?, scales: buffer(&self.scales)?, biases, scheme })
    }

    fn each(&self) -> [(&'static str, &Growing); 3] {
        [("packed", &self.packed), ("scales", &self.scales), ("biases", &self.biases)]
    }
}

/// Quantized keys and values.
pub struct Quantized {
    keys: Part,
    values: Part,
    options: KvQuantization,
}

impl Quantized {
    /// Quantizes what was remembered so far, `[1, kv heads, positions, features]`.
    pub(super) fn new(keys: &Array, values: &Array, options: KvQuantization) -> Result<Quantized> {
        let mut this = Quantized { keys: Part::default(), values: Part::default(), options };
        this.keys.append(keys, options.scheme())?;
        this.values.append(values, options.scheme())?;
        Ok(this)
    }

    fn len(&self) -> i32 {
        self.keys.packed.len()
    }

    /// Attention of heads of queries over everything.
    fn over_all(&self, op: &Attention, q: &Array, mask: &Mask) -> Result<Array> {
        let scheme = self.options.scheme();
        let (keys, values) = (self.keys.whole(scheme)?, self.values.whole(scheme)?);
        fused::merged(&fused::attention_quantized(q, &keys, &values, self.len(), mask, &op.scores)?)
    }

    /// What was saved, if it is quantized in this way and has heads of these sizes.
    pub(super) fn load(saved: &Saved, options: KvQuantization, dims: [i32; 2]) -> Result<Quantized> {
        saved.number("bits", options.bits, options.bits)?;
        saved.number("group_size", options.group_size, options.group_size)?;
        let mut length = None;
        let mut part = |side: &str, dim: i32| -> Result<Part> {
            let mut array = |name: &str, last: i32, right: &dyn Fn(Dtype) -> bool| -> Result<Growing> {
                let name = format!("{side}.{name}");
                let array = saved.array(&name)?;
                let shape = array.shape();
                let same = length.get_or_insert_with(|| shape[..shape.len().min(3)].to_vec());
                let fits =
                    shape.len() == 4 && shape[..3] == same[..] && shape[0] == 1 && shape[2] > 0 && shape[3] == last;
                if !fits || !right(array.dtype()) {
                    return Err(saved.bad(&format!("{name} is {array:?}")));
                }
                Ok(Growing::full(array))
            };
            let groups = dim / options.group_size;
            Ok(Part {
                packed: array("packed", dim * options.bits / 32, &|d| d == Dtype::U32)?,
                scales: array("scales", groups, &Dtype::is_float)?,
                biases: array("biases", groups, &Dtype::is_float)?,
            })
        };
        let (keys, values) = (part("keys", dims[0])?, part("values", dims[1])?);
        Ok(Quantized { keys, values, options })
    }
}

impl State for Quantized {
    fn kind(&self) -> &'static str {
        "quantized"
    }

    fn attend(&mut self, op: &Attention, qkv: [&Array; 3], at: &At<'_>) -> Result<Array> {
        let [q, k, v] = fused::heads(op, qkv, at.offset)?;
        let scheme = self.options.scheme();
        self.keys.append(&k, scheme)?;
        self.values.append(&v, scheme)?;
        self.over_all(op, &q, at.mask)
    }

    fn attend_again(&mut self, op: &Attention, q: &Array, at: &At<'_>) -> Result<Array> {
        self.over_all(op, &fused::query_heads(op, q, at.offset)?, at.mask)
    }

    fn mask(&self, n: i32, visible: &Visible) -> Result<Mask> {
        visible.mask(n, self.len(), None)
    }

    /// Not to where it would not have been quantized yet.
    fn can_trim(&self, counts: &[i32], positions: &[i32]) -> bool {
        positions[0] - counts[0] >= self.options.start.max(1)
    }

    fn can_be_at(&self, position: i32) -> bool {
        self.len() == position
    }

    fn trim(&mut self, counts: &[i32]) -> Result<()> {
        for part in [&mut self.keys, &mut self.values] {
            for all in [&mut part.packed, &mut part.scales, &mut part.biases] {
                all.trim(counts[0]);
            }
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<Option<Box<dyn State>>> {
        Ok(None)
    }

    fn fork(&mut self) -> Result<Box<dyn State>> {
        // MLX copies what is shared when it is written to.
        Ok(Box::new(Quantized { keys: self.keys.clone(), values: self.values.clone(), options: self.options }))
    }

    fn arrays(&self) -> Vec<&Array> {
        [&self.keys, &self.values].into_iter().flat_map(Part::each).filter_map(|(_, g)| g.array()).collect()
    }

    fn bytes(&self) -> usize {
        self.arrays().iter().map(|a| a.nbytes()).sum()
    }

    fn save(&mut self) -> Result<Saved> {
        let mut saved = Saved::new(self.kind())
            .with_number("bits", self.options.bits)
            .with_number("group_size", self.options.group_size);
        for (side, part) in [("keys", &self.keys), ("values", &self.values)] {
            for (name, all) in part.each() {
                let array = all.all()?.ok_or_else(|| Error::internal("an empty cache was read"))?;
                saved = saved.with_array(&format!("{side}.{name}"), array);
            }
        }
        Ok(saved)
    }

    fn load(&self, _: &Saved) -> Result<Box<dyn State>> {
        Err(Error::internal("a cache is not empty"))
    }
}
