//! Models of the Hugging Face Hub: the cache that the Python libraries share, and downloads into it.
//!
//! [`Hub`] is what everything else takes. A [`Download`] runs on threads of its own. [`Client`] is the part below it:
//! one Hub, its token, its errors.
//!
//! Without the feature `network` models in the cache are found; everything else exists, and fails with a clear error
//! (`absent.rs`). Only this file tests the feature.
#![forbid(unsafe_code)]
#![cfg_attr(not(feature = "network"), allow(dead_code, reason = "most of it serves what is left out"))]

mod cache;
mod catalog;
mod handle;
mod listing;
mod name;
mod options;
mod progress;
mod remote;
mod request;
mod search;
mod wanted;
mod whole;

#[cfg(feature = "network")]
mod api;
#[cfg(feature = "network")]
mod blobs;
#[cfg(feature = "network")]
mod checksum;
#[cfg(feature = "network")]
mod control;
#[cfg(feature = "network")]
mod disk;
#[cfg(feature = "network")]
mod download;
#[cfg(feature = "network")]
mod headers;
#[cfg(feature = "network")]
mod http;
#[cfg(feature = "network")]
mod pace;
#[cfg(feature = "network")]
mod proxy;
#[cfg(feature = "network")]
mod ranges;
#[cfg(feature = "network")]
mod retry;
#[cfg(feature = "network")]
mod search_request;
#[cfg(feature = "network")]
mod storage;
#[cfg(feature = "network")]
mod transfer;
#[cfg(feature = "network")]
mod xet;

#[cfg(any(test, not(feature = "network")))]
#[cfg_attr(feature = "network", allow(dead_code, reason = "only its own tests use it here"))]
mod absent;

#[cfg(feature = "network")]
use mlx_engine_base::threads;
use mlx_engine_base::{env, error, files, limits, shards};

pub use cache::{Place, cache_dir, complete_snapshot, complete_with_tokenizer, snapshot};
pub use catalog::{Catalog, CatalogEntry};
pub use handle::Hub;
pub use listing::{Listing, RepoFile};
pub use name::ModelName;
pub use options::{HubOptions, ProxyUrl, Token};
pub use progress::FileProgress;
pub use remote::{RemoteModel, TensorHeader};
pub use request::HubRequest;
pub use search::{Modality, ModelSummary, SearchPage, SearchQuery, SizeClass, Sort};
pub use wanted::{Check, DownloadRequest};

#[cfg(not(feature = "network"))]
pub use absent::{Client, Download, Import, InUse, Prune, Storage};
#[cfg(feature = "network")]
pub use {
    download::Download,
    http::Client,
    storage::{
        Import, InUse, Moved, Problem, Prune, Pruned, Removed, Revision, Storage, StoredModel, Verification,
        WhatIsWrong,
    },
};
