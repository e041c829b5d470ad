//! Features that no architecture of the table uses yet.

use super::*;
use crate::array::{Dtype, set_device};
use crate::cache::{KvQuantization, Layout};
use crate::models::tests::{checkpoint, open};
use crate::models::{Visible, config, llm};
use crate::nn::{Activation, NormKind, NormSpec};
use crate::test_support::fixture::{Recipe, relative_error};

/// The specification of a case.
fn spec_of(recipe: &Recipe) -> DecoderSpec {
    llm::llama::spec(&config::normalize(&recipe.config)).unwrap()
}

fn build(spec: DecoderSpec, dir: &std::path::Path) -> Result<Decoder> {
    let weights = open(dir);
    let decoder = Decoder::load(spec, &weights)?;
    weights.finish().map(|_| decoder)
}

fn ids(tokens: &[u32]) -> Array {
    Array::from_slice(tokens, &[1, tokens.len() as i32]).unwrap()
}

fn hidden(model: &Decoder, inputs: &Inputs, cache: &mut Cache) -> Vec<f32> {
    let hidden = model.forward(inputs, cache).unwrap().hidden;
    cache.settle().unwrap();
    hidden.astype(Dtype::F32).unwrap().to_vec().unwrap()
}

#[allow(unreachable_patterns)]
fn attention(layer: &mut LayerSpec) -> &mut AttentionSpec {
    match &mut layer.attend.what {
        Mixer::Attention(attention) => attention,
        _ => panic!("no attention"),
    }
}

/// In pieces of these lengths.
fn run(model: &Decoder, tokens: &[u32], pieces: &[usize], options: &CacheOptions) -> Vec<f32> {
    let mut cache = model.new_cache(options).unwrap();
    let (mut rest, mut all) = (tokens, Vec::new());
    for &n in pieces {
        let (piece, more) = rest.split_at(n);
        all.extend(hidden(model, &Inputs::tokens(ids(piece)), &mut cache));
        rest = more;
    }
    all
}

/// Layer 1 has the norm and the projections to keys and values of layer 0, which adds nothing unless `adds`: then both
/// make the same keys and values.
fn twins(adds: bool) -> (Recipe, tempfile::TempDir) {
    checkpoint("llama-kv4", |recipe| {
        let find = |recipe: &Recipe, name: &str| recipe.tensors.iter().position(|t| t.name == name).unwrap();
        for name in ["input_layernorm", "self_attn.k_proj", "self_attn.v_proj"] {
            // The numbers of a tensor follow from its name: make them constants.
            for layer in 0..2 {
                let at = find(recipe, &format!("model.layers.{layer}.{name}.weight"));
                let tensor = &mut recipe.tensors[at];
                if tensor.kind == "norm" {
                    (tensor.amp, tensor.offset) = (0.0, 1.0);
                }
            }
        }
        if !adds {
            for name in ["self_attn.o_proj", "mlp.down_proj"] {
                let at = find(recipe, &format!("model.layers.0.{name}.weight"));
                (recipe.tensors[at].amp, recipe.tensors[at].offset) = (0.0, 0.0);
            }
        }
    })
}

/// Gives layer 1 the keys' and values' projections of layer 0.
fn copy_projections(dir: &std::path::Path) {
    let path = dir.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensors: Vec<_> = file
        .names()
        .into_iter()
        .map(|name| {
            let source = match name.strip_prefix("model.layers.1.self_attn.") {
                Some(rest @ ("k_proj.weight" | "v_proj.weight")) => format!("model.layers.0.self_attn.{rest}"),
                _ => name.to_owned(),
            };
            (name.to_owned(), file.tensor(&source).unwrap())
        })
        .collect();
    std::fs::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
}

const PIECES: [&[usize]; 3] = [&[24], &[7, 1, 1, 9, 1, 5], &[1; 24]];

#[test]
fn layers_share_the_keys_and_values_of_others() {
    set_device(Device::Cpu).unwrap();
    for window in [None, Some(5)] {
        for adds in [false, true] {
            let (recipe, dir) = twins(adds);
            copy_projections(dir.path());
            let mut spec = spec_of(&recipe);
            spec.layers.iter_mut().for_each(|layer| attention(layer).window = window);
            let own = build(spec.clone(), dir.path()).unwrap();
            spec.layers[1].state = StateUse::SharedWith(0);
            let shares = build(spec.clone(), dir.path()).unwrap();
            assert_eq!(shares.new_cache(&CacheOptions::default()).unwrap().slots(), 1);
            let quantized = KvQuantization { bits: 8, group_size: 32, start: 4 };
            let plain = CacheOptions::default();
            let options = [
                plain,
                CacheOptions { max_kv_size: Some(9), ..plain },
                CacheOptions { quantization: Some(quantized), ..plain },
            ];
            for options in &options {
                for pieces in PIECES {
                    let want = run(&own, &recipe.prompt, pieces, options);
                    let got = run(&shares, &recipe.prompt, pieces, options);
                    let error = relative_error(&got, &want);
                    assert_eq!(error < 2e-5, !adds, "{window:?}, {options:?}, {pieces:?}: {error:.1e}");
                }
            }
        }
    }
}

#[test]
fn sequences_that_are_decoded_together_share_too() {
    set_device(Device::Cpu).unwrap();
    for (layout, window) in
        [(Layout::Rows, None), (Layout::Rows, Some(5)), (Layout::Aligned, None), (Layout::Aligned, Some(5))]
    {
        let (recipe, dir) = twins(true);
        let mut spec = spec_of(&recipe);
        spec.layers.iter_mut().for_each(|layer| attention(layer).window = window);
        spec.layers[1].state = StateUse::SharedWith(0);
        let model = build(spec, dir.path()).unwrap();
        let prompts = [&recipe.prompt[..9], &recipe.prompt[4..8]];
        let caches = || {
            prompts.map(|prompt| {
                let mut cache = model.new_cache(&CacheOptions::default()).unwrap();
                hidden(&model, &Inputs::tokens(ids(prompt)), &mut cache);
                cache
            })
        };
        let [mut together, second] = caches();
        together.push(second, layout).unwrap();
        let mut alone = caches();
        for step in 0..8u32 {
            let tokens = [step + 3, 40 - step];
            let both = Array::from_slice(&tokens, &[2, 1]).unwrap();
            let got = hidden(&model, &Inputs::tokens(both), &mut together);
            let each = alone.iter_mut().zip(tokens);
            let want: Vec<f32> = each.flat_map(|(c, t)| hidden(&model, &Inputs::tokens(ids(&[t])), c)).collect();
            assert!(relative_error(&got, &want) < 1e-5, "{layout:?}, {window:?}, step {step}");
        }
    }
}

#[test]
fn layers_without_state_see_this_pass_only() {
    set_device(Device::Cpu).unwrap();
    let (recipe, dir) = checkpoint("llama", |_| ());
    let usual = build(spec_of(&recipe), dir.path()).unwrap();
    let mut spec = spec_of(&recipe);
    spec.layers.iter_mut().for_each(|layer| layer.state = StateUse::None);
    let forgetful = build(spec, dir.path()).unwrap();
    let options = CacheOptions::default();
    assert!(forgetful.new_cache(&options).unwrap().slots() == 0);
    for visible in [Visible::Causal, Visible::Full, Visible::Spans(vec![vec![4..9]])] {
        let inputs = Inputs::tokens(ids(&recipe.prompt)).seeing(visible);
        let want = hidden(&usual, &inputs, &mut usual.new_cache(&options).unwrap());
        let got = hidden(&forgetful, &inputs, &mut forgetful.new_cache(&options).unwrap());
        assert!(relative_error(&got, &want) < 2e-5, "{inputs:?}");
    }
    // One without and one with: only the latter's layer remembers.
    let mut spec = spec_of(&recipe);
    spec.layers[0].state = StateUse::None;
    let half = build(spec, dir.path()).unwrap();
    let once = run(&half, &recipe.prompt, &[24], &options);
    let twice = run(&half, &recipe.prompt, &[12, 12], &options);
    let features = half.spec.hidden_size as usize;
    assert!(relative_error(&twice[..12 * features], &once[..12 * features]) < 2e-5);
    assert!(relative_error(&twice[12 * features..], &once[12 * features..]) > 1e-3);
}

#[test]
fn states_that_cannot_be_shared_are_refused() {
    let (recipe, _dir) = checkpoint("llama", |_| ());
    let refused = |change: &dyn Fn(&mut DecoderSpec)| {
        let mut spec = spec_of(&recipe);
        change(&mut spec);
        let error = spec.validate().unwrap_err();
        assert!(error.message().contains("cannot share the state"), "{error}");
    };
    refused(&|spec| spec.layers[0].state = StateUse::SharedWith(1));
    refused(&|spec| spec.layers[1].state = StateUse::SharedWith(1));
    refused(&|spec| spec.layers[1].state = StateUse::SharedWith(7));
    refused(&|spec| {
        spec.layers[0].state = StateUse::None;
        spec.layers[1].state = StateUse::SharedWith(0);
    });
    refused(&|spec| {
        attention(&mut spec.layers[0]).window = Some(3);
        spec.layers[1].state = StateUse::SharedWith(0);
    });
}

/// Two norms in parallel (GPT-NeoX), and a norm of the result beside one of the input with factors.
#[test]
fn parts_of_a_layer_are_put_together_as_they_say() {
    set_device(Device::Cpu).unwrap();
    let (recipe, dir) = checkpoint("llama", |_| ());
    let norm = NormSpec { kind: NormKind::Rms, eps: 1e-5 };
    let usual = spec_of(&recipe);
    let mut parallel = usual.clone();
    parallel.layers.iter_mut().for_each(|layer| layer.flow = Flow::Parallel);
    let one_layer = |mut spec: DecoderSpec| {
        spec.layers.truncate(1);
        let weights = open(dir.path());
        Decoder::load(spec, &weights).unwrap()
    };
    let tap = |model: &Decoder| {
        let inputs = Inputs::tokens(ids(&recipe.prompt)).tapping(vec![0]);
        model.forward(&inputs, &mut model.new_cache(&CacheOptions::default()).unwrap()).unwrap().taps[0].clone()
    };
    let values = |a: &Array| a.to_vec::<f32>().unwrap();
    // A part that counts nothing leaves the other.
    let part = |attend: f32, feed: f32, flow: Flow| {
        let mut spec = usual.clone();
        for layer in &mut spec.layers {
            (layer.attend.scale, layer.feed.scale, layer.flow) = (Some(attend), Some(feed), flow);
        }
        tap(&one_layer(spec))
    };
    let x = one_layer(usual.clone()).embed(&ids(&recipe.prompt)).unwrap();
    let attended = (part(1.0, 0.0, Flow::Sequential) - &x).unwrap();
    let fed = (part(0.0, 1.0, Flow::Sequential) - &x).unwrap();
    let sum = ((&x + &attended).unwrap() + &fed).unwrap();
    assert!(relative_error(&values(&tap(&one_layer(parallel))), &values(&sum)) < 1e-5);
    assert!(relative_error(&values(&tap(&one_layer(usual.clone()))), &values(&sum)) > 1e-3);
    let halves = (&x + (&attended * 0.5).unwrap()).unwrap();
    assert!(relative_error(&values(&part(0.5, 0.0, Flow::Parallel)), &values(&halves)) < 1e-5);
    // Names of norms are where the specification says.
    let mut renamed = usual.clone();
    renamed.layers[0].feed = SubLayer::bare(GatedSpec::new(128, Activation::Silu)).before("another_norm", norm);
    let error = build(renamed, dir.path()).err().unwrap();
    assert!(error.message().contains("model.layers.0.another_norm.weight is missing"), "{error}");
}
