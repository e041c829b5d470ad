//! Searching the Hub: what its API can filter it filters, the rest is filtered here.
//!
//! # The quality score
//!
//! 0 to 100, the sum of:
//!
//! | points | for |
//! |---|---|
//! | 40 | downloads of the last month: `40 * min(1, log10(1 + downloads) / 6)`, so a million gives all |
//! | 20 | likes: `20 * min(1, log10(1 + likes) / 4)`, so ten thousand give all |
//! | 10 | trending: `10 * min(1, log10(1 + score) / 2)`, so a hundred gives all |
//! | 15 | how lately it was changed: `15 * 0.5 ^ (days / 365)` |
//! | 15 | what its card and configuration say: five for a licence, a task, a `model_type` each |
//!
//! Unknown numbers count as 0. The score says how established a model is, not how good its answers are.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[cfg(feature = "hub")]
use super::http::{Client, Subject, encode, network};
use crate::error::{Error, Result};

/// Models that one request brings.
#[cfg(feature = "hub")]
const PER_PAGE: usize = 100;
/// Requests of one search at most: where few models match, it ends with a cursor to go on from.
#[cfg(feature = "hub")]
const MAX_REQUESTS: usize = 10;
/// Results of one page at most.
const MAX_LIMIT: usize = 1000;
/// The longest text of a query.
const MAX_TEXT: usize = 256;
/// The most entries of a list of a query.
const MAX_LIST: usize = 32;
/// Beside its weights a model takes at least this much; a tenth of its weights if that is more.
const LEAST_OVERHEAD: u64 = 128 << 20;

/// What to look for. Everything that is given must be fulfilled. As JSON: the same names; unknown ones are refused.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchQuery {
    /// Part of the id.
    pub text: Option<String>,
    /// User or organisation.
    pub author: Option<String>,
    /// `text-generation`, `image-text-to-text`, ...
    pub task: Option<String>,
    /// The library that models are made for: `mlx` if not given; an empty text for any.
    pub library: String,
    /// Tags that all must be there.
    pub tags: Vec<String>,
    /// Codes of languages that all must be there: `en`, `de`, ...
    pub languages: Vec<String>,
    /// `apache-2.0`, `mit`, ...
    pub licence: Option<String>,
    /// Whether access must be asked for.
    pub gated: Option<bool>,
    /// `model_type` of its configuration.
    pub architecture: Option<String>,
    /// By number of parameters.
    pub size_class: Option<SizeClass>,
    /// Bits of its weights: 16 and 32 for models that are not quantized.
    pub bits: Option<u32>,
    /// What goes in.
    pub modality: Option<Modality>,
    /// Bytes of weights at least.
    pub min_bytes: Option<u64>,
    /// Bytes of weights at most.
    pub max_bytes: Option<u64>,
    /// Estimated memory at most, bytes: "fits in".
    pub fits_bytes: Option<u64>,
    /// Downloads of the last month at least.
    pub min_downloads: Option<u64>,
    /// Likes at least.
    pub min_likes: Option<u64>,
    /// Changed at this date (`2025-01-31`) or later.
    pub since: Option<String>,
    /// Only models that this library can run.
    pub supported: bool,
    /// In which order, highest or latest first.
    pub sort: Sort,
    /// Results of a page, 1 to 1000.
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
    /// What the Hub calls trending.
    Trending,
    /// When it was made.
    Created,
    /// When it was changed.
    Modified,
    /// The quality score, among the thousand most downloaded that the Hub finds; such a search has one page.
    Quality,
}

impl Sort {
    #[cfg(feature = "hub")]
    fn key(self) -> &'static str {
        match self {
            Sort::Downloads | Sort::Quality => "downloads",
            Sort::Likes => "likes",
            Sort::Trending => "trendingScore",
            Sort::Created => "createdAt",
            Sort::Modified => "lastModified",
        }
    }
}

/// Models by their number of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SizeClass {
    /// Under 100 million.
    Tiny,
    /// To a billion.
    Small,
    /// To 7 billion.
    Medium,
    /// To 13 billion.
    Large,
    /// Beyond.
    Xlarge,
}

impl SizeClass {
    /// The class of a number of parameters. A model sold as "7B" has a few more; the class is that of its name, so
    /// up to a tenth above a bound still counts as below.
    pub fn of(parameters: u64) -> SizeClass {
        let to = |bound: u64| parameters <= bound + bound / 10;
        match () {
            () if parameters < 100_000_000 => SizeClass::Tiny,
            () if to(1_000_000_000) => SizeClass::Small,
            () if to(7_000_000_000) => SizeClass::Medium,
            () if to(13_000_000_000) => SizeClass::Large,
            () => SizeClass::Xlarge,
        }
    }
}

/// What goes into a model, by its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    /// Text in, text out.
    Text,
    /// Images or video, with or without text.
    Image,
    /// Speech and sound, in or out.
    Audio,
    /// Text or images in, vectors out.
    Embedding,
    /// Anything else, or not known.
    Other,
}

impl Modality {
    fn of(task: Option<&str>, tags: &[String]) -> Modality {
        let tagged = |tag: &str| tags.iter().any(|t| t == tag);
        match task {
            Some(
                "text-generation" | "text2text-generation" | "translation" | "summarization" | "question-answering",
            ) => Modality::Text,
            Some("image-text-to-text" | "video-text-to-text" | "visual-question-answering" | "image-to-text") => {
                Modality::Image
            }
            Some("any-to-any") => Modality::Image,
            Some("feature-extraction" | "sentence-similarity" | "text-ranking" | "image-feature-extraction") => {
                Modality::Embedding
            }
            Some(task) if task.contains("audio") || task.contains("speech") => Modality::Audio,
            None if tagged("conversational") || tagged("text-generation") => Modality::Text,
            _ => Modality::Other,
        }
    }
}

/// A model that was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelSummary {
    /// `organisation/name`
    pub id: String,
    /// User or organisation.
    pub author: String,
    /// Its task.
    pub task: Option<String>,
    /// The library it is made for.
    pub library: Option<String>,
    /// What goes in.
    pub modality: Modality,
    /// `model_type` of its configuration.
    pub architecture: Option<String>,
    /// Whether this library can run the architecture; `None` where it is not known.
    pub supported: Option<bool>,
    /// Weights, counted as if none were quantized; of its name where nothing else says.
    pub parameters: Option<u64>,
    /// By number of parameters.
    pub size_class: Option<SizeClass>,
    /// Bits of its weights.
    pub bits: Option<u32>,
    /// Bytes of its weights, computed from the numbers that the Hub counts of each type.
    pub weight_bytes: Option<u64>,
    /// Roughly what it takes in memory with a short context: its weights and a tenth, but 128 MiB at least. An estimate
    /// of the model itself (`mlxe fit`) is exact.
    pub memory_bytes: Option<u64>,
    /// Its licence.
    pub licence: Option<String>,
    /// Codes of its languages.
    pub languages: Vec<String>,
    /// Whether access must be asked for.
    pub gated: bool,
    /// Whether only its owners can read it.
    pub private: bool,
    /// Downloads of the last month.
    pub downloads: u64,
    /// Likes.
    pub likes: u64,
    /// What the Hub calls trending.
    pub trending: f64,
    /// When it was made, RFC 3339.
    pub created: Option<String>,
    /// When it was changed, RFC 3339.
    pub modified: Option<String>,
    /// The quality score, 0 to 100; the module's documentation has its formula.
    pub quality: f64,
    /// All tags.
    pub tags: Vec<String>,
}

/// A page of results.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SearchPage {
    /// What was found. May be fewer than the limit, even none, while there is a next page.
    pub models: Vec<ModelSummary>,
    /// Where to go on, if there may be more.
    pub next: Option<String>,
    /// How many models the Hub has sent for this page.
    pub examined: usize,
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

    /// Refuses what cannot be meant.
    ///
    /// # Errors
    /// `InvalidArgument`, with the key.
    pub fn validate(&self) -> Result<()> {
        let bad = |what: String| Err(Error::invalid_argument(what));
        let texts = [&self.text, &self.author, &self.task, &self.licence, &self.architecture, &self.since];
        let long = |t: &String| t.len() > MAX_TEXT || t.chars().any(char::is_control);
        let lists = self.tags.iter().chain(&self.languages);
        if texts.into_iter().flatten().chain(lists).chain([&self.library]).any(long) {
            return bad(format!("a text of the query is longer than {MAX_TEXT} bytes or has control characters"));
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

    /// The path of the first request.
    #[cfg(feature = "hub")]
    fn path(&self) -> String {
        let mut parts = Vec::new();
        let mut add = |key: &str, value: &str| {
            if !value.is_empty() {
                parts.push(format!("{key}={}", encode(value, "")));
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

    /// Whether a model is what is looked for, in all that the Hub may not have filtered.
    #[cfg(feature = "hub")]
    fn accepts(&self, m: &ModelSummary) -> bool {
        let same = |wanted: &Option<String>, is: &Option<String>| wanted.is_none() || wanted == is;
        let modified = m.modified.as_ref().or(m.created.as_ref());
        same(&self.task, &m.task)
            && same(&self.licence, &m.licence)
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

impl ModelSummary {
    /// A model as the Hub's API describes it; `None` where it has no id. `today` is in days since 1970.
    pub fn from_api(entry: &Value, supports: &dyn Fn(&str) -> bool, today: i64) -> Option<ModelSummary> {
        let text = |v: Option<&Value>| v.and_then(Value::as_str).map(str::to_owned);
        let number = |key: &str| entry.get(key).and_then(Value::as_u64).unwrap_or(0);
        let list = |v: Option<&Value>| -> Vec<String> {
            match v {
                Some(Value::String(one)) => vec![one.clone()],
                Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                _ => Vec::new(),
            }
        };
        let id = text(entry.get("id").or_else(|| entry.get("modelId")))?;
        let tags = list(entry.get("tags"));
        let task = text(entry.get("pipeline_tag"));
        let card = entry.get("cardData");
        let licence = tags.iter().find_map(|t| t.strip_prefix("license:").map(str::to_owned));
        let licence = licence.or_else(|| text(card.and_then(|c| c.get("license"))));
        let config = entry.get("config");
        let architecture = text(config.and_then(|c| c.get("model_type")));
        let weights = Weights::of(entry, &id, &tags);
        let created = text(entry.get("createdAt"));
        let modified = text(entry.get("lastModified"));
        let mut summary = ModelSummary {
            author: text(entry.get("author")).unwrap_or_else(|| id.split('/').next().unwrap_or_default().to_owned()),
            modality: Modality::of(task.as_deref(), &tags),
            supported: architecture.as_deref().map(supports),
            parameters: weights.parameters,
            size_class: weights.parameters.map(SizeClass::of),
            bits: weights.bits,
            weight_bytes: weights.bytes,
            memory_bytes: weights.bytes.map(|b| b.saturating_add((b / 10).max(LEAST_OVERHEAD))),
            library: text(entry.get("library_name")),
            languages: list(card.and_then(|c| c.get("language"))),
            gated: entry.get("gated").is_some_and(|g| g.as_bool() != Some(false) && !g.is_null()),
            private: entry.get("private").and_then(Value::as_bool).unwrap_or(false),
            downloads: number("downloads"),
            likes: number("likes"),
            trending: entry.get("trendingScore").and_then(Value::as_f64).unwrap_or(0.0),
            quality: 0.0,
            id,
            task,
            architecture,
            licence,
            created,
            modified,
            tags,
        };
        summary.quality = summary.score(today);
        Some(summary)
    }

    fn score(&self, today: i64) -> f64 {
        let grade = |n: f64, decades: f64| ((1.0 + n.max(0.0)).log10() / decades).min(1.0);
        let changed = self.modified.as_deref().or(self.created.as_deref()).and_then(days);
        let fresh = changed.map_or(0.0, |d| 0.5f64.powf((today - d).max(0) as f64 / 365.0));
        let told = [self.licence.is_some(), self.task.is_some(), self.architecture.is_some()];
        let score = 40.0 * grade(self.downloads as f64, 6.0)
            + 20.0 * grade(self.likes as f64, 4.0)
            + 10.0 * grade(self.trending, 2.0)
            + 15.0 * fresh
            + 5.0 * told.into_iter().filter(|t| *t).count() as f64;
        (score * 10.0).round() / 10.0
    }
}

/// What the Hub tells of a model's weights.
#[derive(Default)]
struct Weights {
    parameters: Option<u64>,
    bits: Option<u32>,
    bytes: Option<u64>,
}

impl Weights {
    fn of(entry: &Value, id: &str, tags: &[String]) -> Weights {
        let none = Map::new();
        let counts =
            entry.get("safetensors").and_then(|s| s.get("parameters")).and_then(Value::as_object).unwrap_or(&none);
        let named = parameters_of_name(id);
        let block = entry.get("config").and_then(|c| c.get("quantization_config").or_else(|| c.get("quantization")));
        let bits = block
            .and_then(|b| b.get("bits"))
            .and_then(Value::as_u64)
            .or_else(|| tags.iter().chain([&id.to_owned()]).find_map(|t| bits_of_name(t)))
            .filter(|b| (1..=8).contains(b))
            .map(|b| b as u32);
        let (mut bytes, mut codes, mut plain, mut widest) = (0u64, 0u64, 0u64, (0, 0));
        for (dtype, count) in counts {
            let (Some(size), Some(count)) = (dtype_bytes(dtype), count.as_u64()) else { continue };
            bytes = bytes.saturating_add(count.saturating_mul(size));
            match dtype.as_str() {
                "U32" | "I32" => codes = codes.saturating_add(count),
                _ => plain = plain.saturating_add(count),
            }
            widest = widest.max((count, size * 8));
        }
        if bytes == 0 {
            return Weights { parameters: named, bits, bytes: None };
        }
        let Some(bits) = bits.filter(|_| codes > 0) else {
            let bits = bits.or(Some(widest.1 as u32));
            return Weights { parameters: Some(plain.saturating_add(codes)), bits, bytes: Some(bytes) };
        };
        // Codes are stored in words; scales and biases, two in 64 of them, are among the plain numbers.
        let unpacked = codes.saturating_mul(32) / u64::from(bits);
        let far = |n: u64| named.map_or(0.0, |named| (n.max(1) as f64 / named as f64).ln().abs());
        if far(codes) < far(unpacked) {
            // The Hub has counted what the words hold.
            let bytes = (codes.saturating_mul(u64::from(bits)) / 8).saturating_add(plain.saturating_mul(2));
            return Weights { parameters: Some(codes), bits: Some(bits), bytes: Some(bytes) };
        }
        let parameters = unpacked.saturating_add(plain.saturating_sub(unpacked / 32));
        Weights { parameters: Some(parameters), bits: Some(bits), bytes: Some(bytes) }
    }
}

/// Bytes of a number of a safetensors type.
fn dtype_bytes(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F64" | "I64" | "U64" => 8,
        "F32" | "I32" | "U32" => 4,
        "F16" | "BF16" | "I16" | "U16" => 2,
        "I8" | "U8" | "BOOL" => 1,
        other if other.starts_with("F8") => 1,
        _ => return None,
    })
}

/// `7B`, `0.5b`, `135M`, `8x7B` in a name.
fn parameters_of_name(id: &str) -> Option<u64> {
    let name = id.rsplit('/').next()?.to_ascii_lowercase();
    name.split(['-', '_', ' ']).find_map(|word| {
        let (number, unit) = match (word.strip_suffix('b'), word.strip_suffix('m')) {
            (Some(n), _) => (n, 1e9),
            (_, Some(n)) => (n, 1e6),
            _ => return None,
        };
        let (times, number) = number.split_once('x').map_or((1.0, number), |(t, n)| (t.parse().unwrap_or(0.0), n));
        let digits = number.starts_with(|c: char| c.is_ascii_digit());
        let n = number.parse::<f64>().ok().filter(|n| digits && n.is_finite())? * times * unit;
        (1e5..1e13).contains(&n).then_some(n as u64)
    })
}

/// `4bit`, `4-bit`, `8bits` in a name.
fn bits_of_name(name: &str) -> Option<u64> {
    let name = name.to_ascii_lowercase();
    let at = name.find("bit")?;
    name[..at].trim_end_matches('-').chars().last()?.to_digit(10).map(u64::from)
}

/// Days since 1970 of a date that begins like `2025-01-31`.
fn days(date: &str) -> Option<i64> {
    let date = date.get(..10)?;
    let mut parts = date.split('-');
    let (y, m, d) = (parts.next()?, parts.next()?, parts.next()?);
    if (y.len(), m.len(), d.len()) != (4, 2, 2) {
        return None;
    }
    let (y, m, d): (i64, i64, i64) = (y.parse().ok()?, m.parse().ok()?, d.parse().ok()?);
    if !(1..=12).contains(&m) || !(1..=31).contains(&d) {
        return None;
    }
    // Years that begin in March, so that a leap day is their last.
    let (y, m) = if m > 2 { (y, m - 3) } else { (y - 1, m + 9) };
    Some(365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + d - 1 - 719_468)
}

#[cfg(feature = "hub")]
fn today() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |d| (d.as_secs() / 86_400) as i64)
}

#[cfg(feature = "hub")]
impl Client {
    /// Looks for models. `supports` says whether a `model_type` can be run.
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
            let entries = json.as_array().ok_or_else(|| network("the Hub's answer is no list of models".into()))?;
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

#[cfg(feature = "hub")]
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn summary(entry: Value) -> ModelSummary {
        ModelSummary::from_api(&entry, &|t| t == "known", 20_000).unwrap()
    }

    #[test]
    fn dates() {
        assert_eq!(days("1970-01-01"), Some(0));
        assert_eq!(days("2000-02-29T00:00:00.000Z"), Some(11_016));
        assert_eq!(days("2024-10-04"), Some(20_000));
        for bad in ["", "2025", "2025-13-01", "2025-1-1", "25-01-01xx", "2025-01-ü"] {
            assert_eq!(days(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_have_the_class_of_their_name() {
        use SizeClass::*;
        for (n, class) in [
            (99_999_999, Tiny),
            (100_000_000, Small),
            (1_000_000_000, Small),
            (1_236_000_000, Medium),
            (7_620_000_000, Medium),
            (8_190_000_000, Large),
            (13_020_000_000, Large),
            (30_500_000_000, Xlarge),
        ] {
            assert_eq!(SizeClass::of(n), class, "{n}");
        }
    }

    #[test]
    fn names_tell_sizes_and_bits() {
        assert_eq!(parameters_of_name("o/Qwen3-0.6B-4bit"), Some(600_000_000));
        assert_eq!(parameters_of_name("7b/SmolLM-135M-Instruct"), Some(135_000_000));
        assert_eq!(parameters_of_name("o/Mixtral-8x7B-v0.1"), Some(56_000_000_000));
        assert_eq!(parameters_of_name("o/nanb-infb-model"), None);
        assert_eq!(bits_of_name("Qwen3-0.6B-4bit"), Some(4));
        assert_eq!(bits_of_name("8-bit"), Some(8));
        assert_eq!(bits_of_name("habit"), None);
    }

    /// 4 bits in groups of 64 with scales and biases in bf16: 4.5 bits a weight.
    #[test]
    fn quantized_weights_are_counted_whichever_way_the_hub_counts() {
        let weights: u64 = 7_000_000_000;
        let packed = json!({"id": "o/Model-7B-4bit", "config": {"quantization_config": {"bits": 4}},
            "safetensors": {"parameters": {"U32": weights / 8, "BF16": weights / 32}}});
        let m = summary(packed);
        assert_eq!((m.parameters, m.bits), (Some(weights), Some(4)));
        assert_eq!(m.weight_bytes, Some(weights / 2 + weights / 16));
        assert_eq!(m.size_class, Some(SizeClass::Medium));
        let logical = json!({"id": "o/Model-7B-4bit", "config": {"quantization_config": {"bits": 4}},
            "safetensors": {"parameters": {"U32": weights, "BF16": weights / 32}}});
        let m = summary(logical);
        assert_eq!((m.parameters, m.weight_bytes), (Some(weights), Some(weights / 2 + weights / 16)));
        let plain = json!({"id": "o/x", "safetensors": {"parameters": {"BF16": 1000, "F32": 10}}});
        let m = summary(plain);
        assert_eq!((m.parameters, m.bits, m.weight_bytes), (Some(1010), Some(16), Some(2040)));
        assert_eq!(summary(json!({"id": "o/x-3B"})).weight_bytes, None);
    }

    #[test]
    fn the_score_is_the_documented_sum() {
        let nothing = summary(json!({"id": "o/x"}));
        assert_eq!(nothing.quality, 0.0);
        let all = summary(json!({
            "id": "o/x", "downloads": 999_999, "likes": 9_999, "trendingScore": 99, "lastModified": "2024-10-04",
            "pipeline_tag": "text-generation", "tags": ["license:mit"], "config": {"model_type": "known"},
        }));
        assert_eq!(all.quality, 100.0);
        assert_eq!((all.supported, all.licence.as_deref()), (Some(true), Some("mit")));
        let old = summary(json!({"id": "o/x", "downloads": 999, "lastModified": "2023-10-05"}));
        // 40 * 3/6, and 15 * 0.5 for a year.
        assert_eq!(old.quality, 27.5);
    }

    #[test]
    fn hostile_entries_do_no_harm() {
        for entry in [
            json!(null),
            json!([]),
            json!({"id": 1}),
            json!({"id": "x", "tags": 5, "safetensors": {"parameters": {"U32": u64::MAX, "F64": u64::MAX, "?": 1}},
                   "config": {"quantization_config": {"bits": 0}}, "gated": [], "downloads": -1}),
            json!({"id": "o/99999999999999999b-0bit", "config": {"quantization_config": {"bits": 1}},
                   "safetensors": {"parameters": {"U32": u64::MAX, "BF16": u64::MAX}}}),
        ] {
            let _ = ModelSummary::from_api(&entry, &|_| true, 0);
        }
    }

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
