//! The Hub's API for a model: its commit and files.

use serde_json::Value;

use super::http::{Client, Subject, encode_segment, network};
use super::listing::{Listing, MAX_FILES, RepoFile};
use crate::error::Result;
use mlx_engine_base::progress::Retry;

/// The most pages of a list of files.
const MAX_PAGES: usize = 200;

impl Client {
    /// The commit of a revision, and the names of its files if the Hub tells them.
    pub(super) fn commit(&self, about: Subject, notice: &dyn Fn(Option<Retry>)) -> Result<(String, Vec<String>)> {
        let url = self.url(&format!("api/models/{}/revision/{}", about.id, encode_segment(about.revision)));
        let (json, _) = self.json(&url, about, notice)?;
        let sha = json.get("sha").and_then(Value::as_str).unwrap_or_default();
        let names = json.get("siblings").and_then(Value::as_array).into_iter().flatten();
        let names = names.filter_map(|file| file.get("rfilename")?.as_str().map(str::to_owned)).collect();
        match sha.len() == 40 && sha.bytes().all(|b| b.is_ascii_hexdigit()) {
            true => Ok((sha.to_owned(), names)),
            false => Err(network(format!("{url}: the response has no commit"))),
        }
    }

    /// All files of a commit. `names` are those that it must have.
    pub(super) fn files(
        &self,
        commit: &str,
        names: &[String],
        about: Subject,
        notice: &dyn Fn(Option<Retry>),
    ) -> Result<Listing> {
        let mut listing = Listing::default();
        let mut next = Some(self.url(&format!("api/models/{}/tree/{commit}?recursive=true", about.id)));
        for _ in 0..MAX_PAGES {
            let Some(url) = next else {
                return match listing.lacks(names) {
                    None => Ok(listing),
                    Some(name) => Err(network(format!(
                        "{}: the server's list of files is not whole: {name} is not in it, and {} files are",
                        about.id,
                        listing.files.len()
                    ))),
                };
            };
            let (page, following) = self.json(&url, about, notice)?;
            for entry in
                page.as_array().ok_or_else(|| network(format!("{url}: the response is not a list of files")))?
            {
                if let Some(file) = RepoFile::from_api(entry).map_err(|e| e.context(about.id))? {
                    listing.files.insert(file.path.clone(), file);
                }
            }
            if listing.files.len() > MAX_FILES {
                return Err(network(format!("{}: more than {MAX_FILES} files", about.id)));
            }
            next = following;
        }
        Err(network(format!("{}: its list of files has more than {MAX_PAGES} pages", about.id)))
    }
}
