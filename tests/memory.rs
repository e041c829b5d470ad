//! Memory of generations and models: what is held, what waits for it, and that it comes back. A process of its own, where
//! one test runs at a time, because memory is counted for all of it.

mod support;

use std::path::PathBuf;
use std::sync::mpsc::channel;

use mlx_engine::ErrorKind;
use mlx_engine::array::{Device, memory};
use mlx_engine::engine::{Control, Engine, EngineOptions, Task};
use mlx_engine::generate::{GenerateOptions, GenerationEvent, GenerationStats, StopReason};
use mlx_engine::load::ModelConfiguration;
use parking_lot::Mutex;
use support::{TempDir, bare, cpu_engine, load, tokens, write_case};

static ALONE: Mutex<()> = Mutex::new(());

fn answer(n: u32) -> GenerateOptions {
    GenerateOptions { max_tokens: Some(n), ignore_eos: true, max_context: Some(1 << 20), ..Default::default() }
}

#[test]
fn memory_of_batches_returns_to_where_it_was() {
    let _alone = ALONE.lock();
    let dir = TempDir::new("batch");
    let recipe = write_case("gemma3_text", dir.path(), 1);
    let engine = cpu_engine();
    let model = load(&engine, bare(dir.path())).unwrap();
    let round = || {
        let tasks: Vec<Task<GenerationStats>> = (1..=10)
            .map(|i| {
                let prompt = recipe.prompt.repeat(i);
                model.generate(prompt, answer(i as u32 * 5), |_: &GenerationEvent| Control::Continue).unwrap()
            })
            .collect();
        tasks.iter().for_each(|task| assert_eq!(task.wait().unwrap().stop_reason, StopReason::Length));
        // Steps under way end with the next work.
        tokens(&model, &recipe.prompt, answer(2));
    };
    round();
    let before = memory::active();
    for _ in 0..5 {
        round();
        assert_eq!(memory::active(), before);
    }
}

const POSITIONS: u32 = 512;

#[test]
fn sequences_wait_for_memory() {
    let _alone = ALONE.lock();
    let before = memory::limit();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen3");
    let engine = Engine::new(&EngineOptions { device: Some(Device::Cpu), ..Default::default() }).unwrap();
    let model = load(&engine, ModelConfiguration::directory(folder)).unwrap();
    let prompt = |i: u32| [i; 8].to_vec();
    let options = GenerateOptions {
        max_tokens: Some(POSITIONS - 8),
        max_context: Some(POSITIONS as i32),
        ignore_eos: true,
        ..Default::default()
    };
    let config = model.config();
    let number = |key: &str| config[key].as_u64().unwrap() as usize;
    // Keys and values in bf16.
    let state =
        2 * 2 * number("num_key_value_heads") * number("head_dim") * number("num_hidden_layers") * POSITIONS as usize;
    let most_at_once = |room: usize| {
        memory::set_limit(memory::active() + room).unwrap();
        let (said, heard) = channel();
        let tasks: Vec<Task<GenerationStats>> = (0..4u32)
            .map(|i| {
                let said = said.clone();
                let observer = move |event: &GenerationEvent| {
                    if let GenerationEvent::Token { .. } = event {
                        said.send(i).unwrap();
                    }
                    Control::Continue
                };
                model.generate(prompt(i + 2), options.clone(), observer).unwrap()
            })
            .collect();
        tasks.iter().for_each(|task| assert_eq!(task.wait().unwrap().generated_tokens, POSITIONS as usize - 8));
        let mut left = [POSITIONS - 8; 4];
        let (mut running, mut most) = (Vec::new(), 0);
        for i in heard.try_iter() {
            if !running.contains(&i) {
                running.push(i);
            }
            most = most.max(running.len());
            left[i as usize] -= 1;
            running.retain(|j| left[*j as usize] > 0);
        }
        most
    };
    // What would not even fit alone is begun where nothing else holds memory.
    assert_eq!(most_at_once(state / 2), 1);
    assert_eq!(most_at_once(state * 5 / 2), 2);
    assert_eq!(most_at_once(state * 1000), 4);
    memory::set_limit(before).unwrap();
}

#[test]
fn an_unload_frees_the_memory_and_ends_what_is_generated() {
    let _alone = ALONE.lock();
    let dir = TempDir::new("unload");
    let recipe = write_case("qwen3", dir.path(), 1);
    let engine = Engine::new(&EngineOptions { device: Some(Device::Cpu), ..Default::default() }).unwrap();
    let kept = load(&engine, bare(dir.path())).unwrap();
    tokens(&kept, &recipe.prompt, answer(3));
    let before = memory::active();
    let model = load(&engine, bare(dir.path())).unwrap();
    let with_both = memory::active();
    assert!(with_both > before);
    let (said, heard) = channel();
    let endless = || {
        let said = said.clone();
        let observer = move |_: &GenerationEvent| {
            let _ = said.send(());
            Control::Continue
        };
        model.generate(recipe.prompt.clone(), answer(1_000_000), observer).unwrap()
    };
    let running = endless();
    heard.recv().unwrap();
    let second = endless();
    let freed = model.unload(|(): &()| Control::Continue).wait().unwrap();
    assert!(freed > 0);
    // At once, although `model` still exists.
    assert!(memory::active() <= before, "{} > {before}", memory::active());
    assert_eq!(running.wait().unwrap().stop_reason, StopReason::Cancelled);
    assert_eq!(second.wait().unwrap().stop_reason, StopReason::Cancelled);
    let refused = model.generate(recipe.prompt.clone(), answer(1), |_: &GenerationEvent| Control::Continue);
    let error = refused.err().unwrap();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains("unloaded"), "{error}");
    // The others go on, and a second time does no harm.
    assert_eq!(model.unload(|(): &()| Control::Continue).wait().unwrap(), 0);
    assert_eq!(tokens(&kept, &recipe.prompt, answer(3)).len(), 3);
}
