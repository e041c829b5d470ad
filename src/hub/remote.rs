//! What is known about a model that is not on the disk.

use std::collections::BTreeMap;

use serde_json::Value;

/// A tensor as its header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorHeader {
    /// `BF16`, `U32`, ...
    pub dtype: String,
    /// Sizes of all axes.
    pub shape: Vec<usize>,
    /// Bytes in the file.
    pub bytes: u64,
}

/// A model of the Hub, as its small files and headers describe it.
#[derive(Clone, Debug)]
pub struct RemoteModel {
    /// `organisation/name`
    pub id: String,
    /// The commit that all of this comes from.
    pub commit: String,
    /// Its `config.json`.
    pub config: Value,
    /// Bytes of each weight file.
    pub weight_files: BTreeMap<String, u64>,
    /// Every tensor by name.
    pub tensors: BTreeMap<String, TensorHeader>,
    /// Bytes received from weight files: their headers.
    pub header_bytes: u64,
    /// Bytes that a download would fetch.
    pub download_bytes: u64,
}
