//! Models as people name them: ids, and what browsers and other programs show in their place.

use percent_encoding::percent_decode_str;

use crate::env;
use crate::error::{Error, Result};

/// What follows a model's id in the path of its pages, before a revision.
const BEFORE_REVISION: [&str; 8] = ["tree", "blob", "resolve", "raw", "commit", "commits", "blame", "edit"];
/// What follows it otherwise.
const PAGES: [&str; 4] = ["discussions", "settings", "community", "activity"];
/// What repositories are when they are no models.
const OTHERS: [(&str, &str); 4] =
    [("datasets", "a dataset"), ("spaces", "a Space"), ("buckets", "a bucket"), ("collections", "a collection")];

/// A model, and a revision if the name has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName {
    /// `organisation/name`, or a name alone.
    pub id: String,
    /// Branch, tag or commit.
    pub revision: Option<String>,
}

impl ModelName {
    /// An id, `id@revision`, `hf://id`, or the address of one of the model's pages at the public Hub or at the endpoint of
    /// the environment.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn parse(text: &str) -> Result<ModelName> {
        let endpoint = env::HF_ENDPOINT.text().unwrap_or_default();
        Self::parse_at(text, &endpoint)
    }

    /// Like [`parse`](Self::parse), with this endpoint.
    pub(super) fn parse_at(text: &str, endpoint: &str) -> Result<ModelName> {
        let text = text.trim();
        let (path, is_address) = match path_of(text, endpoint) {
            Some(path) => (path, true),
            None => (text.to_owned(), false),
        };
        let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
        let parts = match parts.as_slice() {
            ["api", "models", rest @ ..] | ["models", rest @ ..] if is_address && !rest.is_empty() => rest,
            other => other,
        };
        if let Some((_, what)) = OTHERS.iter().find(|(kind, _)| parts.len() > 1 && parts[0] == *kind) {
            return Err(Error::invalid_argument(format!("{text:?} is {what}, not a model")));
        }
        let marks = |part: &&str| BEFORE_REVISION.contains(part) || PAGES.contains(part);
        // `name/tree/main` and `organisation/name/tree/main`, but `organisation/tree` is an id.
        let of_id = match parts.iter().skip(1).position(marks) {
            Some(0) if parts.len() > 2 => 1,
            _ if parts.iter().take(2).any(|part| part.contains('@')) => {
                parts.iter().position(|part| part.contains('@')).unwrap_or_default() + 1
            }
            _ => parts.len().min(2),
        };
        let (id, rest) = parts.split_at(of_id);
        let id = id.join("/");
        let (id, revision, file) = match (id.split_once('@'), rest) {
            (Some((id, revision)), _) => {
                let (revision, file) = revision_of(&[&[revision], rest].concat(), !is_address);
                (id.to_owned(), Some(revision), file)
            }
            (None, [mark, more @ ..]) if BEFORE_REVISION.contains(mark) && !more.is_empty() => {
                let (revision, file) = revision_of(more, false);
                (id, Some(revision), file)
            }
            (None, [page, ..]) if BEFORE_REVISION.contains(page) || PAGES.contains(page) => (id, None, false),
            (None, rest) => (id, None, !rest.is_empty()),
        };
        let id = id.strip_suffix(".git").filter(|_| is_address).map_or(id.clone(), str::to_owned);
        // `hf://organisation/name/file` names a file of a model; anything else that goes on is no id.
        match check_id(if file && !is_address { text } else { &id }) {
            Err(_) if !id.contains("--") => {
                return Err(Error::invalid_argument(format!("{text:?} is not a model id (name or organisation/name)")));
            }
            other => other?,
        }
        revision.as_deref().map_or(Ok(()), check_revision)?;
        Ok(ModelName { id, revision })
    }

    /// The id, and the revision of the name or the one given beside it.
    pub(super) fn with_revision(self, revision: Option<&str>) -> Result<(String, Option<String>)> {
        match (self.revision, revision) {
            (Some(named), Some(given)) if named != given => Err(Error::invalid_argument(format!(
                "two revisions of {}: {named:?} in its name, and {given:?}",
                self.id
            ))),
            (named, given) => Ok((self.id, named.or(given.map(str::to_owned)))),
        }
    }
}

/// The path of an address of the Hub, unescaped; `None` where it is no address. Those of other hosts are no models.
fn path_of(text: &str, endpoint: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("hf://") {
        return Some(text[5..].to_owned());
    }
    let without_scheme = |t: &str| t.split_once("://").map_or(t.len(), |(_, rest)| rest.len());
    let has_scheme = lower.starts_with("https://") || lower.starts_with("http://");
    let rest = if has_scheme { &text[text.len() - without_scheme(text)..] } else { text };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let own = endpoint.trim_end_matches('/');
    let own = &own[own.len() - without_scheme(own)..];
    let after = |host: &str| {
        let (begin, end) = (rest.get(..host.len())?, rest.get(host.len()..)?);
        (!host.is_empty() && begin.eq_ignore_ascii_case(host)).then(|| end.strip_prefix('/')).flatten()
    };
    let hosts = ["huggingface.co", "www.huggingface.co", "hf.co"];
    hosts.into_iter().chain([own].into_iter().filter(|_| has_scheme)).find_map(after).map(str::to_owned)
}

/// The revision that these parts begin with, and whether more follows. `refs/pr/1` has three parts, or is escaped.
fn revision_of(parts: &[&str], whole: bool) -> (String, bool) {
    let taken = match parts {
        _ if whole => parts.len(),
        ["refs", _, _, ..] => 3,
        _ => 1,
    };
    let revision = parts[..taken].join("/");
    let revision = if whole { revision } else { percent_decode_str(&revision).decode_utf8_lossy().into_owned() };
    (revision, parts.len() > taken && !whole)
}

/// `name` or `org/name`, of the characters that the Hub allows. Its rule against `--` keeps folders of the cache apart,
/// where that stands for `/`.
pub(super) fn check_id(id: &str) -> Result<()> {
    let part = |p: &str| {
        !p.is_empty()
            && p.len() <= 96
            && !p.starts_with(['.', '-'])
            && !p.contains("..")
            && p.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let parts: Vec<&str> = id.split('/').collect();
    if parts.len() > 2 || !parts.iter().all(|p| part(p)) {
        return Err(Error::invalid_argument(format!("{id:?} is not a model id (name or organisation/name)")));
    }
    match id.contains("--") || parts.len() == 2 && parts[0].ends_with('-') {
        true => Err(Error::invalid_argument(format!("{id:?} is not a model id: no name at the Hub has \"--\""))),
        false => Ok(()),
    }
}

/// A relative path without `..`.
pub(super) fn check_revision(revision: &str) -> Result<()> {
    let fine = !revision.is_empty()
        && revision.len() <= 256
        && !revision.contains(['\\', '\0'])
        && revision.split('/').all(|p| !p.is_empty() && p != "." && p != "..");
    match fine {
        true => Ok(()),
        false => Err(Error::invalid_argument(format!("{revision:?} is not a valid revision"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_ids_that_lead_elsewhere() {
        for id in ["", "a/b/c", "../x", "a/..", "a//b", ".hidden", "a b", "org/na\0me", "a--b", "a-/b", "a/b--c"] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
        for id in ["gpt2", "mlx-community/Qwen3-4B-4bit", "a_b/c.d-e"] {
            check_id(id).unwrap();
        }
    }

    #[test]
    fn models_are_found_by_what_people_paste() {
        let name = |text: &str| {
            let name = ModelName::parse_at(text, "https://mirror.example:8443/hf/").unwrap();
            (name.id, name.revision.unwrap_or_default())
        };
        for (text, id, revision) in [
            ("org/name", "org/name", ""),
            (" org/name/ ", "org/name", ""),
            ("gpt2", "gpt2", ""),
            ("org/name@main", "org/name", "main"),
            ("org/name@refs/pr/1", "org/name", "refs/pr/1"),
            ("gpt2@v1.0", "gpt2", "v1.0"),
            ("hf://org/name", "org/name", ""),
            ("hf://org/name@v2/config.json", "org/name", "v2"),
            ("hf://org/name@refs/pr/3/config.json", "org/name", "refs/pr/3"),
            ("hf://org/name@refs%2Fpr%2F3", "org/name", "refs/pr/3"),
            ("hf://org/name/config.json", "org/name", ""),
            ("hf://models/org/name", "org/name", ""),
            ("https://huggingface.co/org/name", "org/name", ""),
            ("HTTPS://HuggingFace.co/org/name/", "org/name", ""),
            ("https://huggingface.co/org/name/tree/main", "org/name", "main"),
            ("https://huggingface.co/org/name/tree/main/sub/folder", "org/name", "main"),
            ("https://huggingface.co/org/name/blob/v1.0/config.json?raw=1#L3", "org/name", "v1.0"),
            ("https://huggingface.co/org/name/resolve/refs%2Fpr%2F1/a.json", "org/name", "refs/pr/1"),
            ("https://huggingface.co/org/name/tree/refs/pr/1", "org/name", "refs/pr/1"),
            ("https://huggingface.co/org/name/discussions/3", "org/name", ""),
            ("https://huggingface.co/org/name.git", "org/name", ""),
            ("https://huggingface.co/gpt2/tree/main", "gpt2", "main"),
            ("https://huggingface.co/api/models/org/name", "org/name", ""),
            ("huggingface.co/org/name", "org/name", ""),
            ("https://hf.co/org/name", "org/name", ""),
            ("https://mirror.example:8443/hf/org/name/tree/main", "org/name", "main"),
        ] {
            assert_eq!(name(text), (id.into(), revision.into()), "{text}");
        }
    }

    #[test]
    fn what_is_no_model_is_refused() {
        for (text, word) in [
            ("", "not a model id"),
            ("a/b/c", "not a model id"),
            ("../x", "not a model id"),
            ("org/name@", "revision"),
            ("org/name@../x", "revision"),
            ("https://example.com/org/name", "not a model id"),
            ("https://huggingface.co/", "not a model id"),
            ("https://huggingface.co.evil.example/org/name", "not a model id"),
            ("https://huggingface.co/datasets/org/name", "dataset"),
            ("hf://spaces/org/name", "Space"),
            ("org/a--b", "--"),
            ("a--b", "--"),
        ] {
            let error = ModelName::parse_at(text, "https://mirror.example").unwrap_err();
            assert!(error.message().contains(word), "{text}: {error}");
        }
        let name = ModelName::parse("org/name@a").unwrap();
        assert_eq!(name.clone().with_revision(Some("a")).unwrap().1.as_deref(), Some("a"));
        assert!(name.with_revision(Some("b")).is_err());
    }
}
