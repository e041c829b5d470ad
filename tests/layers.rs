//! The rules of docs/architecture.md that a compiler does not check: who may import whom, where `unsafe` may stand.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "support/circles.rs"]
mod circles;
use circles::circles;

fn sources() -> BTreeMap<String, String> {
    sources_in(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src"))
}

/// All Rust files of a folder, by their path in it.
fn sources_in(root: &Path) -> BTreeMap<String, String> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, found),
                false if path.extension().is_some_and(|e| e == "rs") => found.push(path),
                false => {}
            }
        }
    }
    let mut found = Vec::new();
    walk(root, &mut found);
    let text = |p: &PathBuf| (p.strip_prefix(root).unwrap().display().to_string(), fs::read_to_string(p).unwrap());
    found.iter().map(text).collect()
}

/// The top module of a file: `array` for `array/ops.rs`, `error` for `error.rs`.
fn module(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap()
}

/// Lines of code, without comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|l| l.split("//").next().unwrap_or_default())
}

/// What each module may import. Everyone may import what `base` has: `env`, `error`, `files` and `limits`.
const ALLOWED: &[(&str, &[&str])] = &[
    ("array", &[]),
    ("base", &[]),
    ("cache", &["array"]),
    ("chat", &["tokenizer", "generate"]),
    ("engine", &["array", "cache", "chat", "generate", "load", "models", "tokenizer"]),
    ("ffi", &["array", "cache", "chat", "engine", "generate", "hub", "load", "models", "process", "tokenizer"]),
    ("kernels", &[]),
    ("generate", &["array", "cache", "models", "tokenizer"]),
    ("hub", &[]),
    ("load", &["array", "cache", "generate", "hub", "models", "tokenizer", "weights"]),
    ("models", &["array", "cache", "nn", "weights", "vision"]),
    ("nn", &["array", "weights"]),
    ("process", &["array"]),
    ("tokenizer", &[]),
    ("weights", &["array"]),
];

#[test]
fn modules_import_only_what_lies_below_them() {
    let sources = sources();
    let modules: Vec<&str> = ALLOWED.iter().map(|(m, _)| *m).collect();
    let mut wrong = Vec::new();
    for (path, text) in &sources {
        let from = module(path);
        // Crates of their own within `src` cannot import more than their manifests name.
        if from == "lib" || path.starts_with("base/") || path.starts_with("hub/") || path.starts_with("kernels/") {
            continue;
        }
        let (_, allowed) = ALLOWED.iter().find(|(m, _)| *m == from).unwrap_or_else(|| panic!("{path}: unknown module"));
        for line in code(text) {
            // What the root hands on to programs would hide where it comes from, and so would a list.
            let through_root = ["Device", "Dtype", "memory", "registry"].iter().chain(&modules).any(|name| {
                let list = line.split_once("crate::{").is_some_and(|(_, list)| list.contains(name));
                list || (!modules.contains(name) && line.contains(&format!("crate::{name}")))
            });
            if through_root {
                wrong.push(format!("{path}: {}", line.trim()));
            }
            for to in &modules {
                let named = line.contains(&format!("crate::{to}::")) || line.contains(&format!("crate::{to};"));
                if named && *to != from && !allowed.contains(to) {
                    wrong.push(format!("{path}: {}", line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The crates within `src` stand below the main crate, and know `base` alone of it.
#[test]
fn crates_know_what_lies_below_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (name, allowed) in [("base", &[][..]), ("hub", &["mlx-engine-base"]), ("kernels", &["mlx-engine-base"])] {
        let manifest = fs::read_to_string(src.join(name).join("Cargo.toml")).unwrap();
        let ours = manifest.lines().filter(|l| l.starts_with("mlx-engine")).map(|l| l.split(' ').next().unwrap());
        assert_eq!(ours.collect::<Vec<_>>(), allowed, "{name}");
    }
}

/// One place knows which environment variables there are.
#[test]
fn the_environment_is_read_in_one_place() {
    for (path, text) in sources() {
        let text = text.split("#[cfg(test)]").next().unwrap();
        let reads = code(text).any(|l| l.contains("env::var"));
        assert!(path == "base/env.rs" || !reads, "{path} reads the environment");
    }
}

/// What the library can be built without is known to one file.
#[test]
fn features_are_asked_for_in_one_file() {
    for (path, text) in sources() {
        let asks = code(&text).any(|l| l.contains("feature = "));
        assert!(path == "hub/lib.rs" || !asks, "{path} depends on a feature");
    }
}

/// Programs and examples use what the documentation shows.
#[test]
fn programs_use_the_public_interface() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["cli/src", "examples"] {
        for (path, text) in sources_in(&root.join(folder)) {
            for hidden in ["array", "cache", "ffi", "models", "weights"] {
                let named = code(&text).any(|l| l.contains(&format!("mlx_engine::{hidden}::")));
                assert!(!named, "{folder}/{path} uses mlx_engine::{hidden}");
            }
        }
    }
}

#[test]
fn files_import_each_other_in_no_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for (folder, own) in [
        ("src", &["base", "hub", "kernels"][..]),
        ("src/base", &[]),
        ("src/hub", &[]),
        ("src/kernels", &[]),
        ("cli/src", &[]),
        ("xtask/src", &[]),
    ] {
        let mut files = sources_in(&root.join(folder));
        files.retain(|path, _| !own.iter().any(|o| path.starts_with(&format!("{o}/"))));
        found.extend(circles(&files).into_iter().map(|circle| format!("{folder}: {}", circle.join(", "))));
    }
    assert!(found.is_empty(), "files import each other:\n{}", found.join("\n"));
}

/// The check itself: a circle through a name that a parent hands on, and none where it only looks like one.
#[test]
fn circles_are_found() {
    let files = |texts: &[(&str, &str)]| texts.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect();
    let clean = files(&[
        ("lib.rs", "mod a;\npub mod b;\npub use a::{A, c::C};\n"),
        ("a/mod.rs", "mod c;\npub use c::C;\npub struct A(c::C);"),
        ("a/c.rs", "use std::fmt;\n// use super::A;\npub struct C;"),
        ("b.rs", "use crate::{\n    A,\n    C,\n};\nfn b(_: A, _: C) {}"),
    ]);
    assert!(circles(&clean).is_empty(), "{:?}", circles(&clean));
    let said = files(&[
        ("lib.rs", "mod a;\nfn b() { a::a() }"),
        ("a.rs", "fn a() -> (char, &'static str, &'static str) { ('\"', \"use crate::b;\", r#\"\"crate::b\"\"#) }"),
    ]);
    assert!(circles(&said).is_empty(), "{:?}", circles(&said));
    let handed_on = files(&[
        ("lib.rs", "mod a;\nmod b;\npub use a::A;\n"),
        ("a.rs", "pub fn a() { crate::b::b() }\npub struct A;"),
        ("b.rs", "use super::A;\npub fn b() { let _ = A; }"),
    ]);
    assert_eq!(circles(&handed_on), [["a.rs", "b.rs"]]);
    let parent = files(&[
        ("lib.rs", "mod a;\nuse a::a;\npub struct B;\nfn main() { a() }"),
        ("a.rs", "use super::B;\npub fn a() {}"),
    ]);
    assert_eq!(circles(&parent), [["a.rs", "lib.rs"]]);
}

#[test]
fn unsafe_code_has_its_homes() {
    for (path, text) in sources() {
        let home = matches!(module(&path), "array" | "kernels" | "ffi")
            || matches!(path.as_str(), "base/threads.rs" | "base/fork.rs");
        let forbids = text.contains("#![forbid(unsafe_code)]") || path == "base/lib.rs";
        let has = code(&text).any(|l| l.contains("unsafe ") && !l.contains("unsafe_code"));
        assert!(home || !has, "{path} has unsafe code");
        let top = (path.ends_with("/mod.rs") || path.ends_with("/lib.rs")) && path.matches('/').count() == 1;
        assert!(home || !top || forbids, "{path} does not forbid unsafe code");
    }
}

/// Threads of ours must not take the host's signals, so only `base::threads` starts any.
#[test]
fn threads_start_without_signals() {
    for (path, text) in sources() {
        let text = text.split("#[cfg(test)]").next().unwrap();
        if path == "base/threads.rs" || path.ends_with("tests.rs") {
            continue;
        }
        let starts = ["thread::spawn(", "scope.spawn(", ".spawn_scoped(", "Builder::new().spawn("];
        for line in code(text).filter(|line| starts.iter().any(|start| line.contains(start))) {
            assert!(line.contains("threads::spawn(") || line.contains("without_signals(||"), "{path}: {line}");
        }
    }
}

#[test]
fn only_models_name_architectures() {
    let types: Vec<String> =
        mlx_engine::models::registry::ARCHITECTURES.iter().map(|a| format!("\"{}\"", a.model_type)).collect();
    for (path, text) in sources() {
        // Files of tests may name what they like, and so may tests within a file.
        if module(&path) == "models" || path.ends_with("tests.rs") {
            continue;
        }
        let text = text.split("#[cfg(test)]").next().unwrap();
        for name in &types {
            assert!(!code(text).any(|l| l.contains(name.as_str())), "{path} names {name}");
        }
    }
}

/// Lines of code that a file of a model may have: of data, by hand, of the decoder and its parts.
const BUDGETS: &[(&str, usize)] = &[("models/llm/", 80), ("models/by_hand/", 300), ("models/decoder/", 400)];

#[test]
fn files_of_models_stay_small() {
    for (path, text) in sources() {
        let Some((_, budget)) = BUDGETS.iter().find(|(folder, _)| path.starts_with(folder)) else { continue };
        // A list of the others.
        if path.ends_with("llm/mod.rs") {
            continue;
        }
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = code(text).map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("use ")).count();
        assert!(lines <= *budget, "{path} has {lines} lines of code, {budget} at most");
    }
}

/// The back ends of `array` are known through `array::fused` alone.
#[test]
fn only_array_names_back_ends() {
    for (path, text) in sources() {
        if matches!(module(&path), "array" | "kernels") {
            continue;
        }
        for line in code(&text) {
            let named = ["cpu::", "cuda::", "mlx_engine_kernels"].iter().find(|name| line.contains(*name));
            assert!(named.is_none(), "{path} names a back end: {}", line.trim());
            let imported =
                line.contains("array::{") && line.split([' ', '{', '}', ',', ';']).any(|w| matches!(w, "cpu" | "cuda"));
            assert!(!imported, "{path} imports a back end: {}", line.trim());
        }
    }
}
