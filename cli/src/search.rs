//! `mlxe search`

use indicatif::HumanBytes;
use mlx_engine::Error;
use mlx_engine::hub::SearchQuery;
use mlx_engine::load::fit;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::args::SearchArgs;
use crate::failure::Result;
use crate::numbers::short_count;
use crate::out::{clean, print, say};
use crate::storage::value;

/// A value as JSON has it; the error lists the possible ones.
fn word<T: DeserializeOwned>(name: &str, text: &str) -> Result<T> {
    let parsed = serde_json::from_value(Value::String(text.to_owned()));
    Ok(parsed.map_err(|e| Error::invalid_argument(format!("--{name}: {e}")))?)
}

fn bytes(name: &str, gigabytes: Option<f64>) -> Result<Option<u64>> {
    match gigabytes {
        Some(n) if n > 0.0 && n.is_finite() => Ok(Some((n * 1e9) as u64)),
        Some(n) => Err(Error::invalid_argument(format!("--{name} is {n}")).into()),
        None => Ok(None),
    }
}

pub fn search(args: &SearchArgs) -> Result {
    let query = SearchQuery {
        text: args.text.clone(),
        author: args.author.clone(),
        task: args.task.clone(),
        library: args.library.clone(),
        tags: args.tag.clone(),
        languages: args.language.clone(),
        licence: args.licence.clone(),
        gated: args.gated,
        architecture: args.architecture.clone(),
        size_class: args.size.as_deref().map(|s| word("size", s)).transpose()?,
        bits: args.bits,
        modality: args.modality.as_deref().map(|m| word("modality", m)).transpose()?,
        min_bytes: None,
        max_bytes: bytes("max-size", args.max_size)?,
        fits_bytes: bytes("fits", args.fits)?,
        min_downloads: args.min_downloads,
        min_likes: args.min_likes,
        since: args.since.clone(),
        supported: args.supported,
        sort: word("sort", &args.sort)?,
        limit: args.limit,
        page: args.page.clone(),
    };
    let page = fit::search(&args.hub.hub()?.client()?, &query)?;
    if args.json {
        return print(&value(&page)?);
    }
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    if !page.models.is_empty() {
        say!(
            "{:52} {:>8} {:>5} {:>11} {:>10} {:>7} {:>5}  runs",
            "id",
            "params",
            "bits",
            "memory",
            "downloads",
            "likes",
            "score"
        );
    }
    for m in &page.models {
        say!(
            "{:52} {:>8} {:>5} {:>11} {:>10} {:>7} {:>5}  {}{}",
            m.id,
            or_none(m.parameters.map(short_count)),
            or_none(m.bits.map(|b| b.to_string())),
            or_none(m.memory_bytes.map(|b| HumanBytes(b).to_string())),
            short_count(m.downloads),
            short_count(m.likes),
            m.quality,
            match m.supported {
                Some(true) => "yes",
                Some(false) => "no",
                None => "?",
            },
            if m.gated { ", gated" } else { "" }
        );
    }
    if page.models.is_empty() {
        let more = if page.next.is_some() { "; there may be more" } else { "" };
        eprintln!("No model found among {} that the Hub named{more}.", page.examined);
    }
    if let Some(next) = &page.next {
        eprintln!("More: --page '{}'", clean(next));
    }
    Ok(())
}
