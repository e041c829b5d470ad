//! Takes the expressions out of a template, so that the engine runs the statements and `eval` the expressions.
//!
//! `{% if a.b == 'c' %}` becomes `{% if (17|__mlxe(a)) %}`: an expression by its number, with the variable that it names,
//! which keeps scopes and closures the engine's business. Tags stay where they are and on their lines.

use minijinja::{Error, ErrorKind};

use super::ast::{Arguments, Expr, Kind};
use super::eval::Program;
use super::lexer::tokens;
use super::parser::{Parsed, Parser};
use super::{predicates, scan};

/// How deep statements may nest; the engine allows fewer.
const NESTING: usize = 200;
/// Longer texts are printed as expressions are, so that they are paid for.
const TEXT: usize = 512;

/// The template as the engine gets it, and the expressions that it lacks.
pub(super) fn rewrite(name: &str, source: &str) -> Result<(String, Program), Error> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut rewriter = Rewriter { out: String::with_capacity(source.len()), ..Rewriter::default() };
    let mut line = 1;
    for part in scan::parts(&source) {
        rewriter
            .part(&part)
            .map_err(|error| Error::new(ErrorKind::SyntaxError, format!("{error} (in {name}:{line})")))?;
        line += part.text().matches('\n').count();
    }
    Ok((rewriter.out, rewriter.program))
}

/// A statement that waits for its end.
pub(super) struct Open {
    pub tag: String,
    /// Whether unknown filters are errors only where they are reached.
    pub soft: bool,
    /// What to write when it ends.
    pub after: String,
    /// Of a macro or a call block.
    pub signature: Option<usize>,
}

#[derive(Default)]
pub(super) struct Rewriter {
    out: String,
    pub program: Program,
    pub open: Vec<Open>,
}

impl Rewriter {
    fn part(&mut self, part: &scan::Part) -> Parsed<()> {
        if let scan::Part::Print(tag) | scan::Part::Statement(tag) = part {
            scan::check_length(tag)?;
        }
        if self.open.len() > NESTING {
            return Err("statements nest too deep".into());
        }
        match part {
            scan::Part::Text(text) => self.text(text),
            scan::Part::Verbatim(text) => self.out.push_str(text),
            scan::Part::Print(tag) => {
                let mut parser = Parser::new(tokens(tag.inner)?);
                let expr = parser.tuple(true, &[])?;
                parser.expect_end()?;
                let value = self.value(expr, tag.inner)?;
                self.write(tag, &value, "");
            }
            scan::Part::Statement(tag) => self.statement(tag)?,
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        let inner = text.trim();
        // The ends stay: the tags around may strip them.
        if inner.len() <= TEXT {
            return self.out.push_str(text);
        }
        let start = inner.as_ptr() as usize - text.as_ptr() as usize;
        self.out.push_str(&text[..start]);
        let lines = "\n".repeat(inner.matches('\n').count());
        self.out.push_str(&format!("{{{{ {}|__mlxe_text {lines}}}}}", self.program.texts.len()));
        self.program.texts.push(inner.to_owned());
        self.out.push_str(&text[start + inner.len()..]);
    }

    /// A tag with other contents, and what stands directly behind it, before the white space that it strips.
    pub fn write(&mut self, tag: &scan::Tag, inner: &str, after: &str) {
        let lines = "\n".repeat(tag.inner.matches('\n').count());
        let plain_end = if tag.open.starts_with("{%") { "%}" } else { "}}" };
        match after.is_empty() {
            true => self.out.push_str(&format!("{} {inner} {lines}{}", tag.open, tag.close)),
            // The last tag in `after` is without its end.
            false => self.out.push_str(&format!("{} {inner} {lines}{plain_end}{after} {}", tag.open, tag.close)),
        }
    }

    pub fn soft(&self) -> bool {
        self.open.last().is_some_and(|open| open.soft)
    }

    pub fn push(&mut self, tag: &str, soft: bool) {
        self.open.push(Open { tag: tag.to_owned(), soft, after: String::new(), signature: None });
    }

    /// Begins a block whose assignments stay within.
    pub fn scope(&mut self, tag: &scan::Tag, inner: &str) {
        self.write(tag, inner, "{% with");
    }

    pub fn push_macro(&mut self, tag: &str, signature: usize) {
        self.open.push(Open { tag: tag.to_owned(), soft: false, after: String::new(), signature: Some(signature) });
    }

    /// An expression for the engine, in parentheses.
    pub fn value(&mut self, mut expr: Expr, source: &str) -> Parsed<String> {
        self.check(&mut expr, self.soft())?;
        Ok(self.emit(expr, source))
    }

    /// Refuses filters and tests that do not exist, unless a condition stands before them.
    pub fn check(&self, expr: &mut Expr, soft: bool) -> Parsed<()> {
        match &expr.kind {
            Kind::Filter(_, None, name, _) if !soft => return Err(format!("No filter named '{name}'.")),
            Kind::Test { name, .. } if !soft && !predicates::exists(name) => {
                return Err(format!("No test named '{name}'."));
            }
            _ => {}
        }
        let soft = soft || matches!(expr.kind, Kind::If { .. });
        let mut result = Ok(());
        expr.each(&mut |part| {
            if result.is_ok() {
                result = self.check(part, soft);
            }
        });
        result
    }

    fn emit(&mut self, mut expr: Expr, source: &str) -> String {
        if !expr.has_recursion() {
            return self.store(expr, source, Vec::new());
        }
        match expr.kind {
            // What the engine must call itself: the loops that go deeper. What may not be evaluated stays apart.
            Kind::Call(_, mut arguments) if arguments.positional.len() == 1 && is_loop_call(&arguments) => {
                let argument = arguments.positional.remove(0);
                format!("loop({}|__mlxe_items(0))", self.emit(argument, source))
            }
            Kind::If { condition, then, otherwise } => {
                let (then, condition) = (self.emit(*then, source), self.emit(*condition, source));
                match otherwise {
                    Some(otherwise) => format!("({then} if {condition} else {})", self.emit(*otherwise, source)),
                    None => format!("({then} if {condition})"),
                }
            }
            Kind::And(a, b) => format!("({} and {})", self.emit(*a, source), self.emit(*b, source)),
            Kind::Or(a, b) => format!("({} or {})", self.emit(*a, source), self.emit(*b, source)),
            Kind::Not(a) => format!("(not {})", self.emit(*a, source)),
            _ => {
                let mut calls = Vec::new();
                self.take_recursions(&mut expr, source, &mut calls);
                self.store(expr, source, calls)
            }
        }
    }

    /// Replaces `loop(..)` in an expression by slots for what the engine makes of it.
    fn take_recursions(&mut self, expr: &mut Expr, source: &str, calls: &mut Vec<String>) {
        if expr.is_recursion() {
            let span = expr.span.clone();
            let call = std::mem::replace(expr, Expr { kind: Kind::Slot(calls.len()), span });
            let call = self.emit(call, source);
            calls.push(call);
            return;
        }
        expr.each(&mut |part| self.take_recursions(part, source, calls));
    }

    /// Keeps an expression: its number, and what the engine passes to it. The first slots are taken already; names get
    /// the next.
    pub fn keep(&mut self, mut expr: Expr, source: &str, mut slots: Vec<String>) -> (usize, String) {
        number_names(&mut expr, slots.len(), &mut slots);
        for signature in self.open.iter().filter_map(|open| open.signature) {
            let signature = &mut self.program.signatures[signature];
            signature.varargs |= slots.iter().any(|name| name == "varargs");
            signature.kwargs |= slots.iter().any(|name| name == "kwargs");
            signature.caller |= slots.iter().any(|name| name == "caller");
        }
        let id = self.program.expressions.len();
        self.program.expressions.push((expr, source.to_owned()));
        (id, slots.join(","))
    }

    fn store(&mut self, expr: Expr, source: &str, slots: Vec<String>) -> String {
        let (id, slots) = self.keep(expr, source, slots);
        if slots.is_empty() { format!("({id}|__mlxe)") } else { format!("({id}|__mlxe({slots}))") }
    }
}

fn is_loop_call(arguments: &Arguments) -> bool {
    arguments.named.is_empty() && arguments.list.is_none() && arguments.mapping.is_none()
}

fn number_names(expr: &mut Expr, first: usize, slots: &mut Vec<String>) {
    if let Kind::Name(name) = &expr.kind {
        let known = slots[first..].iter().position(|slot| slot == name).map(|at| first + at);
        let slot = known.unwrap_or(slots.len());
        if known.is_none() {
            slots.push(name.clone());
        }
        expr.kind = Kind::Slot(slot);
        return;
    }
    expr.each(&mut |part| number_names(part, first, slots));
}
