//! Every architecture and setting against mlx-lm 0.32.2: tests/fixtures/models says how the answers were made.

#[path = "models/inputs.rs"]
mod inputs;
#[path = "models/layouts.rs"]
mod layouts;
#[path = "models/published.rs"]
mod published;
mod support;

use mlx_engine::generate::GenerateOptions;
use mlx_engine::models::registry::ARCHITECTURES;
use serde_json::{Value, json};
use support::fixture::{Golden, Recipe, cases, relative_error};
use support::{TempDir, bare, cpu_engine, load, tokens, write_case};

/// Logits in f32 differ by rounding only; the smallest real mistake seen (a wrong GELU) moves them by 1.7e-4.
pub const TOLERANCE: f32 = 2e-5;

/// Runs `check` on every case and reports all failures at once.
fn each_case(what: &str, check: impl Fn(&str) -> Result<(), String>) {
    let cases = cases();
    assert!(cases.len() >= 190, "the fixtures are gone");
    let failures: Vec<String> =
        cases.iter().filter_map(|case| check(case).err().map(|why| format!("{case}: {why}"))).collect();
    assert!(failures.is_empty(), "{what}: {} of {} cases\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn logits_and_greedy_tokens_agree_with_the_reference() {
    let engine = cpu_engine();
    each_case("agreement", |case| {
        let dir = TempDir::new("models");
        let recipe = write_case(case, dir.path(), 1);
        let golden = Golden::load(case);
        let model = load(&engine, bare(dir.path())).map_err(|e| e.to_string())?;
        let logits = model.logits(recipe.prompt.clone()).unwrap().wait().map_err(|e| e.to_string())?;
        let error = relative_error(&logits.values, &golden.logits);
        // Streams that predict each other add to rounding.
        let tolerance = if case.starts_with("gemma3n") { 3.0 * TOLERANCE } else { TOLERANCE };
        if error.is_nan() || error > tolerance {
            return Err(format!("logits are off by {error:.2e}"));
        }
        let fits = model.info().context_length.is_none_or(|n| recipe.prompt.len() <= n as usize);
        let scores = model.score(recipe.prompt[..1].to_vec(), recipe.prompt[1..].to_vec());
        if scores.is_ok() != fits {
            return Err("a score minds the context".into());
        }
        let scores = scores.map_or(Ok(Default::default()), |task| task.wait()).map_err(|e| e.to_string())?;
        for (i, (row, token)) in golden.logits.chunks_exact(golden.vocab).zip(&recipe.prompt[1..]).enumerate() {
            if !fits {
                break;
            }
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mass: f64 = row.iter().map(|&x| f64::from(x - largest).exp()).sum();
            let want = f64::from(row[*token as usize] - largest) - mass.ln();
            let got = f64::from(scores.logprobs[i]);
            if (got - want).abs() > 2e-3 * want.abs().max(1.0) || scores.logprobs.len() != recipe.prompt.len() - 1 {
                return Err(format!("token {i} scores {got}, not {want}"));
            }
        }
        let greedy = |prefill_step_size| {
            let max_context = Some(4096);
            let options =
                GenerateOptions { max_tokens: Some(64), prefill_step_size, max_context, ..Default::default() };
            tokens(&model, &recipe.prompt, options)
        };
        if greedy(None) != golden.greedy {
            return Err("greedy tokens differ".into());
        }
        // How a prompt is cut matters for this scaling, in the reference too.
        let scaling = &recipe.config["rope_scaling"];
        let dynamic = scaling["type"] == "dynamic" || scaling["rope_type"] == "dynamic";
        let dynamic = dynamic && scaling["alpha"].is_null();
        for step in [1, recipe.chunk as i32] {
            if !dynamic && greedy(Some(step)) != golden.greedy {
                return Err(format!("greedy tokens differ with the prompt in chunks of {step}"));
            }
        }
        Ok(())
    });
}

#[test]
fn quantized_caches_agree_with_the_reference() {
    let engine = cpu_engine();
    let mut checked = 0;
    for case in cases() {
        let recipe = Recipe::load(&case);
        let Some((bits, group_size)) = recipe.kv else { continue };
        let dir = TempDir::new("kv");
        write_case(&case, dir.path(), 1);
        let model = load(&engine, bare(dir.path())).unwrap();
        let options = GenerateOptions {
            max_tokens: Some(64),
            kv_bits: Some(bits),
            kv_group_size: Some(group_size),
            ..Default::default()
        };
        assert_eq!(tokens(&model, &recipe.prompt, options), Golden::load(&case).kv_greedy.unwrap(), "{case}");
        checked += 1;
    }
    assert!(checked >= 2);
}

#[test]
fn shards_give_the_same_model() {
    let engine = cpu_engine();
    for case in ["qwen3", "llama-4bit"] {
        let dir = TempDir::new("shards");
        let recipe = write_case(case, dir.path(), 3);
        assert!(dir.path().join("model.safetensors.index.json").exists());
        let model = load(&engine, bare(dir.path())).unwrap();
        assert_eq!(model.info().weight_files, 3);
        let logits = model.logits(recipe.prompt).unwrap().wait().unwrap();
        assert!(relative_error(&logits.values, &Golden::load(case).logits) <= TOLERANCE);
    }
}

#[test]
fn every_row_of_the_registry_has_a_fixture() {
    let types: Vec<String> =
        cases().iter().map(|case| Recipe::load(case).config["model_type"].as_str().unwrap().to_owned()).collect();
    for row in ARCHITECTURES {
        assert!(types.iter().any(|t| t == row.model_type), "{} has no fixture", row.model_type);
    }
}

/// The rest of the spellings is compared by specification (src/models/registry.rs).
#[test]
fn configurations_that_transformers_5_writes_are_the_same_models() {
    let engine = cpu_engine();
    type Edit = fn(&mut serde_json::Map<String, Value>);
    let edits: [(&str, Edit); 5] = [
        ("llama-rope-llama3", |c| {
            let mut block = c.remove("rope_scaling").unwrap();
            block["rope_theta"] = c.remove("rope_theta").unwrap();
            c.insert("rope_parameters".into(), block);
        }),
        ("phi3-partial-rotary", |c| {
            let part = c.remove("partial_rotary_factor").unwrap();
            let theta = c.remove("rope_theta").unwrap_or(json!(10000.0));
            let block = json!({"rope_type": "default", "rope_theta": theta, "partial_rotary_factor": part});
            c.insert("rope_parameters".into(), block);
        }),
        ("gemma3_text", |c| {
            let of = |theta: f64| json!({"rope_type": "default", "rope_theta": theta});
            let block = json!({"full_attention": of(1e6), "sliding_attention": of(1e4)});
            c.insert("rope_parameters".into(), block);
            let types = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"];
            c.remove("sliding_window_pattern");
            c.insert("layer_types".into(), json!(types));
        }),
        ("qwen3_moe", |c| {
            let count = c.remove("num_experts").unwrap();
            c.insert("num_local_experts".into(), count);
            let theta = c.remove("rope_theta").unwrap();
            c.insert("rope_parameters".into(), json!({"rope_theta": theta}));
        }),
        ("qwen2", |c| {
            let text = Value::Object(c.clone());
            *c = json!({"model_type": "qwen2", "text_config": text}).as_object().unwrap().clone();
        }),
    ];
    for (case, edit) in edits {
        let dir = TempDir::new("spelling");
        let recipe = write_case(case, dir.path(), 1);
        let mut config = recipe.config.clone();
        edit(config.as_object_mut().unwrap());
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let model = load(&engine, bare(dir.path())).unwrap();
        let logits = model.logits(recipe.prompt).unwrap().wait().unwrap();
        let error = relative_error(&logits.values, &Golden::load(case).logits);
        assert!(error <= TOLERANCE, "{case}: {error:.1e}");
    }
}
