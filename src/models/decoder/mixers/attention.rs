//! Softmax attention with grouped queries.

use super::kind::{Mix, MixerShape, MixerSpec, SharedKv};
use super::temperature::Temperature;
use crate::array::fused::{self, HeadNorms, Scores};
use crate::array::{Array, Dtype, stack};
use crate::cache::StateSpec;
use crate::error::{Error, Result};
use crate::models::config::{invalid, size};
use crate::models::decoder::pass::{At, Memory, Residual, StateUse};
use crate::models::shape::StateShape;
use crate::nn::rope::RopeScaling;
use crate::nn::{Input, Joint, Linear, Norm, NormSpec, RopeSpec};
use crate::weights::Weights;

/// Softmax attention with grouped queries.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionSpec {
    /// Query heads.
    pub heads: i32,
    /// Key and value heads; divides `heads`.
    pub kv_heads: i32,
    /// Features of a head.
    pub head_dim: i32,
    /// Features of a head of values, if it has others.
    pub value_dim: Option<i32>,
    /// Biases of the projections.
    pub bias: AttentionBias,
    /// Norms of queries and keys.
    pub qk_norm: QkNorm,
    /// RoPE; `None` where positions are not encoded.
    pub rope: Option<RopeSpec>,
    /// How many positions a query sees, itself included; all if none.
    pub window: Option<i32>,
    /// Scale of the scores.
    pub scale: f32,
    /// Scores become `tanh(scores / cap) * cap`.
    pub softcap: Option<f32>,
    /// How queries grow with their position.
    pub temperature: Option<Temperature>,
    /// Scale of values.
    pub value_scale: Option<f32>,
    /// A learned score of each head, which takes part in its softmax and weighs no value.
    pub sinks: Option<&'static str>,
    /// Names of its weights.
    pub names: AttentionNames,
}

/// Names of the weights of an attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttentionNames {
    /// The attention within the layer; the others are within it.
    pub attention: &'static str,
    /// The q, k and v projections.
    pub qkv: QkvNames,
    /// The output projection.
    pub output: &'static str,
    /// The norms of queries and keys.
    pub qk_norm: [&'static str; 2],
}

/// How the q, k and v projections are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkvNames {
    /// One matrix each.
    Separate([&'static str; 3]),
    /// One fused matrix: the rows of q, then k, then v.
    Fused(&'static str),
    /// One matrix each; that of q has after the rows of each head as many for a gate, whose sigmoid the head's result
    /// is multiplied by.
    WithGates([&'static str; 3]),
}

impl QkvNames {
    /// Rows of the q projection for each feature of a query.
    fn rows(self) -> i32 {
        if matches!(self, QkvNames::WithGates(_)) { 2 } else { 1 }
    }
}

impl Default for AttentionNames {
    /// Llama's names.
    fn default() -> Self {
        AttentionNames {
            attention: "self_attn",
            qkv: QkvNames::Separate(["q_proj", "k_proj", "v_proj"]),
            output: "o_proj",
            qk_norm: ["q_norm", "k_norm"],
        }
    }
}

/// Biases of an attention's projections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionBias {
    /// None.
    None,
    /// On q, k and v.
    Qkv,
    /// On the output.
    Output,
    /// On q, k, v and the output.
    All,
}

impl AttentionBias {
    /// What `attention_bias` says.
    pub fn all_if(bias: bool) -> AttentionBias {
        AttentionBias::of(bias, bias)
    }

    /// What two settings say, of q, k and v, and of the output.
    pub fn of(qkv: bool, output: bool) -> AttentionBias {
        match (qkv, output) {
            (false, false) => AttentionBias::None,
            (true, false) => AttentionBias::Qkv,
            (false, true) => AttentionBias::Output,
            (true, true) => AttentionBias::All,
        }
    }

    fn on_qkv(self) -> bool {
        matches!(self, AttentionBias::Qkv | AttentionBias::All)
    }

    fn on_output(self) -> bool {
        matches!(self, AttentionBias::Output | AttentionBias::All)
    }
}

/// Norms of queries and keys.
#[derive(Clone, Debug, PartialEq)]
pub enum QkNorm {
    /// None.
    None,
    /// Over each head, the same weights for all heads.
    Head(NormSpec),
    /// Over all heads together.
    Projection(NormSpec),
    /// Mean and variance over each head, then separate weights for each head.
    EachHead {
        /// Added to the variance.
        eps: f32,
        /// How the weights are stored.
        weights: HeadWeights,
    },
}

/// How weights that differ by head are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadWeights {
    /// `{norm}.weight`, `[heads, head_dim]`.
    Matrix,
    /// `{norm}.norms.{head}.weight`, `[head_dim]` each.
    List,
}

impl AttentionSpec {
    /// Full attention without biases and norms, scaled by `1 / sqrt(head_dim)`, with Llama's names.
    pub fn new(heads: i32, kv_heads: i32, head_dim: i32, rope: RopeSpec) -> AttentionSpec {
        AttentionSpec {
            heads,
            kv_heads,
            head_dim,
            value_dim: None,
            bias: AttentionBias::None,
            qk_norm: QkNorm::None,
            rope: Some(rope),
            window: None,
            scale: (f64::from(head_dim).powf(-0.5)) as f32,
            softcap: None,
            temperature: None,
            value_scale: None,
            sinks: None,
            names: AttentionNames::default(),
        }
    }
}

impl AttentionSpec {
    /// Features of a head of values.
    fn value_dim(&self) -> i32 {
        self.value_dim.unwrap_or(self.head_dim)
    }
}

impl MixerSpec for AttentionSpec {
    fn validate(&self, state: StateUse) -> Result<()> {
        size("num_attention_heads", self.heads, 1 << 12)?;
        size("num_key_value_heads", self.kv_heads, 1 << 12)?;
        size("head_dim", self.head_dim, 1 << 14)?;
        size("v_head_dim", self.value_dim(), 1 << 14)?;
        if self.heads % self.kv_heads != 0 {
            return Err(invalid(format!(
                "num_attention_heads {} is not a multiple of num_key_value_heads {}",
                self.heads, self.kv_heads
            )));
        }
        if let Some(window) = self.window {
            size("sliding_window", window, 1 << 30)?;
        }
        if let Some(rope) = &self.rope {
            rope.validate()?;
            if rope.dims > self.head_dim {
                return Err(invalid(format!("{} rotated features in heads of {}", rope.dims, self.head_dim)));
            }
        }
        if !self.scale.is_finite() {
            return Err(invalid(format!("the attention's scale is {}", self.scale)));
        }
        if let Some(temperature) = &self.temperature {
            temperature.validate()?;
            // Each undoes the other, and nobody has both.
            if !matches!(self.qk_norm, QkNorm::None | QkNorm::Projection(_)) || state != StateUse::Own {
                return Err(invalid("queries that grow with their position, and are normed by heads".into()));
            }
        }
        match (state, self.names.qkv) {
            (StateUse::SharedWith(_), QkvNames::Fused(name) | QkvNames::WithGates([_, name, _])) => {
                Err(invalid(format!("{name} has keys, and the layer those of another")))
            }
            _ => Ok(()),
        }
    }

    fn load(&self, hidden: i32, state: StateUse, path: &str, w: &Weights) -> Result<Box<dyn Mix>> {
        Ok(Box::new(Attention::load(self, hidden, state, path, w)?))
    }

    fn state(&self) -> StateSpec {
        match self.window {
            Some(window) => StateSpec::Window(window),
            None => StateSpec::Full { key_dim: self.head_dim, value_dim: self.value_dim() },
        }
    }

    fn shared(&self) -> Option<SharedKv> {
        Some(SharedKv { kv_heads: self.kv_heads, head_dim: self.head_dim, window: self.window })
    }

    /// Where the base of RoPE depends on the last position.
    fn depends_on_chunks(&self) -> bool {
        self.rope.as_ref().is_some_and(|rope| matches!(rope.scaling, RopeScaling::Dynamic { .. }))
    }

    fn shape(&self, hidden: u64, state: StateUse) -> MixerShape {
        let [heads, kv_heads, dim, value] =
            [self.heads, self.kv_heads, self.head_dim, self.value_dim()].map(|n| n as u64);
        // Keys of another layer need neither projections nor norms.
        let made = if matches!(state, StateUse::SharedWith(_)) { 0 } else { kv_heads };
        let queries = heads * dim;
        let result = heads * value;
        let projected = (heads * self.names.qkv.rows() as u64 + made) * dim + made * value;
        let bias = if self.bias.on_qkv() { projected } else { 0 };
        let bias = bias + if self.bias.on_output() { hidden } else { 0 };
        let norms = match &self.qk_norm {
            QkNorm::None => 0,
            QkNorm::Head(norm) => norm.parameters(dim) * (1 + made.min(1)),
            QkNorm::Projection(norm) => norm.parameters(queries) + norm.parameters(made * dim),
            QkNorm::EachHead { .. } => (heads + made) * dim,
        };
        MixerShape {
            parameters: projected * hidden + result * hidden + bias + norms + self.sinks.map_or(0, |_| heads),
            state: StateShape::KeysAndValues { each: kv_heads * (dim + value), window: self.window.map(|n| n as u64) },
            results: vec![hidden, projected, result],
        }
    }
}

struct Attention {
    projections: Projections,
    /// Whether there are gates beside the queries.
    gated: bool,
    output: Linear,
    temperature: Option<Temperature>,
    value_scale: Option<f32>,
    /// Norms of queries and keys over all heads together.
    norms: Option<(Norm, Option<Norm>)>,
    /// Everything between the projections and the output.
    attention: fused::Attention,
}

enum Projections {
    All(Joint<3>),
    /// Keys and values are those of another layer.
    Queries(Linear),
}

impl Attention {
    fn load(spec: &AttentionSpec, hidden: i32, state: StateUse, path: &str, w: &Weights) -> Result<Attention> {
        let (heads, kv_heads, head_dim) = (spec.heads, spec.kv_heads, spec.head_dim);
        let value_dim = spec.value_dim();
        let names = &spec.names;
        let path = format!("{path}.{}", names.attention);
        let at = |name: &str| format!("{path}.{name}");
        let shares = matches!(state, StateUse::SharedWith(_));
        let bias = spec.bias.on_qkv();
        let queries = heads * head_dim;
        let rows = [queries * names.qkv.rows(), kv_heads * head_dim, kv_heads * value_dim];
        let projections = match names.qkv {
            QkvNames::Separate([q, k, v]) if shares => {
                // Published checkpoints have them all the same.
                let unused = [at(k), at(v), at(names.qk_norm[1])].map(|name| format!("{name}."));
                w.ignore(move |name| unused.iter().any(|prefix| name.starts_with(prefix)));
                Projections::Queries(Linear::load(w, &at(q), hidden, rows[0], bias)?)
            }
            QkvNames::Separate(each) | QkvNames::WithGates(each) => {
                let mut rows = rows.into_iter();
                let parts = each.map(|name| (at(name), rows.next().expect("three")));
                Projections::All(Joint::separate(w, parts, hidden, bias)?)
            }
            QkvNames::Fused(name) => Projections::All(Joint::fused(w, &at(name), rows, hidden, bias)?),
        };
        let sinks =
            spec.sinks.map(|name| w.derived(&at(name), &[heads], |sinks| sinks.astype(Dtype::F32))).transpose()?;
        let scores = Scores { scale: spec.scale, softcap: spec.softcap, sinks };
        let mut attention = fused::Attention {
            value_dim,
            rotation: spec.rope.as_ref().map(RopeSpec::rotation).transpose()?,
            ..fused::Attention::plain(heads, kv_heads, head_dim, scores)
        };
        let [q_norm, k_norm] = names.qk_norm.map(at);
        let mut norms = None;
        match spec.qk_norm {
            QkNorm::None => {}
            QkNorm::Head(n) => {
                let q: fused::Norm = Norm::load(w, &q_norm, head_dim, n)?.into();
                // Without keys, the norm of the queries serves for both.
                let k = if shares { q.clone() } else { Norm::load(w, &k_norm, head_dim, n)?.into() };
                attention.norms = HeadNorms::Same { q, k };
            }
            QkNorm::Projection(n) => {
                let k = (!shares).then(|| Norm::load(w, &k_norm, rows[1], n)).transpose()?;
                norms = Some((Norm::load(w, &q_norm, queries, n)?, k));
            }
            QkNorm::EachHead { eps, weights } => {
                let q = head_weights(w, &q_norm, heads, head_dim, weights)?;
                let k = if shares { q.clone() } else { head_weights(w, &k_norm, kv_heads, head_dim, weights)? };
                attention.norms = HeadNorms::Each { q, k, eps };
            }
        }
        let output = Linear::load(w, &at(names.output), heads * value_dim, hidden, spec.bias.on_output())?;
        let gated = matches!(names.qkv, QkvNames::WithGates(_));
        let (temperature, value_scale) = (spec.temperature, spec.value_scale);
        Ok(Attention { projections, gated, output, temperature, value_scale, norms, attention })
    }
}

impl Mix for Attention {
    fn forward(&self, x: Input, at: &At, memory: Memory, onto: Option<Residual>) -> Result<Array> {
        let op = &self.attention;
        let at = fused::At { offset: at.offset, held: None, mask: &at.mask };
        let mut gate = None;
        let mut out = match (&self.projections, memory) {
            (Projections::Queries(layer), Memory::Shared(state)) => {
                let mut q = layer.forward(&x.array()?)?;
                if let Some((norm, _)) = &self.norms {
                    q = norm.forward(&q)?;
                }
                state.attend_again(op, &q, &at)?
            }
            (Projections::All(layers), memory) => {
                let [mut q, mut k, v] = layers.forward(x)?;
                if self.gated {
                    let (rows, length) = (q.dim(0), q.dim(1));
                    let parts = q.reshape(&[rows, length, op.heads, -1])?.split(2, -1)?;
                    gate = Some(parts[1].reshape(&[rows, length, -1])?);
                    q = parts[0].reshape(&[rows, length, -1])?;
                }
                if let Some((q_norm, Some(k_norm))) = &self.norms {
                    (q, k) = (q_norm.forward(&q)?, k_norm.forward(&k)?);
                }
                if let Some(temperature) = &self.temperature {
                    q = (&q * temperature.factors(at.offset, q.dim(1), q.dtype())?.squeeze_axis(1)?)?;
                }
                match memory {
                    Memory::Own(state) => state.attend(op, [&q, &k, &v], &at)?,
                    Memory::None => {
                        let [q, k, v] = fused::heads(op, [&q, &k, &v], at.offset)?;
                        fused::over(op, &q, &k, &v, at.mask)?
                    }
                    Memory::Shared(_) | Memory::Each(_) => {
                        return Err(Error::internal("keys beside those of another layer"));
                    }
                }
            }
            _ => return Err(Error::internal("attention without keys")),
        };
        if let Some(scale) = self.value_scale {
            out = (out * scale)?;
        }
        match gate {
            Some(gate) => Residual::add(onto, &self.output, &(out * gate.sigmoid())?),
            None => Residual::add(onto, &self.output, &out),
        }
    }
}

/// The norm weights of all heads, `[heads, 1, head_dim]`.
fn head_weights(w: &Weights, path: &str, heads: i32, dim: i32, stored: HeadWeights) -> Result<Array> {
    match stored {
        HeadWeights::Matrix => w.derived(&format!("{path}.weight"), &[heads, dim], |a| a.expand_dims(1)),
        HeadWeights::List => {
            let names: Vec<String> = (0..heads).map(|h| format!("{path}.norms.{h}.weight")).collect();
            w.joined(&names, &[dim], |parts| stack(parts, 0)?.expand_dims(1))
        }
    }
}
