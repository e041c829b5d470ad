//! Prompts that go on from the state that earlier sequences left: what they get is what they get without.

mod support;

use std::path::PathBuf;
use std::sync::mpsc::channel;

use mlx_engine::array::Device;
use mlx_engine::engine::{Control, Engine, EngineOptions, Model};
use mlx_engine::generate::{GenerateOptions, GenerationEvent, GenerationStats, ReuseEnd, StopReason};
use mlx_engine::load::ModelConfiguration;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::fixture::cases;
use support::{TempDir, bare, load, write_case};

fn engine(prefix_bytes: usize) -> Engine {
    let (device, prefix_bytes) = (Some(Device::Cpu), Some(prefix_bytes as u64));
    Engine::new(&EngineOptions { device, prefix_bytes, max_batch: Some(4), ..Default::default() }).unwrap()
}

const PLENTY: usize = 1 << 30;

fn trained() -> ModelConfiguration {
    ModelConfiguration::directory(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen3"))
}

/// The same model with and without states that are kept.
struct Pair {
    with: Model,
    without: Model,
    _folder: Option<TempDir>,
}

impl Pair {
    fn trained() -> Pair {
        Pair {
            with: load(&engine(PLENTY), trained()).unwrap(),
            without: load(&engine(0), trained()).unwrap(),
            _folder: None,
        }
    }

    fn of(case: &str) -> Pair {
        let folder = TempDir::new("prefix");
        write_case(case, folder.path(), 1);
        let model = |bytes| load(&engine(bytes), bare(folder.path())).unwrap();
        Pair { with: model(PLENTY), without: model(0), _folder: Some(folder) }
    }

    /// The answer, which both give, and what the one with states says.
    fn answer(&self, prompt: &[u32], options: &GenerateOptions) -> (Vec<u32>, GenerationStats) {
        let (want, plain) = answer(&self.without, prompt, options);
        assert_eq!((plain.reused_tokens, plain.reuse_end), (0, ReuseEnd::Disabled));
        let (got, stats) = answer(&self.with, prompt, options);
        assert_eq!(got, want, "{stats:?}");
        assert_eq!((stats.prompt_tokens, stats.stop_reason), (plain.prompt_tokens, plain.stop_reason));
        assert!(stats.reused_tokens <= stats.matched_tokens && stats.matched_tokens < prompt.len());
        (got, stats)
    }
}

struct Running {
    task: mlx_engine::engine::Task<GenerationStats>,
    tokens: std::sync::mpsc::Receiver<u32>,
}

fn start(model: &Model, prompt: &[u32], options: &GenerateOptions) -> Running {
    let (sender, tokens) = channel();
    let observer = move |event: &GenerationEvent| {
        if let GenerationEvent::Token { token, .. } = event {
            sender.send(token.id).unwrap();
        }
        Control::Continue
    };
    Running { task: model.generate(prompt.to_vec(), options.clone(), observer).unwrap(), tokens }
}

fn answer(model: &Model, prompt: &[u32], options: &GenerateOptions) -> (Vec<u32>, GenerationStats) {
    let running = start(model, prompt, options);
    let stats = running.task.wait().unwrap();
    (running.tokens.iter().collect(), stats)
}

/// Chunks are small, so that prompts need not be long.
fn options(max_tokens: u32) -> GenerateOptions {
    GenerateOptions {
        max_tokens: Some(max_tokens),
        prefill_step_size: Some(8),
        max_context: Some(4096),
        ignore_eos: true,
        ..Default::default()
    }
}

fn kinds() -> Vec<(&'static str, GenerateOptions)> {
    let plain = || options(12);
    let quantized = |start| GenerateOptions {
        kv_bits: Some(8),
        kv_group_size: Some(32),
        quantized_kv_start: Some(start),
        ..options(12)
    };
    let bounded = |size| GenerateOptions { max_kv_size: Some(size), ..options(12) };
    vec![
        ("plain", plain()),
        ("drawn", GenerateOptions { temperature: Some(0.8), seed: Some(7), ..plain() }),
        ("proposals", GenerateOptions { prompt_lookup_tokens: Some(8), ..plain() }),
        ("quantized", quantized(0)),
        ("quantized later", quantized(30)),
        ("bounded", bounded(24)),
        ("bounded from afar", bounded(200)),
    ]
}

/// Tokens that mean nothing.
fn noise(rng: &mut StdRng, n: usize, model: &Model) -> Vec<u32> {
    (0..n).map(|_| rng.random_range(0..model.info().vocab_size as u32)).collect()
}

#[test]
fn the_second_turn_of_a_conversation() {
    let pair = Pair::trained();
    let encode = |text: &str| pair.with.tokenizer().unwrap().encode_prompt(text).unwrap();
    for (name, options) in kinds() {
        pair.with.engine().clear_prefixes();
        let mut prompt = encode("You are a helpful assistant. Tell me a story about the moon and the sea, please.");
        let (first, stats) = pair.answer(&prompt, &options);
        assert_eq!((stats.reused_tokens, stats.reuse_end), (0, ReuseEnd::NothingStored), "{name}");
        let before = prompt.len();
        prompt.extend(first);
        prompt.extend(encode(" And then?"));
        let (second, stats) = pair.answer(&prompt, &options);
        // Whole chunks of the first prompt.
        assert_eq!(stats.reused_tokens, (before - 1) / 8 * 8, "{name}: {stats:?}");
        let before = prompt.len();
        prompt.extend(second);
        prompt.extend(encode(" And in the end?"));
        let (_, stats) = pair.answer(&prompt, &options);
        assert_eq!(stats.reused_tokens, (before - 1) / 8 * 8, "{name}: {stats:?}");
        // The same again is all there.
        let (_, stats) = pair.answer(&prompt, &options);
        assert_eq!(stats.reused_tokens, (prompt.len() - 1) / 8 * 8, "{name}: {stats:?}");
        assert_eq!(stats.reuse_end, ReuseEnd::WholePrompt, "{name}: {stats:?}");
    }
}

/// A system prompt that users share, and a branch in the middle of a conversation.
#[test]
fn shared_beginnings() {
    let pair = Pair::trained();
    let mut rng = StdRng::seed_from_u64(3);
    for (name, options) in kinds() {
        let system = noise(&mut rng, 43, &pair.with);
        let mut reused = Vec::new();
        for _ in 0..4 {
            let user = [&system[..], &noise(&mut rng, 20, &pair.with)].concat();
            reused.push(pair.answer(&user, &options).1.reused_tokens);
        }
        // A bounded state cannot go back, but from the second user on it is known where they part.
        let second = if name == "bounded" { 0 } else { 40 };
        assert_eq!(reused, [0, second, 40, 40], "{name}");
    }
    let (long, options) = (noise(&mut rng, 90, &pair.with), options(5));
    pair.answer(&long, &options);
    let branch = [&long[..61], &noise(&mut rng, 30, &pair.with)].concat();
    let (_, stats) = pair.answer(&branch, &options);
    assert_eq!((stats.reused_tokens, stats.reuse_end), (56, ReuseEnd::Block));
}

/// Windows that have long been passed, in every way of going on at random.
#[test]
fn models_with_windows() {
    let kept = ["gemma3_text", "llama-sliding", "gemma2", "mistral", "deepseek_v3", "gpt_oss"];
    let shared = ["gemma4_text", "gemma4_text-experts", "gemma3n", "nanbeige"];
    going_on(&kept, 100);
    going_on(&shared, 100);
}

/// States that go back by checkpoints alone, beside keys and values and without them.
#[test]
fn models_with_recurrent_layers() {
    going_on(&["lfm2", "qwen3_next", "mamba2", "falcon_h1"], 100);
}

fn going_on(cases: &[&str], least: usize) {
    for case in cases {
        let pair = Pair::of(case);
        let mut rng = StdRng::seed_from_u64(case.len() as u64);
        let mut prompts: Vec<Vec<u32>> = vec![noise(&mut rng, 60, &pair.with)];
        let mut reused = 0;
        for i in 0..14 {
            let earlier = &prompts[rng.random_range(0..prompts.len())];
            // The whole of it, or a beginning.
            let n = if i % 2 == 0 { earlier.len() } else { rng.random_range(1..earlier.len()) };
            let mut prompt = earlier[..n].to_vec();
            prompt.extend(noise(&mut rng, 20, &pair.with));
            let (tokens, stats) = pair.answer(&prompt, &options(10));
            reused += stats.reused_tokens;
            prompt.extend(tokens);
            prompts.push(prompt);
        }
        assert!(reused > least, "{case}: {reused}");
    }
}

/// A second turn, and a branch within the first, whatever kinds of state the layers have.
#[test]
fn conversations_with_every_architecture() {
    let mut wrong = Vec::new();
    for case in cases() {
        let pair = Pair::of(&case);
        let mut rng = StdRng::seed_from_u64(case.len() as u64);
        let mut prompt = noise(&mut rng, 40, &pair.with);
        let options = options(6);
        let mut reused = Vec::new();
        for turn in 0..3 {
            let (want, _) = answer(&pair.without, &prompt, &options);
            let (got, stats) = answer(&pair.with, &prompt, &options);
            if got != want {
                wrong.push(format!("{case}: turn {turn} says {got:?} and not {want:?} ({stats:?})"));
            }
            reused.push(stats.reused_tokens);
            if turn == 0 {
                prompt.extend(&got);
            } else {
                prompt.truncate(30);
            }
            prompt.extend(noise(&mut rng, 9, &pair.with));
        }
        // How a prompt is cut decides what dynamic scaling makes of it, so that nothing can be reused.
        if !case.contains("dynamic") && reused[1] < 32 {
            wrong.push(format!("{case}: reused {reused:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn several_at_once() {
    let pair = Pair::trained();
    let mut rng = StdRng::seed_from_u64(5);
    let system = noise(&mut rng, 50, &pair.with);
    let kinds = kinds();
    for round in 0..3 {
        let jobs: Vec<(Vec<u32>, &GenerateOptions)> = (0..10)
            .map(|i| {
                let user = noise(&mut rng, 3 + 5 * (i % 4), &pair.with);
                ([&system[..20 + 3 * i], &user].concat(), &kinds[i % kinds.len()].1)
            })
            .collect();
        let want: Vec<Vec<u32>> = jobs.iter().map(|(p, o)| answer(&pair.without, p, o).0).collect();
        let running: Vec<Running> = jobs.iter().map(|(p, o)| start(&pair.with, p, o)).collect();
        let mut reused = 0;
        for (i, (running, want)) in running.into_iter().zip(want).enumerate() {
            reused += running.task.wait().unwrap().reused_tokens;
            assert_eq!(running.tokens.iter().collect::<Vec<u32>>(), want, "job {i} of round {round}");
        }
        assert!(reused > 50 || round == 0, "{reused}");
    }
}

#[test]
fn a_prompt_that_was_cancelled_leaves_what_it_has_processed() {
    for pair in [Pair::trained(), Pair::of("qwen3_next"), Pair::of("mamba2")] {
        cancelled(&pair);
    }
}

fn cancelled(pair: &Pair) {
    let prompt = noise(&mut StdRng::seed_from_u64(6), 100, &pair.with);
    let observer = |event: &GenerationEvent| match event {
        GenerationEvent::Prefill { processed: 48.., .. } => Control::Cancel,
        _ => Control::Continue,
    };
    let stats = pair.with.generate(prompt.clone(), options(5), observer).unwrap().wait().unwrap();
    assert_eq!((stats.stop_reason, stats.prompt_tokens), (StopReason::Cancelled, 48));
    let (_, stats) = pair.answer(&prompt, &options(5));
    assert_eq!((stats.reused_tokens, stats.matched_tokens, stats.reuse_end), (48, 48, ReuseEnd::Differs));
    // An answer that is cut short leaves its prompt.
    let longer = [&prompt[..], &noise(&mut StdRng::seed_from_u64(8), 40, &pair.with)].concat();
    let observer = |event: &GenerationEvent| match event {
        GenerationEvent::Token { .. } => Control::Cancel,
        _ => Control::Continue,
    };
    let stats = pair.with.generate(longer.clone(), options(5), observer).unwrap().wait().unwrap();
    assert_eq!((stats.stop_reason, stats.reused_tokens), (StopReason::Cancelled, 96));
    assert_eq!(pair.answer(&longer, &options(5)).1.reused_tokens, 136);
}

#[test]
fn what_is_kept_is_counted_bounded_and_freed() {
    let mut rng = StdRng::seed_from_u64(9);
    let engine = engine(PLENTY);
    let (one, two) = (load(&engine, trained()).unwrap(), load(&engine, trained()).unwrap());
    assert_eq!(engine.prefix_bytes(), 0);
    let prompt = noise(&mut rng, 100, &one);
    answer(&one, &prompt, &options(3));
    let each = engine.prefix_bytes();
    assert!(each > 0);
    // Models share no states.
    let (_, stats) = answer(&two, &prompt, &options(3));
    assert_eq!((stats.reused_tokens, stats.reuse_end), (0, ReuseEnd::NothingStored));
    assert_eq!(engine.prefix_bytes(), 2 * each);
    engine.clear_prefixes();
    let (_, stats) = answer(&one, &prompt, &options(3));
    assert_eq!((stats.reused_tokens, stats.reuse_end), (0, ReuseEnd::NothingStored));
    assert_eq!(engine.prefix_bytes(), each);
    answer(&two, &prompt, &options(3));
    drop(one);
    // Messages are served in order.
    answer(&two, &prompt[..9], &options(1));
    assert_eq!(engine.prefix_bytes(), each);

    // Room for two: the third takes the place of the first.
    let model = load(&self::engine(2 * each + each / 2), trained()).unwrap();
    let prompts = [(); 3].map(|()| noise(&mut rng, 100, &model));
    for prompt in &prompts {
        answer(&model, prompt, &options(3));
        assert!(model.engine().prefix_bytes() <= 2 * each + each / 2);
    }
    let again = |prompt: &Vec<u32>| {
        let stats = answer(&model, prompt, &options(3)).1;
        (stats.reused_tokens, stats.reuse_end)
    };
    assert_eq!(again(&prompts[2]), (96, ReuseEnd::WholePrompt));
    assert_eq!(again(&prompts[1]), (96, ReuseEnd::WholePrompt));
    assert_eq!(again(&prompts[0]), (0, ReuseEnd::Evicted));
}
