//! The arguments of a call.

use minijinja::Value;
use minijinja::value::{Object, ObjectRepr};
use std::sync::{Arc, Mutex, PoisonError};

use super::base::{Result, fail};
use super::number::as_int;
use super::value::{dict, tuple, type_name};

#[derive(Clone, Debug, Default)]
pub(super) struct Args {
    pub positional: Vec<Value>,
    pub keyword: Vec<(String, Value)>,
}

impl Args {
    /// The arguments in the order of `names`; those named "" cannot be given by name. The first `required` must be
    /// there.
    pub fn bind<const N: usize>(self, what: &str, names: [&str; N], required: usize) -> Result<[Option<Value>; N]> {
        if self.positional.len() > N {
            return fail(format!("{what}() takes at most {N} arguments ({} given)", self.positional.len()));
        }
        let mut bound = [const { None }; N];
        for (slot, value) in bound.iter_mut().zip(self.positional) {
            *slot = Some(value);
        }
        for (name, value) in self.keyword {
            match names.iter().position(|known| !known.is_empty() && *known == name) {
                Some(at) if bound[at].is_none() => bound[at] = Some(value),
                Some(_) => return fail(format!("{what}() got multiple values for argument '{name}'")),
                None => return fail(format!("{what}() got an unexpected keyword argument '{name}'")),
            }
        }
        match bound[..required].iter().position(Option::is_none) {
            Some(missing) => fail(format!("{what}() lacks its argument {}", missing + 1)),
            None => Ok(bound),
        }
    }

    pub fn none(self, what: &str) -> Result<()> {
        self.bind(what, [], 0).map(|[]| ())
    }

    /// The one argument, which has no name.
    pub fn one(self, what: &str) -> Result<Value> {
        let [value] = self.bind(what, [""], 1)?;
        Ok(value.unwrap_or_default())
    }
}

pub(super) fn int_or(value: Option<&Value>, default: i64) -> Result<i64> {
    match value {
        None => Ok(default),
        Some(value) => match as_int(value) {
            Some(number) => Ok(i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })),
            None => fail(format!("'{}' object cannot be interpreted as an integer", type_name(value))),
        },
    }
}

pub(super) fn truth(value: Option<&Value>) -> bool {
    value.is_some_and(Value::is_true)
}

pub(super) fn str_of(value: &Value) -> Result<&str> {
    match value.as_str() {
        Some(text) => Ok(text),
        None => fail(format!("must be str, not {}", type_name(value))),
    }
}

pub(super) fn given(value: Option<Value>) -> Option<Value> {
    value.filter(|value| !value.is_none())
}

/// The parameters of a macro.
#[derive(Debug)]
pub(super) struct Signature {
    pub name: String,
    pub parameters: Vec<String>,
    pub varargs: bool,
    pub kwargs: bool,
    pub caller: bool,
}

/// The arguments on their way into a macro, which the engine passes as the only one.
#[derive(Debug)]
pub(super) struct Packed(Mutex<State>);

#[derive(Debug)]
enum State {
    Raw(Args),
    Bound { slots: Vec<Option<Value>>, varargs: Value, kwargs: Value, caller: Value },
}

impl Object for Packed {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

impl Packed {
    pub fn value(args: Args) -> Value {
        Value::from_object(Packed(Mutex::new(State::Raw(args))))
    }

    pub fn bind(&self, signature: &Signature) -> Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Raw(args) = &mut *state else { return Ok(()) };
        let args = std::mem::take(args);
        let name = &signature.name;
        let count = signature.parameters.len();
        let mut positional = args.positional.into_iter();
        let mut slots: Vec<Option<Value>> = (0..count).map(|_| positional.next()).collect();
        let rest: Vec<Value> = positional.collect();
        if !rest.is_empty() && !signature.varargs {
            return fail(format!("macro '{name}' takes not more than {count} argument(s)"));
        }
        let mut caller = Value::UNDEFINED;
        let mut kwargs = Vec::new();
        for (key, value) in args.keyword {
            match signature.parameters.iter().position(|parameter| *parameter == key) {
                Some(at) if slots[at].is_none() => slots[at] = Some(value),
                Some(_) => return fail(format!("macro '{name}' got multiple values for argument '{key}'")),
                None if key == "caller" && signature.caller => caller = value,
                None if signature.kwargs => kwargs.push((Value::from(key), value)),
                None => return fail(format!("macro '{name}' takes no keyword argument '{key}'")),
            }
        }
        *state = State::Bound { slots, varargs: tuple(rest)?, kwargs: dict(kwargs)?, caller };
        Ok(())
    }

    /// An argument that was given; after `bind`.
    pub fn get(&self, wanted: &str, at: usize) -> Option<Value> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Raw(_) => None,
            State::Bound { slots, varargs, kwargs, caller } => match wanted {
                "varargs" => Some(varargs.clone()),
                "kwargs" => Some(kwargs.clone()),
                "caller" => Some(caller.clone()),
                _ => slots.get(at).cloned().flatten(),
            },
        }
    }
}
