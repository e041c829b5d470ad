//! What streaming through the C ABI costs a token, over the Rust loop.
//!
//!     cargo bench --bench streaming
//!
//! Callbacks run on the thread that computes, in the place of a Rust observer, so the cost is that of translating an
//! event and calling through a pointer. A model's own time varies by more than that, so the same events are fed to both
//! observers directly, in turns.

use std::ffi::c_void;
use std::hint::black_box;
use std::time::Instant;

use mlx_engine::engine::{Control, Observer};
use mlx_engine::ffi::{MLXE_CONTINUE, generation_observer, mlxe_generate_callbacks_t, mlxe_generation_event_t};
use mlx_engine::generate::{GenerationEvent, GenerationStats, TokenInfo};

const EVENTS: u32 = 1_000_000;
const ROUNDS: usize = 9;

type Dynamic = dyn Observer<GenerationEvent, GenerationStats>;

unsafe extern "C" fn on_event(user_data: *mut c_void, event: *const mlxe_generation_event_t) -> i32 {
    // SAFETY: `user_data` is the counter below; the event is valid for the call.
    unsafe { *user_data.cast::<usize>() += (*event).text_len };
    MLXE_CONTINUE
}

/// Nanoseconds an event.
fn feed(observer: &mut Dynamic, event: &GenerationEvent) -> f64 {
    let start = Instant::now();
    for _ in 0..EVENTS {
        black_box(observer.event(black_box(event)));
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(EVENTS)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let token = TokenInfo { id: 17, logprob: None, top: Vec::new() };
    let event = GenerationEvent::Token { token, text: " meadow".into() };

    let mut length = 0;
    let mut rust: Box<Dynamic> = Box::new(move |event: &GenerationEvent| {
        if let GenerationEvent::Token { text, .. } = event {
            length += text.len();
        }
        black_box(length);
        Control::Continue
    });
    let mut counter = 0usize;
    let mut c: Box<Dynamic> = Box::new(generation_observer(mlxe_generate_callbacks_t {
        struct_size: size_of::<mlxe_generate_callbacks_t>(),
        user_data: (&raw mut counter).cast(),
        on_event: Some(on_event),
        on_done: None,
        drop: None,
    }));

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(feed(&mut *rust, &event));
        theirs.push(feed(&mut *c, &event));
    }
    assert_eq!(counter, ROUNDS * EVENTS as usize * " meadow".len());
    let (rust, c) = (median(ours), median(theirs));
    println!("a token's event: Rust {rust:.1} ns, C {c:.1} ns; the C ABI adds {:.1} ns", c - rust);
}
