//! Asks a model a question: `cargo run --release --example chat -- MODEL_DIRECTORY QUESTION`

use std::io::{IsTerminal, Write, stderr, stdout};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use mlx_engine::engine::{Control, Engine, EngineOptions};
use mlx_engine::generate::{GenerateOptions, GenerationEvent, StopReason};
use mlx_engine::load::{LoadEvent, ModelConfiguration};
use mlx_engine::tokenizer::TemplateOptions;
use mlx_engine::{Error, ErrorKind, Result};
use serde_json::json;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_interrupt(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

fn control() -> Control {
    if INTERRUPTED.load(Ordering::Relaxed) { Control::Cancel } else { Control::Continue }
}

/// A bar that moves in place on a terminal, a line for each phase elsewhere.
fn progress() -> impl FnMut(&LoadEvent) -> Control + Send {
    let mut last_phase = None;
    move |event| {
        let percent = (event.estimated_progress * 100.0) as usize;
        let megabytes = event.memory_bytes as f64 / 1e6;
        let text = format!("{percent:3}%  {megabytes:.1} MB  {}", event.description());
        if stderr().is_terminal() {
            let bar = format!("{:.<30}", "#".repeat(percent * 30 / 100));
            eprint!("\r\x1b[K[{bar}] {text}{}", if event.phase.is_terminal() { "\n" } else { "" });
        } else if Some(event.phase) != last_phase {
            eprintln!("{text}");
        }
        last_phase = Some(event.phase);
        control()
    }
}

fn chat(directory: &str, question: &str) -> Result<ExitCode> {
    let engine = Engine::new(&EngineOptions::default())?;
    let model = engine.load(ModelConfiguration::directory(directory), progress()).wait()?;

    // The question becomes the prompt that the model was trained on. What looks like a control token in it stays text.
    let tokenizer = model.tokenizer().ok_or_else(|| Error::not_found("the model has no tokenizer"))?;
    let messages = json!([{"role": "user", "content": question}]);
    let template = TemplateOptions { add_generation_prompt: true, ..Default::default() };
    let tokens = tokenizer.encode_chat(&messages, &template)?;

    let options =
        GenerateOptions { max_tokens: Some(512), temperature: Some(0.7), top_p: Some(0.9), ..Default::default() };
    let stream = |event: &GenerationEvent| {
        if let GenerationEvent::Token { text, .. } | GenerationEvent::Text { text } = event {
            print!("{text}");
            let _ = stdout().flush();
        }
        control()
    };
    let stats = model.generate(tokens, options, stream)?.wait()?;
    println!();
    eprintln!(
        "prompt: {} tokens, {:.1} tokens/s; answer: {} tokens, {:.1} tokens/s; peak memory {:.1} MB",
        stats.prompt_tokens,
        stats.prompt_tokens_per_second,
        stats.generated_tokens,
        stats.generation_tokens_per_second,
        stats.peak_memory_bytes as f64 / 1e6
    );
    Ok(if stats.stop_reason == StopReason::Cancelled { ExitCode::from(130) } else { ExitCode::SUCCESS })
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, directory, question] = arguments.as_slice() else {
        eprintln!("usage: chat MODEL_DIRECTORY QUESTION");
        return ExitCode::from(2);
    };
    // SAFETY: the handler only sets a flag.
    unsafe { libc::signal(libc::SIGINT, on_interrupt as *const () as libc::sighandler_t) };
    chat(directory, question).unwrap_or_else(|error| {
        eprintln!("chat: {error}");
        ExitCode::from(if error.kind() == ErrorKind::Cancelled { 130 } else { 1 })
    })
}
