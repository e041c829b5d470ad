//! The methods of lists, tuples, ranges, mappings and numbers.

use minijinja::Value;

use super::super::args::{Args, int_or};
use super::super::base::{Result, fail};
use super::super::compare::{contains, equal};
use super::super::number::{Number, as_number, int};
use super::super::objects::Generator;
use super::super::value::{Dict, Flavor, Seq, dict, iterate, list, seq, tuple, type_name};
use super::super::{budget, print};

pub(super) fn call(object: &Value, name: &str, args: Args) -> Result<Value> {
    if let Some(mapping) = object.downcast_object_ref::<Dict>() {
        return mapping_method(object, mapping, name, args);
    }
    if let Some(sequence) = object.downcast_object_ref::<Seq>() {
        return sequence_method(object, sequence, name, args);
    }
    if object.downcast_object_ref::<Generator>().is_some() {
        args.none(name)?;
        iterate(object)?;
        return Ok(Value::from(()));
    }
    let Some(number) = as_number(object) else { return unknown(object, name) };
    args.none(name)?;
    match (number, name) {
        (_, "conjugate") => Ok(number.value()),
        (Number::Int(_), "is_integer") => Ok(true.into()),
        (Number::Float(float), "is_integer") => Ok((float.fract() == 0.0).into()),
        (Number::Int(number), "bit_length") => Ok((128 - number.unsigned_abs().leading_zeros()).into()),
        (Number::Int(number), "bit_count") => Ok(number.unsigned_abs().count_ones().into()),
        (Number::Int(number), "as_integer_ratio") => tuple(vec![int(number), 1.into()]),
        _ => unknown(object, name),
    }
}

fn mapping_method(object: &Value, mapping: &Dict, name: &str, args: Args) -> Result<Value> {
    let view = |name, items| seq(Flavor::View(name), items);
    match name {
        "get" => {
            let [key, default] = args.bind(name, ["", ""], 1)?;
            let key = key.unwrap_or_default();
            // Fails on keys that cannot be.
            let found = contains(object, &key)?;
            Ok(mapping.get(&key).filter(|_| found).cloned().or(default).unwrap_or_else(|| Value::from(())))
        }
        "items" => {
            args.none(name)?;
            let pairs = mapping.pairs.iter().map(|(key, value)| tuple(vec![key.clone(), value.clone()]));
            view("dict_items", pairs.collect::<Result<_>>()?)
        }
        "keys" => args.none(name).and_then(|()| view("dict_keys", mapping.pairs.iter().map(|p| p.0.clone()).collect())),
        "values" => {
            args.none(name).and_then(|()| view("dict_values", mapping.pairs.iter().map(|p| p.1.clone()).collect()))
        }
        "copy" => args.none(name).map(|()| object.clone()),
        "fromkeys" => {
            let [keys, value] = args.bind(name, ["", ""], 1)?;
            let value = value.unwrap_or_else(|| Value::from(()));
            dict(iterate(&keys.unwrap_or_default())?.into_iter().map(|key| (key, value.clone())))
        }
        _ => unknown(object, name),
    }
}

fn sequence_method(object: &Value, sequence: &Seq, name: &str, args: Args) -> Result<Value> {
    budget::steps(sequence.items.len() as u64 / 8)?;
    match name {
        "copy" => args.none(name).and_then(|()| list(sequence.items.clone())),
        "count" => {
            let wanted = args.one(name)?;
            Ok(sequence.items.iter().filter(|item| equal(item, &wanted)).count().into())
        }
        "index" => {
            let [wanted, start, end] = args.bind(name, ["", "", ""], 1)?;
            let wanted = wanted.unwrap_or_default();
            let len = sequence.items.len() as i64;
            let clamp =
                |bound: i64| if bound < 0 { (bound.saturating_add(len)).max(0) } else { bound.min(len) } as usize;
            let (start, end) = (clamp(int_or(start.as_ref(), 0)?), clamp(int_or(end.as_ref(), len)?));
            let range = start..end.max(start);
            match sequence.items[range].iter().position(|item| equal(item, &wanted)) {
                Some(at) => Ok((start + at).into()),
                None => fail(format!("{} is not in {}", print::repr(&wanted)?, sequence.flavor.name())),
            }
        }
        "isdisjoint" => {
            for item in iterate(&args.one(name)?)? {
                if contains(object, &item)? {
                    return Ok(false.into());
                }
            }
            Ok(true.into())
        }
        _ => unknown(object, name),
    }
}

fn unknown(object: &Value, name: &str) -> Result<Value> {
    fail(format!("'{}' object has no method {name}", type_name(object)))
}
