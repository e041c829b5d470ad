//! nanochat: norms without weights, also of the embeddings and of each head; RoPE turns the other way round.

use serde_json::{Value, json};

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{
    AttentionNames, DecoderSpec, Head, LayerSpec, Names, NormAt, PlainSpec, QkNorm, QkvNames, SubLayer,
};
use crate::nn::rope::RopeScaling;
use crate::nn::{Activation, NormKind, NormSpec};
use crate::weights::Weights;

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = config::with_defaults(
        config,
        json!({
            "hidden_size": 1280, "num_hidden_layers": 20, "num_attention_heads": 10, "num_key_value_heads": 10,
            "vocab_size": 65_536, "max_position_embeddings": 2048, "intermediate_size": 5120,
            "rope_theta": 10_000.0, "rms_norm_eps": 1e-5,
        }),
    );
    let c: Common = config::parse(&config)?;
    // The reference has this number in its code.
    let norm = NormSpec { kind: NormKind::RmsBare, eps: 1e-5 };
    let mut attention = llama::attention(&c)?;
    if let Some(rope) = &mut attention.rope {
        rope.scaling = RopeScaling::Backwards;
    }
    // Without weights it makes no difference whether the norm is before or after the rotation.
    attention.qk_norm = QkNorm::Head(norm);
    attention.names = AttentionNames {
        attention: "attn",
        qkv: QkvNames::Separate(["c_q", "c_k", "c_v"]),
        output: "c_proj",
        ..AttentionNames::default()
    };
    let ffn = PlainSpec {
        name: "mlp",
        size: c.intermediate_size,
        activation: Activation::ReluSquared,
        bias: false,
        up: "c_fc",
        down: "c_proj",
    };
    let (attend, feed) = (SubLayer::bare(attention), SubLayer::bare(ffn));
    let layer = LayerSpec::new(attend.before("", norm), feed.before("", norm));
    Ok(DecoderSpec {
        embedding_norm: Some(norm),
        norm: NormAt { name: "", spec: norm },
        head: Head::Separate,
        logit_softcap: Some(15.0),
        names: Names { embedding: "transformer.wte", layers: "transformer.h", head: "lm_head" },
        ..llama::decoder(&c, vec![layer; c.layer_count()?])?
    })
}

/// Gives checkpoints in transformers' layout the original names.
pub fn sanitize(_: &Value, w: &Weights) -> Result<()> {
    const NAMES: [(&str, &str); 7] = [
        ("self_attn.q_proj", "attn.c_q"),
        ("self_attn.k_proj", "attn.c_k"),
        ("self_attn.v_proj", "attn.c_v"),
        ("self_attn.o_proj", "attn.c_proj"),
        ("mlp.fc1", "mlp.c_fc"),
        ("mlp.fc2", "mlp.c_proj"),
        ("model.embed_tokens", "transformer.wte"),
    ];
    w.rename(|name| {
        let name = name.replacen("model.layers.", "transformer.h.", 1);
        Some(NAMES.iter().fold(name, |name, (own, original)| name.replacen(own, original, 1)))
    })
}
