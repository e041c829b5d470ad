//! Tiny model checkpoints from recipes (tests/fixtures/models/*.json) and the reference's answers for them
//! (tests/golden/models/*.safetensors). The recipes and the rule are described in
//! tests/fixtures/models/checkpoint.py; this is the same rule, bit for bit.
//!
//! Include it in a test with `#[path = "support/fixture.rs"] mod fixture;`. It knows nothing of the engine: a test
//! that writes a quantized checkpoint brings the function that quantizes.

#![allow(dead_code)]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

/// One tensor of a recipe. `checksum` is the FNV-1a 64 of its little-endian f32 bytes.
#[derive(Clone, Debug)]
pub struct TensorSpec {
    pub name: String,
    pub shape: Vec<usize>,
    pub kind: String,
    pub amp: f64,
    pub offset: f64,
    pub checksum: u64,
}

/// How one module's weight is packed. `mode` is MLX's name for it: `affine`, `mxfp4`, `mxfp8`, `nvfp4`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing {
    pub bits: i32,
    pub group_size: i32,
    pub mode: String,
}

#[derive(Clone, Debug)]
pub struct Recipe {
    pub case: String,
    /// config.json, in the order in which it is written.
    pub config: Value,
    pub seed: u64,
    pub prompt: Vec<u32>,
    /// Chunk length of the golden's `chunked_logits`, and a good one for other chunked prefills.
    pub chunk: usize,
    /// Bits and group size of the quantized KV cache of the golden's `kv_*` tensors.
    pub kv: Option<(i32, i32)>,
    /// Module path to packing; empty when nothing is quantized.
    pub packed: BTreeMap<String, Packing>,
    pub tensors: Vec<TensorSpec>,
    /// Whether experts are written one by one, as on Hugging Face, and not stacked.
    pub split_experts: bool,
}

/// A tensor in the bytes of a safetensors file.
#[derive(Clone, Debug)]
pub struct RawTensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl RawTensor {
    pub fn f32(shape: &[usize], values: &[f32]) -> Self {
        Self { dtype: Dtype::F32, shape: shape.to_vec(), bytes: f32_bytes(values) }
    }

    pub fn u32(shape: &[usize], values: &[u32]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self { dtype: Dtype::U32, shape: shape.to_vec(), bytes }
    }
}

/// What quantizing one weight gives. Only the affine mode has biases.
pub struct Packed {
    pub weight: RawTensor,
    pub scales: RawTensor,
    pub biases: Option<RawTensor>,
}

/// `quantize(name, values, shape, packing)`: `name` is the full tensor name, ending in `.weight`.
pub type Quantize<'a> = dyn FnMut(&str, &[f32], &[usize], &Packing) -> Packed + 'a;

/// For recipes without `quantize`.
pub fn no_quantize(name: &str, _: &[f32], _: &[usize], _: &Packing) -> Packed {
    panic!("{name} is to be quantized, but the test brought no function for it")
}

/// The reference's answers, row-major.
#[derive(Clone, Debug)]
pub struct Golden {
    /// [prompt, vocab] from one forward over the whole prompt.
    pub logits: Vec<f32>,
    pub vocab: usize,
    pub greedy: Vec<u32>,
    /// Last row after a chunked prefill. Absent where it equals the last row of `logits`.
    pub chunked_logits: Option<Vec<f32>>,
    /// Last position with a quantized KV cache: the prompt but its last token ran on a plain cache, which was then
    /// quantized, as mlx-lm's generate_step does with `quantized_kv_start` 0.
    pub kv_logits: Option<Vec<f32>>,
    pub kv_greedy: Option<Vec<u32>>,
}

// The rule.

pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01B3))
}

/// Element `i` of `name`, in [0, 1), with 24 bits.
pub fn uniform(seed: u64, name: &str, i: u64) -> f64 {
    uniform_from(seed ^ fnv1a(name.as_bytes()), i)
}

fn uniform_from(start: u64, i: u64) -> f64 {
    let mut z = start.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 40) as f64 / f64::from(1u32 << 24)
}

impl TensorSpec {
    pub fn values(&self, seed: u64) -> Vec<f32> {
        let count: usize = self.shape.iter().product();
        let start = seed ^ fnv1a(self.name.as_bytes());
        (0..count as u64).map(|i| ((uniform_from(start, i) - 0.5) * self.amp + self.offset) as f32).collect()
    }
}

pub fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

// Recipes and goldens on disk.

/// The repository, also for the tests of a package within it.
pub fn root() -> &'static Path {
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    above.find(|d| d.join("tests/fixtures/models").is_dir()).expect("the package lies in the repository")
}

pub fn recipe_dir() -> PathBuf {
    root().join("tests/fixtures/models")
}

pub fn golden_dir() -> PathBuf {
    root().join("tests/golden/models")
}

fn stems(dir: &Path, extension: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("directory entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .filter_map(|path| path.file_stem()?.to_str().map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// The names of all cases, sorted.
pub fn cases() -> Vec<String> {
    stems(&recipe_dir(), "json")
}

pub fn golden_cases() -> Vec<String> {
    stems(&golden_dir(), "safetensors")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is not a string in {value}"))
}

fn unsigned(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} is not an unsigned number in {value}"))
}

fn real(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is not a number in {value}"))
}

fn unsigned_list(value: &Value) -> Vec<u64> {
    value.as_array().expect("array").iter().map(|v| v.as_u64().expect("unsigned number")).collect()
}

impl Recipe {
    pub fn load(case: &str) -> Self {
        let path = recipe_dir().join(format!("{case}.json"));
        let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self::parse(&serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    }

    pub fn parse(json: &Value) -> Self {
        let bits_and_group = |v: &Value| (unsigned(v, "bits") as i32, unsigned(v, "group_size") as i32);
        let packed = json["quantize"]["layers"].as_object().into_iter().flatten().map(|(path, how)| {
            let (bits, group_size) = bits_and_group(how);
            (path.clone(), Packing { bits, group_size, mode: text(how, "mode").to_owned() })
        });
        let tensors = json["tensors"].as_array().expect("tensors").iter().map(|t| TensorSpec {
            name: text(t, "name").to_owned(),
            shape: unsigned_list(&t["shape"]).into_iter().map(|d| d as usize).collect(),
            kind: text(t, "kind").to_owned(),
            amp: real(t, "amp"),
            offset: real(t, "offset"),
            checksum: u64::from_str_radix(text(t, "checksum"), 16).expect("hexadecimal checksum"),
        });
        Self {
            case: text(json, "case").to_owned(),
            config: json["config"].clone(),
            seed: unsigned(json, "seed"),
            prompt: unsigned_list(&json["prompt"]).into_iter().map(|t| t as u32).collect(),
            chunk: unsigned(json, "chunk") as usize,
            kv: json.get("kv").map(bits_and_group),
            packed: packed.collect(),
            tensors: tensors.collect(),
            split_experts: json["experts"] == "split",
        }
    }

    /// The configuration of the text side.
    pub fn text(&self) -> &Value {
        self.config.get("text_config").unwrap_or(&self.config)
    }

    /// Every tensor of the checkpoint, quantized ones as `.weight`, `.scales` and `.biases`.
    pub fn checkpoint_tensors(&self, quantize: &mut Quantize) -> BTreeMap<String, RawTensor> {
        let mut out = BTreeMap::new();
        for spec in &self.tensors {
            let values = spec.values(self.seed);
            let path = spec.name.strip_suffix(".weight");
            match path.and_then(|path| Some((path, self.packed.get(path)?))) {
                None => {
                    out.insert(spec.name.clone(), RawTensor::f32(&spec.shape, &values));
                }
                Some((path, packing)) => {
                    let packed = quantize(&spec.name, &values, &spec.shape, packing);
                    out.insert(spec.name.clone(), packed.weight);
                    out.insert(format!("{path}.scales"), packed.scales);
                    if let Some(biases) = packed.biases {
                        out.insert(format!("{path}.biases"), biases);
                    }
                }
            }
        }
        if self.split_experts { split_experts(out) } else { out }
    }

    /// Writes config.json and the weights into `dir` (created if need be): `model.safetensors`, or `shards` files of
    /// about equal size with their index when `shards` is above one.
    pub fn write_checkpoint(&self, dir: &Path, shards: usize, quantize: &mut Quantize) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        fs::write(dir.join("config.json"), serde_json::to_string_pretty(&self.config)?)?;
        let tensors = self.checkpoint_tensors(quantize);
        if shards <= 1 {
            return write_safetensors(&dir.join("model.safetensors"), tensors.iter());
        }
        let total: usize = tensors.values().map(|t| t.bytes.len()).sum();
        let shard_of = |bytes_before: usize| (bytes_before * shards / total.max(1)).min(shards - 1);
        let file_name = |shard: usize| format!("model-{:05}-of-{shards:05}.safetensors", shard + 1);
        let mut parts: Vec<Vec<(&String, &RawTensor)>> = vec![Vec::new(); shards];
        let mut weight_map = serde_json::Map::new();
        let mut before = 0;
        for (name, tensor) in &tensors {
            let shard = shard_of(before);
            before += tensor.bytes.len();
            parts[shard].push((name, tensor));
            weight_map.insert(name.clone(), Value::from(file_name(shard)));
        }
        for (shard, part) in parts.into_iter().enumerate() {
            write_safetensors(&dir.join(file_name(shard)), part.into_iter())?;
        }
        let index = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
        fs::write(dir.join("model.safetensors.index.json"), serde_json::to_string_pretty(&index)?)
    }
}

/// `{path}.switch_mlp.{layer}.{part}` or `{path}.experts.{layer}.{part}`, stacked, as `{path}.experts.{index}.{layer}.{part}`, one by one.
fn split_experts(tensors: BTreeMap<String, RawTensor>) -> BTreeMap<String, RawTensor> {
    let mut out = BTreeMap::new();
    for (name, tensor) in tensors {
        let stacked = name.split_once(".switch_mlp.").map(|(path, rest)| (path.to_owned(), rest));
        let stacked = stacked.or_else(|| {
            let (layer, rest) = name.split_once(".mlp.experts.")?;
            Some((format!("{layer}.mlp"), rest))
        });
        let Some((path, rest)) = stacked else {
            out.insert(name, tensor);
            continue;
        };
        let (layer, part) = rest.rsplit_once('.').expect("a layer and its part");
        let layer = match (path.ends_with("block_sparse_moe"), layer) {
            (true, "gate_proj") => "w1",
            (true, "down_proj") => "w2",
            (true, "up_proj") => "w3",
            (_, other) => other,
        };
        let size = tensor.bytes.len() / tensor.shape[0];
        for (i, bytes) in tensor.bytes.chunks_exact(size).enumerate() {
            let one = RawTensor { dtype: tensor.dtype, shape: tensor.shape[1..].to_vec(), bytes: bytes.to_vec() };
            out.insert(format!("{path}.experts.{i}.{layer}.{part}"), one);
        }
    }
    out
}

pub fn write_safetensors<'a>(
    path: &Path,
    tensors: impl Iterator<Item = (&'a String, &'a RawTensor)>,
) -> io::Result<()> {
    let views: Vec<(&String, TensorView)> = tensors
        .map(|(name, t)| (name, TensorView::new(t.dtype, t.shape.clone(), &t.bytes).expect("shape fits the bytes")))
        .collect();
    let metadata = HashMap::from([("format".to_owned(), "mlx".to_owned())]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(io::Error::other)?;
    fs::write(path, bytes)
}

/// The words of a little-endian 32-bit tensor.
fn words<T>(view: &TensorView, dtype: Dtype, from: fn([u8; 4]) -> T) -> Vec<T> {
    assert_eq!(view.dtype(), dtype);
    view.data().chunks_exact(4).map(|b| from(b.try_into().expect("four bytes"))).collect()
}

impl Golden {
    pub fn load(case: &str) -> Self {
        let path = golden_dir().join(format!("{case}.safetensors"));
        let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let floats = |name: &str| file.tensor(name).ok().map(|t| words(&t, Dtype::F32, f32::from_le_bytes));
        let tokens = |name: &str| file.tensor(name).ok().map(|t| words(&t, Dtype::I32, u32::from_le_bytes));
        Self {
            vocab: file.tensor("logits").expect("logits").shape()[1],
            logits: floats("logits").expect("logits"),
            greedy: tokens("greedy").expect("greedy"),
            chunked_logits: floats("chunked_logits"),
            kv_logits: floats("kv_logits"),
            kv_greedy: tokens("kv_greedy"),
        }
    }

    /// The logits after the prompt's last token.
    pub fn last_logits(&self) -> &[f32] {
        &self.logits[self.logits.len() - self.vocab..]
    }
}

/// max |a - b| / max |b|, the measure of every comparison with the reference. Infinite for NaN or unequal lengths.
pub fn relative_error(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() || a.iter().chain(b).any(|v| !v.is_finite()) {
        return f32::INFINITY;
    }
    let largest = b.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    a.iter().zip(b).fold(0.0, |m: f32, (a, b)| m.max((a - b).abs())) / largest
}
