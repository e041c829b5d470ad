//! What configurations say about latent attention.

use serde::Deserialize;

use crate::error::Result;
use crate::models::config::Common;
use crate::models::decoder::MlaSpec;
use crate::nn::{NormKind, NormSpec};

/// The keys of latent attention.
#[derive(Deserialize)]
pub struct Latent {
    pub q_lora_rank: Option<i32>,
    pub kv_lora_rank: i32,
    pub qk_rope_head_dim: i32,
    pub qk_nope_head_dim: i32,
    pub v_head_dim: i32,
}

impl Latent {
    /// Attention whose norms of latent vectors have this epsilon.
    pub fn attention(&self, c: &Common, eps: f32) -> Result<MlaSpec> {
        let mut rope = c.rope(self.qk_rope_head_dim, Some(10_000.0))?;
        rope.interleaved = true;
        Ok(MlaSpec {
            heads: c.num_attention_heads,
            query_rank: self.q_lora_rank,
            rank: self.kv_lora_rank,
            nope_dim: self.qk_nope_head_dim,
            rope_dim: self.qk_rope_head_dim,
            value_dim: self.v_head_dim,
            bias: c.attention_bias,
            norm: NormSpec { kind: NormKind::Rms, eps },
            latent_scale: [None; 2],
            scale: MlaSpec::scale(self.qk_nope_head_dim, self.qk_rope_head_dim, Some(&rope)),
            rope: Some(rope),
            temperature: None,
            name: "self_attn",
        })
    }
}
