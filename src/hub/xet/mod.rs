//! Xet, the Hub's chunk storage: reading ranges of files from it.
//!
//! A file there is a sequence of terms, each some chunks of a xorb (a container of compressed chunks). For a range of a
//! file the storage service returns its terms and the signed URLs of their chunks. Protocol:
//! <https://huggingface.co/docs/xet>, and `openapi/cas.openapi.yaml` in `huggingface/xet-core`.

mod chunk;
mod failure;
mod plan;
mod reader;

use std::io::Read;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::Body;
use ureq::http::Response;

use self::failure::{in_context, refused};
use self::plan::Plan;
use self::reader::FileReader;
use super::http::{Client, Subject, network, short};
use super::options::Token;
use super::retry::Failure;
use crate::error::{Error, ErrorKind};

/// The longest API response that is read: 32 MiB of a file have about 500 chunks, a signed URL a KiB.
const MAX_ANSWER: u64 = 16 << 20;
/// A token that is valid for less than this is replaced.
const MARGIN: Duration = Duration::from_secs(30);

/// The files of one commit in Xet storage.
pub(super) struct Xet {
    client: Client,
    id: String,
    commit: String,
    access: Mutex<Option<Access>>,
    /// Why it is not used any more.
    given_up: Mutex<Option<Error>>,
}

/// Access to the storage service.
#[derive(Clone)]
struct Access {
    url: String,
    token: Token,
    /// Since 1970.
    expires: Duration,
}

/// The Hub's response to a request for access.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccessAnswer {
    cas_url: String,
    access_token: String,
    exp: u64,
}

impl Xet {
    pub fn new(client: Client, id: &str, commit: &str) -> Self {
        Xet {
            client,
            id: id.to_owned(),
            commit: commit.to_owned(),
            access: Mutex::default(),
            given_up: Mutex::default(),
        }
    }

    pub fn is_on(&self) -> bool {
        self.client.options().xet && self.given_up.lock().is_none()
    }

    /// Whether plain HTTP is to be tried after this final error; from then on it alone is.
    pub fn give_up(&self, error: &Error) -> bool {
        if !matches!(error.kind(), ErrorKind::Network | ErrorKind::NotFound | ErrorKind::AccessDenied) {
            return false;
        }
        self.given_up.lock().get_or_insert_with(|| {
            log::warn!("{error}; the download falls back from Xet storage to plain HTTP");
            error.clone()
        });
        true
    }

    /// An error of plain HTTP, and why that was used.
    pub fn explain(&self, error: Error) -> Error {
        match &*self.given_up.lock() {
            Some(reason) => error.context(format!("plain HTTP, tried because Xet storage failed ({reason})")),
            None => error,
        }
    }

    /// The bytes `start..end` of a file.
    pub fn open(&self, path: &str, hash: &str, start: u64, end: u64) -> Result<FileReader, Failure> {
        let name = format!("{}/{path} (Xet)", self.id);
        let plan = self.plan(&name, hash, start, end).map_err(|f| in_context(f, &name))?;
        Ok(FileReader::new(self.client.clone(), name, plan, end - start))
    }

    fn plan(&self, name: &str, hash: &str, start: u64, end: u64) -> Result<Plan, Failure> {
        let access = self.access()?;
        let url = format!("{}/v1/reconstructions/{hash}", access.url);
        let response = self.client.request(&url, Some((start, end)), Some(&access.token.bearer()))?;
        let status = response.status();
        if !status.is_success() {
            let failure = refused(&response, &url);
            // The token may be invalid although it has not expired.
            return Err(match status.as_u16() {
                401 | 403 => {
                    self.access.lock().take_if(|a| a.token == access.token);
                    Failure { transient: true, ..failure }
                }
                _ => failure,
            });
        }
        let plan = Plan::new(self.json(response, &url)?, end - start).map_err(|e| e.context(short(&url)))?;
        match plan.fetches.iter().find(|f| !self.client.may_ask(&f.url)) {
            Some(fetch) => Err(network(format!("{name} points to {:?}, not followed", short(&fetch.url))).into()),
            None => Ok(plan),
        }
    }

    /// The current access, or a new one. Other callers wait meanwhile.
    fn access(&self) -> Result<Access, Failure> {
        let mut current = self.access.lock();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Some(access) = current.as_ref().filter(|a| a.expires > now + MARGIN) {
            return Ok(access.clone());
        }
        let url = self.client.url(&format!("api/models/{}/xet-read-token/{}", self.id, self.commit));
        let about = Subject { id: &self.id, revision: &self.commit, file: None };
        let reply = self.client.get(&url, None, about).map_err(|f| in_context(f, "the token of Xet storage"))?;
        let answer: AccessAnswer = self.json(reply.response, &url)?;
        let bad = |what: &str| Failure::from(network(format!("{}: {what}", short(&url))));
        if !self.client.may_ask(&answer.cas_url) {
            return Err(bad(&format!("points to {:?}, not followed", short(&answer.cas_url))));
        }
        let token = Token::new(&answer.access_token).ok().flatten().ok_or_else(|| bad("no usable token"))?;
        let url = answer.cas_url.trim_end_matches('/').to_owned();
        let access = Access { url, token, expires: Duration::from_secs(answer.exp) };
        *current = Some(access.clone());
        Ok(access)
    }

    fn json<T: DeserializeOwned>(&self, response: Response<Body>, url: &str) -> Result<T, Failure> {
        let mut text = Vec::new();
        let mut body = super::http::reader(response).take(MAX_ANSWER + 1);
        body.read_to_end(&mut text).map_err(|e| self.client.broken(url, e))?;
        if text.len() as u64 > MAX_ANSWER {
            return Err(network(format!("{}: an endless answer", short(url))).into());
        }
        let malformed = |e| Failure::transient(network(format!("{}: not understood: {e}", short(url))));
        serde_json::from_slice(&text).map_err(malformed)
    }
}
