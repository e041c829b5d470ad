//! Which files of a model hold its weights, by their names and the index of a sharded checkpoint.
//!
//! Published repositories are not tidy: the index may be that of the checkpoint before it was quantized, or name files that
//! were merged, and other weights lie beside the model's. mlx-lm loads every `model*.safetensors` and never reads the index;
//! transformers takes `model.safetensors`, else what the index names. What either of them loads is found here.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};

/// The index of a sharded checkpoint.
pub const INDEX: &str = "model.safetensors.index.json";
/// The longest index that is read: it has a line for each tensor.
pub const MAX_INDEX: u64 = 64 << 20;

const SUFFIX: &str = ".safetensors";
const WHOLE: &str = "model.safetensors";

/// The weight files of a model.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Shards {
    /// In the order of their names; empty if there are none.
    pub files: Vec<String>,
    /// The file of each tensor, where the index is one of these files.
    pub index: BTreeMap<String, String>,
    /// What is odd about it, and what was left out: sentences for a log.
    pub notes: Vec<String>,
}

impl Shards {
    /// Chooses among the files of a repository, `names` relative to it. `index` is the text of [`INDEX`], if there is one.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) if a part of the checkpoint is missing.
    pub fn choose<'a>(names: impl IntoIterator<Item = &'a str>, index: Option<&str>) -> Result<Shards> {
        let there: BTreeSet<&str> = names.into_iter().filter(|name| is_weights(name)).collect();
        let mut notes = Vec::new();
        let index = index.map_or_else(BTreeMap::new, |text| read(text, &mut notes));
        let indexed: BTreeSet<&str> = index.values().map(String::as_str).collect();
        let missing = indexed.iter().find(|name| !there.contains(*name));
        let stale = match missing {
            None => false,
            Some(_) if there.contains(WHOLE) && !indexed.contains(WHOLE) => true,
            Some(_) if !there.is_empty() && indexed.is_disjoint(&there) => true,
            Some(name) => return Err(missing_file(name, &format!("{INDEX} names it"))),
        };
        let (chosen, index) = match stale || indexed.is_empty() {
            false => (with_families(&indexed, &there), index),
            true => (by_name(&there)?, BTreeMap::new()),
        };
        if stale {
            notes.push(format!("{INDEX} is that of other files and was not used"));
        }
        let left: Vec<&str> = there.difference(&chosen).copied().collect();
        if !left.is_empty() {
            notes.push(format!("not read: {}", left.join(", ")));
        }
        Ok(Shards { files: chosen.into_iter().map(str::to_owned).collect(), index, notes })
    }
}

fn missing_file(name: &str, why: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("{name} is missing; {why}"))
}

/// A file of weights at the top of a repository.
fn is_weights(name: &str) -> bool {
    name.ends_with(SUFFIX) && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

/// The file of each tensor. Names of files that nobody could open are left out.
fn read(text: &str, notes: &mut Vec<String>) -> BTreeMap<String, String> {
    let json: Value = serde_json::from_str(text).unwrap_or_default();
    let Some(all) = json.get("weight_map").and_then(Value::as_object) else {
        notes.push(format!("{INDEX} is broken and was not used"));
        return BTreeMap::new();
    };
    let plain = |(tensor, file): (&String, &Value)| {
        Some((tensor.clone(), file.as_str().filter(|name| is_weights(name))?.to_owned()))
    };
    let map: BTreeMap<String, String> = all.iter().filter_map(plain).collect();
    if map.len() < all.len() {
        notes.push(format!("{INDEX}: {} of {} entries name no weight file", all.len() - map.len(), all.len()));
    }
    map
}

/// `model-00002-of-00003.safetensors` as what stands before the number, the number, and of how many.
fn part(name: &str) -> Option<(&str, usize, &str)> {
    let (rest, total) = name.strip_suffix(SUFFIX)?.rsplit_once("-of-")?;
    let at = rest.rfind(|c: char| !c.is_ascii_digit())? + 1;
    let number = rest[at..].parse().ok()?;
    total.parse::<usize>().ok().filter(|&n| n <= 100_000)?;
    Some((&rest[..at], number, total))
}

/// These files, and the other parts of checkpoints of which they are parts.
fn with_families<'a>(some: &BTreeSet<&str>, there: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    let family = |name: &str| part(name).map(|(prefix, _, total)| (prefix.to_owned(), total.to_owned()));
    let families: BTreeSet<_> = some.iter().filter_map(|name| family(name)).collect();
    let belongs = |name: &&&str| some.contains(**name) || family(name).is_some_and(|f| families.contains(&f));
    there.iter().filter(belongs).copied().collect()
}

/// Without an index: the whole model, or the parts of one, or all that may be weights of one.
fn by_name<'a>(there: &BTreeSet<&'a str>) -> Result<BTreeSet<&'a str>> {
    if let Some(whole) = there.get(WHOLE) {
        return Ok([*whole].into());
    }
    let model: BTreeSet<&str> = there.iter().filter(|name| name.starts_with("model")).copied().collect();
    if model.is_empty() {
        let own: BTreeSet<&str> = there.iter().filter(|name| !is_something_else(name)).copied().collect();
        return Ok(if own.is_empty() { there.clone() } else { own });
    }
    let mut families: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    let mut chosen = BTreeSet::new();
    for &name in &model {
        match part(name) {
            Some((prefix, _, total)) => {
                families.entry(prefix).or_default().entry(total).or_default().insert(name);
            }
            None => {
                chosen.insert(name);
            }
        }
    }
    for totals in families.into_values() {
        let complete = |(total, names): &(&&str, &BTreeSet<&str>)| total.parse().is_ok_and(|n: usize| names.len() >= n);
        match totals.iter().find(complete).or(totals.iter().next()) {
            Some((total, names)) if complete(&(total, names)) => chosen.extend(names),
            Some((total, names)) => {
                let (prefix, _, _) = names.first().and_then(|name| part(name)).unwrap_or_default();
                let has = |i: &usize| names.iter().any(|name| part(name).is_some_and(|(_, n, _)| n == *i));
                let width = total.len();
                let lost = (1..).find(|i| !has(i)).unwrap_or_default();
                let name = format!("{prefix}{lost:0width$}-of-{total}{SUFFIX}");
                return Err(missing_file(&name, "the other parts are there"));
            }
            None => {}
        }
    }
    Ok(chosen)
}

/// Files that lie beside a model and are not it: adapters, the original format, heads for speculation, training states.
fn is_something_else(name: &str) -> bool {
    const BEGINNINGS: [&str; 8] =
        ["adapter", "consolidated", "mtp", "lora", "optimizer", "rng_state", "scheduler", "training"];
    BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str], index: Option<&[&str]>) -> Result<Vec<String>> {
        let text = index.map(|files| {
            let map: BTreeMap<String, &str> = files.iter().enumerate().map(|(i, f)| (format!("t{i}"), *f)).collect();
            serde_json::json!({ "weight_map": map }).to_string()
        });
        Shards::choose(names.iter().copied(), text.as_deref()).map(|shards| shards.files)
    }

    const TWO: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    const ONE: [&str; 1] = ["model.safetensors"];

    #[test]
    fn without_an_index() {
        for (names, wanted) in [
            (&["model.safetensors", "model.fp16.safetensors", "consolidated.safetensors"][..], &ONE[..]),
            (&[TWO[0], TWO[1], "mtp.safetensors", "x.bin", "sub/model.safetensors"], &TWO),
            (&[TWO[0], TWO[1], "model-00001-of-00004.safetensors"], &TWO),
            (&["weights.00.safetensors", "adapters.safetensors"], &["weights.00.safetensors"]),
            (&["adapter_model.safetensors"], &["adapter_model.safetensors"]),
            (&["model_0.safetensors", "model_1.safetensors"], &["model_0.safetensors", "model_1.safetensors"]),
            (&[TWO[1], "model-of-art.safetensors", TWO[0]], &[TWO[0], TWO[1], "model-of-art.safetensors"]),
            (&["config.json"], &[]),
        ] {
            assert_eq!(chosen(names, None).unwrap(), wanted, "{names:?}");
        }
        let error =
            chosen(&["model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"], None).unwrap_err();
        assert!(error.message().starts_with("model-00002-of-00003.safetensors is missing"), "{error}");
    }

    #[test]
    fn an_index_decides_if_it_is_of_these_files() {
        for (names, index, wanted) in [
            (
                &[TWO[0], TWO[1], "x.safetensors"][..],
                &[TWO[1], "x.safetensors"][..],
                &[TWO[0], TWO[1], "x.safetensors"][..],
            ),
            // That of the checkpoint before it was quantized.
            (&ONE, &["model-00001-of-00009.safetensors"], &ONE),
            (&TWO, &["model-00001-of-00009.safetensors"], &TWO),
            // Some parts were merged, and others left behind.
            (&["model.safetensors", TWO[0]], &TWO, &ONE),
            // Other formats, and what leads out of the folder.
            (&ONE, &["pytorch_model.bin", "../x.safetensors", "sub/y.safetensors"], &ONE),
            (&ONE, &[], &ONE),
        ] {
            assert_eq!(chosen(names, Some(index)).unwrap(), wanted, "{names:?} {index:?}");
        }
        let error = chosen(&[TWO[0]], Some(&TWO)).unwrap_err();
        assert!(error.message().starts_with(TWO[1]) && error.kind() == ErrorKind::NotFound, "{error}");
        let error = chosen(&[], Some(&TWO)).unwrap_err();
        assert!(error.message().starts_with(TWO[0]), "{error}");
    }

    #[test]
    fn a_broken_index_is_a_note() {
        for text in
            ["", "{", "[]", "{}", r#"{"weight_map": []}"#, r#"{"weight_map": {"a": 3, "b": "model.safetensors"}}"#]
        {
            let shards = Shards::choose(["model.safetensors"], Some(text)).unwrap();
            assert_eq!((shards.files.len(), shards.notes.len()), (1, 1), "{text}");
        }
    }
}
