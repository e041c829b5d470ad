//! The data that describes a decoder.

use crate::array::Device;
use crate::cache::StateSpec;
use crate::error::{Error, Result};
use crate::nn::{Activation, ExpertsSpec, NormSpec, RopeSpec};

/// A decoder-only transformer.
#[derive(Clone, Debug)]
pub struct DecoderSpec {
    /// Rows of the embedding.
    pub vocab_size: i32,
    /// Features of the residual stream.
    pub hidden_size: i32,
    /// Factor on the embeddings.
    pub embedding_scale: Option<f32>,
    /// The layers.
    pub layers: Vec<LayerSpec>,
    /// All norms of the residual stream.
    pub norm: NormSpec,
    /// Where the output layer's weights are.
    pub head: Head,
    /// Factor on the logits.
    pub logit_scale: Option<f32>,
    /// Logits become `tanh(logits / cap) * cap`.
    pub logit_softcap: Option<f32>,
    /// The longest sequence the model was made for.
    pub context_length: Option<i32>,
    /// Where the weights are in the checkpoint.
    pub names: Names,
}

/// The output layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The embedding, transposed.
    Tied,
    /// A matrix of its own.
    Separate,
    /// A matrix of its own where the checkpoint has one, else the embedding.
    SeparateIfThere,
}

impl Head {
    /// What `tie_word_embeddings` says.
    pub fn tied_if(tied: bool) -> Head {
        if tied { Head::Tied } else { Head::Separate }
    }
}

/// One layer.
#[derive(Clone, Debug)]
pub struct LayerSpec {
    /// What moves information between positions.
    pub mixer: Mixer,
    /// What works on each position alone.
    pub ffn: Ffn,
    /// Where the norms are.
    pub layout: NormLayout,
    /// Factor on what mixer and ffn add to the residual stream.
    pub residual_scale: Option<f32>,
}

/// What moves information between positions.
#[derive(Clone, Debug)]
pub enum Mixer {
    /// Softmax attention.
    Attention(AttentionSpec),
}

/// Softmax attention with grouped queries.
#[derive(Clone, Debug)]
pub struct AttentionSpec {
    /// Query heads.
    pub heads: i32,
    /// Key and value heads; divides `heads`.
    pub kv_heads: i32,
    /// Features of a head.
    pub head_dim: i32,
    /// How the projections to queries, keys and values are stored.
    pub qkv: Projection,
    /// Biases of the projections.
    pub bias: AttentionBias,
    /// Norms of queries and keys.
    pub qk_norm: QkNorm,
    /// Rotary embedding; none where positions are not encoded.
    pub rope: Option<RopeSpec>,
    /// How many positions a query sees, itself included; all if none.
    pub window: Option<i32>,
    /// Factor on the scores.
    pub scale: f32,
    /// Scores become `tanh(scores / cap) * cap`.
    pub softcap: Option<f32>,
}

/// How several projections of the same input are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    /// One matrix each.
    Separate,
    /// One matrix, their rows one after the other.
    Fused,
}

/// Biases of an attention's projections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionBias {
    /// None.
    None,
    /// On queries, keys and values.
    Qkv,
    /// On those and on the output.
    All,
}

impl AttentionBias {
    /// What `attention_bias` says.
    pub fn all_if(bias: bool) -> AttentionBias {
        if bias { AttentionBias::All } else { AttentionBias::None }
    }
}

/// Norms of queries and keys.
#[derive(Clone, Debug, PartialEq)]
pub enum QkNorm {
    /// None.
    None,
    /// Over each head, the same weights for all heads.
    Head(NormSpec),
    /// Over all heads together.
    Projection(NormSpec),
    /// Mean and variance over each head, then weights of its own for each head.
    EachHead {
        /// Added to the variance.
        eps: f32,
        /// How the weights are stored.
        weights: HeadWeights,
    },
}

/// How weights that each head has of its own are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadWeights {
    /// `{q,k}_norm.weight`, `[heads, head_dim]`.
    Matrix,
    /// `{q,k}_layernorm.norms.{head}.weight`, `[head_dim]` each.
    List,
}

/// What works on each position alone.
#[derive(Clone, Debug)]
pub enum Ffn {
    /// `down(activation(gate(x)) * up(x))`
    Gated {
        /// Inner features.
        size: i32,
        /// The activation.
        activation: Activation,
        /// How `gate` and `up` are stored.
        gate_up: Projection,
        /// Whether all three have biases.
        bias: bool,
    },
    /// `down(activation(up(x)))`
    Plain {
        /// Inner features.
        size: i32,
        /// The activation.
        activation: Activation,
        /// Whether both have biases.
        bias: bool,
    },
    /// A router, the experts that it chooses, and perhaps one that all positions share.
    Moe {
        /// The experts and how they are chosen.
        experts: ExpertsSpec,
        /// The expert that every position uses.
        shared: Option<SharedExpert>,
    },
}

/// An expert that every position uses, at `shared_expert`: gated, without biases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SharedExpert {
    /// Inner features.
    pub size: i32,
    /// What its result is multiplied with.
    pub gate: SharedGate,
}

/// What the result of a shared expert is multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedGate {
    /// Nothing.
    None,
    /// `sigmoid(shared_expert_gate(x))`, one number for each position.
    Sigmoid,
}

/// Where the norms of a layer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormLayout {
    /// `x + f(norm(x))`
    Pre,
    /// `x + norm(f(norm(x)))`
    Sandwich,
    /// `x + norm(f(x))`
    Post,
    /// `x + mixer(n) + ffn(n)` with `n = norm(x)`
    Parallel,
}

/// Names of weights, where checkpoints differ.
#[derive(Clone, Debug)]
pub struct Names {
    /// The embedding.
    pub embedding: &'static str,
    /// Layers are at `{layers}.{index}`.
    pub layers: &'static str,
    /// The final norm.
    pub norm: &'static str,
    /// The output layer.
    pub head: &'static str,
    /// The mixer within a layer.
    pub attention: &'static str,
    /// The ffn within a layer.
    pub ffn: &'static str,
    /// `up` within the ffn.
    pub up: &'static str,
    /// `down` within the ffn.
    pub down: &'static str,
    /// The gate, up and down of experts that are stored one by one.
    pub experts: [&'static str; 3],
}

impl Default for Names {
    /// Llama's names, which most checkpoints use.
    fn default() -> Self {
        Names {
            embedding: "model.embed_tokens",
            layers: "model.layers",
            norm: "model.norm",
            head: "lm_head",
            attention: "self_attn",
            ffn: "mlp",
            up: "up_proj",
            down: "down_proj",
            experts: ["gate_proj", "up_proj", "down_proj"],
        }
    }
}

impl LayerSpec {
    /// A layer with norms before mixer and ffn.
    pub fn pre_norm(attention: AttentionSpec, ffn: Ffn) -> LayerSpec {
        LayerSpec { mixer: Mixer::Attention(attention), ffn, layout: NormLayout::Pre, residual_scale: None }
    }

    /// What the layer needs to remember.
    pub fn cache(&self) -> StateSpec {
        match &self.mixer {
            Mixer::Attention(a) => match a.window {
                Some(window) => StateSpec::Window(window),
                None => StateSpec::Full { key_dim: a.head_dim, value_dim: a.head_dim },
            },
        }
    }
}

impl AttentionSpec {
    /// Attention without biases and norms that sees everything, scaled by `1 / sqrt(head_dim)`.
    pub fn new(heads: i32, kv_heads: i32, head_dim: i32, rope: RopeSpec) -> AttentionSpec {
        AttentionSpec {
            heads,
            kv_heads,
            head_dim,
            qkv: Projection::Separate,
            bias: AttentionBias::None,
            qk_norm: QkNorm::None,
            rope: Some(rope),
            window: None,
            scale: (f64::from(head_dim).powf(-0.5)) as f32,
            softcap: None,
        }
    }
}

impl Ffn {
    /// `down(activation(gate(x)) * up(x))` without biases.
    pub fn gated(size: i32, activation: Activation) -> Ffn {
        Ffn::Gated { size, activation, gate_up: Projection::Separate, bias: false }
    }
}

impl DecoderSpec {
    /// A decoder with Llama's names and plain logits.
    pub fn new(vocab_size: i32, hidden_size: i32, layers: Vec<LayerSpec>, norm: NormSpec, head: Head) -> DecoderSpec {
        DecoderSpec {
            vocab_size,
            hidden_size,
            embedding_scale: None,
            layers,
            norm,
            head,
            logit_scale: None,
            logit_softcap: None,
            context_length: None,
            names: Names::default(),
        }
    }

    /// Positions of a prompt that are processed at once where nobody says how many. Each expert gets few of them, so a
    /// mixture on a CPU takes more: its kernels are twice as fast with 512 as with 128.
    pub fn prefill_step(&self, device: Device) -> i32 {
        let mixture = self.layers.iter().any(|layer| matches!(layer.ffn, Ffn::Moe { .. }));
        match device {
            Device::Cpu if !mixture => 128,
            Device::Cpu | Device::Gpu => 512,
        }
    }

    /// Refuses sizes that are not positive, do not divide, or whose products would not fit; so that a broken
    /// `config.json` is an error and nothing worse.
    pub fn validate(&self) -> Result<()> {
        let bad = |what: String| Err(Error::invalid_config(format!("config.json: {what}")));
        let size = |name: &str, n: i32, most: i32| match (1..=most).contains(&n) {
            true => Ok(()),
            false => Err(Error::invalid_config(format!("config.json: {name} is {n}; 1 to {most} is possible"))),
        };
        size("vocab_size", self.vocab_size, 1 << 24)?;
        size("hidden_size", self.hidden_size, 1 << 18)?;
        size("num_hidden_layers", self.layers.len() as i32, 4096)?;
        for layer in &self.layers {
            let Mixer::Attention(a) = &layer.mixer;
            size("num_attention_heads", a.heads, 1 << 12)?;
            size("num_key_value_heads", a.kv_heads, 1 << 12)?;
            size("head_dim", a.head_dim, 1 << 14)?;
            if a.heads % a.kv_heads != 0 {
                return bad(format!(
                    "num_attention_heads {} is not a multiple of num_key_value_heads {}",
                    a.heads, a.kv_heads
                ));
            }
            if let Some(window) = a.window {
                size("sliding_window", window, 1 << 30)?;
            }
            if let Some(rope) = &a.rope {
                rope.validate()?;
                if rope.dims > a.head_dim {
                    return bad(format!("{} rotated features in heads of {}", rope.dims, a.head_dim));
                }
            }
            match layer.ffn {
                Ffn::Gated { size: inner, .. } | Ffn::Plain { size: inner, .. } => {
                    size("intermediate_size", inner, 1 << 24)?;
                }
                Ffn::Moe { experts, shared } => {
                    size("num_experts (num_local_experts)", experts.count, 1 << 12)?;
                    size("num_experts_per_tok", experts.chosen, experts.count)?;
                    size("moe_intermediate_size", experts.size, 1 << 20)?;
                    if let Some(shared) = shared {
                        size("shared_expert_intermediate_size", shared.size, 1 << 24)?;
                    }
                }
            }
            if !a.scale.is_finite() {
                return bad(format!("the attention's scale is {}", a.scale));
            }
        }
        Ok(())
    }
}
