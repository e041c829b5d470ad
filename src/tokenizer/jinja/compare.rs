//! Equality, identity, order, containment.

use minijinja::Value;
use minijinja::value::ValueKind;
use std::cmp::Ordering;

use super::base::{Result, fail};
use super::budget;
use super::long::{self, Long};
use super::number::as_number;
use super::objects::{Callable, Cycler, Generator, Namespace};
use super::value::{Dict, Flavor, Seq, iterate, require_hashable, type_name};

/// `a == b`
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    if let Some(order) = long::order(a, b) {
        return order == Some(Ordering::Equal);
    }
    match (as_number(a), as_number(b)) {
        (Some(x), Some(y)) => return x.compare(y) == Some(Ordering::Equal),
        (None, None) => {}
        _ => return false,
    }
    if a.kind() <= ValueKind::String || b.kind() <= ValueKind::String {
        return a == b;
    }
    if let (Some(x), Some(y)) = (a.downcast_object_ref::<Seq>(), b.downcast_object_ref::<Seq>()) {
        let same_kind = match (x.flavor, y.flavor) {
            (Flavor::Tuple | Flavor::Group, Flavor::Tuple | Flavor::Group) => true,
            (Flavor::View(x), Flavor::View(y)) => x != "dict_values" && x == y,
            (x, y) => x.name() == y.name(),
        };
        return same_kind && x.items.len() == y.items.len() && x.items.iter().zip(&y.items).all(|(a, b)| same(a, b));
    }
    if let (Some(x), Some(y)) = (a.downcast_object_ref::<Dict>(), b.downcast_object_ref::<Dict>()) {
        let mut pairs = x.pairs.iter();
        return x.pairs.len() == y.pairs.len()
            && pairs.all(|(key, value)| y.get(key).is_some_and(|other| same(value, other)));
    }
    if let (Some(Callable::Method { object: x, name: m }), Some(Callable::Method { object: y, name: n })) =
        (a.downcast_object_ref(), b.downcast_object_ref())
    {
        return m == n && identical(x, y);
    }
    identical(a, b)
}

/// Equality inside of containers, where Python asks for identity first.
fn same(a: &Value, b: &Value) -> bool {
    // Deep values are more than the stack can compare; so Python's is.
    budget::steps(1).is_ok() && (identical_object(a, b) || equal(a, b))
}

fn identical_object(a: &Value, b: &Value) -> bool {
    matches!((address(a), address(b)), (Some(a), Some(b)) if a == b)
}

/// Where an object of ours lives.
fn address(value: &Value) -> Option<usize> {
    fn of<T: 'static>(value: &Value) -> Option<usize> {
        value.downcast_object_ref::<T>().map(|object| std::ptr::from_ref(object) as usize)
    }
    of::<Seq>(value)
        .or_else(|| of::<Dict>(value))
        .or_else(|| of::<Namespace>(value))
        .or_else(|| of::<Generator>(value))
        .or_else(|| of::<Callable>(value))
        .or_else(|| of::<Cycler>(value))
        .or_else(|| of::<Long>(value))
}

/// Whether a value is one of the engine's own objects: a loop or a macro.
pub(super) fn is_foreign(value: &Value) -> bool {
    value.kind() > ValueKind::String && address(value).is_none()
}

/// `a is b`, as far as that means anything for small values.
pub(super) fn identical(a: &Value, b: &Value) -> bool {
    match (address(a), address(b)) {
        (Some(a), Some(b)) => a == b,
        (None, None) => type_name(a) == type_name(b) && !a.is_undefined() && a == b,
        _ => false,
    }
}

/// The order of two values, or an error where Python knows none. `None` is the order of NaN.
pub(super) fn order(a: &Value, b: &Value) -> Result<Option<Ordering>> {
    if let Some(order) = long::order(a, b) {
        return Ok(order);
    }
    if let (Some(x), Some(y)) = (as_number(a), as_number(b)) {
        return Ok(x.compare(y));
    }
    if let (Some(x), Some(y)) = (a.as_str(), b.as_str()) {
        return Ok(Some(x.cmp(y)));
    }
    if let (Some(x), Some(y)) = (a.downcast_object_ref::<Seq>(), b.downcast_object_ref::<Seq>())
        && x.flavor.name() == y.flavor.name()
        && matches!(x.flavor, Flavor::List | Flavor::Tuple | Flavor::Group)
    {
        budget::steps(1)?;
        return match x.items.iter().zip(&y.items).find(|(a, b)| !same(a, b)) {
            Some((a, b)) => order(a, b),
            None => Ok(Some(x.items.len().cmp(&y.items.len()))),
        };
    }
    fail(format!("no order between instances of '{}' and '{}'", type_name(a), type_name(b)))
}

/// `needle in value`
pub(super) fn contains(value: &Value, needle: &Value) -> Result<bool> {
    if let Some(text) = value.as_str() {
        return match needle.as_str() {
            Some(needle) => Ok(text.contains(needle)),
            None => fail(format!("'in <string>' requires string as left operand, not {}", type_name(needle))),
        };
    }
    if let Some(dict) = value.downcast_object_ref::<Dict>() {
        require_hashable(needle)?;
        return Ok(dict.get(needle).is_some());
    }
    if let Some(generator) = value.downcast_object_ref::<Generator>() {
        while let Some(item) = generator.next()? {
            if same(&item, needle) {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    if let Some(seq) = value.downcast_object_ref::<Seq>() {
        budget::steps(seq.items.len() as u64 / 8)?;
        return Ok(seq.items.iter().any(|item| same(item, needle)));
    }
    iterate(value).map(|items| items.iter().any(|item| same(item, needle)))
}
