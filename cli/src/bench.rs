//! `mlxe bench`: measures a model's speed.

use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use mlx_engine::engine::{Control, Engine, EngineOptions, Model};
use mlx_engine::generate::{GenerateOptions, GenerationEvent, GenerationStats};
use mlx_engine::memory;
use serde_json::json;

use crate::args::BenchArgs;
use crate::failure::Result;
use crate::load::load_on;
use crate::out::say;

/// The middle of sorted values.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The results of one run.
struct Run {
    /// Of the first stream.
    stats: GenerationStats,
    /// Prompt tokens of all streams per second, from the start to the last first token.
    prefill_rate: f64,
    /// Tokens of all streams per second, while all of them decoded.
    decode_rate: f64,
}

/// Runs `batch` streams of the same prompt at once.
fn run(model: &Model, prompt: &[u32], options: &GenerateOptions, batch: usize) -> Result<Run> {
    let started = Instant::now();
    let start = |stream: usize, sender: Sender<(usize, Instant)>| {
        model.generate(prompt.to_vec(), options.clone(), move |event: &GenerationEvent| {
            if let GenerationEvent::Token { .. } = event {
                let _ = sender.send((stream, Instant::now()));
            }
            Control::Continue
        })
    };
    let (sender, receiver) = channel();
    let tasks = (0..batch).map(|i| start(i, sender.clone())).collect::<mlx_engine::Result<Vec<_>>>()?;
    drop(sender);
    let tokens: Vec<(usize, Instant)> = receiver.iter().collect();
    let stats = tasks.iter().map(|task| task.wait()).collect::<mlx_engine::Result<Vec<_>>>()?;
    let of = |stream: usize| tokens.iter().filter(move |(s, _)| *s == stream).map(|(_, at)| *at);
    let all_began = (0..batch).filter_map(|s| of(s).next()).max().unwrap_or(started);
    let first_ended = (0..batch).filter_map(|s| of(s).next_back()).min().unwrap_or(started);
    let between = tokens.iter().filter(|(_, at)| *at > all_began && *at <= first_ended).count();
    let rate = |n: usize, from: Instant, to: Instant| n as f64 / to.saturating_duration_since(from).as_secs_f64();
    Ok(Run {
        prefill_rate: match batch {
            1 => stats[0].prompt_tokens_per_second,
            _ => rate(batch * prompt.len(), started, all_began),
        },
        decode_rate: match batch {
            1 => stats[0].generation_tokens_per_second,
            _ => rate(between, all_began, first_ended),
        },
        stats: stats[0],
    })
}

pub fn bench(args: &BenchArgs) -> Result {
    if args.prompt_tokens == 0 || args.generate_tokens == 0 || args.runs == 0 || args.batch == 0 {
        return Err(mlx_engine::Error::invalid_argument("tokens, runs and batch must be at least 1").into());
    }
    let asked = match &args.sampling {
        Some(json) => serde_json::from_str(json)
            .map_err(|e| mlx_engine::Error::invalid_argument(format!("--sampling {json}: {e}")))?,
        None => GenerateOptions::default(),
    };
    memory::reset_peak();
    let asked_engine = args.model.how.engine.options();
    let engine = Engine::new(&EngineOptions {
        max_batch: asked_engine.max_batch.or(Some(args.batch as u32)),
        prefix_bytes: asked_engine.prefix_bytes.or(Some(0)),
        ..asked_engine
    })?;
    let model = load_on(&engine, &args.model, false)?;
    // The same arbitrary tokens each time; what they mean does not change the work.
    let vocab_size = model.info().vocab_size as usize;
    let prompt: Vec<u32> = (0..args.prompt_tokens).map(|i| ((i * 7919 + 13) % vocab_size) as u32).collect();
    let options = GenerateOptions {
        max_tokens: Some(args.generate_tokens),
        ignore_eos: true,
        max_context: Some(i32::MAX),
        ..asked
    };
    let run = || run(&model, &prompt, &options, args.batch);
    let first = run()?.stats;
    let runs = (0..args.runs).map(|_| run()).collect::<Result<Vec<_>>>()?;
    let middle = |f: fn(&Run) -> f64| median(runs.iter().map(f).collect());
    let prompt_rate = middle(|r| r.prefill_rate);
    let decode_rate = middle(|r| r.decode_rate);
    let first_token = middle(|r| r.stats.time_to_first_token.unwrap_or(f64::NAN));
    let load_seconds = model.info().load_seconds;
    if args.json {
        say!(
            "{}",
            json!({
                "prompt_tokens": args.prompt_tokens,
                "generated_tokens": args.generate_tokens,
                "batch": args.batch,
                "prefill_tokens_per_second": prompt_rate,
                "decode_tokens_per_second": decode_rate,
                "time_to_first_token_seconds": first_token,
                "first_call_time_to_first_token_seconds": first.time_to_first_token,
                "load_seconds": load_seconds,
                "peak_memory_bytes": memory::peak(),
                "weight_bytes": model.info().weight_bytes,
                "device": model.info().device,
            })
        );
        return Ok(());
    }
    say!("load                 {load_seconds:.3} s");
    say!("time to first token  {first_token:.4} s  ({} tokens)", args.prompt_tokens);
    if args.batch > 1 {
        say!("streams at once      {}", args.batch);
    }
    say!("prefill              {prompt_rate:.1} tokens/s");
    say!("decode               {decode_rate:.1} tokens/s");
    say!("peak memory          {}", indicatif::HumanBytes(memory::peak() as u64));
    Ok(())
}
