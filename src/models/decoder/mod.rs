//! The one decoder that runs every [`DecoderSpec`].

mod attention;
mod ffn;
mod spec;

pub use spec::{
    AttentionBias, AttentionSpec, DecoderSpec, Ffn, Head, HeadWeights, LayerSpec, Mixer, Names, NormLayout, Projection,
    QkNorm, SharedExpert, SharedGate,
};

use crate::array::fused::{Mask, Offset};
use crate::array::{Array, Device};
use crate::cache::{Cache, CacheOptions, Reach, State};
use crate::error::Result;
use crate::models::{Content, Inputs, LanguageModel, Output, Positions, Visible};
use crate::nn::{Embedding, Input, Linear, Norm};
use crate::weights::Weights;
use attention::Attention;
use ffn::FeedForward;

/// A decoder with its weights.
pub struct Decoder {
    spec: DecoderSpec,
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: Norm,
    head: Option<Linear>,
}

struct Layer {
    mixer: Attention,
    ffn: FeedForward,
    norms: Norms,
    residual_scale: Option<f32>,
}

/// The norms of a layer, by layout.
enum Norms {
    Pre { mixer: Norm, ffn: Norm },
    Sandwich { before_mixer: Norm, after_mixer: Norm, before_ffn: Norm, after_ffn: Norm },
    Post { mixer: Norm, ffn: Norm },
    Parallel { both: Norm },
}

/// What a layer's result is added to: the residual stream, the result times a factor.
#[derive(Clone, Copy)]
struct Residual<'a> {
    x: &'a Array,
    factor: Option<f32>,
}

impl Residual<'_> {
    /// The output layer's result, added where there is something to add it to.
    fn add(onto: Option<Residual>, output: &Linear, x: &Array) -> Result<Array> {
        match onto {
            Some(residual) => output.forward_add(x, residual.x, residual.factor),
            None => output.forward(x),
        }
    }
}

impl Decoder {
    /// Takes the weights that the specification names.
    pub fn load(spec: DecoderSpec, w: &Weights) -> Result<Decoder> {
        spec.validate()?;
        let names = &spec.names;
        // Buffers of the training code, recomputed here.
        w.ignore(|name| name.ends_with("rotary_emb.inv_freq"));
        let embedding = Embedding::load(w, names.embedding, spec.vocab_size, spec.hidden_size)?;
        let layers = spec
            .layers
            .iter()
            .enumerate()
            .map(|(i, layer)| Layer::load(&spec, layer, &format!("{}.{i}", names.layers), w))
            .collect::<Result<_>>()?;
        let norm = Norm::load(w, names.norm, spec.hidden_size, spec.norm)?;
        let separate = match spec.head {
            Head::Separate => true,
            Head::SeparateIfThere => w.has(&format!("{}.weight", names.head)),
            Head::Tied => {
                // Some checkpoints store the tied matrix twice.
                let prefix = format!("{}.", names.head);
                w.ignore(move |name| name.starts_with(&prefix));
                false
            }
        };
        let head = match separate {
            true => Some(Linear::load(w, names.head, spec.hidden_size, spec.vocab_size, false)?),
            false => None,
        };
        Ok(Decoder { spec, embedding, layers, norm, head })
    }
}

impl LanguageModel for Decoder {
    fn forward(&self, inputs: &Inputs, cache: &mut Cache) -> Result<Output> {
        let (rows, length) = inputs.check(self.spec.hidden_size, self.layers.len())?;
        let mut h = match &inputs.content {
            Content::Tokens(tokens) => self.embed(tokens)?,
            Content::Embeddings(embeddings) => embeddings.clone(),
        };
        let offset = match &inputs.positions {
            Positions::Sequential => Offset::new(cache.positions().to_vec())?,
            Positions::Explicit(places) => Offset::explicit(places, rows)?,
        };
        let mut masks = Masks::default();
        let mut taps = vec![None; inputs.taps.len()];
        for (i, layer) in self.layers.iter().enumerate() {
            let state = cache.slot(i);
            let at = At { mask: masks.get(state, length, &inputs.visible)?, offset: &offset };
            h = layer.forward(h, &at, state)?;
            for (tap, _) in taps.iter_mut().zip(&inputs.taps).filter(|(_, wanted)| **wanted == i) {
                *tap = Some(h.clone());
            }
        }
        cache.advance(length);
        Ok(Output { hidden: self.norm.forward(&h)?, taps: taps.into_iter().flatten().collect() })
    }

    fn embed(&self, tokens: &Array) -> Result<Array> {
        let h = self.embedding.forward(tokens)?;
        match self.spec.embedding_scale {
            Some(scale) => h * scale,
            None => Ok(h),
        }
    }

    fn logits(&self, hidden: &Array) -> Result<Array> {
        let mut logits = match &self.head {
            Some(head) => head.forward(hidden)?,
            None => self.embedding.as_linear(hidden)?,
        };
        if let Some(scale) = self.spec.logit_scale {
            logits = (logits * scale)?;
        }
        if let Some(cap) = self.spec.logit_softcap {
            logits = ((logits / cap)?.tanh()? * cap)?;
        }
        Ok(logits)
    }

    fn new_cache(&self, options: &CacheOptions) -> Result<Cache> {
        Cache::new(self.spec.layers.iter().map(LayerSpec::cache), options)
    }

    fn vocab_size(&self) -> i32 {
        self.spec.vocab_size
    }

    fn context_length(&self) -> Option<i32> {
        self.spec.context_length
    }

    fn prefill_step(&self, device: Device) -> i32 {
        self.spec.prefill_step(device)
    }
}

/// Where a layer's new positions are, and what they may see.
struct At<'a> {
    offset: &'a Offset,
    mask: Mask,
}

/// The masks of one forward pass: layers of the same reach share theirs.
#[derive(Default)]
struct Masks(Vec<(Reach, Mask)>);

impl Masks {
    fn get(&mut self, state: &dyn State, length: i32, visible: &Visible) -> Result<Mask> {
        let reach = state.reach();
        if let Some((_, mask)) = self.0.iter().find(|(r, _)| *r == reach) {
            return Ok(mask.clone());
        }
        let mask = state.mask(length, visible)?;
        self.0.push((reach, mask.clone()));
        Ok(mask)
    }
}

impl Layer {
    fn load(spec: &DecoderSpec, layer: &LayerSpec, path: &str, w: &Weights) -> Result<Layer> {
        let Mixer::Attention(attention) = &layer.mixer;
        let names = &spec.names;
        let norm = |name: &str| Norm::load(w, &format!("{path}.{name}"), spec.hidden_size, spec.norm);
        Ok(Layer {
            mixer: Attention::load(attention, spec.hidden_size, &format!("{path}.{}", names.attention), w)?,
            ffn: FeedForward::load(&layer.ffn, spec.hidden_size, names, &format!("{path}.{}", names.ffn), w)?,
            norms: match layer.layout {
                NormLayout::Pre => {
                    Norms::Pre { mixer: norm("input_layernorm")?, ffn: norm("post_attention_layernorm")? }
                }
                NormLayout::Sandwich => Norms::Sandwich {
                    before_mixer: norm("input_layernorm")?,
                    after_mixer: norm("post_attention_layernorm")?,
                    before_ffn: norm("pre_feedforward_layernorm")?,
                    after_ffn: norm("post_feedforward_layernorm")?,
                },
                NormLayout::Post => {
                    Norms::Post { mixer: norm("post_attention_layernorm")?, ffn: norm("post_feedforward_layernorm")? }
                }
                NormLayout::Parallel => Norms::Parallel { both: norm("input_layernorm")? },
            },
            residual_scale: layer.residual_scale,
        })
    }

    fn forward(&self, x: Array, at: &At, state: &mut dyn State) -> Result<Array> {
        let onto = |x| Some(Residual { x, factor: self.residual_scale });
        let scaled = |y: Array| match self.residual_scale {
            Some(scale) => y * scale,
            None => Ok(y),
        };
        match &self.norms {
            Norms::Pre { mixer, ffn } => {
                let x = self.mixer.forward(Input::normed(&x, mixer), at, state, onto(&x))?;
                self.ffn.forward(Input::normed(&x, ffn), onto(&x))
            }
            Norms::Sandwich { before_mixer, after_mixer, before_ffn, after_ffn } => {
                let mixed = self.mixer.forward(Input::normed(&x, before_mixer), at, state, None)?;
                let x = (&x + scaled(after_mixer.forward(&mixed)?))?;
                &x + scaled(after_ffn.forward(&self.ffn.forward(Input::normed(&x, before_ffn), None)?)?)
            }
            Norms::Post { mixer, ffn } => {
                let x = (&x + scaled(mixer.forward(&self.mixer.forward(Input::plain(&x), at, state, None)?)?))?;
                &x + scaled(ffn.forward(&self.ffn.forward(Input::plain(&x), None)?)?)
            }
            Norms::Parallel { both } => {
                let n = both.forward(&x)?;
                let x = self.mixer.forward(Input::plain(&n), at, state, onto(&x))?;
                self.ffn.forward(Input::plain(&n), onto(&x))
            }
        }
    }
}
