//! The safetensors files of a model directory.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use safetensors::tensor::Metadata;

use crate::array::Dtype;
use crate::array::mapping::Located;
use crate::error::{Error, ErrorKind, Result};
use crate::files::is_lfs_pointer;
use crate::shards::{INDEX, MAX_INDEX, Shards};

/// Headers are JSON; the safetensors format allows at most this many bytes.
const MAX_HEADER: u64 = 100_000_000;

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
        let mut file = crate::files::open(&path)?;
        let size = file.metadata().map_err(|e| Error::io(&path, e))?.len();
        let mut header = vec![0; 8];
        file.read_exact(&mut header).map_err(|_| bad(format!("{size} bytes are too few for a safetensors file")))?;
        if is_lfs_pointer(&header) {
            return Err(bad("is a Git LFS pointer, not the file itself; `git lfs pull` brings that".into()));
        }
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
        BOOL | U8 | I8 | U16 | I16 | U32 | I32 | U64 | I64 | F16 | BF16 | F32 | C64 | F8_E4M3 | F8_E8M0 => Ok(()),
        other => Err(format!("holds {other:?}, which MLX cannot read")),
    }
}

/// The array type whose memory is what the file holds.
fn plain_dtype(dtype: safetensors::Dtype) -> Option<Dtype> {
    use safetensors::Dtype::*;
    Some(match dtype {
        // MLX keeps eight-bit floats as their bytes.
        U8 | F8_E4M3 | F8_E8M0 => Dtype::U8,
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

impl Checkpoint {
    /// Finds and validates the weight files in `dir`: those that [`Shards`] chooses.
    ///
    /// # Errors
    /// If there are none, a part is missing, or a file is not what its header says.
    pub fn open(dir: &Path) -> Result<Checkpoint> {
        let shards = Shards::choose(file_names(dir)?.iter().map(String::as_str), read_index(dir)?.as_deref())?;
        if shards.files.is_empty() {
            return Err(Error::not_found(format!("{}: there are no *.safetensors files in it", dir.display())));
        }
        let mut notes = shards.notes;
        let mut checkpoint = Checkpoint { files: Vec::new(), tensors: BTreeMap::new() };
        let mut twice: BTreeMap<String, usize> = BTreeMap::new();
        for name in shards.files {
            let (mut file, metadata) = WeightFile::open(dir.join(&name))?;
            // The first file that has a tensor counts.
            for (tensor, info) in metadata.tensors() {
                if checkpoint.tensors.contains_key(&tensor) {
                    *twice.entry(name.clone()).or_default() += 1;
                    file.offsets.remove(&tensor);
                    continue;
                }
                let bytes = (info.data_offsets.1 - info.data_offsets.0) as u64;
                let entry = TensorInfo { dtype: info.dtype, shape: info.shape.clone(), bytes };
                checkpoint.tensors.insert(tensor, entry);
            }
            checkpoint.files.push(file);
        }
        notes.extend(
            twice.iter().map(|(name, n)| format!("{name}: {n} tensors are in a file before it, too, and count there")),
        );
        let lost = shards.index.keys().filter(|tensor| !checkpoint.tensors.contains_key(*tensor)).collect::<Vec<_>>();
        if let Some(first) = lost.first() {
            notes.push(format!("{INDEX} names {} tensors that no file has, {first} among them", lost.len()));
        }
        notes.iter().for_each(|note| log::warn!("{}: {note}", dir.display()));
        Ok(checkpoint)
    }

    /// Bytes of tensor data in all files.
    pub fn data_bytes(&self) -> u64 {
        self.files.iter().map(|f| f.data_bytes).sum()
    }
}

fn read_index(dir: &Path) -> Result<Option<String>> {
    match crate::files::read_text(&dir.join(INDEX), MAX_INDEX) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn file_names(dir: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dtype_of_mlx_is_read() {
        let read = |dtype: &str, size: usize| {
            let header = format!(r#"{{"a": {{"dtype": "{dtype}", "shape": [2], "data_offsets": [0, {}]}}}}"#, 2 * size);
            let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; 2 * size]].concat();
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
            Checkpoint::open(dir.path()).map(|checkpoint| checkpoint.tensors["a"].bytes)
        };
        // Those of mlx-lm 0.32.2, tried one by one.
        for (dtype, size) in [
            ("BOOL", 1),
            ("U8", 1),
            ("I8", 1),
            ("F8_E4M3", 1),
            ("F8_E8M0", 1),
            ("U16", 2),
            ("I16", 2),
            ("F16", 2),
            ("BF16", 2),
            ("U32", 4),
            ("I32", 4),
            ("F32", 4),
            ("U64", 8),
            ("I64", 8),
            ("C64", 8),
        ] {
            assert_eq!(read(dtype, size).unwrap(), 2 * size as u64, "{dtype}");
        }
        for (dtype, size) in [("F64", 8), ("F8_E5M2", 1)] {
            assert!(read(dtype, size).unwrap_err().to_string().contains(dtype), "{dtype}");
        }
    }
}
