//! What a table of options says.

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;
use toml::Value;

use crate::repository::{Result, shown};

/// A set of options that are given together.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The file's name, without its extension.
    #[serde(skip)]
    pub name: String,
    /// A heading of the documentation.
    pub title: String,
    /// What the options are for.
    pub doc: String,
    pub rust: Place,
    pub c: Option<Place>,
    pub cli: Option<Place>,
    pub swift: Option<Place>,
    #[serde(rename = "section")]
    pub sections: Vec<Section>,
}

/// A type that is generated, and the file it is in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    #[serde(rename = "struct")]
    pub name: String,
    pub file: String,
    /// In C, the function that initialises the struct.
    #[serde(default)]
    pub function: String,
    /// What is special in this language.
    #[serde(default)]
    pub doc: String,
    /// In C and Swift: the library also says what counts now, in the same struct.
    #[serde(default)]
    pub readable: bool,
    /// On the command line: the flags may stand after any command.
    #[serde(default)]
    pub global: bool,
}

/// Options that belong together.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// A heading of the documentation.
    pub title: String,
    /// A struct of these options with their defaults in place, for the code that uses them.
    pub params: Option<Params>,
    #[serde(rename = "option")]
    pub options: Vec<Opt>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    #[serde(rename = "struct")]
    pub name: String,
    /// The request's method that makes one.
    pub method: String,
    pub file: String,
    pub doc: String,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Off unless it is given.
    Bool,
    U32,
    I32,
    U64,
    /// A number of bytes.
    Bytes,
    Float,
    /// One of some names.
    Choice,
    Text,
    /// A file or a folder.
    Path,
    /// Texts, in order.
    Texts,
    /// Token ids.
    Tokens,
    /// A number for each of some tokens.
    TokenValues,
}

/// What an option may be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    pub name: String,
    /// The name in Swift, where it is not just camel case.
    pub swift: Option<String>,
    /// A sentence.
    pub doc: String,
}

/// An option.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opt {
    /// In Rust, C and JSON; in camel case in Swift; with hyphens on the command line.
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What it is if nobody says anything.
    pub default: Option<Value>,
    /// In place of a default: what happens if nobody says anything.
    pub otherwise: Option<String>,
    /// The default has no effect.
    #[serde(default)]
    pub off: bool,
    pub minimum: Option<f64>,
    /// A minimum that is not allowed itself.
    pub above: Option<f64>,
    pub maximum: Option<f64>,
    pub one_of: Option<Vec<i64>>,
    #[serde(default, rename = "choice")]
    pub choices: Vec<Choice>,
    /// The enum of choices, where there is one in Rust already.
    pub rust_type: Option<String>,
    /// Where the struct's own file finds it, if not there.
    pub rust_use: Option<String>,
    /// What the names of C's constants begin with.
    #[serde(default)]
    pub c_prefix: String,
    /// The name of Swift's enum.
    #[serde(default)]
    pub swift_type: String,
    /// How many bytes each text may have, from and to.
    pub item_bytes: Option<[usize; 2]>,
    /// A sentence.
    pub doc: String,
    /// More, for those who read the documentation.
    #[serde(default)]
    pub details: String,
    /// In place of `doc` on the command line.
    pub cli_doc: Option<String>,
    /// The name in Swift, where it is not just camel case.
    pub swift: Option<String>,
    /// The flag of the command line, where it is not the name.
    pub flag: Option<String>,
    /// A letter for the command line.
    pub short: Option<char>,
    /// Never printed or written.
    #[serde(default)]
    pub secret: bool,
    /// Whether the command line has a flag for it.
    #[serde(default = "yes")]
    pub cli: bool,
    /// Whether Swift's struct has it.
    #[serde(default = "yes")]
    pub in_swift: bool,
    /// The version that first had it, if that is not the first one: such options come last in C.
    pub since: Option<String>,
}

impl Table {
    pub fn read(path: &Path, name: &str) -> Result<Table> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", shown(path).display()))?;
        let mut table: Table = toml::from_str(&text).map_err(|e| format!("{}: {e}", shown(path).display()))?;
        table.name = name.into();
        table.check().map_err(|e| format!("{}: {e}", shown(path).display()))?;
        Ok(table)
    }

    pub fn options(&self) -> impl Iterator<Item = &Opt> {
        self.sections.iter().flat_map(|s| &s.options)
    }

    /// In the order of C's struct, which only grows at its end.
    pub fn in_c_order(&self) -> Vec<&Opt> {
        let mut options: Vec<&Opt> = self.options().collect();
        options.sort_by_key(|o| o.since.as_deref().map(version));
        options
    }

    fn check(&self) -> Result {
        let mut names = HashSet::new();
        for option in self.options() {
            let name = &option.name;
            option.check().map_err(|why| format!("{name}: {why}"))?;
            if !names.insert(name) {
                return Err(format!("{name} stands there twice").into());
            }
        }
        // What is appended later must not lie in what is padding now.
        let order = self.in_c_order();
        for (i, option) in order.iter().enumerate() {
            let ends = order.get(i + 1).is_none_or(|next| next.since != option.since);
            if self.c.is_some() && ends && matches!(option.kind, Kind::Bool | Kind::Choice) {
                return Err(
                    format!("{} would leave padding at the end of C's struct: put it further up", option.name).into()
                );
            }
        }
        Ok(())
    }
}

fn yes() -> bool {
    true
}

/// `top_k` as `topK`.
pub fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
}

fn version(text: &str) -> Vec<u32> {
    text.split('.').filter_map(|n| n.parse().ok()).collect()
}

impl Opt {
    fn check(&self) -> Result {
        let right = match (self.kind, &self.default) {
            (Kind::Bool | Kind::Tokens | Kind::TokenValues, default) => default.is_none() && self.otherwise.is_none(),
            // In C the first one is then that which is not given.
            (Kind::Choice, Some(default)) => default.as_str() == self.choices.first().map(|c| c.name.as_str()),
            (Kind::Text | Kind::Path, Some(_)) => false,
            (_, None) => self.otherwise.is_some() || self.kind == Kind::Texts,
            (_, Some(_)) if self.otherwise.is_some() => false,
            (Kind::Float, Some(default)) => default.is_float(),
            (Kind::U32 | Kind::I32 | Kind::U64 | Kind::Bytes, Some(default)) => default.is_integer(),
            (Kind::Texts, Some(default)) => default.as_array().is_some_and(|a| a.iter().all(Value::is_str)),
        };
        if !right {
            return Err("a number needs a default or `otherwise`, and nothing else may have one".into());
        }
        for text in [Some(&self.doc), Some(&self.details), self.cli_doc.as_ref()].into_iter().flatten() {
            if !text.is_empty() && !text.ends_with('.') {
                return Err(format!("{text:?} is no sentence").into());
            }
        }
        Ok(())
    }

    /// What a choice is in C, by its place in the list.
    pub fn choice_value(&self, place: usize) -> usize {
        place + usize::from(self.default.is_none())
    }

    /// Whether it is a list that may be empty on purpose, which is not the same as none.
    pub fn is_optional_list(&self) -> bool {
        self.kind == Kind::Texts && self.default.is_some()
    }

    pub fn swift_name(&self) -> String {
        self.swift.clone().unwrap_or_else(|| camel_case(&self.name))
    }

    pub fn flag_name(&self) -> String {
        self.flag.clone().unwrap_or_else(|| self.name.replace('_', "-"))
    }
}
