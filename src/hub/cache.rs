//! The cache layout of `huggingface_hub`: `models--{org}--{name}/{refs,snapshots,blobs}`.

use std::fs;
use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::listing::{Listing, RepoFile, is_tokenizer};
use super::name::{ModelName, check_id, check_revision};
use super::whole::{is_whole, may_be_whole};
use crate::env::{self, Variable};
use crate::error::{Error, Result};
use crate::files::read_text;
use crate::shards::{INDEX, MAX_INDEX, Shards};

/// The largest list of files that is read back.
const MAX_LISTING: u64 = 64 << 20;

/// The models directory: `MLXE_MODELS_DIR`, else `HF_HUB_CACHE`, else `HF_HOME/hub`; else on Apple's systems
/// `~/Library/Application Support/MLXEngine/models`, which in an app's sandbox is the app's own and which no cloud
/// syncs; elsewhere the cache of the Python libraries, `~/.cache/huggingface/hub`.
pub fn cache_dir() -> Result<PathBuf> {
    models_dir(cfg!(target_vendor = "apple"), Variable::path)
        .ok_or_else(|| Error::not_found("no models directory: neither MLXE_MODELS_DIR, HF_HOME nor HOME is set"))
}

fn models_dir(apple: bool, set: impl Fn(Variable) -> Option<PathBuf>) -> Option<PathBuf> {
    let named = [env::MLXE_MODELS_DIR, env::HF_HUB_CACHE, env::HUGGINGFACE_HUB_CACHE].into_iter().find_map(&set);
    named.or_else(|| set(env::HF_HOME).map(|d| d.join("hub"))).or_else(|| match apple {
        true => set(env::HOME).map(|d| d.join("Library/Application Support/MLXEngine/models")),
        false => set(env::XDG_CACHE_HOME)
            .or_else(|| set(env::HOME).map(|d| d.join(".cache")))
            .map(|d| d.join("huggingface/hub")),
    })
}

/// Where the Python libraries keep cache and token: `HF_HOME`, else `~/.cache/huggingface`.
pub(super) fn home() -> Option<PathBuf> {
    env::HF_HOME.path().or_else(|| env::user_cache().map(|d| d.join("huggingface")))
}

/// The folder of a model in a cache. `revision` is a branch, a tag or a commit; `main` if not given.
pub fn snapshot(cache: &Path, id: &str, revision: Option<&str>) -> Result<PathBuf> {
    let (id, revision) = named(id, revision)?;
    let repository = Repository::new(cache, &id)?;
    let missing =
        || Error::not_found(format!("{id} (revision {revision}) is not in the model cache {}", cache.display()));
    let commit = repository.commit(&revision)?.ok_or_else(missing)?;
    let folder = repository.snapshot(&commit);
    match folder.is_dir() {
        true => Ok(folder),
        false => Err(missing()),
    }
}

/// Like [`snapshot`]; `None` also where files that the model needs are missing.
///
/// # Errors
/// If the id or the revision is malformed, or the cache cannot be read.
pub fn complete_snapshot(cache: &Path, id: &str, revision: Option<&str>) -> Result<Option<PathBuf>> {
    let (id, revision) = named(id, revision)?;
    let repository = Repository::new(cache, &id)?;
    let Some(commit) = repository.commit(&revision)? else { return Ok(None) };
    Ok(repository.is_complete(&commit).then(|| repository.snapshot(&commit)))
}

/// Like [`complete_snapshot`]; `None` also where there is no tokenizer and the kept list of files names none: it may have
/// been cut short, and only the Hub knows.
///
/// # Errors
/// As there.
pub fn complete_with_tokenizer(cache: &Path, id: &str, revision: Option<&str>) -> Result<Option<PathBuf>> {
    let (id, revision) = named(id, revision)?;
    let repository = Repository::new(cache, &id)?;
    let found =
        repository.commit(&revision)?.filter(|c| repository.is_complete(c) && !repository.may_lack_a_tokenizer(c));
    Ok(found.map(|commit| repository.snapshot(&commit)))
}

/// The id and the revision of a name as people give it.
fn named(id: &str, revision: Option<&str>) -> Result<(String, String)> {
    let (id, revision) = ModelName::parse(id)?.with_revision(revision)?;
    let revision = revision.unwrap_or_else(|| "main".into());
    check_revision(&revision).map(|()| (id, revision))
}

/// A location in a models directory: which directory, and which model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The models directory.
    pub directory: PathBuf,
    /// `organisation/name`
    pub id: String,
}

impl Place {
    /// The place of a revision's folder, as downloads and [`snapshot`] give it; `None` where `folder` is no such folder.
    pub fn of(folder: &Path) -> Option<Place> {
        // What leads there may be relative, or a link.
        let folder = folder.canonicalize().ok()?;
        let snapshots = folder.parent().filter(|p| p.file_name().is_some_and(|n| n == "snapshots"))?;
        let repository = snapshots.parent()?;
        let id = id_of(repository.file_name()?.to_str()?)?;
        Some(Place { directory: repository.parent()?.to_owned(), id })
    }
}

/// The id of the model whose folder in a models directory has this name.
pub(super) fn id_of(folder: &str) -> Option<String> {
    Some(folder.strip_prefix("models--")?.replace("--", "/")).filter(|id| check_id(id).is_ok())
}

/// The folder of one model in a cache, and its parts.
#[derive(Clone, Debug)]
pub(super) struct Repository {
    pub(super) root: PathBuf,
    pub(super) locks: PathBuf,
}

impl Repository {
    pub fn new(cache: &Path, id: &str) -> Result<Self> {
        check_id(id)?;
        let name = format!("models--{}", id.replace('/', "--"));
        Ok(Repository { root: cache.join(&name), locks: cache.join(".locks").join(name) })
    }

    /// The commit that a branch or tag points to in this cache; anything else must be a commit itself.
    pub fn commit(&self, revision: &str) -> Result<Option<String>> {
        let commit = self.noted(revision)?.unwrap_or_else(|| revision.to_owned());
        check_revision(&commit)?;
        Ok(self.snapshot(&commit).is_dir().then_some(commit))
    }

    /// Where the commit of a branch or tag may be noted. Names that exclude each other as paths (`a` and `a/b`) or are too
    /// long for one are below a name that no branch has, and that the Python libraries take for another branch.
    pub(super) fn ref_paths(&self, revision: &str) -> [PathBuf; 2] {
        let escaped = utf8_percent_encode(revision, NON_ALPHANUMERIC).to_string();
        let refs = self.root.join("refs");
        [refs.join(revision), refs.join("%").join(escaped)]
    }

    /// What is noted for a branch or tag. An empty file, as a full disk leaves it, says nothing.
    pub(super) fn noted(&self, revision: &str) -> Result<Option<String>> {
        for path in self.ref_paths(revision).iter().filter(|path| path.is_file()) {
            match read_text(path, 256)?.trim() {
                "" => {}
                commit => return Ok(Some(commit.to_owned())),
            }
        }
        Ok(None)
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// Whether everything that a model needs is present.
    pub fn is_complete(&self, commit: &str) -> bool {
        let folder = self.snapshot(commit);
        if !folder.join("config.json").is_file() {
            return false;
        }
        let index = read_text(&folder.join(INDEX), MAX_INDEX).ok();
        if let Some(listing) = self.listing(commit) {
            let there = |f: &&RepoFile| is_whole(&folder.join(&f.path), f.size);
            let weights = listing.weight_files(index.as_deref());
            return listing.small_files().iter().all(there) && weights.is_ok_and(|files| files.iter().all(there));
        }
        // Who downloaded it kept no list of files: what is there, and an index, have to do.
        let names: Vec<String> = fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| folder.join(name).is_file())
            .collect();
        let shards = Shards::choose(names.iter().map(String::as_str), index.as_deref());
        let whole =
            |shards: Shards| !shards.files.is_empty() && shards.files.iter().all(|f| may_be_whole(&folder.join(f)));
        may_be_whole(&folder.join("config.json")) && shards.is_ok_and(whole)
    }

    /// Whether there is no tokenizer, and none in the list of files that is kept. Models without one are rare; lists that
    /// were cut short by a server, or by a version that lost pages, are not.
    fn may_lack_a_tokenizer(&self, commit: &str) -> bool {
        let there = || fs::read_dir(self.snapshot(commit)).into_iter().flatten().flatten();
        self.listing(commit).is_some_and(|listing| !listing.has_tokenizer())
            && !there().any(|entry| entry.file_name().to_str().is_some_and(is_tokenizer))
    }

    /// The files of the commit, if it was ever listed.
    pub fn listing(&self, commit: &str) -> Option<Listing> {
        let text = read_text(&self.tree(commit), MAX_LISTING).ok()?;
        Listing::from_json(&serde_json::from_str(&text).ok()?)
    }

    pub(super) fn tree(&self, commit: &str) -> PathBuf {
        self.root.join("trees").join(format!("{commit}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn the_models_directory_has_a_place_on_every_platform() {
        let of = |apple, all: &[(&str, &str)]| {
            let set = |v: Variable| all.iter().find(|(n, _)| *n == v.name).map(|(_, v)| PathBuf::from(v));
            models_dir(apple, set).map(|p| p.display().to_string()).unwrap_or_default()
        };
        assert_eq!(of(true, &[("HOME", "/h")]), "/h/Library/Application Support/MLXEngine/models");
        assert_eq!(of(false, &[("HOME", "/h")]), "/h/.cache/huggingface/hub");
        assert_eq!(of(false, &[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), "/x/huggingface/hub");
        assert_eq!(of(true, &[("HOME", "/h"), ("HF_HOME", "/f")]), "/f/hub");
        assert_eq!(of(false, &[("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")]), "/c");
        assert_eq!(of(true, &[("HF_HUB_CACHE", "/c"), ("MLXE_MODELS_DIR", "/m")]), "/m");
        assert_eq!(of(false, &[]), "");
    }

    #[test]
    fn finds_by_branch_and_commit() {
        let cache = std::env::temp_dir().join(format!("mlxe-hub-{}", std::process::id()));
        let repository = cache.join("models--org--name");
        std::fs::create_dir_all(repository.join("refs")).unwrap();
        std::fs::create_dir_all(repository.join("snapshots/0123abc")).unwrap();
        std::fs::write(repository.join("refs/main"), "0123abc\n").unwrap();
        std::fs::write(repository.join("refs/evil"), "../../..").unwrap();
        let found = snapshot(&cache, "org/name", None).unwrap();
        assert_eq!(found, snapshot(&cache, "org/name", Some("0123abc")).unwrap());
        assert_eq!(snapshot(&cache, "org/other", None).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(snapshot(&cache, "org/name", Some("v2")).unwrap_err().kind(), ErrorKind::NotFound);
        let place = Place { directory: cache.canonicalize().unwrap(), id: "org/name".into() };
        assert_eq!(Place::of(&found), Some(place.clone()));
        assert_eq!(Place::of(&repository.join("snapshots/../snapshots/0123abc/.")), Some(place.clone()));
        let link = cache.join("link");
        std::os::unix::fs::symlink(&found, &link).unwrap();
        assert_eq!(Place::of(&link), Some(place));
        for elsewhere in [&cache, &repository, &repository.join("snapshots"), &cache.join("absent")] {
            assert_eq!(Place::of(elsewhere), None, "{}", elsewhere.display());
        }
        // What says nothing, and folders of other branches, are no branches.
        std::fs::write(repository.join("refs/empty"), "").unwrap();
        std::fs::create_dir_all(repository.join("refs/feature")).unwrap();
        std::fs::write(repository.join("refs/feature/a"), "0123abc").unwrap();
        std::fs::write(repository.join("refs/gone"), "fedcba").unwrap();
        for revision in ["empty", "feature", "feature/a/b", "gone"] {
            assert_eq!(snapshot(&cache, "org/name", Some(revision)).unwrap_err().kind(), ErrorKind::NotFound);
        }
        for name in ["org/name@feature/a", "https://huggingface.co/org/name/tree/main", "hf://org/name@0123abc"] {
            assert_eq!(snapshot(&cache, name, None).unwrap(), found, "{name}");
        }
        for revision in ["../..", "evil"] {
            assert_eq!(snapshot(&cache, "org/name", Some(revision)).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
        std::fs::remove_dir_all(cache).unwrap();
    }
}
