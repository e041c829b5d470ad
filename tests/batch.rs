//! Sequences that are decoded together get what they get alone.

mod support;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use mlx_engine::ErrorKind;
use mlx_engine::array::{Array, Device, Dtype, set_device};
use mlx_engine::cache::{Cache, CacheOptions, KvQuantization, Layout};
use mlx_engine::engine::{Control, Engine, EngineOptions, Model, Task};
use mlx_engine::generate::{GenerateOptions, GenerationEvent, GenerationStats, StopReason};
use mlx_engine::load::ModelConfiguration;
use mlx_engine::models::{Inputs, LanguageModel};
use once_cell::sync::Lazy;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::fixture::{cases, relative_error};
use support::{TempDir, load, network, write_case};

// The models themselves, on this thread.

/// The logits after these tokens, one row per sequence.
fn step(network: &dyn LanguageModel, tokens: &[u32], cache: &mut Cache) -> Vec<f32> {
    let tokens = Array::from_slice(tokens, &[tokens.len() as i32, 1]).unwrap();
    let logits = network.logits(&network.forward(&Inputs::tokens(tokens), cache).unwrap().hidden).unwrap();
    cache.settle().unwrap();
    logits.astype(Dtype::F32).unwrap().to_vec().unwrap()
}

/// The cache after a prompt, perhaps an empty one.
fn prefilled(network: &dyn LanguageModel, prompt: &[u32], options: &CacheOptions) -> Cache {
    let mut cache = network.new_cache(options).unwrap();
    if !prompt.is_empty() {
        let tokens = Array::from_slice(prompt, &[1, prompt.len() as i32]).unwrap();
        network.forward(&Inputs::tokens(tokens), &mut cache).unwrap();
        cache.settle().unwrap();
    }
    cache
}

/// Joins and leaves at random; every step of every sequence is compared with the same sequence alone.
fn shuffle(case: &str, layout: Layout, options: &CacheOptions, steps: usize) -> Result<(), String> {
    let dir = TempDir::new("batch");
    let recipe = write_case(case, dir.path(), 1);
    let network = &*network(&recipe, dir.path());
    let vocabulary = network.vocab_size() as u32;
    // Streams that predict each other add to rounding.
    let most = if case.starts_with("gemma3n") { 2e-4 } else { 1e-5 };
    let mut rng = StdRng::seed_from_u64(case.len() as u64);
    let mut alone: Vec<Cache> = Vec::new();
    let mut together: Option<Cache> = None;
    for at in 0..steps {
        if alone.len() < 2 || (alone.len() < 6 && rng.random_range(0..3) == 0) {
            // Some begin with nothing.
            let length = if rng.random_range(0..4) == 0 { 0 } else { rng.random_range(1..recipe.prompt.len()) };
            let cache = || prefilled(network, &recipe.prompt[..length], options);
            alone.push(cache());
            match &mut together {
                None => together = Some(cache()),
                Some(all) => all.push(cache(), layout).unwrap(),
            }
        }
        let all = together.as_mut().unwrap();
        let tokens: Vec<u32> = alone.iter().map(|_| rng.random_range(0..vocabulary)).collect();
        let want: Vec<f32> = alone.iter_mut().zip(&tokens).flat_map(|(cache, t)| step(network, &[*t], cache)).collect();
        let got = step(network, &tokens, all);
        match layout {
            Layout::Rows if got != want => return Err(format!("step {at} of {} differs", alone.len())),
            Layout::Aligned if relative_error(&got, &want).is_nan() || relative_error(&got, &want) > most => {
                return Err(format!("step {at} of {} is off by {:.1e}", alone.len(), relative_error(&got, &want)));
            }
            _ => {}
        }
        if alone.len() > 1 && rng.random_range(0..4) == 0 {
            let row = rng.random_range(0..alone.len());
            let mut lone = alone.remove(row);
            // Whoever leaves can go on alone.
            let mut left = all.remove(row).unwrap();
            let (got, want) = (step(network, &[1], &mut left), step(network, &[1], &mut lone));
            if relative_error(&got, &want).is_nan() || relative_error(&got, &want) > most {
                return Err(format!("after leaving in step {at}: off by {:.1e}", relative_error(&got, &want)));
            }
        }
        let positions: Vec<i32> = alone.iter().map(Cache::position).collect();
        assert_eq!(all.positions(), positions, "{case}");
    }
    Ok(())
}

fn each_case(layout: Layout, steps: usize) {
    set_device(Device::Cpu).unwrap();
    let shuffled = |case: &String| shuffle(case, layout, &CacheOptions::default(), steps).err();
    let failures: Vec<String> = cases().iter().filter_map(|c| Some(format!("{c}: {}", shuffled(c)?))).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn rows_of_every_architecture_are_exactly_as_if_alone() {
    each_case(Layout::Rows, 12);
}

#[test]
fn aligned_caches_of_every_architecture_are_as_if_alone() {
    each_case(Layout::Aligned, 12);
}

/// Long enough for buffers to grow and for windows to be cut.
#[test]
fn long_sequences() {
    set_device(Device::Cpu).unwrap();
    for case in ["qwen3", "gemma3_text", "llama-sliding", "gemma3n", "gemma4_text", "lfm2", "nanbeige"] {
        for layout in [Layout::Rows, Layout::Aligned] {
            shuffle(case, layout, &CacheOptions::default(), 600).unwrap_or_else(|why| panic!("{case}: {why}"));
        }
    }
}

#[test]
fn other_kinds_of_caches_are_exactly_as_if_alone() {
    set_device(Device::Cpu).unwrap();
    let quantization = |start| Some(KvQuantization { bits: 4, group_size: 32, start });
    let bounded = CacheOptions { max_kv_size: Some(12), ..Default::default() };
    let kinds = [0, 9].map(|start| CacheOptions { quantization: quantization(start), ..Default::default() });
    for options in kinds.into_iter().chain([bounded]) {
        // None of these is aligned.
        for layout in [Layout::Rows, Layout::Aligned] {
            let case = if options.quantization.is_some() { "llama-kv4" } else { "qwen3" };
            let result = shuffle(case, layout, &options, 60);
            result.unwrap_or_else(|why| panic!("{options:?}, {layout:?}: {why}"));
        }
    }
}

// The engine.

fn engine(max_batch: u32) -> Engine {
    let (device, max_batch, prefix_bytes) = (Some(Device::Cpu), Some(max_batch), Some(0));
    Engine::new(&EngineOptions { device, max_batch, prefix_bytes, ..Default::default() }).unwrap()
}

fn trained() -> ModelConfiguration {
    ModelConfiguration::directory(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen3"))
}

/// A model whose engine decodes one sequence at a time, and one whose engine decodes four.
static MODELS: Lazy<(Model, Model)> =
    Lazy::new(|| (load(&engine(1), trained()).unwrap(), load(&engine(4), trained()).unwrap()));

fn encode(text: &str) -> Vec<u32> {
    MODELS.0.tokenizer().unwrap().encode_prompt(text).unwrap()
}

/// What a stream said: its number and the event.
type Said = (usize, GenerationEvent);

fn start(model: &Model, number: usize, (prompt, options): &Job, sender: &Sender<Said>) -> Task<GenerationStats> {
    let sender = sender.clone();
    let observer = move |event: &GenerationEvent| {
        sender.send((number, event.clone())).unwrap();
        Control::Continue
    };
    model.generate(prompt.clone(), options.clone(), observer).unwrap()
}

type Job = (Vec<u32>, GenerateOptions);

#[derive(Debug, Default, PartialEq)]
struct Answer {
    tokens: Vec<(u32, Option<f32>)>,
    text: String,
    end: Option<(StopReason, usize, usize)>,
}

/// Runs all jobs at once, or one after the other.
fn answers(model: &Model, jobs: &[Job], together: bool) -> Vec<Answer> {
    let (sender, receiver) = channel();
    let mut answers: HashMap<usize, Answer> = HashMap::new();
    let mut tasks = Vec::new();
    for (i, job) in jobs.iter().enumerate() {
        tasks.push(start(model, i, job, &sender));
        if !together {
            tasks[i].wait().unwrap();
        }
    }
    drop(sender);
    for (i, event) in receiver {
        let answer = answers.entry(i).or_default();
        match event {
            GenerationEvent::Token { token, text } => {
                answer.tokens.push((token.id, token.logprob));
                answer.text += &text;
            }
            GenerationEvent::Text { text } => answer.text += &text,
            GenerationEvent::Prefill { .. } => {}
        }
    }
    let ends = tasks.iter().map(|task| task.wait().unwrap());
    ends.enumerate()
        .map(|(i, stats)| Answer {
            end: Some((stats.stop_reason, stats.prompt_tokens, stats.generated_tokens)),
            ..answers.remove(&i).unwrap_or_default()
        })
        .collect()
}

/// Requests of all kinds and lengths.
fn jobs() -> Vec<Job> {
    let texts =
        ["Tell me a story.", "Hi", "What is the capital of Italy?", "word word word word", "Say hello in Japanese."];
    let limited = |n| GenerateOptions { max_tokens: Some(n), ignore_eos: n % 2 == 0, ..Default::default() };
    (0..20)
        .map(|i| {
            let mut options = limited(3 + i as u32 * 7 % 50);
            match i % 7 {
                2 => (options.temperature, options.top_p, options.seed) = (Some(1.2), Some(0.95), Some(i)),
                3 => options.repetition_penalty = Some(1.2),
                4 => options.logprobs = Some(2),
                5 => {
                    (options.kv_bits, options.kv_group_size, options.quantized_kv_start) = (Some(8), Some(32), Some(20))
                }
                6 => options.stop = vec![" the".into()],
                _ => {}
            }
            if i % 3 == 1 {
                (options.prompt_lookup_tokens, options.prompt_lookup_ngram) = (Some(5), Some(2));
            }
            let prompt = encode(&texts[i as usize % 5].repeat(1 + i as usize % 4 * 9));
            (if i == 11 { prompt[..1].to_vec() } else { prompt }, options)
        })
        .collect()
}

#[test]
fn answers_are_those_of_each_alone() {
    let (single, batched) = &*MODELS;
    let jobs = jobs();
    let one_by_one = |o: &GenerateOptions| GenerateOptions { prompt_lookup_tokens: None, ..o.clone() };
    let plain: Vec<Job> = jobs.iter().map(|(p, o)| (p.clone(), one_by_one(o))).collect();
    let want = answers(single, &plain, false);
    assert!(want.iter().any(|a| a.end.unwrap().0 == StopReason::StopString));
    for (i, (got, want)) in answers(batched, &jobs, true).iter().zip(&want).enumerate() {
        assert_eq!(got, want, "job {i}");
    }
    // One after the other is the same as well.
    assert!(answers(single, &jobs, true) == want);
}

#[test]
fn staggered_starts_cancels_and_panics_leave_the_others_alone() {
    let jobs = jobs();
    let want = answers(&MODELS.0, &jobs, false);
    let model = load(&engine(4), trained()).unwrap();
    let mut rng = StdRng::seed_from_u64(3);
    let (mut running, mut events) = (Vec::new(), 0);
    for round in 0..60 {
        let i = rng.random_range(0..jobs.len());
        let (prompt, options) = jobs[i].clone();
        let cancel_at = if round % 3 == 0 { rng.random_range(1..12) } else { usize::MAX };
        let (sender, receiver) = channel();
        let mut heard = 0;
        let observer = move |event: &GenerationEvent| {
            let GenerationEvent::Token { token, .. } = event else { return Control::Continue };
            sender.send(token.id).unwrap();
            heard += 1;
            if heard == cancel_at { Control::Cancel } else { Control::Continue }
        };
        running.push((i, cancel_at, receiver, model.generate(prompt, options, observer).unwrap()));
        // By events, not by time: the next one starts when this one, or an earlier one, has come so far.
        if let Some((_, _, receiver, _)) = running.get(rng.random_range(0..running.len())) {
            events += usize::from(receiver.recv().is_ok());
        }
    }
    assert!(events > 0);
    let mut cancelled = 0;
    for (i, cancel_at, receiver, task) in running {
        let stats = task.wait().unwrap();
        let rest: Vec<u32> = receiver.iter().collect();
        let tokens: Vec<u32> = want[i].tokens.iter().map(|(id, _)| *id).collect();
        let n = stats.generated_tokens;
        assert!(tokens[..n].ends_with(&rest), "job {i}: {rest:?} of {tokens:?}");
        match stats.stop_reason {
            StopReason::Cancelled => assert_eq!(n, cancel_at),
            _ => assert_eq!(Some((stats.stop_reason, stats.prompt_tokens, n)), want[i].end, "job {i}"),
        }
        cancelled += usize::from(stats.stop_reason == StopReason::Cancelled);
    }
    assert!(cancelled > 5, "{cancelled}");

    // The last use of this model: an observer that panics.
    let (sender, receiver) = channel();
    let others: Vec<Task<GenerationStats>> = (0..3).map(|i| start(&model, i, &jobs[0], &sender)).collect();
    let options = GenerateOptions { max_tokens: Some(2), ignore_eos: true, ..Default::default() };
    let broken = model.generate(encode("Hi"), options, |event: &GenerationEvent| -> Control {
        assert!(matches!(event, GenerationEvent::Prefill { .. }), "the test's own panic");
        Control::Continue
    });
    assert_eq!(broken.unwrap().wait().unwrap_err().kind(), ErrorKind::Panic);
    for task in others {
        assert_eq!(task.wait().unwrap().generated_tokens, want[0].end.unwrap().2);
    }
    drop((receiver, sender));
}

/// Counted by events: `name` and whether it was a token.
type Order = Arc<Mutex<Vec<(char, bool)>>>;

fn noted(
    model: &Model,
    order: &Order,
    name: char,
    prompt: Vec<u32>,
    options: GenerateOptions,
) -> Task<GenerationStats> {
    let order = order.clone();
    let observer = move |event: &GenerationEvent| {
        order.lock().unwrap().push((name, matches!(event, GenerationEvent::Token { .. })));
        Control::Continue
    };
    model.generate(prompt, options, observer).unwrap()
}

#[test]
fn streams_share_the_engine_fairly() {
    let options = |n| GenerateOptions {
        max_tokens: Some(n),
        ignore_eos: true,
        prefill_step_size: Some(16),
        max_context: Some(4096),
        ..Default::default()
    };
    let two = load(&MODELS.1.engine().clone(), trained()).unwrap();
    for (model, other) in [(&MODELS.0, &MODELS.0), (&MODELS.1, &MODELS.1), (&MODELS.1, &two)] {
        let order = Order::default();
        let a = noted(model, &order, 'a', encode("Tell me a story."), options(120));
        while !order.lock().unwrap().contains(&('a', true)) {
            std::thread::yield_now();
        }
        let long = encode(&"word ".repeat(200));
        let chunks = (long.len() - 1).div_ceil(16);
        let b = noted(other, &order, 'b', long, options(40));
        a.wait().unwrap();
        b.wait().unwrap();
        let order = order.lock().unwrap();
        // While the prompt of b is processed, a gets a token a chunk.
        let first = order.iter().position(|&o| o == ('b', false)).unwrap();
        let last = order.iter().position(|&o| o == ('b', true)).unwrap();
        let between = order[first..last].iter().filter(|&&o| o == ('a', true)).count();
        assert!(between + 2 >= chunks.min(100), "{between} tokens in {chunks} chunks");
        // Then both get as many.
        let both = &order[last..];
        let end = both.iter().rposition(|&(name, _)| name == if both.ends_with(&[('a', true)]) { 'b' } else { 'a' });
        let both = &both[..end.unwrap_or(0)];
        let count = |name| both.iter().filter(|&&o| o == (name, true)).count();
        assert!(count('a').abs_diff(count('b')) <= 3, "{} and {}", count('a'), count('b'));
    }
}

#[test]
fn a_batch_of_nothing_is_refused() {
    let options = EngineOptions { device: Some(Device::Cpu), max_batch: Some(0), ..Default::default() };
    assert_eq!(Engine::new(&options).err().unwrap().kind(), ErrorKind::InvalidArgument);
}
