//! Mamba (Gu and Dao 2023, arXiv:2312.00752).

use super::kind::{Mix, MixerShape, MixerSpec, SharedKv};
use super::recurrent::{self, ConvSpec, softplus, vector};
use crate::array::fused::{self, Activation, Convolution, NormKind, Recurrence};
use crate::array::{Array, Dtype};
use crate::cache::{RecurrentSpec, StateSpec};
use crate::error::Result;
use crate::models::config::size;
use crate::models::decoder::pass::{At, Memory, Residual, StateUse};
use crate::nn::{Input, Linear};
use crate::weights::Weights;

/// A state-space model in which each channel has a state of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct MambaSpec {
    /// Where it is within the layer.
    pub name: &'static str,
    /// Channels.
    pub channels: i32,
    /// Numbers in the state of a channel.
    pub state_size: i32,
    /// Rank of the projection that gives steps.
    pub rank: i32,
    /// The convolution.
    pub conv: ConvSpec,
    /// Whether the input and the output projection have biases.
    pub bias: bool,
    /// Norms of what gives steps, of what writes to states, and of what reads from them.
    pub norms: MambaNorms,
}

/// Norms of what a Mamba layer's inner projection gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MambaNorms {
    /// None.
    None,
    /// RMS norms without weights, with this added to the variance.
    Bare(f32),
    /// RMS norms with weights of these names, with this added to the variance.
    Named([&'static str; 3], f32),
}

impl MambaSpec {
    fn arrays(&self) -> Vec<RecurrentSpec> {
        vec![self.conv.state("conv", self.channels), recurrent::array("ssm", &[self.channels, 1, self.state_size])]
    }
}

impl MixerSpec for MambaSpec {
    fn validate(&self, state: StateUse) -> Result<()> {
        recurrent::own(state)?;
        self.conv.validate("conv_kernel (mamba_d_conv)")?;
        size("intermediate_size (mamba_expand * hidden_size)", self.channels, 1 << 20)?;
        size("state_size (mamba_d_state)", self.state_size, 1 << 10)?;
        size("time_step_rank (mamba_dt_rank)", self.rank, 1 << 16)
    }

    fn load(&self, hidden: i32, _: StateUse, path: &str, w: &Weights) -> Result<Box<dyn Mix>> {
        let at = |name: &str| format!("{path}.{}.{name}", self.name);
        let (channels, state_size, rank) = (self.channels, self.state_size, self.rank);
        let norm = |weight, eps| fused::Norm { kind: NormKind::Rms, eps, weight, bias: None };
        let norms = match self.norms {
            MambaNorms::None => None,
            MambaNorms::Bare(eps) => Some([(); 3].map(|()| norm(None, eps))),
            MambaNorms::Named([step, write, read], eps) => {
                let load = |name: &str, n: i32| Ok(norm(Some(vector(w, &at(&format!("{name}.weight")), &[n])?), eps));
                Some([load(step, rank)?, load(write, state_size)?, load(read, state_size)?])
            }
        };
        Ok(Box::new(Mamba {
            input: Linear::load(w, &at("in_proj"), hidden, 2 * channels, self.bias)?,
            conv: self.conv.load(w, &at("conv1d"), channels)?,
            inner: Linear::load(w, &at("x_proj"), channels, rank + 2 * state_size, false)?,
            steps: Linear::load(w, &at("dt_proj"), rank, channels, true)?,
            rates: w.derived(&at("A_log"), &[channels, state_size], |a| a.astype(Dtype::F32)?.exp()?.negative())?,
            skip: vector(w, &at("D"), &[channels])?,
            output: Linear::load(w, &at("out_proj"), channels, hidden, self.bias)?,
            norms,
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
        let [channels, state, rank] = [self.channels, self.state_size, self.rank].map(|n| n as u64);
        let inner = rank + 2 * state;
        let bias = if self.bias { 2 * channels + hidden } else { 0 };
        let norms = if matches!(self.norms, MambaNorms::Named(..)) { inner } else { 0 };
        MixerShape {
            parameters: 3 * channels * hidden
                + bias
                + self.conv.parameters(channels)
                + channels * (inner + rank + 1)
                + channels * (state + 1)
                + norms,
            state: recurrent::bytes(&self.arrays()),
            // All but the projections are in f32.
            results: vec![hidden, 2 * channels, 2 * channels, inner, 2 * channels * state, 4 * channels],
        }
    }
}

struct Mamba {
    spec: MambaSpec,
    input: Linear,
    conv: Convolution,
    inner: Linear,
    steps: Linear,
    /// `-e^A_log`
    rates: Array,
    skip: Array,
    /// Of what gives steps, of what writes and of what reads.
    norms: Option<[fused::Norm; 3]>,
    output: Linear,
}

impl Mix for Mamba {
    fn forward(&self, x: Input, _: &At, memory: Memory, onto: Option<Residual>) -> Result<Array> {
        let x = x.array()?;
        let MambaSpec { state_size, rank, .. } = self.spec;
        let dtype = x.dtype();
        let state = recurrent::state(memory)?;
        let before = state.get(x.dim(0))?;
        let parts = self.input.forward(&x)?.split(2, -1)?;
        let (value, past) = fused::convolve(&self.conv, &parts[0], &before[0])?;
        let inner = self.inner.forward(&value.astype(dtype)?)?.astype(Dtype::F32)?;
        let mut inner = inner.split_at(&[rank, rank + state_size], -1)?;
        if let Some(norms) = &self.norms {
            let normed = inner.iter().zip(norms).map(|(a, norm)| fused::norm(a, norm));
            inner = normed.collect::<Result<_>>()?;
        }
        let step = softplus(&self.steps.forward(&inner[0].astype(dtype)?)?.astype(Dtype::F32)?)?;
        let decay = (step.expand_dims(-1)? * &self.rates)?.exp()?;
        // One group for all channels, one row for each channel's state.
        let (key, query) = (inner[1].expand_dims(2)?, inner[2].expand_dims(2)?);
        let stored = (&value * &step)?.expand_dims(-1)?;
        let op = Recurrence { decay: &decay, correction: None, key: &key, value: &stored, query: &query };
        let (y, after) = fused::recur(&op, &before[1])?;
        state.set(vec![past, after])?;
        let y = (y.squeeze_axis(3)? + (value * &self.skip)?)?;
        let gate = Activation::Silu.apply(&parts[1].astype(Dtype::F32)?)?;
        Residual::add(onto, &self.output, &(y * gate)?.astype(dtype)?)
    }
}
