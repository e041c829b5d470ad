//! Evaluates expressions. The engine runs the statements and hands over the variables that an expression names.

use minijinja::{Error, ErrorKind, State, Value};

use super::args::{Args, Packed, Signature};
use super::ast::{Arguments, Comparison, Expr, Kind};
use super::base::{Result, fail};
use super::number::{Number, as_number, int};
use super::objects::Callable;
use super::value::{dict, iterate, list, tuple, type_name};
use super::{access, budget, compare, functions, methods, ops, predicates};

/// What the rewriting took out of a template.
#[derive(Debug, Default)]
pub(super) struct Program {
    /// Each with the text of its tag.
    pub expressions: Vec<(Expr, String)>,
    pub signatures: Vec<Signature>,
    pub texts: Vec<String>,
}

struct Evaluation<'a, 'b, 'c> {
    state: &'a mut State<'b, 'c>,
    slots: &'a [Value],
    source: &'a str,
}

impl Program {
    /// The value of the expression `id`, whose names have the values `slots`.
    pub fn evaluate(&self, state: &mut State, id: usize, slots: &[Value]) -> Result<Value> {
        let Some((expr, source)) = self.expressions.get(id) else { return fail("no such expression") };
        Evaluation { state, slots, source }.eval(expr)
    }

    /// The call `id` with a block as its `caller`.
    pub fn call_with(&self, state: &mut State, id: usize, slots: &[Value], caller: Value) -> Result<Value> {
        let Some((expr, source)) = self.expressions.get(id) else { return fail("no such expression") };
        let mut evaluation = Evaluation { state, slots, source };
        match &expr.kind {
            Kind::Call(callee, arguments) => evaluation.call(callee, arguments, Some(caller)),
            _ => fail("a call block wants a call"),
        }
    }
}

impl Evaluation<'_, '_, '_> {
    fn eval(&mut self, expr: &Expr) -> Result<Value> {
        let _level = budget::level()?;
        budget::steps(1)?;
        match &expr.kind {
            Kind::Const(value) => Ok(value.clone()),
            Kind::Slot(slot) => Ok(self.slots.get(*slot).cloned().unwrap_or_default()),
            Kind::Name(_) => Ok(Value::UNDEFINED),
            Kind::Tuple(items) => tuple(self.all(items)?),
            Kind::List(items) => list(self.all(items)?),
            Kind::Dict(pairs) => {
                let mut values = Vec::with_capacity(pairs.len());
                for (key, value) in pairs {
                    values.push((self.eval(key)?, self.eval(value)?));
                }
                dict(values)
            }
            Kind::Negative(inner) => {
                let value = self.eval(inner)?;
                match as_number(&value) {
                    Some(Number::Int(number)) => Ok(int(number.wrapping_neg())),
                    Some(Number::Float(number)) => Ok((-number).into()),
                    None => self
                        .refuse(&[(inner, &value)], format!("bad operand type for unary -: '{}'", type_name(&value))),
                }
            }
            Kind::Positive(inner) => {
                let value = self.eval(inner)?;
                match as_number(&value) {
                    Some(number) => Ok(number.value()),
                    None => self
                        .refuse(&[(inner, &value)], format!("bad operand type for unary +: '{}'", type_name(&value))),
                }
            }
            Kind::Not(inner) => Ok((!self.eval(inner)?.is_true()).into()),
            Kind::Binary(op, a, b) => {
                let (left, right) = (self.eval(a)?, self.eval(b)?);
                pay(&left)?;
                pay(&right)?;
                // Only text takes an undefined value: `"%s" % missing`.
                if !(*op == "%" && left.as_str().is_some()) {
                    self.defined(a, &left)?;
                    self.defined(b, &right)?;
                }
                ops::binary(op, &left, &right)
            }
            Kind::And(a, b) => {
                let left = self.eval(a)?;
                if left.is_true() { self.eval(b) } else { Ok(left) }
            }
            Kind::Or(a, b) => {
                let left = self.eval(a)?;
                if left.is_true() { Ok(left) } else { self.eval(b) }
            }
            Kind::Concat(items) => ops::concat(&self.all(items)?),
            Kind::Compare(first, rest) => self.compare(first, rest),
            Kind::If { condition, then, otherwise } => match (self.eval(condition)?.is_true(), otherwise) {
                (true, _) => self.eval(then),
                (false, Some(otherwise)) => self.eval(otherwise),
                (false, None) => Ok(Value::UNDEFINED),
            },
            Kind::Attribute(object, name) => {
                let value = self.eval(object)?;
                self.defined(object, &value)?;
                access::attribute(&value, name)
            }
            Kind::Item(object, key) => {
                let value = self.eval(object)?;
                let key = self.eval(key)?;
                pay(&value)?;
                self.defined(object, &value)?;
                access::item(&value, &key)
            }
            Kind::Slice(object, bounds) => {
                let value = self.eval(object)?;
                let mut given = [const { None }; 3];
                for (given, bound) in given.iter_mut().zip(bounds) {
                    *given = bound.as_ref().map(|bound| self.eval(bound)).transpose()?;
                }
                pay(&value)?;
                self.defined(object, &value)?;
                access::slice(&value, given)
            }
            Kind::Call(callee, arguments) => self.call(callee, arguments, None),
            Kind::Filter(subject, filter, name, arguments) => {
                let Some(filter) = filter else { return fail(format!("No filter named '{name}'.")) };
                let value = self.eval(subject)?;
                pay(&value)?;
                filter(value, self.arguments(arguments)?)
            }
            Kind::Test { subject, name, arguments, negated } => {
                let value = self.eval(subject)?;
                pay(&value)?;
                let arguments = self.arguments(arguments)?;
                match predicates::apply(name, &value, arguments) {
                    Some(answer) => Ok((answer? != *negated).into()),
                    None => fail(format!("No test named '{name}'.")),
                }
            }
        }
    }

    fn all(&mut self, items: &[Expr]) -> Result<Vec<Value>> {
        items.iter().map(|item| self.eval(item)).collect()
    }

    fn compare(&mut self, first: &Expr, rest: &[(Comparison, Expr)]) -> Result<Value> {
        let mut left = (first, self.eval(first)?);
        for (comparison, expr) in rest {
            let right = self.eval(expr)?;
            pay(&left.1)?;
            pay(&right)?;
            let holds = match comparison {
                Comparison::Equal => compare::equal(&left.1, &right),
                Comparison::NotEqual => !compare::equal(&left.1, &right),
                Comparison::In => compare::contains(&right, &left.1)?,
                Comparison::NotIn => !compare::contains(&right, &left.1)?,
                comparison => {
                    self.defined(left.0, &left.1)?;
                    self.defined(expr, &right)?;
                    compare::order(&left.1, &right)?.is_some_and(|order| match comparison {
                        Comparison::Less => order.is_lt(),
                        Comparison::LessEqual => order.is_le(),
                        Comparison::Greater => order.is_gt(),
                        _ => order.is_ge(),
                    })
                }
            };
            if !holds {
                return Ok(false.into());
            }
            left = (expr, right);
        }
        Ok(true.into())
    }

    fn arguments(&mut self, arguments: &Arguments) -> Result<Args> {
        let mut args = Args { positional: self.all(&arguments.positional)?, keyword: Vec::new() };
        for (name, value) in &arguments.named {
            if args.keyword.iter().any(|(other, _)| other == name) {
                return fail(format!("keyword argument repeated: {name}"));
            }
            args.keyword.push((name.clone(), self.eval(value)?));
        }
        if let Some(more) = &arguments.list {
            args.positional.extend(iterate(&self.eval(more)?)?);
        }
        if let Some(more) = &arguments.mapping {
            for (name, value) in functions::spread_named(&self.eval(more)?)? {
                if args.keyword.iter().any(|(other, _)| *other == name) {
                    return fail(format!("got multiple values for keyword argument '{name}'"));
                }
                args.keyword.push((name, value));
            }
        }
        Ok(args)
    }

    fn call(&mut self, callee: &Expr, arguments: &Arguments, caller: Option<Value>) -> Result<Value> {
        let (function, object) = match &callee.kind {
            // A method, perhaps of the engine's own objects, which know theirs only when they are called.
            Kind::Attribute(object, name) => {
                let value = self.eval(object)?;
                pay(&value)?;
                self.defined(object, &value)?;
                (access::attribute(&value, name)?, Some((value, name)))
            }
            _ => (self.eval(callee)?, None),
        };
        let mut args = self.arguments(arguments)?;
        if let Some(caller) = caller {
            args.keyword.push(("caller".into(), caller));
        }
        if let (Some((object, name)), true) = (object, function.is_undefined())
            && compare::is_foreign(&object)
        {
            if args.positional.is_empty() && name == "cycle" {
                return fail("no items for cycling given");
            }
            return object.call_method(self.state, name, &args.positional);
        }
        self.defined(callee, &function)?;
        match function.downcast_object_ref::<Callable>() {
            Some(Callable::Function(name)) => functions::call(name, args),
            Some(Callable::Method { object, name }) => methods::call(object, name, args),
            Some(joiner @ Callable::Joiner { .. }) => args.none("joiner").map(|()| joiner.join().unwrap_or_default()),
            None if compare::is_foreign(&function) => function.call(self.state, &[Packed::value(args)]),
            None => fail(format!("'{}' object is not callable", type_name(&function))),
        }
    }

    fn defined(&self, expr: &Expr, value: &Value) -> Result<()> {
        if !value.is_undefined() {
            return Ok(());
        }
        let text = self.source.get(expr.span.clone()).unwrap_or("the value").trim();
        Err(Error::new(ErrorKind::UndefinedError, format!("`{text}` is undefined")))
    }

    fn refuse(&self, operands: &[(&Expr, &Value)], message: String) -> Result<Value> {
        for (expr, value) in operands {
            self.defined(expr, value)?;
        }
        fail(message)
    }
}

/// Long texts take longer, even where nothing is made of them.
fn pay(value: &Value) -> Result<()> {
    value.as_str().map_or(Ok(()), |text| budget::steps(text.len() as u64 / 256))
}
