//! What tests of stored models share.

use std::fs;
use std::path::{Path, PathBuf};

use mlx_engine::Result;
use mlx_engine::hub::{Import, Storage, StoredModel, WhatIsWrong};

use super::support::fixture::root;

/// A model of the repository.
pub fn tiny() -> PathBuf {
    root().join("tests/fixtures/tiny-qwen3")
}

pub fn quiet(_: &mlx_engine::progress::Progress) -> Result<()> {
    Ok(())
}

pub fn import(storage: &Storage, folder: &Path, id: &str, link: bool) -> Result<StoredModel> {
    storage.import(&Import { folder: folder.into(), id: id.into(), link, check: None }, &mut quiet)
}

/// A model of `megabytes`, whose weights are zeros.
pub fn write_model(folder: &Path, megabytes: usize) {
    fs::create_dir_all(folder).unwrap();
    fs::copy(tiny().join("config.json"), folder.join("config.json")).unwrap();
    fs::write(folder.join("tokenizer.json"), "{}").unwrap();
    let bytes = megabytes << 20;
    let header = format!(r#"{{"w": {{"dtype": "U8", "shape": [{bytes}], "data_offsets": [0, {bytes}]}}}}"#);
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + bytes, 0);
    fs::write(folder.join("model.safetensors"), file).unwrap();
}

pub fn problems(storage: &Storage, id: &str) -> Vec<WhatIsWrong> {
    storage.verify(Some(id), false, &mut quiet).unwrap().problems.iter().map(|p| p.problem).collect()
}

/// Everything visible is whole, and nothing is left behind.
pub fn check_all(storage: &Storage) {
    for model in storage.list().unwrap() {
        assert!(model.complete, "{model:?}");
    }
    let found = storage.verify(None, false, &mut quiet).unwrap();
    assert!(found.sound && found.problems.is_empty(), "{:?}", found.problems);
}
