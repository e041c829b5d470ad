//! The registry with models for tests.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::decoder::{Decoder, DecoderSpec, StateUse};
use super::registry::{Architecture, Build, ByHand, Network, find};
use super::shape::{ModelShape, OnDevice};
use super::table::{PREFILL_STEP, Table};
use super::{Encoder, Images, Inputs, LanguageModel, Tower, Visible, config, llm};
use crate::array::io::ReadProgress;
use crate::array::{Array, Device, Dtype, concatenate, set_device};
use crate::cache::CacheOptions;
use crate::error::Result;
use crate::test_support::fixture::{self, RawTensor, Recipe, no_quantize};
use crate::weights::{Checkpoint, Weights};

/// Beside the table.
pub static ROWS: &[Architecture] = &[
    Architecture::new("test_bigram", Build::ByHand(ByHand { shape: bigram_shape, load: bigram })),
    Architecture::new("test_encoder", Build::Encoder(ByHand { shape: encoder_shape, load: encoder })),
    Architecture::new(
        "test_vision",
        Build::Vision { text: llm::llama::spec, tower: ByHand { shape: patches_shape, load: patches } },
    ),
    Architecture::new("test_renamed", Build::Decoder(llm::llama::spec)).sanitized(renamed),
    Architecture::new("test_alias", Build::Alias("test_bigram")),
];

/// The tensors of a checkpoint in a directory.
pub fn open(dir: &Path) -> Weights {
    set_device(Device::Cpu).unwrap();
    let mut checkpoint = Checkpoint::open(dir).unwrap();
    Weights::open(&mut checkpoint, None, Some(Dtype::F32), ReadProgress::new(Arc::default())).unwrap()
}

/// A checkpoint like that of a case, with its tensors changed.
pub fn checkpoint(case: &str, change: impl FnOnce(&mut Recipe)) -> (Recipe, tempfile::TempDir) {
    let mut recipe = Recipe::load(case);
    change(&mut recipe);
    let dir = tempfile::tempdir().unwrap();
    recipe.write_checkpoint(dir.path(), 1, &mut no_quantize).unwrap();
    (recipe, dir)
}

fn write(dir: &Path, tensors: &[(&str, RawTensor)]) {
    let views = tensors
        .iter()
        .map(|(name, t)| (*name, safetensors::tensor::TensorView::new(t.dtype, t.shape.clone(), &t.bytes).unwrap()));
    std::fs::write(dir.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    std::fs::write(dir.join("config.json"), "{}").unwrap();
}

fn ids(tokens: &[u32]) -> Array {
    Array::from_slice(tokens, &[1, tokens.len() as i32]).unwrap()
}

// A model by hand.

fn vocabulary(config: &Value) -> Result<i32> {
    let n = config.get("vocab_size").and_then(Value::as_i64).filter(|n| (1..=1 << 16).contains(n));
    config::required("vocab_size", n.map(|n| n as i32))
}

fn bigram_shape(config: &Value) -> Result<ModelShape> {
    let n = vocabulary(config)? as u64;
    Ok(ModelShape {
        hidden: n,
        vocab: n,
        context_length: None,
        embedding: "table".into(),
        parameters: n * n,
        layers: Vec::new(),
        prefill_step: OnDevice::same(PREFILL_STEP as u64),
    })
}

fn bigram(config: &Value, w: &Weights) -> Result<Box<dyn LanguageModel>> {
    let n = vocabulary(config)?;
    Ok(Box::new(Table(w.tensor("table.weight", &[n, n])?)))
}

#[test]
fn a_model_by_hand_is_a_row_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[("table.weight", RawTensor::f32(&[3, 3], &[1., 2., 3., 4., 5., 6., 7., 8., 9.]))]);
    let config = json!({"vocab_size": 3});
    for name in ["test_bigram", "test_alias"] {
        let row = find(name).unwrap();
        assert_eq!(row.shape(&config).unwrap().parameters(), 9);
        assert!(row.shape(&json!({"vocab_size": 0})).unwrap_err().message().contains("vocab_size"));
        let weights = open(dir.path());
        let model = row.build(&config, &weights).unwrap().language().unwrap();
        weights.finish().unwrap();
        let mut cache = model.new_cache(&CacheOptions::default()).unwrap();
        let hidden = model.forward(&Inputs::tokens(ids(&[2, 0])), &mut cache).unwrap().hidden;
        assert_eq!(model.logits(&hidden).unwrap().to_vec::<f32>().unwrap(), [7., 8., 9., 1., 2., 3.]);
    }
    assert_eq!(find("test_alias").unwrap().alias_of(), Some("test_bigram"));
}

// An encoder: Llama's layers without memory.

fn encoder_spec(config: &Value) -> Result<DecoderSpec> {
    let mut spec = llm::llama::spec(config)?;
    spec.layers.iter_mut().for_each(|layer| layer.state = StateUse::None);
    spec.validate()?;
    Ok(spec)
}

fn encoder_shape(config: &Value) -> Result<ModelShape> {
    Ok(encoder_spec(config)?.shape())
}

fn encoder(config: &Value, w: &Weights) -> Result<Box<dyn Encoder>> {
    Ok(Box::new(Decoder::load(encoder_spec(config)?, w)?))
}

#[test]
fn an_encoder_is_a_row_of_its_own_kind() {
    let (recipe, dir) = checkpoint("llama", |_| ());
    let row = find("test_encoder").unwrap();
    assert_eq!(row.kind().name(), "encoder");
    let shape = row.shape(&recipe.config).unwrap();
    assert!(shape.layers.iter().all(|layer| layer.state == super::shape::StateShape::None));
    let Network::Encoder(encoder) = row.build(&recipe.config, &open(dir.path())).unwrap() else { panic!("no encoder") };
    assert_eq!(encoder.context_length(), recipe.config["max_position_embeddings"].as_i64().map(|n| n as i32));
    let inputs = Inputs::tokens(ids(&recipe.prompt)).seeing(Visible::Full);
    let once = encoder.encode(&inputs).unwrap().hidden.to_vec::<f32>().unwrap();
    // It is stateless, and gives what a stateful model gives in its first pass.
    assert_eq!(encoder.encode(&inputs).unwrap().hidden.to_vec::<f32>().unwrap(), once);
    let model = find("llama").unwrap().build(&recipe.config, &open(dir.path())).unwrap().language().unwrap();
    let mut cache = model.new_cache(&CacheOptions::default()).unwrap();
    let want = model.forward(&inputs, &mut cache).unwrap().hidden.to_vec::<f32>().unwrap();
    assert!(fixture::relative_error(&once, &want) < 1e-5);
    // It does not generate.
    let network = row.build(&recipe.config, &open(dir.path())).unwrap();
    assert!(network.language().is_err_and(|e| e.kind() == crate::ErrorKind::UnsupportedModel));
}

// A vision model: a linear map of patches, and Llama.

struct Patches(Array);

fn patches_shape(config: &Value) -> Result<ModelShape> {
    let c: config::Common = config::parse(config)?;
    let mut shape = bigram_shape(config)?;
    shape.parameters = 5 * c.hidden_size as u64;
    Ok(shape)
}

fn patches(config: &Value, w: &Weights) -> Result<Box<dyn Tower>> {
    let c: config::Common = config::parse(config)?;
    Ok(Box::new(Patches(w.tensor("vision.weight", &[5, c.hidden_size])?)))
}

impl Tower for Patches {
    fn embed(&self, images: &Images) -> Result<Array> {
        images.pixels.matmul(&self.0)
    }
}

#[test]
fn a_model_that_sees_splices_images_into_text() {
    let (recipe, dir) = checkpoint("llama", |recipe| {
        let mut seeing = recipe.tensors[0].clone();
        (seeing.name, seeing.shape) = ("vision.weight".into(), vec![5, 64]);
        recipe.tensors.push(seeing);
    });
    let row = find("test_vision").unwrap();
    let text = find("llama").unwrap().shape(&recipe.config).unwrap();
    assert_eq!(row.shape(&recipe.config).unwrap().parameters(), text.parameters() + 5 * 64);
    let weights = open(dir.path());
    let Network::Vision(model, tower) = row.build(&recipe.config, &weights).unwrap() else { panic!("no tower") };
    weights.finish().unwrap();
    let run = |pixels: f32| {
        let pixels = Array::from_slice(&[pixels; 10], &[2, 5]).unwrap();
        let image = tower.embed(&Images { pixels, grids: vec![[1, 1, 2]] }).unwrap().expand_dims(0).unwrap();
        let (before, after) = (model.embed(&ids(&[1, 2])).unwrap(), model.embed(&ids(&[3])).unwrap());
        let spliced = concatenate([&before, &image, &after], 1).unwrap();
        let mut cache = model.new_cache(&CacheOptions::default()).unwrap();
        let inputs = Inputs::embeddings(spliced).seeing(Visible::Spans(vec![vec![2..4]]));
        model.forward(&inputs, &mut cache).unwrap().hidden.to_vec::<f32>().unwrap()
    };
    let (a, b) = (run(0.5), run(-0.25));
    // The text before the image does not depend on it.
    assert!(fixture::relative_error(&a[..128], &b[..128]) < 1e-5);
    assert!(fixture::relative_error(&a[128..], &b[128..]) > 1e-2);
}

// A checkpoint with other names.

fn renamed(_: &Value, w: &Weights) -> Result<()> {
    w.rename(|name| match name.strip_prefix("language_model.") {
        Some(rest) => Some(rest.to_owned()),
        None => (!name.starts_with("visual.")).then(|| name.to_owned()),
    })
}

#[test]
fn checkpoints_with_other_names_are_renamed_first() {
    let (recipe, dir) = checkpoint("llama", |recipe| {
        let mut extra = recipe.tensors[0].clone();
        extra.name = "visual.weight".into();
        recipe.tensors.push(extra);
    });
    let names: Vec<String> = open(dir.path()).names();
    let build = |row: &str, dir: &Path| {
        let weights = open(dir);
        find(row).unwrap().build(&recipe.config, &weights)?;
        weights.finish().map(|_| ())
    };
    assert!(build("llama", dir.path()).unwrap_err().message().contains("visual.weight"));
    build("test_renamed", dir.path()).unwrap();
    // Two names that become one are an error that names both.
    let twice = open(dir.path()).rename(|_| Some("same".into())).unwrap_err();
    assert!(twice.message().contains("same occurs twice"), "{twice}");
    assert!(names.contains(&"visual.weight".to_owned()));
}
