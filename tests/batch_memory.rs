//! What batches leave behind: nothing. Alone in its process, because memory is counted for all of it.

mod support;

use mlx_engine::array::memory;
use mlx_engine::engine::{Control, Task};
use mlx_engine::generate::{GenerateOptions, GenerationEvent, GenerationStats, StopReason};
use support::{TempDir, bare, cpu_engine, load, tokens, write_case};

#[test]
fn memory_returns_to_where_it_was() {
    let dir = TempDir::new("batch");
    let recipe = write_case("gemma3_text", dir.path(), 1);
    let engine = cpu_engine();
    let model = load(&engine, bare(dir.path())).unwrap();
    let options = |n| GenerateOptions { max_tokens: Some(n), ignore_eos: true, ..Default::default() };
    let round = || {
        let tasks: Vec<Task<GenerationStats>> = (1..=10)
            .map(|i| {
                let prompt = recipe.prompt.repeat(i);
                model.generate(prompt, options(i as u32 * 5), |_: &GenerationEvent| Control::Continue).unwrap()
            })
            .collect();
        tasks.iter().for_each(|task| assert_eq!(task.wait().unwrap().stop_reason, StopReason::Length));
        // Steps under way end with the next work.
        tokens(&model, &recipe.prompt, options(2));
    };
    round();
    let before = memory::active();
    for _ in 0..5 {
        round();
        assert_eq!(memory::active(), before);
    }
}
