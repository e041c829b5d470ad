//! The data that describes a decoder.

use super::ffn::{Ffn, NoFfn};
use super::mixers::{Mixer, NoMixer};
use super::pass::StateUse;
use super::per_layer::{PerLayerGate, PerLayerSpec};
use crate::array::Device;
use crate::cache::StateSpec;
use crate::error::Result;
use crate::models::config::{invalid, size};
use crate::models::shape::{LayerShape, ModelShape, OnDevice, StateShape};
use crate::nn::NormSpec;

/// A decoder-only transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderSpec {
    /// Rows of the embedding.
    pub vocab_size: i32,
    /// Features of the residual stream.
    pub hidden_size: i32,
    /// Scale of the embeddings.
    pub embedding_scale: Option<f32>,
    /// The norm of the embeddings, after their scale; without weights.
    pub embedding_norm: Option<NormSpec>,
    /// A table of positions, added to the embeddings.
    pub positions: Option<PositionTable>,
    /// What the layers get of each token besides the residual stream.
    pub per_layer: Option<PerLayerSpec>,
    /// The layers.
    pub layers: Vec<LayerSpec>,
    /// How often they run.
    pub loops: Loops,
    /// The final norm.
    pub norm: NormAt,
    /// Where the output layer's weights are.
    pub head: Head,
    /// Scale of the logits.
    pub logit_scale: Option<f32>,
    /// Logits become `tanh(logits / cap) * cap`.
    pub logit_softcap: Option<f32>,
    /// The longest sequence the model was trained for.
    pub context_length: Option<i32>,
    /// Names of the other tensors in the checkpoint.
    pub names: Names,
}

/// The output layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The embedding, transposed.
    Tied,
    /// A separate matrix.
    Separate,
    /// A separate matrix and a bias.
    WithBias,
    /// A separate matrix if the checkpoint has one, otherwise the embedding.
    SeparateIfThere,
}

impl Head {
    /// What `tie_word_embeddings` says.
    pub fn tied_if(tied: bool) -> Head {
        if tied { Head::Tied } else { Head::Separate }
    }
}

/// A table with a row of features for each position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositionTable {
    /// Where.
    pub name: &'static str,
    /// Its rows: longer sequences are refused.
    pub rows: i32,
}

/// How often the layers run: each time on what they gave before, with states of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loops {
    /// Times.
    pub count: usize,
    /// Whether each of them ends with the final norm, and not only the last.
    pub norm_each: bool,
}

impl Loops {
    /// The usual.
    pub const ONCE: Loops = Loops { count: 1, norm_each: false };
}

/// Where the weights outside of layers are, and the layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The embedding.
    pub embedding: &'static str,
    /// Layers are at `{layers}.{index}`.
    pub layers: &'static str,
    /// The output layer.
    pub head: &'static str,
}

impl Default for Names {
    /// Llama's names, which most checkpoints use.
    fn default() -> Self {
        Names { embedding: "model.embed_tokens", layers: "model.layers", head: "lm_head" }
    }
}

/// One layer: two sublayers that add to the residual stream.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    /// The mixer, which moves information between positions.
    pub attend: SubLayer<Mixer>,
    /// The feed-forward part, which works on each position separately.
    pub feed: SubLayer<Ffn>,
    /// The input of the second sublayer.
    pub flow: Flow,
    /// Where the mixer's state is.
    pub state: StateUse,
    /// A further addition to the residual stream, after both sublayers, from what the layer gets of each token.
    pub per_layer: Option<PerLayerGate>,
    /// A tensor of one number, by which the result of the layer is multiplied.
    pub scale: Option<&'static str>,
}

/// A sublayer: it adds `scale * after(what(before(x)))` to the residual stream.
#[derive(Clone, Debug, PartialEq)]
pub struct SubLayer<T> {
    /// The norm of its input.
    pub before: Option<NormAt>,
    /// What it is.
    pub what: T,
    /// The norm of its result.
    pub after: Option<NormAt>,
    /// Scale of what is added.
    pub scale: Option<f32>,
}

/// A norm and where its weights are, within the layer or, of the final norm, the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormAt {
    /// Where.
    pub name: &'static str,
    /// Which.
    pub spec: NormSpec,
}

/// What the second sublayer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The residual stream with the first sublayer's result.
    Sequential,
    /// The input of the first sublayer, or, for a second sublayer without a norm, the output of the first's norm.
    Parallel,
}

impl<T> SubLayer<T> {
    /// Without norms.
    pub fn bare(what: impl Into<T>) -> SubLayer<T> {
        SubLayer { before: None, what: what.into(), after: None, scale: None }
    }

    /// With a norm of its input.
    pub fn before(self, name: &'static str, spec: NormSpec) -> SubLayer<T> {
        SubLayer { before: Some(NormAt { name, spec }), ..self }
    }

    /// With a norm of its result.
    pub fn after(self, name: &'static str, spec: NormSpec) -> SubLayer<T> {
        SubLayer { after: Some(NormAt { name, spec }), ..self }
    }

    /// With a scale.
    pub fn scaled(self, scale: f32) -> SubLayer<T> {
        SubLayer { scale: Some(scale), ..self }
    }

    fn norms(&self) -> impl Iterator<Item = &NormAt> {
        self.before.iter().chain(&self.after)
    }
}

impl LayerSpec {
    /// One sublayer after the other, with its own state.
    pub fn new(attend: SubLayer<Mixer>, feed: SubLayer<Ffn>) -> LayerSpec {
        LayerSpec { attend, feed, flow: Flow::Sequential, state: StateUse::Own, per_layer: None, scale: None }
    }

    /// With norms before both sublayers, under Llama's names.
    pub fn pre_norm(mixer: impl Into<Mixer>, ffn: impl Into<Ffn>, norm: NormSpec) -> LayerSpec {
        LayerSpec::new(
            SubLayer::bare(mixer).before("input_layernorm", norm),
            SubLayer::bare(ffn).before("post_attention_layernorm", norm),
        )
    }

    /// With norms before and after both sublayers, under Gemma's names.
    pub fn sandwich(mixer: impl Into<Mixer>, ffn: impl Into<Ffn>, norm: NormSpec) -> LayerSpec {
        LayerSpec::new(
            SubLayer::bare(mixer).before("input_layernorm", norm).after("post_attention_layernorm", norm),
            SubLayer::bare(ffn).before("pre_feedforward_layernorm", norm).after("post_feedforward_layernorm", norm),
        )
    }

    /// A mixer alone.
    pub fn mixer_only(mixer: SubLayer<Mixer>) -> LayerSpec {
        LayerSpec::new(mixer, SubLayer::bare(NoFfn))
    }

    /// A feed-forward part alone.
    pub fn ffn_only(ffn: SubLayer<Ffn>) -> LayerSpec {
        LayerSpec { state: StateUse::None, ..LayerSpec::new(SubLayer::bare(NoMixer), ffn) }
    }

    /// The layer's own states.
    pub fn caches(&self) -> Vec<StateSpec> {
        match self.state {
            StateUse::Own => self.attend.what.spec().states(),
            StateUse::SharedWith(_) | StateUse::None => Vec::new(),
        }
    }

    fn shape(&self, hidden: u64) -> LayerShape {
        let mixer = self.attend.what.spec().shape(hidden, self.state);
        let feed = self.feed.what.spec().shape(hidden);
        let norms = self.attend.norms().chain(self.feed.norms()).map(|norm| norm.spec.parameters(hidden));
        let more = self.per_layer.map_or(0, |gate| gate.parameters(hidden)) + u64::from(self.scale.is_some());
        LayerShape {
            parameters: mixer.parameters + feed.parameters + norms.sum::<u64>() + more,
            state: if self.state == StateUse::Own { mixer.state } else { StateShape::None },
            mixer: mixer.results,
            feed: feed.inner,
        }
    }
}

impl DecoderSpec {
    /// A decoder with Llama's names and plain logits.
    pub fn new(vocab_size: i32, hidden_size: i32, layers: Vec<LayerSpec>, norm: NormSpec, head: Head) -> DecoderSpec {
        DecoderSpec {
            vocab_size,
            hidden_size,
            embedding_scale: None,
            embedding_norm: None,
            positions: None,
            per_layer: None,
            layers,
            loops: Loops::ONCE,
            norm: NormAt { name: "model.norm", spec: norm },
            head,
            logit_scale: None,
            logit_softcap: None,
            context_length: None,
            names: Names::default(),
        }
    }

    /// The default number of prompt positions per step. Each expert gets few of them, so a mixture on a CPU takes more:
    /// its kernels are twice as fast with 512 as with 128.
    pub fn prefill_step(&self, device: Device) -> i32 {
        let mixture = self.layers.iter().any(|layer| matches!(layer.feed.what, Ffn::Moe(_)));
        match device {
            Device::Cpu if !mixture => 128,
            Device::Cpu | Device::Gpu => 512,
        }
    }

    /// The sizes of a checked specification.
    pub fn shape(&self) -> ModelShape {
        let hidden = self.hidden_size as u64;
        let table = self.vocab_size as u64 * hidden;
        let head = match self.head {
            Head::Separate => table,
            Head::WithBias => table + self.vocab_size as u64,
            Head::Tied | Head::SeparateIfThere => 0,
        };
        let positions = self.positions.map_or(0, |table| table.rows as u64 * hidden);
        let per_layer = self.per_layer.map_or(0, |spec| spec.parameters(hidden, self.layers.len() as u64));
        let layers = self.layers.iter().map(|layer| layer.shape(hidden));
        // The same weights each time, but states of their own.
        let again = |shape: LayerShape| LayerShape { parameters: 0, ..shape };
        let loops = (1..self.loops.count).flat_map(|_| layers.clone().map(again));
        ModelShape {
            hidden,
            vocab: self.vocab_size as u64,
            context_length: self.context_length.map(|n| n.max(1) as u64),
            embedding: self.names.embedding.to_owned(),
            parameters: table + head + positions + per_layer + self.norm.spec.parameters(hidden),
            layers: layers.clone().chain(loops).collect(),
            prefill_step: OnDevice {
                cpu: self.prefill_step(Device::Cpu) as u64,
                gpu: self.prefill_step(Device::Gpu) as u64,
            },
        }
    }

    /// Refuses sizes that are not positive, do not divide, or whose products would not fit; so that a broken
    /// `config.json` is an error and nothing worse.
    pub fn validate(&self) -> Result<()> {
        size("vocab_size", self.vocab_size, 1 << 24)?;
        size("hidden_size", self.hidden_size, 1 << 18)?;
        size("num_hidden_layers", self.layers.len() as i32, 4096)?;
        size("num_loops", self.loops.count as i32, 64)?;
        if let Some(positions) = self.positions {
            size("n_positions", positions.rows, 1 << 24)?;
        }
        if let Some(spec) = self.per_layer {
            spec.validate()?;
        }
        for (i, layer) in self.layers.iter().enumerate() {
            layer.attend.what.spec().validate(layer.state)?;
            layer.feed.what.spec().validate()?;
            if let StateUse::SharedWith(of) = layer.state {
                self.check_sharing(i, of)?;
            }
        }
        Ok(())
    }

    fn check_sharing(&self, layer: usize, of: usize) -> Result<()> {
        let owner = self.layers.get(of).filter(|owner| of < layer && owner.state == StateUse::Own);
        let shared = |layer: &LayerSpec| layer.attend.what.spec().shared();
        let alike = owner.and_then(shared).is_some_and(|kv| Some(kv) == shared(&self.layers[layer]));
        match alike {
            true => Ok(()),
            false => Err(invalid(format!("layer {layer} cannot share the state of layer {of}"))),
        }
    }
}
