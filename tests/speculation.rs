//! Several tokens a step: answers are those of one token a step, and constraints hold.

mod support;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, LazyLock};

use mlx_engine::ErrorKind;
use mlx_engine::array::Device;
use mlx_engine::engine::{Control, Engine, EngineOptions, Model, Task};
use mlx_engine::generate::{
    Constraint, GenerateOptions, GenerationEvent, GenerationStats, Guides, Mask, Proposer, StopReason, TokenInfo,
};
use mlx_engine::load::ModelConfiguration;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::fixture::cases;
use support::{TempDir, bare, cpu_engine, load, tokens, write_case};

static MODEL: LazyLock<Model> = LazyLock::new(|| {
    let options =
        EngineOptions { device: Some(Device::Cpu), max_batch: Some(6), prefix_bytes: Some(0), ..Default::default() };
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen3");
    load(&Engine::new(&options).unwrap(), ModelConfiguration::directory(folder)).unwrap()
});

fn encode(text: &str) -> Vec<u32> {
    MODEL.tokenizer().unwrap().encode_prompt(text).unwrap()
}

/// An answer that is under way.
struct Running {
    task: Task<GenerationStats>,
    events: std::sync::mpsc::Receiver<GenerationEvent>,
}

#[derive(Debug, PartialEq)]
struct Answer {
    tokens: Vec<TokenInfo>,
    text: String,
    reason: StopReason,
}

fn start(model: &Model, prompt: Vec<u32>, options: GenerateOptions, guides: Guides) -> Running {
    let (sender, events) = channel();
    let observer = move |event: &GenerationEvent| {
        sender.send(event.clone()).unwrap();
        Control::Continue
    };
    Running { task: model.generate_guided(prompt, options, guides, observer).unwrap(), events }
}

impl Running {
    fn wait(self) -> (Answer, GenerationStats) {
        let stats = self.task.wait().unwrap();
        let mut answer = Answer { tokens: Vec::new(), text: String::new(), reason: stats.stop_reason };
        for event in self.events {
            match event {
                GenerationEvent::Token { token, text } => {
                    answer.tokens.push(token);
                    answer.text += &text;
                }
                GenerationEvent::Text { text } => answer.text += &text,
                GenerationEvent::Prefill { .. } => {}
            }
        }
        assert_eq!(answer.tokens.len(), stats.generated_tokens);
        assert!(stats.accepted_tokens <= stats.proposed_tokens);
        (answer, stats)
    }
}

fn answer(prompt: &[u32], options: &GenerateOptions, guides: Guides) -> (Answer, GenerationStats) {
    start(&MODEL, prompt.to_vec(), options.clone(), guides).wait()
}

/// Proposes what is known to come, with mistakes here and there.
struct Oracle {
    truth: Vec<u32>,
    rng: StdRng,
    vocabulary: u32,
}

impl Oracle {
    /// For an answer to a prompt.
    fn new(prompt: &[u32], answer: &[u32], vocabulary: u32) -> Oracle {
        Oracle { truth: [prompt, answer].concat(), rng: StdRng::seed_from_u64(5), vocabulary }
    }

    fn guides(self) -> Guides {
        Guides { proposer: Some(Box::new(self)), ..Default::default() }
    }
}

impl Proposer for Oracle {
    fn propose(&mut self, context: &[u32]) -> Vec<u32> {
        let rest = self.truth.get(context.len()..).unwrap_or_default();
        let n = self.rng.random_range(0..12);
        let mut drafts: Vec<u32> = rest.iter().take(n).copied().collect();
        for draft in &mut drafts {
            if self.rng.random_range(0..5) == 0 {
                *draft = self.rng.random_range(0..self.vocabulary);
            }
        }
        drafts
    }
}

fn ids(answer: &Answer) -> Vec<u32> {
    answer.tokens.iter().map(|t| t.id).collect()
}

/// Options of all kinds. The context of the model holds them.
fn kinds() -> Vec<(&'static str, GenerateOptions)> {
    let base = GenerateOptions { max_tokens: Some(90), ..Default::default() };
    let with = |change: &dyn Fn(&mut GenerateOptions)| {
        let mut options = base.clone();
        change(&mut options);
        options
    };
    let drawn = |change: &dyn Fn(&mut GenerateOptions)| {
        with(&|o| {
            (o.temperature, o.top_p, o.seed) = (Some(0.9), Some(0.95), Some(11));
            change(o);
        })
    };
    let quantized =
        |start| with(&|o| (o.kv_bits, o.kv_group_size, o.quantized_kv_start) = (Some(8), Some(32), Some(start)));
    vec![
        ("greedy", base.clone()),
        ("beyond the end", with(&|o| o.ignore_eos = true)),
        ("stop strings", with(&|o| o.stop = vec![" the".into(), "\n\n".into()])),
        ("a full context", with(&|o| (o.max_context, o.ignore_eos) = (Some(60), true))),
        ("one token", with(&|o| o.max_tokens = Some(1))),
        ("drawn", drawn(&|_| {})),
        ("logprobs", drawn(&|o| o.logprobs = Some(3))),
        ("penalties", with(&|o| (o.repetition_penalty, o.frequency_penalty) = (Some(1.3), Some(0.2)))),
        ("xtc", drawn(&|o| o.xtc_probability = Some(0.5))),
        ("mirostat", drawn(&|o| o.mirostat_tau = Some(5.0))),
        ("dry", with(&|o| o.dry_multiplier = Some(0.8))),
        ("quantized", quantized(0)),
        ("quantized later", quantized(40)),
        ("bounded", with(&|o| o.max_kv_size = Some(64))),
    ]
}

#[test]
fn proposals_change_no_answer() {
    let prompt = encode("Tell me a story.");
    for (name, options) in kinds() {
        let (want, plain) = answer(&prompt, &options, Guides::default());
        assert_eq!((plain.proposed_tokens, plain.accepted_tokens), (0, 0));
        let oracle = Oracle::new(&prompt, &ids(&want), MODEL.info().vocab_size as u32);
        let (got, stats) = answer(&prompt, &options, oracle.guides());
        assert_eq!(got, want, "{name}");
        assert!(stats.accepted_tokens > 0 || want.tokens.len() < 4, "{name}: {stats:?}");
        assert!(stats.proposed_tokens > stats.accepted_tokens || want.tokens.len() < 20, "{name}: {stats:?}");
    }
}

#[test]
fn proposals_change_no_answer_in_a_batch() {
    let prompt = encode("Tell me a story.");
    let kinds = kinds();
    let want: Vec<Answer> = kinds.iter().map(|(_, o)| answer(&prompt, o, Guides::default()).0).collect();
    // Every other one without proposals.
    let running: Vec<Running> = kinds
        .iter()
        .zip(&want)
        .enumerate()
        .map(|(i, ((_, options), want))| {
            let oracle = Oracle::new(&prompt, &ids(want), MODEL.info().vocab_size as u32);
            let guides = if i % 2 == 0 { oracle.guides() } else { Guides::default() };
            start(&MODEL, prompt.clone(), options.clone(), guides)
        })
        .collect();
    for ((running, want), (name, _)) in running.into_iter().zip(&want).zip(&kinds) {
        assert_eq!(running.wait().0, *want, "{name}");
    }
}

#[test]
fn prompt_lookup_confirms_several_tokens_a_step() {
    let prompt = encode(&"one two three four five six seven eight. ".repeat(4));
    let options = GenerateOptions { max_tokens: Some(60), ignore_eos: true, ..Default::default() };
    let (want, _) = answer(&prompt, &options, Guides::default());
    for (most, ngram) in [(8, None), (15, Some(1))] {
        let lookup =
            GenerateOptions { prompt_lookup_tokens: Some(most), prompt_lookup_ngram: ngram, ..options.clone() };
        let (got, stats) = answer(&prompt, &lookup, Guides::default());
        assert_eq!(got, want);
        assert!(stats.accepted_tokens > 5, "{stats:?}");
    }
    let refused = |most, ngram| {
        let options = GenerateOptions {
            prompt_lookup_tokens: Some(most),
            prompt_lookup_ngram: Some(ngram),
            ..Default::default()
        };
        MODEL.generate(vec![1], options, |_: &GenerationEvent| Control::Continue).err().unwrap().kind()
    };
    assert_eq!(refused(16, 3), ErrorKind::InvalidArgument);
    assert_eq!(refused(8, 0), ErrorKind::InvalidArgument);
}

/// Every architecture, also with windows that have long been passed.
#[test]
fn proposals_change_no_answer_of_any_architecture() {
    let engine = cpu_engine();
    let mut wrong = Vec::new();
    for case in cases() {
        let dir = TempDir::new("speculation");
        let recipe = write_case(&case, dir.path(), 1);
        let model = load(&engine, bare(dir.path())).unwrap();
        let (max_tokens, max_context) = (Some(40), Some(4096));
        let options = GenerateOptions { max_tokens, max_context, ignore_eos: true, ..Default::default() };
        let want = tokens(&model, &recipe.prompt, options.clone());
        let guides = Oracle::new(&recipe.prompt, &want, model.info().vocab_size as u32).guides();
        let (got, _) = start(&model, recipe.prompt.clone(), options, guides).wait();
        if ids(&got) != want {
            wrong.push(format!("{case}: {:?} and not {want:?}", ids(&got)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_observer_that_cancels_hears_no_more_confirmed_tokens() {
    let prompt = encode("Tell me a story.");
    let options = GenerateOptions { max_tokens: Some(60), ignore_eos: true, ..Default::default() };
    let (want, _) = answer(&prompt, &options, Guides::default());
    for n in 1..12 {
        let oracle = Oracle::new(&prompt, &ids(&want), MODEL.info().vocab_size as u32);
        let heard = Arc::new(AtomicUsize::new(0));
        let count = heard.clone();
        let observer = move |event: &GenerationEvent| match event {
            GenerationEvent::Token { .. } if count.fetch_add(1, Ordering::SeqCst) + 1 == n => Control::Cancel,
            _ => Control::Continue,
        };
        let task = MODEL.generate_guided(prompt.clone(), options.clone(), oracle.guides(), observer).unwrap();
        let stats = task.wait().unwrap();
        assert_eq!((stats.stop_reason, stats.generated_tokens), (StopReason::Cancelled, n));
        assert_eq!(heard.load(Ordering::SeqCst), n);
    }
}

// Constraints.

/// Wants these tokens, one after the other, and then anything.
struct Forced {
    tokens: Vec<u32>,
    at: usize,
    vocabulary: usize,
    /// The most that was ever accepted.
    reached: Arc<AtomicUsize>,
}

impl Forced {
    fn new(tokens: &[u32]) -> Forced {
        Forced { tokens: tokens.to_vec(), at: 0, vocabulary: MODEL.info().vocab_size as usize, reached: Arc::default() }
    }

    fn guides(self, proposer: Option<Box<dyn Proposer>>) -> Guides {
        Guides { constraint: Some(Box::new(self)), proposer, ..Guides::default() }
    }
}

impl Constraint for Forced {
    fn mask(&mut self) -> Mask {
        match self.tokens.get(self.at) {
            Some(&token) => Mask::only(self.vocabulary, &[token]),
            None => Mask::all(self.vocabulary),
        }
    }

    fn accept(&mut self, token: u32) {
        assert!(self.mask().allows(token));
        self.at += 1;
        self.reached.fetch_max(self.at, Ordering::SeqCst);
    }

    fn rollback(&mut self, n: usize) {
        self.at -= n;
    }
}

#[test]
fn a_constraint_forces_its_tokens() {
    let prompt = encode("Tell me a story.");
    let forced = encode("The quick brown fox jumps over the lazy dog and the moon.");
    let max_tokens = Some(forced.len() as u32 + 15);
    let greedy = GenerateOptions { max_tokens, ignore_eos: true, ..Default::default() };
    let drawn = GenerateOptions { temperature: Some(1.0), seed: Some(2), logprobs: Some(1), ..greedy.clone() };
    for options in [greedy.clone(), drawn] {
        let (want, _) = answer(&prompt, &options, Forced::new(&forced).guides(None));
        assert_eq!(ids(&want)[..forced.len()], forced[..]);
        if options.logprobs.is_some() {
            // It was the only one.
            assert!(want.tokens[..forced.len()].iter().all(|t| t.logprob == Some(0.0) && t.top.len() == 1));
        }
        // With proposals, right ones and wrong ones, and in the company of others.
        let (free, _) = answer(&prompt, &greedy, Guides::default());
        let oracle = |truth: &Answer| Oracle::new(&prompt, &ids(truth), MODEL.info().vocab_size as u32);
        let others: Vec<Running> =
            (0..3).map(|_| start(&MODEL, prompt.clone(), greedy.clone(), Guides::default())).collect();
        for truth in [&want, &free] {
            let constraint = Forced::new(&forced);
            let reached = constraint.reached.clone();
            let (got, stats) = answer(&prompt, &options, constraint.guides(Some(Box::new(oracle(truth)))));
            assert_eq!(got, want);
            assert!(reached.load(Ordering::SeqCst) >= want.tokens.len());
            // What the constraint forbids is not even tried.
            assert!(stats.accepted_tokens > 0 || !std::ptr::eq(truth, &want));
        }
        others.into_iter().for_each(|other| assert_eq!(other.wait().0, free));
    }
}

/// Allows nothing.
struct Nothing;

impl Constraint for Nothing {
    fn mask(&mut self) -> Mask {
        Mask::none(MODEL.info().vocab_size as usize)
    }

    fn accept(&mut self, _: u32) {}

    fn rollback(&mut self, _: usize) {}
}

/// Panics.
struct Broken;

impl Proposer for Broken {
    fn propose(&mut self, _: &[u32]) -> Vec<u32> {
        panic!("the test's own panic")
    }
}

/// Proposes tokens that there are not.
struct Wild;

impl Proposer for Wild {
    fn propose(&mut self, _: &[u32]) -> Vec<u32> {
        vec![u32::MAX; 100]
    }
}

#[test]
fn a_bad_guide_ends_its_own_answer_only() {
    let options = GenerateOptions { max_tokens: Some(30), ignore_eos: true, ..Default::default() };
    let prompt = encode("Tell me a story.");
    let (want, _) = answer(&prompt, &options, Guides::default());
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen3");
    // A panic poisons the model.
    let model = load(MODEL.engine(), ModelConfiguration::directory(folder)).unwrap();
    let with = |guides| start(&model, prompt.clone(), options.clone(), guides);
    let others: Vec<Running> = (0..2).map(|_| with(Guides::default())).collect();
    let wild = with(Guides { proposer: Some(Box::new(Wild)), ..Default::default() });
    let nothing = with(Guides { constraint: Some(Box::new(Nothing)), ..Default::default() });
    let broken = with(Guides { proposer: Some(Box::new(Broken)), ..Default::default() });
    assert_eq!(nothing.task.wait().unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(broken.task.wait().unwrap_err().kind(), ErrorKind::Panic);
    others.into_iter().chain([wild]).for_each(|other| assert_eq!(other.wait().0, want));
}
