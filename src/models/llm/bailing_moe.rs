//! Ling and Ring: a fused projection to queries, keys and values, and experts that may be in groups.

use serde::Deserialize;
use serde_json::{Value, json};

use super::deepseek_v3::{self, Experts};
use super::llama;
use crate::array::Dtype;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionBias, AttentionNames, DecoderSpec, Ffn, MoeSpec, Names, QkNorm, QkvNames};
use crate::nn::{GroupScore, RouterBias, RouterSpec, Score};
use crate::weights::Weights;

#[derive(Deserialize)]
struct Config {
    use_qkv_bias: bool,
    use_bias: bool,
    use_qk_norm: bool,
    rotary_dim: Option<i32>,
    score_function: String,
    moe_router_enable_expert_bias: bool,
    moe_router_enable_shared_expert: bool,
    moe_shared_expert_intermediate_size: Option<i32>,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &deepseek_v3::with_defaults(&config::with_defaults(
        config,
        json!({"use_qkv_bias": false, "use_bias": false, "use_qk_norm": false, "score_function": "softmax",
            "moe_router_enable_expert_bias": false, "moe_router_enable_shared_expert": true, "topk_group": 4,
            "n_shared_experts": config.get("num_shared_experts")}),
    ));
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let mut experts: Experts = config::parse(config)?;
    let mut attention = llama::attention(&c)?;
    if let (Some(rope), Some(dims)) = (&mut attention.rope, own.rotary_dim) {
        rope.dims = dims;
    }
    attention.bias = AttentionBias::of(own.use_qkv_bias, own.use_bias);
    if own.use_qk_norm {
        attention.qk_norm = QkNorm::Head(c.rms_norm()?);
    }
    attention.names = AttentionNames {
        attention: "attention",
        qkv: QkvNames::Fused("query_key_value"),
        output: "dense",
        qk_norm: ["query_layernorm", "key_layernorm"],
    };
    let router = RouterSpec {
        name: "gate.gate_proj",
        score: if own.score_function == "sigmoid" { Score::Sigmoid } else { Score::Softmax },
        bias: if own.moe_router_enable_expert_bias { RouterBias::Choice("gate.expert_bias") } else { RouterBias::None },
        groups: experts.groups(GroupScore::BestTwo),
        ..experts.sigmoid()
    };
    if !own.moe_router_enable_shared_expert {
        experts.n_shared_experts = None;
    }
    let mut spec = deepseek_v3::decoder(&c, &experts, attention, router)?;
    for layer in &mut spec.layers {
        match &mut layer.feed.what {
            Ffn::Moe(MoeSpec { experts: each, shared, .. }) => {
                each.bias = own.use_bias;
                if let Some(shared) = shared {
                    let size = own.moe_shared_expert_intermediate_size.unwrap_or(experts.moe_intermediate_size);
                    shared.layer.size = size.saturating_mul(experts.n_shared_experts.unwrap_or(1));
                    shared.layer.bias = own.use_bias;
                }
            }
            Ffn::Gated(gated) => gated.bias = own.use_bias,
            _ => {}
        }
    }
    Ok(DecoderSpec { names: Names { embedding: "model.word_embeddings", ..Names::default() }, ..spec })
}

/// Published: the router's matrix has another name, and `norm_head` says that columns of the output layer are normalised.
pub fn sanitize(config: &Value, w: &Weights) -> Result<()> {
    w.rename(|name| match name.strip_suffix(".mlp.gate.weight") {
        Some(layer) => Some(format!("{layer}.mlp.gate.gate_proj.weight")),
        None => Some(name.to_owned()),
    })?;
    let head = "lm_head.weight";
    let wanted = config.get("norm_head").is_some_and(|v| v.as_bool().unwrap_or_else(|| v.as_f64() == Some(1.0)));
    if wanted && w.has(head) && !w.has("lm_head.scales") {
        w.recast(&[head], &[head.to_owned()], |arrays| {
            let wide = arrays[0].astype(Dtype::F32)?;
            let norm = (wide.square()?.sum(0, true)?.sqrt()? + 1e-7)?;
            Ok(vec![(wide / norm)?.astype(arrays[0].dtype())?])
        })?;
    }
    Ok(())
}
