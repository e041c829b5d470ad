//! How fair an engine is under load: `cargo bench --bench scheduling -- [MODEL]`.
//!
//! Prints when the first and the last of many prompts that are started at once get their first tokens, beside one alone,
//! and the gaps between the tokens of an answer while a long prompt is processed, beside those without it.

use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Instant;

use mlx_engine::engine::{Control, Engine, EngineOptions, Model, Task};
use mlx_engine::generate::{GenerateOptions, GenerationEvent, GenerationStats};
use mlx_engine::load::{LoadEvent, ModelConfiguration};

const PROMPTS: u32 = 50;
const PROMPT: usize = 1000;
const LONG: usize = 2000;

fn prompt(length: usize, first: u32) -> Vec<u32> {
    (0..length as u32).map(|i| (first + i * 7) % 1000).collect()
}

fn options(n: u32) -> GenerateOptions {
    GenerateOptions { max_tokens: Some(n), ignore_eos: true, max_context: Some(1 << 16), ..Default::default() }
}

fn start(model: &Model, prompt: Vec<u32>, n: u32) -> Task<GenerationStats> {
    model.generate(prompt, options(n), |_: &GenerationEvent| Control::Continue).expect("valid")
}

fn first_token(task: &Task<GenerationStats>) -> f64 {
    task.wait().expect("an answer").time_to_first_token.expect("a token")
}

fn many(model: &Model) {
    let alone = first_token(&start(model, prompt(PROMPT, 1), 1));
    let tasks: Vec<_> = (0..PROMPTS).map(|i| start(model, prompt(PROMPT, i + 2), 1)).collect();
    let times: Vec<f64> = tasks.iter().map(first_token).collect();
    println!("first token of a prompt of {PROMPT}, alone: {alone:.3} s");
    println!(
        "of {PROMPTS} at once: the first {:.3} s ({:.2}x), the last {:.3} s",
        times[0],
        times[0] / alone,
        times[PROMPTS as usize - 1]
    );
}

fn gaps(model: &Model) {
    let (said, heard) = channel();
    let observer = move |event: &GenerationEvent| {
        if let GenerationEvent::Token { .. } = event {
            let _ = said.send(Instant::now());
        }
        Control::Continue
    };
    let task = model.generate(prompt(10, 5), options(1 << 15), observer).expect("valid");
    let next = || heard.recv().expect("a token");
    let longest = |until: &dyn Fn(usize) -> bool| {
        let (mut last, mut gaps) = (next(), Vec::new());
        while !until(gaps.len()) {
            let now = next();
            gaps.push((now - last).as_secs_f64() * 1e3);
            last = now;
        }
        gaps.sort_by(f64::total_cmp);
        (gaps[gaps.len() / 2], gaps[gaps.len() - 1])
    };
    next();
    let (middle, most) = longest(&|n| n >= 40);
    println!("gaps between tokens, alone: {middle:.1} ms, at most {most:.1} ms");
    let other = start(model, prompt(LONG, 9), 1);
    let (middle, most) = longest(&|n| n > 0 && other.is_done());
    println!("while a prompt of {LONG} is processed: {middle:.1} ms, at most {most:.1} ms");
    println!("the prompt's first token came after {:.2} s", first_token(&other));
    task.cancel();
    let _ = task.wait();
}

fn main() {
    let model = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let model = model
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen3"), PathBuf::from);
    let engine = Engine::new(&EngineOptions { prefix_bytes: Some(0), ..Default::default() }).expect("an engine");
    let mut configuration = ModelConfiguration::directory(&model);
    configuration.options.without_tokenizer = true;
    let model = engine.load(configuration, |_: &LoadEvent| Control::Continue).wait().expect("a model");
    many(&model);
    gaps(&model);
}
