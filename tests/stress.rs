//! Loads and generations, cancelled at random moments from eight threads that share an engine.
//!
//! Also what `make test-tsan` runs with everything but MLX and the standard library instrumented.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

mod support;
use support::{TempDir, bare, cpu_engine, load, write_case};

use mlx_engine::array::memory;
use mlx_engine::engine::{Control, Engine, Model, Observer};
use mlx_engine::error::{ErrorKind, Result};
use mlx_engine::generate::{GenerateOptions, StopReason};
use mlx_engine::load::ModelConfiguration;

const THREADS: u32 = 8;

/// Counts the ends, and hears nothing after them.
struct Counter {
    done: Arc<AtomicU32>,
    over: bool,
}

impl<E, T> Observer<E, T> for Counter {
    fn event(&mut self, _: &E) -> Control {
        assert!(!self.over);
        Control::Continue
    }

    fn done(&mut self, _: &Result<T>) {
        assert!(!std::mem::replace(&mut self.over, true));
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

fn work(seed: u32, rounds: u32, engine: &Engine, model: &Model, configuration: &ModelConfiguration, prompt: &[u32]) {
    let mut state = seed;
    let mut random = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    for _ in 0..rounds {
        let done = Arc::new(AtomicU32::new(0));
        let observer = Counter { done: done.clone(), over: false };
        let pause = Duration::from_micros(u64::from(random(4000)));
        match random(3) {
            0 => {
                let task = engine.load(configuration.clone(), observer);
                std::thread::sleep(pause);
                task.cancel();
                match task.wait() {
                    Ok(model) => assert!(model.info().vocab_size > 0),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled),
                }
            }
            _ => {
                let options = GenerateOptions { max_tokens: Some(20), ignore_eos: true, ..Default::default() };
                let task = model.generate(prompt.to_vec(), options, observer).unwrap();
                std::thread::sleep(pause);
                task.cancel();
                let stats = task.wait().unwrap();
                assert!(matches!(stats.stop_reason, StopReason::Cancelled | StopReason::Length));
            }
        }
        assert_eq!(done.load(Ordering::Relaxed), 1);
        assert!(memory::peak() > 0);
    }
}

#[test]
fn eight_threads_one_engine() {
    let rounds = std::env::var("MLXE_TEST_ROUNDS").map_or(50, |n| n.parse().unwrap());
    let dir = TempDir::new("stress");
    let prompt = write_case("qwen3", dir.path(), 2).prompt;
    let engine = cpu_engine();
    let model = load(&engine, bare(dir.path())).unwrap();
    let configuration = bare(dir.path());
    std::thread::scope(|scope| {
        for seed in 1..=THREADS {
            let (engine, model, configuration, prompt) = (&engine, &model, &configuration, &prompt);
            scope.spawn(move || work(seed, rounds, engine, model, configuration, prompt));
        }
    });
}
