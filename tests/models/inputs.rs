//! What a model can be given besides tokens in order, and handed out besides its result.

use mlx_engine::ErrorKind;
use mlx_engine::array::{Array, Device, Dtype, set_device};
use mlx_engine::cache::{Cache, CacheOptions};
use mlx_engine::models::{Inputs, LanguageModel, Visible};
use serde_json::json;

use crate::support::fixture::{Recipe, cases, relative_error};
use crate::support::{TempDir, network, write_case};

/// The model and the recipe of a case.
fn open(case: &str) -> (Box<dyn LanguageModel>, Recipe, TempDir) {
    set_device(Device::Cpu).unwrap();
    let dir = TempDir::new("inputs");
    let recipe = write_case(case, dir.path(), 1);
    (network(&recipe, dir.path()), recipe, dir)
}

fn prompt(recipe: &Recipe) -> Array {
    ids(&recipe.prompt)
}

fn ids(tokens: &[u32]) -> Array {
    Array::from_slice(tokens, &[1, tokens.len() as i32]).unwrap()
}

fn places(from: i32, to: i32) -> Array {
    Array::from_slice(&(from..to).collect::<Vec<_>>(), &[1, 1, to - from]).unwrap()
}

fn cache(model: &dyn LanguageModel) -> Cache {
    model.new_cache(&CacheOptions::default()).unwrap()
}

fn values(array: &Array) -> Vec<f32> {
    array.astype(Dtype::F32).unwrap().to_vec().unwrap()
}

/// Logits of all positions.
fn logits(model: &dyn LanguageModel, inputs: &Inputs, cache: &mut Cache) -> Vec<f32> {
    values(&model.logits(&model.forward(inputs, cache).unwrap().hidden).unwrap())
}

/// Models with recurrent layers, which see causally.
const RECURRENT: [&str; 8] =
    ["falcon_", "granitemoehybrid", "jamba", "lfm2", "mamba", "olmo_hybrid", "qwen3_5", "qwen3_next"];
/// Models to which positions mean nothing but an order.
const UNPLACED: [&str; 6] = ["falcon_mamba", "granitemoehybrid", "jamba", "mamba", "mistral4", "olmo_hybrid-no-rope"];

fn any(of: &[&str], case: &str) -> bool {
    // One of them has neither recurrent layers nor layers without positions.
    case != "granitemoehybrid-attention" && of.iter().any(|model| case.starts_with(model))
}

/// Cases whose rotation does not depend on the length, in which relative positions are all that counts.
fn relative() -> impl Iterator<Item = String> {
    cases().into_iter().filter(|case| !case.contains("dynamic") && !case.contains("bit") && !case.contains("fp"))
}

#[test]
fn embeddings_of_tokens_are_the_tokens() {
    for case in cases() {
        let (model, recipe, _dir) = open(&case);
        let tokens = prompt(&recipe);
        let want = logits(&*model, &Inputs::tokens(tokens.clone()), &mut cache(&*model));
        let embeddings = model.embed(&tokens).unwrap();
        let spliced = |embeddings: &Array| Inputs::spliced(tokens.clone(), embeddings.clone());
        assert_eq!(logits(&*model, &spliced(&embeddings), &mut cache(&*model)), want, "{case}");
        let other = (&embeddings * 0.5).unwrap();
        assert_ne!(logits(&*model, &spliced(&other), &mut cache(&*model)), want, "{case}");
        let alone = Inputs::embeddings(embeddings);
        if recipe.text()["hidden_size_per_layer_input"].as_i64().is_some_and(|n| n > 0) {
            let error = model.forward(&alone, &mut cache(&*model)).unwrap_err();
            assert!(error.kind() == ErrorKind::UnsupportedModel && error.message().contains("tokens"), "{error}");
            continue;
        }
        assert_eq!(logits(&*model, &alone, &mut cache(&*model)), want, "{case}");
    }
}

#[test]
fn explicit_positions_are_where_they_say() {
    for case in cases() {
        let (model, recipe, _dir) = open(&case);
        let (n, half) = (recipe.prompt.len() as i32, recipe.prompt.len() as i32 / 2);
        let (first, second) = recipe.prompt.split_at(half as usize);
        let dynamic = case.contains("dynamic");
        let run = |a: Option<i32>, b: Option<i32>| {
            let at = |tokens: &[u32], from: Option<i32>| match from {
                Some(from) => Inputs::tokens(ids(tokens)).at(places(from, from + tokens.len() as i32)),
                None => Inputs::tokens(ids(tokens)),
            };
            let cache = &mut cache(&*model);
            let mut all = logits(&*model, &at(first, a), cache);
            all.extend(logits(&*model, &at(second, b), cache));
            assert_eq!(cache.position(), n);
            all
        };
        let want = run(None, None);
        let same = |got: &[f32], what: &str, most: f32| {
            let error = relative_error(got, &want);
            assert!(error <= most, "{case}: {what} is off by {error:.1e}");
        };
        same(&run(Some(0), Some(half)), "explicit", 2e-5);
        same(&run(None, Some(half)), "the rest explicit", 2e-5);
        // Absolute positions, queries that grow with theirs, or weights after the rotation.
        let absolute = ["gpt2", "gpt_bigcode", "hunyuan_v1_dense", "ministral3", "mistral3"]
            .iter()
            .any(|name| case.starts_with(name));
        if dynamic || absolute || any(&UNPLACED, &case) {
            continue;
        }
        // Only distances count.
        same(&run(Some(30), Some(30 + half)), "all shifted", 1e-3);
        let apart = run(None, Some(half + 9));
        let also_apart = run(Some(4), Some(half + 13));
        assert!(relative_error(&also_apart, &apart) < 1e-3, "{case}: a gap");
        assert!(relative_error(&apart, &want) > 1e-3, "{case}: a gap that nobody sees");
    }
}

#[test]
fn rows_have_places_of_their_own() {
    let (model, recipe, _dir) = open("qwen3");
    let row = |n: usize| ids(&recipe.prompt[n..n + 6]);
    let both = mlx_engine::array::concatenate([&row(0), &row(3)], 0).unwrap();
    let at: Vec<i32> = (0..6).chain([0, 2, 4, 6, 8, 10]).collect();
    let at = Array::from_slice(&at, &[1, 2, 6]).unwrap();
    let got = logits(&*model, &Inputs::tokens(both).at(at.clone()), &mut cache(&*model));
    let mut want = logits(&*model, &Inputs::tokens(row(0)), &mut cache(&*model));
    let second = at.slice_axis(1, 1, 2).unwrap();
    want.extend(logits(&*model, &Inputs::tokens(row(3)).at(second), &mut cache(&*model)));
    assert!(relative_error(&got, &want) < 2e-5);
}

#[test]
fn full_and_spans_are_not_causal() {
    for case in relative() {
        let (model, recipe, _dir) = open(&case);
        let run =
            |visible: Visible| logits(&*model, &Inputs::tokens(prompt(&recipe)).seeing(visible), &mut cache(&*model));
        let (n, vocab) = (recipe.prompt.len() as i32, model.vocab_size() as usize);
        if any(&RECURRENT, &case) {
            let inputs = Inputs::tokens(prompt(&recipe)).seeing(Visible::Full);
            let error = model.forward(&inputs, &mut cache(&*model)).unwrap_err();
            assert!(error.kind() == ErrorKind::UnsupportedModel && error.message().contains("causally"), "{error}");
            continue;
        }
        let (causal, full) = (run(Visible::Causal), run(Visible::Full));
        assert!(relative_error(&full, &causal) > 1e-3, "{case}");
        // No window is shorter than these spans, so one over everything is everything.
        let windowed = ["sliding_window", "sliding_window_size"]
            .iter()
            .any(|key| recipe.text().get(*key).is_some_and(|window| !window.is_null()));
        if !windowed && !case.contains("sliding") {
            let all = run(Visible::Spans(vec![vec![0..n]]));
            assert!(relative_error(&all, &full) < 2e-5, "{case}");
        }
        let some = run(Visible::Spans(vec![vec![3..9]]));
        let rows = |all: &[f32], from: usize, to: usize| all[from * vocab..to * vocab].to_vec();
        // What is before a span knows nothing of it; those within see each other.
        assert!(relative_error(&rows(&some, 0, 3), &rows(&causal, 0, 3)) < 2e-5, "{case}");
        assert!(relative_error(&rows(&some, 3, 9), &rows(&causal, 3, 9)) > 1e-3, "{case}");
        assert!(matches!(run(Visible::Spans(vec![vec![]])), nothing if relative_error(&nothing, &causal) < 2e-5));
    }
}

/// Where all see all and positions are all alike, the order of tokens does not count.
#[test]
fn full_visibility_without_positions_is_a_set() {
    let (model, recipe, _dir) = open("llama");
    let n = recipe.prompt.len();
    let run = |tokens: &[u32], visible: Visible| {
        let at = Array::from_slice(&vec![5i32; n], &[1, 1, n as i32]).unwrap();
        logits(&*model, &Inputs::tokens(ids(tokens)).at(at).seeing(visible), &mut cache(&*model))
    };
    let backwards: Vec<u32> = recipe.prompt.iter().rev().copied().collect();
    let turned =
        |all: Vec<f32>| -> Vec<f32> { all.chunks(model.vocab_size() as usize).rev().flatten().copied().collect() };
    let (one, other) = (run(&recipe.prompt, Visible::Full), turned(run(&backwards, Visible::Full)));
    assert!(relative_error(&one, &other) < 2e-5);
    let (one, other) = (run(&recipe.prompt, Visible::Causal), turned(run(&backwards, Visible::Causal)));
    assert!(relative_error(&one, &other) > 1e-3);
}

#[test]
fn taps_are_what_layers_hand_on() {
    let (model, recipe, _dir) = open("llama");
    let taps = model.forward(&Inputs::tokens(prompt(&recipe)).tapping(vec![1, 0, 1]), &mut cache(&*model)).unwrap();
    assert_eq!(taps.taps.len(), 3);
    // What a model of the first layer alone makes, before the final norm.
    let mut short = recipe.clone();
    short.config["num_hidden_layers"] = json!(1);
    let dir = TempDir::new("inputs");
    short.write_checkpoint(dir.path(), 1, &mut crate::support::quantize).unwrap();
    let one_layer = network(&short, dir.path());
    let hidden = one_layer.forward(&Inputs::tokens(prompt(&recipe)), &mut cache(&*one_layer)).unwrap().hidden;
    let weight = recipe.tensors.iter().find(|t| t.name == "model.norm.weight").unwrap().values(recipe.seed);
    let eps = recipe.config["rms_norm_eps"].as_f64().unwrap() as f32;
    let normed = |x: &Array| -> Vec<f32> {
        let rows = values(x);
        let row = |row: &[f32]| -> Vec<f32> {
            let mean = row.iter().map(|v| v * v).sum::<f32>() / row.len() as f32;
            row.iter().zip(&weight).map(|(v, w)| v / (mean + eps).sqrt() * w).collect()
        };
        rows.chunks(weight.len()).flat_map(row).collect()
    };
    assert!(relative_error(&normed(&taps.taps[1]), &values(&hidden)) < 1e-5);
    assert!(relative_error(&normed(&taps.taps[0]), &values(&taps.hidden)) < 1e-5);
    assert_eq!(values(&taps.taps[0]), values(&taps.taps[2]));
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let (model, recipe, _dir) = open("qwen3");
    let n = recipe.prompt.len() as i32;
    let tokens = || Inputs::tokens(prompt(&recipe));
    let refused = |inputs: Inputs, kind: ErrorKind, word: &str| {
        let error = model.forward(&inputs, &mut cache(&*model)).unwrap_err();
        assert!(error.kind() == kind && error.message().contains(word), "{error}");
    };
    let zeros = |shape: &[i32], dtype| mlx_engine::array::zeros(shape, dtype).unwrap();
    let invalid = ErrorKind::InvalidArgument;
    refused(Inputs::embeddings(zeros(&[1, 3, 7], Dtype::F32)), invalid, "embeddings");
    refused(Inputs::tokens(zeros(&[3], Dtype::U32)), invalid, "tokens");
    let embeddings = zeros(&[1, n + 1, 64], Dtype::F32);
    refused(Inputs::spliced(prompt(&recipe), embeddings), invalid, "tokens");
    refused(tokens().at(zeros(&[1, 1, 3], Dtype::I32)), invalid, "positions");
    refused(tokens().at(zeros(&[1, 1, n], Dtype::F32)), invalid, "positions");
    refused(tokens().at(places(-1, n - 1)), invalid, "-1");
    refused(tokens().at(zeros(&[3, 1, n], Dtype::I32)), ErrorKind::UnsupportedModel, "3 axes");
    refused(tokens().seeing(Visible::Spans(vec![vec![]; 2])), invalid, "sequences");
    refused(tokens().seeing(Visible::Spans(vec![vec![2..n + 1]])), invalid, "span");
    refused(tokens().tapping(vec![2]), invalid, "layer 2");
}
