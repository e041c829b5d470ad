//! The expressions of a template.

use minijinja::Value;

use super::filters::Filter;

#[derive(Debug)]
pub(super) struct Expr {
    pub kind: Kind,
    /// Where it stands in its tag, in bytes.
    pub span: std::ops::Range<usize>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Const(Value),
    Name(String),
    /// A name, as an index into the values that the engine passes.
    Slot(usize),
    Tuple(Vec<Expr>),
    List(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    Not(Box<Expr>),
    Binary(&'static str, Box<Expr>, Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Concat(Vec<Expr>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    If {
        condition: Box<Expr>,
        then: Box<Expr>,
        otherwise: Option<Box<Expr>>,
    },
    Attribute(Box<Expr>, String),
    Item(Box<Expr>, Box<Expr>),
    Slice(Box<Expr>, [Option<Box<Expr>>; 3]),
    Call(Box<Expr>, Arguments),
    Filter(Box<Expr>, Option<Filter>, String, Arguments),
    Test {
        subject: Box<Expr>,
        name: String,
        arguments: Arguments,
        negated: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn,
}

#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub positional: Vec<Expr>,
    pub named: Vec<(String, Expr)>,
    /// `*list`
    pub list: Option<Box<Expr>>,
    /// `**mapping`
    pub mapping: Option<Box<Expr>>,
}

impl Arguments {
    fn each<'a>(&'a mut self, f: &mut dyn FnMut(&'a mut Expr)) {
        self.positional.iter_mut().for_each(&mut *f);
        self.named.iter_mut().for_each(|(_, value)| f(value));
        self.list.iter_mut().chain(&mut self.mapping).for_each(|value| f(value));
    }
}

impl Expr {
    /// Calls `f` with each part.
    pub fn each<'a>(&'a mut self, f: &mut dyn FnMut(&'a mut Expr)) {
        match &mut self.kind {
            Kind::Const(_) | Kind::Name(_) | Kind::Slot(_) => {}
            Kind::Tuple(items) | Kind::List(items) | Kind::Concat(items) => items.iter_mut().for_each(f),
            Kind::Dict(pairs) => pairs.iter_mut().for_each(|(key, value)| {
                f(key);
                f(value);
            }),
            Kind::Negative(a) | Kind::Positive(a) | Kind::Not(a) | Kind::Attribute(a, _) => f(a),
            Kind::Binary(_, a, b) | Kind::And(a, b) | Kind::Or(a, b) | Kind::Item(a, b) => {
                f(a);
                f(b);
            }
            Kind::Compare(first, rest) => {
                f(first);
                rest.iter_mut().for_each(|(_, other)| f(other));
            }
            Kind::If { condition, then, otherwise } => {
                f(condition);
                f(then);
                otherwise.iter_mut().for_each(|otherwise| f(otherwise));
            }
            Kind::Slice(a, bounds) => {
                f(a);
                bounds.iter_mut().flatten().for_each(|bound| f(bound));
            }
            Kind::Call(a, arguments) | Kind::Filter(a, _, _, arguments) => {
                f(a);
                arguments.each(f);
            }
            Kind::Test { subject, arguments, .. } => {
                f(subject);
                arguments.each(f);
            }
        }
    }

    /// Whether this is `loop(..)`, which only the engine itself can call.
    pub fn is_recursion(&self) -> bool {
        matches!(&self.kind, Kind::Call(callee, arguments)
            if matches!(&callee.kind, Kind::Name(name) if name == "loop")
            && arguments.positional.len() == 1 && arguments.named.is_empty()
            && arguments.list.is_none() && arguments.mapping.is_none())
    }

    pub fn has_recursion(&mut self) -> bool {
        let mut found = self.is_recursion();
        self.each(&mut |part| found = found || part.has_recursion());
        found
    }
}
