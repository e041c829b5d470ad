//! Loading models, with exact progress.
#![forbid(unsafe_code)]

mod checkpoints;
mod dtype;
mod estimate;
mod event;
pub mod fit;
mod info;
mod options;
mod phase;
mod pipeline;

pub use checkpoints::{Checkpoint, CheckpointStage, Checkpoints};
pub use dtype::WeightDtype;
pub(crate) use estimate::Given;
pub use estimate::{EstimateOptions, MemoryEstimate};
pub use event::LoadEvent;
pub use info::{ModelInfo, QuantizationInfo};
pub use options::LoadOptions;
pub use phase::{LoadingError, LoadingPhase};
pub use pipeline::check_config;
pub(crate) use pipeline::{Loaded, Loader};

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::hub::{Hub, ModelName, Place};

/// Where a model is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// A directory with `config.json`, weights and tokenizer.
    Directory(PathBuf),
    /// A model of the Hugging Face Hub; what is not in the local cache is downloaded.
    Hub {
        /// `organisation/name`
        id: String,
        /// Branch, tag or commit; `main` if not given.
        revision: Option<String>,
    },
}

/// What to load, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfiguration {
    /// Where the model is.
    pub source: ModelSource,
    /// How it is loaded. `source` says where the model is.
    pub options: LoadOptions,
    /// Where a model of the Hub is kept and comes from, and whose catalogue applies. If not given, the hub that the
    /// environment describes, with the built-in catalogue.
    pub hub: Option<Hub>,
}

impl ModelConfiguration {
    /// A model in a directory. A directory inside a models directory, as after a download, is treated as if the model
    /// were loaded by id: it is locked while it is read, its use is recorded, and the `extra_eos` of its entry in the
    /// catalogue apply.
    pub fn directory(path: impl Into<PathBuf>) -> Self {
        Self::new(ModelSource::Directory(path.into()))
    }

    /// A model of the Hugging Face Hub. If the models directory has all of it, the network is not used, so a branch that
    /// has moved since stays where it was; otherwise what is missing is downloaded.
    pub fn hub(hub: &Hub, id: impl Into<String>, revision: Option<String>) -> Self {
        Self::new(ModelSource::Hub { id: id.into(), revision }).with_hub(hub)
    }

    /// A model with its own tokenizer and weights as [`WeightDtype::Auto`] has them.
    pub fn new(source: ModelSource) -> Self {
        ModelConfiguration { source, options: LoadOptions::default(), hub: None }
    }

    /// What options ask for that came from C, or as JSON.
    ///
    /// # Errors
    /// `InvalidArgument` if they do not name one model, or want a tokenizer and none.
    pub fn from_options(mut options: LoadOptions) -> Result<Self> {
        let source = match (options.directory.take(), options.id.take(), options.revision.take()) {
            (Some(directory), None, _) => ModelSource::Directory(directory),
            (None, Some(id), revision) => ModelSource::Hub { id, revision },
            _ => return Err(Error::invalid_argument("give either directory or id")),
        };
        if options.without_tokenizer && options.tokenizer_directory.is_some() {
            return Err(Error::invalid_argument("a tokenizer_directory and without_tokenizer exclude each other"));
        }
        Ok(ModelConfiguration { source, options, hub: None })
    }

    /// Takes the tokenizer from another directory.
    #[must_use]
    pub fn with_tokenizer(mut self, directory: impl Into<PathBuf>) -> Self {
        self.options.tokenizer_directory = Some(directory.into());
        self
    }

    /// Loads no tokenizer: the app works with token ids only.
    #[must_use]
    pub fn without_tokenizer(mut self) -> Self {
        self.options.without_tokenizer = true;
        self
    }

    /// Converts floating-point weights.
    #[must_use]
    pub fn with_dtype(mut self, dtype: WeightDtype) -> Self {
        self.options.dtype = Some(dtype);
        self
    }

    /// Sets the hub.
    #[must_use]
    pub fn with_hub(mut self, hub: &Hub) -> Self {
        self.hub = Some(hub.clone());
        self
    }

    /// The hub that was given, else the environment's.
    ///
    /// # Errors
    /// As [`Hub::from_env`].
    pub fn hub_or_env(&self) -> Result<Hub> {
        self.hub.clone().map_or_else(Hub::from_env, Ok)
    }

    /// Where in a models directory the model is, or would be; `None` for a directory that is in none.
    ///
    /// # Errors
    /// As [`hub_or_env`](Self::hub_or_env).
    pub fn place(&self) -> Result<Option<Place>> {
        match &self.source {
            ModelSource::Directory(path) => Ok(Place::of(path)),
            ModelSource::Hub { id, .. } => {
                let id = ModelName::parse(id)?.id;
                Ok(Some(Place { directory: self.hub_or_env()?.directory().to_owned(), id }))
            }
        }
    }

    /// A name for messages and events: the id, or the directory.
    pub fn name(&self) -> String {
        match &self.source {
            ModelSource::Directory(path) => path.display().to_string(),
            ModelSource::Hub { id, .. } => id.clone(),
        }
    }

    /// The model's directory; `None` if it is not, or not completely, in the local cache.
    pub fn resolve(&self) -> Result<Option<PathBuf>> {
        match &self.source {
            ModelSource::Directory(path) if path.is_dir() => Ok(Some(path.clone())),
            ModelSource::Directory(path) if path.exists() => {
                Err(Error::invalid_argument(format!("{} is not a directory", path.display())))
            }
            ModelSource::Directory(path) => Err(Error::not_found(format!("{}: no such directory", path.display()))),
            ModelSource::Hub { id, revision } => self.hub_or_env()?.snapshot(id, revision.as_deref()),
        }
    }

    /// As [`resolve`](Self::resolve), for a load: where the model's own tokenizer is wanted it has to be there too, or the
    /// Hub is asked whether there is one.
    pub(crate) fn resolve_for_load(&self) -> Result<Option<PathBuf>> {
        let own_tokenizer = !self.options.without_tokenizer && self.options.tokenizer_directory.is_none();
        match &self.source {
            ModelSource::Hub { id, revision } if own_tokenizer => {
                self.hub_or_env()?.snapshot_with_tokenizer(id, revision.as_deref())
            }
            _ => self.resolve(),
        }
    }
}
