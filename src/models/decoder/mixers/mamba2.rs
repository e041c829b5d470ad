//! Mamba 2 (Dao and Gu 2024, arXiv:2405.21060).

use super::kind::{Mix, MixerShape, MixerSpec, SharedKv};
use super::recurrent::{self, ConvSpec, softplus, vector};
use crate::array::fused::{self, Activation, Convolution, NormKind, Recurrence};
use crate::array::{Array, Dtype};
use crate::cache::{RecurrentSpec, StateSpec};
use crate::error::Result;
use crate::models::config::{invalid, size};
use crate::models::decoder::pass::{At, Memory, Residual, StateUse};
use crate::nn::{Input, Linear};
use crate::weights::Weights;

/// A state-space model with a scalar decay in each head.
#[derive(Clone, Debug, PartialEq)]
pub struct Mamba2Spec {
    /// Where it is within the layer.
    pub name: &'static str,
    /// Heads.
    pub heads: i32,
    /// Features of a head.
    pub head_dim: i32,
    /// Groups of heads that share what writes to and reads from their states; divides `heads`.
    pub groups: i32,
    /// Columns of a state.
    pub state_size: i32,
    /// The convolution.
    pub conv: ConvSpec,
    /// Whether the input projection has a bias.
    pub input_bias: bool,
    /// Whether the output projection has a bias.
    pub output_bias: bool,
    /// The shortest and the longest step.
    pub step: (f32, f32),
    /// How results are gated.
    pub gate: MambaGate,
}

/// How the results of Mamba 2 are gated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MambaGate {
    /// No more than that.
    Plain,
    /// Then normalised, each of so many groups of features.
    ThenNorm {
        /// Added to the variance.
        eps: f32,
        /// Groups.
        groups: i32,
    },
    /// After they have been normalised.
    AfterNorm {
        /// Added to the variance.
        eps: f32,
        /// Groups.
        groups: i32,
    },
}

impl MambaGate {
    fn norm(self) -> Option<(f32, i32)> {
        match self {
            MambaGate::Plain => None,
            MambaGate::ThenNorm { eps, groups } | MambaGate::AfterNorm { eps, groups } => Some((eps, groups)),
        }
    }
}

impl Mamba2Spec {
    fn inner(&self) -> i32 {
        self.heads * self.head_dim
    }

    fn channels(&self) -> i32 {
        self.inner() + 2 * self.groups * self.state_size
    }

    fn arrays(&self) -> Vec<RecurrentSpec> {
        let state = [self.heads, self.head_dim, self.state_size];
        vec![self.conv.state("conv", self.channels()), recurrent::array("ssm", &state)]
    }
}

impl MixerSpec for Mamba2Spec {
    fn validate(&self, state: StateUse) -> Result<()> {
        recurrent::own(state)?;
        self.conv.validate("conv_kernel (mamba_d_conv)")?;
        size("num_heads (mamba_n_heads)", self.heads, 1 << 12)?;
        size("head_dim (mamba_d_head)", self.head_dim, 1 << 10)?;
        size("n_groups (mamba_n_groups)", self.groups, 1 << 10)?;
        size("state_size (mamba_d_state)", self.state_size, 1 << 10)?;
        let of_norm = self.gate.norm().map_or(1, |(_, groups)| groups);
        if self.heads % self.groups != 0 || of_norm < 1 || self.inner() % of_norm != 0 {
            return Err(invalid(format!("{} heads in {} groups", self.heads, self.groups)));
        }
        match self.step {
            (least, most) if least >= 0.0 && most >= least => Ok(()),
            (least, most) => Err(invalid(format!("time_step_limit is [{least}, {most}]"))),
        }
    }

    fn load(&self, hidden: i32, _: StateUse, path: &str, w: &Weights) -> Result<Box<dyn Mix>> {
        let at = |name: &str| format!("{path}.{}.{name}", self.name);
        let (inner, channels, heads) = (self.inner(), self.channels(), self.heads);
        let norm = match self.gate.norm() {
            Some((eps, groups)) => Some((eps, groups, vector(w, &at("norm.weight"), &[inner])?)),
            None => None,
        };
        Ok(Box::new(Mamba2 {
            input: Linear::load(w, &at("in_proj"), hidden, inner + channels + heads, self.input_bias)?,
            conv: self.conv.load(w, &at("conv1d"), channels)?,
            dt_bias: vector(w, &at("dt_bias"), &[heads])?,
            rate: w.derived(&at("A_log"), &[heads], |a| a.astype(Dtype::F32)?.exp()?.negative())?,
            skip: w.derived(&at("D"), &[heads], |a| a.astype(Dtype::F32)?.expand_dims(-1))?,
            norm,
            output: Linear::load(w, &at("out_proj"), inner, hidden, self.output_bias)?,
            spec: self.clone(),
        }))
    }

    fn state(&self) -> StateSpec {
        StateSpec::Recurrent(self.arrays())
    }

    fn shared(&self) -> Option<SharedKv> {
        recurrent::SHARED
    }

    fn shape(&self, hidden: u64, _: StateUse) -> MixerShape {
        let [inner, channels, heads] = [self.inner(), self.channels(), self.heads].map(|n| n as u64);
        let projected = inner + channels + heads;
        let bias = u64::from(self.input_bias) * projected + u64::from(self.output_bias) * hidden;
        let norm = if self.gate == MambaGate::Plain { 0 } else { inner };
        MixerShape {
            parameters: (projected + inner) * hidden + bias + self.conv.parameters(channels) + 3 * heads + norm,
            state: recurrent::bytes(&self.arrays()),
            // All but the projections are in f32.
            results: vec![hidden, projected, 2 * channels, 2 * inner, 4 * inner],
        }
    }
}

struct Mamba2 {
    spec: Mamba2Spec,
    input: Linear,
    conv: Convolution,
    dt_bias: Array,
    /// `-e^A_log`
    rate: Array,
    /// `D`, `[heads, 1]`.
    skip: Array,
    /// What is added to the variance, groups, and weights.
    norm: Option<(f32, i32, Array)>,
    output: Linear,
}

impl Mamba2 {
    fn normed(&self, y: &Array) -> Result<Array> {
        let Some((eps, groups, weight)) = &self.norm else { return Ok(y.clone()) };
        let norm = |weight: Option<Array>| fused::Norm { kind: NormKind::Rms, eps: *eps, weight, bias: None };
        if *groups == 1 {
            return fused::norm(y, &norm(Some(weight.clone())));
        }
        let (rows, length) = (y.dim(0), y.dim(1));
        let grouped = fused::norm(&y.reshape(&[rows, length, *groups, -1])?, &norm(None))?;
        grouped.reshape(y.shape())? * weight
    }

    fn gated(&self, y: &Array, gate: &Array) -> Result<Array> {
        let gate = Activation::Silu.apply(&gate.astype(Dtype::F32)?)?;
        match self.spec.gate {
            MambaGate::AfterNorm { .. } => self.normed(y)? * gate,
            MambaGate::Plain | MambaGate::ThenNorm { .. } => self.normed(&(y * gate)?),
        }
    }
}

impl Mix for Mamba2 {
    fn forward(&self, x: Input, _: &At, memory: Memory, onto: Option<Residual>) -> Result<Array> {
        let x = x.array()?;
        let Mamba2Spec { heads, groups, state_size, step: (least, most), .. } = self.spec;
        let (inner, channels) = (self.spec.inner(), self.spec.channels());
        let (rows, length) = (x.dim(0), x.dim(1));
        let state = recurrent::state(memory)?;
        let before = state.get(rows)?;
        let parts = self.input.forward(&x)?.split_at(&[inner, inner + channels], -1)?;
        let [gate, mixed, step] = &parts[..] else { return Err(crate::Error::internal("three parts")) };
        let (mixed, past) = fused::convolve(&self.conv, mixed, &before[0])?;
        let mixed = mixed.split_at(&[inner, inner + groups * state_size], -1)?;
        let split = |a: &Array, heads: i32| a.reshape(&[rows, length, heads, -1]);
        let (value, key, query) = (split(&mixed[0], heads)?, split(&mixed[1], groups)?, split(&mixed[2], groups)?);
        let mut step = softplus(&(step.astype(Dtype::F32)? + &self.dt_bias)?)?;
        if least > 0.0 {
            step = step.maximum(&Array::scalar(least, Dtype::F32)?)?;
        }
        if most.is_finite() {
            step = step.minimum(&Array::scalar(most, Dtype::F32)?)?;
        }
        let decay = (&step * &self.rate)?.exp()?.expand_dims(-1)?;
        let stored = (&value * step.expand_dims(-1)?)?;
        let op = Recurrence { decay: &decay, correction: None, key: &key, value: &stored, query: &query };
        let (y, after) = fused::recur(&op, &before[1])?;
        state.set(vec![past, after])?;
        let y = (y + (value * &self.skip)?)?.reshape(&[rows, length, inner])?;
        Residual::add(onto, &self.output, &self.gated(&y, gate)?.astype(x.dtype())?)
    }
}
