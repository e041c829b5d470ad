//! What a model remembers of a sequence, layer by layer, and attention over it.
//!
//! A layer's cache takes the new keys and values and computes attention itself ([`LayerCache::attend`]), because how
//! keys are stored decides how they are multiplied. Semantics as in mlx-lm 0.32.2 (`models/cache.py`).
#![forbid(unsafe_code)]

mod aligned;
mod attention;
mod kv;
mod mask;
mod quantized;
mod rotating;

use aligned::Aligned;
pub use attention::{AttentionParams, attend};
use kv::Kv;
pub use mask::Visible;
pub(crate) use mask::causal_mask;
use quantized::QuantizedKv;
use rotating::Rotating;

use crate::array::cpu::{self, CachedAttention, Store};
use crate::array::cuda;
use crate::array::fast::Mask;
use crate::array::quant::{Mode, Scheme};
use crate::array::{Array, concatenate};
use crate::error::{Error, Result};

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CacheOptions {
    /// Layers without a window keep only the first four and the latest positions, this many in all.
    pub max_kv_size: Option<i32>,
    /// Keys and values of layers that keep everything are quantized.
    pub quantization: Option<KvQuantization>,
}

/// Quantization of keys and values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KvQuantization {
    /// 2, 3, 4, 5, 6 or 8.
    pub bits: i32,
    /// 32, 64 or 128; the head size must be a multiple.
    pub group_size: i32,
    /// The position from which on a sequence is quantized.
    pub start: i32,
}

impl CacheOptions {
    /// Checks what can be checked without a model.
    ///
    /// # Errors
    /// `InvalidArgument`
    pub fn validate(&self) -> Result<()> {
        if self.max_kv_size.is_some_and(|n| n <= KEPT) {
            return Err(Error::invalid_argument(format!("max_kv_size must be more than {KEPT}")));
        }
        self.quantization.map_or(Ok(()), |q| q.validate())
    }
}

impl KvQuantization {
    fn validate(&self) -> Result<()> {
        match matches!(self.bits, 2..=6 | 8) && matches!(self.group_size, 32 | 64 | 128) && self.start >= 0 {
            true => Ok(()),
            false => Err(Error::invalid_argument(format!(
                "no quantization of {} bits in groups of {}",
                self.bits, self.group_size
            ))),
        }
    }

    fn scheme(&self) -> Scheme {
        Scheme { mode: Mode::Affine, bits: self.bits, group_size: self.group_size }
    }
}

/// What a layer needs a cache to remember.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LayerCacheSpec {
    /// All positions, with keys and values of these head sizes.
    Full {
        /// Features of a key's head.
        key_dim: i32,
        /// Features of a value's head.
        value_dim: i32,
    },
    /// The latest positions only.
    Window(i32),
}

/// Positions that a bounded cache keeps from the beginning of the sequence.
const KEPT: i32 = 4;

/// How the caches of sequences that are decoded together are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As they are, each for itself: the CPU kernels attend over all of them in one operation.
    Rows,
    /// In one buffer, where that is possible, because on a GPU every operation costs time of the host.
    Aligned,
}

impl Layout {
    /// The better one on this thread's device.
    pub fn best() -> Layout {
        if cpu::active() { Layout::Rows } else { Layout::Aligned }
    }
}

/// The state of all layers for one sequence, or for several that are decoded together.
pub struct Cache {
    /// One a layer.
    pub layers: Vec<LayerCache>,
    quantization: Option<KvQuantization>,
}

impl Cache {
    /// An empty cache.
    pub fn new(layers: impl IntoIterator<Item = LayerCacheSpec>, options: &CacheOptions) -> Result<Cache> {
        let layers: Vec<LayerCacheSpec> = layers.into_iter().collect();
        options.validate()?;
        if let Some(q) = options.quantization {
            for spec in &layers {
                if let LayerCacheSpec::Full { key_dim, value_dim } = *spec {
                    check_quantization(q, key_dim)?;
                    check_quantization(q, value_dim)?;
                }
            }
        }
        let layers = layers
            .into_iter()
            .map(|spec| match (spec, options.max_kv_size) {
                (LayerCacheSpec::Window(size), _) => LayerCache::Rotating(Rotating::new(size, 0)),
                (LayerCacheSpec::Full { .. }, Some(size)) => LayerCache::Rotating(Rotating::new(size, KEPT)),
                (LayerCacheSpec::Full { .. }, None) if cpu::active() => LayerCache::Stored(Store::default()),
                (LayerCacheSpec::Full { .. }, None) => LayerCache::Kv(Kv::default()),
            })
            .collect();
        Ok(Cache { layers, quantization: options.quantization })
    }

    /// How many positions have been processed.
    pub fn position(&self) -> i32 {
        self.layers.first().map_or(0, LayerCache::position)
    }

    /// The same for each sequence; one number where the cache does not tell them apart.
    pub fn positions(&self) -> Vec<i32> {
        self.layers.first().map_or_else(Vec::new, LayerCache::positions)
    }

    /// Adds a sequence, of the same model and with the same options, behind those that are here. From then on steps are
    /// `[sequences, 1]`. After an error neither is to be used.
    pub fn push(&mut self, other: Cache, layout: Layout) -> Result<()> {
        if self.quantization != other.quantization || self.layers.len() != other.layers.len() {
            return Err(Error::internal("caches of different kinds cannot be joined"));
        }
        // What is going to be quantized is kept apart.
        let layout = if self.quantization.is_some() { Layout::Rows } else { layout };
        for (layer, other) in self.layers.iter_mut().zip(other.layers) {
            layer.push(other, layout)?;
        }
        Ok(())
    }

    /// Takes a sequence out; at least one stays. After an error the cache is not to be used.
    pub fn remove(&mut self, row: usize) -> Result<Cache> {
        let layers = self.layers.iter_mut().map(|layer| layer.remove(row)).collect::<Result<_>>()?;
        Ok(Cache { layers, quantization: self.quantization })
    }

    /// The arrays to compute so that the cache depends on nothing that is still to be computed.
    pub fn arrays(&self) -> Vec<&Array> {
        self.layers.iter().flat_map(LayerCache::arrays).collect()
    }

    /// Quantizes layers that have passed the configured position. Called after each chunk and step.
    pub fn settle(&mut self) -> Result<()> {
        let Some(q) = self.quantization else { return Ok(()) };
        self.layers.iter_mut().try_for_each(|layer| layer.settle(q))
    }

    /// Forgets the last `positions` of one sequence. Returns false, changing nothing, where some layer no longer could.
    pub fn trim(&mut self, positions: i32) -> bool {
        if positions == 0 {
            return true;
        }
        let possible = self.layers.iter().all(|layer| match layer {
            LayerCache::Rotating(r) => r.can_trim(),
            LayerCache::Rows(_) | LayerCache::Aligned(_) => false,
            _ => true,
        });
        if !possible || positions > self.position() {
            return false;
        }
        for layer in &mut self.layers {
            match layer {
                LayerCache::Kv(kv) => kv.trim(positions),
                LayerCache::Stored(store) => store.trim(positions),
                LayerCache::Quantized(kv) => kv.trim(positions),
                LayerCache::Rotating(r) => r.trim(positions),
                LayerCache::Rows(_) | LayerCache::Aligned(_) => unreachable!("refused above"),
            }
        }
        true
    }
}

fn check_quantization(q: KvQuantization, head_dim: i32) -> Result<()> {
    match head_dim % q.group_size {
        0 => Ok(()),
        _ => Err(Error::invalid_argument(format!(
            "keys and values of {head_dim} features cannot be quantized in groups of {}",
            q.group_size
        ))),
    }
}

/// The state of one attention layer.
pub enum LayerCache {
    /// All positions as they are.
    Kv(Kv),
    /// The same for the CPU kernels.
    Stored(Store),
    /// All positions, quantized.
    Quantized(QuantizedKv),
    /// The latest positions.
    Rotating(Rotating),
    /// Several sequences, each as it is.
    Rows(Vec<LayerCache>),
    /// Several sequences in one buffer.
    Aligned(Aligned),
}

impl LayerCache {
    fn push(&mut self, other: LayerCache, layout: Layout) -> Result<()> {
        match self {
            LayerCache::Rows(rows) => rows.push(other),
            LayerCache::Aligned(aligned) => {
                let other = Aligned::new(&other)?.ok_or_else(|| Error::internal("caches of different kinds"))?;
                aligned.push(other)?;
            }
            _ => {
                if layout == Layout::Aligned
                    && let (Some(mut aligned), Some(other)) = (Aligned::new(self)?, Aligned::new(&other)?)
                {
                    aligned.push(other)?;
                    *self = LayerCache::Aligned(aligned);
                    return Ok(());
                }
                let first = std::mem::replace(self, LayerCache::Rows(Vec::new()));
                *self = LayerCache::Rows(vec![first, other]);
            }
        }
        Ok(())
    }

    /// What is left of two sequences is again a cache of one.
    fn remove(&mut self, row: usize) -> Result<LayerCache> {
        match self {
            LayerCache::Rows(rows) if row < rows.len() && rows.len() > 1 => {
                let removed = rows.remove(row);
                if let [_] = rows[..] {
                    *self = rows.remove(0);
                }
                Ok(removed)
            }
            LayerCache::Aligned(aligned) if row < aligned.positions().len() && aligned.positions().len() > 1 => {
                let removed = aligned.row(row)?;
                match aligned.positions().len() {
                    2 => *self = aligned.row(1 - row)?,
                    _ => aligned.remove(row)?,
                }
                Ok(removed)
            }
            _ => Err(Error::internal(format!("there is no sequence {row} that could leave"))),
        }
    }

    fn settle(&mut self, q: KvQuantization) -> Result<()> {
        let (keys, values) = match self {
            LayerCache::Rows(rows) => return rows.iter_mut().try_for_each(|row| row.settle(q)),
            LayerCache::Kv(kv) if kv.position() > 0 && kv.position() >= q.start => kv.all()?,
            LayerCache::Stored(store) if !store.is_empty() && store.len() >= q.start => store.all()?,
            _ => return Ok(()),
        };
        *self = LayerCache::Quantized(QuantizedKv::new(&keys, &values, q.scheme())?);
        Ok(())
    }

    fn positions(&self) -> Vec<i32> {
        match self {
            LayerCache::Rows(rows) => rows.iter().map(LayerCache::position).collect(),
            LayerCache::Aligned(aligned) => aligned.positions().to_vec(),
            _ => vec![self.position()],
        }
    }

    /// What distinguishes the masks of layers in one step: those of the same window have the same.
    pub fn window(&self) -> Option<i32> {
        match self {
            LayerCache::Rotating(r) => Some(r.size()),
            LayerCache::Aligned(aligned) => aligned.window(),
            _ => None,
        }
    }

    /// How many positions have been processed: the position of the next token (of the first sequence).
    pub fn position(&self) -> i32 {
        match self {
            LayerCache::Kv(kv) => kv.position(),
            LayerCache::Stored(store) => store.len(),
            LayerCache::Quantized(kv) => kv.position(),
            LayerCache::Rotating(r) => r.position(),
            LayerCache::Rows(rows) => rows.first().map_or(0, LayerCache::position),
            LayerCache::Aligned(aligned) => aligned.positions().first().copied().unwrap_or(0),
        }
    }

    /// The mask for `n` new positions.
    ///
    /// # Errors
    /// If several positions of sequences that are decoded together are to see otherwise than causally.
    pub fn mask(&self, n: i32, visible: &Visible) -> Result<Mask> {
        match self {
            LayerCache::Aligned(aligned) if n == 1 => aligned.mask(),
            LayerCache::Aligned(_) | LayerCache::Rows(_) if n > 1 && *visible != Visible::Causal => {
                Err(Error::invalid_argument("sequences that are decoded together see causally"))
            }
            LayerCache::Aligned(aligned) => aligned.mask(),
            LayerCache::Rotating(r) => visible.mask(n, r.before(), Some(r.size())),
            _ => visible.mask(n, self.position(), None),
        }
    }

    /// Appends keys and values, `[batch, kv heads, length, features]`, and attends with `queries`,
    /// `[batch, heads, length, features]`, over all that is remembered.
    pub fn attend(
        &mut self,
        queries: &Array,
        keys: &Array,
        values: &Array,
        mask: &Mask,
        params: &AttentionParams,
    ) -> Result<Array> {
        match self {
            LayerCache::Kv(kv) => {
                let (keys, values) = kv.append(keys, values)?;
                attention::attend(queries, &keys, &values, mask, params)
            }
            LayerCache::Rotating(r) => {
                let (keys, values) = r.append(keys, values)?;
                attention::attend(queries, &keys, &values, mask, params)
            }
            LayerCache::Quantized(kv) => kv.attend(queries, keys, values, mask, params),
            LayerCache::Aligned(aligned) => aligned.attend(queries, keys, values, mask, params),
            LayerCache::Stored(store) => attend_stored(&mut [store], queries, keys, values, mask, params),
            LayerCache::Rows(rows) => {
                if let Some(mut stores) = stores(rows) {
                    return attend_stored(&mut stores, queries, keys, values, mask, params);
                }
                let n = queries.dim(2);
                let attend = |(row, i): (&mut LayerCache, i32)| {
                    let of = |a: &Array| a.slice_axis(0, i, i + 1);
                    let mask = row.mask(n, &Visible::Causal)?;
                    row.attend(&of(queries)?, &of(keys)?, &of(values)?, &mask, params)
                };
                concatenate(&rows.iter_mut().zip(0..).map(attend).collect::<Result<Vec<_>>>()?, 0)
            }
        }
    }

    /// Attends with `queries` over what is remembered and adds nothing: for a layer that shares the keys and values of
    /// this one, after this one has attended in the same step. `mask` is the one that it did so with.
    pub fn attend_again(&self, queries: &Array, mask: &Mask, params: &AttentionParams) -> Result<Array> {
        let (keys, values) = match self {
            LayerCache::Kv(kv) => kv.all()?,
            LayerCache::Stored(store) => store.all()?,
            LayerCache::Rotating(r) => r.seen()?,
            LayerCache::Aligned(aligned) => aligned.seen_last()?,
            LayerCache::Quantized(kv) => return kv.attend_again(queries, mask, params),
            LayerCache::Rows(rows) => {
                let attend = |(row, i): (&LayerCache, i32)| {
                    // Of the mask for all only whether there is one can be used.
                    let mask = match (mask, row) {
                        (Mask::None, _) => Mask::None,
                        (_, LayerCache::Rotating(r)) => r.mask_again(queries.dim(2))?,
                        _ => Mask::Causal,
                    };
                    row.attend_again(&queries.slice_axis(0, i, i + 1)?, &mask, params)
                };
                return concatenate(&rows.iter().zip(0..).map(attend).collect::<Result<Vec<_>>>()?, 0);
            }
        };
        attention::attend(queries, &keys, &values, mask, params)
    }

    /// Does what `attention` describes with queries, keys and values as the projections made them, `[batch, length,
    /// heads * features]`, where this cache can.
    pub fn attend_fused(
        &mut self,
        attention: &CachedAttention,
        q: &Array,
        k: &Array,
        v: &Array,
        mask: &Mask,
    ) -> Option<Result<Array>> {
        match self {
            _ if attention::differs_by_sequence(mask) && !matches!(self, LayerCache::Aligned(_)) => None,
            LayerCache::Stored(store) => Some(attention.run(q, k, v, mask, &mut [store])),
            LayerCache::Rows(rows) => stores(rows).map(|mut stores| attention.run(q, k, v, mask, &mut stores)),
            LayerCache::Kv(kv) if cuda::attends(attention, q, k) => {
                Some(kv.attend(attention, [q, k, v], &vec![kv.position(); q.dim(0) as usize]))
            }
            LayerCache::Aligned(aligned) if aligned.window().is_none() && cuda::attends(attention, q, k) => {
                Some(aligned.attend_fused(attention, [q, k, v]))
            }
            _ => None,
        }
    }

    fn arrays(&self) -> Vec<&Array> {
        match self {
            LayerCache::Kv(kv) => kv.arrays(),
            LayerCache::Stored(store) => store.arrays().collect(),
            LayerCache::Quantized(kv) => kv.arrays(),
            LayerCache::Rotating(r) => r.arrays(),
            LayerCache::Rows(rows) => rows.iter().flat_map(LayerCache::arrays).collect(),
            LayerCache::Aligned(aligned) => aligned.arrays(),
        }
    }
}

/// The stores of sequences, if all have one.
fn stores(rows: &mut [LayerCache]) -> Option<Vec<&mut Store>> {
    rows.iter_mut()
        .map(|row| match row {
            LayerCache::Stored(store) => Some(store),
            _ => None,
        })
        .collect()
}

/// [`LayerCache::attend`] over one store of all sequences, or one of each.
fn attend_stored(
    stores: &mut [&mut Store],
    queries: &Array,
    keys: &Array,
    values: &Array,
    mask: &Mask,
    params: &AttentionParams,
) -> Result<Array> {
    let (heads, head_dim) = (queries.dim(1), queries.dim(3));
    let flat = |a: &Array| a.swap_axes(1, 2)?.reshape(&[a.dim(0), a.dim(2), a.dim(1) * a.dim(3)]);
    let attention = CachedAttention {
        heads,
        kv_heads: keys.dim(1),
        head_dim,
        scale: params.scale,
        softcap: params.softcap,
        norms: None,
        rotation: None,
        prepared: Default::default(),
    };
    let [q, k, v] = [flat(queries)?, flat(keys)?, flat(values)?];
    if let ([store], true) = (&mut *stores, attention::differs_by_sequence(mask)) {
        // The kernel knows one mask for all; here it only appends.
        attention.run(&q, &k, &v, &Mask::Causal, &mut [store])?;
        let (keys, values) = store.all()?;
        return attention::attend(queries, &keys, &values, mask, params);
    }
    let out = attention.run(&q, &k, &v, mask, stores)?;
    out.reshape(&[out.dim(0), out.dim(1), heads, head_dim])?.swap_axes(1, 2)
}
