//! Search queries.

use serde::{Deserialize, Serialize};

use super::date::days;
use super::{Modality, ModelSummary, SizeClass};
use crate::error::{Error, Result};

/// The most results per page.
const MAX_LIMIT: usize = 1000;
/// The longest string in a query.
const MAX_TEXT: usize = 256;
/// The most entries of a list in a query.
const MAX_LIST: usize = 32;

/// What to search for. A model must match all given criteria. JSON uses the same names; unknown ones are refused.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchQuery {
    /// Part of the id.
    pub text: Option<String>,
    /// User or organisation.
    pub author: Option<String>,
    /// `text-generation`, `image-text-to-text`, ...
    pub task: Option<String>,
    /// The library that models are made for: `mlx` if not given; an empty string for any.
    pub library: String,
    /// Tags that a model must all have.
    pub tags: Vec<String>,
    /// Language codes that a model must all have: `en`, `de`, ...
    pub languages: Vec<String>,
    /// `apache-2.0`, `mit`, ...
    pub licence: Option<String>,
    /// Whether access must be requested.
    pub gated: Option<bool>,
    /// `model_type` of its configuration.
    pub architecture: Option<String>,
    /// By number of parameters.
    pub size_class: Option<SizeClass>,
    /// Bits per weight: 16 or 32 for models that are not quantized.
    pub bits: Option<u32>,
    /// Its modality.
    pub modality: Option<Modality>,
    /// The fewest bytes of weights.
    pub min_bytes: Option<u64>,
    /// The most bytes of weights.
    pub max_bytes: Option<u64>,
    /// The most estimated memory in bytes: "fits in".
    pub fits_bytes: Option<u64>,
    /// The fewest downloads in the last month.
    pub min_downloads: Option<u64>,
    /// The fewest likes.
    pub min_likes: Option<u64>,
    /// Modified on this date (`2025-01-31`) or later.
    pub since: Option<String>,
    /// Only models that this library can run.
    pub supported: bool,
    /// The order, highest or latest first.
    pub sort: Sort,
    /// Results per page, 1 to 1000.
    pub limit: usize,
    /// Where an earlier page ended ([`SearchPage::next`]); the rest of the query must be the same.
    pub page: Option<String>,
}

impl Default for SearchQuery {
    fn default() -> Self {
        SearchQuery {
            text: None,
            author: None,
            task: None,
            library: "mlx".into(),
            tags: Vec::new(),
            languages: Vec::new(),
            licence: None,
            gated: None,
            architecture: None,
            size_class: None,
            bits: None,
            modality: None,
            min_bytes: None,
            max_bytes: None,
            fits_bytes: None,
            min_downloads: None,
            min_likes: None,
            since: None,
            supported: false,
            sort: Sort::Downloads,
            limit: 20,
            page: None,
        }
    }
}

/// An order, highest or latest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// Downloads of the last month.
    #[default]
    Downloads,
    /// Likes.
    Likes,
    /// The Hub's trending score.
    Trending,
    /// When it was created.
    Created,
    /// When it was modified.
    Modified,
    /// The quality score, among the thousand most downloaded that the Hub finds; such a search has one page.
    Quality,
}

impl Sort {
    pub(crate) fn key(self) -> &'static str {
        match self {
            Sort::Downloads | Sort::Quality => "downloads",
            Sort::Likes => "likes",
            Sort::Trending => "trendingScore",
            Sort::Created => "createdAt",
            Sort::Modified => "lastModified",
        }
    }
}

impl SearchQuery {
    /// A query from JSON.
    ///
    /// # Errors
    /// `InvalidArgument`, with the key.
    pub fn from_json(json: &str) -> Result<SearchQuery> {
        let query: SearchQuery = serde_json::from_str(if json.is_empty() { "{}" } else { json })
            .map_err(|e| Error::invalid_argument(format!("the query: {e}")))?;
        query.validate().map(|()| query)
    }

    /// Refuses impossible queries.
    ///
    /// # Errors
    /// `InvalidArgument`, with the key.
    pub fn validate(&self) -> Result<()> {
        let bad = |what: String| Err(Error::invalid_argument(what));
        let texts = [&self.text, &self.author, &self.task, &self.licence, &self.architecture, &self.since];
        let long = |t: &String| t.len() > MAX_TEXT || t.chars().any(char::is_control);
        let lists = self.tags.iter().chain(&self.languages);
        if texts.into_iter().flatten().chain(lists).chain([&self.library]).any(long) {
            return bad(format!("a string in the query is longer than {MAX_TEXT} bytes or has control characters"));
        }
        if self.tags.len() + self.languages.len() > MAX_LIST {
            return bad(format!("more than {MAX_LIST} tags and languages"));
        }
        if !(1..=MAX_LIMIT).contains(&self.limit) {
            return bad(format!("limit is {}; 1 to {MAX_LIMIT} is possible", self.limit));
        }
        if let Some(since) = &self.since
            && days(since).is_none()
        {
            return bad(format!("since is {since:?}, not a date such as 2025-01-31"));
        }
        match self.page.is_some() && self.sort == Sort::Quality {
            true => bad("a search by quality has one page".into()),
            false => Ok(()),
        }
    }

    /// Whether a model matches, in everything that the Hub may not have filtered.
    pub(crate) fn accepts(&self, m: &ModelSummary) -> bool {
        let same = |wanted: &Option<String>, is: &Option<String>| wanted.is_none() || wanted == is;
        let modified = m.modified.as_ref().or(m.created.as_ref());
        same(&self.task, &m.task)
            && self.licence.as_ref().is_none_or(|wanted| m.licences.iter().any(|l| l.eq_ignore_ascii_case(wanted)))
            && same(&self.architecture, &m.architecture)
            && self.gated.is_none_or(|gated| gated == m.gated)
            && self.size_class.is_none_or(|class| m.size_class == Some(class))
            && self.bits.is_none_or(|bits| m.bits == Some(bits))
            && self.modality.is_none_or(|modality| modality == m.modality)
            && self.min_bytes.is_none_or(|n| m.weight_bytes.is_some_and(|b| b >= n))
            && self.max_bytes.is_none_or(|n| m.weight_bytes.is_some_and(|b| b <= n))
            && self.fits_bytes.is_none_or(|n| m.memory_bytes.is_some_and(|b| b <= n))
            && self.min_downloads.is_none_or(|n| m.downloads >= n)
            && self.min_likes.is_none_or(|n| m.likes >= n)
            && self.since.as_deref().is_none_or(|since| modified.and_then(|d| days(d)) >= days(since))
            && (!self.supported || m.supported == Some(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_checked() {
        assert_eq!(SearchQuery::from_json("").unwrap(), SearchQuery::default());
        let query =
            SearchQuery::from_json(r#"{"size_class": "xlarge", "sort": "trending", "modality": "text"}"#).unwrap();
        assert_eq!((query.size_class, query.sort), (Some(SizeClass::Xlarge), Sort::Trending));
        for (bad, word) in [
            (r#"{"limit": 0}"#, "limit"),
            (r#"{"limt": 5}"#, "limt"),
            (r#"{"since": "yesterday"}"#, "since"),
            (r#"{"sort": "best"}"#, "best"),
            (r#"{"text": "a\u0000b"}"#, "control"),
            (r#"{"sort": "quality", "page": "0@x"}"#, "one page"),
            ("[", "query"),
        ] {
            let error = SearchQuery::from_json(bad).unwrap_err();
            assert!(error.message().contains(word), "{bad}: {error}");
        }
    }
}
