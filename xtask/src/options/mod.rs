//! `cargo xtask options`: what follows from the tables in src/options.

mod c;
mod cli;
mod docs;
mod rust;
mod swift;
mod table;
mod text;

use std::io::Write;
use std::process::{Command, Stdio};

use crate::repository::{Result, root};
use table::Table;

/// In the order of the documentation.
const TABLES: [&str; 5] = ["generation", "load", "hub", "engine", "process"];

/// Writes all files, or with `check` only says which are not current.
pub fn generate(check: bool) -> Result {
    let tables = TABLES.map(|name| Table::read(&root().join(format!("src/options/{name}.toml")), name));
    let tables = tables.into_iter().collect::<Result<Vec<Table>>>()?;
    let mut stale = Vec::new();
    for (file, text) in files(&tables)? {
        let path = root().join(&file);
        if std::fs::read_to_string(&path).is_ok_and(|current| current == text) {
            continue;
        }
        if check {
            stale.push(file);
        } else {
            std::fs::create_dir_all(path.parent().expect("files lie in folders"))?;
            std::fs::write(&path, text)?;
            println!("wrote {}", path.display());
        }
    }
    match stale.is_empty() {
        true => Ok(()),
        false => Err(format!("not current: {}; run `cargo xtask options`", stale.join(", ")).into()),
    }
}

/// Paths from the root, and what belongs there.
fn files(tables: &[Table]) -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for table in tables {
        files.push((table.rust.file.clone(), rustfmt(&rust::request(table))?));
        for section in &table.sections {
            if let Some(params) = &section.params {
                files.push((params.file.clone(), rustfmt(&rust::params(table, section, params))?));
            }
        }
        if let Some(place) = &table.c {
            files.push((place.file.clone(), rustfmt(&c::source(table, place))?));
        }
        if let Some(place) = &table.cli {
            files.push((place.file.clone(), rustfmt(&cli::source(table, place))?));
        }
        if let Some(place) = &table.swift {
            files.push((place.file.clone(), swift::source(table, place)));
        }
    }
    files.push(("docs/options.md".into(), docs::page(tables)));
    Ok(files)
}

fn rustfmt(text: &str) -> Result<String> {
    let mut child = Command::new("rustfmt")
        .arg("--config-path")
        .arg(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("rustfmt: {e}"))?;
    child.stdin.take().expect("piped").write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(format!("rustfmt does not take this:\n{text}").into()),
    }
}

#[cfg(test)]
mod tests {
    /// `cargo xtask options` would change nothing.
    #[test]
    fn generated_files_are_current() {
        super::generate(true).unwrap_or_else(|e| panic!("{e}"));
    }
}
