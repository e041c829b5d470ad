//! Muse Glimmer, the text side: Gemma's norms, gated attention, windows on most layers; the others have no RoPE.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Result;
use crate::models::config::{self, Common, FULL, SLIDING, invalid};
use crate::models::decoder::{
    AttentionSpec, DecoderSpec, GateEach, GatedSpec, Head, LayerSpec, OutputGate, QkNorm, SubLayer,
};
use crate::nn::{Activation, NormKind, NormSpec};

#[derive(Deserialize)]
struct Config {
    post_norm_eps: f32,
    sliding_window: i32,
    qk_scale_factor: f32,
    /// 0 marks a layer without RoPE.
    layer_rope_theta: Option<Vec<f32>>,
    final_logit_softcapping: f32,
    output_multiplier: f32,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(
        config,
        json!({
            "hidden_size": 6656, "num_hidden_layers": 52, "intermediate_size": 19_968, "num_attention_heads": 32,
            "num_key_value_heads": 2, "head_dim": 128, "vocab_size": 202_048, "rms_norm_eps": 1e-5,
            "post_norm_eps": 1e-8, "sliding_window": 2048, "qk_scale_factor": 3.87, "rope_theta": 500_000.0,
            "max_position_embeddings": 131_072, "final_logit_softcapping": 20.0,
            "output_multiplier": 0.196_116_135_138_184_04, "tie_word_embeddings": false,
        }),
    );
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let usual = |i: usize| if i % 4 == 3 { FULL } else { SLIDING };
    let count = c.layer_count()?;
    let bare = NormSpec { kind: NormKind::RmsBare, ..c.rms_norm()? };
    let before = NormSpec { kind: NormKind::RmsPlusOne, ..bare };
    let after = NormSpec { eps: own.post_norm_eps, ..before };
    let layers = (0..count).map(|i| {
        let full = match &c.layer_types {
            Some(types) => types.get(i).ok_or_else(|| invalid("layer_types is too short".into()))? == FULL,
            None => usual(i) == FULL,
        };
        let rotated = match &own.layer_rope_theta {
            Some(bases) => *bases.get(i).ok_or_else(|| invalid("layer_rope_theta is too short".into()))? != 0.0,
            None => !full,
        };
        let head_dim = c.head_dim()?;
        let mut attention = AttentionSpec::new(c.num_attention_heads, c.kv_heads(), head_dim, c.rope(head_dim, None)?);
        attention.rope = attention.rope.filter(|_| rotated);
        attention.window = (!full).then_some(own.sliding_window);
        attention.qk_norm = QkNorm::Head(bare);
        attention.scale *= own.qk_scale_factor;
        attention.gate = Some(OutputGate { name: "gate_proj", each: GateEach::Feature });
        let ffn = GatedSpec::new(c.intermediate_size, Activation::Silu);
        let (attend, feed) = (SubLayer::bare(attention), SubLayer::bare(ffn));
        Ok(LayerSpec::new(
            attend.before("input_layernorm", before).after("post_attention_layernorm", after),
            feed.before("pre_feedforward_layernorm", before).after("post_feedforward_layernorm", after),
        ))
    });
    let (layers, head) = (layers.collect::<Result<_>>()?, Head::tied_if(c.tie_word_embeddings == Some(true)));
    Ok(DecoderSpec {
        embedding_norm: Some(bare),
        logit_scale: Some(own.output_multiplier),
        logit_softcap: Some(own.final_logit_softcapping),
        context_length: c.max_position_embeddings,
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, c.rms_norm()?, head)
    })
}
