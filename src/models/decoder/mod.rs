//! The one decoder that runs every [`DecoderSpec`].

mod ffn;
mod layer;
mod mixers;
mod pass;
mod per_layer;
mod spec;
#[cfg(test)]
mod tests;

pub use ffn::{BesideSpec, Ffn, GateUp, GatedSpec, MoeSpec, PlainSpec, SharedExpert, SharedGate, XieluSpec};
pub(in crate::models) use layer::{Masks, Slot, slots};
pub(in crate::models) use mixers::Mix;
pub use mixers::{
    AttentionBias, AttentionNames, AttentionSpec, ConvSpec, DeltaProjections, GateEach, GatedDeltaSpec, HeadWeights,
    Mamba2Spec, MambaGate, MambaNorms, MambaSpec, Mixer, MlaSpec, OutputGate, Pair, QkNorm, QkvNames, ShortConvSpec,
    Temperature,
};
pub use pass::StateUse;
pub(in crate::models) use pass::{At, Memory};
pub(in crate::models) use per_layer::{LayerGate, PerLayer};
pub use per_layer::{PerLayerGate, PerLayerSpec};
pub use spec::{DecoderSpec, Flow, Head, LayerSpec, Loops, Names, NormAt, PositionTable, SubLayer};

use crate::array::fused::{Mask, Offset};
use crate::array::{Array, Device};
use crate::cache::{Cache, CacheOptions, State};
use crate::error::{Error, Result};
use crate::models::{Between, Content, Encoder, Inputs, LanguageModel, Output, Positions};
use crate::nn::{Embedding, Linear, Norm};
use crate::weights::Weights;
use layer::Layer;

/// A decoder with its weights.
pub struct Decoder {
    spec: DecoderSpec,
    embedding: Embedding,
    embedding_norm: Option<Norm>,
    positions: Option<Embedding>,
    per_layer: Option<PerLayer>,
    layers: Vec<Layer>,
    /// Entries of its caches, of each time the layers run.
    slots: usize,
    norm: Norm,
    head: Option<Linear>,
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
            .zip(slots(&spec.layers))
            .enumerate()
            .map(|(i, (layer, slot))| Layer::load(layer, slot, spec.hidden_size, &format!("{}.{i}", names.layers), w))
            .collect::<Result<_>>()?;
        let norm = Norm::load(w, spec.norm.name, spec.hidden_size, spec.norm.spec)?;
        let separate = match spec.head {
            Head::Separate | Head::WithBias => true,
            Head::SeparateIfThere => w.has(&format!("{}.weight", names.head)),
            Head::Tied => {
                // Some checkpoints store the tied matrix twice.
                let prefix = format!("{}.", names.head);
                w.ignore(move |name| name.starts_with(&prefix));
                false
            }
        };
        let head = match separate {
            true => {
                let bias = spec.head == Head::WithBias;
                Some(Linear::load(w, names.head, spec.hidden_size, spec.vocab_size, bias)?)
            }
            false => None,
        };
        let slots = spec.layers.iter().map(|layer| layer.caches().len()).sum();
        let embedding_norm = spec.embedding_norm.map(Norm::bare);
        let positions = spec.positions.map(|table| Embedding::load(w, table.name, table.rows, spec.hidden_size));
        let per_layer = spec.per_layer.map(|one| PerLayer::load(one, spec.hidden_size, spec.layers.len(), w));
        let (positions, per_layer) = (positions.transpose()?, per_layer.transpose()?);
        Ok(Decoder { spec, embedding, embedding_norm, positions, per_layer, layers, slots, norm, head })
    }
}

impl LanguageModel for Decoder {
    fn forward_between(&self, inputs: &Inputs, cache: &mut Cache, between: Between) -> Result<Output> {
        let (rows, length) = inputs.check(self.spec.hidden_size, self.layers.len())?;
        let mut h = match &inputs.content {
            Content::Tokens(tokens) => self.embed(tokens)?,
            Content::Embeddings(embeddings) | Content::Spliced { embeddings, .. } => embeddings.clone(),
        };
        let per_layer = match (&self.per_layer, &inputs.content) {
            (None, _) => None,
            (Some(inputs), Content::Tokens(tokens) | Content::Spliced { tokens, .. }) => Some(inputs.of(tokens, &h)?),
            (Some(_), Content::Embeddings(_)) => {
                return Err(Error::unsupported(
                    "embeddings without their tokens, which each layer of this model needs",
                ));
            }
        };
        let offset = match &inputs.positions {
            Positions::Sequential => Offset::new(cache.positions().to_vec())?,
            Positions::Explicit(places) => Offset::explicit(places, rows)?,
        };
        if let (Some(table), Some(spec)) = (&self.positions, self.spec.positions) {
            h = (h + table.forward(&offset.places(length, spec.rows)?)?)?;
        }
        let mut masks = Masks::new(length, &inputs.visible);
        let mut taps = vec![None; inputs.taps.len()];
        if cache.slots() != self.slots * self.spec.loops.count {
            return Err(Error::internal("the cache of another model"));
        }
        let count = self.layers.len();
        for step in 0..self.spec.loops.count * count {
            let (i, first) = (step % count, step / count * self.slots);
            if i == 0 && step > 0 && self.spec.loops.norm_each {
                h = self.norm.forward(&h)?;
            }
            let layer = &self.layers[i];
            let (mask, memory) = match layer.slot {
                Slot::Own(slot) => {
                    let own = cache.slot(first + slot);
                    (masks.over(own)?, Memory::Own(own))
                }
                Slot::Shared(slot) => {
                    let shared = cache.slot(first + slot);
                    (masks.over(shared)?, Memory::Shared(shared))
                }
                Slot::Several(slot, count) => {
                    let mut each: Vec<(Mask, &mut dyn State)> = Vec::with_capacity(count);
                    for state in cache.slots_mut(first + slot..first + slot + count) {
                        each.push((masks.over(&**state)?, &mut **state));
                    }
                    (Mask::None, Memory::Each(each))
                }
                Slot::None => (masks.alone(layer.window)?, Memory::None),
            };
            let beside = per_layer.as_ref().map(|all| all[i].clone());
            h = layer.forward(&h, &At { offset: &offset, mask }, memory, beside.as_ref())?;
            for (tap, _) in taps.iter_mut().zip(&inputs.taps).filter(|(_, wanted)| **wanted == i) {
                *tap = Some(h.clone());
            }
            between(&h)?;
        }
        cache.advance(length);
        Ok(Output { hidden: self.norm.forward(&h)?, taps: taps.into_iter().flatten().collect() })
    }

    fn embed(&self, tokens: &Array) -> Result<Array> {
        let mut h = self.embedding.forward(tokens)?;
        if let Some(scale) = self.spec.embedding_scale {
            h = (h * scale)?;
        }
        match &self.embedding_norm {
            Some(norm) => norm.forward(&h),
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
        let states = || self.spec.layers.iter().flat_map(LayerSpec::caches);
        Cache::new((0..self.spec.loops.count).flat_map(|_| states()), options)
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

    fn depends_on_chunks(&self) -> bool {
        self.spec.layers.iter().any(|layer| layer.attend.what.spec().depends_on_chunks())
    }
}

/// Layers that have no state, with all that their inputs let them see.
impl Encoder for Decoder {
    fn encode(&self, inputs: &Inputs) -> Result<Output> {
        if self.layers.iter().any(|layer| layer.slot != Slot::None) {
            return Err(Error::internal("an encoder that remembers"));
        }
        self.forward(inputs, &mut self.new_cache(&CacheOptions::default())?)
    }

    fn context_length(&self) -> Option<i32> {
        self.spec.context_length
    }
}
