//! The safetensors files of a model directory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use safetensors::tensor::Metadata;
use serde::Deserialize;

use crate::array::Dtype;
use crate::array::mapping::Located;
use crate::error::{Error, ErrorKind, Result};

/// Headers are JSON; the safetensors format allows at most this many bytes.
const MAX_HEADER: u64 = 100_000_000;
/// The index of a sharded checkpoint: one line a tensor.
const MAX_INDEX: u64 = 64 << 20;
const INDEX: &str = "model.safetensors.index.json";

/// One weight file whose header is known and sound.
pub struct WeightFile {
    /// The file's name in its directory.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes of tensor data in it.
    pub data_bytes: u64,
    /// Where each tensor begins, counted from the first byte of data.
    pub offsets: HashMap<String, u64>,
    handle: Option<(File, Vec<u8>)>,
}

impl WeightFile {
    /// The open file and its first bytes up to the data, once.
    pub(super) fn take_handle(&mut self) -> Result<(File, Vec<u8>)> {
        self.handle.take().ok_or_else(|| Error::internal("weight file opened twice"))
    }

    /// Where its tensors lie, given the length of its header; `None` if one has a type that only MLX's reader makes an
    /// array of.
    pub(super) fn located<'a>(&'a self, header: u64, all: &BTreeMap<String, TensorInfo>) -> Option<Vec<Located<'a>>> {
        self.offsets
            .iter()
            .map(|(name, offset)| {
                let info = all.get(name)?;
                let shape = info.shape.iter().map(|&n| n as i32).collect();
                Some(Located { name, dtype: plain_dtype(info.dtype)?, shape, from: header + offset, len: info.bytes })
            })
            .collect()
    }

    /// Opens a file and validates its header against its size.
    fn open(path: PathBuf) -> Result<(WeightFile, Metadata)> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bad = |what: String| Error::invalid_weights(format!("{name}: {what}"));
        let mut file = File::open(&path).map_err(|e| Error::io(&path, e))?;
        let size = file.metadata().map_err(|e| Error::io(&path, e))?.len();
        let mut header = vec![0; 8];
        file.read_exact(&mut header).map_err(|_| bad(format!("{size} bytes are too few for a safetensors file")))?;
        let length = u64::from_le_bytes(header[..8].try_into().expect("8 bytes"));
        if length > MAX_HEADER || length > size.saturating_sub(8) {
            return Err(bad(format!("the header claims {length} bytes in a file of {size}")));
        }
        header.resize(8 + length as usize, 0);
        file.read_exact(&mut header[8..]).map_err(|e| Error::io(&path, e))?;
        // Refuses gaps, overlaps and sizes that contradict shapes.
        let metadata: Metadata =
            serde_json::from_slice(&header[8..]).map_err(|e| bad(format!("broken header: {e}")))?;
        let data_bytes = metadata.data_len() as u64;
        let found = size - 8 - length;
        if found != data_bytes {
            let what = if found < data_bytes { "truncated" } else { "too long" };
            return Err(bad(format!("{what}: {found} bytes of tensor data, the header describes {data_bytes}")));
        }
        let mut offsets = HashMap::new();
        for (name, info) in metadata.tensors() {
            supported_dtype(info.dtype).map_err(|what| bad(format!("{name} {what}")))?;
            if info.shape.len() > 8 || info.shape.iter().any(|&n| n > i32::MAX as usize) {
                return Err(bad(format!("{name} has the impossible shape {:?}", info.shape)));
            }
            offsets.insert(name, info.data_offsets.0 as u64);
        }
        let handle = Some((file, header));
        Ok((WeightFile { name, path, data_bytes, offsets, handle }, metadata))
    }
}

/// The types that MLX reads.
fn supported_dtype(dtype: safetensors::Dtype) -> Result<(), String> {
    use safetensors::Dtype::*;
    match dtype {
        BOOL | U8 | I8 | U16 | I16 | U32 | I32 | U64 | I64 | F16 | BF16 | F32 | C64 | F8_E4M3 => Ok(()),
        other => Err(format!("holds {other:?}, which MLX cannot read")),
    }
}

/// The array type whose memory is what the file holds.
fn plain_dtype(dtype: safetensors::Dtype) -> Option<Dtype> {
    use safetensors::Dtype::*;
    Some(match dtype {
        U8 => Dtype::U8,
        I8 => Dtype::I8,
        U16 => Dtype::U16,
        I16 => Dtype::I16,
        U32 => Dtype::U32,
        I32 => Dtype::I32,
        U64 => Dtype::U64,
        I64 => Dtype::I64,
        F16 => Dtype::F16,
        BF16 => Dtype::Bf16,
        F32 => Dtype::F32,
        _ => return None,
    })
}

/// A tensor as its header describes it.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// Element type in the file.
    pub dtype: safetensors::Dtype,
    /// Sizes of all axes.
    pub shape: Vec<usize>,
    /// Bytes in the file.
    pub bytes: u64,
}

/// All weight files of a model, their headers read and sound.
pub struct Checkpoint {
    /// In the order in which they are read.
    pub files: Vec<WeightFile>,
    /// Every tensor by name.
    pub tensors: BTreeMap<String, TensorInfo>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Finds and validates the weight files in `dir`.
    ///
    /// With `model.safetensors.index.json`, the files it names; otherwise `model*.safetensors`; otherwise every
    /// `*.safetensors`.
    pub fn open(dir: &Path) -> Result<Checkpoint> {
        let index = read_index(dir)?;
        let names = match &index {
            Some(index) => index.weight_map.values().cloned().collect::<BTreeSet<_>>(),
            None => discover(dir)?,
        };
        let mut checkpoint = Checkpoint { files: Vec::new(), tensors: BTreeMap::new() };
        for name in names {
            let (file, metadata) = WeightFile::open(dir.join(&name)).map_err(|e| match e.kind() {
                ErrorKind::NotFound if index.is_some() => {
                    Error::new(ErrorKind::NotFound, format!("{name} is missing; {INDEX} names it"))
                }
                _ => e,
            })?;
            for (tensor, info) in metadata.tensors() {
                let bytes = (info.data_offsets.1 - info.data_offsets.0) as u64;
                let entry = TensorInfo { dtype: info.dtype, shape: info.shape.clone(), bytes };
                if checkpoint.tensors.insert(tensor.clone(), entry).is_some() {
                    return Err(Error::invalid_weights(format!("{tensor} is in two files, one of them {name}")));
                }
            }
            checkpoint.files.push(file);
        }
        if let Some(index) = index {
            checkpoint.check_against(&index)?;
        }
        Ok(checkpoint)
    }

    /// Bytes of tensor data in all files.
    pub fn data_bytes(&self) -> u64 {
        self.files.iter().map(|f| f.data_bytes).sum()
    }

    fn check_against(&self, index: &Index) -> Result<()> {
        for (tensor, file) in &index.weight_map {
            let holds = self.files.iter().any(|f| f.name == *file && f.offsets.contains_key(tensor));
            if !holds {
                return Err(Error::invalid_weights(format!("{INDEX} promises {tensor} in {file}; it is not there")));
            }
        }
        Ok(())
    }
}

fn read_index(dir: &Path) -> Result<Option<Index>> {
    let path = dir.join(INDEX);
    let text = match crate::files::read_text(&path, MAX_INDEX) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let index: Index = serde_json::from_str(&text).map_err(|e| Error::invalid_weights(format!("{INDEX}: {e}")))?;
    for name in index.weight_map.values() {
        // A plain name: the index must not lead out of the directory.
        if name.contains(['/', '\\', '\0']) || name == ".." || !name.ends_with(".safetensors") {
            return Err(Error::invalid_weights(format!("{INDEX} names {name:?}, which is no weight file's name")));
        }
    }
    match index.weight_map.is_empty() {
        true => Err(Error::invalid_weights(format!("{INDEX} names no tensors"))),
        false => Ok(Some(index)),
    }
}

fn discover(dir: &Path) -> Result<BTreeSet<String>> {
    let entries = std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))?;
    let names: BTreeSet<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".safetensors") && !name.starts_with('.'))
        .collect();
    let main: BTreeSet<String> = names.iter().filter(|n| n.starts_with("model")).cloned().collect();
    match (main.is_empty(), names.is_empty()) {
        (false, _) => Ok(main),
        (true, false) => Ok(names),
        (true, true) => Err(Error::not_found(format!("{}: there are no *.safetensors files in it", dir.display()))),
    }
}
