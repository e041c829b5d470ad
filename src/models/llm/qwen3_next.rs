//! Qwen3-Next: the gated delta rule in most layers, gated attention in the others, and experts.

use serde::Deserialize;
use serde_json::Value;

use super::{converted, llama, qwen2_moe};
use crate::error::Result;
use crate::models::config::{self, Common, FULL};
use crate::models::decoder::{
    AttentionNames, AttentionSpec, ConvSpec, DecoderSpec, DeltaProjections, Ffn, GatedDeltaSpec, GatedSpec, Head,
    LayerSpec, Mixer, QkNorm, QkvNames,
};
use crate::nn::Activation;
use crate::weights::Weights;

#[derive(Deserialize)]
struct Linear {
    linear_num_key_heads: i32,
    linear_num_value_heads: i32,
    linear_key_head_dim: i32,
    linear_value_head_dim: i32,
    linear_conv_kernel_dim: i32,
    full_attention_interval: Option<usize>,
}

#[derive(Deserialize)]
struct Experts {
    #[serde(default)]
    num_experts: i32,
    #[serde(default)]
    norm_topk_prob: bool,
    decoder_sparse_step: Option<usize>,
    #[serde(default)]
    mlp_only_layers: Vec<usize>,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    decoder(config, DeltaProjections::ByKeyHead)
}

/// With projections that are stored in this way.
pub fn decoder(config: &Value, projections: DeltaProjections) -> Result<DecoderSpec> {
    let (c, own): (Common, Linear) = (config::parse(config)?, config::parse(config)?);
    let norm = c.rms_norm()?;
    let attention = AttentionSpec {
        qk_norm: QkNorm::Head(norm),
        names: AttentionNames { qkv: QkvNames::WithGates(["q_proj", "k_proj", "v_proj"]), ..Default::default() },
        ..llama::attention(&c)?
    };
    let delta = GatedDeltaSpec {
        name: "linear_attn",
        key_heads: own.linear_num_key_heads,
        value_heads: own.linear_num_value_heads,
        key_dim: own.linear_key_head_dim,
        value_dim: own.linear_value_head_dim,
        conv: ConvSpec::silu(own.linear_conv_kernel_dim, false),
        norm,
        most: 1.0,
        projections,
    };
    let ffn = ffn(config, &c)?;
    let every = own.full_attention_interval.unwrap_or(4).max(1);
    let attends = |i: usize| match &c.layer_types {
        Some(types) => types.get(i).is_some_and(|kind| kind == FULL),
        None => (i + 1).is_multiple_of(every),
    };
    let layer = |i: usize| {
        let mixer: Mixer = if attends(i) { attention.clone().into() } else { delta.clone().into() };
        LayerSpec::pre_norm(mixer, ffn(i), norm)
    };
    let layers = (0..c.layer_count()?).map(layer).collect();
    let head = Head::tied_if(c.tie_word_embeddings.unwrap_or(false));
    Ok(DecoderSpec { head, ..llama::decoder(&c, layers)? })
}

/// The feed-forward part of each layer.
fn ffn(config: &Value, c: &Common) -> Result<impl Fn(usize) -> Ffn> {
    let own: Experts = config::parse(config)?;
    let dense = GatedSpec::new(c.intermediate_size, Activation::Silu);
    let moe = (own.num_experts > 0).then(|| qwen2_moe::moe(config, own.norm_topk_prob)).transpose()?;
    let step = own.decoder_sparse_step.unwrap_or(1).max(1);
    Ok(move |i: usize| match &moe {
        Some(moe) if (i + 1).is_multiple_of(step) && !own.mlp_only_layers.contains(&i) => moe.clone().into(),
        _ => dense.clone().into(),
    })
}

/// Published norms, but for that of the delta rule, multiply by `1 + weight`. mlx-lm tells such a checkpoint by its
/// experts.
pub fn sanitize(_: &Value, w: &Weights) -> Result<()> {
    w.rename(|name| (!name.starts_with("mtp.")).then(|| name.to_owned()))?;
    let one_by_one = |name: &String| name.ends_with(".mlp.experts.0.up_proj.weight");
    if w.names().iter().any(one_by_one) || converted::has_published_convolutions(w) {
        converted::add_one_to_norms(w)?;
    }
    Ok(())
}
