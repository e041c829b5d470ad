//! Statements, as the engine gets them.

use super::args::Signature;
use super::ast::Kind;
use super::lexer::tokens;
use super::parser::{Parsed, Parser};
use super::rewrite::Rewriter;
use super::scan;
use super::targets::target;

/// The parameter of all macros and call blocks.
const ARGUMENTS: &str = "__mlxe_args";
/// What a block is called before it is assigned to an attribute of a namespace.
const BLOCK: &str = "__mlxe_block";
impl Rewriter {
    pub fn statement(&mut self, tag: &scan::Tag) -> Parsed<()> {
        let mut parser = Parser::new(tokens(tag.inner)?);
        let word = parser.expect_name()?;
        match word.as_str() {
            "if" | "elif" => {
                if word == "if" {
                    self.push("if", true);
                }
                let condition = parser.tuple(false, &[])?;
                parser.expect_end()?;
                let value = self.value(condition, tag.inner)?;
                self.write(tag, &format!("{word} {value}"), "");
            }
            "for" => self.for_loop(tag, parser)?,
            "set" => self.set(tag, parser)?,
            "macro" => {
                let name = parser.expect_name()?;
                let signature = self.signature(tag, parser, &name, &format!("macro {name}"))?;
                self.push_macro("macro", signature);
            }
            "call" => {
                let block = if parser.is_op("(") { parser } else { Parser::new(tokens("()")?) };
                let signature = self.signature(tag, block, "caller", "call")?;
                self.push_macro("call", signature);
            }
            "filter" => {
                self.push("filter", false);
                let chain = self.filter_chain(&mut parser, tag.inner)?;
                self.scope(tag, &format!("filter {chain} | __mlxe_str"));
            }
            "with" => self.with(tag, parser)?,
            "print" => {
                let mut prints = String::new();
                while parser.peek().is_some() {
                    if !prints.is_empty() {
                        parser.expect_op(",")?;
                    }
                    let value = self.value(parser.expression(true)?, tag.inner)?;
                    prints.push_str(&format!("{{{{ {value} }}}}"));
                }
                self.write(tag, "if true", &format!("{prints}{{% endif"));
            }
            "include" | "import" | "from" | "extends" => {
                self.write(tag, &format!("if '{word}'|__mlxe_no_loader"), "{% endif");
            }
            "autoescape" => {
                let value = parser.expression(true)?;
                parser.expect_end()?;
                self.push("autoescape", false);
                let value = self.value(value, tag.inner)?;
                self.scope(tag, &format!("autoescape {value}"));
            }
            "generation" => {
                parser.expect_end()?;
                self.push("generation", false);
                self.write(tag, "with", "");
            }
            "block" => {
                self.push("block", false);
                self.write(tag, tag.inner.trim(), "");
            }
            "else" | "break" | "continue" => {
                parser.expect_end()?;
                self.write(tag, &word, "");
            }
            _ => match word.strip_prefix("end") {
                Some(what) if self.open.last().is_some_and(|open| open.tag == what) => {
                    if what != "block" {
                        parser.expect_end()?;
                    }
                    let after = self.open.pop().map(|open| open.after).unwrap_or_default();
                    match what {
                        "generation" => self.write(tag, "endwith", ""),
                        "set" if !after.is_empty() => {
                            self.write(tag, "endwith", &format!("{{% endset %}}{after}"));
                        }
                        "set" | "filter" | "autoescape" => self.write(tag, "endwith", &format!("{{% end{what}")),
                        _ => self.write(tag, tag.inner.trim(), ""),
                    }
                }
                _ => return Err(format!("Encountered unknown tag '{word}'.")),
            },
        }
        Ok(())
    }

    fn for_loop(&mut self, tag: &scan::Tag, mut parser: Parser) -> Parsed<()> {
        let target = target(&mut parser, "in")?;
        if !parser.take_name("in") {
            return Err(format!("expected 'in', got {}", parser.describe()));
        }
        let items = parser.tuple(false, &["recursive", "if"])?;
        let condition = if parser.take_name("if") { Some(parser.expression(true)?) } else { None };
        let recursive = if parser.take_name("recursive") { " recursive" } else { "" };
        parser.expect_end()?;
        self.push("for", false);
        let items = self.value(items, tag.inner)?;
        let condition = match condition {
            Some(condition) => format!(" if {}", self.value(condition, tag.inner)?),
            None => String::new(),
        };
        let count = target.count;
        self.write(tag, &format!("for {} in {items}|__mlxe_items({count}){condition}{recursive}", target.text), "");
        Ok(())
    }

    fn set(&mut self, tag: &scan::Tag, mut parser: Parser) -> Parsed<()> {
        let target = target(&mut parser, "")?;
        if parser.take_op("=") {
            let expr = parser.tuple(true, &[])?;
            parser.expect_end()?;
            let value = self.value(expr, tag.inner)?;
            match &target.attribute {
                Some(attribute) => {
                    self.write(tag, &format!("if {value}|__mlxe_set({}, '{attribute}')", target.text), "{% endif");
                }
                None if target.count > 0 => {
                    self.write(tag, &format!("set {} = {value}|__mlxe_unpack({})", target.text, target.count), "");
                }
                None => self.write(tag, &format!("set {} = {value}", target.text), ""),
            }
            return Ok(());
        }
        self.push("set", false);
        let chain = match parser.take_op("|") {
            true => format!(" | {}", self.filter_chain(&mut parser, tag.inner)?),
            false => String::new(),
        };
        parser.expect_end()?;
        let name = match &target.attribute {
            Some(attribute) => {
                if let Some(open) = self.open.last_mut() {
                    open.after = format!("{{% if {BLOCK}|__mlxe_set({}, '{attribute}') %}}{{% endif", target.text);
                }
                BLOCK
            }
            None => &target.text,
        };
        self.scope(tag, &format!("set {name}{chain}"));
        Ok(())
    }

    /// `name(arguments) | name ..`, which the engine applies itself.
    fn filter_chain(&mut self, parser: &mut Parser, source: &str) -> Parsed<String> {
        let mut chain = Vec::new();
        loop {
            let (filter, name, arguments) = parser.filter()?;
            if filter.is_none() {
                return Err(format!("No filter named '{name}'."));
            }
            let mut parts = Vec::new();
            for argument in arguments.positional {
                parts.push(self.value(argument, source)?);
            }
            for (name, argument) in arguments.named {
                parts.push(format!("{name}={}", self.value(argument, source)?));
            }
            if let Some(more) = arguments.list {
                parts.push(format!("*{}", self.value(*more, source)?));
            }
            if let Some(more) = arguments.mapping {
                parts.push(format!("**{}", self.value(*more, source)?));
            }
            chain.push(format!("{name}({})", parts.join(", ")));
            if !parser.take_op("|") {
                parser.expect_end()?;
                return Ok(chain.join(" | "));
            }
        }
    }

    fn with(&mut self, tag: &scan::Tag, mut parser: Parser) -> Parsed<()> {
        let (mut targets, mut values) = (Vec::new(), Vec::new());
        while parser.peek().is_some() {
            if !targets.is_empty() {
                parser.expect_op(",")?;
            }
            let name = parser.expect_name()?;
            parser.expect_op("=")?;
            values.push(self.value(parser.expression(true)?, tag.inner)?);
            targets.push(name);
        }
        self.push("with", false);
        // All values are computed before the first is assigned.
        let inner = match targets.len() {
            0 => "with".to_owned(),
            1 => format!("with {} = {}", targets[0], values[0]),
            _ => format!("with ({}) = [{}]", targets.join(", "), values.join(", ")),
        };
        self.write(tag, &inner, "");
        Ok(())
    }

    /// A macro takes all arguments as one, and takes them apart itself: `{% set b = (0|__mlxe_arg(..)) %}`.
    fn signature(&mut self, tag: &scan::Tag, mut parser: Parser, name: &str, head: &str) -> Parsed<usize> {
        let id = self.program.signatures.len();
        let mut parameters: Vec<String> = Vec::new();
        // A default sees all parameters, those after it undefined unless they are given.
        let (mut prologue, mut defaults) = (String::new(), String::new());
        parser.expect_op("(")?;
        while !parser.take_op(")") {
            if !parameters.is_empty() {
                parser.expect_op(",")?;
            }
            let parameter = parser.expect_name()?;
            let given = |what: &str| format!("({}|__mlxe_{what}({ARGUMENTS}, '{parameter}'))", parameters.len());
            prologue.push_str(&format!("{{% set {parameter} = {} %}}", given("arg")));
            if parser.take_op("=") {
                let default = self.value(parser.expression(true)?, tag.inner)?;
                let given = given("given");
                defaults.push_str(&format!("{{% set {parameter} = {parameter} if {given} else {default} %}}"));
            } else if !defaults.is_empty() {
                return Err("non-default argument follows default argument".into());
            }
            parameters.push(parameter);
        }
        let mut head = format!("{head}{}({ARGUMENTS})", if head == "call" { " " } else { "" });
        if name == "caller" && head.starts_with("call") {
            // Behind an empty signature of our own comes the whole tag again.
            let mut rest = match parser.peek() {
                None => Parser::new(tokens(tag.inner)?[1..].to_vec()),
                Some(_) => parser,
            };
            let mut call = rest.expression(true)?;
            rest.expect_end()?;
            if !matches!(call.kind, Kind::Call(..)) {
                return Err("expected call".into());
            }
            self.check(&mut call, self.soft())?;
            let (call, slots) = self.keep(call, tag.inner, Vec::new());
            let separator = if slots.is_empty() { "" } else { ", " };
            head = format!("{head} __mlxe_call({call}{separator}{slots})");
        } else {
            parser.expect_end()?;
        }
        for special in ["varargs", "kwargs", "caller"] {
            if !parameters.iter().any(|parameter| parameter == special) {
                prologue.push_str(&format!("{{% set {special} = (0|__mlxe_arg({ARGUMENTS}, '{special}')) %}}"));
            }
        }
        let after = format!(
            "{{% if {id}|__mlxe_bind({ARGUMENTS}) %}}{{% endif %}}{prologue}{defaults}{{% if false %}}{{% endif"
        );
        self.write(tag, &head, &after);
        let name = name.to_owned();
        self.program.signatures.push(Signature { name, parameters, varargs: false, kwargs: false, caller: false });
        Ok(id)
    }
}
