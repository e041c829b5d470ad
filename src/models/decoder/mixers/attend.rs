//! Softmax attention with grouped queries.

use super::attention::{AttentionSpec, GateEach, HeadWeights, QkNorm, QkvNames};
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
use crate::nn::{Input, Joint, Linear, Norm, NormKind, NormSpec, RopeSpec};
use crate::weights::Weights;

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
            (
                StateUse::SharedWith(_),
                QkvNames::Fused(name) | QkvNames::Interleaved(name) | QkvNames::WithGates([_, name, _]),
            ) => Err(invalid(format!("{name} has keys, and the layer those of another"))),
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
        let values = if matches!(self.names.qkv, QkvNames::KeysAreValues(_)) { 0 } else { made * value };
        let projected = (heads * self.names.qkv.rows() as u64 + made) * dim + values;
        let gates = match self.gate.map(|gate| gate.each) {
            None => 0,
            Some(GateEach::Head) => heads,
            Some(GateEach::Feature) => result,
        };
        let bias = if self.bias.on_qkv() { projected + gates } else { 0 };
        let bias = bias + if self.bias.on_output() { hidden } else { 0 };
        let norms = self.output_norm.map_or(0, |norm| norm.spec.parameters(result));
        let norms = norms
            + match &self.qk_norm {
                QkNorm::None => 0,
                QkNorm::Head(norm) | QkNorm::AfterRotation(norm) => norm.parameters(dim) * (1 + made.min(1)),
                QkNorm::Projection(norm) => norm.parameters(queries) + norm.parameters(made * dim),
                QkNorm::EachHead { .. } => (heads + made) * dim,
            };
        MixerShape {
            parameters: (projected + result + gates) * hidden + bias + norms + self.sinks.map_or(0, |_| heads),
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
    gate: Option<(Linear, GateEach)>,
    output_norm: Option<Norm>,
    clip: Option<f32>,
    temperature: Option<Temperature>,
    value_scale: Option<f32>,
    value_norm: Option<Norm>,
    /// Norms of queries and keys over all heads together.
    norms: Option<(Norm, Option<Norm>)>,
    /// Everything between the projections and the output.
    attention: fused::Attention,
}

enum Projections {
    All(Joint<3>),
    /// Values are the keys before their norm.
    QueriesAndKeys(Joint<2>),
    /// Keys and values are those of another layer.
    Queries(Linear),
}

impl Attention {
    fn load(spec: &AttentionSpec, hidden: i32, state: StateUse, path: &str, w: &Weights) -> Result<Attention> {
        let (heads, kv_heads, head_dim) = (spec.heads, spec.kv_heads, spec.head_dim);
        let value_dim = spec.value_dim();
        let names = &spec.names;
        let path = match names.attention {
            "" => path.to_owned(),
            name => format!("{path}.{name}"),
        };
        let at = |name: &str| format!("{path}.{name}");
        let shares = matches!(state, StateUse::SharedWith(_));
        let bias = spec.bias.on_qkv();
        let queries = heads * head_dim;
        let rows = [queries * names.qkv.rows(), kv_heads * head_dim, kv_heads * value_dim];
        let projections = match names.qkv {
            QkvNames::KeysAreValues([q, k]) if shares => {
                let unused = [at(k), at(names.qk_norm[1])].map(|name| format!("{name}."));
                w.ignore(move |name| unused.iter().any(|prefix| name.starts_with(prefix)));
                Projections::Queries(Linear::load(w, &at(q), hidden, rows[0], bias)?)
            }
            QkvNames::KeysAreValues([q, k]) => {
                let parts = [(at(q), rows[0]), (at(k), rows[1])];
                Projections::QueriesAndKeys(Joint::separate(w, parts, hidden, bias)?)
            }
            QkvNames::Interleaved(name) => {
                let each = [heads / kv_heads * head_dim, head_dim, head_dim];
                Projections::All(Joint::interleaved(w, &at(name), kv_heads, each, hidden, bias)?)
            }
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
            QkNorm::AfterRotation(n) => {
                let q: fused::Norm = Norm::load(w, &q_norm, head_dim, n)?.into();
                let k = if shares { q.clone() } else { Norm::load(w, &k_norm, head_dim, n)?.into() };
                attention.norms = HeadNorms::AfterRotation { q, k };
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
        let results = heads * value_dim;
        let output = Linear::load(w, &at(names.output), results, hidden, spec.bias.on_output())?;
        let gate = spec.gate.map(|gate| {
            let outputs = if gate.each == GateEach::Head { heads } else { results };
            Ok::<_, Error>((Linear::load(w, &at(gate.name), hidden, outputs, bias)?, gate.each))
        });
        let output_norm = spec.output_norm.map(|norm| Norm::load(w, &at(norm.name), results, norm.spec));
        Ok(Attention {
            projections,
            gated: matches!(names.qkv, QkvNames::WithGates(_)),
            output,
            gate: gate.transpose()?,
            output_norm: output_norm.transpose()?,
            clip: spec.clip_qkv,
            temperature: spec.temperature,
            value_scale: spec.value_scale,
            value_norm: spec.value_norm.map(|eps| Norm::bare(NormSpec { kind: NormKind::RmsBare, eps })),
            norms,
            attention,
        })
    }

    /// Queries, keys and values as the cache takes them, and gates that are projected with the queries.
    fn project(&self, x: Input, at: &At) -> Result<(Array, Option<[Array; 2]>, Option<Array>)> {
        let (mut q, mut kv) = match &self.projections {
            Projections::Queries(layer) => (layer.forward(&x.array()?)?, None),
            Projections::QueriesAndKeys(layers) => {
                let [q, k] = layers.forward(x)?;
                (q, Some([k.clone(), k]))
            }
            Projections::All(layers) => {
                let [q, k, v] = layers.forward(x)?;
                (q, Some([k, v]))
            }
        };
        let mut gate = None;
        if self.gated {
            let (rows, length) = (q.dim(0), q.dim(1));
            let parts = q.reshape(&[rows, length, self.attention.heads, -1])?.split(2, -1)?;
            gate = Some(parts[1].reshape(&[rows, length, -1])?);
            q = parts[0].reshape(&[rows, length, -1])?;
        }
        if let Some(limit) = self.clip {
            q = q.clip(-limit, limit)?;
            kv = kv.map(|[k, v]| Ok::<_, Error>([k.clip(-limit, limit)?, v.clip(-limit, limit)?])).transpose()?;
        }
        if let Some((q_norm, k_norm)) = &self.norms {
            q = q_norm.forward(&q)?;
            if let (Some([k, _]), Some(k_norm)) = (&mut kv, k_norm) {
                *k = k_norm.forward(k)?;
            }
        }
        if let (Some([_, v]), Some(norm)) = (&mut kv, &self.value_norm) {
            let (heads, dim) = (self.attention.kv_heads, self.attention.value_dim);
            *v = norm.forward(&v.reshape(&[v.dim(0), v.dim(1), heads, dim])?)?.reshape(v.shape())?;
        }
        if let Some(temperature) = &self.temperature {
            // Without norms of queries it makes no difference whether they grow before or after the rotation.
            let factors = temperature.factors(at.offset, q.dim(1), q.dtype())?;
            q = (&q * factors.squeeze_axis(1)?)?;
        }
        Ok((q, kv, gate))
    }
}

impl Mix for Attention {
    fn forward(&self, x: Input, at: &At, memory: Memory, onto: Option<Residual>) -> Result<Array> {
        let op = &self.attention;
        let (q, kv, own_gate) = self.project(x, at)?;
        let at = fused::At { offset: at.offset, held: None, mask: &at.mask };
        let mut out = match (&kv, memory) {
            (None, Memory::Shared(state)) => state.attend_again(op, &q, &at)?,
            (Some([k, v]), Memory::Own(state)) => state.attend(op, [&q, k, v], &at)?,
            (Some([k, v]), Memory::None) => {
                let [q, k, v] = fused::heads(op, [&q, k, v], at.offset)?;
                fused::over(op, &q, &k, &v, at.mask)?
            }
            (None, _) => return Err(Error::internal("attention without keys")),
            (Some(_), _) => return Err(Error::internal("keys beside those of another layer")),
        };
        if let Some(scale) = self.value_scale {
            out = (out * scale)?;
        }
        if let Some(gate) = own_gate {
            out = (out * gate.sigmoid())?;
        }
        if let Some((layer, each)) = &self.gate {
            let mut gate = layer.forward(&x.array()?)?.sigmoid()?;
            if *each == GateEach::Head {
                gate = gate.repeat(op.value_dim, -1)?;
            }
            out = (out * gate)?;
        }
        if let Some(norm) = &self.output_norm {
            out = norm.forward(&out)?;
        }
        Residual::add(onto, &self.output, &out)
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
