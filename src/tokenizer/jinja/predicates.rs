//! What may stand behind `is`.

use minijinja::Value;
use minijinja::value::ValueKind;
use std::cmp::Ordering;

use super::args::Args;
use super::base::Result;
use super::compare::{contains, equal, identical, is_foreign, order};
use super::objects::{Callable, Generator};
use super::ops::binary;
use super::value::{Dict, Flavor, Seq, require_hashable, type_name};
use super::{names, print};

/// A test by its name; `None` where there is no such test.
pub(super) fn apply(name: &str, value: &Value, args: Args) -> Option<Result<bool>> {
    let ordered = |args: Args, fits: fn(Ordering) -> bool| order(value, &args.one(name)?).map(|o| o.is_some_and(fits));
    let remainder = |args: Args, by: i64, left: i64| {
        args.none(name)?;
        Ok(equal(&binary("%", value, &by.into())?, &left.into()))
    };
    let plain = |args: Args, answer: bool| args.none(name).map(|()| answer);
    let kind = value.kind();
    Some(match name {
        "defined" => plain(args, kind != ValueKind::Undefined),
        "undefined" => plain(args, kind == ValueKind::Undefined),
        "none" => plain(args, kind == ValueKind::None),
        "boolean" => plain(args, kind == ValueKind::Bool),
        "true" => plain(args, kind == ValueKind::Bool && value.is_true()),
        "false" => plain(args, kind == ValueKind::Bool && !value.is_true()),
        "integer" => plain(args, type_name(value) == "int"),
        "float" => plain(args, kind == ValueKind::Number && !value.is_integer()),
        "number" => plain(args, matches!(type_name(value), "int" | "float" | "bool")),
        "string" => plain(args, kind == ValueKind::String),
        "mapping" => plain(args, value.downcast_object_ref::<Dict>().is_some()),
        "sequence" => plain(args, is_sequence(value)),
        "iterable" => plain(args, is_iterable(value)),
        "callable" => plain(args, is_callable(value)),
        "escaped" => plain(args, value.is_safe()),
        "odd" => remainder(args, 2, 1),
        "even" => remainder(args, 2, 0),
        "divisibleby" => divisible(value, args),
        "lower" | "upper" => args.none(name).and_then(|()| {
            let text = print::str(value)?;
            let wanted: fn(char) -> bool = if name == "lower" { char::is_lowercase } else { char::is_uppercase };
            let other: fn(char) -> bool = if name == "lower" { char::is_uppercase } else { char::is_lowercase };
            Ok(text.chars().any(wanted) && !text.chars().any(other))
        }),
        "eq" | "equalto" | "==" => args.one(name).map(|other| equal(value, &other)),
        "ne" | "!=" => args.one(name).map(|other| !equal(value, &other)),
        "lt" | "lessthan" | "<" => ordered(args, Ordering::is_lt),
        "le" | "<=" => ordered(args, Ordering::is_le),
        "gt" | "greaterthan" | ">" => ordered(args, Ordering::is_gt),
        "ge" | ">=" => ordered(args, Ordering::is_ge),
        "in" => args.one(name).and_then(|container| contains(&container, value)),
        "sameas" => args.one(name).map(|other| identical(value, &other)),
        "filter" => plain(args, value.as_str().is_some_and(|name| names::FILTERS.contains(&name)))
            .and_then(|answer| require_hashable(value).map(|()| answer)),
        "test" => {
            plain(args, value.as_str().is_some_and(exists)).and_then(|answer| require_hashable(value).map(|()| answer))
        }
        _ => return None,
    })
}

pub(super) fn exists(name: &str) -> bool {
    apply(name, &Value::from(()), Args::default()).is_some()
}

fn divisible(value: &Value, args: Args) -> Result<bool> {
    let [by] = args.bind("divisibleby", ["num"], 1)?;
    Ok(equal(&binary("%", value, &by.unwrap_or_default())?, &0.into()))
}

/// Functions and macros; and undefined, in Jinja.
fn is_callable(value: &Value) -> bool {
    value.is_undefined() || value.downcast_object_ref::<Callable>().is_some() || is_foreign(value)
}

/// Jinja asks for a length and for `[]`: strings, lists and mappings have both, and so has undefined.
fn is_sequence(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Undefined | ValueKind::String => true,
        _ => {
            value.downcast_object_ref::<Dict>().is_some()
                || value.downcast_object_ref::<Seq>().is_some_and(|seq| !matches!(seq.flavor, Flavor::View(_)))
        }
    }
}

fn is_iterable(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Undefined | ValueKind::String => true,
        _ => {
            value.downcast_object_ref::<Dict>().is_some()
                || value.downcast_object_ref::<Seq>().is_some()
                || value.downcast_object_ref::<Generator>().is_some()
        }
    }
}
