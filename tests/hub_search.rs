//! Finding models, and knowing what they take before they are downloaded.
#![cfg(feature = "hub")]

#[path = "support/hub_server.rs"]
#[allow(dead_code)]
mod hub_server;
#[path = "support/random_model.rs"]
mod random_model;
mod support;

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use hub_server::{At, Fault, HubServer, Repo};
use mlx_engine::array::{Device, memory};
use mlx_engine::generate::GenerateOptions;
use mlx_engine::hub::{Catalog, Client, Hub, HubOptions, SearchPage, SearchQuery};
use mlx_engine::load::fit::{self, fit};
use mlx_engine::load::{EstimateOptions, ModelConfiguration};
use random_model::{random_checkpoint, random_model};
use support::{TempDir, cpu_engine, load, tokens};

/// MLX's memory belongs to the process: only one test may measure it at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// The peak of loading a model and generating until the context is full must be what was estimated before.
fn check(dir: &Path, context: usize, options: &EstimateOptions) {
    const GENERATED: usize = 8;
    let configuration = ModelConfiguration::directory(dir).without_tokenizer();
    let options = EstimateOptions { context: Some(context as u64), ..options.clone() };
    let estimate = fit(&configuration, Device::Cpu, &options).unwrap().memory;
    // The model before is freed on its engine's thread.
    for _ in 0..400 {
        if memory::active() < 4096 {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    memory::clear_cache();
    memory::reset_peak();
    let before = memory::active();
    let model = load(&cpu_engine(), configuration).unwrap();
    let prompt: Vec<u32> = (0..(context - GENERATED) as u32).map(|i| i % 50).collect();
    let generation = GenerateOptions {
        max_tokens: Some(GENERATED as u32),
        ignore_eos: true,
        kv_bits: options.kv_bits.map(|bits| bits as i32),
        max_kv_size: options.max_kv_size.map(|n| n as i32),
        ..Default::default()
    };
    assert_eq!(tokens(&model, &prompt, generation).len(), GENERATED);
    let peak = memory::peak() - before;
    let off = (estimate.total as f64 / peak as f64 - 1.0) * 100.0;
    println!("{options:?}: peak {peak}, {estimate:?}, {off:+.1} %");
    // How many results are in flight at once depends on how far the engine's thread is ahead of MLX's: up to 1.5 MB here,
    // which counts in models of a few megabytes alone.
    let apart = (estimate.total as f64 - peak as f64).abs();
    assert!(
        off.abs() <= 10.0 || apart <= 1.5e6,
        "{}: {options:?}: peak {peak}, {estimate:?}, {off:+.1} %",
        dir.display()
    );
}

fn check_all(dir: &Path, contexts: &[usize]) {
    for &context in contexts {
        check(dir, context, &EstimateOptions::default());
        check(dir, context, &EstimateOptions { kv_bits: Some(4), ..Default::default() });
        check(dir, context, &EstimateOptions { max_kv_size: Some(300), ..Default::default() });
    }
}

fn tiny() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen3")
}

#[test]
fn estimates_are_within_a_tenth_of_the_peak() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    check_all(&tiny(), &[24, 128, 512, 1024, 2048]);
    for (layers, hidden, inner, heads, kv, bits4) in
        [(24, 256, 704, 4, 2, true), (48, 256, 512, 4, 4, true), (12, 512, 1536, 8, 2, false)]
    {
        let dir = TempDir::new("random");
        random_checkpoint(dir.path(), layers, hidden, inner, heads, kv, bits4);
        check_all(dir.path(), &[128, 1024]);
    }
    let dir = TempDir::new("mixture");
    random_model(dir.path(), "mixtral", [12, 256, 256, 4, 2], true, serde_json::json!({"num_local_experts": 8}));
    check_all(dir.path(), &[128, 1024]);
}

/// Windows on five layers of six, or on every second; norms around everything; capped scores.
#[test]
fn estimates_of_layers_with_and_without_windows() {
    use serde_json::json;
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for (model_type, sizes, bits4, more) in [
        ("gemma3_text", [24, 512, 1536, 8, 4], true, json!({"sliding_window": 256, "sliding_window_pattern": 6})),
        ("gemma3_text", [12, 512, 1536, 8, 2], false, json!({"sliding_window": 512, "sliding_window_pattern": 2})),
        ("gemma2", [24, 512, 1536, 8, 4], true, json!({"sliding_window": 256})),
    ] {
        let dir = TempDir::new("windows");
        random_model(dir.path(), model_type, sizes, bits4, more);
        check_all(dir.path(), &[128, 1024]);
    }
}

fn client(server: &HubServer, cache: &Path) -> Client {
    let options = HubOptions {
        endpoint: server.endpoint.clone(),
        token: None,
        offline: false,
        backoff: Duration::from_millis(10),
        retries: 2,
        ..HubOptions::with_cache(cache).unwrap()
    };
    Client::new(options).unwrap()
}

#[test]
fn estimates_need_the_headers_only() {
    let dir = TempDir::new("remote");
    random_checkpoint(dir.path(), 2, 512, 1536, 8, 2, false);
    let server = HubServer::start(vec![Repo::from_folder("org/model", dir.path())]);
    let client = client(&server, &dir.path().join("cache"));
    let remote = client.inspect("org/model", None).unwrap();
    let size = std::fs::metadata(dir.path().join("model.safetensors")).unwrap().len();
    assert!(remote.header_bytes <= 64 << 10 && remote.weight_files["model.safetensors"] == size);
    assert!(server.sent() < 70_000 && size > 10_000_000, "{} of {size} bytes were sent", server.sent());
    let options = EstimateOptions { context: Some(1000), ..Default::default() };
    let hub = ModelConfiguration::hub(&Hub::new(client.options().clone()), "org/model", None);
    let there = fit(&hub, Device::Cpu, &options).unwrap();
    let here = fit(&ModelConfiguration::directory(dir.path()), Device::Cpu, &options).unwrap();
    assert_eq!((there.memory, there.parameters, there.supported), (here.memory, here.parameters, true));
    assert_eq!((there.bits, here.download_bytes), (None, 0));
    assert!(there.download_bytes > size);
    assert!(here.fits == Some(true) && here.largest_context.unwrap() >= 8192, "{here:?}");
}

#[test]
fn quantized_weights_are_counted_unpacked() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let found = fit(&ModelConfiguration::directory(tiny()), Device::Cpu, &EstimateOptions::default()).unwrap();
    let model = load(&cpu_engine(), ModelConfiguration::directory(tiny()).without_tokenizer()).unwrap();
    assert_eq!((found.parameters, found.bits), (model.info().parameters, Some(4)));
    assert_eq!(found.memory.weights, model.info().weight_bytes);
}

#[test]
fn servers_that_misbehave() {
    let dir = TempDir::new("faults");
    random_checkpoint(dir.path(), 1, 256, 512, 4, 2, false);
    let cache = dir.path().join("cache");
    let server = HubServer::start(vec![
        Repo::from_folder("org/model", dir.path()),
        Repo::new("org/short", &[("config.json", b"{}".to_vec()), ("model.safetensors", vec![1, 2, 3])]),
        Repo::new("org/claims", &[("config.json", b"{}".to_vec()), ("model.safetensors", vec![0xff; 100])]),
        Repo::new(
            "org/cut",
            &[
                ("config.json", b"{}".to_vec()),
                ("model.safetensors", std::fs::read(dir.path().join("model.safetensors")).unwrap()[..70_000].to_vec()),
            ],
        ),
        Repo::new("org/empty", &[("README.md", b"x".to_vec())]),
    ]);
    let client = client(&server, &cache);
    let whole = client.inspect("org/model", None).unwrap();
    for fault in [Fault::NoRange, Fault::Truncate(100), Fault::WrongRange, Fault::Status(503, None)] {
        server.set_faults(Vec::new());
        server.fault(At::Storage, fault.clone(), 1);
        let again = client.inspect("org/model", None).unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        assert_eq!(again.tensors, whole.tensors, "{fault:?}");
    }
    for (id, word) in [
        ("org/short", "too few"),
        ("org/claims", "claims"),
        ("org/cut", "describes"),
        ("org/empty", "no config.json"),
        ("org/absent", "does not exist"),
        ("../x", "../x"),
    ] {
        let error = client.inspect(id, None).unwrap_err();
        assert!(error.message().contains(word), "{id}: {error}");
    }
    server.fault(At::Storage, Fault::Truncate(100), 100);
    assert!(client.inspect("org/model", None).is_err());
}

/// Models in the list of the test server, by what they differ in.
fn shop() -> HubServer {
    use serde_json::json;
    let repo = |id: &str, card: serde_json::Value| Repo::new(id, &[("config.json", b"{}".to_vec())]).card(card);
    let model = |id: &str, model_type: &str, parameters: u64, bits: u64, downloads: u64, more: serde_json::Value| {
        let counts = match bits {
            16 => json!({"BF16": parameters}),
            bits => json!({"U32": parameters * bits / 32, "BF16": parameters / 32}),
        };
        let mut card = json!({
            "downloads": downloads, "likes": downloads / 10, "library_name": "mlx", "pipeline_tag": "text-generation",
            "tags": ["mlx", "safetensors", "license:mit", "en"], "cardData": {"license": "mit", "language": ["en"]},
            "config": {"model_type": model_type}, "safetensors": {"parameters": counts, "total": parameters},
        });
        if bits < 16 {
            card["config"]["quantization_config"] = json!({"bits": bits});
        }
        for (key, value) in more.as_object().unwrap() {
            card[key] = value.clone();
        }
        repo(id, card)
    };
    HubServer::start(vec![
        model("a/Qwen3-0.6B-4bit", "qwen3", 600_000_000, 4, 5000, json!({"lastModified": "2025-06-01T00:00:00.000Z"})),
        model("a/Qwen3-8B-4bit", "qwen3", 8_200_000_000, 4, 9000, json!({"trendingScore": 50})),
        model(
            "b/Llama-1B-bf16",
            "llama",
            1_000_000_000,
            16,
            100,
            json!({"tags": ["mlx", "license:llama3"], "cardData": {}}),
        ),
        model("b/Llama-70B-8bit", "llama", 70_000_000_000, 8, 7000, json!({})).gated(),
        model("c/Warp-50M", "warp_drive", 50_000_000, 16, 10, json!({"createdAt": "2026-01-01T00:00:00.000Z"})),
        model("c/Eyes-3B-4bit", "qwen3", 3_000_000_000, 4, 800, json!({"pipeline_tag": "image-text-to-text"})),
        repo("d/Torch-7B", json!({"downloads": 100_000, "library_name": "transformers", "tags": ["pytorch"]})),
        model("e/Secret-1B", "llama", 1_000_000_000, 16, 1, json!({})).private("hf_secret"),
    ])
}

fn ids(page: &SearchPage) -> Vec<&str> {
    page.models.iter().map(|m| m.id.as_str()).collect()
}

#[test]
fn searches_find_what_is_asked_for() {
    let dir = TempDir::new("search");
    let server = shop();
    let client = client(&server, dir.path());
    let search = |json: &str| fit::search(&client, &SearchQuery::from_json(json).unwrap()).unwrap();
    let (q06, q8, l1, l70, warp, eyes) =
        ("a/Qwen3-0.6B-4bit", "a/Qwen3-8B-4bit", "b/Llama-1B-bf16", "b/Llama-70B-8bit", "c/Warp-50M", "c/Eyes-3B-4bit");
    let everything = search("");
    assert_eq!(ids(&everything), [q8, l70, q06, eyes, l1, warp]);
    assert_eq!((everything.examined, everything.next.as_deref()), (6, None));
    for (query, expected) in [
        (r#"{"text": "qwen"}"#, vec![q8, q06]),
        (r#"{"author": "b"}"#, vec![l70, l1]),
        (r#"{"task": "image-text-to-text"}"#, vec![eyes]),
        (r#"{"library": ""}"#, vec!["d/Torch-7B", q8, l70, q06, eyes, l1, warp]),
        (r#"{"tags": ["safetensors"], "languages": ["en"], "min_likes": 100}"#, vec![q8, l70, q06]),
        (r#"{"licence": "llama3"}"#, vec![l1]),
        (r#"{"gated": true}"#, vec![l70]),
        (r#"{"gated": false, "min_downloads": 1000}"#, vec![q8, q06]),
        (r#"{"architecture": "warp_drive"}"#, vec![warp]),
        (r#"{"size_class": "tiny"}"#, vec![warp]),
        (r#"{"size_class": "small"}"#, vec![q06, l1]),
        (r#"{"size_class": "medium"}"#, vec![eyes]),
        (r#"{"size_class": "large"}"#, vec![q8]),
        (r#"{"size_class": "xlarge"}"#, vec![l70]),
        (r#"{"bits": 16}"#, vec![l1, warp]),
        (r#"{"bits": 8}"#, vec![l70]),
        (r#"{"modality": "image"}"#, vec![eyes]),
        (r#"{"min_bytes": 1000000000, "max_bytes": 5000000000}"#, vec![q8, eyes, l1]),
        // 8.2 billion at 4.5 bits, and a tenth: 5.07 GB.
        (r#"{"fits_bytes": 5000000000}"#, vec![q06, eyes, l1, warp]),
        (r#"{"fits_bytes": 5100000000}"#, vec![q8, q06, eyes, l1, warp]),
        (r#"{"since": "2025-06-01"}"#, vec![q06]),
        (r#"{"supported": true, "size_class": "tiny"}"#, vec![]),
        (r#"{"sort": "trending", "limit": 1}"#, vec![q8]),
        (r#"{"sort": "created", "limit": 1}"#, vec![warp]),
        (r#"{"sort": "modified", "limit": 1}"#, vec![q06]),
        (r#"{"sort": "quality", "limit": 2}"#, vec![q8, l70]),
    ] {
        assert_eq!(ids(&search(query)), expected, "{query}");
    }
    let q8 = &everything.models[0];
    assert_eq!((q8.supported, q8.parameters, q8.bits), (Some(true), Some(8_200_000_000), Some(4)));
    assert_eq!((q8.licence.as_deref(), q8.languages.as_slice()), (Some("mit"), ["en".to_owned()].as_slice()));
    assert_eq!(everything.models.last().unwrap().supported, Some(false));
    // The Hub filters what it can.
    let asked = server.seen().into_iter().map(|s| s.path).collect::<Vec<_>>();
    for part in ["search=qwen", "author=b", "filter=mlx", "filter=license%3Allama3", "gated=true", "expand=safetensors"]
    {
        assert!(asked.iter().any(|path| path.contains(part)), "{part}");
    }
}

#[test]
fn pages_follow_each_other() {
    let dir = TempDir::new("pages");
    let server = shop();
    let client = client(&server, dir.path());
    for limit in 1..=7 {
        let mut query = SearchQuery { limit, ..Default::default() };
        let mut found = Vec::new();
        loop {
            let page = fit::search(&client, &query).unwrap();
            assert!(page.models.len() <= limit);
            found.extend(page.models.into_iter().map(|m| m.id));
            match page.next {
                Some(next) => query.page = Some(next),
                None => break,
            }
        }
        assert_eq!(found.len(), 6, "limit {limit}: {found:?}");
        found.dedup();
        assert_eq!(found.len(), 6);
    }
    for page in ["", "5", "0@http://elsewhere.example/api/models?x=1", "x@y", "0@"] {
        let query = SearchQuery { page: Some(page.into()), ..Default::default() };
        assert!(fit::search(&client, &query).is_err(), "{page:?}");
    }
    server.fault(At::Api, Fault::Garbage("{}".into()), 9);
    assert!(fit::search(&client, &SearchQuery::default()).is_err());
}

/// Every model of the catalogue can be run.
#[test]
fn the_catalogue_knows_our_architectures() {
    for entry in Catalog::default().entries() {
        assert!(mlx_engine::models::registry::find(&entry.architecture).is_ok(), "{}", entry.id);
    }
}
