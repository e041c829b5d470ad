//! `mlxe bench`: how fast a model is here.

use mlx_engine::array::memory;
use mlx_engine::generate::{GenerateOptions, GenerationStats};
use serde_json::json;

use crate::Result;
use crate::args::BenchArgs;
use crate::generate::stream;
use crate::load::load;

/// The middle of sorted values.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn bench(args: &BenchArgs) -> Result {
    if args.prompt_tokens == 0 || args.generate_tokens == 0 || args.runs == 0 {
        return Err(mlx_engine::Error::invalid_argument("tokens and runs must be at least 1").into());
    }
    memory::reset_peak();
    let model = load(&args.model, false)?;
    // The same arbitrary tokens each time; what they mean does not change the work.
    let vocab_size = model.info().vocab_size as usize;
    let prompt: Vec<u32> = (0..args.prompt_tokens).map(|i| ((i * 7919 + 13) % vocab_size) as u32).collect();
    let options = || GenerateOptions { max_tokens: Some(args.generate_tokens), ignore_eos: true, ..Default::default() };
    let run = || -> Result<GenerationStats> {
        stream(&model, prompt.clone(), GenerateOptions { max_context: Some(i32::MAX), ..options() }, |_| Ok(()))
    };
    let first = run()?;
    let runs = (0..args.runs).map(|_| run()).collect::<Result<Vec<_>>>()?;
    let middle = |f: fn(&GenerationStats) -> f64| median(runs.iter().map(f).collect());
    let prompt_rate = middle(|s| s.prompt_tokens_per_second);
    let decode_rate = middle(|s| s.generation_tokens_per_second);
    let first_token = middle(|s| s.time_to_first_token.unwrap_or(f64::NAN));
    let load_seconds = model.info().load_seconds;
    if args.json {
        println!(
            "{}",
            json!({
                "prompt_tokens": args.prompt_tokens,
                "generated_tokens": args.generate_tokens,
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
    println!("load                 {load_seconds:.3} s");
    println!("time to first token  {first_token:.4} s  ({} tokens)", args.prompt_tokens);
    println!("prefill              {prompt_rate:.1} tokens/s");
    println!("decode               {decode_rate:.1} tokens/s");
    println!("peak memory          {}", indicatif::HumanBytes(memory::peak() as u64));
    Ok(())
}
