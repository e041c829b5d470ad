//! The objects of a rendering that are no containers.

use minijinja::value::{DynObject, Object, ObjectRepr};
use minijinja::{Error, Value};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::base::Result;

/// What Python makes lazily. The items are here already; an error waits for the first who asks for them.
pub(super) struct Generator {
    state: Mutex<(VecDeque<Value>, Option<Error>)>,
    pub depth: usize,
}

impl fmt::Debug for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<generator>")
    }
}

/// A poisoned lock guards nothing that could be half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Generator {
    pub fn new(items: Vec<Value>, error: Option<Error>, depth: usize) -> Self {
        Generator { state: Mutex::new((items.into(), error)), depth }
    }

    pub fn next(&self) -> Result<Option<Value>> {
        let mut state = lock(&self.state);
        match state.1.take() {
            Some(error) => Err(error),
            None => Ok(state.0.pop_front()),
        }
    }

    pub fn rest(&self) -> Result<Vec<Value>> {
        let mut state = lock(&self.state);
        match state.1.take() {
            Some(error) => Err(error),
            None => Ok(state.0.drain(..).collect()),
        }
    }
}

impl Object for Generator {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<generator object>")
    }
}

/// `namespace()`: the only thing that a template may assign to.
#[derive(Default)]
pub(super) struct Namespace(Mutex<Vec<(String, Value)>>);

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<namespace>")
    }
}

impl Namespace {
    pub fn get(&self, name: &str) -> Option<Value> {
        lock(&self.0).iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }

    pub fn set(&self, name: &str, value: Value) {
        let mut pairs = lock(&self.0);
        let old = match pairs.iter_mut().find(|(key, _)| key == name) {
            Some(pair) => Some(std::mem::replace(&mut pair.1, value)),
            None => {
                pairs.push((name.to_owned(), value));
                None
            }
        };
        // What goes away may hold this namespace.
        drop(pairs);
        drop(old);
    }

    pub fn pairs(&self) -> Vec<(String, Value)> {
        lock(&self.0).clone()
    }

    /// Namespaces may hold one another, in circles that nothing else would break.
    pub fn clear(&self) {
        let pairs = std::mem::take(&mut *lock(&self.0));
        drop(pairs);
    }
}

impl Object for Namespace {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<std::cmp::Ordering> {
        let other = other.downcast_ref::<Self>().map(std::ptr::from_ref);
        Some((std::ptr::from_ref(&**self) as usize).cmp(&other.map_or(0, |other| other as usize)))
    }
}

/// What can be called and is no macro.
pub(super) enum Callable {
    Function(&'static str),
    Method { object: Value, name: String },
    Joiner { separator: Value, used: Mutex<bool> },
}

impl fmt::Debug for Callable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Callable::Function(name) => write!(f, "<function {name}>"),
            Callable::Method { object, name } => write!(f, "<built-in method {name} of {} object>", object.kind()),
            Callable::Joiner { .. } => f.write_str("<joiner>"),
        }
    }
}

impl Object for Callable {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }
}

impl Callable {
    /// A joiner's answer: nothing at first, then the separator.
    pub fn join(&self) -> Option<Value> {
        let Callable::Joiner { separator, used } = self else { return None };
        Some(if std::mem::replace(&mut *lock(used), true) { separator.clone() } else { "".into() })
    }
}

/// `cycler(..)`
#[derive(Debug)]
pub(super) struct Cycler {
    pub items: Vec<Value>,
    at: Mutex<usize>,
}

impl Cycler {
    pub fn new(items: Vec<Value>) -> Self {
        Cycler { items, at: Mutex::new(0) }
    }

    pub fn current(&self) -> Value {
        self.items[*lock(&self.at)].clone()
    }

    pub fn next(&self) -> Value {
        let current = self.current();
        let mut at = lock(&self.at);
        *at = (*at + 1) % self.items.len();
        current
    }

    pub fn reset(&self) {
        *lock(&self.at) = 0;
    }
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }
}
