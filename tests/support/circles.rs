//! Which files of a crate import which, and where that leads back.
//!
//! What counts is where a name is defined: a module that only hands on what its children have is not in the way. Naming
//! a child (`mod`, `pub use`) is no import of it.

use std::collections::{BTreeMap, BTreeSet};

type Module = Vec<String>;

/// What one file says.
#[derive(Default)]
struct Names {
    /// Paths that it uses.
    uses: Vec<Vec<String>>,
    /// Names that stand for paths: imported or handed on.
    known: BTreeMap<String, Vec<String>>,
}

/// Files that import each other, each circle in order of their names.
pub fn circles(files: &BTreeMap<String, String>) -> Vec<Vec<String>> {
    let modules: BTreeMap<Module, &str> = files
        .keys()
        .filter(|path| !path.ends_with("tests.rs") && !path.contains("tests/"))
        .map(|path| (module(path), path.as_str()))
        .collect();
    let names: BTreeMap<&Module, Names> =
        modules.iter().map(|(module, path)| (module, read(module, &files[*path], &modules))).collect();
    let graph: BTreeMap<&Module, BTreeSet<&Module>> = names
        .iter()
        .map(|(from, said)| {
            let to = said.uses.iter().filter_map(|path| resolve(from, path, &modules, &names, 0));
            (*from, to.filter(|to| to != from).collect())
        })
        .collect();
    // Few files: what can be reached from each is computed plainly.
    let reach: BTreeMap<&Module, BTreeSet<&Module>> =
        graph.keys().map(|from| (*from, reachable(from, &graph))).collect();
    let mut found = BTreeSet::new();
    for (module, to) in &reach {
        if to.contains(module) {
            let circle: BTreeSet<&str> =
                to.iter().filter(|other| reach[*other].contains(module)).map(|m| modules[*m]).collect();
            found.insert(circle.into_iter().map(str::to_owned).collect());
        }
    }
    found.into_iter().collect()
}

fn reachable<'a>(from: &'a Module, graph: &BTreeMap<&'a Module, BTreeSet<&'a Module>>) -> BTreeSet<&'a Module> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        open.extend(graph[module].iter().filter(|to| seen.insert(**to)));
    }
    seen
}

fn module(path: &str) -> Module {
    let mut parts: Module = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    match parts.last().map(String::as_str) {
        Some("mod") => drop(parts.pop()),
        Some("lib" | "main") if parts.len() == 1 => parts.clear(),
        _ => {}
    }
    parts
}

/// Code without comments, texts and the tests at its end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut code = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '/' if rest.peek() == Some(&'/') => {
                rest.by_ref().find(|c| *c == '\n');
                code.push('\n');
            }
            // A quote as a character.
            '\\' => {
                rest.next();
            }
            '\'' if rest.peek() == Some(&'"') => {
                rest.next();
            }
            '"' => {
                let hashes = code.len() - code.trim_end_matches('#').len();
                let raw = code[..code.len() - hashes].ends_with('r');
                code.push_str("\"\"");
                loop {
                    match rest.next() {
                        Some('\\') if !raw => {
                            rest.next();
                        }
                        Some('"') if rest.clone().take(hashes).filter(|c| *c == '#').count() == hashes => break,
                        Some('\n') => code.push('\n'),
                        Some(_) => {}
                        None => break,
                    }
                }
            }
            c => code.push(c),
        }
    }
    code
}

fn read(module: &Module, text: &str, modules: &BTreeMap<Module, &str>) -> Names {
    let mut names = Names::default();
    let mut rest = String::new();
    let mut statement: Option<(bool, String)> = None;
    for line in code(text).lines() {
        let trimmed = line.trim_start();
        if statement.is_none() {
            let public = trimmed.starts_with("pub");
            let start = match trimmed.strip_prefix("use ") {
                Some(body) => Some(body),
                None if public => {
                    trimmed.split_once(" use ").filter(|(v, _)| v.starts_with("pub")).map(|(_, body)| body)
                }
                None => None,
            };
            match start {
                Some(body) => statement = Some((public, body.to_owned())),
                None => {
                    rest.push_str(line);
                    rest.push('\n');
                }
            }
        } else if let Some((_, body)) = &mut statement {
            body.push_str(trimmed);
        }
        if let Some((public, body)) = statement.take_if(|(_, body)| body.contains(';')) {
            for path in expand(body.split(';').next().unwrap_or_default()) {
                if let Some(name) = path.last() {
                    names.known.insert(name.clone(), path.clone());
                }
                if !public {
                    names.uses.push(path);
                }
            }
        }
    }
    // Paths within the code.
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for piece in rest.split(|c: char| !is_word(c) && c != ':') {
        let path: Vec<String> = piece.split("::").map(str::to_owned).collect();
        if path.len() < 2 || path.iter().any(|p| p.is_empty() || p.contains(':')) {
            continue;
        }
        let child = modules.contains_key(&[module.as_slice(), &path[..1]].concat());
        if child || matches!(path[0].as_str(), "crate" | "super") {
            names.uses.push(path);
        }
    }
    names
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn expand(text: &str) -> Vec<Vec<String>> {
    let Some((head, tail)) = text.split_once('{') else {
        let plain = text.split(" as ").next().unwrap_or_default();
        let mut path: Vec<String> = plain.split("::").map(|p| p.trim().to_owned()).collect();
        path.pop_if(|last| last == "self" || last.is_empty());
        return vec![path];
    };
    let inner = &tail[..tail.rfind('}').unwrap_or(tail.len())];
    let (mut depth, mut part, mut parts) = (0, String::new(), Vec::new());
    for c in inner.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part);
    parts.iter().filter(|p| !p.trim().is_empty()).flat_map(|p| expand(&format!("{head}{}", p.trim()))).collect()
}

/// The module in which a path's name is defined; `None` outside of the crate.
fn resolve<'a>(
    from: &Module,
    path: &[String],
    modules: &'a BTreeMap<Module, &str>,
    names: &BTreeMap<&Module, Names>,
    depth: usize,
) -> Option<&'a Module> {
    let mut at = from.clone();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => (at, rest) = (Vec::new(), &rest[1..]),
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|p| p == "super") {
                at.pop();
                rest = &rest[1..];
            }
        }
        first if modules.contains_key(&[at.as_slice(), &[first.to_owned()]].concat()) => {}
        _ => return None,
    }
    while let Some(next) = rest.first() {
        let child = [at.as_slice(), std::slice::from_ref(next)].concat();
        if !modules.contains_key(&child) {
            break;
        }
        (at, rest) = (child, &rest[1..]);
    }
    let (module, _) = modules.get_key_value(&at)?;
    let handed = rest.first().and_then(|name| names.get(module)?.known.get(name)).filter(|_| depth < 8);
    match handed {
        None => Some(module),
        Some(further) => {
            let further = [further.as_slice(), &rest[1..]].concat();
            // Nothing, if it comes from another crate.
            resolve(module, &further, modules, names, depth + 1)
        }
    }
}
