//! The panic contract, with panics that really happen on the engine's thread.

use std::ffi::{CStr, c_void};
use std::ptr::{null, null_mut};

use super::*;
use crate::engine::{Control, Observer};
use crate::generate::{GenerateOptions, GenerationEvent, GenerationStats};
use crate::test_support as support;

#[derive(Default, Debug, PartialEq)]
struct Heard {
    done: u32,
    drop: u32,
    code: i32,
}

unsafe extern "C" fn on_generated(
    heard: *mut c_void,
    stats: *const mlxe_generation_stats_t,
    error: *const mlxe_error_t,
) {
    assert!(stats.is_null());
    let heard = unsafe { &mut *heard.cast::<Heard>() };
    assert_eq!(heard.drop, 0);
    heard.done += 1;
    heard.code = unsafe { mlxe_error_code(error) };
}

unsafe extern "C" fn on_loaded(heard: *mut c_void, model: *mut mlxe_model_t, error: *const mlxe_error_t) {
    assert!(model.is_null());
    unsafe { on_generated(heard, null(), error) }
}

unsafe extern "C" fn on_drop(heard: *mut c_void) {
    unsafe { &mut *heard.cast::<Heard>() }.drop += 1;
}

/// What C callbacks hear of a task that panics: everything else is passed on.
struct Panicking<T>(T);

impl<E, R, T: Observer<E, R>> Observer<E, R> for Panicking<T> {
    fn event(&mut self, _: &E) -> Control {
        panic!("on purpose")
    }

    fn done(&mut self, result: &Result<R>) {
        self.0.done(result)
    }
}

#[test]
fn a_panic_becomes_an_error() {
    let error = guard(|| panic!("on {}", "purpose"));
    unsafe {
        assert_eq!(mlxe_error_code(error), MLXE_ERROR_PANIC);
        assert!(CStr::from_ptr(mlxe_error_message(error)).to_str().unwrap().contains("on purpose"));
        mlxe_error_free(error);
    }
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("on purpose")
        }
    }
    unsafe { free(Box::into_raw(Box::new(Bomb))) };
}

#[test]
fn a_panicking_generation_ends_and_poisons_its_model_only() {
    let (engine, dir) = (support::cpu_engine(), support::TempDir::new("poison"));
    let prompt = support::write_case("qwen3", dir.path(), 1).prompt;
    let model = support::load(&engine, support::bare(dir.path())).unwrap();
    let other = support::load(&engine, support::bare(dir.path())).unwrap();

    let mut heard = Heard::default();
    let c = mlxe_generate_callbacks_t {
        struct_size: size_of::<mlxe_generate_callbacks_t>(),
        user_data: (&raw mut heard).cast(),
        on_event: None,
        on_done: Some(on_generated),
        drop: Some(on_drop),
    };
    let observer = Panicking(unsafe { callbacks::Listener::<generate::Generations>::read(&c) }.unwrap());
    let task = model.generate(prompt.clone(), GenerateOptions::default(), observer).unwrap();
    assert_eq!(task.wait().unwrap_err().kind(), crate::ErrorKind::Panic);
    assert_eq!(heard, Heard { done: 1, drop: 1, code: MLXE_ERROR_PANIC });

    // Poisoned: the C API refuses it and still drops the callbacks; others on the engine go on.
    let handle = mlxe_model_t::into_raw(model);
    let mut heard = Heard::default();
    let c = mlxe_generate_callbacks_t { user_data: (&raw mut heard).cast(), ..c };
    unsafe {
        let error = mlxe_generate_start(handle, prompt.as_ptr(), prompt.len(), null(), &c, null_mut());
        assert_eq!(mlxe_error_code(error), MLXE_ERROR_POISONED);
        mlxe_error_free(error);
        mlxe_model_free(handle);
    }
    assert_eq!(heard, Heard { done: 0, drop: 1, code: 0 });
    let options = GenerateOptions { max_tokens: Some(3), ignore_eos: true, ..Default::default() };
    let watch = |_: &GenerationEvent| Control::Continue;
    let stats: GenerationStats = other.generate(prompt, options, watch).unwrap().wait().unwrap();
    assert_eq!(stats.generated_tokens, 3);
}

#[test]
fn a_panicking_load_ends_and_leaves_the_engine_usable() {
    let (engine, dir) = (support::cpu_engine(), support::TempDir::new("panic-load"));
    support::write_case("qwen3", dir.path(), 1);
    let mut heard = Heard::default();
    let c = mlxe_load_callbacks_t {
        struct_size: size_of::<mlxe_load_callbacks_t>(),
        user_data: (&raw mut heard).cast(),
        on_event: None,
        on_done: Some(on_loaded),
        drop: Some(on_drop),
    };
    let observer = Panicking(unsafe { callbacks::Listener::<load::Loads>::read(&c) }.unwrap());
    let task = engine.load(support::bare(dir.path()), observer);
    assert_eq!(task.wait().err().unwrap().kind(), crate::ErrorKind::Panic);
    assert_eq!(heard, Heard { done: 1, drop: 1, code: MLXE_ERROR_PANIC });
    support::load(&engine, support::bare(dir.path())).unwrap();
}
