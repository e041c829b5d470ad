//! Jinja2's grammar of expressions.

use super::ast::{Comparison, Expr, Kind};
use super::lexer::{Token, Tokens};

pub(super) type Parsed<T> = Result<T, String>;

/// How deep an expression may nest; CPython gives up at about a hundred parentheses.
const DEPTH: usize = 200;
/// The longest chain of operators, calls or filters: it is as deep to evaluate as it is long.
const CHAIN: usize = 1000;

pub(super) struct Parser {
    tokens: Tokens,
    pub at: usize,
    depth: usize,
    links: usize,
}

impl Parser {
    pub fn new(tokens: Tokens) -> Self {
        Parser { tokens, at: 0, depth: 0, links: 0 }
    }

    pub fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    pub fn peek_next(&self) -> Option<&Token> {
        self.tokens.get(self.at + 1).map(|(token, _)| token)
    }

    pub fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Some(Token::Op(other)) if *other == op)
    }

    pub fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(other)) if other == name)
    }

    pub fn take_op(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        self.at += usize::from(found);
        found
    }

    pub fn take_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    pub fn expect_op(&mut self, op: &str) -> Parsed<()> {
        if self.take_op(op) { Ok(()) } else { Err(format!("expected token '{op}', got {}", self.describe())) }
    }

    pub fn expect_name(&mut self) -> Parsed<String> {
        match self.peek() {
            Some(Token::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(format!("expected a name, got {}", self.describe())),
        }
    }

    pub fn expect_end(&self) -> Parsed<()> {
        if self.peek().is_none() {
            Ok(())
        } else {
            Err(format!("expected the end of the tag, got {}", self.describe()))
        }
    }

    pub fn describe(&self) -> String {
        match self.peek() {
            None => "the end of the tag".into(),
            Some(Token::Name(name)) => format!("'{name}'"),
            Some(Token::Op(op)) => format!("'{op}'"),
            Some(Token::Number(number)) => format!("'{number}'"),
            Some(Token::Text(_)) => "a string".into(),
        }
    }

    pub fn start(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(0, |(_, range)| range.start)
    }

    pub fn expr(&self, start: usize, kind: Kind) -> Expr {
        let end = self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(start, |(_, range)| range.end);
        Expr { kind, span: start..end.max(start) }
    }

    pub fn link(&mut self) -> Parsed<()> {
        self.links += 1;
        if self.links > CHAIN { Err("the expression is too long".into()) } else { Ok(()) }
    }

    pub fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err("the expression nests too deep".into());
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// An expression with conditions; without them where the tag itself has an `if`.
    pub fn expression(&mut self, conditions: bool) -> Parsed<Expr> {
        self.deeper(|p| if conditions { p.condition() } else { p.or() })
    }

    /// `a, b`: a tuple where there is a comma.
    pub fn tuple(&mut self, conditions: bool, ends: &[&str]) -> Parsed<Expr> {
        let start = self.start();
        let first = self.expression(conditions)?;
        if !self.is_op(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.take_op(",") {
            let ended = match self.peek() {
                None => true,
                Some(Token::Op(op)) => matches!(*op, ")" | "]" | "}"),
                Some(Token::Name(name)) => ends.contains(&name.as_str()),
                _ => false,
            };
            if ended {
                break;
            }
            items.push(self.expression(conditions)?);
        }
        Ok(self.expr(start, Kind::Tuple(items)))
    }

    fn condition(&mut self) -> Parsed<Expr> {
        let start = self.start();
        let mut then = self.or()?;
        while self.take_name("if") {
            self.link()?;
            let condition = Box::new(self.or()?);
            let otherwise = match self.take_name("else") {
                true => Some(Box::new(self.deeper(Self::condition)?)),
                false => None,
            };
            then = self.expr(start, Kind::If { condition, then: Box::new(then), otherwise });
        }
        Ok(then)
    }

    fn or(&mut self) -> Parsed<Expr> {
        let start = self.start();
        let mut left = self.and()?;
        while self.take_name("or") {
            self.link()?;
            let right = self.and()?;
            left = self.expr(start, Kind::Or(Box::new(left), Box::new(right)));
        }
        Ok(left)
    }

    fn and(&mut self) -> Parsed<Expr> {
        let start = self.start();
        let mut left = self.not()?;
        while self.take_name("and") {
            self.link()?;
            let right = self.not()?;
            left = self.expr(start, Kind::And(Box::new(left), Box::new(right)));
        }
        Ok(left)
    }

    fn not(&mut self) -> Parsed<Expr> {
        let start = self.start();
        if self.take_name("not") {
            let inner = self.deeper(Self::not)?;
            return Ok(self.expr(start, Kind::Not(Box::new(inner))));
        }
        self.compare()
    }

    fn compare(&mut self) -> Parsed<Expr> {
        let start = self.start();
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let comparison = match self.peek() {
                Some(Token::Op("==")) => Comparison::Equal,
                Some(Token::Op("!=")) => Comparison::NotEqual,
                Some(Token::Op("<")) => Comparison::Less,
                Some(Token::Op("<=")) => Comparison::LessEqual,
                Some(Token::Op(">")) => Comparison::Greater,
                Some(Token::Op(">=")) => Comparison::GreaterEqual,
                Some(Token::Name(name)) if name == "in" => Comparison::In,
                Some(Token::Name(name))
                    if name == "not" && matches!(self.peek_next(), Some(Token::Name(next)) if next == "in") =>
                {
                    self.at += 1;
                    Comparison::NotIn
                }
                _ => break,
            };
            self.at += 1;
            rest.push((comparison, self.sum()?));
        }
        Ok(if rest.is_empty() { first } else { self.expr(start, Kind::Compare(Box::new(first), rest)) })
    }

    /// Operators of one rank, from the left.
    fn left(&mut self, ops: &[&'static str], next: fn(&mut Self) -> Parsed<Expr>) -> Parsed<Expr> {
        let start = self.start();
        let mut left = next(self)?;
        while let Some(op) = ops.iter().find(|op| self.is_op(op)) {
            self.link()?;
            self.at += 1;
            let right = next(self)?;
            left = self.expr(start, Kind::Binary(op, Box::new(left), Box::new(right)));
        }
        Ok(left)
    }

    fn sum(&mut self) -> Parsed<Expr> {
        self.left(&["+", "-"], Self::concat)
    }

    fn concat(&mut self) -> Parsed<Expr> {
        let start = self.start();
        let first = self.product()?;
        if !self.is_op("~") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.take_op("~") {
            items.push(self.product()?);
        }
        Ok(self.expr(start, Kind::Concat(items)))
    }

    fn product(&mut self) -> Parsed<Expr> {
        self.left(&["*", "//", "/", "%"], Self::power)
    }

    fn power(&mut self) -> Parsed<Expr> {
        self.left(&["**"], |p| p.unary(true))
    }

    fn unary(&mut self, with_filters: bool) -> Parsed<Expr> {
        let start = self.start();
        let node = if self.take_op("-") {
            let inner = self.deeper(|p| p.unary(false))?;
            self.expr(start, Kind::Negative(Box::new(inner)))
        } else if self.take_op("+") {
            let inner = self.deeper(|p| p.unary(false))?;
            self.expr(start, Kind::Positive(Box::new(inner)))
        } else {
            self.primary()?
        };
        let node = self.postfix(node)?;
        if with_filters { self.filters(node) } else { Ok(node) }
    }
}
