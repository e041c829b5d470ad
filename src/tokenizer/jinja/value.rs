//! The containers of a rendering, which are Python's: lists, tuples, ranges, views, mappings in order.

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr, ValueKind};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use super::base::{Result, fail};
use super::budget;
use super::long;
use super::objects::{Callable, Cycler, Generator, Namespace};

/// How deep containers may nest. Freeing them takes a call for each level, on the stack that `isolated` has.
const DEPTH: usize = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavor {
    List,
    Tuple,
    /// What `groupby` gives: a tuple with names.
    Group,
    Range(i64, i64, i64),
    /// `dict_keys` and its kin.
    View(&'static str),
}

pub(super) struct Seq {
    pub flavor: Flavor,
    pub items: Vec<Value>,
    depth: usize,
}

// The engine prints variables next to errors: neither long nor deep.
impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} of {}>", self.flavor.name(), self.items.len())
    }
}

impl Flavor {
    pub fn name(self) -> &'static str {
        match self {
            Flavor::List => "list",
            Flavor::Tuple | Flavor::Group => "tuple",
            Flavor::Range(..) => "range",
            Flavor::View(name) => name,
        }
    }
}

impl Object for Seq {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match self.flavor {
            Flavor::List | Flavor::Tuple | Flavor::Group => ObjectRepr::Seq,
            _ => ObjectRepr::Plain,
        }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.items.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.items.len())
    }

    fn is_true(self: &Arc<Self>) -> bool {
        !self.items.is_empty()
    }
}

/// A mapping in the order of insertion.
pub(super) struct Dict {
    pub pairs: Vec<(Value, Value)>,
    index: OnceLock<HashMap<Value, usize>>,
    depth: usize,
}

impl fmt::Debug for Dict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<dict of {}>", self.pairs.len())
    }
}

/// Up to here a search is as fast as a table.
const SMALL: usize = 8;

impl Dict {
    pub fn get(&self, key: &Value) -> Option<&Value> {
        if self.pairs.len() <= SMALL {
            return self.pairs.iter().find(|(other, _)| other == key).map(|(_, value)| value);
        }
        let index =
            self.index.get_or_init(|| self.pairs.iter().enumerate().map(|(i, (k, _))| (k.clone(), i)).collect());
        index.get(key).map(|&i| &self.pairs[i].1)
    }
}

impl Object for Dict {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get(key).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.pairs.iter().map(|(key, _)| key.clone()).collect())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.pairs.len())
    }

    fn is_true(self: &Arc<Self>) -> bool {
        !self.pairs.is_empty()
    }
}

fn depth(value: &Value) -> usize {
    if value.kind() <= ValueKind::String {
        0
    } else if let Some(seq) = value.downcast_object_ref::<Seq>() {
        seq.depth
    } else if let Some(dict) = value.downcast_object_ref::<Dict>() {
        dict.depth
    } else if let Some(generator) = value.downcast_object_ref::<Generator>() {
        generator.depth
    } else if let Some(Callable::Method { object, .. }) = value.downcast_object_ref() {
        1 + depth(object)
    } else if let Some(Callable::Joiner { separator, .. }) = value.downcast_object_ref() {
        1 + depth(separator)
    } else if let Some(cycler) = value.downcast_object_ref::<Cycler>() {
        1 + cycler.items.iter().map(depth).max().unwrap_or(0)
    } else {
        0
    }
}

fn depth_around<'a>(items: impl Iterator<Item = &'a Value>) -> Result<usize> {
    let depth = 1 + items.map(depth).max().unwrap_or(0);
    if depth > DEPTH { fail("values nest too deep") } else { Ok(depth) }
}

pub(super) fn seq(flavor: Flavor, items: Vec<Value>) -> Result<Value> {
    budget::items(items.len())?;
    let depth = depth_around(items.iter())?;
    Ok(Value::from_object(Seq { flavor, items, depth }))
}

pub(super) fn list(items: Vec<Value>) -> Result<Value> {
    seq(Flavor::List, items)
}

pub(super) fn tuple(items: Vec<Value>) -> Result<Value> {
    seq(Flavor::Tuple, items)
}

pub(super) fn strings<'a>(items: impl IntoIterator<Item = &'a str>) -> Result<Value> {
    list(items.into_iter().map(Value::from).collect())
}

/// A mapping; of equal keys the last one counts, in the place of the first.
pub(super) fn dict(pairs: impl IntoIterator<Item = (Value, Value)>) -> Result<Value> {
    let mut unique: Vec<(Value, Value)> = Vec::new();
    let mut index: HashMap<Value, usize> = HashMap::new();
    for (key, value) in pairs {
        require_hashable(&key)?;
        let known = match unique.len() <= SMALL {
            true => unique.iter().position(|(other, _)| *other == key),
            false => index.get(&key).copied(),
        };
        match known {
            Some(at) => unique[at].1 = value,
            None => {
                index.insert(key.clone(), unique.len());
                unique.push((key, value));
            }
        }
    }
    budget::items(unique.len() * 2)?;
    let depth = depth_around(unique.iter().flat_map(|(key, value)| [key, value]))?;
    let table = OnceLock::new();
    if unique.len() > SMALL {
        _ = table.set(index);
    }
    Ok(Value::from_object(Dict { pairs: unique, index: table, depth }))
}

/// A list of the input, which costs nothing and does not nest too deep.
pub(super) fn input_list(items: Vec<Value>) -> Value {
    let depth = 1 + items.iter().map(depth).max().unwrap_or(0);
    Value::from_object(Seq { flavor: Flavor::List, items, depth })
}

/// A mapping of the input, whose keys differ.
pub(super) fn input_dict(pairs: impl Iterator<Item = (Value, Value)>) -> Value {
    let pairs: Vec<_> = pairs.collect();
    let depth = 1 + pairs.iter().map(|(_, value)| depth(value)).max().unwrap_or(0);
    Value::from_object(Dict { pairs, index: OnceLock::new(), depth })
}

pub(super) fn generator(items: Result<Vec<Value>>) -> Value {
    let (items, error) = match items {
        Ok(items) => (items, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    match depth_around(items.iter()) {
        Ok(depth) => Value::from_object(Generator::new(items, error, depth)),
        Err(error) => Value::from_object(Generator::new(Vec::new(), Some(error), 0)),
    }
}

/// Refuses what cannot be a key.
pub(super) fn require_hashable(value: &Value) -> Result<()> {
    if hashable(value) { Ok(()) } else { fail(format!("unhashable type: '{}'", type_name(value))) }
}

fn hashable(value: &Value) -> bool {
    match value.downcast_object_ref::<Seq>() {
        Some(seq) if matches!(seq.flavor, Flavor::Tuple | Flavor::Group) => seq.items.iter().all(hashable),
        Some(seq) => matches!(seq.flavor, Flavor::Range(..)),
        None => value.downcast_object_ref::<Dict>().is_none(),
    }
}

/// The name of Python's type.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "Undefined",
        ValueKind::None => "NoneType",
        ValueKind::Bool => "bool",
        ValueKind::Number if value.is_integer() => "int",
        ValueKind::Number => "float",
        ValueKind::String => "str",
        ValueKind::Map => "dict",
        _ => match value.downcast_object_ref::<Seq>() {
            Some(seq) => seq.flavor.name(),
            None if long::digits(value).is_some() => "int",
            None if value.downcast_object_ref::<Generator>().is_some() => "generator",
            None if value.downcast_object_ref::<Namespace>().is_some() => "Namespace",
            None if value.downcast_object_ref::<Callable>().is_some() => "builtin_function_or_method",
            None => "object",
        },
    }
}

/// The items that a loop over `value` sees. Takes what a generator has left.
pub(super) fn iterate(value: &Value) -> Result<Vec<Value>> {
    let items = match value.kind() {
        ValueKind::Undefined => Vec::new(),
        ValueKind::String => {
            let (text, mut buffer) = (value.as_str().unwrap_or_default(), [0; 4]);
            budget::items(text.len() / 4)?;
            text.chars().map(|c| Value::from(&*c.encode_utf8(&mut buffer))).collect()
        }
        _ => {
            if let Some(seq) = value.downcast_object_ref::<Seq>() {
                seq.items.clone()
            } else if let Some(dict) = value.downcast_object_ref::<Dict>() {
                dict.pairs.iter().map(|(key, _)| key.clone()).collect()
            } else if let Some(generator) = value.downcast_object_ref::<Generator>() {
                generator.rest()?
            } else {
                return fail(format!("'{}' object is not iterable", type_name(value)));
            }
        }
    };
    budget::items(items.len())?;
    Ok(items)
}

/// `len(value)`
pub(super) fn length(value: &Value) -> Result<usize> {
    if value.is_undefined() {
        Ok(0)
    } else if let Some(text) = value.as_str() {
        Ok(text.chars().count())
    } else if let Some(seq) = value.downcast_object_ref::<Seq>() {
        Ok(seq.items.len())
    } else if let Some(dict) = value.downcast_object_ref::<Dict>() {
        Ok(dict.pairs.len())
    } else {
        fail(format!("object of type '{}' has no len()", type_name(value)))
    }
}

/// A text, paid for.
pub(super) fn text(text: String) -> Result<Value> {
    budget::bytes(text.len())?;
    Ok(Value::from(text))
}
