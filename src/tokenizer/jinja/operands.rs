//! The second half of the grammar: literals, and what may follow an operand.

use super::ast::{Arguments, Expr, Kind};
use super::filters;
use super::lexer::Token;
use super::parser::{Parsed, Parser};

impl Parser {
    pub fn primary(&mut self) -> Parsed<Expr> {
        let start = self.start();
        let Some(token) = self.peek().cloned() else { return Err("unexpected end of the tag".into()) };
        self.at += 1;
        let kind = match token {
            Token::Name(name) => match name.as_str() {
                "true" | "True" => Kind::Const(true.into()),
                "false" | "False" => Kind::Const(false.into()),
                "none" | "None" => Kind::Const(().into()),
                _ => Kind::Name(name),
            },
            Token::Number(value) => Kind::Const(value),
            Token::Text(mut text) => {
                while let Some(Token::Text(more)) = self.peek() {
                    text.push_str(more);
                    self.at += 1;
                }
                Kind::Const(text.into())
            }
            Token::Op("(") => {
                if self.take_op(")") {
                    return Ok(self.expr(start, Kind::Tuple(Vec::new())));
                }
                let inner = self.tuple(true, &[])?;
                self.expect_op(")")?;
                return Ok(inner);
            }
            Token::Op("[") => Kind::List(self.items("]", |p| p.expression(true))?),
            Token::Op("{") => Kind::Dict(self.items("}", |p| {
                let key = p.expression(true)?;
                p.expect_op(":")?;
                Ok((key, p.expression(true)?))
            })?),
            _ => {
                self.at -= 1;
                return Err(format!("unexpected {}", self.describe()));
            }
        };
        Ok(self.expr(start, kind))
    }

    fn items<T>(&mut self, close: &str, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = Vec::new();
        while !self.take_op(close) {
            if !items.is_empty() {
                self.expect_op(",")?;
                if self.take_op(close) {
                    break;
                }
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Attributes, subscripts and calls.
    pub fn postfix(&mut self, mut node: Expr) -> Parsed<Expr> {
        let start = node.span.start;
        loop {
            let kind = if self.take_op(".") {
                match self.peek().cloned() {
                    Some(Token::Name(name)) => {
                        self.at += 1;
                        Kind::Attribute(Box::new(node), name)
                    }
                    Some(Token::Number(index)) if index.is_integer() => {
                        let at = self.start();
                        self.at += 1;
                        let index = self.expr(at, Kind::Const(index));
                        Kind::Item(Box::new(node), Box::new(index))
                    }
                    _ => return Err(format!("expected name or number, got {}", self.describe())),
                }
            } else if self.take_op("[") {
                self.subscript(node)?
            } else if self.is_op("(") {
                Kind::Call(Box::new(node), self.arguments()?)
            } else {
                return Ok(node);
            };
            self.link()?;
            node = self.expr(start, kind);
        }
    }

    fn subscript(&mut self, node: Expr) -> Parsed<Kind> {
        let start = self.start();
        let mut bounds: [Option<Box<Expr>>; 3] = [None, None, None];
        let mut colons = 0;
        let mut items = Vec::new();
        loop {
            if self.take_op("]") {
                break;
            }
            if self.take_op(":") {
                colons += 1;
                if colons > 2 {
                    return Err("unexpected ':'".into());
                }
            } else if colons == 0 && self.take_op(",") {
                if items.is_empty() {
                    return Err("unexpected ','".into());
                }
            } else {
                let item = self.expression(true)?;
                match colons {
                    0 => items.push(item),
                    _ => bounds[colons] = Some(Box::new(item)),
                }
            }
        }
        if colons > 0 {
            if items.len() > 1 {
                return Err("slices of tuples are not supported".into());
            }
            bounds[0] = items.pop().map(Box::new);
            return Ok(Kind::Slice(Box::new(node), bounds));
        }
        match items.len() {
            0 => Err("expected subscript expression".into()),
            1 => Ok(Kind::Item(Box::new(node), Box::new(items.remove(0)))),
            _ => {
                let index = self.expr(start, Kind::Tuple(items));
                Ok(Kind::Item(Box::new(node), Box::new(index)))
            }
        }
    }

    pub fn arguments(&mut self) -> Parsed<Arguments> {
        self.expect_op("(")?;
        let mut arguments = Arguments::default();
        let mut first = true;
        while !self.take_op(")") {
            if !first {
                self.expect_op(",")?;
                if self.take_op(")") {
                    break;
                }
            }
            first = false;
            let invalid = || Err("invalid syntax for function call expression".to_owned());
            if self.take_op("**") {
                if arguments.mapping.is_some() {
                    return invalid();
                }
                arguments.mapping = Some(Box::new(self.expression(true)?));
            } else if self.take_op("*") {
                if arguments.list.is_some() || arguments.mapping.is_some() {
                    return invalid();
                }
                arguments.list = Some(Box::new(self.expression(true)?));
            } else if matches!((self.peek(), self.peek_next()), (Some(Token::Name(_)), Some(Token::Op("=")))) {
                let name = self.expect_name()?;
                self.at += 1;
                if arguments.mapping.is_some() {
                    return invalid();
                }
                arguments.named.push((name, self.expression(true)?));
            } else {
                if !arguments.named.is_empty() || arguments.list.is_some() || arguments.mapping.is_some() {
                    return invalid();
                }
                arguments.positional.push(self.expression(true)?);
            }
        }
        Ok(arguments)
    }

    pub fn filters(&mut self, mut node: Expr) -> Parsed<Expr> {
        let start = node.span.start;
        loop {
            let kind = if self.take_op("|") {
                let (filter, name, arguments) = self.filter()?;
                Kind::Filter(Box::new(node), filter, name, arguments)
            } else if self.take_name("is") {
                self.test(node)?
            } else if self.is_op("(") {
                Kind::Call(Box::new(node), self.arguments()?)
            } else {
                return Ok(node);
            };
            self.link()?;
            node = self.expr(start, kind);
        }
    }

    /// A filter's name and arguments.
    pub fn filter(&mut self) -> Parsed<(Option<filters::Filter>, String, Arguments)> {
        let name = self.dotted_name()?;
        let arguments = if self.is_op("(") { self.arguments()? } else { Arguments::default() };
        Ok((filters::find(&name), name, arguments))
    }

    fn dotted_name(&mut self) -> Parsed<String> {
        let mut name = self.expect_name()?;
        while self.take_op(".") {
            name = format!("{name}.{}", self.expect_name()?);
        }
        Ok(name)
    }

    fn test(&mut self, node: Expr) -> Parsed<Kind> {
        let negated = self.take_name("not");
        let name = self.dotted_name()?;
        let mut arguments = Arguments::default();
        let takes_one = match self.peek() {
            Some(Token::Name(next)) => !matches!(next.as_str(), "else" | "or" | "and"),
            Some(Token::Text(_) | Token::Number(_)) => true,
            Some(Token::Op(op)) => matches!(*op, "[" | "{"),
            None => false,
        };
        if self.is_op("(") {
            arguments = self.arguments()?;
        } else if takes_one {
            if self.is_name("is") {
                return Err("You cannot chain multiple tests with is".into());
            }
            let argument = self.primary()?;
            arguments.positional.push(self.postfix(argument)?);
        }
        Ok(Kind::Test { subject: Box::new(node), name, arguments, negated })
    }
}
