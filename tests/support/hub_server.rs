//! A server on loopback that speaks the Hub's HTTP API, with faults that can be switched on.
//!
//! Three ports: the Hub itself, the storage that it redirects large files to and that has xorbs, and the service that says
//! what files in Xet storage are made of. `make hub-parity` proves with the official Python client that it answers as the
//! Hub does.

#[path = "xet_storage.rs"]
pub mod xet_storage;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use serde_json::{Value, json};
use xet_storage::XetStorage;

/// Entries of a page of a listing: few, so that every listing has several.
const PAGE: usize = 3;

/// Where a file's bytes are.
#[derive(Clone)]
pub enum Content {
    Bytes(Arc<Vec<u8>>),
    File(PathBuf),
}

struct Stored {
    content: Content,
    size: u64,
    sha1: String,
    sha256: Option<String>,
    xet: Option<String>,
}

/// A repository with one commit.
pub struct Repo {
    id: String,
    commit: String,
    files: BTreeMap<String, Stored>,
    /// Only this token may read it.
    token: Option<String>,
    /// Readers must have been granted access, which nobody has.
    gated: bool,
    /// What the list of models says of it.
    card: Value,
    /// Its large files are in Xet storage, with so many chunks a xorb.
    xet: Option<usize>,
}

impl Repo {
    pub fn new(id: &str, files: &[(&str, Vec<u8>)]) -> Repo {
        Self::with(id, files.iter().map(|(n, b)| ((*n).to_owned(), Content::Bytes(Arc::new(b.clone())))))
    }

    /// All files of a folder.
    pub fn from_folder(id: &str, folder: &Path) -> Repo {
        let mut files = Vec::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => {
                        files.push((path.strip_prefix(folder).unwrap().display().to_string(), Content::File(path)))
                    }
                }
            }
        }
        Self::with(id, files)
    }

    fn with(id: &str, files: impl IntoIterator<Item = (String, Content)>) -> Repo {
        let mut all = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        let mut stored = BTreeMap::new();
        for (name, content) in files {
            let size = match &content {
                Content::Bytes(bytes) => bytes.len() as u64,
                Content::File(path) => std::fs::metadata(path).unwrap().len(),
            };
            let mut git = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
            let mut sha256 = Context::new(&SHA256);
            git.update(format!("blob {size}\0").as_bytes());
            let mut reader: Box<dyn Read> = match &content {
                Content::Bytes(bytes) => Box::new(io::Cursor::new(bytes.to_vec())),
                Content::File(path) => Box::new(File::open(path).unwrap()),
            };
            let large = size > 1 << 20 || name.ends_with(".safetensors");
            let mut buffer = vec![0; 1 << 20];
            loop {
                match reader.read(&mut buffer).unwrap() {
                    0 => break,
                    n if large => sha256.update(&buffer[..n]),
                    n => git.update(&buffer[..n]),
                }
            }
            let sha256 = large.then(|| hex(sha256));
            // The git object of a large file is its pointer; here just something stable.
            git.update(sha256.as_deref().unwrap_or_default().as_bytes());
            let sha1 = hex(git);
            all.update(name.as_bytes());
            all.update(sha1.as_bytes());
            stored.insert(name, Stored { content, size, sha1, sha256, xet: None });
        }
        Repo { id: id.into(), commit: hex(all), files: stored, token: None, gated: false, card: json!({}), xet: None }
    }

    /// Readable with this token only.
    pub fn private(self, token: &str) -> Repo {
        Repo { token: Some(token.into()), ..self }
    }

    pub fn gated(self) -> Repo {
        Repo { gated: true, ..self }
    }

    /// Large files are in Xet storage as well, with so many chunks a xorb.
    pub fn xet(self, chunks_per_xorb: usize) -> Repo {
        Repo { xet: Some(chunks_per_xorb), ..self }
    }

    /// What the list of models says of it: `downloads`, `tags`, `pipeline_tag`, `config`, `safetensors`, ...
    pub fn card(self, card: Value) -> Repo {
        Repo { card, ..self }
    }

    /// All that the API tells of it.
    fn info(&self) -> Value {
        let mut info = json!({
            "_id": "0123456789abcdef01234567", "id": self.id, "modelId": self.id, "sha": self.commit,
            "author": self.id.split('/').next(), "private": self.token.is_some(),
            "gated": if self.gated { json!("auto") } else { json!(false) }, "disabled": false,
            "downloads": 1, "likes": 0, "trendingScore": 0, "tags": [],
            "lastModified": "2025-01-01T00:00:00.000Z", "createdAt": "2025-01-01T00:00:00.000Z",
        });
        for (key, value) in self.card.as_object().into_iter().flatten() {
            info[key] = value.clone();
        }
        info
    }

    pub fn commit(&self) -> &str {
        &self.commit
    }

    fn knows(&self, revision: &str) -> bool {
        revision == self.commit || matches!(revision, "main" | "v1.0" | "refs/pr/1")
    }
}

fn hex(context: Context) -> String {
    context.finish().as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// An HTTP error, with `Retry-After` in seconds.
    Status(u16, Option<u64>),
    /// 503, with these values of `Retry-After` and `Date`.
    Until(String, String),
    /// This many redirects with this status before the answer.
    Redirects(u16, u32),
    /// A redirect to this address.
    RedirectTo(String),
    /// The body ends after this many bytes.
    Truncate(u64),
    /// This byte of the file is another.
    Corrupt(u64),
    /// After this many bytes nothing comes any more.
    Stall(u64),
    /// Bytes a second.
    Drip(u64),
    /// Every answer has another ETag.
    ChangeEtag,
    /// `Range` is ignored.
    NoRange,
    /// A header of this many bytes.
    HugeHeader(usize),
    /// The sizes that the server tells are this much too large.
    WrongSize(i64),
    /// Another range than what was asked for.
    WrongRange,
    /// The text instead of the answer.
    Garbage(String),
    /// The `Link` header, with `HOST`, `PATH` and `QUERY` of the next page.
    Link(String),
    /// The list of files lacks this one.
    Without(String),
    /// An answer of this status with these headers and this text.
    Says(u16, Vec<(&'static str, String)>, String),
    /// The body in this `Content-Encoding`: of gzip a real one.
    Encoded(&'static str),
    /// A redirect to this path with the request's own behind it, and a query.
    Via(&'static str, &'static str),
}

/// Which requests a fault hits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    /// Listings and revisions.
    Api,
    /// `/resolve/` at the Hub.
    Resolve,
    /// Large files at the storage.
    Storage,
    /// The route that gives tokens for Xet storage.
    XetToken,
    /// What says of what files in Xet storage are made.
    Xet,
    /// The xorbs.
    Xorb,
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Port {
    Hub,
    Storage,
    Xet,
}

/// A fault, for so many requests.
#[derive(Clone, Debug)]
pub struct Rule {
    pub at: At,
    pub fault: Fault,
    pub times: u32,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub port: Port,
    pub storage: bool,
    pub authorization: Option<String>,
    pub range: Option<(u64, u64)>,
}

#[derive(Default)]
struct Shared {
    repos: Mutex<Vec<Arc<Repo>>>,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
    /// Bytes a second for each connection; 0 for no limit.
    rate: AtomicU64,
    sent: AtomicU64,
    /// Answers of the storage under way, and the most at once so far.
    busy: Mutex<(usize, usize)>,
    /// More of them at once are refused.
    limit: AtomicUsize,
    etags: AtomicU64,
    faulted: AtomicU32,
    stopped: AtomicBool,
    storage: Mutex<String>,
    xet_url: Mutex<String>,
    xet: XetStorage,
    /// Tokens for Xet storage so far, those of them that have expired, and the seconds that they claim to be valid.
    xet_tokens: AtomicU64,
    xet_expired: AtomicU64,
    xet_life: AtomicU64,
}

/// A connection.
pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// What makes a connection of a socket, such as TLS.
pub type Wrap = Arc<dyn Fn(TcpStream) -> io::Result<Box<dyn Stream>> + Send + Sync>;

/// The server; it stops with the value.
pub struct HubServer {
    shared: Arc<Shared>,
    pub endpoint: String,
}

impl HubServer {
    pub fn start(repos: Vec<Repo>) -> HubServer {
        Self::start_with(repos, None)
    }

    /// Over https, where `wrap` speaks TLS.
    pub fn start_with(mut repos: Vec<Repo>, wrap: Option<Wrap>) -> HubServer {
        let mut xet = XetStorage::default();
        for repo in &mut repos {
            let Some(chunks) = repo.xet else { continue };
            for file in repo.files.values_mut().filter(|f| f.sha256.is_some()) {
                let content = match &file.content {
                    Content::Bytes(bytes) => bytes.to_vec(),
                    Content::File(path) => std::fs::read(path).unwrap(),
                };
                file.xet = Some(xet.add(&content, chunks));
            }
        }
        let shared = Arc::new(Shared {
            xet,
            xet_life: AtomicU64::new(3600),
            limit: AtomicUsize::new(usize::MAX),
            ..Shared::default()
        });
        *shared.repos.lock().unwrap() = repos.into_iter().map(Arc::new).collect();
        let storage = listen(shared.clone(), Port::Storage, wrap.clone());
        *shared.storage.lock().unwrap() = storage;
        let xet_url = listen(shared.clone(), Port::Xet, wrap.clone());
        *shared.xet_url.lock().unwrap() = xet_url;
        let endpoint = listen(shared.clone(), Port::Hub, wrap);
        HubServer { shared, endpoint }
    }

    pub fn set_faults(&self, rules: Vec<Rule>) {
        *self.shared.rules.lock().unwrap() = rules;
    }

    pub fn fault(&self, at: At, fault: Fault, times: u32) {
        self.shared.rules.lock().unwrap().push(Rule { at, fault, times });
    }

    pub fn set_rate(&self, bytes_per_second: u64) {
        self.shared.rate.store(bytes_per_second, Ordering::Relaxed);
    }

    /// No token for Xet storage that was given so far is valid any more.
    pub fn expire_xet_tokens(&self) {
        self.shared.xet_expired.store(self.shared.xet_tokens.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// For how many seconds tokens for Xet storage claim to be valid.
    pub fn set_xet_life(&self, seconds: u64) {
        self.shared.xet_life.store(seconds, Ordering::Relaxed);
    }

    /// How many answers of the storage may be under way at once.
    pub fn set_limit(&self, connections: usize) {
        self.shared.limit.store(connections, Ordering::Relaxed);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.shared.seen.lock().unwrap().clear();
        self.shared.sent.store(0, Ordering::Relaxed);
    }

    /// How many faults have hit.
    pub fn faulted(&self) -> u32 {
        self.shared.faulted.load(Ordering::Relaxed)
    }

    /// The most answers of the storage that were under way at once.
    pub fn busiest(&self) -> usize {
        self.shared.busy.lock().unwrap().1
    }

    /// Bytes of bodies sent.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    pub fn repo(&self, id: &str) -> Arc<Repo> {
        self.shared.repos.lock().unwrap().iter().find(|r| r.id == id).unwrap().clone()
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        for url in [&self.endpoint, &*self.shared.storage.lock().unwrap(), &*self.shared.xet_url.lock().unwrap()] {
            // Wakes the listener.
            let _ = TcpStream::connect(url.rsplit('/').next().unwrap());
        }
    }
}

/// Accepts connections on a free port of loopback; returns the address.
fn listen(shared: Arc<Shared>, port: Port, wrap: Option<Wrap>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let scheme = if wrap.is_some() { "https" } else { "http" };
    let address = format!("{scheme}://{}", listener.local_addr().unwrap());
    let host = address.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            if shared.stopped.load(Ordering::Relaxed) {
                return;
            }
            let (Ok(stream), shared, host, wrap) = (stream, shared.clone(), host.clone(), wrap.clone()) else {
                continue;
            };
            thread::spawn(move || {
                let _ = stream.set_nodelay(true);
                let _ = match wrap {
                    None => serve(&shared, stream, &host, port),
                    Some(wrap) => wrap(stream).and_then(|stream| serve(&shared, stream, &host, port)),
                };
            });
        }
    });
    address
}

/// One connection: requests until it ends.
fn serve(shared: &Shared, stream: impl Stream, host: &str, port: Port) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || shared.stopped.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
        let mut headers = BTreeMap::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            match header.trim_end().split_once(':') {
                Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()),
                None => break,
            };
        }
        let range = headers.get("range").and_then(|r| r.strip_prefix("bytes=")?.split_once('-')).and_then(|(a, b)| {
            Some((a.parse::<u64>().ok()?, if b.is_empty() { u64::MAX } else { b.parse::<u64>().ok()? + 1 }))
        });
        let authorization = headers.get("authorization").cloned();
        let length = headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or_default();
        io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
        let storage = port == Port::Storage;
        let request = Seen { method, path, port, storage, authorization, range };
        shared.seen.lock().unwrap().push(request.clone());
        let mut answer = shared.answer(&request);
        if storage {
            let mut busy = shared.busy.lock().unwrap();
            *busy = (busy.0 + 1, busy.1.max(busy.0 + 1));
            if busy.0 > shared.limit.load(Ordering::Relaxed) {
                shared.faulted.fetch_add(1, Ordering::Relaxed);
                answer = Answer::error(503, "", "too many connections");
            }
        }
        let sent = shared.send(reader.get_mut(), host, &request, answer);
        if storage {
            shared.busy.lock().unwrap().0 -= 1;
        }
        if !sent? {
            return Ok(());
        }
    }
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
    fault: Option<Box<Fault>>,
}

enum Body {
    Text(Vec<u8>),
    /// A range of a content.
    Part(Content, u64, u64),
}

impl Answer {
    fn json(value: &Value) -> Answer {
        let headers = vec![("Content-Type".into(), "application/json".into())];
        Answer { status: 200, headers, body: Body::Text(value.to_string().into_bytes()), fault: None }
    }

    fn error(status: u16, code: &str, message: &str) -> Answer {
        let mut answer = Answer { status, ..Answer::json(&json!({"error": message})) };
        answer.headers.push(("X-Error-Code".into(), code.into()));
        answer.headers.push(("X-Error-Message".into(), message.into()));
        answer
    }

    /// The body as gzip, whatever the encoding is called.
    fn encoded(self, encoding: &str) -> Self {
        let bytes = match &self.body {
            Body::Text(text) => text.clone(),
            Body::Part(Content::Bytes(bytes), from, to) => bytes[*from as usize..*to as usize].to_vec(),
            Body::Part(Content::File(path), from, to) => {
                std::fs::read(path).unwrap()[*from as usize..*to as usize].to_vec()
            }
        };
        Answer { body: Body::Text(gzip(&bytes)), ..self }.header("Content-Encoding", encoding)
    }

    fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl Shared {
    /// The first fault for such a request, counted down.
    fn take_fault(&self, at: At) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|r| r.at == at && r.times > 0)?;
        rule.times -= 1;
        self.faulted.fetch_add(1, Ordering::Relaxed);
        Some(rule.fault.clone())
    }

    fn answer(&self, request: &Seen) -> Answer {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let parts: Vec<String> = path.trim_start_matches('/').split('/').map(decode).collect();
        let via = parts.first().is_some_and(|p| p.starts_with("via "));
        let parts: Vec<&str> = parts.iter().skip(usize::from(via)).map(String::as_str).collect();
        let at = match parts.as_slice() {
            ["xorb", ..] if request.storage => At::Xorb,
            _ if request.storage => At::Storage,
            _ if request.port == Port::Xet => At::Xet,
            ["api", "models", _, _, "xet-read-token", _] => At::XetToken,
            ["api", ..] => At::Api,
            _ => At::Resolve,
        };
        // A chain of redirects carries how many are left in its query.
        let left = query.strip_prefix("left=").and_then(|n| n.split('-').next()?.parse::<u32>().ok());
        let fault = if left.is_some() || via { None } else { self.take_fault(at) };
        if let Some((status, n)) = match (&fault, left) {
            (Some(Fault::Redirects(status, n)), _) => Some((*status, *n)),
            (_, Some(n)) if n > 0 => {
                Some((query.rsplit('-').next().and_then(|s| s.parse().ok()).unwrap_or(302), n - 1))
            }
            _ => None,
        } {
            return Answer { status, ..Answer::json(&json!({})) }
                .header("Location", format!("{path}?left={n}-{status}"));
        }
        match &fault {
            Some(Fault::Status(status, after)) => {
                let answer = Answer::error(*status, "", "a fault of the test");
                return match after {
                    Some(seconds) => answer.header("Retry-After", seconds.to_string()),
                    None => answer,
                };
            }
            Some(Fault::Until(after, now)) => {
                return Answer::error(503, "", "a fault of the test").header("Retry-After", after).header("Date", now);
            }
            Some(Fault::RedirectTo(url)) => {
                return Answer { status: 302, ..Answer::json(&json!({})) }.header("Location", url);
            }
            Some(Fault::Says(status, headers, text)) => {
                let answer = Answer { status: *status, headers: Vec::new(), ..Answer::json(&json!({})) };
                let answer = headers.iter().fold(answer, |answer, (name, value)| answer.header(name, value));
                return Answer { body: Body::Text(text.clone().into_bytes()), ..answer };
            }
            Some(Fault::Via(prefix, query)) => {
                return Answer { status: 302, ..Answer::json(&json!({})) }
                    .header("Location", format!("/via {prefix}{path}?{query}"));
            }
            Some(Fault::Garbage(text)) => {
                return Answer { body: Body::Text(text.clone().into_bytes()), ..Answer::json(&json!({})) };
            }
            _ => {}
        }
        let mut answer = match at {
            At::Storage => self.storage_answer(request, &parts, &fault),
            At::XetToken => self.xet_token(request, &parts),
            At::Xet => self.xet_answer(request, &parts),
            At::Xorb => self.xorb(request, &parts, query, &fault),
            At::Api => self.api(request, &parts, query, &fault),
            At::Resolve => self.resolve(request, &parts, &fault),
        };
        if let Some(Fault::HugeHeader(bytes)) = &fault {
            answer = answer.header("X-Huge", "x".repeat(*bytes));
        }
        if let Some(Fault::Link(template)) = &fault {
            for (_, value) in answer.headers.iter_mut().filter(|(name, _)| name == "Link") {
                let next = value.split(['<', '>']).nth(1).unwrap().trim_start_matches("HOST").to_owned();
                let (path, query) = next.split_once('?').unwrap();
                *value = template.replace("PATH", path).replace("QUERY", query);
            }
        }
        if let Some(Fault::Encoded(encoding)) = &fault {
            answer = answer.encoded(encoding);
        }
        answer.fault = fault.map(Box::new);
        answer
    }

    /// The repository, if the request may read it.
    fn find(&self, id: &str, request: &Seen) -> Result<Arc<Repo>, Answer> {
        let missing = || Answer::error(401, "RepoNotFound", "Repository not found");
        let repo = self.repos.lock().unwrap().iter().find(|r| r.id == id).cloned().ok_or_else(missing)?;
        let given = request.authorization.as_deref().and_then(|a| a.strip_prefix("Bearer "));
        match &repo.token {
            Some(token) if given != Some(token) => Err(missing()),
            _ => Ok(repo),
        }
    }

    /// The list of models, filtered, sorted and in pages as the query wants.
    fn list(&self, request: &Seen, query: &str) -> Answer {
        let query: Vec<(String, String)> = query
            .split('&')
            .filter_map(|p| p.split_once('='))
            .map(|(k, v)| (decode(k), decode(&v.replace('+', " "))))
            .collect();
        let all = |key: &str| query.iter().filter(|(k, _)| k == key).map(|(_, v)| v.as_str()).collect::<Vec<_>>();
        let first = |key: &str| all(key).first().copied();
        let text = |v: &Value, key: &str| v.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let given = request.authorization.as_deref().and_then(|a| a.strip_prefix("Bearer "));
        let repos = self.repos.lock().unwrap().clone();
        let visible = repos.iter().filter(|r| r.token.is_none() || r.token.as_deref() == given);
        let mut found: Vec<Value> = visible.map(|r| r.info()).collect();
        found.retain(|m| {
            let tags = m["tags"].as_array().cloned().unwrap_or_default();
            let has = |tag: &str| {
                tags.iter().any(|t| t == tag) || text(m, "library_name") == tag || text(m, "pipeline_tag") == tag
            };
            let gated = m["gated"] != json!(false);
            all("filter").iter().all(|tag| has(tag))
                && first("search").is_none_or(|t| text(m, "id").to_lowercase().contains(&t.to_lowercase()))
                && first("author").is_none_or(|a| text(m, "author") == a)
                && first("pipeline_tag").is_none_or(|t| text(m, "pipeline_tag") == t)
                && first("gated").is_none_or(|g| (g.to_lowercase() == "true") == gated)
        });
        if let Some(key) = first("sort") {
            found.sort_by(|a, b| match (a[key].as_f64(), b[key].as_f64()) {
                (Some(a), Some(b)) => b.total_cmp(&a),
                _ => text(b, key).cmp(&text(a, key)),
            });
        }
        let limit: usize = first("limit").and_then(|n| n.parse().ok()).unwrap_or(1000);
        let from: usize = first("cursor").and_then(|n| n.parse().ok()).unwrap_or(0);
        // As the Hub's, a page may be shorter than what is asked for.
        let until = (from + limit.min(PAGE)).min(found.len());
        let expand = all("expand");
        let page: Value = found[from.min(until)..until]
            .iter()
            .map(|m| {
                let mut m = m.as_object().unwrap().clone();
                let always = |k: &str| matches!(k, "_id" | "id" | "modelId");
                let plain =
                    |k: &str| !matches!(k, "config" | "cardData" | "safetensors" | "author" | "lastModified" | "gated");
                match expand.is_empty() {
                    true => m.retain(|k, _| plain(k)),
                    false => m.retain(|k, _| always(k) || expand.contains(&k.as_str())),
                }
                Value::Object(m)
            })
            .collect();
        let answer = Answer::json(&page);
        match until < found.len() {
            true => {
                let rest =
                    query.iter().filter(|(k, _)| k != "cursor").map(|(k, v)| format!("{k}={}&", v.replace(' ', "+")));
                let url = format!("HOST/api/models?{}cursor={until}", rest.collect::<String>());
                answer.header("Link", format!("<{url}>; rel=\"next\""))
            }
            false => answer,
        }
    }

    fn api(&self, request: &Seen, parts: &[&str], query: &str, fault: &Option<Fault>) -> Answer {
        if parts == ["api", "models"] {
            return self.list(request, query);
        }
        let ["api", "models", org, name, rest @ ..] = parts else { return Answer::error(404, "", "no such page") };
        let repo = match self.find(&format!("{org}/{name}"), request) {
            Ok(repo) => repo,
            Err(answer) => return answer,
        };
        let unknown = |revision: &str| Answer::error(404, "RevisionNotFound", &format!("Invalid rev id: {revision}"));
        match rest {
            [] | ["revision", _] => {
                let revision = rest.get(1).copied().unwrap_or("main");
                if !repo.knows(revision) {
                    return unknown(revision);
                }
                let mut info = repo.info();
                info["siblings"] = repo.files.keys().map(|n| json!({"rfilename": n})).collect();
                Answer::json(&info)
            }
            ["tree", revision] => {
                if !repo.knows(revision) {
                    return unknown(revision);
                }
                let from: usize =
                    query.split('&').find_map(|p| p.strip_prefix("cursor=")?.parse().ok()).unwrap_or_default();
                let missing = |name: &str| matches!(fault, Some(Fault::Without(other)) if other == name);
                let page = repo.files.iter().skip(from).take(PAGE).filter(|(name, _)| !missing(name));
                let entries = page.map(|(name, file)| {
                    let mut entry = json!({"type": "file", "path": name, "size": file.size, "oid": file.sha1});
                    if let Some(sha256) = &file.sha256 {
                        entry["lfs"] = json!({"oid": sha256, "size": file.size, "pointerSize": 134});
                    }
                    if let Some(xet) = &file.xet {
                        entry["xetHash"] = json!(xet);
                    }
                    entry
                });
                let answer = Answer::json(&entries.collect());
                match from + PAGE < repo.files.len() {
                    true => {
                        let host = "HOST/api/models";
                        let url = format!("{host}/{}/tree/{revision}?recursive=true&cursor={}", repo.id, from + PAGE);
                        answer.header("Link", format!("<{url}>; rel=\"next\""))
                    }
                    false => answer,
                }
            }
            _ => Answer::error(404, "", "no such page"),
        }
    }

    fn resolve(&self, request: &Seen, parts: &[&str], fault: &Option<Fault>) -> Answer {
        let [org, name, "resolve", revision, file @ ..] = parts else { return Answer::error(404, "", "no such page") };
        let repo = match self.find(&format!("{org}/{name}"), request) {
            Ok(repo) => repo,
            Err(answer) => return answer,
        };
        if repo.gated {
            return Answer::error(
                if request.authorization.is_some() { 403 } else { 401 },
                "GatedRepo",
                "Access to this model is restricted.",
            );
        }
        if !repo.knows(revision) {
            return Answer::error(404, "RevisionNotFound", "Invalid rev id");
        }
        let Some(stored) = repo.files.get(&file.join("/")) else {
            return Answer::error(404, "EntryNotFound", "Entry not found").header("X-Repo-Commit", &repo.commit);
        };
        let claimed = match fault {
            Some(Fault::WrongSize(by)) => stored.size.saturating_add_signed(*by),
            _ => stored.size,
        };
        let answer = match &stored.sha256 {
            Some(sha256) => {
                let etag = match fault {
                    Some(Fault::ChangeEtag) => format!("{:064x}", self.etags.fetch_add(1, Ordering::Relaxed)),
                    _ => sha256.clone(),
                };
                let url = format!("{}/blob/{sha256}?Signature=secret", self.storage.lock().unwrap());
                Answer { status: 302, ..Answer::json(&json!({})) }
                    .header("Location", url)
                    .header("X-Linked-Etag", format!("\"{etag}\""))
                    .header("X-Linked-Size", claimed.to_string())
                    .header("ETag", format!("\"{}\"", stored.sha1))
            }
            None => self.file(request, stored, &stored.sha1, fault),
        };
        let answer = answer.header("X-Repo-Commit", &repo.commit);
        match &stored.xet {
            Some(hash) => {
                let token = format!("HOST/api/models/{}/xet-read-token/{}", repo.id, repo.commit);
                let info = format!("{}/v1/reconstructions/{hash}", self.xet_url.lock().unwrap());
                let link = format!("<{token}>; rel=\"xet-auth\", <{info}>; rel=\"xet-reconstruction-info\"");
                answer.header("X-Xet-Hash", hash).header("X-Xet-Refresh-Route", token).header("Link", link)
            }
            None => answer,
        }
    }

    /// A token for Xet storage, in JSON and in headers.
    fn xet_token(&self, request: &Seen, parts: &[&str]) -> Answer {
        let [_, _, org, name, _, revision] = parts else { return Answer::error(404, "", "no such page") };
        let repo = match self.find(&format!("{org}/{name}"), request) {
            Ok(repo) => repo,
            Err(answer) => return answer,
        };
        if repo.gated {
            return Answer::error(403, "GatedRepo", "Access to this model is restricted.");
        }
        if !repo.knows(revision) {
            return Answer::error(404, "RevisionNotFound", "Invalid rev id");
        }
        let token = format!("xet-{}", self.xet_tokens.fetch_add(1, Ordering::Relaxed));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let (url, until) = (self.xet_url.lock().unwrap().clone(), now + self.xet_life.load(Ordering::Relaxed));
        Answer::json(&json!({"accessToken": token, "exp": until, "casUrl": url}))
            .header("X-Xet-Cas-Url", url)
            .header("X-Xet-Access-Token", token)
            .header("X-Xet-Token-Expiration", until.to_string())
    }

    fn xet_answer(&self, request: &Seen, parts: &[&str]) -> Answer {
        let given = request.authorization.as_deref().and_then(|a| a.strip_prefix("Bearer xet-")?.parse().ok());
        if given.is_none_or(|n: u64| n < self.xet_expired.load(Ordering::Relaxed)) {
            return Answer::error(401, "", "no valid token");
        }
        let ["v1", "reconstructions", hash] = parts else { return Answer::error(404, "", "no such page") };
        match self.xet.reconstruction(hash, request.range, &self.storage.lock().unwrap()) {
            Ok(json) => {
                let bytes = json.to_string().into_bytes();
                let length = bytes.len() as u64;
                // As content, which faults can cut, damage and hold back.
                Answer { body: Body::Part(Content::Bytes(Arc::new(bytes)), 0, length), ..Answer::json(&json) }
            }
            Err(status) => Answer::error(status, "", "no such file or range"),
        }
    }

    /// A part of a xorb: the one that the address was signed for, and without any other authorization.
    fn xorb(&self, request: &Seen, parts: &[&str], query: &str, fault: &Option<Fault>) -> Answer {
        let signed = query.strip_prefix("signed=").and_then(|s| s.split_once('-'));
        let signed = signed.and_then(|(a, b)| Some((a.parse().ok()?, b.parse::<u64>().ok()? + 1)));
        if signed.is_none() || request.range != signed {
            return Answer::error(403, "", "not signed for this range");
        }
        if request.authorization.is_some() {
            return Answer::error(400, "", "authorized twice");
        }
        match parts.get(1).and_then(|hash| self.xet.xorb(hash)) {
            Some(bytes) => {
                let size = bytes.len() as u64;
                let stored =
                    Stored { content: Content::Bytes(bytes), size, sha1: String::new(), sha256: None, xet: None };
                self.file(request, &stored, "xorb", fault)
            }
            None => Answer::error(404, "", "no such xorb"),
        }
    }

    fn storage_answer(&self, request: &Seen, parts: &[&str], fault: &Option<Fault>) -> Answer {
        let repos = self.repos.lock().unwrap().clone();
        let stored = |sum: &str| repos.iter().flat_map(|r| r.files.values()).find(|f| f.sha256.as_deref() == Some(sum));
        match parts {
            ["blob", sum] => match stored(sum) {
                Some(file) => self.file(request, file, &format!("storage-{}", &sum[..8]), fault),
                None => Answer::error(404, "", "no such blob"),
            },
            _ => Answer::error(404, "", "no such page"),
        }
    }

    /// A file or a range of it.
    fn file(&self, request: &Seen, stored: &Stored, etag: &str, fault: &Option<Fault>) -> Answer {
        let size = stored.size;
        let etag = match fault {
            Some(Fault::ChangeEtag) => format!("{:040x}", self.etags.fetch_add(1, Ordering::Relaxed)),
            _ => etag.to_owned(),
        };
        let part = |a, b| Body::Part(stored.content.clone(), a, b);
        let whole = || Answer { status: 200, headers: Vec::new(), body: part(0, size), fault: None };
        let answer = match request.range {
            None => whole(),
            Some(_) if matches!(fault, Some(Fault::NoRange)) => whole(),
            Some((start, _)) if start >= size => {
                return Answer::error(416, "", "").header("Content-Range", format!("bytes */{size}"));
            }
            Some((start, end)) => {
                let (mut start, end) = (start, end.min(size));
                if matches!(fault, Some(Fault::WrongRange)) && end > start + 1 {
                    start += 1;
                }
                let range = format!("bytes {start}-{}/{size}", end - 1);
                Answer { status: 206, headers: Vec::new(), body: part(start, end), fault: None }
                    .header("Content-Range", range)
            }
        };
        answer.header("ETag", format!("\"{etag}\"")).header("Accept-Ranges", "bytes")
    }

    /// Sends an answer; false if the connection is to be closed.
    fn send(&self, stream: &mut impl Stream, host: &str, request: &Seen, answer: Answer) -> io::Result<bool> {
        let length = match &answer.body {
            Body::Text(text) => text.len() as u64,
            Body::Part(_, start, end) => end - start,
        };
        let told = match answer.fault.as_deref() {
            Some(Fault::WrongSize(by)) => length.saturating_add_signed(*by),
            _ => length,
        };
        let mut head = format!("HTTP/1.1 {} Whatever\r\nContent-Length: {told}\r\n", answer.status);
        for (name, value) in &answer.headers {
            head += &format!("{name}: {}\r\n", value.replace("HOST", host));
        }
        stream.write_all((head + "\r\n").as_bytes())?;
        if request.method == "HEAD" {
            return Ok(true);
        }
        let sent = match &answer.body {
            Body::Text(text) => stream.write_all(text).map(|()| text.len() as u64),
            Body::Part(content, start, end) => self.send_part(stream, content, *start, *end, answer.fault.as_deref()),
        }?;
        // After a wrong length nothing else can follow.
        Ok(sent == told)
    }

    /// Sends a range of a file as the fault wants; returns how many bytes.
    fn send_part(
        &self,
        stream: &mut impl Stream,
        content: &Content,
        start: u64,
        end: u64,
        fault: Option<&Fault>,
    ) -> io::Result<u64> {
        let stop = match fault {
            Some(Fault::Truncate(bytes) | Fault::Stall(bytes)) => end.min(start + bytes),
            _ => end,
        };
        let rate = match fault {
            Some(Fault::Drip(rate)) => *rate,
            _ => self.rate.load(Ordering::Relaxed),
        };
        if let (Content::File(path), 0, None) = (content, rate, fault) {
            // The kernel copies.
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(start))?;
            let sent = io::copy(&mut file.take(end - start), stream)?;
            self.sent.fetch_add(sent, Ordering::Relaxed);
            return Ok(sent);
        }
        let mut file = match content {
            Content::Bytes(_) => None,
            Content::File(path) => Some(File::open(path)?),
        };
        let began = Instant::now();
        let mut at = start;
        let mut buffer = vec![0; if rate > 0 { (rate / 50).clamp(1, 256 << 10) as usize } else { 256 << 10 }];
        while at < stop && !self.stopped.load(Ordering::Relaxed) {
            let n = (buffer.len() as u64).min(stop - at) as usize;
            match (content, &mut file) {
                (Content::Bytes(bytes), _) => buffer[..n].copy_from_slice(&bytes[at as usize..at as usize + n]),
                (_, Some(file)) => {
                    file.seek(SeekFrom::Start(at))?;
                    file.read_exact(&mut buffer[..n])?;
                }
                _ => unreachable!(),
            }
            if let Some(Fault::Corrupt(byte)) = fault
                && (at..at + n as u64).contains(byte)
            {
                buffer[(byte - at) as usize] ^= 0x20;
            }
            stream.write_all(&buffer[..n])?;
            at += n as u64;
            self.sent.fetch_add(n as u64, Ordering::Relaxed);
            if rate > 0 {
                let due = Duration::from_secs_f64((at - start) as f64 / rate as f64);
                thread::sleep(due.saturating_sub(began.elapsed()));
            }
        }
        if matches!(fault, Some(Fault::Stall(_))) {
            // Until the client has had enough.
            let _ = stream.read(&mut [0]);
        }
        Ok(at - start)
    }
}

/// Gzip without compression.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut pieces = bytes.chunks(0xffff).peekable();
    if bytes.is_empty() {
        out.extend([1, 0, 0, 0xff, 0xff]);
    }
    while let Some(piece) = pieces.next() {
        out.push(u8::from(pieces.peek().is_none()));
        out.extend((piece.len() as u16).to_le_bytes());
        out.extend((!(piece.len() as u16)).to_le_bytes());
        out.extend(piece);
    }
    let crc = bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    });
    out.extend((!crc).to_le_bytes());
    out.extend((bytes.len() as u32).to_le_bytes());
    out
}

fn decode(part: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let pair = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&pair).unwrap_or("0"), 16).unwrap_or(0));
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
