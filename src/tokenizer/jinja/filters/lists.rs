//! Filters of lists and of what can be looped over.

use minijinja::Value;
use std::time::SystemTime;

use super::super::args::{Args, given, int_or};
use super::super::base::{Result, fail};
use super::super::objects::Generator;
use super::super::value::{self, Dict, Seq, generator, iterate, tuple, type_name};
use super::super::{access, budget, ops, print};
use super::select::Path;

pub(super) fn length(value: Value, args: Args) -> Result<Value> {
    args.none("length")?;
    value::length(&value).map(Value::from)
}

pub(super) fn list(value: Value, args: Args) -> Result<Value> {
    args.none("list")?;
    value::list(iterate(&value)?)
}

pub(super) fn first(value: Value, args: Args) -> Result<Value> {
    args.none("first")?;
    if let Some(generator) = value.downcast_object_ref::<Generator>() {
        return Ok(generator.next()?.unwrap_or_default());
    }
    if let Some(text) = value.as_str() {
        return Ok(text.chars().next().map_or(Value::UNDEFINED, |c| c.to_string().into()));
    }
    if let Some(seq) = value.downcast_object_ref::<Seq>() {
        return Ok(seq.items.first().cloned().unwrap_or_default());
    }
    Ok(iterate(&value)?.into_iter().next().unwrap_or_default())
}

pub(super) fn last(value: Value, args: Args) -> Result<Value> {
    args.none("last")?;
    if let Some(text) = value.as_str() {
        return Ok(text.chars().next_back().map_or(Value::UNDEFINED, |c| c.to_string().into()));
    }
    if let Some(seq) = value.downcast_object_ref::<Seq>() {
        return Ok(seq.items.last().cloned().unwrap_or_default());
    }
    if value.downcast_object_ref::<Generator>().is_some() {
        return fail("'generator' object is not reversible");
    }
    Ok(iterate(&value)?.into_iter().next_back().unwrap_or_default())
}

pub(super) fn random(value: Value, args: Args) -> Result<Value> {
    args.none("random")?;
    let len = value::length(&value)?;
    if len == 0 {
        return Ok(Value::UNDEFINED);
    }
    let clock = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.subsec_nanos());
    access::item(&value, &Value::from(clock as usize % len))
}

pub(super) fn reverse(value: Value, args: Args) -> Result<Value> {
    args.none("reverse")?;
    if let Some(text) = value.as_str() {
        return value::text(text.chars().rev().collect());
    }
    let mut items = iterate(&value)?;
    items.reverse();
    match type_name(&value) {
        "generator" => value::list(items),
        _ => Ok(generator(Ok(items))),
    }
}

pub(super) fn items(value: Value, args: Args) -> Result<Value> {
    args.none("items")?;
    let Some(dict) = value.downcast_object_ref::<Dict>() else {
        let empty = if value.is_undefined() { Ok(Vec::new()) } else { fail("Can only get item pairs from a mapping.") };
        return Ok(generator(empty));
    };
    let pairs = dict.pairs.iter().map(|(key, value)| tuple(vec![key.clone(), value.clone()]));
    Ok(generator(pairs.collect()))
}

pub(super) fn join(value: Value, args: Args) -> Result<Value> {
    let [separator, attribute] = args.bind("join", ["d", "attribute"], 0)?;
    let separator = print::str(&separator.unwrap_or("".into()))?;
    let path = given(attribute).map(|attribute| Path::new(&attribute)).transpose()?;
    let mut out = String::new();
    for (i, item) in iterate(&value)?.into_iter().enumerate() {
        let item = match &path {
            Some(path) => path.follow(&item)?,
            None => item,
        };
        if i > 0 {
            budget::bytes(separator.len())?;
            out.push_str(&separator);
        }
        out.push_str(&print::str(&item)?);
    }
    Ok(Value::from(out))
}

pub(super) fn sum(value: Value, args: Args) -> Result<Value> {
    let [attribute, start] = args.bind("sum", ["attribute", "start"], 0)?;
    let path = given(attribute).map(|attribute| Path::new(&attribute)).transpose()?;
    let mut sum = start.unwrap_or_else(|| 0.into());
    if sum.as_str().is_some() {
        return fail("sum() can't sum strings [use ''.join(seq) instead]");
    }
    for item in iterate(&value)? {
        let item = match &path {
            Some(path) => path.follow(&item)?,
            None => item,
        };
        sum = ops::binary("+", &sum, &item)?;
    }
    Ok(sum)
}

/// `batch(linecount, fill_with=None)`
pub(super) fn batch(value: Value, args: Args) -> Result<Value> {
    let [count, fill] = args.bind("batch", ["linecount", "fill_with"], 1)?;
    let (count, fill) = (int_or(count.as_ref(), 0)?, given(fill));
    let batches = || {
        let mut batches = Vec::new();
        let mut current = Vec::new();
        for item in iterate(&value)? {
            if current.len() as i64 == count {
                batches.push(value::list(std::mem::take(&mut current))?);
            }
            current.push(item);
        }
        if !current.is_empty() {
            if let Some(fill) = &fill
                && (current.len() as i64) < count
            {
                budget::items(count as usize)?;
                current.resize(count as usize, fill.clone());
            }
            batches.push(value::list(current)?);
        }
        Ok(batches)
    };
    Ok(generator(batches()))
}

/// `slice(slices, fill_with=None)`
pub(super) fn slice(value: Value, args: Args) -> Result<Value> {
    let [count, fill] = args.bind("slice", ["slices", "fill_with"], 1)?;
    let (count, fill) = (int_or(count.as_ref(), 0)?, given(fill));
    let slices = || {
        let items = iterate(&value)?;
        let Some(count) = usize::try_from(count).ok().filter(|&count| count > 0) else {
            return if count == 0 { fail("integer division or modulo by zero") } else { Ok(Vec::new()) };
        };
        budget::items(count)?;
        let (each, longer) = (items.len() / count, items.len() % count);
        let mut slices = Vec::new();
        let mut rest = items.into_iter();
        for i in 0..count {
            let mut part: Vec<Value> = rest.by_ref().take(each + usize::from(i < longer)).collect();
            if i >= longer
                && let Some(fill) = &fill
            {
                part.push(fill.clone());
            }
            slices.push(value::list(part)?);
        }
        Ok(slices)
    };
    Ok(generator(slices()))
}
