//! Models of the Hugging Face Hub: the cache that the Python libraries share, and downloads into it.
//!
//! [`Hub`] is what everything else takes. A [`Download`] runs on threads of its own. [`Client`] is the part below it:
//! one Hub, its token, its errors.
#![forbid(unsafe_code)]

mod cache;
mod catalog;
mod handle;
mod listing;
mod options;
mod progress;
mod request;
mod search;

#[cfg(feature = "hub")]
mod api;
#[cfg(feature = "hub")]
mod checksum;
#[cfg(feature = "hub")]
mod control;
#[cfg(feature = "hub")]
mod disk;
#[cfg(feature = "hub")]
mod download;
#[cfg(feature = "hub")]
mod headers;
#[cfg(feature = "hub")]
mod http;
#[cfg(feature = "hub")]
mod pace;
#[cfg(feature = "hub")]
mod proxy;
#[cfg(feature = "hub")]
mod ranges;
#[cfg(feature = "hub")]
mod retry;
#[cfg(feature = "hub")]
mod storage;
#[cfg(feature = "hub")]
mod transfer;
#[cfg(feature = "hub")]
mod xet;

use mlx_engine_base::{env, error, files, limits};

pub use cache::{Place, cache_dir, complete_snapshot, snapshot};
pub use catalog::{Catalog, CatalogEntry};
pub use handle::Hub;
pub use listing::{Listing, RepoFile};
pub use options::{HubOptions, ProxyUrl, Token};
pub use progress::FileProgress;
pub use request::HubRequest;
pub use search::{Modality, ModelSummary, SearchPage, SearchQuery, SizeClass, Sort};

#[cfg(feature = "hub")]
pub use {
    download::{Check, Download, DownloadRequest},
    headers::{RemoteModel, TensorHeader},
    http::Client,
    storage::{
        Import, InUse, Moved, Problem, Prune, Pruned, Removed, Revision, Storage, StoredModel, Verification,
        WhatIsWrong,
    },
};
