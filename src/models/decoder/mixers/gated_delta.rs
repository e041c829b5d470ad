//! The gated delta rule (Yang et al. 2024, arXiv:2412.06464), as Qwen3-Next has it.

use super::kind::{Mix, MixerShape, MixerSpec, SharedKv};
use super::recurrent::{self, ConvSpec, softplus, vector};
use crate::array::fused::{self, Activation, Convolution, NormKind, Recurrence};
use crate::array::{Array, Dtype, concatenate};
use crate::cache::{RecurrentSpec, StateSpec};
use crate::error::Result;
use crate::models::config::{invalid, size};
use crate::models::decoder::pass::{At, Memory, Residual, StateUse};
use crate::nn::{Input, Joint, Linear, Norm, NormSpec};
use crate::weights::Weights;

/// Linear attention whose state is corrected by what it would have said of each new key.
#[derive(Clone, Debug, PartialEq)]
pub struct GatedDeltaSpec {
    /// Where it is within the layer.
    pub name: &'static str,
    /// Heads of queries and keys; divides those of values.
    pub key_heads: i32,
    /// Heads of values, each with a state.
    pub value_heads: i32,
    /// Features of a key.
    pub key_dim: i32,
    /// Features of a value.
    pub value_dim: i32,
    /// The convolution of queries, keys and values.
    pub conv: ConvSpec,
    /// The norm of each head's result, which is then gated.
    pub norm: NormSpec,
    /// The most that a key corrects: 1, or 2 where a state may change its sign.
    pub most: f32,
    /// How the projections are stored.
    pub projections: DeltaProjections,
}

/// How the projections of a gated delta rule are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeltaProjections {
    /// `in_proj_qkv`, `in_proj_z`, `in_proj_b` and `in_proj_a`.
    Separate,
    /// `in_proj_qkvz` and `in_proj_ba`: all that belongs to a key head is in consecutive rows.
    ByKeyHead,
    /// `q_proj`, `k_proj`, `v_proj`, `g_proj`, `b_proj` and `a_proj`, with three convolutions, `o_norm` and `o_proj`.
    ByOperand,
}

impl DeltaProjections {
    /// The names of the norm and the output projection.
    fn names(self) -> [&'static str; 2] {
        match self {
            DeltaProjections::ByOperand => ["o_norm", "o_proj"],
            DeltaProjections::Separate | DeltaProjections::ByKeyHead => ["norm", "out_proj"],
        }
    }
}

impl GatedDeltaSpec {
    /// Features of all keys, and of all values.
    fn sizes(&self) -> (i32, i32) {
        (self.key_heads * self.key_dim, self.value_heads * self.value_dim)
    }

    fn arrays(&self) -> Vec<RecurrentSpec> {
        let (keys, values) = self.sizes();
        let state = [self.value_heads, self.value_dim, self.key_dim];
        vec![self.conv.state("conv", 2 * keys + values), recurrent::array("state", &state)]
    }
}

impl MixerSpec for GatedDeltaSpec {
    fn validate(&self, state: StateUse) -> Result<()> {
        recurrent::own(state)?;
        self.conv.validate("linear_conv_kernel_dim")?;
        size("linear_num_key_heads", self.key_heads, 1 << 10)?;
        size("linear_num_value_heads", self.value_heads, 1 << 10)?;
        size("linear_key_head_dim", self.key_dim, 1 << 10)?;
        size("linear_value_head_dim", self.value_dim, 1 << 10)?;
        let (keys, values) = (self.key_heads, self.value_heads);
        match values % keys {
            0 => Ok(()),
            _ => Err(invalid(format!(
                "linear_num_value_heads {values} is not a multiple of linear_num_key_heads {keys}"
            ))),
        }
    }

    fn load(&self, hidden: i32, _: StateUse, path: &str, w: &Weights) -> Result<Box<dyn Mix>> {
        let at = |name: &str| format!("{path}.{}.{name}", self.name);
        let (keys, values) = self.sizes();
        let heads = self.value_heads;
        let projections = match self.projections {
            DeltaProjections::Separate => {
                let parts = [("qkv", 2 * keys + values), ("z", values), ("b", heads), ("a", heads)];
                let parts = parts.map(|(name, rows)| (at(&format!("in_proj_{name}")), rows));
                Projections::Separate(Joint::separate(w, parts, hidden, false)?)
            }
            DeltaProjections::ByKeyHead => {
                let parts = [(at("in_proj_qkvz"), 2 * (keys + values)), (at("in_proj_ba"), 2 * heads)];
                Projections::ByKeyHead(Joint::separate(w, parts, hidden, false)?)
            }
            DeltaProjections::ByOperand => {
                let parts = [("q", keys), ("k", keys), ("v", values), ("g", values), ("b", heads), ("a", heads)];
                let parts = parts.map(|(name, rows)| (at(&format!("{name}_proj")), rows));
                Projections::ByOperand(Joint::separate(w, parts, hidden, false)?)
            }
        };
        let conv = match self.projections {
            DeltaProjections::ByOperand => {
                let each = [("q", keys), ("k", keys), ("v", values)];
                let each = each.map(|(name, rows)| self.conv.load(w, &at(&format!("{name}_conv1d")), rows));
                let each = each.into_iter().collect::<Result<Vec<_>>>()?;
                let weight = concatenate(each.iter().map(|conv| &conv.weight), 1)?;
                Convolution { weight, bias: None, activation: self.conv.activation }
            }
            DeltaProjections::Separate | DeltaProjections::ByKeyHead => {
                self.conv.load(w, &at("conv1d"), 2 * keys + values)?
            }
        };
        let [norm, output] = self.projections.names();
        Ok(Box::new(GatedDelta {
            spec: self.clone(),
            projections,
            conv,
            dt_bias: vector(w, &at("dt_bias"), &[heads])?,
            rate: w.derived(&at("A_log"), &[heads], |a| a.astype(Dtype::F32)?.exp()?.negative())?,
            norm: Norm::load(w, &at(norm), self.value_dim, self.norm)?,
            output: Linear::load(w, &at(output), values, hidden, false)?,
        }))
    }

    fn state(&self) -> StateSpec {
        StateSpec::Recurrent(self.arrays())
    }

    fn shared(&self) -> Option<SharedKv> {
        recurrent::SHARED
    }

    fn shape(&self, hidden: u64, _: StateUse) -> MixerShape {
        let (keys, values) = self.sizes();
        let (keys, values, heads) = (keys as u64, values as u64, self.value_heads as u64);
        let projected = 2 * keys + 2 * values + 2 * heads;
        MixerShape {
            parameters: (projected + values) * hidden
                + self.conv.parameters(2 * keys + values)
                + 2 * heads
                + self.norm.parameters(self.value_dim as u64),
            state: recurrent::bytes(&self.arrays()),
            // All but the projections are in f32.
            results: vec![
                hidden,
                projected,
                2 * (2 * keys + values),
                4 * keys,
                2 * heads * self.key_dim as u64,
                4 * values,
            ],
        }
    }
}

struct GatedDelta {
    spec: GatedDeltaSpec,
    projections: Projections,
    conv: Convolution,
    dt_bias: Array,
    /// `-e^A_log`
    rate: Array,
    norm: Norm,
    output: Linear,
}

enum Projections {
    Separate(Joint<4>),
    ByKeyHead(Joint<2>),
    ByOperand(Joint<6>),
}

impl GatedDelta {
    /// Queries, keys and values side by side, then what gates the results, what decides how much is stored, and what
    /// decides how much is forgotten.
    fn project(&self, x: &Array) -> Result<[Array; 4]> {
        let GatedDeltaSpec { key_heads, value_heads, key_dim, value_dim, .. } = self.spec;
        let joint = match &self.projections {
            Projections::Separate(joint) => return joint.forward(Input::plain(x)),
            Projections::ByKeyHead(joint) => joint,
            Projections::ByOperand(joint) => {
                let [q, k, v, gate, b, a] = joint.forward(Input::plain(x))?;
                return Ok([concatenate([&q, &k, &v], -1)?, gate, b, a]);
            }
        };
        let (rows, length) = (x.dim(0), x.dim(1));
        let each = value_heads / key_heads;
        let by_head = |a: &Array| a.reshape(&[rows, length, key_heads, -1]);
        let flat = |a: &Array| a.reshape(&[rows, length, -1]);
        let [qkvz, ba] = joint.forward(Input::plain(x))?;
        let ends = [key_dim, 2 * key_dim, 2 * key_dim + each * value_dim];
        let parts = by_head(&qkvz)?.split_at(&ends, -1)?.iter().map(flat).collect::<Result<Vec<_>>>()?;
        let ba = by_head(&ba)?.split_at(&[each], -1)?.iter().map(flat).collect::<Result<Vec<_>>>()?;
        let qkv = concatenate(&parts[..3], -1)?;
        Ok([qkv, parts[3].clone(), ba[0].clone(), ba[1].clone()])
    }
}

impl Mix for GatedDelta {
    fn forward(&self, x: Input, _: &At, memory: Memory, onto: Option<Residual>) -> Result<Array> {
        let x = x.array()?;
        let GatedDeltaSpec { key_heads, value_heads, key_dim, value_dim, .. } = self.spec;
        let (rows, length) = (x.dim(0), x.dim(1));
        let state = recurrent::state(memory)?;
        let before = state.get(rows)?;
        let [qkv, gate, b, a] = self.project(&x)?;
        let (qkv, past) = fused::convolve(&self.conv, &qkv, &before[0])?;
        let (keys, _) = self.spec.sizes();
        let parts = qkv.split_at(&[keys, 2 * keys], -1)?;
        let heads = |a: &Array, heads: i32| a.reshape(&[rows, length, heads, -1]);
        let (query, key) = (unit(&heads(&parts[0], key_heads)?)?, unit(&heads(&parts[1], key_heads)?)?);
        let query = (query * (key_dim as f32).powf(-0.5))?;
        let step = softplus(&(a.astype(Dtype::F32)? + &self.dt_bias)?)?;
        let decay = (step * &self.rate)?.exp()?.expand_dims(-1)?;
        let mut stored = b.astype(Dtype::F32)?.sigmoid()?.expand_dims(-1)?;
        if self.spec.most != 1.0 {
            stored = (stored * self.spec.most)?;
        }
        let value = (heads(&parts[2], value_heads)? * &stored)?;
        let spread = key.repeat(value_heads / key_heads, 2)?;
        let correction = ((&decay * &stored)?.negative()? * spread)?;
        let op = Recurrence {
            decay: &decay,
            correction: Some([&key, &correction]),
            key: &key,
            value: &value,
            query: &query,
        };
        let (y, after) = fused::recur(&op, &before[1])?;
        state.set(vec![past, after])?;
        let gate = Activation::Silu.apply(&heads(&gate.astype(Dtype::F32)?, value_heads)?)?;
        let y =
            (self.norm.forward(&y)? * gate)?.astype(x.dtype())?.reshape(&[rows, length, value_heads * value_dim])?;
        Residual::add(onto, &self.output, &y)
    }
}

/// Of length 1.
fn unit(x: &Array) -> Result<Array> {
    let dim = x.dim(-1) as f32;
    // The reference adds 1e-6 to the sum of squares, a norm to their mean.
    let norm = fused::Norm { kind: NormKind::Rms, eps: 1e-6 / dim, weight: None, bias: None };
    fused::norm(x, &norm)? * dim.powf(-0.5)
}
