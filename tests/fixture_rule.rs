//! The fixture generator in Rust agrees with the one in Python (tests/fixtures/models/checkpoint.py).

#[path = "support/fixture.rs"]
mod fixture;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use fixture::{Golden, Packed, Packing, RawTensor, Recipe, TensorSpec, fnv1a};
use safetensors::SafeTensors;
use serde_json::Value;

fn spec(name: &str, shape: &[usize], amp: f64, offset: f64) -> TensorSpec {
    TensorSpec { name: name.into(), shape: shape.into(), kind: "weight".into(), amp, offset, checksum: 0 }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("mlxe-fixture-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Self(dir)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Name, dtype, shape and bytes of every tensor of one file.
fn read_file(path: &Path) -> BTreeMap<String, (String, Vec<usize>, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter();
    tensors.map(|(name, t)| (name, (format!("{:?}", t.dtype()), t.shape().to_vec(), t.data().to_vec()))).collect()
}

#[test]
fn hash_has_its_published_values() {
    assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
}

/// The expected bits come from checkpoint.py.
#[test]
fn known_values() {
    let values = spec("model.embed_tokens.weight", &[2, 3], 2.0, 0.5).values(7);
    assert_eq!(bits(&values), [0x3eb976d4, 0x3f8c9ded, 0x3f820d77, 0x3f7484ae, 0xbe8c8e48, 0xbe15ca70]);
    assert_eq!(fnv1a(&fixture::f32_bytes(&values)), 0x254f_c989_bea8_100e);

    let values = spec("größe", &[3], 0.4, 1.0).values(u64::MAX);
    assert_eq!(bits(&values), [0x3f956509, 0x3f8d9850, 0x3f7e803a]);
    assert_eq!(fnv1a(&fixture::f32_bytes(&values)), 0xff10_ffb1_4e51_e586);
}

#[test]
fn every_tensor_has_the_checksum_of_its_recipe() {
    for case in fixture::cases() {
        let recipe = Recipe::load(&case);
        for tensor in &recipe.tensors {
            let sum = fnv1a(&fixture::f32_bytes(&tensor.values(recipe.seed)));
            assert_eq!(sum, tensor.checksum, "{case}: {}", tensor.name);
        }
    }
}

#[test]
fn recipes_and_goldens_belong_together() {
    assert!(fixture::cases().len() >= 80);
    assert_eq!(fixture::cases(), fixture::golden_cases());
    for case in fixture::cases() {
        let recipe = Recipe::load(&case);
        let golden = Golden::load(&case);
        assert_eq!(recipe.case, case);
        let rows = recipe.text().get("embedding_size").unwrap_or(&recipe.text()["vocab_size"]);
        assert_eq!(*rows, golden.vocab, "{case}");
        assert_eq!(golden.logits.len(), recipe.prompt.len() * golden.vocab, "{case}");
        assert_eq!(golden.greedy.len(), 64, "{case}");
        assert!(golden.logits.iter().all(|v| v.is_finite()), "{case}");
        let tokens = recipe.prompt.iter().chain(&golden.greedy).chain(golden.kv_greedy.iter().flatten());
        assert!(tokens.into_iter().all(|t| (*t as usize) < golden.vocab), "{case}");
        assert_eq!(golden.kv_logits.is_some(), recipe.kv.is_some(), "{case}");
        assert_eq!(golden.kv_greedy.is_some(), recipe.kv.is_some(), "{case}");
        assert_eq!(golden.last_logits().len(), golden.vocab);
        let best = (0..golden.vocab).max_by(|a, b| golden.last_logits()[*a].total_cmp(&golden.last_logits()[*b]));
        if golden.chunked_logits.is_none() {
            assert_eq!(best, Some(golden.greedy[0] as usize), "{case}: the first greedy token is the best logit");
        }
        let mut names: Vec<_> = recipe.tensors.iter().map(|t| &t.name).collect();
        assert!(names.is_sorted(), "{case}");
        names.dedup();
        assert_eq!(names.len(), recipe.tensors.len(), "{case}");
    }
}

#[test]
fn plain_checkpoint_in_one_file_and_in_shards() {
    let recipe = Recipe::load("llama");
    let one = TempDir::new("one");
    recipe.write_checkpoint(&one.0, 1, &mut fixture::no_quantize).unwrap();
    let whole = read_file(&one.0.join("model.safetensors"));
    assert_eq!(whole.len(), recipe.tensors.len());
    for tensor in &recipe.tensors {
        let (dtype, shape, bytes) = &whole[&tensor.name];
        assert_eq!((dtype.as_str(), shape, fnv1a(bytes)), ("F32", &tensor.shape, tensor.checksum), "{}", tensor.name);
    }
    let config: Value = serde_json::from_slice(&fs::read(one.0.join("config.json")).unwrap()).unwrap();
    assert_eq!(config, recipe.config);

    let many = TempDir::new("many");
    recipe.write_checkpoint(&many.0, 3, &mut fixture::no_quantize).unwrap();
    let index = fs::read(many.0.join("model.safetensors.index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let mut joined = BTreeMap::new();
    for shard in ["model-00001-of-00003", "model-00002-of-00003", "model-00003-of-00003"] {
        let file = format!("{shard}.safetensors");
        let tensors = read_file(&many.0.join(&file));
        assert!(!tensors.is_empty());
        assert!(tensors.keys().all(|name| index["weight_map"][name] == *file));
        joined.extend(tensors);
    }
    assert!(!many.0.join("model.safetensors").exists());
    assert_eq!(index["weight_map"].as_object().unwrap().len(), whole.len());
    assert_eq!(index["metadata"]["total_size"], whole.values().map(|t| t.2.len()).sum::<usize>());
    assert_eq!(joined, whole);
}

#[test]
fn quantized_checkpoint_asks_for_the_layers_of_the_recipe() {
    let recipe = Recipe::load("llama-mixed");
    let mut asked = BTreeSet::new();
    let mut quantize = |name: &str, values: &[f32], shape: &[usize], packing: &Packing| {
        assert_eq!(values.len(), shape.iter().product::<usize>());
        assert_eq!(recipe.packed[name.strip_suffix(".weight").unwrap()], *packing);
        asked.insert(name.to_owned());
        let columns = shape[1] * packing.bits as usize / 32;
        let groups = shape[1] / packing.group_size as usize;
        Packed {
            weight: RawTensor::u32(&[shape[0], columns], &vec![7; shape[0] * columns]),
            scales: RawTensor::f32(&[shape[0], groups], &vec![1.0; shape[0] * groups]),
            biases: Some(RawTensor::f32(&[shape[0], groups], &vec![0.0; shape[0] * groups])),
        }
    };
    let tensors = recipe.checkpoint_tensors(&mut quantize);
    assert_eq!(asked.len(), recipe.packed.len());
    assert_eq!(tensors.len(), recipe.tensors.len() + 2 * recipe.packed.len());
    assert_eq!(tensors["model.layers.0.self_attn.v_proj.weight"].shape, [32, 12]);
    assert_eq!(tensors["model.layers.0.self_attn.v_proj.scales"].shape, [32, 2]);
    assert_eq!(tensors["lm_head.weight"].shape, [96, 12]);
    assert_eq!(tensors["model.norm.weight"].shape, [64]);
}

#[test]
fn relative_error_sees_what_is_wrong() {
    assert_eq!(fixture::relative_error(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
    assert_eq!(fixture::relative_error(&[1.0, 3.0], &[1.0, 2.0]), 0.5);
    assert!(fixture::relative_error(&[1.0, f32::NAN], &[1.0, 2.0]).is_infinite());
    assert!(fixture::relative_error(&[1.0], &[1.0, 2.0]).is_infinite());
}
