//! What streaming through the C ABI costs over the Rust loop: the same model, prompt and tokens, in turns.
//!
//!     cargo bench --bench streaming
//!
//! Callbacks run on the thread that computes, so a token's cost is the translation of its event. It is far below the
//! noise of a model, so the two loops are measured around the events alone as well: the time from the first to the last
//! token of a long answer, many times, medians.

use std::ffi::{CString, c_char, c_void};
use std::path::PathBuf;
use std::ptr::{null, null_mut};
use std::time::Instant;

use mlx_engine::array::Device;
use mlx_engine::engine::{Control, Engine, EngineOptions, Model};
use mlx_engine::ffi::*;
use mlx_engine::generate::{GenerateOptions, GenerationEvent};
use mlx_engine::load::{LoadEvent, ModelConfiguration};

const TOKENS: u32 = 256;
const ROUNDS: usize = 30;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen3")
}

/// Seconds a token in the Rust loop.
fn rust(model: &Model, prompt: &[u32]) -> f64 {
    let options = GenerateOptions { max_tokens: Some(TOKENS), ignore_eos: true, ..Default::default() };
    let mut length = 0;
    let task = model
        .generate(prompt.to_vec(), options, move |event: &GenerationEvent| {
            if let GenerationEvent::Token { text, .. } = event {
                length += text.len();
            }
            std::hint::black_box(length);
            Control::Continue
        })
        .unwrap();
    task.wait().unwrap().generation_seconds / f64::from(TOKENS - 1)
}

unsafe extern "C" fn on_event(user_data: *mut c_void, event: *const mlxe_generation_event_t) -> i32 {
    // SAFETY: the counter below; the event is valid for the call.
    unsafe {
        *user_data.cast::<usize>() += (*event).text_len;
    }
    MLXE_CONTINUE
}

/// Seconds a token through the C ABI.
fn c(model: *const mlxe_model_t, prompt: &[u32]) -> f64 {
    // SAFETY: handles and structs are valid for the calls; the counter outlives the task.
    unsafe {
        let mut length = 0usize;
        let mut options = std::mem::zeroed();
        mlxe_generate_options_init(&mut options);
        options.max_tokens = TOKENS;
        options.ignore_eos = true;
        let callbacks = mlxe_generate_callbacks_t {
            struct_size: size_of::<mlxe_generate_callbacks_t>(),
            user_data: (&raw mut length).cast(),
            on_event: Some(on_event),
            on_done: None,
            drop: None,
        };
        let mut task = null_mut();
        assert!(mlxe_generate_start(model, prompt.as_ptr(), prompt.len(), &options, &callbacks, &mut task).is_null());
        let mut stats: mlxe_generation_stats_t = std::mem::zeroed();
        stats.struct_size = size_of::<mlxe_generation_stats_t>();
        assert!(mlxe_task_stats(task, &mut stats).is_null());
        mlxe_task_free(task);
        assert!(length > 0);
        stats.generation_seconds / f64::from(TOKENS - 1)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let engine = Engine::new(&EngineOptions { device: Some(Device::Cpu), ..Default::default() }).unwrap();
    let model =
        engine.load(ModelConfiguration::directory(directory()), |_: &LoadEvent| Control::Continue).wait().unwrap();
    let prompt = model.tokenizer().unwrap().encode("Tell me a story.", false).unwrap();

    // SAFETY: as in `c`.
    let handle = unsafe {
        let mut engine = null_mut();
        let mut options: mlxe_engine_options_t = std::mem::zeroed();
        mlxe_engine_options_init(&mut options);
        options.device = MLXE_DEVICE_CPU;
        assert!(mlxe_engine_new(&options, &mut engine).is_null());
        let path = CString::new(directory().to_str().unwrap()).unwrap();
        let mut load = std::mem::zeroed();
        mlxe_load_options_init(&mut load);
        load.directory = mlxe_str_t { data: path.as_ptr().cast::<c_char>(), len: path.as_bytes().len() };
        let mut model = null_mut();
        assert!(mlxe_load(engine, &load, null(), &mut model).is_null());
        mlxe_engine_free(engine);
        model
    };

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    rust(&model, &prompt);
    c(handle, &prompt);
    let started = Instant::now();
    for _ in 0..ROUNDS {
        ours.push(rust(&model, &prompt));
        theirs.push(c(handle, &prompt));
    }
    let (rust, c) = (median(ours) * 1e6, median(theirs) * 1e6);
    println!(
        "{ROUNDS} rounds of {TOKENS} tokens in {:.0} s: Rust {rust:.1} us a token, C {c:.1} us; difference {:.2} us",
        started.elapsed().as_secs_f64(),
        c - rust
    );
    // SAFETY: owned.
    unsafe { mlxe_model_free(handle) };
}
