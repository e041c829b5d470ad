//! A minijinja environment that renders what transformers' Jinja2 environment renders.
//!
//! minijinja runs the statements. Expressions are Jinja2's own: [`rewrite`] takes them out of the template, [`eval`]
//! evaluates them on values that behave as Python's do, in a sandbox like the one that transformers uses.

mod access;
mod args;
mod ast;
mod base;
mod braces;
mod budget;
mod compare;
mod eval;
mod filters;
mod functions;
mod json;
mod layout;
mod lexer;
mod long;
mod methods;
mod names;
mod number;
mod objects;
mod operands;
mod ops;
mod parser;
mod percent;
mod predicates;
mod print;
mod rewrite;
mod scan;
mod statements;
mod strftime;
mod targets;
mod value;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest};
use minijinja::{AutoEscape, Environment, Error, State, Value};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;
use time::PrimitiveDateTime;

use super::data::number_text;
use args::{Args, Packed};
use base::{Result, fail};
use budget::Budget;
use eval::Program;
use objects::{Callable, Namespace};

pub(super) use base::is_space;
pub(super) use functions::Raised;

/// How deep calls may nest; a macro call counts six or seven. Python ends after a thousand calls of its own, four to
/// five of them for a macro.
const RECURSION: usize = 1500;

/// A template, ready to render.
#[derive(Debug)]
pub(super) struct Template {
    environment: Environment<'static>,
    name: String,
}

/// What a rendering may spend follows from the size of its input.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    /// Of the texts that a template is given, and its own.
    pub bytes: usize,
    /// Messages, tools and documents.
    pub items: usize,
}

impl Template {
    pub fn compile(name: &str, source: &str) -> Result<Template> {
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_recursion_limit(RECURSION);
        environment.set_formatter(|out, state, value| {
            let text = print::str(value)?;
            match state.auto_escape() {
                AutoEscape::Html if !value.is_safe() => out.write_str(&ops::escape(&text)).map_err(Error::from),
                _ => out.write_str(&text).map_err(Error::from),
            }
        });
        let (source, program) = rewrite::rewrite(name, source)?;
        connect(&mut environment, program);
        for function in functions::NAMES {
            environment.add_global(function, Value::from_object(Callable::Function(function)));
        }
        environment.add_template_owned(name.to_owned(), source)?;
        Ok(Template { environment, name: name.to_owned() })
    }

    pub fn render(
        &self,
        variables: BTreeMap<&str, Value>,
        size: Size,
        now: Option<PrimitiveDateTime>,
        is_marked: bool,
    ) -> Result<String> {
        let _budget = Budget::new(size.bytes, size.items, now, is_marked);
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(budget::steps_for(size.bytes, size.items)));
        let mut out = Bounded(Vec::new());
        environment.get_template(&self.name)?.render_captured_to(Value::from_pairs(variables), &mut out)?;
        String::from_utf8(out.0).or_else(|_| fail("the template wrote no text"))
    }
}

/// What the template writes without an expression is paid for here.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        budget::bytes(text.len()).map_err(std::io::Error::other)?;
        self.0.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Gives the engine the functions that a rewritten template calls.
fn connect(environment: &mut Environment, program: Program) {
    let program = Arc::new(program);
    let with = |program: &Arc<Program>| Arc::clone(program);

    let own = with(&program);
    environment
        .add_filter("__mlxe", move |state: &mut State, id: usize, slots: Rest<Value>| own.evaluate(state, id, &slots));
    let own = with(&program);
    environment.add_function("__mlxe_call", move |state: &mut State, id: usize, slots: Rest<Value>, block: Kwargs| {
        own.call_with(state, id, &slots, block.get("caller")?)
    });
    let own = with(&program);
    environment.add_filter("__mlxe_text", move |id: usize| Value::from(own.texts.get(id).map_or("", String::as_str)));
    environment.add_filter("__mlxe_bind", move |id: usize, arguments: &Value| {
        match (program.signatures.get(id), arguments.downcast_object_ref::<Packed>()) {
            (Some(signature), Some(packed)) => packed.bind(signature).map(|()| false),
            _ => fail("a macro that was not called as one"),
        }
    });
    let argument = |arguments: &Value, name: &str, at: usize| {
        arguments.downcast_object_ref::<Packed>().and_then(|packed| packed.get(name, at))
    };
    environment.add_filter("__mlxe_arg", move |at: usize, arguments: &Value, name: &str| {
        argument(arguments, name, at).unwrap_or_default()
    });
    environment.add_filter("__mlxe_given", move |at: usize, arguments: &Value, name: &str| {
        argument(arguments, name, at).is_some()
    });
    // The items of a loop, each taken apart where there are several targets.
    environment.add_filter("__mlxe_items", |value: &Value, count: usize| -> Result<Value> {
        let items = value::iterate(value)?;
        match count {
            0 => value::list(items),
            _ => value::list(items.iter().map(|item| functions::unpack(item, count)).collect::<Result<_>>()?),
        }
    });
    environment.add_filter("__mlxe_unpack", functions::unpack);
    // What a block prints must be text.
    environment.add_filter("__mlxe_str", |value: &Value| args::str_of(value).map(|_| value.clone()));
    environment.add_filter("__mlxe_set", |value: &Value, namespace: &Value, name: &str| {
        match namespace.downcast_object_ref::<Namespace>() {
            Some(namespace) => {
                namespace.set(name, value.clone());
                Ok(false)
            }
            None => fail("cannot assign attribute on non-namespace object"),
        }
    });
    environment
        .add_filter("__mlxe_no_loader", |_: &Value| -> Result<Value> { fail("there are no other templates to load") });
    for name in names::FILTERS {
        environment.add_filter(name, move |value: &Value, args: Rest<Value>, kwargs: Kwargs| -> Result<Value> {
            filters::apply(name, value.clone(), arguments(args.to_vec(), &kwargs)?)
        });
    }
}

/// The arguments of a filter that the engine calls itself.
fn arguments(positional: Vec<Value>, kwargs: &Kwargs) -> Result<Args> {
    let named = kwargs.args().map(|name| Ok((name.to_owned(), kwargs.get::<Value>(name)?)));
    Ok(Args { positional, keyword: named.collect::<Result<_>>()? })
}

/// A value of JSON as templates see it.
pub(super) fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => ().into(),
        Json::Bool(value) => (*value).into(),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into(),
            (_, Some(number)) => number.into(),
            _ => number.as_f64().unwrap_or(f64::NAN).into(),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => value::input_list(items.iter().map(from_json).collect()),
        Json::Object(map) => match number_text(json) {
            Some(number) => long::from_text(number),
            None => value::input_dict(map.iter().map(|(key, value)| (key.as_str().into(), from_json(value)))),
        },
    }
}

/// The bytes that a value of JSON takes, roughly.
pub(super) fn json_size(json: &Json) -> usize {
    match json {
        Json::String(text) => text.len() + 2,
        Json::Array(items) => items.iter().map(json_size).sum::<usize>() + 2,
        Json::Object(map) => map.iter().map(|(key, value)| key.len() + 4 + json_size(value)).sum::<usize>() + 2,
        _ => 4,
    }
}
