//! Loading: phases, failures, cancelling, memory.

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mlx_engine::ErrorKind;
use mlx_engine::array::memory;
use mlx_engine::engine::{Control, Engine, Model, Observer};
use mlx_engine::generate::GenerateOptions;
use mlx_engine::load::{LoadEvent, LoadingPhase, ModelConfiguration, WeightDtype};
use mlx_engine::progress::{Progress, Stage};
use serde_json::{Value, json};
use support::{TempDir, bare, cpu_engine, load, write_case};

/// MLX counts memory for the whole process, so tests that look at it must not overlap with others.
static MEMORY: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    MEMORY.lock().unwrap_or_else(|e| e.into_inner())
}

/// Loads and returns the result with all events.
fn events(engine: &Engine, configuration: ModelConfiguration) -> (mlx_engine::Result<Model>, Vec<LoadEvent>) {
    let (sender, receiver) = channel();
    let task = engine.load(configuration, move |event: &LoadEvent| {
        sender.send(event.clone()).unwrap();
        Control::Continue
    });
    let result = task.wait();
    (result, receiver.iter().collect())
}

/// How far the reading of weights is, in events that tell of it.
fn reading(event: &LoadEvent) -> Option<&Progress> {
    event.progress.as_ref().filter(|_| event.phase == LoadingPhase::LoadingWeights)
}

fn names(events: &[LoadEvent]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = events.iter().map(|e| e.phase.name()).collect();
    names.dedup();
    names
}

fn edit(dir: &Path, file: &str, change: impl FnOnce(&mut Value)) {
    let path = dir.join(file);
    let mut value: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

#[test]
fn phases_come_in_order_and_progress_never_goes_back() {
    let _alone = alone();
    let dir = TempDir::new("phases");
    write_case("qwen3", dir.path(), 3);
    let (result, events) = events(&cpu_engine(), bare(dir.path()));
    result.unwrap();
    let want = ["readingConfig", "loadingWeights", "loadingTokenizer", "initializingModel", "ready"];
    assert_eq!(names(&events), want);
    assert!(events.is_sorted_by(|a, b| a.estimated_progress <= b.estimated_progress && a.elapsed <= b.elapsed));
    let mut files = Vec::new();
    let mut read = 0;
    for event in &events {
        if let Some(p) = reading(event) {
            files.push(p.file_index);
            assert_eq!((p.stage, p.total_files), (Stage::Reading, 3));
            assert!(read <= p.bytes_done && p.bytes_done <= p.bytes_total);
            read = p.bytes_done;
            if p.bytes_done == p.bytes_total {
                assert!(event.estimated_progress >= 0.85 - 1e-9);
            }
        }
    }
    files.dedup();
    assert_eq!(files, [1, 2, 3]);
    let size: u64 = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "safetensors"))
        .map(|p| std::fs::metadata(p).unwrap().len())
        .sum();
    assert!(read > 0 && read < size, "{read} bytes of data in files of {size}");
    assert!(events.last().unwrap().memory_bytes as u64 >= read);
}

/// A file large enough that its progress must be reported in parts.
#[test]
fn one_large_file_moves_in_many_steps() {
    let _alone = alone();
    let dir = TempDir::new("large");
    big_checkpoint(dir.path(), 24);
    let (result, events) = events(&cpu_engine(), bare(dir.path()));
    result.unwrap();
    let steps: std::collections::BTreeSet<u64> = events.iter().filter_map(reading).map(|p| p.bytes_done).collect();
    assert!(steps.len() > 5, "{steps:?}");
}

/// A llama in f32 of about `layers` * 12.6 MB whose weights are all zero, written without taking their memory.
/// A header may have any length; whatever addresses tensors get by that, the model is the same.
#[test]
fn tensors_may_lie_anywhere() {
    let _alone = alone();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen3");
    let bytes = std::fs::read(source.join("model.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let prompt: Vec<u32> = (5..40).collect();
    let answer = |model: &Model| {
        support::tokens(
            model,
            &prompt,
            GenerateOptions { max_tokens: Some(24), ignore_eos: true, ..Default::default() },
        )
    };
    let engine = cpu_engine();
    let want = answer(&load(&engine, bare(&source)).unwrap());
    for more in 1..8 {
        let dir = TempDir::new("anywhere");
        std::fs::copy(source.join("config.json"), dir.path().join("config.json")).unwrap();
        let mut moved = ((length + more) as u64).to_le_bytes().to_vec();
        moved.extend(&bytes[8..8 + length]);
        moved.extend(vec![b' '; more]);
        moved.extend(&bytes[8 + length..]);
        std::fs::write(dir.path().join("model.safetensors"), moved).unwrap();
        let model = load(&engine, bare(dir.path())).unwrap();
        assert_eq!(answer(&model), want, "a header {more} bytes longer");
        // Converted, they are not taken as they lie.
        let mut converted = bare(dir.path());
        converted.options.dtype = Some(WeightDtype::F32);
        assert_eq!(answer(&load(&engine, converted).unwrap()).len(), want.len());
    }
}

fn big_checkpoint(dir: &Path, layers: usize) {
    let (hidden, inner, vocab) = (512usize, 1536usize, 64usize);
    let mut shapes: Vec<(String, Vec<usize>)> =
        vec![("model.embed_tokens.weight".into(), vec![vocab, hidden]), ("model.norm.weight".into(), vec![hidden])];
    for i in 0..layers {
        let name = |rest: &str| format!("model.layers.{i}.{rest}.weight");
        for p in ["q", "k", "v", "o"] {
            shapes.push((name(&format!("self_attn.{p}_proj")), vec![hidden, hidden]));
        }
        shapes.push((name("mlp.gate_proj"), vec![inner, hidden]));
        shapes.push((name("mlp.up_proj"), vec![inner, hidden]));
        shapes.push((name("mlp.down_proj"), vec![hidden, inner]));
        shapes.push((name("input_layernorm"), vec![hidden]));
        shapes.push((name("post_attention_layernorm"), vec![hidden]));
    }
    let mut header = serde_json::Map::new();
    let mut offset = 0;
    for (name, shape) in shapes {
        let bytes = shape.iter().product::<usize>() * 4;
        header.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + bytes]}));
        offset += bytes;
    }
    let header = Value::Object(header).to_string();
    let path = dir.join("model.safetensors");
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(bytes.len() as u64 + offset as u64).unwrap();
    let config = json!({
        "model_type": "llama", "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": 8, "vocab_size": vocab, "rms_norm_eps": 1e-5, "max_position_embeddings": 1000,
    });
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
}

#[test]
fn an_unknown_architecture_is_refused_before_anything_is_opened() {
    let _alone = alone();
    let dir = TempDir::new("unknown");
    write_case("llama", dir.path(), 1);
    edit(dir.path(), "config.json", |c| c["model_type"] = json!("warp_drive"));
    // Broken weights would be reported instead, were they looked at.
    std::fs::write(dir.path().join("model.safetensors"), b"no").unwrap();
    let (result, events) = events(&cpu_engine(), ModelConfiguration::directory(dir.path()));
    let error = result.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::UnsupportedModel);
    for word in ["warp_drive", "llama", "qwen3", "stablelm"] {
        assert!(error.message().contains(word), "{error}");
    }
    assert_eq!(names(&events), ["readingConfig", "failed"]);
}

/// One broken checkpoint: what is done to a good one, and what the error must say.
type Fault = (&'static str, fn(&Path), ErrorKind, &'static [&'static str]);

fn with_tensors(dir: &Path, change: impl FnOnce(&mut Vec<(String, safetensors::Dtype, Vec<usize>, Vec<u8>)>)) {
    let path = dir.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<_> =
        file.tensors().into_iter().map(|(n, t)| (n, t.dtype(), t.shape().to_vec(), t.data().to_vec())).collect();
    change(&mut tensors);
    let views: Vec<_> = tensors
        .iter()
        .map(|(n, d, s, b)| (n.clone(), safetensors::tensor::TensorView::new(*d, s.clone(), b).unwrap()))
        .collect();
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn with_header(dir: &Path, change: impl FnOnce(&mut Value)) {
    let path = dir.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let n = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + n]).unwrap();
    change(&mut header);
    let header = header.to_string();
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.extend(&bytes[8 + n..]);
    std::fs::write(path, out).unwrap();
}

#[test]
fn broken_checkpoints_are_refused_by_name() {
    let _alone = alone();
    const NORM: &str = "model.layers.0.input_layernorm.weight";
    let faults: &[Fault] = &[
        ("no config", |d| std::fs::remove_file(d.join("config.json")).unwrap(), ErrorKind::NotFound, &["config.json"]),
        (
            "config is no JSON",
            |d| std::fs::write(d.join("config.json"), "{").unwrap(),
            ErrorKind::InvalidConfig,
            &["config.json"],
        ),
        (
            "config is a list",
            |d| std::fs::write(d.join("config.json"), "[]").unwrap(),
            ErrorKind::InvalidConfig,
            &["config.json", "object"],
        ),
        (
            "no model_type",
            |d| {
                edit(d, "config.json", |c| {
                    c.as_object_mut().unwrap().remove("model_type");
                })
            },
            ErrorKind::InvalidConfig,
            &["model_type"],
        ),
        (
            "a key is missing",
            |d| {
                edit(d, "config.json", |c| {
                    c.as_object_mut().unwrap().remove("hidden_size");
                })
            },
            ErrorKind::InvalidConfig,
            &["hidden_size"],
        ),
        (
            "a key has the wrong type",
            |d| edit(d, "config.json", |c| c["hidden_size"] = json!("wide")),
            ErrorKind::InvalidConfig,
            &["hidden_size"],
        ),
        (
            "a billion layers",
            |d| edit(d, "config.json", |c| c["num_hidden_layers"] = json!(1_000_000_000)),
            ErrorKind::InvalidConfig,
            &["num_hidden_layers"],
        ),
        (
            "negative sizes",
            |d| edit(d, "config.json", |c| c["intermediate_size"] = json!(-5)),
            ErrorKind::InvalidConfig,
            &["intermediate_size"],
        ),
        (
            "heads do not divide",
            |d| edit(d, "config.json", |c| c["num_key_value_heads"] = json!(3)),
            ErrorKind::InvalidConfig,
            &["num_key_value_heads"],
        ),
        (
            "unknown scaling",
            |d| edit(d, "config.json", |c| c["rope_scaling"] = json!({"type": "spiral"})),
            ErrorKind::UnsupportedModel,
            &["spiral"],
        ),
        (
            "no weights",
            |d| std::fs::remove_file(d.join("model.safetensors")).unwrap(),
            ErrorKind::NotFound,
            &["safetensors"],
        ),
        (
            "empty weights",
            |d| std::fs::write(d.join("model.safetensors"), b"").unwrap(),
            ErrorKind::InvalidWeights,
            &["model.safetensors"],
        ),
        (
            "header longer than the file",
            |d| std::fs::write(d.join("model.safetensors"), u64::MAX.to_le_bytes()).unwrap(),
            ErrorKind::InvalidWeights,
            &["model.safetensors", "header"],
        ),
        (
            "header is no JSON",
            |d| std::fs::write(d.join("model.safetensors"), b"\x04\0\0\0\0\0\0\0????").unwrap(),
            ErrorKind::InvalidWeights,
            &["model.safetensors", "header"],
        ),
        (
            "truncated",
            |d| {
                let f = std::fs::OpenOptions::new().write(true).open(d.join("model.safetensors")).unwrap();
                f.set_len(f.metadata().unwrap().len() - 1000).unwrap();
            },
            ErrorKind::InvalidWeights,
            &["model.safetensors", "truncated"],
        ),
        (
            "overlapping",
            |d| {
                with_header(d, |h| {
                    let first = h[NORM]["data_offsets"].clone();
                    h["model.norm.weight"]["data_offsets"] = first;
                })
            },
            ErrorKind::InvalidWeights,
            &["model.safetensors"],
        ),
        (
            "missing",
            |d| with_tensors(d, |t| t.retain(|(n, ..)| n != NORM)),
            ErrorKind::InvalidWeights,
            &[NORM, "missing"],
        ),
        (
            "extra",
            |d| with_tensors(d, |t| t.push(("model.surprise".into(), safetensors::Dtype::F32, vec![1], vec![0; 4]))),
            ErrorKind::InvalidWeights,
            &["model.surprise"],
        ),
        (
            "misshapen",
            |d| {
                with_tensors(d, |t| {
                    let t = t.iter_mut().find(|(n, ..)| n == NORM).unwrap();
                    t.2 = vec![t.2[0] / 2, 2];
                })
            },
            ErrorKind::InvalidWeights,
            &[NORM, "shape"],
        ),
        (
            "integers for weights",
            |d| {
                with_tensors(d, |t| {
                    t.iter_mut().find(|(n, ..)| n == NORM).unwrap().1 = safetensors::Dtype::I32;
                })
            },
            ErrorKind::InvalidWeights,
            &[NORM, "i32"],
        ),
        (
            "a type MLX has not",
            |d| {
                with_tensors(d, |t| {
                    let t = t.iter_mut().find(|(n, ..)| n == NORM).unwrap();
                    t.1 = safetensors::Dtype::F64;
                    t.3 = vec![0; t.2.iter().product::<usize>() * 8];
                })
            },
            ErrorKind::InvalidWeights,
            &[NORM, "F64"],
        ),
        ("no tokenizer", |_| (), ErrorKind::NotFound, &["tokenizer.json"]),
    ];
    let engine = cpu_engine();
    let before = wait_for_unload(0);
    for (what, breaks, kind, words) in faults {
        let dir = TempDir::new("fault");
        write_case("llama", dir.path(), 1);
        breaks(dir.path());
        let (result, events) = events(&engine, ModelConfiguration::directory(dir.path()));
        let error = result.err().unwrap_or_else(|| panic!("{what}: loaded"));
        assert_eq!(error.kind(), *kind, "{what}: {error}");
        for word in *words {
            assert!(error.to_string().contains(word), "{what}: {error}");
        }
        let last = events.last().unwrap();
        let failure = last.failure.as_ref().unwrap_or_else(|| panic!("{what}: {last:?}"));
        assert_eq!(last.phase, LoadingPhase::Failed, "{what}");
        assert_eq!((failure.kind, last.estimated_progress), (*kind, 0.0));
        assert_eq!(events.iter().filter(|e| e.phase.is_terminal()).count(), 1, "{what}");
        let phase = match kind {
            ErrorKind::InvalidWeights => LoadingPhase::LoadingWeights,
            ErrorKind::NotFound if words.contains(&"safetensors") => LoadingPhase::LoadingWeights,
            ErrorKind::NotFound if words.contains(&"tokenizer.json") => LoadingPhase::LoadingTokenizer,
            _ => LoadingPhase::ReadingConfig,
        };
        assert_eq!(failure.phase, phase, "{what}: {error}");
    }
    assert_eq!(wait_for_unload(before), before, "failed loads leave nothing behind");
}

#[test]
fn broken_quantized_checkpoints_are_refused_by_name() {
    let _alone = alone();
    const Q: &str = "model.layers.0.self_attn.q_proj";
    let faults: &[Fault] = &[
        (
            "scales are missing",
            |d| with_tensors(d, |t| t.retain(|(n, ..)| n != &format!("{Q}.scales"))),
            ErrorKind::InvalidWeights,
            &[Q],
        ),
        (
            "biases are missing",
            |d| with_tensors(d, |t| t.retain(|(n, ..)| n != &format!("{Q}.biases"))),
            ErrorKind::InvalidWeights,
            &[Q, "biases", "missing"],
        ),
        (
            "scales do not fit",
            |d| {
                with_tensors(d, |t| {
                    let t = t.iter_mut().find(|(n, ..)| n == &format!("{Q}.scales")).unwrap();
                    t.2 = vec![t.2[0] / 2, t.2[1] * 2];
                })
            },
            ErrorKind::InvalidWeights,
            &[Q],
        ),
        (
            "the configuration contradicts",
            |d| {
                edit(d, "config.json", |c| {
                    c["quantization"][Q] = json!({"bits": 8, "group_size": 64});
                })
            },
            ErrorKind::InvalidWeights,
            &[Q, "8 bits"],
        ),
        (
            "bits that do not exist",
            |d| edit(d, "config.json", |c| c["quantization"]["bits"] = json!(7)),
            ErrorKind::UnsupportedModel,
            &["bits is 7"],
        ),
        (
            "a foreign method",
            |d| {
                edit(d, "config.json", |c| {
                    c["quantization"] = json!({"quant_method": "gptq", "bits": 4, "group_size": 128});
                })
            },
            ErrorKind::UnsupportedModel,
            &["gptq"],
        ),
    ];
    refused("llama-4bit", faults);
}

#[test]
fn broken_experts_are_refused_by_name() {
    let _alone = alone();
    const E: &str = "model.layers.1.block_sparse_moe.experts.2.w1";
    refused(
        "mixtral-split-4bit",
        &[
            (
                "an expert is missing",
                |d| with_tensors(d, |t| t.retain(|(n, ..)| !n.starts_with(E))),
                ErrorKind::InvalidWeights,
                &[E, "missing"],
            ),
            (
                "an expert is quantized in another way",
                |d| {
                    with_tensors(d, |t| {
                        for (part, columns) in [("weight", 8), ("scales", 2), ("biases", 2)] {
                            let t = t.iter_mut().find(|(n, ..)| n == &format!("{E}.{part}")).unwrap();
                            t.2[1] = columns;
                            t.3.resize(t.2[0] * columns * 4, 0);
                        }
                    })
                },
                ErrorKind::InvalidWeights,
                &[E, "another way"],
            ),
            (
                "an expert too many",
                |d| {
                    with_tensors(d, |t| {
                        let mut more = t.iter().find(|(n, ..)| n == &format!("{E}.weight")).unwrap().clone();
                        more.0 = more.0.replace("experts.2", "experts.4");
                        t.push(more);
                    })
                },
                ErrorKind::InvalidWeights,
                &["experts.4"],
            ),
            (
                "more experts chosen than there are",
                |d| edit(d, "config.json", |c| c["num_experts_per_tok"] = json!(5)),
                ErrorKind::InvalidConfig,
                &["num_experts_per_tok is 5"],
            ),
            (
                "too many experts",
                |d| edit(d, "config.json", |c| c["num_local_experts"] = json!(i32::MAX)),
                ErrorKind::InvalidConfig,
                &["num_local_experts", "2147483647"],
            ),
        ],
    );
    refused(
        "qwen3_moe-4bit",
        &[
            (
                "a stack is too short",
                |d| edit(d, "config.json", |c| c["num_experts"] = json!(7)),
                ErrorKind::InvalidWeights,
                &["model.layers.0.mlp.switch_mlp.gate_proj.weight"],
            ),
            (
                "no step",
                |d| edit(d, "config.json", |c| c["decoder_sparse_step"] = json!(0)),
                ErrorKind::InvalidConfig,
                &["decoder_sparse_step"],
            ),
        ],
    );
}

fn refused(case: &str, faults: &[Fault]) {
    let engine = cpu_engine();
    for (what, breaks, kind, words) in faults {
        let dir = TempDir::new("qfault");
        write_case(case, dir.path(), 1);
        breaks(dir.path());
        let error = load(&engine, bare(dir.path())).err().unwrap_or_else(|| panic!("{what}: loaded"));
        assert_eq!(error.kind(), *kind, "{what}: {error}");
        for word in *words {
            assert!(error.to_string().contains(word), "{what}: {error}");
        }
    }
}

const INDEX: &str = "model.safetensors.index.json";

#[test]
fn a_missing_shard_is_named() {
    let _alone = alone();
    let engine = cpu_engine();
    for without_index in [false, true] {
        let dir = TempDir::new("shard");
        write_case("llama", dir.path(), 3);
        if without_index {
            std::fs::remove_file(dir.path().join(INDEX)).unwrap();
        }
        std::fs::remove_file(dir.path().join("model-00002-of-00003.safetensors")).unwrap();
        let error = load(&engine, bare(dir.path())).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("model-00002-of-00003.safetensors is missing"), "{error}");
    }
}

/// What mlx-lm loads, because it never looks at the index.
#[test]
fn an_index_that_is_not_of_these_files_does_not_matter() {
    let _alone = alone();
    let engine = cpu_engine();
    type Change = fn(&Path);
    let changes: &[(&str, Change)] = &[
        ("leads out", |d| edit(d, INDEX, |i| i["weight_map"]["model.norm.weight"] = json!("../../secret.safetensors"))),
        ("promises more", |d| {
            edit(d, INDEX, |i| i["weight_map"]["model.ghost"] = json!("model-00001-of-00003.safetensors"))
        }),
        ("names nothing", |d| edit(d, INDEX, |i| i["weight_map"] = json!({}))),
        ("is no JSON", |d| std::fs::write(d.join(INDEX), "x").unwrap()),
        ("names other files", |d| {
            edit(d, INDEX, |i| i["weight_map"] = json!({"model.norm.weight": "model-00001-of-00002.safetensors"}))
        }),
        ("has another part beside it", |d| {
            std::fs::copy(d.join("model-00001-of-00003.safetensors"), d.join("consolidated.safetensors")).unwrap();
        }),
        ("has a part twice", |d| {
            std::fs::remove_file(d.join(INDEX)).unwrap();
            std::fs::copy(d.join("model-00001-of-00003.safetensors"), d.join("model_again.safetensors")).unwrap();
        }),
    ];
    for (what, change) in changes {
        let dir = TempDir::new("stale");
        write_case("llama", dir.path(), 3);
        change(dir.path());
        load(&engine, bare(dir.path())).unwrap_or_else(|e| panic!("{what}: {e}"));
    }
}

/// What waits for a writer, or never ends, where a file of the model should be: refused by name, at once.
#[test]
fn only_regular_files_are_read() {
    let _alone = alone();
    let engine = cpu_engine();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen3");
    let files = [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        INDEX,
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ];
    for name in files {
        for kind in ["a FIFO", "a directory", "a device", "a socket"] {
            let dir = TempDir::new("irregular");
            for entry in std::fs::read_dir(&fixture).unwrap().map(Result::unwrap) {
                std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
            }
            let path = dir.path().join(name);
            let _ = std::fs::remove_file(&path);
            let mut socket = None;
            match kind {
                "a FIFO" => assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success()),
                "a directory" => std::fs::create_dir(&path).unwrap(),
                "a device" => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
                _ => socket = Some(std::os::unix::net::UnixListener::bind(&path).unwrap()),
            }
            let task = engine.load(ModelConfiguration::directory(dir.path()), |_: &LoadEvent| Control::Continue);
            let result =
                task.wait_for(Duration::from_secs(30)).unwrap_or_else(|| panic!("{name} as {kind} is waited for"));
            let error = result.err().unwrap_or_else(|| panic!("{name} as {kind} is read"));
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
            let wanted = format!("{name}: is {kind}, not a regular file");
            assert!(error.to_string().contains(&wanted), "{error}");
            drop(socket);
        }
    }
}

#[test]
fn pointers_of_git_lfs_are_called_so() {
    let _alone = alone();
    let engine = cpu_engine();
    for name in ["model.safetensors", "config.json"] {
        let dir = TempDir::new("lfs");
        write_case("llama", dir.path(), 1);
        let text = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 42\n";
        std::fs::write(dir.path().join(name), text).unwrap();
        let error = load(&engine, bare(dir.path())).err().unwrap();
        assert!(error.to_string().contains("Git LFS pointer"), "{name}: {error}");
    }
}

/// What a model works without is a warning where it is broken.
#[test]
fn a_broken_generation_configuration_is_not_used() {
    let _alone = alone();
    let engine = cpu_engine();
    for text in ["{\"eos_token_id\": 9,}", "[]", "", "{\"eos_token_id\": []}", "{\"eos_token_id\": null}"] {
        let dir = TempDir::new("generation");
        write_case("llama", dir.path(), 1);
        edit(dir.path(), "config.json", |c| c["eos_token_id"] = json!([7, 9]));
        std::fs::write(dir.path().join("generation_config.json"), text).unwrap();
        let model = load(&engine, bare(dir.path())).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(model.info().eos_token_ids, [7, 9], "{text}");
    }
}

/// The model still works without it, but nobody should have to wait for the first chat to hear of it.
#[test]
fn a_broken_chat_template_is_known_once_the_model_is_loaded() {
    let _alone = alone();
    let engine = cpu_engine();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen3");
    let info = load(&engine, ModelConfiguration::directory(&source)).unwrap().info().clone();
    assert!(info.has_chat_template && info.chat_template_error.is_none(), "{info:?}");
    let dir = TempDir::new("template");
    for file in std::fs::read_dir(&source).unwrap().map(|f| f.unwrap().path()).filter(|p| p.is_file()) {
        std::fs::copy(&file, dir.path().join(file.file_name().unwrap())).unwrap();
    }
    std::fs::write(dir.path().join("chat_template.jinja"), "{% for message in messages %}").unwrap();
    let model = load(&engine, ModelConfiguration::directory(dir.path())).unwrap();
    let error = model.info().chat_template_error.as_ref().expect("an error");
    assert!(!error.is_empty() && serde_json::to_value(model.info()).unwrap()["chat_template_error"] == **error);
}

#[test]
fn a_load_can_be_cancelled_in_every_phase() {
    let _alone = alone();
    let dir = TempDir::new("cancel");
    write_case("gemma2", dir.path(), 2);
    let engine = cpu_engine();
    let before = wait_for_unload(0);
    for phase in ["readingConfig", "loadingWeights", "loadingTokenizer", "initializingModel"] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let task = engine.load(bare(dir.path()), move |event: &LoadEvent| {
            log.lock().unwrap().push(event.phase.name());
            if event.phase.name() == phase { Control::Cancel } else { Control::Continue }
        });
        assert_eq!(task.wait().err().unwrap().kind(), ErrorKind::Cancelled);
        let seen = seen.lock().unwrap();
        assert_eq!(seen[seen.len() - 2..], [phase, "cancelled"], "{seen:?}");
        assert_eq!(wait_for_unload(before), before, "{phase}");
    }
    load(&engine, bare(dir.path())).unwrap();
}

#[test]
fn a_load_that_is_cancelled_before_it_starts_says_so() {
    let _alone = alone();
    let engine = cpu_engine();
    // The engine's thread waits here until the second load is cancelled.
    let (go, may_go) = channel::<()>();
    let dir = TempDir::new("before");
    write_case("llama", dir.path(), 1);
    let mut waits = Some(may_go);
    let first = engine.load(bare(dir.path()), move |_: &LoadEvent| {
        if let Some(may_go) = waits.take() {
            let _ = may_go.recv();
        }
        Control::Continue
    });
    let (sender, receiver) = channel();
    let second = engine.load(bare(dir.path()), move |event: &LoadEvent| {
        sender.send(event.clone()).unwrap();
        Control::Continue
    });
    second.cancel();
    go.send(()).unwrap();
    first.wait().unwrap();
    assert_eq!(second.wait().err().unwrap().kind(), ErrorKind::Cancelled);
    let events: Vec<LoadEvent> = receiver.iter().collect();
    assert_eq!(names(&events), ["cancelled"]);
    let failure = events[0].failure.as_ref().unwrap();
    assert_eq!((failure.phase, failure.kind), (LoadingPhase::ReadingConfig, ErrorKind::Cancelled));
}

/// Reading 300 MB takes a while; a cancel in the middle of it must not wait for the rest.
#[test]
fn a_cancel_stops_reading() {
    let _alone = alone();
    let dir = TempDir::new("stop");
    big_checkpoint(dir.path(), 24);
    let engine = cpu_engine();
    for fraction in [0.0, 0.2, 0.6] {
        let after = Arc::new(AtomicUsize::new(0));
        let counter = after.clone();
        let cancelled = Arc::new(AtomicBool::new(false));
        let task = engine.load(bare(dir.path()), move |event: &LoadEvent| {
            if let Some(p) = reading(event) {
                if cancelled.load(Ordering::Relaxed) {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                if p.bytes_done as f64 >= fraction * p.bytes_total as f64 {
                    cancelled.store(true, Ordering::Relaxed);
                    return Control::Cancel;
                }
            }
            Control::Continue
        });
        assert_eq!(task.wait().err().unwrap().kind(), ErrorKind::Cancelled);
        // One group may have been under way.
        assert!(after.load(Ordering::Relaxed) <= 1);
    }
}

#[test]
fn cancelling_at_any_moment_ends_the_load_once() {
    let _alone = alone();
    struct Once(Arc<AtomicUsize>, Arc<AtomicUsize>);
    impl Observer<LoadEvent, Model> for Once {
        fn event(&mut self, _: &LoadEvent) -> Control {
            assert_eq!(self.0.load(Ordering::SeqCst), 0, "an event after done");
            Control::Continue
        }
        fn done(&mut self, _: &mlx_engine::Result<Model>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    impl Drop for Once {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
    let dir = TempDir::new("any");
    write_case("llama", dir.path(), 2);
    let engine = cpu_engine();
    let (mut stopped, mut finished) = (0, 0);
    for i in 0..300u64 {
        let (done, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let task = engine.load(bare(dir.path()), Once(done.clone(), dropped.clone()));
        let until = Instant::now() + Duration::from_micros(i * 40 % 9000);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        task.cancel();
        match task.wait() {
            Ok(_) => finished += 1,
            Err(e) if e.kind() == ErrorKind::Cancelled => stopped += 1,
            Err(e) => panic!("{e}"),
        }
        assert_eq!((done.load(Ordering::SeqCst), dropped.load(Ordering::SeqCst)), (1, 1));
    }
    assert!(stopped > 0, "{stopped} stopped, {finished} finished");
}

#[test]
fn two_loads_at_once_do_not_mix() {
    let _alone = alone();
    let (a, b) = (TempDir::new("a"), TempDir::new("b"));
    write_case("qwen3", a.path(), 2);
    write_case("cohere", b.path(), 3);
    let engine = cpu_engine();
    let start = |dir: &Path| {
        let (sender, receiver) = channel();
        let task = engine.load(bare(dir), move |event: &LoadEvent| {
            sender.send(event.clone()).unwrap();
            Control::Continue
        });
        (task, receiver)
    };
    let ((task_a, events_a), (task_b, events_b)) = (start(a.path()), start(b.path()));
    assert_eq!(task_a.wait().unwrap().info().model_type, "qwen3");
    assert_eq!(task_b.wait().unwrap().info().model_type, "cohere");
    for (events, files) in [(events_a, 2), (events_b, 3)] {
        let events: Vec<LoadEvent> = events.iter().collect();
        assert_eq!(names(&events).len(), 5);
        assert!(events.is_sorted_by(|a, b| a.estimated_progress <= b.estimated_progress));
        for event in events {
            assert!(reading(&event).is_none_or(|p| p.total_files == files));
        }
    }
}

#[test]
fn models_leave_no_memory_behind() {
    let _alone = alone();
    let dir = TempDir::new("cycles");
    write_case("qwen3-4bit", dir.path(), 1);
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        text.split(' ').nth(1).and_then(|n| n.parse::<usize>().ok()).unwrap_or(0) * 4096
    };
    let threads = || std::fs::read_dir("/proc/self/task").map_or(0, |d| d.count());
    let cycle = || {
        let engine = cpu_engine();
        let model = load(&engine, bare(dir.path())).unwrap();
        assert_eq!(support::tokens(&model, &[1, 2, 3], options(8)).len(), 8);
    };
    for _ in 0..10 {
        cycle();
    }
    let settled = (wait_for_unload(0), resident(), threads());
    for _ in 0..50 {
        cycle();
    }
    assert_eq!(wait_for_unload(settled.0), settled.0);
    assert!(resident() < settled.1 + (8 << 20), "resident memory grew from {} to {}", settled.1, resident());
    // Tests beside this one have threads too; a leak would be one a cycle.
    assert!(threads() < settled.2 + 25, "{} threads became {}", settled.2, threads());
}

fn options(max_tokens: u32) -> mlx_engine::generate::GenerateOptions {
    mlx_engine::generate::GenerateOptions { max_tokens: Some(max_tokens), ignore_eos: true, ..Default::default() }
}

/// What is not needed any more is freed by the engine's thread, shortly after everyone was told.
fn wait_for_unload(at_most: usize) -> usize {
    for _ in 0..200 {
        if memory::active() <= at_most {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    memory::active()
}
