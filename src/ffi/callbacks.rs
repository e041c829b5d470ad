//! Callback structs: one pattern, and one contract, for all of them.
//!
//! Each struct has the same five fields: `struct_size`, `user_data`, `on_event`, `on_done`, `drop`. Its file says what
//! an event and a result are in C ([`Translate`]); the rest is here. The contract: once a function has accepted the
//! callbacks, `on_done` is called exactly once, then `drop` exactly once, and nothing after that. Rejected callbacks
//! are only dropped; where the size cannot be right not even that, because `drop` cannot be found.

use std::ffi::c_void;

use super::options::{self, Versioned};
use super::{DropGuard, MLXE_CANCEL, UserData, mlxe_error_t};
use crate::engine::{Control, Observer};
use crate::error::Result;

/// `on_event` of a struct.
pub(super) type OnEvent<E> = Option<unsafe extern "C" fn(user_data: *mut c_void, event: *const E) -> i32>;
/// `on_done` of a struct.
pub(super) type OnDone<R> = Option<unsafe extern "C" fn(user_data: *mut c_void, result: R, error: *const mlxe_error_t)>;

/// A struct of callbacks. Implemented by [`callbacks!`](callbacks) only.
pub(super) trait Callbacks: Versioned {
    /// The event passed to `on_event`.
    type Event;
    /// The result passed to `on_done`: a pointer.
    type Result: Copy;

    fn user_data(&self) -> UserData;
    fn on_event(&self) -> OnEvent<Self::Event>;
    fn on_done(&self) -> OnDone<Self::Result>;
}

/// Implements the pattern for a struct with the five fields: `callbacks!(struct, event, result)`.
macro_rules! callbacks {
    ($name:ident, $event:ty, $result:ty) => {
        // SAFETY: repr(C), begins with the size; a pointer and optional functions, which `defaults` shows to be all.
        unsafe impl crate::ffi::options::Versioned for $name {
            const FIRST_SIZE: usize = 40;
            const SET_UP: &str = "set it to sizeof the struct";

            fn defaults() -> Self {
                let struct_size = std::mem::size_of::<Self>();
                $name { struct_size, user_data: std::ptr::null_mut(), on_event: None, on_done: None, drop: None }
            }
        }

        impl crate::ffi::callbacks::Callbacks for $name {
            type Event = $event;
            type Result = $result;

            fn user_data(&self) -> crate::ffi::UserData {
                crate::ffi::UserData { pointer: self.user_data, drop: self.drop }
            }

            fn on_event(&self) -> crate::ffi::callbacks::OnEvent<$event> {
                self.on_event
            }

            fn on_done(&self) -> crate::ffi::callbacks::OnDone<$result> {
                self.on_done
            }
        }
    };
}
pub(super) use callbacks;

/// What events and results of a kind of task are in C. Keeps what they point to until the next one.
pub(super) trait Translate: Default {
    /// The callback struct that receives them.
    type Callbacks: Callbacks;
    /// The engine's event.
    type Event;
    /// What the task results in.
    type Result;

    /// The event; what it points to is valid until the next call.
    fn event(&mut self, event: &Self::Event) -> <Self::Callbacks as Callbacks>::Event;

    /// What `on_done` is given: the result, or, for a failure, the pointer that says so.
    fn result(&mut self, result: Option<&Self::Result>) -> <Self::Callbacks as Callbacks>::Result;
}

/// The caller's callbacks as an observer.
pub(super) struct Listener<T: Translate> {
    callbacks: T::Callbacks,
    translate: T,
    /// Last, so that the caller's `drop` runs when nothing else is left.
    _drop: DropGuard,
}

// SAFETY: the API says that callbacks run on the library's threads, so the caller's data must allow it; the pointers that a
// translation keeps are into buffers of its own.
unsafe impl<T: Translate> Send for Listener<T> {}

impl<T: Translate> Listener<T> {
    /// Reads the caller's struct. From here on `drop` is called whatever happens, unless the struct is unreadable.
    ///
    /// # Safety
    /// `callbacks` is NULL, or points to a struct as large as it says whose functions go with its `user_data`.
    pub unsafe fn read(callbacks: *const T::Callbacks) -> Result<Self> {
        // SAFETY: the caller's promise.
        let (callbacks, rest) = unsafe { options::read_known(callbacks, "callbacks") }?;
        let listener = Self::new(callbacks);
        rest.map(|()| listener)
    }

    pub fn new(callbacks: T::Callbacks) -> Self {
        Listener { _drop: DropGuard(callbacks.user_data()), callbacks, translate: T::default() }
    }
}

impl<T: Translate> Observer<T::Event, T::Result> for Listener<T> {
    fn event(&mut self, event: &T::Event) -> Control {
        let Some(on_event) = self.callbacks.on_event() else { return Control::Continue };
        let event = self.translate.event(event);
        // SAFETY: the caller gave function and data for each other; the event, and what it points to, live for the call.
        match unsafe { on_event(self.callbacks.user_data().pointer, &event) } {
            MLXE_CANCEL => Control::Cancel,
            _ => Control::Continue,
        }
    }

    fn done(&mut self, result: &Result<T::Result>) {
        // Without a function nothing is translated: a result that is given away would be lost.
        let Some(on_done) = self.callbacks.on_done() else { return };
        let error = result.as_ref().err().map(mlxe_error_t::new);
        let error = error.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let result = self.translate.result(result.as_ref().ok());
        // SAFETY: as above; the error lives for the call.
        unsafe { on_done(self.callbacks.user_data().pointer, result, error) }
    }
}
