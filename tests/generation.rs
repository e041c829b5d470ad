//! Generation with the small trained model in tests/fixtures/tiny-qwen3.

mod support;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mlx_engine::ErrorKind;
use mlx_engine::chat::ChatSession;
use mlx_engine::engine::{Control, Engine, Model, Observer, ScoreEvent};
use mlx_engine::generate::{GenerateOptions, GenerationEvent, GenerationStats, Guides, LogprobsMode, StopReason};
use mlx_engine::load::ModelConfiguration;
use once_cell::sync::Lazy;
use serde_json::{Value, json};
use support::{cpu_engine, load};

fn fixture() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen3")
}

static SHARED: Lazy<(Engine, Model)> = Lazy::new(|| {
    let engine = cpu_engine();
    let model = load(&engine, ModelConfiguration::directory(fixture())).unwrap();
    (engine, model)
});

fn model() -> &'static Model {
    &SHARED.1
}

/// The prompt of one question.
fn prompt(question: &str) -> Vec<u32> {
    let mut session = ChatSession::new(model().tokenizer().unwrap().clone()).unwrap();
    session.push("user", question);
    session.prompt().unwrap()
}

struct Answer {
    text: String,
    tokens: Vec<u32>,
    stats: GenerationStats,
    events: Vec<GenerationEvent>,
}

fn answer(prompt: Vec<u32>, options: GenerateOptions) -> Answer {
    let (sender, receiver) = channel();
    let task = model()
        .generate(prompt, options, move |event: &GenerationEvent| {
            sender.send(event.clone()).unwrap();
            Control::Continue
        })
        .unwrap();
    let stats = task.wait().unwrap();
    let events: Vec<GenerationEvent> = receiver.iter().collect();
    let (mut text, mut tokens) = (String::new(), Vec::new());
    for event in &events {
        match event {
            GenerationEvent::Token { token, text: piece } => {
                tokens.push(token.id);
                text += piece;
            }
            GenerationEvent::Text { text: piece } => text += piece,
            GenerationEvent::Prefill { .. } => {}
        }
    }
    Answer { text, tokens, stats, events }
}

fn limited(max_tokens: u32) -> GenerateOptions {
    GenerateOptions { max_tokens: Some(max_tokens), ..Default::default() }
}

fn sampled(temperature: f32) -> GenerateOptions {
    GenerateOptions { max_tokens: Some(48), ignore_eos: true, temperature: Some(temperature), ..Default::default() }
}

#[test]
fn special_tokens_are_text_unless_skipped() {
    let end = model().tokenizer().unwrap().eos_token().unwrap().to_owned();
    let with = |skip_special_tokens| {
        let options = GenerateOptions { max_tokens: Some(60), ignore_eos: true, ..Default::default() };
        answer(prompt("What is the capital of France?"), GenerateOptions { skip_special_tokens, ..options })
    };
    let (kept, skipped) = (with(false), with(true));
    assert_eq!(kept.tokens, skipped.tokens);
    assert!(kept.text.contains(&end), "{:?}", kept.text);
    assert!(!skipped.text.contains(&end), "{:?}", skipped.text);
    // The token that ends an answer is no part of it.
    assert!(!answer(prompt("What is the capital of France?"), limited(60)).text.contains(&end));
}

#[test]
fn the_model_answers_its_questions() {
    let text = std::fs::read_to_string(fixture().join("questions.json")).unwrap();
    let questions: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(questions.len() >= 40);
    let mut wrong = Vec::new();
    for question in &questions {
        let mut session = ChatSession::new(model().tokenizer().unwrap().clone()).unwrap();
        session.restore(question["messages"].as_array().unwrap().clone());
        session.template.tools = question.get("tools").cloned();
        if let Some(thinking) = question.get("enable_thinking") {
            session.template.variables.insert("enable_thinking".into(), thinking.clone());
        }
        let max_tokens = question["max_tokens"].as_u64().unwrap() as u32;
        let answer = answer(session.prompt().unwrap(), limited(max_tokens));
        let expect = &question["expect"];
        let text = answer.text.trim();
        let said = match (expect["exact"].as_str(), expect["contains"].as_str()) {
            (Some(exact), _) => text == exact,
            (None, Some(part)) => text.contains(part),
            (None, None) => expect["contains"].as_array().unwrap().iter().all(|p| text.contains(p.as_str().unwrap())),
        };
        let ended = expect["finish"] != "stop" || answer.stats.stop_reason == StopReason::Eos;
        if !(said && ended) {
            wrong.push(format!("{}: {text:?}, expected {expect}", question["id"]));
        }
    }
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), questions.len(), wrong.join("\n"));
}

#[test]
fn streamed_text_is_the_decoded_tokens() {
    for question in ["Tell me a story.", "Say hello in Japanese.", "What is the capital of Peru?"] {
        let a = answer(prompt(question), limited(200));
        assert_eq!(a.text, model().tokenizer().unwrap().decode(&a.tokens, true).unwrap());
        assert_eq!(a.stats.generated_tokens, a.tokens.len());
        assert!(a.tokens.len() > 3);
    }
}

#[test]
fn statistics_and_prefill_add_up() {
    let tokens = prompt(&"word ".repeat(200));
    let n = tokens.len();
    let options = GenerateOptions { prefill_step_size: Some(64), ..limited(5) };
    let a = answer(tokens, options);
    let progress: Vec<usize> = a
        .events
        .iter()
        .filter_map(|e| match e {
            GenerationEvent::Prefill { processed, total } => {
                assert_eq!(*total, n);
                Some(*processed)
            }
            _ => None,
        })
        .collect();
    let mut want: Vec<usize> = (1..).map(|i| i * 64).take_while(|&p| p < n - 1).collect();
    want.extend([n - 1, n]);
    assert_eq!(progress, want);
    assert_eq!((a.stats.prompt_tokens, a.stats.generated_tokens), (n, 5));
    assert_eq!(a.stats.stop_reason, StopReason::Length);
    assert!(a.stats.time_to_first_token.unwrap() >= a.stats.prompt_seconds);
    assert!(a.stats.prompt_tokens_per_second > 0.0 && a.stats.generation_tokens_per_second > 0.0);
    assert!(a.stats.peak_memory_bytes as u64 > model().info().weight_bytes);
}

#[test]
fn stop_strings_end_the_answer_wherever_tokens_are_cut() {
    let whole = answer(prompt("Tell me a story."), limited(120)).text;
    let words: Vec<&str> = whole.split(' ').collect();
    for stop in [words[5], &whole[20..24], "no such text", &whole[whole.len() / 2..whole.len() / 2 + 9]] {
        let options = GenerateOptions { stop: vec![stop.to_owned()], ..limited(120) };
        let a = answer(prompt("Tell me a story."), options);
        match whole.find(stop) {
            Some(at) => {
                assert_eq!(a.text, whole[..at], "{stop:?}");
                assert_eq!(a.stats.stop_reason, StopReason::StopString);
            }
            None => assert_eq!((a.text, a.stats.stop_reason), (whole.clone(), StopReason::Length)),
        }
    }
}

#[test]
fn the_end_is_found_and_can_be_ignored() {
    let question = prompt("What is 7 plus 5?");
    let a = answer(question.clone(), GenerateOptions::default());
    assert_eq!(a.stats.stop_reason, StopReason::Eos);
    let eos = model().info().eos_token_ids.clone();
    assert!(!eos.is_empty() && !a.tokens.iter().any(|t| eos.contains(t)));
    let on = answer(question.clone(), GenerateOptions { ignore_eos: true, ..limited(40) });
    assert_eq!((on.tokens.len(), on.stats.stop_reason), (40, StopReason::Length));
    assert_eq!(on.tokens[..a.tokens.len()], a.tokens);
    // Any token can be made to end the answer.
    let extra = answer(question, GenerateOptions { extra_eos: vec![a.tokens[2]], ..Default::default() });
    assert_eq!(extra.stats.stop_reason, StopReason::Eos);
    assert!(extra.tokens.len() <= 2);
}

#[test]
fn the_context_is_enforced() {
    let question = prompt("Tell me a story.");
    let n = question.len();
    let options =
        |max_context| GenerateOptions { max_context: Some(max_context), ignore_eos: true, ..Default::default() };
    let a = answer(question.clone(), options(n as i32 + 10));
    assert_eq!(a.stats.stop_reason, StopReason::ContextFull);
    // Ten positions are left for tokens; one more can be chosen from the last.
    assert_eq!(a.tokens.len(), 11);
    let refused = |prompt: Vec<u32>, options: GenerateOptions| {
        model().generate(prompt, options, |_: &GenerationEvent| Control::Continue).err().unwrap().kind()
    };
    assert_eq!(refused(question.clone(), options(n as i32 - 1)), ErrorKind::ContextFull);
    let too_long = vec![1; model().info().context_length.unwrap() as usize + 1];
    assert_eq!(refused(too_long, limited(1)), ErrorKind::ContextFull);
    assert_eq!(refused(vec![], limited(1)), ErrorKind::InvalidArgument);
    assert_eq!(refused(vec![1_000_000], limited(1)), ErrorKind::InvalidArgument);
    let improbable = GenerateOptions { top_p: Some(7.0), ..Default::default() };
    assert_eq!(refused(vec![1], improbable), ErrorKind::InvalidArgument);
    assert_eq!(answer(question, limited(0)).stats.generated_tokens, 0);
}

#[test]
fn a_seed_fixes_the_text() {
    let options = |seed| GenerateOptions { top_p: Some(0.95), seed, ..sampled(1.3) };
    let run = |seed| answer(prompt("Tell me a story."), options(seed));
    let (a, b, c) = (run(Some(7)), run(Some(7)), run(Some(8)));
    assert_eq!(a.text, b.text);
    assert_ne!(a.text, c.text);
    assert_eq!(a.stats.seed, 7);
    // A seed that was drawn is reported, and gives the same text again.
    let free = run(None);
    assert_eq!(run(Some(free.stats.seed)).text, free.text);
}

/// Every sampler and penalty, through the whole engine.
#[test]
fn all_ways_of_choosing_run() {
    let base = || GenerateOptions { seed: Some(1), ..sampled(1.7) };
    let ways = [
        GenerateOptions { top_k: Some(5), ..base() },
        GenerateOptions { min_p: Some(0.1), ..base() },
        GenerateOptions { typical_p: Some(0.8), ..base() },
        GenerateOptions { top_n_sigma: Some(1.0), ..base() },
        GenerateOptions { xtc_probability: Some(0.5), xtc_threshold: Some(0.1), ..base() },
        GenerateOptions { dry_multiplier: Some(0.8), ..base() },
        GenerateOptions { mirostat_tau: Some(5.0), ..base() },
        GenerateOptions {
            repetition_penalty: Some(1.3),
            presence_penalty: Some(0.2),
            frequency_penalty: Some(0.2),
            ..base()
        },
        GenerateOptions { logprobs: Some(3), ..base() },
    ];
    let plain = answer(prompt("Tell me a story."), base()).tokens;
    let mut different = 0;
    for way in ways {
        let a = answer(prompt("Tell me a story."), way.clone());
        assert_eq!(a.tokens.len(), 48, "{way:?}");
        different += usize::from(a.tokens != plain);
    }
    assert!(different >= 6, "{different}");
}

#[test]
fn logprobs_describe_the_choice() {
    let question = prompt("What is the capital of Italy?");
    let a = answer(question.clone(), GenerateOptions { logprobs: Some(4), ..limited(6) });
    assert_eq!(a.tokens, answer(question.clone(), limited(6)).tokens, "asking does not change the answer");
    let logits = model().logits(question).unwrap().wait().unwrap();
    let last = &logits.values[(logits.rows - 1) * logits.columns..];
    let sum = last.iter().map(|v| f64::from(*v).exp()).sum::<f64>().ln();
    for (i, event) in a.events.iter().filter(|e| matches!(e, GenerationEvent::Token { .. })).enumerate() {
        let GenerationEvent::Token { token, .. } = event else { unreachable!() };
        assert_eq!(token.top.len(), 4);
        assert_eq!(token.top[0].0, token.id, "greedy takes the first");
        assert!(token.top.is_sorted_by(|a, b| a.1 >= b.1));
        if i == 0 {
            let want = f64::from(last[token.id as usize]) - sum;
            assert!((f64::from(token.logprob.unwrap()) - want).abs() < 1e-3);
        }
    }
}

/// A long answer, whose tokens were computed one by one: processed in chunks they have the same probabilities.
#[test]
fn scores_are_those_of_generated_tokens() {
    let question = prompt("Tell me a story.");
    let options =
        GenerateOptions { temperature: Some(1.0), seed: Some(3), ignore_eos: true, logprobs: Some(1), ..limited(300) };
    let a = answer(question.clone(), options);
    assert_eq!(a.tokens.len(), 300);
    let scores = model().score(question.clone(), a.tokens.clone()).unwrap().wait().unwrap();
    assert!(scores.logprobs.len() == 300 && scores.most_likely.len() == 300);
    let tokens = a.events.iter().filter_map(|e| match e {
        GenerationEvent::Token { token, .. } => Some(token),
        _ => None,
    });
    // The weights are 4-bit and the activations bf16, which rounds differently for one row and for many.
    let (mut total, mut agree, mut off) = (0.0, 0, 0.0);
    for (i, token) in tokens.enumerate() {
        let logprob = token.logprob.unwrap();
        assert!((scores.logprobs[i] - logprob).abs() < 0.2, "{i}: {} and {logprob}", scores.logprobs[i]);
        off += (scores.logprobs[i] - logprob).abs();
        agree += usize::from(scores.most_likely[i] == token.top[0].0);
        total += f64::from(logprob);
    }
    assert!(agree >= 290 && off < 300.0 * 0.02, "{agree} agree, {off} off");
    assert!((scores.total() - total).abs() < 3.0 && (scores.perplexity().ln() + scores.total() / 300.0).abs() < 1e-9);

    let all: Vec<u32> = question.iter().chain(&a.tokens).copied().collect();
    let whole = model().logits(all.clone()).unwrap().wait().unwrap();
    assert_eq!((whole.rows, whole.values.len()), (all.len(), all.len() * whole.columns));
    let positions = vec![0, 1, 126, 127, 128, 129, 255, 256, all.len() - 2];
    let heard = Arc::new(Mutex::new(Vec::new()));
    let events = heard.clone();
    let observer = move |event: &ScoreEvent| {
        events.lock().unwrap().push((event.processed, event.total));
        Control::Continue
    };
    let some = model().logits_at(all.clone(), positions.clone(), observer).unwrap().wait().unwrap();
    assert_eq!(some.rows, positions.len());
    for (row, position) in some.values.chunks_exact(some.columns).zip(positions) {
        let whole = &whole.values[position * whole.columns..][..whole.columns];
        assert!(row.iter().zip(whole).all(|(a, b)| (a - b).abs() < 0.3), "{position}");
    }
    // The last token is not needed.
    let total = all.len() - 1;
    assert_eq!(
        *heard.lock().unwrap(),
        (1..)
            .map(|i| (i * 128).min(total))
            .take_while(|n| *n < total)
            .chain([total])
            .map(|n| (n, total))
            .collect::<Vec<_>>()
    );
}

#[test]
fn scores_and_logits_check_their_arguments() {
    let kind = |result: mlx_engine::Result<()>| result.unwrap_err().kind();
    let score = |prompt: &[u32], more: &[u32]| kind(model().score(prompt.to_vec(), more.to_vec()).map(drop));
    let size = model().info().vocab_size as u32;
    assert_eq!(score(&[], &[1]), ErrorKind::InvalidArgument);
    assert_eq!(score(&[1], &[]), ErrorKind::InvalidArgument);
    assert_eq!(score(&[1], &[size]), ErrorKind::InvalidArgument);
    let context = model().info().context_length.unwrap() as usize;
    assert_eq!(score(&[1], &vec![1; context]), ErrorKind::ContextFull);
    let heard = |_: &ScoreEvent| Control::Continue;
    let at = |positions: &[usize]| kind(model().logits_at(vec![1, 2, 3], positions.to_vec(), heard).map(drop));
    for wrong in [&[][..], &[3], &[1, 1], &[2, 1]] {
        assert_eq!(at(wrong), ErrorKind::InvalidArgument, "{wrong:?}");
    }
    let task = model().score_observed(vec![1], vec![2; 400], |_: &ScoreEvent| Control::Cancel).unwrap();
    assert_eq!(task.wait().unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn logprobs_are_of_the_logits_asked_for() {
    let question = prompt("What is the capital of Italy?");
    let first = |options: GenerateOptions| {
        let options = GenerateOptions { logprobs: Some(3), seed: Some(1), ..options };
        let tokens = answer(question.clone(), GenerateOptions { max_tokens: Some(1), ..options }).events;
        let found = tokens.into_iter().find_map(|e| match e {
            GenerationEvent::Token { token, .. } => Some(token),
            _ => None,
        });
        found.unwrap()
    };
    let of = |mode| GenerateOptions { logprobs_mode: Some(mode), ..Default::default() };
    let plain = first(of(LogprobsMode::Raw));
    assert_eq!(plain, first(of(LogprobsMode::Processed)), "nothing changes the logits");
    assert_eq!(plain, first(GenerateOptions::default()));
    let certain = first(of(LogprobsMode::Sampled));
    assert_eq!((certain.id, certain.logprob, &certain.top[..]), (plain.id, Some(0.0), &[(plain.id, 0.0)][..]));

    // A bias that forbids the most likely token.
    let banned = |mode| first(GenerateOptions { logit_bias: [(plain.id, f32::NEG_INFINITY)].into(), ..of(mode) });
    let (raw, processed) = (banned(LogprobsMode::Raw), banned(LogprobsMode::Processed));
    assert_eq!((raw.id, processed.id), (plain.top[1].0, plain.top[1].0));
    assert_eq!((raw.logprob.unwrap(), &raw.top), (plain.top[1].1, &plain.top));
    let rest = (-plain.logprob.unwrap().exp()).ln_1p();
    assert!((processed.logprob.unwrap() - (plain.top[1].1 - rest)).abs() < 1e-3);
    assert!(processed.top.iter().all(|(id, _)| *id != plain.id));

    // Filters and temperature: two tokens, whose odds the temperature squares.
    let drawn = |mode| first(GenerateOptions { temperature: Some(0.5), top_k: Some(2), ..of(mode) });
    let sampled = drawn(LogprobsMode::Sampled);
    assert_eq!(sampled.top.iter().map(|t| t.0).collect::<Vec<_>>(), [plain.top[0].0, plain.top[1].0]);
    let mass: f32 = sampled.top.iter().map(|t| t.1.exp()).sum();
    let odds = (plain.top[0].1 - plain.top[1].1) * 2.0;
    assert!((mass - 1.0).abs() < 1e-4 && (sampled.top[0].1 - sampled.top[1].1 - odds).abs() < 1e-3, "{sampled:?}");
    let own = sampled.top.iter().find(|t| t.0 == sampled.id).unwrap();
    assert_eq!(sampled.logprob, Some(own.1));
    assert_eq!(drawn(LogprobsMode::Processed).top, plain.top);
}

/// Tokens of a generation with a sampler of its own.
fn sampled_by(
    options: GenerateOptions,
    sampler: impl FnMut(&[f32], &[u32]) -> mlx_engine::Result<u32> + Send + 'static,
) -> mlx_engine::engine::Task<GenerationStats> {
    let guides = Guides { sampler: Some(Box::new(sampler)), ..Default::default() };
    let observer = |_: &GenerationEvent| Control::Continue;
    model().generate_guided(prompt("Tell me a story."), options, guides, observer).unwrap()
}

fn largest(logits: &[f32]) -> u32 {
    let first = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
    (0..logits.len()).fold(0, first) as u32
}

#[test]
fn samplers_of_ones_own_choose() {
    let question = prompt("Tell me a story.");
    let plain = answer(question.clone(), limited(60)).tokens;
    // Beside others, with and without speculation: it sees each history once, and gives the tokens of the argmax.
    for lookup in [None, Some(6)] {
        let histories = Arc::new(Mutex::new(Vec::new()));
        let seen = histories.clone();
        let options = GenerateOptions { prompt_lookup_tokens: lookup, ..limited(60) };
        let other = model().generate(question.clone(), limited(60), |_: &GenerationEvent| Control::Continue).unwrap();
        let task = sampled_by(options, move |logits, history| {
            assert_eq!(logits.len(), 2048);
            seen.lock().unwrap().push(history.to_vec());
            Ok(largest(logits))
        });
        assert_eq!(task.wait().unwrap().generated_tokens, plain.len());
        assert_eq!(other.wait().unwrap().generated_tokens, plain.len());
        let histories = histories.lock().unwrap();
        for (n, history) in histories.iter().enumerate() {
            assert_eq!(*history, [&question[..], &plain[..n]].concat(), "{lookup:?}");
        }
        assert!(histories.len() >= plain.len());
    }
    // What options forbid is forbidden to it.
    let options = GenerateOptions { logit_bias: [(plain[0], f32::NEG_INFINITY)].into(), ..limited(1) };
    let banned = plain[0];
    let task = sampled_by(options, move |logits, _| {
        assert_eq!(logits[banned as usize], f32::NEG_INFINITY);
        Ok(largest(logits))
    });
    task.wait().unwrap();
}

#[test]
fn samplers_that_fail_end_their_generation_alone() {
    let failing = [
        sampled_by(limited(60), |_, history| match history.len() % 7 {
            0 => Err(mlx_engine::Error::new(ErrorKind::Busy, "the test's own error")),
            _ => Ok(9),
        }),
        sampled_by(GenerateOptions { ignore_eos: true, ..limited(60) }, |_, _| Ok(2048)),
    ];
    let good = answer(prompt("Tell me a story."), limited(60));
    assert_eq!(good.stats.stop_reason, answer(prompt("Tell me a story."), limited(60)).stats.stop_reason);
    let errors = failing.map(|task| task.wait().unwrap_err());
    assert_eq!((errors[0].kind(), errors[1].kind()), (ErrorKind::Busy, ErrorKind::InvalidArgument));
    assert!(errors[0].message().contains("the test's own error") && errors[1].message().contains("token 2048"));
}

#[test]
fn biases_force_and_forbid() {
    let question = prompt("What is the capital of Italy?");
    let plain = answer(question.clone(), limited(4)).tokens;
    let biased = |token, bias| {
        answer(question.clone(), GenerateOptions { logit_bias: [(token, bias)].into(), ..limited(4) }).tokens
    };
    assert_eq!(biased(99, 1000.0), [99; 4]);
    assert_ne!(biased(plain[0], -1000.0)[0], plain[0]);
}

#[test]
fn caches_can_be_small() {
    let question = prompt("Tell me a story.");
    let plain = answer(question.clone(), limited(60));
    let with = |options| answer(question.clone(), GenerateOptions { max_tokens: Some(60), ..options });
    let quantized = |bits, group_size, start| GenerateOptions {
        kv_bits: Some(bits),
        kv_group_size: Some(group_size),
        quantized_kv_start: Some(start),
        ..Default::default()
    };
    let bounded = |size| GenerateOptions { max_kv_size: Some(size), ..Default::default() };
    // Eight bits lose next to nothing; a start that is never reached loses nothing.
    assert_eq!(with(quantized(8, 32, 0)).text[..60], plain.text[..60]);
    assert_eq!(with(quantized(4, 64, 10_000)).text, plain.text);
    assert_eq!(with(quantized(4, 64, 0)).tokens.len(), plain.tokens.len());
    // A ring larger than the sequence is no ring; a small one still runs.
    assert_eq!(with(bounded(512)).text, plain.text);
    let small = with(bounded(24));
    assert_eq!(small.tokens.len(), 60);
    for options in [quantized(7, 64, 0), quantized(4, 48, 0), quantized(4, 64, -1), bounded(4)] {
        let refused = model().generate(question.clone(), options, |_: &GenerationEvent| Control::Continue);
        assert_eq!(refused.err().unwrap().kind(), ErrorKind::InvalidArgument);
    }
}

struct Contract {
    events: Arc<AtomicUsize>,
    done: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

impl Observer<GenerationEvent, GenerationStats> for Contract {
    fn event(&mut self, _: &GenerationEvent) -> Control {
        assert_eq!(self.done.load(Ordering::SeqCst), 0, "an event after done");
        self.events.fetch_add(1, Ordering::SeqCst);
        Control::Continue
    }
    fn done(&mut self, _: &mlx_engine::Result<GenerationStats>) {
        self.done.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Contract {
    fn drop(&mut self) {
        assert_eq!(self.done.load(Ordering::SeqCst), 1, "dropped before done");
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn cancelling_at_any_moment_still_gives_statistics() {
    let question = prompt("Tell me a story.");
    let mut cancelled = 0;
    for i in 0..300u64 {
        let counters = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
        let [events, done, dropped] = counters.clone();
        let observer = Contract { events, done, dropped };
        let options = GenerateOptions { ignore_eos: true, ..limited(30) };
        let task = model().generate(question.clone(), options, observer).unwrap();
        let until = Instant::now() + Duration::from_micros(i * 137 % 40_000);
        while Instant::now() < until && !task.is_done() {
            std::thread::yield_now();
        }
        task.cancel();
        let stats = task.wait().unwrap();
        assert!(task.is_done());
        cancelled += usize::from(stats.stop_reason == StopReason::Cancelled);
        let [events, done, dropped] = counters.map(|c| c.load(Ordering::SeqCst));
        assert_eq!((done, dropped), (1, 1));
        assert!(events >= stats.generated_tokens);
    }
    assert!(cancelled > 50, "{cancelled}");
}

#[test]
fn a_cancel_takes_effect_within_one_token() {
    let tokens = Arc::new(AtomicUsize::new(0));
    let counter = tokens.clone();
    let task = model()
        .generate(prompt("Tell me a story."), limited(200), move |event: &GenerationEvent| match event {
            GenerationEvent::Token { .. } if counter.fetch_add(1, Ordering::SeqCst) == 9 => Control::Cancel,
            _ => Control::Continue,
        })
        .unwrap();
    let stats = task.wait().unwrap();
    assert_eq!((stats.stop_reason, stats.generated_tokens), (StopReason::Cancelled, 10));
    assert_eq!(tokens.load(Ordering::SeqCst), 10);
}

#[test]
fn generations_take_turns() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let start = |name: char| {
        let order = order.clone();
        let options = GenerateOptions { ignore_eos: true, ..limited(40) };
        model()
            .generate(prompt("Tell me a story."), options, move |event: &GenerationEvent| {
                if let GenerationEvent::Token { .. } = event {
                    order.lock().unwrap().push(name);
                }
                Control::Continue
            })
            .unwrap()
    };
    let (a, b) = (start('a'), start('b'));
    a.wait().unwrap();
    b.wait().unwrap();
    let order = order.lock().unwrap();
    let (first_b, last_a) = (order.iter().position(|&c| c == 'b'), order.iter().rposition(|&c| c == 'a'));
    assert!(first_b < last_a, "{order:?}");
}

#[test]
fn eight_threads_share_one_engine() {
    let want: Vec<(String, String)> = ["France", "Italy", "Japan", "Egypt"]
        .iter()
        .map(|country| {
            let question = format!("What is the capital of {country}?");
            let text = answer(prompt(&question), limited(32)).text;
            (question, text)
        })
        .collect();
    std::thread::scope(|scope| {
        for t in 0..8 {
            let want = &want;
            scope.spawn(move || {
                for round in 0..6 {
                    let (question, text) = &want[(t + round) % want.len()];
                    assert_eq!(answer(prompt(question), limited(32)).text, *text);
                    if t % 4 == 0 {
                        let model = load(&SHARED.0, ModelConfiguration::directory(fixture())).unwrap();
                        assert_eq!(model.info().model_type, "qwen3");
                    }
                }
            });
        }
    });
}

#[test]
fn a_model_outlives_its_handles() {
    let engine = cpu_engine();
    let model = load(&engine, ModelConfiguration::directory(fixture())).unwrap();
    drop(engine);
    let (sender, receiver) = channel();
    let task = model
        .generate(prompt("What is the capital of France?"), limited(32), move |event: &GenerationEvent| {
            if let GenerationEvent::Token { text, .. } = event {
                sender.send(text.clone()).unwrap();
            }
            Control::Continue
        })
        .unwrap();
    drop(model);
    task.wait().unwrap();
    assert_eq!(receiver.iter().collect::<String>(), "The capital of France is Paris.");
}

#[test]
fn waiting_inside_a_callback_is_refused() {
    let (sender, receiver) = channel();
    let inner = model().clone();
    let task = model()
        .generate(prompt("Hi"), limited(1), move |event: &GenerationEvent| {
            if let GenerationEvent::Token { .. } = event {
                // Starting is fine; waiting is not.
                let task = inner.generate(vec![1, 2], limited(1), |_: &GenerationEvent| Control::Continue).unwrap();
                sender.send((task.wait().unwrap_err().kind(), task)).unwrap();
            }
            Control::Continue
        })
        .unwrap();
    task.wait().unwrap();
    let (kind, inner) = receiver.recv().unwrap();
    assert_eq!(kind, ErrorKind::Reentrant);
    inner.wait().unwrap();
}

/// A panicking observer is a bug of the app's, and must not take the engine with it.
#[test]
fn a_panic_ends_one_task_and_poisons_one_model() {
    let engine = cpu_engine();
    let broken = load(&engine, ModelConfiguration::directory(fixture())).unwrap();
    let task = broken
        .generate(vec![1, 2, 3], limited(5), |_: &GenerationEvent| -> Control { panic!("the test's own panic") })
        .unwrap();
    let error = task.wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
    assert!(error.message().contains("the test's own panic"));
    let again = broken.generate(vec![1], limited(1), |_: &GenerationEvent| Control::Continue);
    assert_eq!(again.err().unwrap().kind(), ErrorKind::Poisoned);
    let fresh = load(&engine, ModelConfiguration::directory(fixture())).unwrap();
    assert_eq!(support::tokens(&fresh, &[1, 2, 3], GenerateOptions { ignore_eos: true, ..limited(5) }).len(), 5);
}

#[test]
fn a_chat_remembers_and_can_be_restored() {
    let mut session = ChatSession::new(model().tokenizer().unwrap().clone()).unwrap();
    session.push("user", "My name is Oscar.");
    let first = answer(session.prompt().unwrap(), limited(40));
    session.push("assistant", first.text);
    session.push("user", "What is my name?");
    let saved: Vec<Value> = serde_json::from_str(&json!(session.messages()).to_string()).unwrap();
    let mut restored = ChatSession::new(model().tokenizer().unwrap().clone()).unwrap();
    restored.restore(saved);
    assert_eq!(restored.prompt().unwrap(), session.prompt().unwrap());
    let second = answer(restored.prompt().unwrap(), limited(40));
    assert!(second.text.contains("Oscar"), "{}", second.text);
}
