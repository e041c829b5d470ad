//! Gemma 3n, the text side: several residual streams, of which each layer computes one and predicts and corrects the
//! others (AltUp, Baykal et al. 2023, arXiv:2301.13310); a low-rank branch beside attention (Laurel); embeddings for every
//! layer; sparse activations; layers that read the keys and values of earlier ones.

use serde::Deserialize;
use serde_json::{Value, json};

use super::altup::{AltUp, AltUpSpec};
use crate::array::fused::Offset;
use crate::array::{Array, Device, Dtype, stack};
use crate::cache::{Cache, CacheOptions};
use crate::error::{Error, Result};
use crate::models::config::{self, Common, FULL, SLIDING, invalid, size};
use crate::models::decoder::{
    At, AttentionSpec, DecoderSpec, GatedSpec, Head, LayerGate, LayerSpec, Masks, Memory, Mix, PerLayer, PerLayerGate,
    PerLayerSpec, QkNorm, Slot, StateUse, slots,
};
use crate::models::shape::ModelShape;
use crate::models::{Between, Content, Inputs, LanguageModel, Output, Positions};
use crate::nn::{Activation, Embedding, Input, Joint, Linear, Norm, NormSpec};
use crate::weights::Weights;

#[derive(Deserialize)]
struct Config {
    num_kv_shared_layers: i64,
    sliding_window: i32,
    vocab_size_per_layer_input: i32,
    hidden_size_per_layer_input: i32,
    final_logit_softcapping: Option<f32>,
    activation_sparsity_pattern: Option<Vec<f32>>,
    laurel_rank: i32,
}

/// The smallest mean square by which a stream is scaled, as in transformers; mlx-lm 0.32.2 has no limit.
const SMALLEST: f32 = 1e-5;

/// What a decoder's specification can say of it, and the rest.
struct Parsed {
    spec: DecoderSpec,
    own: Config,
    altup: AltUpSpec,
}

fn parse(config: &Value) -> Result<Parsed> {
    // One feed-forward size, or one for each layer.
    let sizes = config.get("intermediate_size").and_then(Value::as_array).cloned();
    let mut config = config::with_defaults(config, json!({"altup_active_idx": 0, "altup_correct_scale": true}));
    if sizes.is_some() {
        config["intermediate_size"] = json!(1);
    }
    let (c, own): (Common, Config) = (config::parse(&config)?, config::parse(&config)?);
    let types = config::required("layer_types", c.layer_types.clone())?;
    config::layer_count(types.len() as i32)?;
    let shared = (types.len() as i64 - own.num_kv_shared_layers).clamp(0, types.len() as i64) as usize;
    let (head_dim, norm) = (c.head_dim()?, c.rms_norm()?);
    let layers = types.iter().enumerate().map(|(i, kind)| {
        let full = kind == FULL;
        let rope = if full { c.rope(head_dim, Some(1e6))? } else { c.rope_of(SLIDING, head_dim, Some(10_000.0))? };
        let mut attention = AttentionSpec::new(c.num_attention_heads, c.kv_heads(), head_dim, rope);
        attention.scale = 1.0;
        attention.window = (!full).then_some(own.sliding_window);
        attention.qk_norm = QkNorm::Head(norm);
        attention.value_norm = Some(norm.eps);
        let size = match &sizes {
            Some(sizes) => config::parse(sizes.get(i).unwrap_or(&Value::Null))?,
            None => c.intermediate_size,
        };
        let mut layer = LayerSpec::sandwich(attention, GatedSpec::new(size, Activation::GeluTanh), norm);
        if i >= shared {
            let of = types[..shared].iter().rposition(|other| other == kind);
            let of = of.ok_or_else(|| invalid(format!("num_kv_shared_layers: layer {i} has none to share with")))?;
            layer.state = StateUse::SharedWith(of);
        }
        layer.per_layer = Some(PerLayerGate { size: own.hidden_size_per_layer_input, eps: norm.eps });
        Ok(layer)
    });
    let layers = layers.collect::<Result<_>>()?;
    let per_layer = PerLayerSpec {
        vocab_size: own.vocab_size_per_layer_input,
        size: own.hidden_size_per_layer_input,
        eps: norm.eps,
    };
    let spec = DecoderSpec {
        embedding_scale: Some((c.hidden_size as f32).sqrt()),
        per_layer: Some(per_layer),
        logit_softcap: own.final_logit_softcapping,
        context_length: c.max_position_embeddings,
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, norm, Head::Tied)
    };
    spec.validate()?;
    size("laurel_rank", own.laurel_rank, 1 << 16)?;
    let altup: AltUpSpec = config::parse(&config)?;
    altup.validate()?;
    Ok(Parsed { spec, own, altup })
}

/// Its sizes: those of the decoder, and what AltUp and Laurel add.
pub fn shape(config: &Value) -> Result<ModelShape> {
    let Parsed { spec, own, altup } = parse(config)?;
    let mut shape = spec.shape();
    let hidden = shape.hidden;
    shape.parameters += 2 * (altup.altup_num_inputs as u64 - 1) * hidden * hidden;
    for layer in &mut shape.layers {
        layer.parameters += altup.parameters(hidden) + 2 * own.laurel_rank as u64 * hidden + hidden;
    }
    Ok(shape)
}

/// Takes its weights.
pub fn load(config: &Value, w: &Weights) -> Result<Box<dyn LanguageModel>> {
    let Parsed { spec, own, altup } = parse(config)?;
    let (hidden, norm) = (spec.hidden_size, spec.norm.spec);
    w.ignore(|name| name.starts_with("lm_head.") || name.ends_with("rotary_emb.inv_freq"));
    let streams = |name: &str| -> Result<Vec<Linear>> {
        let one = |i: i32| Linear::load(w, &format!("model.{name}.{i}"), hidden, hidden, false);
        (0..altup.altup_num_inputs - 1).map(one).collect()
    };
    let layers = spec.layers.iter().zip(slots(&spec.layers)).enumerate();
    let layers = layers.map(|(i, (layer, slot))| Layer::load(layer, slot, i, (&own, &altup), hidden, norm, w));
    let layers = layers.collect::<Result<_>>()?;
    let per_layer = config::required("hidden_size_per_layer_input", spec.per_layer)?;
    Ok(Box::new(Gemma3n {
        embedding: Embedding::load(w, "model.embed_tokens", spec.vocab_size, hidden)?,
        per_layer: PerLayer::load(per_layer, hidden, spec.layers.len(), w)?,
        into: streams("altup_projections")?,
        out_of: streams("altup_unembed_projections")?,
        layers,
        norm: Norm::load(w, spec.norm.name, hidden, norm)?,
        spec,
    }))
}

struct Gemma3n {
    spec: DecoderSpec,
    embedding: Embedding,
    per_layer: PerLayer,
    /// The first stream as each of the others.
    into: Vec<Linear>,
    /// And back.
    out_of: Vec<Linear>,
    layers: Vec<Layer>,
    norm: Norm,
}

impl LanguageModel for Gemma3n {
    fn forward_between(&self, inputs: &Inputs, cache: &mut Cache, between: Between) -> Result<Output> {
        let (rows, length) = inputs.check(self.spec.hidden_size, self.layers.len())?;
        let (tokens, h) = match &inputs.content {
            Content::Tokens(tokens) => (tokens, self.embed(tokens)?),
            Content::Spliced { tokens, embeddings } => (tokens, embeddings.clone()),
            Content::Embeddings(_) => {
                return Err(Error::unsupported(
                    "embeddings without their tokens, which each layer of this model needs",
                ));
            }
        };
        let offset = match &inputs.positions {
            Positions::Sequential => Offset::new(cache.positions().to_vec())?,
            Positions::Explicit(places) => Offset::explicit(places, rows)?,
        };
        let beside = self.per_layer.of(tokens, &h)?;
        let magnitude = mean_square(&h)?.sqrt()?;
        let others = self.into.iter().map(|layer| scaled_to(&magnitude, &layer.forward(&h)?));
        let mut streams = vec![h.clone()];
        streams.extend(others.collect::<Result<Vec<_>>>()?);
        let mut masks = Masks::new(length, &inputs.visible);
        let mut taps = vec![None; inputs.taps.len()];
        for (i, (layer, beside)) in self.layers.iter().zip(&beside).enumerate() {
            let (slot, own) = match layer.slot {
                Slot::Own(slot) => (slot, true),
                Slot::Shared(slot) => (slot, false),
                Slot::Several(..) | Slot::None => return Err(Error::internal("a layer without a state")),
            };
            let state = cache.slot(slot);
            let at = At { offset: &offset, mask: masks.over(state)? };
            streams =
                layer.forward(streams, &at, if own { Memory::Own(state) } else { Memory::Shared(state) }, beside)?;
            for (tap, _) in taps.iter_mut().zip(&inputs.taps).filter(|(_, wanted)| **wanted == i) {
                *tap = Some(streams[0].clone());
            }
            between(&stack(&streams, 0)?)?;
        }
        cache.advance(length);
        let magnitude = mean_square(&streams[0])?.sqrt()?;
        for (layer, stream) in self.out_of.iter().zip(&mut streams[1..]) {
            *stream = scaled_to(&magnitude, &layer.forward(stream)?)?;
        }
        let mean = stack(&streams, 0)?.mean(0, false)?;
        Ok(Output { hidden: self.norm.forward(&mean)?, taps: taps.into_iter().flatten().collect() })
    }

    fn embed(&self, tokens: &Array) -> Result<Array> {
        self.embedding.forward(tokens)? * (self.spec.hidden_size as f32).sqrt()
    }

    fn logits(&self, hidden: &Array) -> Result<Array> {
        let logits = self.embedding.as_linear(hidden)?;
        match self.spec.logit_softcap {
            Some(cap) => (logits / cap)?.tanh()? * cap,
            None => Ok(logits),
        }
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
}

struct Layer {
    slot: Slot,
    altup: AltUp,
    laurel: (Linear, Linear, Norm),
    before_attention: Norm,
    attention: Box<dyn Mix>,
    after_attention: Norm,
    before_feed: Norm,
    gate_up: Joint<2>,
    down: Linear,
    /// How many standard deviations above the mean a gate begins to open.
    threshold: Option<Array>,
    after_feed: Norm,
    gate: LayerGate,
}

impl Layer {
    fn load(
        spec: &LayerSpec,
        slot: Slot,
        index: usize,
        (own, altup): (&Config, &AltUpSpec),
        hidden: i32,
        norm: NormSpec,
        w: &Weights,
    ) -> Result<Layer> {
        let path = &format!("model.layers.{index}");
        let normed = |name: &str| Norm::load(w, &format!("{path}.{name}"), hidden, norm);
        let crate::models::decoder::Ffn::Gated(feed) = &spec.feed.what else {
            return Err(Error::internal("another feed-forward layer"));
        };
        let parts = ["gate_proj", "up_proj"].map(|name| (format!("{path}.mlp.{name}"), feed.size));
        let rank = own.laurel_rank;
        let sparsity = own.activation_sparsity_pattern.as_ref().and_then(|all| all.get(index)).copied();
        let threshold = sparsity
            .filter(|part| *part > 0.0)
            .map(|part| Array::scalar(2.0 * part - 1.0, Dtype::F32)?.erfinv()? * std::f32::consts::SQRT_2);
        let gate = config::required("hidden_size_per_layer_input", spec.per_layer)?;
        Ok(Layer {
            slot,
            altup: AltUp::load(&format!("{path}.altup"), altup, hidden, norm, w)?,
            laurel: (
                Linear::load(w, &format!("{path}.laurel.linear_left"), hidden, rank, false)?,
                Linear::load(w, &format!("{path}.laurel.linear_right"), rank, hidden, false)?,
                normed("laurel.post_laurel_norm")?,
            ),
            before_attention: normed("input_layernorm")?,
            attention: spec.attend.what.spec().load(hidden, spec.state, path, w)?,
            after_attention: normed("post_attention_layernorm")?,
            before_feed: normed("pre_feedforward_layernorm")?,
            gate_up: Joint::separate(w, parts, hidden, false)?,
            down: Linear::load(w, &format!("{path}.mlp.down_proj"), feed.size, hidden, false)?,
            threshold: threshold.transpose()?,
            after_feed: normed("post_feedforward_layernorm")?,
            gate: LayerGate::load(gate, hidden, path, w)?,
        })
    }

    fn forward(&self, streams: Vec<Array>, at: &At, memory: Memory, beside: &Array) -> Result<Vec<Array>> {
        let predictions = self.altup.predict(&streams)?;
        let active = &predictions[self.altup.active];
        let x = self.before_attention.forward(active)?;
        let (left, right, after) = &self.laurel;
        let laurel = (&x + after.forward(&right.forward(&left.forward(&x)?)?)?)?;
        let attended = self.after_attention.forward(&self.attention.forward(Input::plain(&x), at, memory, None)?)?;
        let both = (((active + attended)? + laurel)? * std::f32::consts::FRAC_1_SQRT_2)?;
        let [mut gate, up] = self.gate_up.forward(Input::normed(&both, &self.before_feed))?;
        if let Some(threshold) = &self.threshold {
            let mean = gate.mean(-1, true)?;
            let deviation = (&gate - &mean)?.square()?.mean(-1, true)?.sqrt()?;
            let cutoff = (mean + (deviation * threshold.astype(gate.dtype())?)?)?;
            gate = Activation::Relu.apply(&(gate - cutoff)?)?;
        }
        let fed = self.down.forward(&(Activation::GeluTanh.apply(&gate)? * up)?)?;
        let activated = (both + self.after_feed.forward(&fed)?)?;
        let mut streams = self.altup.correct(&predictions, &activated)?;
        let mut first = streams[self.altup.active].clone();
        if let Some(scale) = &self.altup.output_scale {
            first = (first * scale)?;
        }
        let more = self.gate.of(&first, beside)?;
        for stream in &mut streams[1..] {
            *stream = (&*stream + &more)?;
        }
        Ok(streams)
    }
}

fn mean_square(x: &Array) -> Result<Array> {
    x.square()?.mean(-1, true)
}

/// `x` with this root mean square.
fn scaled_to(magnitude: &Array, x: &Array) -> Result<Array> {
    let own = mean_square(x)?;
    let own = own.maximum(&Array::scalar(SMALLEST, own.dtype())?)?.sqrt()?;
    x * (magnitude / own)?
}
