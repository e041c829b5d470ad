//! What a rendering may spend, and what it must clean up. A rendering has a thread of its own, so this lives there.

use minijinja::{Error, ErrorKind, Value};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::base::Result;
use super::objects::Namespace;

/// The instructions of a rendering with no input, and how many more there are for each byte and each message. Real
/// templates take a few hundred for each message, and about three for each byte of a schema.
const STEPS: u64 = 500_000;
const STEPS_PER_BYTE: u64 = 64;
const STEPS_PER_ITEM: u64 = 10_000;

/// The bytes that a rendering may write, in texts that it keeps or throws away; and how many more for each byte of
/// input, since templates build texts piece by piece.
const BYTES: u64 = 256 << 20;
const BYTES_PER_BYTE: u64 = 256;

/// How deep expressions may nest, those of macros counted within those that call them. Without optimisation a level takes
/// several KiB of the stack that `isolated` gives.
const DEPTH: usize = 8000;

/// The size of a value in a list.
const ITEM: u64 = 24;

thread_local! {
    static STEPS_LEFT: Cell<u64> = const { Cell::new(0) };
    static DEPTH_NOW: Cell<usize> = const { Cell::new(0) };
    static BYTES_LEFT: Cell<u64> = const { Cell::new(0) };
    static IS_MARKED: Cell<bool> = const { Cell::new(false) };
    static NOW: Cell<Option<PrimitiveDateTime>> = const { Cell::new(None) };
    static NAMESPACES: RefCell<Vec<Arc<Namespace>>> = const { RefCell::new(Vec::new()) };
}

/// The budget of a rendering; cleans up as it goes.
pub(crate) struct Budget(());

/// The instructions that an input of `bytes` bytes in `items` messages, tools and documents may take.
pub(crate) fn steps_for(bytes: usize, items: usize) -> u64 {
    STEPS
        .saturating_add(STEPS_PER_BYTE.saturating_mul(bytes as u64))
        .saturating_add(STEPS_PER_ITEM.saturating_mul(items as u64))
}

impl Budget {
    pub fn new(bytes: usize, items: usize, now: Option<PrimitiveDateTime>, is_marked: bool) -> Self {
        STEPS_LEFT.set(steps_for(bytes, items));
        BYTES_LEFT.set(BYTES.saturating_add(BYTES_PER_BYTE.saturating_mul(bytes as u64)));
        NOW.set(now);
        DEPTH_NOW.set(0);
        IS_MARKED.set(is_marked);
        Budget(())
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        // One by one: each of them is still held here while another is cleared.
        let namespaces = NAMESPACES.take();
        for namespace in &namespaces {
            namespace.clear();
        }
    }
}

/// An expression that is being evaluated.
pub(super) struct Level(());

pub(super) fn level() -> Result<Level> {
    let depth = DEPTH_NOW.get() + 1;
    if depth > DEPTH {
        return Err(Error::new(ErrorKind::InvalidOperation, "the template nests too deep"));
    }
    DEPTH_NOW.set(depth);
    Ok(Level(()))
}

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH_NOW.set(DEPTH_NOW.get() - 1);
    }
}

pub(super) fn steps(count: u64) -> Result<()> {
    match STEPS_LEFT.get().checked_sub(count) {
        Some(left) => {
            STEPS_LEFT.set(left);
            Ok(())
        }
        None => Err(Error::from(ErrorKind::OutOfFuel)),
    }
}

/// To be called before memory is asked for, where it may be much.
pub(super) fn bytes(count: usize) -> Result<()> {
    match BYTES_LEFT.get().checked_sub(count as u64) {
        Some(left) => {
            BYTES_LEFT.set(left);
            steps(count as u64 / 64)
        }
        None => Err(Error::new(ErrorKind::InvalidOperation, "the template writes too much text")),
    }
}

/// A container of `count` items.
pub(super) fn items(count: usize) -> Result<()> {
    bytes(count.saturating_mul(ITEM as usize))
}

pub(super) fn namespace(namespace: Namespace) -> Value {
    let namespace = Arc::new(namespace);
    NAMESPACES.with_borrow_mut(|all| all.push(Arc::clone(&namespace)));
    Value::from_dyn_object(namespace)
}

/// Whether the data of this rendering has marks, which the template must not notice.
pub(super) fn is_marked() -> bool {
    IS_MARKED.get()
}

/// The moment of this rendering.
pub(super) fn now() -> PrimitiveDateTime {
    NOW.get().unwrap_or_else(|| {
        // Where the system does not tell its time zone, UTC is the best there is.
        let now = OffsetDateTime::now_local().unwrap_or_else(|_| OffsetDateTime::now_utc());
        PrimitiveDateTime::new(now.date(), now.time())
    })
}
