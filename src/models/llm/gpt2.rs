//! GPT-2: learned positions, LayerNorm, biases everywhere.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{
    AttentionBias, AttentionNames, AttentionSpec, DecoderSpec, Head, LayerSpec, Names, NormAt, PlainSpec,
    PositionTable, QkvNames, SubLayer,
};
use crate::nn::{NormKind, NormSpec, RopeSpec};
use crate::weights::Weights;

#[derive(Deserialize)]
struct Config {
    layer_norm_epsilon: f32,
    activation_function: String,
}

/// GPT-2's names of keys.
pub const KEYS: &[(&str, &str)] = &[
    ("n_embd", "hidden_size"),
    ("n_head", "num_attention_heads"),
    ("n_layer", "num_hidden_layers"),
    ("n_inner", "intermediate_size"),
    ("n_positions", "max_position_embeddings"),
];

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = config::with_defaults(&config::renamed(config, KEYS), json!({"activation_function": "gelu_new"}));
    let c: Common = config::parse(&config)?;
    let mut spec = decoder(&config, ["model.wte", "model.wpe", "model.h", "model.ln_f"], c.num_attention_heads)?;
    spec.head = Head::Tied;
    Ok(spec)
}

/// With these names of the embeddings, the layers and the last norm.
pub fn decoder(config: &Value, names: [&'static str; 4], kv_heads: i32) -> Result<DecoderSpec> {
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let norm = NormSpec { kind: NormKind::LayerBias, eps: own.layer_norm_epsilon };
    let no_rope = RopeSpec::plain(2, 10_000.0);
    let mut attention = AttentionSpec::new(c.num_attention_heads, kv_heads, c.head_dim()?, no_rope);
    attention.rope = None;
    attention.bias = AttentionBias::All;
    attention.names = AttentionNames {
        attention: "attn",
        qkv: QkvNames::Fused("c_attn"),
        output: "c_proj",
        ..AttentionNames::default()
    };
    let ffn = PlainSpec {
        name: "mlp",
        size: if c.intermediate_size > 0 { c.intermediate_size } else { c.hidden_size.saturating_mul(4) },
        activation: config::activation("activation_function", &own.activation_function)?,
        bias: true,
        up: "c_fc",
        down: "c_proj",
    };
    let layer =
        LayerSpec::new(SubLayer::bare(attention).before("ln_1", norm), SubLayer::bare(ffn).before("ln_2", norm));
    let layers = vec![layer; c.layer_count()?];
    let [embedding, positions, layer_names, last_norm] = names;
    let rows = config::required("n_positions", c.max_position_embeddings)?;
    let head = Head::tied_if(c.tie_word_embeddings.unwrap_or(true));
    Ok(DecoderSpec {
        positions: Some(PositionTable { name: positions, rows }),
        norm: NormAt { name: last_norm, spec: norm },
        names: Names { embedding, layers: layer_names, head: "lm_head" },
        context_length: c.max_position_embeddings,
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, norm, head)
    })
}

/// Published weights are transposed, under names without `model`, and with masks.
pub fn sanitize(_: &Value, w: &Weights) -> Result<()> {
    const TRANSPOSED: [&str; 3] = [".c_attn.weight", ".c_proj.weight", ".c_fc.weight"];
    w.amend(
        |name| !name.starts_with("model.") && TRANSPOSED.iter().any(|end| name.ends_with(end)),
        |_, weight| weight.transpose()?.contiguous(),
    )?;
    w.rename(|name| {
        if name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") {
            return None;
        }
        let bare = name.strip_prefix("transformer.").or(name.strip_prefix("model.")).unwrap_or(name);
        Some(if bare.starts_with("lm_head.") { bare.to_owned() } else { format!("model.{bare}") })
    })
}
