//! What the library has to say beside results.

use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;

use log::{Level, LevelFilter, Log, Metadata, Record};
use parking_lot::RwLock;

use super::{DropGuard, UserData, guard, mlxe_error_t};
use crate::error::Error;

/// No messages.
pub const MLXE_LOG_OFF: i32 = 0;
/// Failures that are reported nowhere else.
pub const MLXE_LOG_ERROR: i32 = 1;
/// Probable problems.
pub const MLXE_LOG_WARN: i32 = 2;
/// Coarse progress.
pub const MLXE_LOG_INFO: i32 = 3;
/// Details.
pub const MLXE_LOG_DEBUG: i32 = 4;

/// Receives a message. `target` and `message` are UTF-8, NUL-terminated, and valid for the call. Called on any thread,
/// concurrently; must not call mlxe_log_set_callback().
pub type mlxe_log_callback_t =
    Option<unsafe extern "C" fn(user_data: *mut c_void, level: i32, target: *const c_char, message: *const c_char)>;

struct Sink {
    callback: unsafe extern "C" fn(*mut c_void, i32, *const c_char, *const c_char),
    user_data: UserData,
    _drop: DropGuard,
}

struct Forward(RwLock<Option<Arc<Sink>>>);

static FORWARD: Forward = Forward(RwLock::new(None));

impl Log for Forward {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.target().starts_with("mlx_engine")
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let Some(sink) = self.0.read().clone() else { return };
        let level = match record.level() {
            Level::Error => MLXE_LOG_ERROR,
            Level::Warn => MLXE_LOG_WARN,
            Level::Info => MLXE_LOG_INFO,
            Level::Debug | Level::Trace => MLXE_LOG_DEBUG,
        };
        let text = |s: String| CString::new(s.replace('\0', "\u{fffd}")).unwrap_or_default();
        let (target, message) = (text(record.target().to_owned()), text(record.args().to_string()));
        // SAFETY: the caller gave function and data for each other; the strings live for the call.
        unsafe { (sink.callback)(sink.user_data.pointer, level, target.as_ptr(), message.as_ptr()) }
    }

    fn flush(&self) {}
}

/// Sets the callback that receives the library's log messages, replacing any earlier one.
///
/// Messages above `max_level` (MLXE_LOG_*) are not produced. `callback` may be NULL for none. `drop`, which may be
/// NULL, is called with `user_data` once nothing uses it any more, even if this function fails.
/// Errors: MLXE_ERROR_INVALID_ARGUMENT if `max_level` is unknown, or a Rust program has set its own logger.
///
/// Any thread, but not inside a callback that logs.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_log_set_callback(
    max_level: i32,
    callback: mlxe_log_callback_t,
    user_data: *mut c_void,
    drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
) -> *mut mlxe_error_t {
    guard(|| {
        let user_data = UserData { pointer: user_data, drop };
        let guard = DropGuard(user_data);
        let filter = match max_level {
            MLXE_LOG_OFF => LevelFilter::Off,
            MLXE_LOG_ERROR => LevelFilter::Error,
            MLXE_LOG_WARN => LevelFilter::Warn,
            MLXE_LOG_INFO => LevelFilter::Info,
            MLXE_LOG_DEBUG => LevelFilter::Debug,
            other => return Err(Error::invalid_argument(format!("max_level is {other}"))),
        };
        // The second time it is ours already.
        let ours = log::set_logger(&FORWARD).is_ok() || std::ptr::addr_eq(log::logger(), &FORWARD);
        if !ours {
            return Err(Error::invalid_argument("this program has set its own logger"));
        }
        let sink = callback.map(|callback| Arc::new(Sink { callback, user_data, _drop: guard }));
        log::set_max_level(if sink.is_some() { filter } else { LevelFilter::Off });
        // The old sink's drop must not run under the lock.
        let old = std::mem::replace(&mut *FORWARD.0.write(), sink);
        std::mem::drop(old);
        Ok(())
    })
}
