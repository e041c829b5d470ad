//! A small model that comes over plain HTTP.

use std::path::Path;

use super::hub_server::{HubServer, Repo};
use super::{ID, noise};

/// The files of a small model, and others that nobody needs.
pub fn files() -> Vec<(&'static str, Vec<u8>)> {
    let index = r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    vec![
        ("config.json", br#"{"model_type": "llama"}"#.to_vec()),
        ("tokenizer.json", noise(300_000, 1)),
        ("chat_template.jinja", b"{{ messages }}".to_vec()),
        ("empty.json", Vec::new()),
        ("additional_chat_templates/tool use.jinja", b"tool".to_vec()),
        ("model.safetensors.index.json", index.into()),
        ("model-00001-of-00002.safetensors", noise(6 << 20, 2)),
        ("model-00002-of-00002.safetensors", noise(1_500_001, 3)),
        ("pytorch_model.bin", noise(2 << 20, 4)),
        ("model.Q4_0.gguf", noise(100, 5)),
        ("onnx/model.onnx", noise(100, 6)),
        ("README.md", b"hello".to_vec()),
    ]
}

pub fn needed(name: &str) -> bool {
    ![".bin", ".gguf", ".onnx", ".md"].iter().any(|e| name.ends_with(e))
}

pub fn server() -> HubServer {
    HubServer::start(vec![Repo::new(ID, &files())])
}

/// Every file that is visible in a snapshot is whole and right; all that is needed is there if `complete`.
pub fn check_snapshots(cache: &Path, complete: bool) {
    let snapshots = cache.join("models--org--model/snapshots");
    let mut count = 0;
    for (name, bytes) in files() {
        for commit in std::fs::read_dir(&snapshots).into_iter().flatten().map(|e| e.unwrap().path()) {
            let path = commit.join(name);
            match std::fs::read(&path) {
                Ok(found) => {
                    assert!(found == bytes, "{} is not what the server has", path.display());
                    assert!(needed(name), "{name} was not needed");
                    count += 1;
                }
                Err(_) => assert!(std::fs::symlink_metadata(&path).is_err(), "{} leads nowhere", path.display()),
            }
        }
    }
    if complete {
        assert_eq!(count, files().iter().filter(|(n, _)| needed(n)).count());
    }
}

pub fn blobs(cache: &Path) -> Vec<String> {
    let folder = std::fs::read_dir(cache.join("models--org--model/blobs"));
    folder.into_iter().flatten().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}
