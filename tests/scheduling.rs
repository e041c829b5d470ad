//! Which generations are begun, and what those under way notice of it.

mod support;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use mlx_engine::ErrorKind;
use mlx_engine::array::Device;
use mlx_engine::engine::{Control, Engine, EngineOptions, Model, Task};
use mlx_engine::generate::{GenerateOptions, GenerationEvent, GenerationStats, StopReason};
use mlx_engine::load::ModelConfiguration;
use support::{load, tokens};

/// A model on an engine of its own, which keeps nothing of earlier prompts.
fn model(options: EngineOptions) -> Model {
    let options = EngineOptions { device: Some(Device::Cpu), prefix_bytes: Some(0), ..options };
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen3");
    load(&Engine::new(&options).unwrap(), ModelConfiguration::directory(folder)).unwrap()
}

/// Tokens of some prompt.
fn prompt(model: &Model, length: usize) -> Vec<u32> {
    let some = model.tokenizer().unwrap().encode_prompt("Once upon a time there was a little girl.").unwrap();
    some.into_iter().cycle().take(length).collect()
}

fn answer(n: u32) -> GenerateOptions {
    GenerateOptions { max_tokens: Some(n), ignore_eos: true, max_context: Some(1 << 20), ..Default::default() }
}

/// What a generation said: its number, and how many tokens of its prompt were processed, or none for a token.
type Said = (usize, Option<usize>);

fn start(
    model: &Model,
    number: usize,
    prompt: Vec<u32>,
    options: GenerateOptions,
    said: &Sender<Said>,
) -> Task<GenerationStats> {
    let said = said.clone();
    let observer = move |event: &GenerationEvent| {
        let _ = match event {
            GenerationEvent::Prefill { processed, .. } => said.send((number, Some(*processed))),
            GenerationEvent::Token { .. } => said.send((number, None)),
            GenerationEvent::Text { .. } => Ok(()),
        };
        Control::Continue
    };
    model.generate(prompt, options, observer).unwrap()
}

/// A generation that stops in its first token until it is released, so that others can be started behind it.
fn blocked(model: &Model) -> (Task<GenerationStats>, Sender<()>) {
    let (release, released) = channel::<()>();
    let (reached, is_reached) = channel();
    let mut first = true;
    let observer = move |event: &GenerationEvent| {
        if matches!(event, GenerationEvent::Token { .. }) && std::mem::take(&mut first) {
            reached.send(()).unwrap();
            let _ = released.recv();
        }
        Control::Continue
    };
    let task = model.generate(prompt(model, 4), answer(1), observer).unwrap();
    is_reached.recv().unwrap();
    (task, release)
}

/// The order in which generations got their first tokens.
fn first_tokens(heard: &Receiver<Said>) -> Vec<usize> {
    let mut order = Vec::new();
    for (number, processed) in heard.try_iter() {
        if processed.is_none() && !order.contains(&number) {
            order.push(number);
        }
    }
    order
}

#[test]
fn prompts_are_processed_one_after_the_other() {
    let model = model(EngineOptions::default());
    let (said, heard) = channel();
    let (first, release) = blocked(&model);
    let tasks: Vec<_> = (0..12).map(|i| start(&model, i, prompt(&model, 300), answer(2), &said)).collect();
    assert!(model.engine().queued() >= 11);
    drop(release);
    first.wait().unwrap();
    let stats: Vec<_> = tasks.iter().map(|task| task.wait().unwrap()).collect();
    assert_eq!(model.engine().queued(), 0);
    let all: Vec<Said> = heard.try_iter().collect();
    // No prompt is begun before the one before it is processed.
    let prompts: Vec<usize> =
        all.iter().filter_map(|(i, processed)| processed.is_some_and(|n| n < 300).then_some(*i)).collect();
    assert!(prompts.is_sorted(), "{prompts:?}");
    assert!(stats.windows(2).all(|pair| pair[0].queue_seconds <= pair[1].queue_seconds));
    for s in &stats {
        assert_eq!((s.prompt_tokens, s.generated_tokens), (300, 2));
        let first = s.time_to_first_token.unwrap();
        assert!(first >= s.queue_seconds + s.prompt_seconds * 0.99, "{s:?}");
    }
    // The rate is that of a prompt alone, not that of all of them.
    let last = stats.last().unwrap();
    assert!(last.prompt_seconds < last.queue_seconds, "{last:?}");
}

#[test]
fn the_higher_priority_is_served_first() {
    let model = model(EngineOptions::default());
    let (said, heard) = channel();
    let (first, release) = blocked(&model);
    let priorities = [0, -1, 5, 0, 5, i32::MAX, i32::MIN];
    let tasks: Vec<_> = (0..)
        .zip(priorities)
        .map(|(i, priority)| {
            let options = GenerateOptions { priority: Some(priority), ..answer(1) };
            start(&model, i, prompt(&model, 40), options, &said)
        })
        .collect();
    drop(release);
    first.wait().unwrap();
    tasks.iter().for_each(|task| assert_eq!(task.wait().unwrap().generated_tokens, 1));
    assert_eq!(first_tokens(&heard), [5, 2, 4, 0, 3, 1, 6]);
}

#[test]
fn a_higher_priority_does_not_wait_for_a_long_prompt() {
    let model = model(EngineOptions::default());
    let (said, heard) = channel();
    let long = start(&model, 0, prompt(&model, 2000), answer(1), &said);
    assert_eq!(heard.recv().unwrap().0, 0);
    let options = GenerateOptions { priority: Some(1), ..answer(1) };
    let short = start(&model, 1, prompt(&model, 10), options, &said);
    short.wait().unwrap();
    assert!(!long.is_done());
    assert_eq!(long.wait().unwrap().prompt_tokens, 2000);
    assert_eq!(first_tokens(&heard), [1, 0]);
}

#[test]
fn a_full_queue_refuses() {
    let model = model(EngineOptions { max_queue: Some(3), ..Default::default() });
    let (said, _heard) = channel();
    let (first, release) = blocked(&model);
    let waiting: Vec<_> = (0..3).map(|i| start(&model, i, prompt(&model, 10), answer(1), &said)).collect();
    let refused = model.generate(prompt(&model, 10), answer(1), |_: &GenerationEvent| Control::Continue);
    let error = refused.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.message().contains("max_queue"), "{error}");
    // Whoever gives up makes room.
    waiting[1].cancel();
    drop(release);
    first.wait().unwrap();
    let stats: Vec<_> = waiting.iter().map(|task| task.wait().unwrap()).collect();
    assert_eq!(stats[1].stop_reason, StopReason::Cancelled);
    assert_eq!(stats[0].stop_reason, StopReason::Length);
    start(&model, 3, prompt(&model, 10), answer(1), &said).wait().unwrap();
}

#[test]
fn time_ends_those_that_wait_and_those_that_answer() {
    let model = model(EngineOptions { max_sequences: Some(1), ..Default::default() });
    let (said, heard) = channel();
    let timeout = |seconds, n| GenerateOptions { timeout_seconds: Some(seconds), ..answer(n) };
    let long = start(&model, 0, prompt(&model, 10), timeout(0.4, 1_000_000), &said);
    assert_eq!(heard.recv().unwrap().0, 0);
    let begun = Instant::now();
    let waiting = start(&model, 1, prompt(&model, 10), timeout(0.05, 1), &said).wait().unwrap();
    assert_eq!((waiting.stop_reason, waiting.generated_tokens), (StopReason::Timeout, 0));
    assert!(waiting.queue_seconds >= 0.05 && begun.elapsed() < Duration::from_secs(5), "{waiting:?}");
    let long = long.wait().unwrap();
    assert_eq!(long.stop_reason, StopReason::Timeout);
    assert!(long.generated_tokens > 0);
    // So does the time that cannot be represented, namely never.
    assert_eq!(start(&model, 2, prompt(&model, 4), timeout(f32::MAX, 2), &said).wait().unwrap().generated_tokens, 2);
    let invalid = model.generate(prompt(&model, 4), timeout(0.0, 2), |_: &GenerationEvent| Control::Continue);
    assert_eq!(invalid.err().unwrap().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn no_more_sequences_than_allowed_hold_state() {
    let model = model(EngineOptions { max_sequences: Some(2), ..Default::default() });
    let (said, heard) = channel();
    let tasks: Vec<_> = (0..6).map(|i| start(&model, i, prompt(&model, 20), answer(20), &said)).collect();
    tasks.iter().for_each(|task| assert_eq!(task.wait().unwrap().generated_tokens, 20));
    let mut left = [20; 6];
    let mut running = Vec::new();
    for (i, processed) in heard.try_iter() {
        if !running.contains(&i) {
            running.push(i);
            assert!(running.len() <= 2, "{running:?}");
        }
        if processed.is_none() {
            left[i] -= 1;
            running.retain(|j| *j != i || left[i] > 0);
        }
    }
}

/// Tokens of an answer between chunks of another's prompt. The answer is as it is alone.
fn tokens_within_a_prompt(gap: f32) -> Vec<usize> {
    let model = model(EngineOptions { token_gap_seconds: Some(gap), ..Default::default() });
    let (long, short) = (prompt(&model, 1000), prompt(&model, 10));
    let alone = tokens(&model, &short, answer(200));
    let (said, heard) = channel();
    let mut got = Vec::new();
    let (send, receive) = channel();
    let count = said.clone();
    let task = model
        .generate(short, answer(200), move |event: &GenerationEvent| {
            if let GenerationEvent::Token { token, .. } = event {
                send.send(token.id).unwrap();
                let _ = count.send((0, None));
            }
            Control::Continue
        })
        .unwrap();
    got.push(receive.recv().unwrap());
    let other = start(&model, 1, long, answer(5), &said);
    other.wait().unwrap();
    task.wait().unwrap();
    got.extend(receive.try_iter());
    assert_eq!(got, alone);
    assert_eq!(other.wait().unwrap().generated_tokens, 5);
    let mut counts = vec![0];
    for (number, processed) in heard.try_iter() {
        match (number, processed) {
            (1, Some(_)) => counts.push(0),
            (0, None) => *counts.last_mut().unwrap() += 1,
            _ => {}
        }
    }
    counts
}

#[test]
fn answers_go_on_within_a_chunk() {
    // With no gap at all there is a token after each of the model's layers; with a long one, after each chunk.
    let layers = 4;
    assert!(tokens_within_a_prompt(0.0)[1..].iter().any(|n| *n >= layers), "{:?}", tokens_within_a_prompt(0.0));
    let counts = tokens_within_a_prompt(1000.0);
    assert!(counts[1..7].iter().all(|n| *n <= 1), "{counts:?}");
}
