//! Finding models, and knowing what they take before they are downloaded.
#![cfg(feature = "hub")]

mod support;

use std::path::Path;

use mlx_engine::array::{Device, memory};
use mlx_engine::cache::{CacheOptions, KvQuantization};
use mlx_engine::generate::GenerateOptions;
use mlx_engine::hub::EstimateOptions;
use mlx_engine::load::fit::fit;
use mlx_engine::load::{ModelConfiguration, TokenizerSource};
use support::{TempDir, cpu_engine, load, tokens};

fn measure(dir: &Path, prompt: usize, generate: u32, options: &EstimateOptions) -> (u64, u64) {
    let configuration = ModelConfiguration::directory(dir).with_tokenizer(TokenizerSource::None);
    let context = (prompt + generate as usize) as u64;
    let options = EstimateOptions { context: Some(context), ..options.clone() };
    let estimate = fit(&configuration, Device::Cpu, &options).unwrap();
    for _ in 0..200 {
        if memory::active() < 100_000 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let before = memory::active();
    memory::clear_cache();
    memory::reset_peak();
    let engine = cpu_engine();
    let model = load(&engine, configuration).unwrap();
    let loaded = memory::peak() - before;
    let quantization = options.kv_bits.map(|bits| KvQuantization { bits: bits as i32, group_size: 64, start: 0 });
    let prompt: Vec<u32> = (0..prompt as u32).map(|i| i % 50).collect();
    let generation = GenerateOptions {
        max_tokens: Some(generate),
        ignore_eos: true,
        max_context: Some(context as i32),
        prefill_step: options.prefill_step.map(|n| n as i32),
        cache: CacheOptions { quantization, max_kv_size: options.max_kv_size.map(|n| n as i32) },
        ..Default::default()
    };
    tokens(&model, &prompt, generation);
    let peak = memory::peak() - before;
    eprintln!("{:?}: loaded {loaded} peak {peak} without weights {}  estimated {:?} {:+.1}%", dir.file_name().unwrap(), peak as i64 - estimate.memory.weights as i64, estimate.memory, (estimate.memory.total as f64 / peak as f64 - 1.0) * 100.0);
    (estimate.memory.total, peak as u64)
}

/// A checkpoint with random weights, plain bf16 or 4 bits.
fn random_checkpoint(dir: &Path, layers: usize, hidden: usize, inner: usize, heads: usize, kv: usize, bits4: bool) {
    use rand::{RngCore, SeedableRng};
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    let mut tensors: Vec<(String, safetensors::Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    let bf16 = |random: &mut rand::rngs::StdRng, n: usize| -> Vec<u8> {
        (0..n).flat_map(|_| (0x3c00u16 | (random.next_u32() as u16 & 0x80ff)).to_le_bytes()).collect()
    };
    let mut add = |name: &str, rows: usize, columns: usize, quantized: bool| {
        let name = |part: &str| format!("{name}.{part}");
        if !quantized {
            let shape = if columns == 0 { vec![rows] } else { vec![rows, columns] };
            let data = bf16(&mut random, rows * columns.max(1));
            tensors.push((name("weight"), safetensors::Dtype::BF16, shape, data));
            return;
        }
        let mut codes = vec![0; rows * columns / 2];
        random.fill_bytes(&mut codes);
        tensors.push((name("weight"), safetensors::Dtype::U32, vec![rows, columns / 8], codes));
        for part in ["scales", "biases"] {
            let data = bf16(&mut random, rows * columns / 64);
            tensors.push((name(part), safetensors::Dtype::BF16, vec![rows, columns / 64], data));
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
        add(&path("mlp.gate_proj"), inner, hidden, bits4);
        add(&path("mlp.up_proj"), inner, hidden, bits4);
        add(&path("mlp.down_proj"), hidden, inner, bits4);
        add(&path("input_layernorm"), hidden, 0, false);
        add(&path("post_attention_layernorm"), hidden, 0, false);
    }
    let views: Vec<_> = tensors
        .iter()
        .map(|(n, d, s, b)| (n.as_str(), safetensors::tensor::TensorView::new(*d, s.clone(), b).unwrap()))
        .collect();
    safetensors::serialize_to_file(views, None, &dir.join("model.safetensors")).unwrap();
    let mut config = serde_json::json!({
        "model_type": "llama", "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv, "head_dim": dim, "vocab_size": vocab,
        "rms_norm_eps": 1e-5, "max_position_embeddings": 8192, "tie_word_embeddings": true,
    });
    if bits4 {
        config["quantization"] = serde_json::json!({"bits": 4, "group_size": 64});
    }
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
}

#[test]
fn estimates() {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen3");
    let all = |dir: &Path, sizes: &[(usize, u32)]| {
        for &(prompt, generate) in sizes {
            measure(dir, prompt, generate, &EstimateOptions::default());
            measure(dir, prompt, generate, &EstimateOptions { kv_bits: Some(4), ..Default::default() });
            measure(dir, prompt, generate, &EstimateOptions { max_kv_size: Some(300), ..Default::default() });
        }
    };
    all(&tiny, &[(10, 6), (100, 28), (500, 12), (1000, 24), (2000, 48)]);
    for (layers, hidden, inner, heads, kv, bits4) in [(24, 256, 704, 4, 2, true), (48, 256, 512, 4, 4, true), (12, 512, 1536, 8, 2, false)] {
        let dir = TempDir::new("random");
        random_checkpoint(dir.path(), layers, hidden, inner, heads, kv, bits4);
        eprintln!("{layers} layers");
        all(dir.path(), &[(100, 28), (1000, 24), (2000, 48)]);
    }
}
