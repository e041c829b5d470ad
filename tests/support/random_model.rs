//! Models of any size, with random weights.
#![allow(dead_code)]

use std::path::Path;

use rand::{RngCore, SeedableRng};

/// A checkpoint with random weights, plain bf16 or 4 bits.
pub fn random_checkpoint(dir: &Path, layers: usize, hidden: usize, inner: usize, heads: usize, kv: usize, bits4: bool) {
    random_model(dir, "llama", [layers, hidden, inner, heads, kv], bits4, serde_json::json!({}));
}

/// The same for another decoder; `more` is merged into its configuration. With `num_local_experts` there are experts in
/// place of each feed-forward layer.
pub fn random_model(dir: &Path, model_type: &str, sizes: [usize; 5], bits4: bool, more: serde_json::Value) {
    let [layers, hidden, inner, heads, kv] = sizes;
    let experts = more["num_local_experts"].as_u64().unwrap_or_default() as usize;
    let mut tensors: Vec<(String, safetensors::Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    // Drawing every weight takes minutes in a debug build.
    let mut pattern = vec![0; 262_138];
    rand::rngs::StdRng::seed_from_u64(7).fill_bytes(&mut pattern);
    let numbers: Vec<u8> = pattern.chunks_exact(2).flat_map(|pair| [pair[0], 0x3c | (pair[1] & 0x80)]).collect();
    let filled = |with: &[u8], bytes: usize| {
        let mut all = with.repeat(bytes.div_ceil(with.len()));
        all.truncate(bytes);
        all
    };
    let bf16 = |n: usize| filled(&numbers, 2 * n);
    let mut add = |name: &str, rows: usize, columns: usize, quantized: bool| {
        let stacked = name.contains("switch_mlp");
        let shape = |columns: usize| match (stacked, columns) {
            (_, 0) => vec![rows],
            (false, _) => vec![rows, columns],
            (true, _) => vec![experts, rows / experts, columns],
        };
        let name = |part: &str| format!("{name}.{part}");
        if !quantized {
            let shape = shape(columns);
            let data = bf16(rows * columns.max(1));
            tensors.push((name("weight"), safetensors::Dtype::BF16, shape, data));
            return;
        }
        let codes = filled(&pattern, rows * columns / 2);
        tensors.push((name("weight"), safetensors::Dtype::U32, shape(columns / 8), codes));
        for part in ["scales", "biases"] {
            let data = bf16(rows * columns / 64);
            tensors.push((name(part), safetensors::Dtype::BF16, shape(columns / 64), data));
        }
    };
    let (vocab, dim) = (512, 64);
    add("model.embed_tokens", vocab, hidden, bits4);
    add("model.norm", hidden, 0, false);
    for i in 0..layers {
        let path = |rest: &str| format!("model.layers.{i}.{rest}");
        add(&path("self_attn.q_proj"), heads * dim, hidden, bits4);
        add(&path("self_attn.k_proj"), kv * dim, hidden, bits4);
        add(&path("self_attn.v_proj"), kv * dim, hidden, bits4);
        add(&path("self_attn.o_proj"), hidden, heads * dim, bits4);
        let ffn = if experts == 0 { "mlp" } else { "block_sparse_moe.switch_mlp" };
        let all = experts.max(1);
        add(&path(&format!("{ffn}.gate_proj")), all * inner, hidden, bits4);
        add(&path(&format!("{ffn}.up_proj")), all * inner, hidden, bits4);
        add(&path(&format!("{ffn}.down_proj")), all * hidden, inner, bits4);
        if experts > 0 {
            add(&path("block_sparse_moe.gate"), experts, hidden, false);
        }
        add(&path("input_layernorm"), hidden, 0, false);
        add(&path("post_attention_layernorm"), hidden, 0, false);
        if model_type.starts_with("gemma") {
            add(&path("pre_feedforward_layernorm"), hidden, 0, false);
            add(&path("post_feedforward_layernorm"), hidden, 0, false);
        }
        if model_type == "gemma3_text" {
            add(&path("self_attn.q_norm"), dim, 0, false);
            add(&path("self_attn.k_norm"), dim, 0, false);
        }
    }
    let views: Vec<_> = tensors
        .iter()
        .map(|(n, d, s, b)| (n.as_str(), safetensors::tensor::TensorView::new(*d, s.clone(), b).unwrap()))
        .collect();
    safetensors::serialize_to_file(views, None, &dir.join("model.safetensors")).unwrap();
    let mut config = serde_json::json!({
        "model_type": model_type, "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv, "head_dim": dim, "vocab_size": vocab,
        "rms_norm_eps": 1e-5, "max_position_embeddings": 8192, "tie_word_embeddings": true,
    });
    if bits4 {
        config["quantization"] = serde_json::json!({"bits": 4, "group_size": 64});
    }
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
}
