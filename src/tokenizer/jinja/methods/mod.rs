//! The methods of Python's types that the sandbox lets templates call.

mod classes;
mod containers;
mod str;

use minijinja::Value;

use super::args::Args;
use super::base::Result;
use super::objects::Cycler;

pub(super) use str::{capitalize, justify, replace, split_lines, strip};

pub(super) fn call(object: &Value, name: &str, args: Args) -> Result<Value> {
    if let Some(text) = object.as_str() {
        return match classes::call(text, name) {
            Some(answer) => args.none(name).map(|()| Value::from(answer)),
            None => str::call(text, name, args),
        };
    }
    if let Some(cycler) = object.downcast_object_ref::<Cycler>() {
        args.none(name)?;
        if name == "reset" {
            cycler.reset();
            return Ok(Value::from(()));
        }
        return Ok(cycler.next());
    }
    containers::call(object, name, args)
}
