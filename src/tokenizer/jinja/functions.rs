//! The functions that Jinja and transformers give to every template.

use minijinja::{Error, ErrorKind, Value};
use std::fmt;

use super::args::{Args, str_of};
use super::base::{Result, fail};
use super::number::as_int;
use super::objects::{Callable, Cycler, Namespace};
use super::print;
use super::strftime::strftime;
use super::value::{Dict, Flavor, dict, iterate, seq, text, type_name};
use super::{budget, value};

pub(super) const NAMES: [&str; 7] =
    ["cycler", "dict", "joiner", "namespace", "raise_exception", "range", "strftime_now"];

/// `range` of more than this the sandbox refuses.
const RANGE_LIMIT: i128 = 100_000;

/// What a template said by `raise_exception`; it travels as the source of the engine's error.
#[derive(Debug)]
pub(crate) struct Raised(pub String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

pub(super) fn call(name: &str, mut args: Args) -> Result<Value> {
    match name {
        "range" => range(args),
        "dict" => dict(pairs(args, name)?),
        "namespace" => {
            let namespace = Namespace::default();
            for (key, value) in pairs(args, name)? {
                namespace.set(&print::str(&key)?, value);
            }
            Ok(budget::namespace(namespace))
        }
        "raise_exception" => {
            let [message] = args.bind(name, ["message"], 1)?;
            let message = print::str(&message.unwrap_or_default())?;
            Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
        }
        "strftime_now" => {
            let [format] = args.bind(name, ["format"], 1)?;
            let format = format.unwrap_or_default();
            text(strftime(str_of(&format)?, budget::now()))
        }
        "cycler" => {
            let items = std::mem::take(&mut args.positional);
            args.none(name)?;
            if items.is_empty() {
                fail("at least one item has to be provided")
            } else {
                Ok(Value::from_object(Cycler::new(items)))
            }
        }
        _ => {
            let [separator] = args.bind(name, ["sep"], 0)?;
            let separator = separator.unwrap_or(", ".into());
            Ok(Value::from_object(Callable::Joiner { separator, used: false.into() }))
        }
    }
}

/// The items of `dict(mapping or pairs, name=value, ..)`.
fn pairs(args: Args, what: &str) -> Result<Vec<(Value, Value)>> {
    if args.positional.len() > 1 {
        return fail(format!("{what} expected at most 1 argument, got {}", args.positional.len()));
    }
    let mut pairs = match args.positional.first() {
        None => Vec::new(),
        Some(given) => match given.downcast_object_ref::<Dict>() {
            Some(mapping) => mapping.pairs.clone(),
            None => {
                let pair = |item: Value| match iterate(&item)?.as_slice() {
                    [key, value] => Ok((key.clone(), value.clone())),
                    _ => fail("every item must have two items of its own"),
                };
                iterate(given)?.into_iter().map(pair).collect::<Result<_>>()?
            }
        },
    };
    pairs.extend(args.keyword.into_iter().map(|(key, value)| (Value::from(key), value)));
    Ok(pairs)
}

fn range(args: Args) -> Result<Value> {
    let [first, second, step] = args.bind("range", ["", "", ""], 1)?;
    let bound = |value: Option<Value>, default: i64| match value {
        None => Ok(default),
        Some(value) => match as_int(&value).map(i64::try_from) {
            Some(Ok(number)) => Ok(number),
            Some(Err(_)) => fail("the range is too large"),
            None => fail(format!("'{}' object cannot be interpreted as an integer", type_name(&value))),
        },
    };
    let first = bound(first, 0)?;
    let (start, stop) = match second {
        Some(second) => (first, bound(Some(second), 0)?),
        None => (0, first),
    };
    let step = bound(step, 1)?;
    let span = i128::from(stop) - i128::from(start);
    let len = match step {
        0 => return fail("range() arg 3 must not be zero"),
        _ if (span > 0) != (step > 0) => 0,
        _ => (span.abs() - 1) / i128::from(step).abs() + i128::from(span != 0),
    };
    if len > RANGE_LIMIT {
        return fail(format!("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({RANGE_LIMIT})."));
    }
    let items = (0..len as i64).map(|i| Value::from(start + i * step));
    seq(Flavor::Range(start, stop, step), items.collect())
}

/// The arguments that `**value` adds to a call.
pub(super) fn spread_named(value: &Value) -> Result<Vec<(String, Value)>> {
    let Some(mapping) = value.downcast_object_ref::<Dict>() else {
        return fail(format!("argument after ** must be a mapping, not {}", type_name(value)));
    };
    let pair = |(key, value): &(Value, Value)| Ok((str_of(key)?.to_owned(), value.clone()));
    mapping.pairs.iter().map(pair).collect()
}

/// What an assignment to several names takes apart.
pub(super) fn unpack(value: &Value, count: usize) -> Result<Value> {
    let items = iterate(value)?;
    match items.len() {
        len if len == count => value::list(items),
        len => fail(format!("expected {count} values to unpack, got {len}")),
    }
}
