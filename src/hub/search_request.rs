//! Searches as requests to the Hub.

use super::http::{Client, Subject, encode_segment, network};
use super::search::{ModelSummary, SearchPage, SearchQuery, Sort};
use crate::error::{Error, Result};

/// Models per request.
const PER_PAGE: usize = 100;
/// The most requests of one search: where few models match, it ends with a cursor to continue from.
const MAX_REQUESTS: usize = 10;

impl SearchQuery {
    /// The path of the first request.
    fn path(&self) -> String {
        let mut parts = Vec::new();
        let mut add = |key: &str, value: &str| {
            if !value.is_empty() {
                parts.push(format!("{key}={}", encode_segment(value)));
            }
        };
        add("search", self.text.as_deref().unwrap_or_default());
        add("author", self.author.as_deref().unwrap_or_default());
        add("pipeline_tag", self.task.as_deref().unwrap_or_default());
        add("filter", &self.library);
        for tag in self.tags.iter().chain(&self.languages) {
            add("filter", tag);
        }
        if let Some(licence) = &self.licence {
            add("filter", &format!("license:{licence}"));
        }
        if let Some(gated) = self.gated {
            add("gated", if gated { "true" } else { "false" });
        }
        add("sort", self.sort.key());
        // The only direction there is.
        add("direction", "-1");
        add("limit", &PER_PAGE.to_string());
        for property in [
            "author",
            "cardData",
            "config",
            "createdAt",
            "downloads",
            "gated",
            "lastModified",
            "library_name",
            "likes",
            "pipeline_tag",
            "private",
            "safetensors",
            "tags",
            "trendingScore",
        ] {
            add("expand", property);
        }
        format!("api/models?{}", parts.join("&"))
    }
}

impl Client {
    /// Searches for models. `supports` says whether a `model_type` is supported.
    ///
    /// # Errors
    /// If the query is malformed, or the Hub cannot be asked.
    pub fn search(&self, query: &SearchQuery, supports: &dyn Fn(&str) -> bool) -> Result<SearchPage> {
        query.validate()?;
        let about = Subject { id: "the list of models", revision: "", file: None };
        let bad = || Error::invalid_argument("page does not come from a search of this endpoint");
        // Where the last page ended: how many models of a request were used up, and the request.
        let (mut skip, mut url) = match &query.page {
            None => (0, self.url(&query.path())),
            Some(page) => {
                let (skip, url) = page.split_once('@').ok_or_else(bad)?;
                if !url.starts_with(&self.url("api/models?")) || url.len() > 16 << 10 {
                    return Err(bad());
                }
                (skip.parse::<usize>().map_err(|_| bad())?, url.to_owned())
            }
        };
        let mut page = SearchPage::default();
        for _ in 0..MAX_REQUESTS {
            let (json, following) = self.json(&url, about, &|_| ())?;
            let entries =
                json.as_array().ok_or_else(|| network("the Hub's response is not a list of models".into()))?;
            for (i, entry) in entries.iter().enumerate().skip(skip) {
                page.examined += 1;
                let model = ModelSummary::from_api(entry, supports, today());
                page.models.extend(model.filter(|m| query.accepts(m)));
                if query.sort != Sort::Quality && page.models.len() == query.limit {
                    page.next = match i + 1 < entries.len() {
                        true => Some(format!("{}@{url}", i + 1)),
                        false => following.map(|f| format!("0@{f}")),
                    };
                    return Ok(page);
                }
            }
            skip = 0;
            match following {
                Some(following) => url = following,
                None => return Ok(page.ordered(query)),
            }
        }
        page.next = Some(format!("0@{url}"));
        Ok(page.ordered(query))
    }
}

impl SearchPage {
    /// A search by quality ends here: the best of all that was seen.
    fn ordered(mut self, query: &SearchQuery) -> SearchPage {
        if query.sort == Sort::Quality {
            self.models.sort_by(|a, b| b.quality.total_cmp(&a.quality));
            self.models.truncate(query.limit);
            self.next = None;
        }
        self
    }
}

fn today() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |d| (d.as_secs() / 86_400) as i64)
}
