//! States in files.
//!
//! A cache is one safetensors file: tensors `{slot}.{name}`, and in the metadata a JSON object under `cache`: the format's
//! version, the position, and for each slot its kind and its numbers.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype as Type, TensorView};
use serde::{Deserialize, Serialize};

use crate::array::{Array, Dtype, zeros};
use crate::error::{Error, Result};

/// The version of the format.
const VERSION: u32 = 1;
/// The metadata key of the description.
const KEY: &str = "cache";
/// An upper bound for caches.
const MAX_BYTES: u64 = 1 << 40;

/// What one state writes: its kind, named arrays and named numbers.
pub struct Saved {
    kind: String,
    arrays: BTreeMap<String, Array>,
    numbers: BTreeMap<String, i32>,
}

impl Saved {
    pub(super) fn new(kind: &str) -> Saved {
        Saved { kind: kind.to_owned(), arrays: BTreeMap::new(), numbers: BTreeMap::new() }
    }

    pub(super) fn with_array(mut self, name: &str, array: Array) -> Saved {
        self.arrays.insert(name.to_owned(), array);
        self
    }

    pub(super) fn with_number(mut self, name: &str, number: i32) -> Saved {
        self.numbers.insert(name.to_owned(), number);
        self
    }

    /// With keys and values, if there are any.
    pub(super) fn with_pair(self, pair: Option<(Array, Array)>) -> Saved {
        match pair.filter(|(keys, _)| keys.dim(2) > 0) {
            Some((keys, values)) => self.with_array("keys", keys).with_array("values", values),
            None => self,
        }
    }

    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    pub(super) fn is_empty(&self) -> bool {
        self.arrays.is_empty()
    }

    pub(super) fn bad(&self, what: &str) -> Error {
        Error::invalid_argument(format!("the saved state of the kind {}: {what}", self.kind))
    }

    pub(super) fn expect(&self, kind: &str) -> Result<()> {
        match self.kind == kind {
            true => Ok(()),
            false => Err(self.bad(&format!("{kind} is needed, for this model with these options"))),
        }
    }

    pub(super) fn array(&self, name: &str) -> Result<Array> {
        self.arrays.get(name).cloned().ok_or_else(|| self.bad(&format!("{name} is missing")))
    }

    /// Keys and values of one sequence, `[1, kv heads, positions, features]`, if there are any; with so many features, if
    /// that is known.
    pub(super) fn pair(&self, dims: Option<[i32; 2]>) -> Result<Option<(Array, Array)>> {
        if self.is_empty() {
            return Ok(None);
        }
        let (keys, values) = (self.array("keys")?, self.array("values")?);
        let fits = |a: &Array, side: usize| {
            a.ndim() == 4
                && a.dim(0) == 1
                && a.dim(2) > 0
                && a.dtype().is_float()
                && dims.is_none_or(|dims| a.dim(3) == dims[side])
        };
        let fit = fits(&keys, 0) && fits(&values, 1) && keys.shape()[..3] == values.shape()[..3];
        match fit {
            true => Ok(Some((keys, values))),
            false => Err(self.bad(&format!("keys {keys:?} and values {values:?}"))),
        }
    }

    /// A number within these bounds.
    pub(super) fn number(&self, name: &str, least: i32, most: i32) -> Result<i32> {
        match self.numbers.get(name) {
            Some(n) if (least..=most).contains(n) => Ok(*n),
            Some(n) => Err(self.bad(&format!("{name} is {n}, not {least} to {most}"))),
            None => Err(self.bad(&format!("{name} is missing"))),
        }
    }
}

/// A cache of one sequence in a file.
pub(super) struct SavedCache {
    pub position: i32,
    pub slots: Vec<Saved>,
    /// The caller's metadata.
    pub notes: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Description {
    version: u32,
    position: i32,
    slots: Vec<Slot>,
}

#[derive(Serialize, Deserialize)]
struct Slot {
    kind: String,
    numbers: BTreeMap<String, i32>,
}

const TYPES: [(Dtype, Type); 9] = [
    (Dtype::Bool, Type::BOOL),
    (Dtype::U8, Type::U8),
    (Dtype::U16, Type::U16),
    (Dtype::U32, Type::U32),
    (Dtype::I32, Type::I32),
    (Dtype::I64, Type::I64),
    (Dtype::F16, Type::F16),
    (Dtype::Bf16, Type::BF16),
    (Dtype::F32, Type::F32),
];

impl SavedCache {
    /// Rewrites the file.
    pub fn write(self, path: &Path) -> Result<()> {
        let mut bytes: Vec<(String, Type, Vec<usize>, Vec<u8>)> = Vec::new();
        let mut slots = Vec::new();
        for (i, saved) in self.slots.into_iter().enumerate() {
            for (name, array) in &saved.arrays {
                let dtype = array.dtype();
                let Some((_, known)) = TYPES.iter().find(|(ours, _)| *ours == dtype) else {
                    return Err(Error::internal(format!("{name} is {array:?}")));
                };
                let shape = array.shape().iter().map(|&n| n as usize).collect();
                bytes.push((format!("{i}.{name}"), *known, shape, raw(array)?));
            }
            slots.push(Slot { kind: saved.kind, numbers: saved.numbers });
        }
        let description = Description { version: VERSION, position: self.position, slots };
        let description = serde_json::to_string(&description).map_err(|e| Error::internal(e.to_string()))?;
        let mut metadata: HashMap<String, String> = self.notes.into_iter().collect();
        metadata.insert(KEY.to_owned(), description);
        let views = bytes.iter().map(|(name, dtype, shape, bytes)| {
            let view = TensorView::new(*dtype, shape.clone(), bytes);
            view.map(|view| (name.as_str(), view)).map_err(|e| Error::internal(e.to_string()))
        });
        let views: Vec<_> = views.collect::<Result<_>>()?;
        safetensors::serialize_to_file(views, Some(metadata), path).map_err(|e| match e {
            safetensors::SafeTensorError::IoError(e) => Error::io(path, e),
            e => Error::internal(e.to_string()),
        })
    }

    /// Reads one.
    ///
    /// # Errors
    /// `Io`, and `InvalidArgument` if it is not such a file.
    pub fn read(path: &Path) -> Result<SavedCache> {
        let bad = |what: String| Error::invalid_argument(format!("{}: {what}", path.display()));
        let mut file = crate::files::open(path)?;
        let size = file.metadata().map_err(|e| Error::io(path, e))?.len();
        if size > MAX_BYTES {
            return Err(bad(format!("{size} bytes are too many for a cache")));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        Read::take(&mut file, size).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
        let broken = |e: safetensors::SafeTensorError| bad(format!("not a sound safetensors file: {e}"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
        let mut notes: BTreeMap<String, String> = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let description = notes.remove(KEY).ok_or_else(|| bad("not a saved cache".into()))?;
        let description: Description =
            serde_json::from_str(&description).map_err(|e| bad(format!("a broken description: {e}")))?;
        if description.version != VERSION {
            return Err(bad(format!("version {} of the format; this library knows {VERSION}", description.version)));
        }
        let mut slots: Vec<Saved> = description
            .slots
            .into_iter()
            .map(|slot| Saved { kind: slot.kind, arrays: BTreeMap::new(), numbers: slot.numbers })
            .collect();
        for (name, view) in SafeTensors::deserialize(&bytes).map_err(broken)?.tensors() {
            let (slot, part) = name
                .split_once('.')
                .and_then(|(slot, part)| Some((slots.get_mut(slot.parse::<usize>().ok()?)?, part)))
                .ok_or_else(|| bad(format!("{name} belongs to no slot")))?;
            let shape: Option<Vec<i32>> = view.shape().iter().map(|&n| i32::try_from(n).ok()).collect();
            let known = TYPES.iter().find(|(_, theirs)| *theirs == view.dtype());
            let (Some(shape), Some((dtype, _))) = (shape, known) else {
                return Err(bad(format!("{name} is {:?} of the shape {:?}", view.dtype(), view.shape())));
            };
            slot.arrays.insert(part.to_owned(), array(view.data(), *dtype, &shape)?);
        }
        Ok(SavedCache { position: description.position, slots, notes })
    }
}

/// The elements in row-major order.
fn raw(array: &Array) -> Result<Vec<u8>> {
    if array.size() == 0 {
        return Ok(Vec::new());
    }
    match array.dtype() {
        Dtype::Bool => array.astype(Dtype::U8)?.to_vec(),
        // Bytes along the last axis need one, and contiguous elements.
        _ => array.reshape(&[-1])?.contiguous()?.view(Dtype::U8)?.to_vec(),
    }
}

fn array(bytes: &[u8], dtype: Dtype, shape: &[i32]) -> Result<Array> {
    if bytes.is_empty() {
        return zeros(shape, dtype);
    }
    let flat = Array::from_slice(bytes, &[bytes.len() as i32])?;
    match dtype {
        Dtype::Bool => flat.astype(Dtype::Bool)?.reshape(shape),
        _ => flat.view(dtype)?.reshape(shape),
    }
}
