//! OpenELM: heads and feed-forward sizes that grow from layer to layer, norms of each head.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Result;
use crate::models::config::{self, invalid, required};
use crate::models::decoder::{
    AttentionNames, AttentionSpec, DecoderSpec, GateUp, GatedSpec, Head, LayerSpec, Names, NormAt, QkNorm, QkvNames,
    SubLayer,
};
use crate::nn::{Activation, NormKind, NormSpec, RopeSpec};

#[derive(Deserialize)]
struct Config {
    head_dim: i32,
    num_transformer_layers: i32,
    model_dim: i32,
    vocab_size: i32,
    ffn_dim_divisor: i32,
    num_query_heads: Vec<i32>,
    num_kv_heads: Vec<i32>,
    ffn_multipliers: Vec<f64>,
    normalize_qk_projections: bool,
    share_input_output_layers: bool,
    rms_norm_eps: f32,
    rope_freq_constant: f32,
    max_context_length: Option<i32>,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(
        config,
        json!({"normalize_qk_projections": true, "share_input_output_layers": true, "rms_norm_eps": 1e-6,
            "rope_freq_constant": 10_000.0}),
    );
    let c: Config = config::parse(config)?;
    let norm = NormSpec { kind: NormKind::Rms, eps: c.rms_norm_eps };
    config::size("model_dim", c.model_dim, 1 << 18)?;
    config::size("ffn_dim_divisor", c.ffn_dim_divisor, 1 << 16)?;
    let layers = (0..config::layer_count(c.num_transformer_layers)?).map(|i| {
        let [heads, kv_heads] = [("num_query_heads", &c.num_query_heads), ("num_kv_heads", &c.num_kv_heads)]
            .map(|(key, list)| required(&format!("{key}[{i}]"), list.get(i).copied()));
        let factor = required(&format!("ffn_multipliers[{i}]"), c.ffn_multipliers.get(i).copied())?;
        let rope = RopeSpec::plain(c.head_dim, c.rope_freq_constant);
        let mut attention = AttentionSpec::new(heads?, kv_heads?, c.head_dim, rope);
        if c.normalize_qk_projections {
            attention.qk_norm = QkNorm::Head(norm);
        }
        attention.names = AttentionNames {
            attention: "attn",
            qkv: QkvNames::Fused("qkv_proj"),
            output: "out_proj",
            ..AttentionNames::default()
        };
        let size = divisible(factor * f64::from(c.model_dim), c.ffn_dim_divisor)?;
        let gate_up = GateUp::Fused("proj_1");
        let ffn = GatedSpec { name: "ffn", gate_up, down: "proj_2", ..GatedSpec::new(size, Activation::Silu) };
        let (attend, feed) = (SubLayer::bare(attention), SubLayer::bare(ffn));
        Ok(LayerSpec::new(attend.before("attn_norm", norm), feed.before("ffn_norm", norm)))
    });
    let layers = layers.collect::<Result<_>>()?;
    Ok(DecoderSpec {
        norm: NormAt { name: "transformer.norm", spec: norm },
        names: Names { embedding: "transformer.token_embeddings", layers: "transformer.layers", head: "lm_head" },
        context_length: c.max_context_length,
        ..DecoderSpec::new(c.vocab_size, c.model_dim, layers, norm, Head::tied_if(c.share_input_output_layers))
    })
}

/// The multiple of `divisor` nearest to `size`, not more than a tenth below it.
fn divisible(size: f64, divisor: i32) -> Result<i32> {
    if !(0.0..1e7).contains(&size) {
        return Err(invalid(format!("ffn_multipliers make a size of {size}")));
    }
    let near = ((size + f64::from(divisor) / 2.0) as i32 / divisor * divisor).max(divisor);
    Ok(if f64::from(near) < 0.9 * size { near + divisor } else { near })
}
