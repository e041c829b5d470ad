//! Samplers of the caller's own.

use std::ffi::c_void;

use super::options::{self, Versioned};
use super::{DropGuard, MLXE_OK, UserData};
use crate::engine::call_host;
use crate::error::{Error, Result};
use crate::generate::{CustomSampler, Guides};

/// A function that chooses the tokens of a generation, for mlxe_generate_guided_start() and mlxe_generation_guided_new().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_sampler_t {
    /// sizeof(mlxe_sampler_t)
    pub struct_size: usize,
    /// Passed to all functions.
    pub user_data: *mut c_void,
    /// Writes the next token to `out_token` and returns MLXE_OK. Anything else ends the generation with
    /// MLXE_ERROR_INVALID_ARGUMENT, and so does a token that is not in the vocabulary.
    ///
    /// `logits` has one value per token of the vocabulary, after `logit_bias` and the penalties; `history` is prompt and
    /// answer so far. Both are borrowed for the call. Called on the engine's thread, once per token; the time it takes
    /// delays everything on that engine.
    pub sample: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            logits: *const f32,
            logits_len: usize,
            history: *const u32,
            history_len: usize,
            out_token: *mut u32,
        ) -> i32,
    >,
    /// Nothing uses `user_data` any more. May be NULL.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
}

// SAFETY: repr(C), begins with the size; a pointer and optional functions.
unsafe impl Versioned for mlxe_sampler_t {
    const FIRST_SIZE: usize = 32;
    const SET_UP: &str = "set it to sizeof the struct";

    fn defaults() -> Self {
        let struct_size = std::mem::size_of::<Self>();
        mlxe_sampler_t { struct_size, user_data: std::ptr::null_mut(), sample: None, drop: None }
    }
}

/// The caller's function as a sampler.
struct Sampler {
    functions: mlxe_sampler_t,
    _drop: DropGuard,
}

// SAFETY: the API says that the function runs on the library's threads; the caller's data must allow it.
unsafe impl Send for Sampler {}

impl CustomSampler for Sampler {
    fn sample(&mut self, logits: &[f32], history: &[u32]) -> Result<u32> {
        let Some(sample) = self.functions.sample else { return Err(Error::internal("a sampler without a function")) };
        let mut token = u32::MAX;
        // SAFETY: the caller gave function and data for each other; slices and place live for the call.
        let code = call_host(|| unsafe {
            let (data, n) = (self.functions.user_data, history.len());
            sample(data, logits.as_ptr(), logits.len(), history.as_ptr(), n, &mut token)
        });
        match code {
            MLXE_OK => Ok(token),
            code => Err(Error::invalid_argument(format!("the sampler returned {code}, which is not MLXE_OK"))),
        }
    }
}

/// What guides the answer: the caller's sampler. `drop` is called whatever is wrong, unless the struct is unreadable.
///
/// # Safety
/// `sampler` is NULL, or points to a struct as large as it says whose functions go with its `user_data`.
pub(super) unsafe fn guides(sampler: *const mlxe_sampler_t) -> Result<Guides> {
    if sampler.is_null() {
        return Err(Error::invalid_argument("sampler is NULL"));
    }
    // SAFETY: the caller's promise.
    let (functions, rest) = unsafe { options::read_known(sampler, "sampler") }?;
    let user_data = UserData { pointer: functions.user_data, drop: functions.drop };
    let own = Sampler { functions, _drop: DropGuard(user_data) };
    rest?;
    match functions.sample {
        Some(_) => Ok(Guides { sampler: Some(Box::new(own)), ..Guides::default() }),
        None => Err(Error::invalid_argument("sampler.sample is NULL")),
    }
}
