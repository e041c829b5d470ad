//! Filters that compare items with one another.

use minijinja::{Error, Value};
use std::cmp::Ordering;

use super::super::args::{Args, given, str_of, truth};
use super::super::base::{Result, fail};
use super::super::budget;
use super::super::compare::{equal, order};
use super::super::value::{Dict, Flavor, generator, iterate, list, require_hashable, seq, tuple};
use super::select::{Keys, Path, folded};

/// How two keys are compared.
type Compare = fn(&[Value], &[Value]) -> Result<Ordering>;

fn order_one(a: &[Value], b: &[Value]) -> Result<Ordering> {
    Ok(order(&a[0], &b[0])?.unwrap_or(Ordering::Equal))
}

/// As Python compares lists: the first two items that are not equal decide.
fn order_all(a: &[Value], b: &[Value]) -> Result<Ordering> {
    match a.iter().zip(b).find(|(a, b)| !equal(a, b)) {
        Some((a, b)) => Ok(order(a, b)?.unwrap_or(Ordering::Equal)),
        None => Ok(Ordering::Equal),
    }
}

/// Sorts by keys that may have no order. Equal items keep theirs.
fn sorted<T>(mut items: Vec<(Vec<Value>, T)>, reverse: bool, compare: Compare) -> Result<Vec<(Vec<Value>, T)>> {
    let len = items.len() as u64;
    budget::steps(len * u64::from(64 - len.leading_zeros()))?;
    let mut error: Option<Error> = None;
    items.sort_by(|a, b| {
        let (a, b) = if reverse { (b, a) } else { (a, b) };
        compare(&a.0, &b.0).unwrap_or_else(|e| {
            error.get_or_insert(e);
            Ordering::Equal
        })
    });
    match error {
        Some(error) => Err(error),
        None => Ok(items),
    }
}

fn keyed(value: &Value, keys: &Keys, case_sensitive: bool) -> Result<Vec<(Vec<Value>, Value)>> {
    iterate(value)?.into_iter().map(|item| Ok((keys.of(&item, case_sensitive)?, item))).collect()
}

pub(super) fn sort(value: Value, args: Args) -> Result<Value> {
    let [reverse, case_sensitive, attribute] = args.bind("sort", ["reverse", "case_sensitive", "attribute"], 0)?;
    let keys = Keys::new(attribute)?;
    let items = keyed(&value, &keys, truth(case_sensitive.as_ref()))?;
    list(sorted(items, truth(reverse.as_ref()), order_all)?.into_iter().map(|(_, item)| item).collect())
}

pub(super) fn dictsort(value: Value, args: Args) -> Result<Value> {
    let [case_sensitive, by, reverse] = args.bind("dictsort", ["case_sensitive", "by", "reverse"], 0)?;
    let by = by.unwrap_or("key".into());
    let by_value = match str_of(&by)? {
        "key" => false,
        "value" => true,
        _ => return fail("You can only sort by either \"key\" or \"value\""),
    };
    let Some(dict) = value.downcast_object_ref::<Dict>() else { return fail("dictsort wants a mapping") };
    let case_sensitive = truth(case_sensitive.as_ref());
    let items = dict.pairs.iter().map(|(key, value)| {
        let by = if by_value { value } else { key };
        (vec![folded(by.clone(), case_sensitive)], (key.clone(), value.clone()))
    });
    let items = sorted(items.collect(), truth(reverse.as_ref()), order_one)?;
    list(items.into_iter().map(|(_, (key, value))| tuple(vec![key, value])).collect::<Result<_>>()?)
}

pub(super) fn unique(value: Value, args: Args) -> Result<Value> {
    let [case_sensitive, attribute] = args.bind("unique", ["case_sensitive", "attribute"], 0)?;
    let unique = || {
        let path = given(attribute).map(|attribute| Path::new(&attribute)).transpose()?;
        let mut seen = std::collections::HashSet::new();
        let mut kept = Vec::new();
        for item in iterate(&value)? {
            let key = match &path {
                Some(path) => path.follow(&item)?,
                None => item.clone(),
            };
            let key = folded(key, truth(case_sensitive.as_ref()));
            require_hashable(&key)?;
            if seen.insert(key) {
                kept.push(item);
            }
        }
        Ok(kept)
    };
    Ok(generator({ unique }()))
}

pub(super) fn min(value: Value, args: Args) -> Result<Value> {
    extreme("min", Ordering::Less, &value, args)
}

pub(super) fn max(value: Value, args: Args) -> Result<Value> {
    extreme("max", Ordering::Greater, &value, args)
}

fn extreme(name: &str, wanted: Ordering, value: &Value, args: Args) -> Result<Value> {
    let [case_sensitive, attribute] = args.bind(name, ["case_sensitive", "attribute"], 0)?;
    let case_sensitive = truth(case_sensitive.as_ref());
    let path = given(attribute).map(|attribute| Path::new(&attribute)).transpose()?;
    let mut best: Option<(Value, Value)> = None;
    for item in iterate(value)? {
        let key = match &path {
            Some(path) => path.follow(&item)?,
            None => item.clone(),
        };
        let key = folded(key, case_sensitive);
        match &best {
            Some((other, _)) if order(&key, other)? != Some(wanted) => {}
            _ => best = Some((key, item)),
        }
    }
    Ok(best.map(|(_, item)| item).unwrap_or_default())
}

pub(super) fn groupby(value: Value, args: Args) -> Result<Value> {
    let [attribute, default, case_sensitive] = args.bind("groupby", ["attribute", "default", "case_sensitive"], 1)?;
    let path = Path::new(&attribute.unwrap_or_default())?;
    let (default, case_sensitive) = (given(default), truth(case_sensitive.as_ref()));
    let mut items = Vec::new();
    for item in iterate(&value)? {
        let key = path.follow_or(&item, default.as_ref())?;
        items.push((vec![folded(key.clone(), case_sensitive)], (key, item)));
    }
    let mut groups: Vec<(Value, Value, Vec<Value>)> = Vec::new();
    for (key, (label, item)) in sorted(items, false, order_one)? {
        match groups.last_mut() {
            Some((folded, _, members)) if equal(folded, &key[0]) => members.push(item),
            _ => groups.push((key[0].clone(), label, vec![item])),
        }
    }
    let group = |(_, label, items): (Value, Value, Vec<Value>)| seq(Flavor::Group, vec![label, list(items)?]);
    list(groups.into_iter().map(group).collect::<Result<_>>()?)
}
