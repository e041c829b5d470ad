//! Checkpoints laid out as they are published, where mlx-lm converts them to something else.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::TOLERANCE;
use crate::support::fixture::{Golden, RawTensor, Recipe, relative_error, write_safetensors};
use crate::support::{TempDir, bare, cpu_engine, load, quantize};

type Tensors = BTreeMap<String, RawTensor>;

/// The logits of a case are those of the same checkpoint with the layout, and perhaps the configuration, that `publish`
/// gives it.
fn same_model(case: &str, publish: impl Fn(Tensors) -> Tensors, configure: impl Fn(&mut Value)) {
    let dir = TempDir::new("published");
    let recipe = Recipe::load(case);
    let mut config = recipe.config.clone();
    configure(&mut config);
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let tensors = publish(recipe.checkpoint_tensors(&mut quantize));
    write_safetensors(&dir.path().join("model.safetensors"), tensors.iter()).unwrap();
    let model = load(&cpu_engine(), bare(dir.path())).unwrap_or_else(|e| panic!("{case}: {e}"));
    let logits = model.logits(recipe.prompt).unwrap().wait().unwrap();
    let error = relative_error(&logits.values, &Golden::load(case).logits);
    assert!(error <= TOLERANCE, "{case}: {error:.1e}");
}

fn renamed(tensors: Tensors, f: impl Fn(&str) -> String) -> Tensors {
    tensors.into_iter().map(|(name, tensor)| (f(&name), tensor)).collect()
}

/// Tensors that no text model has.
fn with_others(mut tensors: Tensors, names: &[&str]) -> Tensors {
    tensors.extend(names.iter().map(|name| ((*name).to_owned(), RawTensor::f32(&[2, 3], &[0.5; 6]))));
    tensors
}

fn floats(tensor: &RawTensor) -> Vec<f32> {
    tensor.bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn transposed(tensor: &RawTensor) -> RawTensor {
    let (rows, columns) = (tensor.shape[0], tensor.shape[1]);
    let values = floats(tensor);
    let turned: Vec<f32> = (0..rows * columns).map(|i| values[i % rows * columns + i / rows]).collect();
    RawTensor::f32(&[columns, rows], &turned)
}

/// Rows of a matrix.
fn rows(tensor: &RawTensor, from: usize, to: usize) -> RawTensor {
    let columns = tensor.shape[1];
    RawTensor::f32(&[to - from, columns], &floats(tensor)[from * columns..to * columns])
}

const VISION: [&str; 3] =
    ["vision_tower.encoder.weight", "model.vision_tower.encoder.weight", "multi_modal_projector.linear.weight"];

#[test]
fn text_sides_of_multimodal_models() {
    for case in ["gemma3", "gemma3-untied", "gemma3-4bit", "mistral3", "llava"] {
        same_model(case, |tensors| with_others(tensors, &VISION), |_| ());
        // As transformers 5 has it.
        let inner = |name: &str| match name.strip_prefix("language_model.model.") {
            Some(rest) => format!("model.language_model.{rest}"),
            None => name.strip_prefix("language_model.").unwrap_or(name).to_owned(),
        };
        same_model(case, |tensors| with_others(renamed(tensors, inner), &VISION), |_| ());
    }
    let inner = |name: &str| name.replacen("model.", "model.language_model.", 1);
    let others = ["model.vision_tower.patches.weight", "model.multi_modal_projector.norm.weight"];
    same_model("muse_glimmer", |tensors| with_others(renamed(tensors, inner), &others), |_| ());
}

#[test]
fn gemma_4() {
    let others = ["model.vision_tower.x", "model.audio_tower.x", "model.embed_vision.x", "model.embed_audio.x"];
    let inner = |name: &str| name.replacen("language_model.model.", "model.language_model.", 1);
    for case in ["gemma4", "gemma4_unified"] {
        same_model(case, |tensors| with_others(renamed(tensors, inner), &others), |_| ());
    }
    let inner = |name: &str| name.replacen("model.", "model.language_model.", 1);
    let ranges = ["model.language_model.layers.0.self_attn.q_proj.input_max"];
    for case in ["gemma4_text", "gemma4_text-4bit"] {
        same_model(case, |tensors| with_others(renamed(tensors, inner), &ranges), |_| ());
    }
    let experts = |tensors: Tensors| {
        let mut out = Tensors::new();
        for (name, tensor) in &tensors {
            if name.contains(".switch_glu.up_proj") {
                continue;
            }
            if name.contains(".switch_glu.gate_proj") {
                let up = &tensors[&name.replace("gate_proj", "up_proj")];
                let (count, size) = (tensor.shape[0], tensor.bytes.len() / tensor.shape[0]);
                let one = |i: usize| [&tensor.bytes[i * size..][..size], &up.bytes[i * size..][..size]].concat();
                let shape = vec![count, 2 * tensor.shape[1], tensor.shape[2]];
                let both = RawTensor { shape, bytes: (0..count).flat_map(one).collect(), ..tensor.clone() };
                out.insert(name.replace("switch_glu.gate_proj.weight", "gate_up_proj"), both);
            } else {
                out.insert(name.replace("switch_glu.down_proj.weight", "down_proj"), tensor.clone());
            }
        }
        out
    };
    same_model("gemma4_text-experts", experts, |_| ());
}

#[test]
fn gemma_3n() {
    let others = ["model.vision_tower.x", "model.audio_tower.x", "model.embed_vision.x", "model.embed_audio.x"];
    same_model("gemma3n", |tensors| with_others(tensors, &others), |_| ());
}

#[test]
fn gpt_2_and_its_time() {
    let gpt2 = |prefix: &'static str| {
        move |tensors: Tensors| {
            let mut out = Tensors::new();
            for (name, tensor) in tensors {
                let turn = [".c_attn.weight", ".c_proj.weight", ".c_fc.weight"].iter().any(|end| name.ends_with(end));
                let tensor = if turn { transposed(&tensor) } else { tensor };
                out.insert(name.replacen("model.", prefix, 1), tensor);
            }
            out.insert(format!("{prefix}h.0.attn.bias"), RawTensor::f32(&[1, 1, 2, 2], &[1.0; 4]));
            out
        }
    };
    same_model("gpt2", gpt2(""), |_| ());
    same_model("gpt2", gpt2("transformer."), |_| ());
    let neox = |name: &str| match name {
        "model.embed_out.weight" => "embed_out.weight".to_owned(),
        name => name.replacen("model.h.", "gpt_neox.layers.", 1).replacen("model.", "gpt_neox.", 1),
    };
    let buffers = ["gpt_neox.layers.1.attention.bias", "gpt_neox.layers.1.attention.rotary_emb.inv_freq"];
    same_model("gpt_neox", |tensors| with_others(renamed(tensors, neox), &buffers), |_| ());
    let gptj = |name: &str| name.replacen("model.", "transformer.", 1);
    let buffers = ["transformer.h.0.attn.bias", "transformer.h.0.attn.masked_bias"];
    same_model("gptj", |tensors| with_others(renamed(tensors, gptj), &buffers), |_| ());
}

#[test]
fn other_names_and_shapes() {
    let apertus = |tensors: Tensors| -> Tensors {
        let tensors = tensors.into_iter().filter(|(name, _)| !name.ends_with(".beta") && !name.ends_with(".eps"));
        let shaped = |(name, tensor): (String, RawTensor)| {
            let shape = if name.contains(".act_fn.") { vec![1] } else { tensor.shape.clone() };
            (name, RawTensor { shape, ..tensor })
        };
        tensors.map(shaped).collect()
    };
    same_model("apertus", apertus, |_| ());
    let further = ["model.mtp_layers.0.input_layernorm.weight"];
    same_model("mimo", |tensors| with_others(tensors, &further), |_| ());
    let spark = |name: &str| name.replacen("model.embedding.", "model.embed_tokens.", 1);
    same_model("spark2_5", |tensors| renamed(tensors, spark), |_| ());
    let nanochat = |name: &str| {
        let names = [("c_q", "q_proj"), ("c_k", "k_proj"), ("c_v", "v_proj"), ("attn.c_proj", "attn.o_proj")];
        let name = names.iter().fold(name.to_owned(), |name, (own, other)| name.replacen(own, other, 1));
        let name = name.replacen(".attn.", ".self_attn.", 1).replacen("c_fc", "fc1", 1).replacen("c_proj", "fc2", 1);
        name.replacen("transformer.wte", "model.embed_tokens", 1).replacen("transformer.h", "model.layers", 1)
    };
    same_model("nanochat", |tensors| renamed(tensors, nanochat), |_| ());
}

/// OLMo 1 in transformers has Llama's names and keys.
#[test]
fn olmo_in_transformers() {
    let layout = |tensors: Tensors| {
        let mut out = Tensors::new();
        for (name, tensor) in &tensors {
            let name = name.replacen("model.transformer.blocks.", "model.layers.", 1);
            let mut put = |part: &str, other: &str, from: usize, to: usize| {
                out.insert(name.replace(part, other), rows(tensor, from, to));
            };
            if name.ends_with("att_proj.weight") {
                for (i, part) in ["q_proj", "k_proj", "v_proj"].iter().enumerate() {
                    put("att_proj", &format!("self_attn.{part}"), 64 * i, 64 * (i + 1));
                }
            } else if name.ends_with("ff_proj.weight") {
                put("ff_proj", "mlp.up_proj", 0, 128);
                put("ff_proj", "mlp.gate_proj", 128, 256);
            } else {
                let name = name.replace("attn_out", "self_attn.o_proj").replace("model.transformer.ff_out", "lm_head");
                let name =
                    name.replace("ff_out", "mlp.down_proj").replace("model.transformer.wte", "model.embed_tokens");
                out.insert(name, tensor.clone());
            }
        }
        out
    };
    let configure = |config: &mut Value| {
        *config = json!({"model_type": "olmo", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 128, "vocab_size": 96, "rope_theta": 10000.0, "clip_qkv": 1000.0});
    };
    same_model("olmo", layout, configure);
}
