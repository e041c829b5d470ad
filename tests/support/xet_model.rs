//! A small model whose weights are in Xet storage.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::hub_server::xet_storage::CYCLE;
use super::hub_server::{HubServer, Repo};
use super::{ID, noise};

pub const CHUNKS_PER_XORB: usize = 24;

/// Like weights: the high bytes are much the same, so they compress.
pub fn numbers(size: usize, seed: u64) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..size / 4 + 1).flat_map(|_| random.random_range(0.5f32..1.0).to_le_bytes()).take(size).collect()
}

/// Two shards. The second has parts of the first, with others between them, and the same part several times.
pub fn files() -> &'static [(&'static str, Vec<u8>)] {
    static FILES: OnceLock<Vec<(&str, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(make_files)
}

fn make_files() -> Vec<(&'static str, Vec<u8>)> {
    let index = r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    let first = numbers(18_000_001, 1);
    let (again, own) = (noise(CYCLE, 2), noise(2 * CYCLE, 3));
    let second = [&first[..2 * CYCLE], &again, &first[2 * CYCLE..3 * CYCLE], &own, &again, &first[..CYCLE], &[7; 100]];
    vec![
        ("config.json", br#"{"model_type": "llama"}"#.to_vec()),
        ("model.safetensors.index.json", index.into()),
        ("model-00002-of-00002.safetensors", second.concat()),
        ("model-00001-of-00002.safetensors", first),
    ]
}

pub fn server() -> HubServer {
    HubServer::start(vec![Repo::new(ID, files()).xet(CHUNKS_PER_XORB)])
}

/// Every file that is visible in a snapshot is whole and right; all are there if `complete`.
pub fn check_snapshots(cache: &Path, complete: bool) {
    let snapshots = std::fs::read_dir(cache.join("models--org--model/snapshots"));
    let commits: Vec<PathBuf> = snapshots.into_iter().flatten().map(|e| e.unwrap().path()).collect();
    for (name, bytes) in files() {
        for path in commits.iter().map(|c| c.join(name)) {
            match std::fs::read(&path) {
                Ok(found) => assert!(found == *bytes, "{} is not what the server has", path.display()),
                Err(_) => assert!(!complete, "{} is missing", path.display()),
            }
        }
    }
    assert!(!complete || !commits.is_empty());
}

/// Requests for large files over plain HTTP.
pub fn plain(server: &HubServer) -> usize {
    server.seen().iter().filter(|r| r.path.starts_with("/blob/")).count()
}
