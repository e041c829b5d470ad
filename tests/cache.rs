//! The caches of a trained model: what is saved, trimmed or forked continues with the same logits.

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use mlx_engine::array::io::ReadProgress;
use mlx_engine::array::{Array, Device, Dtype, set_device};
use mlx_engine::cache::{Cache, CacheOptions, KvQuantization};
use mlx_engine::models::{Inputs, LanguageModel, registry};
use mlx_engine::weights::{Checkpoint, Weights};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::fixture::relative_error;
use support::{TempDir, network, write_case};

/// A trained model, and models whose layers have other states.
fn models() -> impl Iterator<Item = (&'static str, Box<dyn LanguageModel>, Option<TempDir>)> {
    let fixtures = ["gemma4_text", "lfm2", "qwen3_5", "mamba2", "falcon_h1"].map(|case| {
        let dir = TempDir::new("cache");
        let recipe = write_case(case, dir.path(), 1);
        (case, network(&recipe, dir.path()), Some(dir))
    });
    std::iter::once(("trained", trained(), None)).chain(fixtures)
}

fn trained() -> Box<dyn LanguageModel> {
    set_device(Device::Cpu).unwrap();
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen3");
    let config = serde_json::from_str(&std::fs::read_to_string(dir.join("config.json")).unwrap()).unwrap();
    let mut checkpoint = Checkpoint::open(&dir).unwrap();
    let progress = ReadProgress::new(Arc::default());
    let weights = Weights::open(&mut checkpoint, None, Some(Dtype::F32), progress).unwrap();
    registry::find("qwen3").unwrap().build(&config, &weights).unwrap().language().unwrap()
}

/// The logits after the last of these tokens.
fn feed(network: &dyn LanguageModel, cache: &mut Cache, tokens: &[u32]) -> Vec<f32> {
    let n = tokens.len() as i32;
    let input = Inputs::tokens(Array::from_slice(tokens, &[1, n]).unwrap());
    let hidden = network.forward(&input, cache).unwrap().hidden;
    let logits = network.logits(&hidden.slice_axis(1, n - 1, n).unwrap()).unwrap();
    let logits = logits.astype(Dtype::F32).unwrap().to_vec().unwrap();
    cache.settle().unwrap();
    logits
}

/// But for the order in which a ring is summed.
fn same(got: &[f32], want: &[f32], what: &str) {
    let error = relative_error(got, want);
    assert!(error < 1e-5, "{what}: off by {error:.1e}");
}

/// Heads of the fixtures are too small to be quantized.
fn kinds(model: &str) -> Vec<CacheOptions> {
    let quantization = |start| Some(KvQuantization { bits: 8, group_size: 32, start });
    let all = [
        CacheOptions::default(),
        CacheOptions { quantization: quantization(0), ..Default::default() },
        CacheOptions { quantization: quantization(30), ..Default::default() },
        CacheOptions { max_kv_size: Some(24), ..Default::default() },
    ];
    let possible = |options: &CacheOptions| model == "trained" || options.quantization.is_none();
    all.into_iter().filter(possible).collect()
}

fn tokens(rng: &mut StdRng, network: &dyn LanguageModel, n: usize) -> Vec<u32> {
    (0..n).map(|_| rng.random_range(0..network.vocab_size() as u32)).collect()
}

#[test]
fn a_saved_cache_continues_with_the_same_logits() {
    for (model, network, _dir) in models() {
        saved_and_loaded(model, &*network);
    }
}

fn saved_and_loaded(model: &str, network: &dyn LanguageModel) {
    let folder = TempDir::new("cache");
    let path = folder.path().join("saved.safetensors");
    let mut rng = StdRng::seed_from_u64(1);
    for options in kinds(model) {
        for length in [1, 20, 70] {
            let mut cache = network.new_cache(&options).unwrap();
            for chunk in tokens(&mut rng, network, length).chunks(32) {
                feed(network, &mut cache, chunk);
            }
            cache.save(&path, BTreeMap::new()).unwrap();
            let mut loaded = network.new_cache(&options).unwrap();
            loaded.load(&path).unwrap();
            for n in [1, 1, 5, 1] {
                let next = tokens(&mut rng, network, n);
                let (got, want) = (feed(network, &mut loaded, &next), feed(network, &mut cache, &next));
                assert_eq!(got, want, "{model}, {options:?} after {length}");
            }
        }
    }
}

#[test]
fn tokens_that_were_trimmed_change_nothing() {
    for (model, network, _dir) in models() {
        trimmed(model, &*network);
    }
}

fn trimmed(model: &str, network: &dyn LanguageModel) {
    let mut rng = StdRng::seed_from_u64(2);
    for options in kinds(model) {
        let mut trimmed = 0;
        for _ in 0..12 {
            let (mut cache, mut want) = (network.new_cache(&options).unwrap(), network.new_cache(&options).unwrap());
            let prompt = {
                let n = rng.random_range(1..60);
                tokens(&mut rng, network, n)
            };
            feed(network, &mut cache, &prompt);
            feed(network, &mut want, &prompt);
            let guess = {
                let n = rng.random_range(1..9);
                tokens(&mut rng, network, n)
            };
            let mut fork = cache.fork().unwrap();
            let mut there = fork.checkpoint().unwrap();
            feed(network, &mut cache, &guess);
            feed(network, &mut fork, &guess);
            let next = tokens(&mut rng, network, 1);
            let want = feed(network, &mut want, &next);
            assert!(fork.restore(&mut there).unwrap());
            let got = feed(network, &mut fork, &next);
            same(&got, &want, &format!("{model}, {options:?}, restored"));
            if cache.trim(&[guess.len() as i32]).unwrap() {
                trimmed += 1;
                let got = feed(network, &mut cache, &next);
                same(&got, &want, &format!("{model}, {options:?}, trimmed"));
            }
        }
        // Recurrent layers go back by checkpoints only.
        assert_eq!(trimmed > 3, ["trained", "gemma4_text"].contains(&model), "{model}, {options:?}: {trimmed}");
    }
}
