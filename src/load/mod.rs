//! Loading a model while telling the app exactly what is going on.
#![forbid(unsafe_code)]

mod checkpoints;
mod estimate;
pub mod fit;
mod info;
mod phase;
mod pipeline;

pub use checkpoints::{Checkpoint, Checkpoints, Stage};
pub use estimate::{EstimateOptions, MemoryEstimate};
pub use info::{ModelInfo, QuantizationInfo};
pub use phase::{DownloadStatus, LoadEvent, LoadingError, LoadingPhase};
pub use pipeline::check_config;
pub(crate) use pipeline::{Loaded, Loader};

use std::path::PathBuf;

use crate::array::Dtype;
use crate::error::{Error, Result};
use crate::hub::{self, HubOptions};

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
    /// Where its tokenizer is.
    pub tokenizer: TokenizerSource,
    /// What floating-point weights are converted to.
    pub dtype: WeightDtype,
    /// How to reach the Hub; what the environment says if not given.
    pub hub: Option<HubOptions>,
}

/// Where a model's tokenizer is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokenizerSource {
    /// In the model's directory.
    #[default]
    Model,
    /// In another directory.
    Directory(PathBuf),
    /// Nowhere: the app works with token ids only.
    None,
}

/// What floating-point weights are converted to on loading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightDtype {
    /// As stored; except that on a CPU the scales of a quantized model become f32, because MLX's CPU kernels
    /// accumulate in the type of the scales and are badly inaccurate in bf16.
    #[default]
    Auto,
    /// As stored.
    Stored,
    /// This type.
    Exactly(Dtype),
}

impl ModelConfiguration {
    /// A model in a directory.
    pub fn directory(path: impl Into<PathBuf>) -> Self {
        Self::new(ModelSource::Directory(path.into()))
    }

    /// A model of the Hugging Face Hub. If the local cache has all of it, the network is not used, so a branch that has
    /// moved since stays where it was; otherwise what is missing is downloaded.
    pub fn hub(id: impl Into<String>, revision: Option<String>) -> Self {
        Self::new(ModelSource::Hub { id: id.into(), revision })
    }

    /// A model with its own tokenizer and weights as [`WeightDtype::Auto`] has them.
    pub fn new(source: ModelSource) -> Self {
        ModelConfiguration { source, tokenizer: TokenizerSource::Model, dtype: WeightDtype::Auto, hub: None }
    }

    /// Takes the tokenizer from elsewhere.
    #[must_use]
    pub fn with_tokenizer(mut self, tokenizer: TokenizerSource) -> Self {
        self.tokenizer = tokenizer;
        self
    }

    /// Converts floating-point weights.
    #[must_use]
    pub fn with_dtype(mut self, dtype: WeightDtype) -> Self {
        self.dtype = dtype;
        self
    }

    /// Says how to reach the Hub.
    #[must_use]
    pub fn with_hub(mut self, options: HubOptions) -> Self {
        self.hub = Some(options);
        self
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
            ModelSource::Hub { id, revision } => {
                let cache = self.hub.as_ref().map_or_else(hub::cache_dir, |o| Ok(o.cache.clone()))?;
                hub::complete_snapshot(&cache, id, revision.as_deref())
            }
        }
    }
}
