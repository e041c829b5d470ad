//! OLMo 1: LayerNorm without weights. As AI2 published it, with fused projections within the layer itself, and as
//! transformers has it, under Llama's names.

use serde::Deserialize;
use serde_json::{Value, json};

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionNames, DecoderSpec, GateUp, GatedSpec, LayerSpec, Names, NormAt, QkvNames};
use crate::nn::{NormKind, NormSpec};

#[derive(Deserialize)]
struct Config {
    clip_qkv: Option<f32>,
    /// Of gate and up together.
    mlp_hidden_size: Option<i32>,
    mlp_ratio: i32,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let ai2 = config.get("d_model").is_some();
    let names = [
        ("d_model", "hidden_size"),
        ("n_layers", "num_hidden_layers"),
        ("n_heads", "num_attention_heads"),
        ("n_kv_heads", "num_key_value_heads"),
        ("max_sequence_length", "max_position_embeddings"),
        ("weight_tying", "tie_word_embeddings"),
    ];
    let config = config::renamed(config, &names);
    let config =
        &config::with_defaults(&config, json!({"tie_word_embeddings": false, "rms_norm_eps": 1e-5, "mlp_ratio": 4}));
    let (mut c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    if ai2 {
        // The embedding has more rows than there are tokens.
        c.vocab_size = config::parse::<Rows>(config)?.embedding_size.unwrap_or(c.vocab_size);
        c.intermediate_size = own.mlp_hidden_size.unwrap_or(own.mlp_ratio.saturating_mul(c.hidden_size)) / 2;
    }
    let norm = NormSpec { kind: NormKind::LayerBare, eps: c.rms_norm()?.eps };
    let mut attention = llama::attention(&c)?;
    attention.clip_qkv = own.clip_qkv;
    let mut ffn = llama::ffn(&c);
    let mut names = Names::default();
    if ai2 {
        attention.names = AttentionNames {
            attention: "",
            qkv: QkvNames::Fused("att_proj"),
            output: "attn_out",
            ..AttentionNames::default()
        };
        ffn = GatedSpec { name: "", gate_up: GateUp::FusedUpFirst("ff_proj"), down: "ff_out", ..ffn };
        names = Names {
            embedding: "model.transformer.wte",
            layers: "model.transformer.blocks",
            head: "model.transformer.ff_out",
        };
    }
    let layers = vec![LayerSpec::pre_norm(attention, ffn, norm); c.layer_count()?];
    Ok(DecoderSpec { norm: NormAt { name: "model.norm", spec: norm }, names, ..llama::decoder(&c, layers)? })
}

#[derive(Deserialize)]
struct Rows {
    embedding_size: Option<i32>,
}
