//! The one decoder that runs every [`DecoderSpec`].

mod ffn;
mod layer;
mod mixers;
mod pass;
mod spec;
#[cfg(test)]
mod tests;

pub use ffn::{Ffn, GateUp, GatedSpec, MoeSpec, PlainSpec, SharedExpert, SharedGate};
pub use mixers::{
    AttentionBias, AttentionNames, AttentionSpec, ConvSpec, DeltaProjections, GatedDeltaSpec, HeadWeights, Mamba2Spec,
    MambaGate, MambaNorms, MambaSpec, Mixer, MlaSpec, Pair, QkNorm, QkvNames, ShortConvSpec, Temperature,
};
pub use pass::StateUse;
pub use spec::{DecoderSpec, Flow, Head, LayerSpec, Names, NormAt, SubLayer};

use crate::array::fused::{Mask, Offset};
use crate::array::{Array, Device};
use crate::cache::{Cache, CacheOptions, State};
use crate::error::{Error, Result};
use crate::models::{Between, Content, Encoder, Inputs, LanguageModel, Output, Positions};
use crate::nn::{Embedding, Linear, Norm};
use crate::weights::Weights;
use layer::{Layer, Masks, Slot, slots};
use pass::{At, Memory};

/// A decoder with its weights.
pub struct Decoder {
    spec: DecoderSpec,
    embedding: Embedding,
    layers: Vec<Layer>,
    /// Entries of its caches.
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
        let slots = spec.layers.iter().map(|layer| layer.caches().len()).sum();
        Ok(Decoder { spec, embedding, layers, slots, norm, head })
    }
}

impl LanguageModel for Decoder {
    fn forward_between(&self, inputs: &Inputs, cache: &mut Cache, between: Between) -> Result<Output> {
        let (rows, length) = inputs.check(self.spec.hidden_size, self.layers.len())?;
        let mut h = match &inputs.content {
            Content::Tokens(tokens) => self.embed(tokens)?,
            Content::Embeddings(embeddings) => embeddings.clone(),
        };
        let offset = match &inputs.positions {
            Positions::Sequential => Offset::new(cache.positions().to_vec())?,
            Positions::Explicit(places) => Offset::explicit(places, rows)?,
        };
        let mut masks = Masks::new(length, &inputs.visible);
        let mut taps = vec![None; inputs.taps.len()];
        if cache.slots() != self.slots {
            return Err(Error::internal("the cache of another model"));
        }
        for (i, layer) in self.layers.iter().enumerate() {
            let (mask, memory) = match layer.slot {
                Slot::Own(slot) => {
                    let own = cache.slot(slot);
                    (masks.over(own)?, Memory::Own(own))
                }
                Slot::Shared(slot) => {
                    let shared = cache.slot(slot);
                    (masks.over(shared)?, Memory::Shared(shared))
                }
                Slot::Several(first, count) => {
                    let mut each: Vec<(Mask, &mut dyn State)> = Vec::with_capacity(count);
                    for state in cache.slots_mut(first..first + count) {
                        each.push((masks.over(&**state)?, &mut **state));
                    }
                    (Mask::None, Memory::Each(each))
                }
                Slot::None => (masks.alone(layer.window)?, Memory::None),
            };
            h = layer.forward(&h, &At { offset: &offset, mask }, memory)?;
            for (tap, _) in taps.iter_mut().zip(&inputs.taps).filter(|(_, wanted)| **wanted == i) {
                *tap = Some(h.clone());
            }
            between(&h)?;
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
        Cache::new(self.spec.layers.iter().flat_map(LayerSpec::caches), options)
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
