//! Filters that apply other filters and tests to each item.

use minijinja::Value;

use super::super::args::{Args, given, str_of};
use super::super::base::{Result, fail};
use super::super::value::{generator, iterate, type_name};
use super::super::{access, budget, predicates, print};

/// An attribute as filters take it: `"a.0.b"`, or a number.
pub(super) struct Path(Vec<Value>);

impl Path {
    pub fn new(attribute: &Value) -> Result<Path> {
        match attribute.as_str() {
            None if attribute.is_undefined() => fail("the attribute is undefined"),
            None => Ok(Path(vec![attribute.clone()])),
            Some(path) => {
                budget::items(path.matches('.').count())?;
                let is_index = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
                let part = |part: &str| match part.parse::<i64>() {
                    Ok(index) if is_index(part) => Value::from(index),
                    _ => Value::from(part),
                };
                Ok(Path(path.split('.').map(part).collect()))
            }
        }
    }

    pub fn follow(&self, item: &Value) -> Result<Value> {
        self.follow_or(item, None)
    }

    pub fn follow_or(&self, item: &Value, default: Option<&Value>) -> Result<Value> {
        let mut item = item.clone();
        for part in &self.0 {
            if item.is_undefined() {
                return fail(format!("an undefined value has no attribute {}", print::repr(part)?));
            }
            item = access::item(&item, part)?;
            if let Some(default) = default
                && item.is_undefined()
            {
                item = default.clone();
            }
        }
        Ok(item)
    }
}

/// The argument that filters by name take first.
fn name(value: &Value) -> Result<String> {
    str_of(value).map(str::to_owned)
}

/// `map(attribute=.., default=..)` or `map(filter, ..)`
pub(super) fn map(value: Value, mut args: Args, apply: fn(&str, Value, Args) -> Result<Value>) -> Result<Value> {
    let mapped = || {
        // Jinja looks at the arguments only if there is something to map.
        if !value.is_true() {
            return Ok(Vec::new());
        }
        if args.positional.is_empty() && args.keyword.iter().any(|(name, _)| name == "attribute") {
            let [attribute, default] = args.bind("map", ["attribute", "default"], 0)?;
            let (path, default) = (Path::new(&attribute.unwrap_or_default())?, given(default));
            return iterate(&value)?.iter().map(|item| path.follow_or(item, default.as_ref())).collect();
        }
        if args.positional.is_empty() {
            return fail("map requires a filter argument");
        }
        let filter = args.positional.remove(0);
        let filter = name(&filter)?;
        iterate(&value)?.into_iter().map(|item| apply(&filter, item, args.clone())).collect()
    };
    Ok(generator({ mapped }()))
}

pub(super) fn select(value: Value, args: Args) -> Result<Value> {
    Ok(generator(picked(&value, args, false, true)))
}

pub(super) fn reject(value: Value, args: Args) -> Result<Value> {
    Ok(generator(picked(&value, args, false, false)))
}

pub(super) fn selectattr(value: Value, args: Args) -> Result<Value> {
    Ok(generator(picked(&value, args, true, true)))
}

pub(super) fn rejectattr(value: Value, args: Args) -> Result<Value> {
    Ok(generator(picked(&value, args, true, false)))
}

fn picked(value: &Value, mut args: Args, by_attribute: bool, wanted: bool) -> Result<Vec<Value>> {
    if !value.is_true() {
        return Ok(Vec::new());
    }
    let path = match by_attribute {
        true if args.positional.is_empty() => return fail("Missing parameter for attribute name"),
        true => Some(Path::new(&args.positional.remove(0))?),
        false => None,
    };
    let test = if args.positional.is_empty() { None } else { Some(name(&args.positional.remove(0))?) };
    let mut kept = Vec::new();
    for item in iterate(value)? {
        let subject = match &path {
            Some(path) => path.follow(&item)?,
            None => item.clone(),
        };
        let holds = match &test {
            None => subject.is_true(),
            Some(test) => match predicates::apply(test, &subject, args.clone()) {
                Some(answer) => answer?,
                None => return fail(format!("No test named '{test}'.")),
            },
        };
        if holds == wanted {
            kept.push(item);
        }
    }
    Ok(kept)
}

/// The key that comparisons use that take no notice of case.
pub(super) fn folded(value: Value, case_sensitive: bool) -> Value {
    match value.as_str() {
        Some(text) if !case_sensitive => Value::from(text.to_lowercase()),
        _ => value,
    }
}

/// Several attributes, separated by commas, or the item itself.
pub(super) struct Keys(Vec<Option<Path>>);

impl Keys {
    pub fn new(attribute: Option<Value>) -> Result<Keys> {
        match given(attribute) {
            None => Ok(Keys(vec![None])),
            Some(attribute) => match attribute.as_str() {
                Some(list) => {
                    let paths = list.split(',').map(|path| Path::new(&path.into()).map(Some));
                    Ok(Keys(paths.collect::<Result<_>>()?))
                }
                None if type_name(&attribute) == "int" => Ok(Keys(vec![Some(Path::new(&attribute)?)])),
                None => fail("the attribute must be a string or an integer"),
            },
        }
    }

    pub fn of(&self, item: &Value, case_sensitive: bool) -> Result<Vec<Value>> {
        let key = |path: &Option<Path>| {
            let key = match path {
                Some(path) => path.follow(item)?,
                None => item.clone(),
            };
            Ok(folded(key, case_sensitive))
        };
        self.0.iter().map(key).collect()
    }
}
