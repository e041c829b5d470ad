//! Multi-head latent attention (DeepSeek-AI 2024, arXiv:2405.04434): keys and values of all heads are linear maps of one
//! small vector per position, and that vector is what is remembered, beside a rotated key that all heads share.
//!
//! Few new positions attend to the latent vectors themselves: the map to keys is applied to queries, the map to values to
//! results ("absorbed"). Many new positions are cheaper with keys and values written out.

use super::kind::{Mix, MixerShape, MixerSpec, SharedKv};
use super::temperature::Temperature;
use crate::array::fused::{self, Scores, Values};
use crate::array::{Array, concatenate, zeros};
use crate::cache::{State, StateSpec};
use crate::error::{Error, Result};
use crate::models::config::{invalid, size};
use crate::models::decoder::pass::{At, Memory, Residual, StateUse};
use crate::models::shape::StateShape;
use crate::nn::rope::RopeScaling;
use crate::nn::{Heads, Input, Joint, Linear, Norm, NormSpec, RopeSpec};
use crate::weights::Weights;

/// Multi-head latent attention.
#[derive(Clone, Debug, PartialEq)]
pub struct MlaSpec {
    /// Heads.
    pub heads: i32,
    /// Features of the latent vector that queries are made of; `None` where they are made of the input.
    pub query_rank: Option<i32>,
    /// Features of the latent vector that keys and values are made of.
    pub rank: i32,
    /// Features of a head of queries and keys that are not rotated.
    pub nope_dim: i32,
    /// Features that are, or that at least all heads of keys share.
    pub rope_dim: i32,
    /// Features of a head of values.
    pub value_dim: i32,
    /// Whether the projections of the input, and the output, have biases.
    pub bias: bool,
    /// The norms of the latent vectors.
    pub norm: NormSpec,
    /// Scales of the latent vectors, that of queries first, after the norms.
    pub latent_scale: [Option<f32>; 2],
    /// RoPE of `rope_dim` features; `None` where positions are not encoded.
    pub rope: Option<RopeSpec>,
    /// Scale of the scores.
    pub scale: f32,
    /// How queries grow with their position.
    pub temperature: Option<Temperature>,
    /// Where it is within the layer.
    pub name: &'static str,
}

impl MlaSpec {
    /// Scaled by the size of a head, and by what YaRN's `mscale_all_dim` makes of it.
    pub fn scale(nope_dim: i32, rope_dim: i32, rope: Option<&RopeSpec>) -> f32 {
        let plain = f64::from(nope_dim + rope_dim).powf(-0.5);
        let scale = match rope.map(|rope| &rope.scaling) {
            Some(&RopeScaling::Yarn { factor, mscale_all_dim, .. }) if factor > 1.0 && mscale_all_dim != 0.0 => {
                plain * (0.1 * f64::from(mscale_all_dim) * f64::from(factor).ln() + 1.0).powi(2)
            }
            _ => plain,
        };
        scale as f32
    }

    /// From how many new positions on it is less work to write keys and values out. That takes `rank * (nope + value)`
    /// products a remembered position and head; what it saves is in the features of scores and weighted sums.
    fn written_out_from(&self) -> i32 {
        let saved = 2 * self.rank - self.nope_dim - self.value_dim;
        if saved <= 0 { 2 } else { (self.rank * (self.nope_dim + self.value_dim) / saved).max(2) }
    }
}

impl MixerSpec for MlaSpec {
    fn validate(&self, state: StateUse) -> Result<()> {
        size("num_attention_heads", self.heads, 1 << 12)?;
        size("q_lora_rank", self.query_rank.unwrap_or(1), 1 << 16)?;
        for (key, n) in [
            ("kv_lora_rank", self.rank),
            ("qk_nope_head_dim", self.nope_dim),
            ("qk_rope_head_dim", self.rope_dim),
            ("v_head_dim", self.value_dim),
        ] {
            size(key, n, 1 << 13)?;
        }
        if let Some(rope) = &self.rope {
            rope.validate()?;
            if rope.dims > self.rope_dim {
                return Err(invalid(format!("{} rotated features of {}", rope.dims, self.rope_dim)));
            }
        }
        if let Some(temperature) = &self.temperature {
            temperature.validate()?;
        }
        if !self.scale.is_finite() {
            return Err(invalid(format!("the attention's scale is {}", self.scale)));
        }
        match state {
            StateUse::SharedWith(_) => Err(invalid("latent attention cannot share the state of another layer".into())),
            StateUse::Own | StateUse::None => Ok(()),
        }
    }

    fn load(&self, hidden: i32, _: StateUse, path: &str, w: &Weights) -> Result<Box<dyn Mix>> {
        Ok(Box::new(Mla::load(self, hidden, path, w)?))
    }

    fn state(&self) -> StateSpec {
        StateSpec::Full { key_dim: self.rank + self.rope_dim, value_dim: 0 }
    }

    fn shared(&self) -> Option<SharedKv> {
        None
    }

    /// Where the base of RoPE depends on the last position.
    fn depends_on_chunks(&self) -> bool {
        self.rope.as_ref().is_some_and(|rope| matches!(rope.scaling, RopeScaling::Dynamic { .. }))
    }

    fn shape(&self, hidden: u64, _: StateUse) -> MixerShape {
        let [heads, rank, rope, nope, value] =
            [self.heads, self.rank, self.rope_dim, self.nope_dim, self.value_dim].map(|n| n as u64);
        let bias = u64::from(self.bias);
        let queries = heads * (nope + rope);
        let made = match self.query_rank.map(|n| n as u64) {
            Some(n) => n * (hidden + bias + 1) + n * queries,
            None => queries * hidden,
        };
        let latent = (rank + rope) * (hidden + bias) + rank;
        MixerShape {
            parameters: made + latent + heads * (nope + value) * rank + heads * value * hidden + bias * hidden,
            state: StateShape::KeysAndValues { each: rank + rope, window: None },
            results: vec![hidden, queries + rank + rope, heads * (rank + rope), heads * rank, heads * value],
        }
    }
}

struct Mla {
    spec: MlaSpec,
    projections: Projections,
    kv_norm: Norm,
    /// From the latent vector to the keys of each head without their rotated part, transposed: `[heads, rank, nope]`.
    keys: Heads,
    /// From the latent vector to the values of each head: `[heads, value, rank]`.
    values: Heads,
    output: Linear,
    rotation: Option<fused::Rotation>,
    /// Attention to latent vectors.
    absorbed: fused::Attention,
    written_out_from: i32,
}

/// Maps of the input to queries, or the latent vector that they are made of, and to the latent vector with shared key.
enum Projections {
    Queries(Joint<2>),
    Latent { both: Joint<2>, norm: Norm, queries: Linear },
}

impl Mla {
    fn load(spec: &MlaSpec, hidden: i32, path: &str, w: &Weights) -> Result<Mla> {
        let path = format!("{path}.{}", spec.name);
        let at = |name: &str| format!("{path}.{name}");
        let (heads, key_dim) = (spec.heads, spec.rank + spec.rope_dim);
        let queries = heads * (spec.nope_dim + spec.rope_dim);
        let kv = (at("kv_a_proj_with_mqa"), key_dim);
        let projections = match spec.query_rank {
            None => Projections::Queries(Joint::of([
                Linear::load(w, &at("q_proj"), hidden, queries, false)?,
                Linear::load(w, &kv.0, hidden, kv.1, spec.bias)?,
            ])),
            Some(rank) => Projections::Latent {
                both: Joint::separate(w, [(at("q_a_proj"), rank), kv], hidden, spec.bias)?,
                norm: Norm::load(w, &at("q_a_layernorm"), rank, spec.norm)?,
                queries: Linear::load(w, &at("q_b_proj"), rank, queries, false)?,
            },
        };
        let (keys, values) = match w.has(&at("kv_b_proj.weight")) {
            // As published: of each head the rows of keys, then those of values.
            true => Heads::pair(w, &at("kv_b_proj"), heads, [spec.nope_dim, spec.value_dim], spec.rank)?,
            false => (
                Heads::load(w, &at("embed_q"), heads, spec.rank, spec.nope_dim)?,
                Heads::load(w, &at("unembed_out"), heads, spec.value_dim, spec.rank)?,
            ),
        };
        let absorbed = fused::Attention {
            value_dim: spec.rank,
            values: Values::OfKeys,
            ..fused::Attention::plain(heads, 1, key_dim, Scores::scaled(spec.scale))
        };
        Ok(Mla {
            projections,
            kv_norm: Norm::load(w, &at("kv_a_layernorm"), spec.rank, spec.norm)?,
            keys,
            values,
            output: Linear::load(w, &at("o_proj"), heads * spec.value_dim, hidden, spec.bias)?,
            rotation: spec.rope.as_ref().map(RopeSpec::rotation).transpose()?,
            absorbed,
            written_out_from: spec.written_out_from(),
            spec: spec.clone(),
        })
    }

    /// Queries without and with rotation, `[batch, heads, length, ..]`, and keys with latent vectors first, `[batch, 1,
    /// length, rank + rope]`.
    fn project(&self, x: Input, at: &At) -> Result<[Array; 3]> {
        let spec = &self.spec;
        let scaled = |x: Array, scale: Option<f32>| match scale {
            Some(scale) => x * scale,
            None => Ok(x),
        };
        let (q, kv) = match &self.projections {
            Projections::Queries(both) => both.forward(x)?.into(),
            Projections::Latent { both, norm, queries } => {
                let [latent, kv] = both.forward(x)?;
                (queries.forward(&scaled(norm.forward(&latent)?, spec.latent_scale[0])?)?, kv)
            }
        };
        let (batch, length) = (q.dim(0), q.dim(1));
        let mut q = q.reshape(&[batch, length, spec.heads, spec.nope_dim + spec.rope_dim])?.swap_axes(1, 2)?;
        if let Some(temperature) = &spec.temperature {
            q = (&q * temperature.factors(at.offset, length, q.dtype())?)?;
        }
        let kv = kv.expand_dims(1)?;
        let (q, mut q_rope) = halves(&q, spec.nope_dim)?;
        let (latent, mut k_rope) = halves(&kv, spec.rank)?;
        let latent = scaled(self.kv_norm.forward(&latent)?, spec.latent_scale[1])?;
        if let Some(rotation) = &self.rotation {
            q_rope = fused::rotate(&q_rope, rotation, at.offset)?;
            k_rope = fused::rotate(&k_rope, rotation, at.offset)?;
        }
        Ok([q, q_rope, concatenate([&latent, &k_rope], -1)?])
    }

    /// Attention to keys and values written out, from latent vectors with shared keys. The result is `[batch, heads,
    /// length, value]`.
    fn written_out(&self, [q, q_rope]: [&Array; 2], all: &Array, at: &At) -> Result<Array> {
        let (latent, shared) = halves(all, self.spec.rank)?;
        let (keys, values) = (self.keys.transposed(&latent)?, self.values.forward(&latent)?);
        let mut shape = keys.shape().to_vec();
        shape[3] = self.spec.rope_dim;
        let keys = concatenate([&keys, &shared.broadcast_to(&shape)?], -1)?;
        fused::attention(&concatenate([q, q_rope], -1)?, &keys, &values, &at.mask, &self.absorbed.scores)
    }

    /// Attention to latent vectors: they are in `state`, to which `keys` are added, or are only those of `keys`.
    fn absorb(&self, qs: [&Array; 2], keys: &Array, state: Option<&mut dyn State>, at: &At) -> Result<Array> {
        let [q, q_rope] = qs;
        let q = concatenate([&self.keys.forward(q)?, q_rope], -1)?;
        let (batch, length, rank) = (q.dim(0), q.dim(2), self.spec.rank);
        let out = match state {
            Some(state) => {
                let none = zeros(&[batch, length, 0], keys.dtype())?;
                let at = fused::At { offset: at.offset, held: None, mask: &at.mask };
                state.attend(&self.absorbed, [&fused::merged(&q)?, &fused::merged(keys)?, &none], &at)?
            }
            None => fused::over(&self.absorbed, &q, keys, keys, &at.mask)?,
        };
        let out = out.reshape(&[batch, length, self.spec.heads, rank])?.swap_axes(1, 2)?;
        self.values.forward(&out)
    }
}

impl Mix for Mla {
    fn forward(&self, x: Input, at: &At, memory: Memory, onto: Option<Residual>) -> Result<Array> {
        let [q, q_rope, keys] = self.project(x, at)?;
        let qs = [&q, &q_rope];
        let many = q.dim(2) >= self.written_out_from;
        let out = match memory {
            Memory::None if many => self.written_out(qs, &keys, at)?,
            Memory::None => self.absorb(qs, &keys, None, at)?,
            Memory::Own(state) => {
                let mut all = None;
                if many {
                    let mut shape = keys.shape().to_vec();
                    shape[3] = 0;
                    all = state.extend(&keys, &zeros(&shape, keys.dtype())?)?;
                }
                match all {
                    Some((all, _)) => self.written_out(qs, &all, at)?,
                    None => self.absorb(qs, &keys, Some(state), at)?,
                }
            }
            Memory::Shared(_) | Memory::Each(_) => {
                return Err(Error::internal("latent attention over the state of another layer"));
            }
        };
        Residual::add(onto, &self.output, &fused::merged(&out)?)
    }
}

/// The first `n` features, and the others.
fn halves(x: &Array, n: i32) -> Result<(Array, Array)> {
    Ok((x.slice_axis(-1, 0, n)?, x.slice_axis(-1, n, x.dim(-1))?))
}
