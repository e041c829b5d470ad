//! Attributes, subscripts, slices.

use minijinja::Value;
use minijinja::value::ValueKind;

use super::base::{Result, fail};
use super::number::{as_int, int};
use super::objects::{Callable, Cycler, Namespace};
use super::value::{Dict, Flavor, Seq, list, seq, text, type_name};
use super::{budget, long, names};

/// `value.name` where `value` is defined.
pub(super) fn attribute(value: &Value, name: &str) -> Result<Value> {
    match own_attribute(value, name)? {
        Some(found) => Ok(found),
        None => {
            Ok(value.downcast_object_ref::<Dict>().and_then(|dict| dict.get(&name.into())).cloned().unwrap_or_default())
        }
    }
}

/// What Python's `getattr` finds and the sandbox lets pass.
pub(super) fn own_attribute(value: &Value, name: &str) -> Result<Option<Value>> {
    if names::has_method(value, name) {
        let method = Callable::Method { object: value.clone(), name: name.to_owned() };
        return Ok(Some(Value::from_object(method)));
    }
    if let Some(namespace) = value.downcast_object_ref::<Namespace>() {
        return Ok(namespace.get(name));
    }
    if let Some(cycler) = value.downcast_object_ref::<Cycler>() {
        return Ok((name == "current").then(|| cycler.current()));
    }
    if let Some(seq) = value.downcast_object_ref::<Seq>() {
        return Ok(match (seq.flavor, name) {
            (Flavor::Group, "grouper") => seq.items.first().cloned(),
            (Flavor::Group, "list") => seq.items.get(1).cloned(),
            (Flavor::Range(start, ..), "start") => Some(start.into()),
            (Flavor::Range(_, stop, _), "stop") => Some(stop.into()),
            (Flavor::Range(_, _, step), "step") => Some(step.into()),
            _ => None,
        });
    }
    // The engine's loops and macros.
    if long::digits(value).is_none()
        && value.kind() > ValueKind::String
        && value.downcast_object_ref::<Dict>().is_none()
    {
        return value.get_attr(name).map(|found| Some(found).filter(|found| !found.is_undefined()));
    }
    Ok(match (as_int(value), name) {
        (Some(number), "real" | "numerator") => Some(int(number)),
        (Some(_), "imag") => Some(0.into()),
        (Some(_), "denominator") => Some(1.into()),
        _ => None,
    })
}

/// `value[key]` where `value` is defined: what is missing is looked for among the attributes.
pub(super) fn item(value: &Value, key: &Value) -> Result<Value> {
    let found = if let Some(dict) = value.downcast_object_ref::<Dict>() {
        dict.get(key).cloned()
    } else if let (Some(seq), Some(index)) = (value.downcast_object_ref::<Seq>(), as_int(key)) {
        match seq.flavor {
            Flavor::View(_) => None,
            _ => at(seq.items.len(), index).map(|at| seq.items[at].clone()),
        }
    } else if let (Some(text), Some(index)) = (value.as_str(), as_int(key)) {
        let found = match index {
            0.. => usize::try_from(index).ok().and_then(|index| text.chars().nth(index)),
            _ => usize::try_from(-1 - index).ok().and_then(|index| text.chars().rev().nth(index)),
        };
        found.map(|c| Value::from(c.to_string()))
    } else {
        None
    };
    match (found, key.as_str()) {
        (Some(found), _) => Ok(found),
        (None, Some(name)) => Ok(own_attribute(value, name)?.unwrap_or_default()),
        (None, None) => Ok(Value::UNDEFINED),
    }
}

fn at(len: usize, index: i128) -> Option<usize> {
    let index = if index < 0 { index + len as i128 } else { index };
    usize::try_from(index).ok().filter(|&index| index < len)
}

/// `value[start:stop:step]`.
pub(super) fn slice(value: &Value, bounds: [Option<Value>; 3]) -> Result<Value> {
    let bounds = bounds.map(|bound| bound.filter(|bound| !bound.is_none()));
    if bounds.iter().flatten().any(|bound| as_int(bound).is_none()) {
        return fail("slice indices must be integers or None");
    }
    let [start, stop, step] = bounds.map(|bound| bound.as_ref().and_then(as_int));
    let step = step.unwrap_or(1);
    let pick = |len: usize| -> Result<Vec<usize>> {
        if step == 0 {
            return fail("slice step cannot be zero");
        }
        let len = len as i128;
        let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
        let clamp = |bound: i128| if bound < 0 { bound.saturating_add(len) } else { bound }.clamp(low, high);
        let mut at = start.map_or(if step > 0 { low } else { high }, clamp);
        let stop = stop.map_or(if step > 0 { high } else { low }, clamp);
        let mut picked = Vec::new();
        while if step > 0 { at < stop } else { at > stop } {
            picked.push(at as usize);
            at = at.saturating_add(step);
        }
        Ok(picked)
    };
    if let Some(whole) = value.as_str() {
        let chars: Vec<char> = whole.chars().collect();
        budget::items(chars.len() / 4)?;
        return text(pick(chars.len())?.into_iter().map(|at| chars[at]).collect());
    }
    match value.downcast_object_ref::<Seq>().filter(|whole| !matches!(whole.flavor, Flavor::View(_))) {
        Some(whole) => {
            let items: Vec<Value> = pick(whole.items.len())?.into_iter().map(|at| whole.items[at].clone()).collect();
            match whole.flavor {
                Flavor::Tuple | Flavor::Group => seq(Flavor::Tuple, items),
                Flavor::List | Flavor::View(_) => list(items),
                Flavor::Range(first, _, by) => {
                    let step = step.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
                    let by = by.saturating_mul(step);
                    let first = items.first().and_then(Value::as_i64).unwrap_or(first);
                    let last = items.last().and_then(Value::as_i64).map_or(first, |last| last.saturating_add(by));
                    seq(Flavor::Range(first, last, by), items)
                }
            }
        }
        None => fail(format!("'{}' object is not subscriptable", type_name(value))),
    }
}
