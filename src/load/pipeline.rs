//! The steps of a load.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::info::{ModelInfo, QuantizationInfo};
use super::{Checkpoints, LoadEvent, LoadingError, LoadingPhase, ModelConfiguration, ModelSource, WeightDtype};
use crate::array::fused;
use crate::array::io::ReadProgress;
use crate::array::{self, Array, Dtype, memory};
use crate::error::{Error, ErrorKind, Result};
use crate::files::{MAX_CONFIG, parse_json, read_json_if_there, read_text};
use crate::generate;
use crate::hub::{Catalog, Place};
use crate::hub::{Download, DownloadRequest, InUse, Storage};
use crate::models::LanguageModel;
use crate::models::registry::{self, Architecture};
use crate::models::shape::ModelShape;
use crate::progress::{Progress, Stage};
use crate::threads;
use crate::tokenizer::{Tokenizer, TokenizerOptions};
use crate::weights::quantization::Quantization;
use crate::weights::{Checkpoint, Parameter, Weights};

/// Bytes of weights that are computed at once: the work of one step, and the longest that a cancel waits.
const GROUP_BYTES: usize = 64 << 20;

/// How long a step waits for a thread that opens files: nobody notices it where files are at hand, nor do other jobs where
/// they are not.
const GLANCE: Duration = Duration::from_millis(1);

/// How often progress within a file is checked.
const TICK: Duration = Duration::from_millis(20);

/// A running load. Lives on the thread where the model will.
pub struct Loader {
    configuration: ModelConfiguration,
    cancelled: Arc<AtomicBool>,
    paused: Arc<AtomicBool>,
    started: Instant,
    /// The phase that was reported last.
    phase: LoadingPhase,
    /// The phase of the work at hand, where it fails before there is anything to report of it.
    working: LoadingPhase,
    estimated_progress: f64,
    checkpoints: Checkpoints,
    /// The last reported progress of the download or the reading.
    progress: Option<Progress>,
    /// Its location in a models directory; from the first step on.
    place: Option<Place>,
    /// The lock that keeps the files of a models directory from being removed or moved while they are read.
    in_use: Option<InUse>,
    state: State,
}

/// The result of a load.
pub struct Loaded {
    /// The model, for the thread it was loaded on.
    pub network: Rc<dyn LanguageModel>,
    /// Its tokenizer.
    pub tokenizer: Option<Tokenizer>,
    /// Facts about it.
    pub info: ModelInfo,
    /// Its `config.json`.
    pub config: Value,
    /// Its sizes.
    pub shape: ModelShape,
    /// Bytes of a number of the activations.
    pub element_bytes: u64,
}

/// Where events go.
type Emit<'a> = &'a mut dyn FnMut(&LoadEvent);

/// The next step.
enum State {
    Configuration,
    Downloading(Download),
    Opening(Receiver<Result<Configured>>),
    Weights(Box<Configured>, Receiver<Result<Checkpoint>>),
    Reading(Box<Reading>),
    Tokenizer(Box<Built>),
    Initialization(Box<Built>, Option<Tokenizer>),
    Over,
}

/// The configuration is read and its architecture known.
struct Configured {
    directory: PathBuf,
    architecture: &'static Architecture,
    shape: ModelShape,
    config: Value,
    eos: Vec<u32>,
    tokenizer: Receiver<Result<Option<Tokenizer>>>,
}

/// The model is built from lazy weights, which are being read.
struct Reading {
    built: Built,
    plan: std::iter::Peekable<std::vec::IntoIter<Parameter>>,
    progress: Arc<ReadProgress>,
    files: Vec<String>,
    total: u64,
}

/// The model; the tokenizer may still be read.
struct Built {
    configured: Configured,
    model: Rc<dyn LanguageModel>,
    quantization: Option<Quantization>,
    parameters: u64,
    weight_bytes: u64,
    weight_files: usize,
}

impl Loader {
    /// A load that stops within one step when `cancelled` becomes true, and does not download while `paused` is.
    pub fn new(configuration: ModelConfiguration, cancelled: Arc<AtomicBool>, paused: Arc<AtomicBool>) -> Loader {
        let first = match configuration.source {
            ModelSource::Directory(_) => LoadingPhase::ReadingConfig,
            ModelSource::Hub { .. } => LoadingPhase::DownloadingConfig,
        };
        Loader {
            configuration,
            cancelled,
            paused,
            started: Instant::now(),
            phase: first,
            working: first,
            estimated_progress: 0.0,
            checkpoints: Checkpoints::default(),
            progress: None,
            place: None,
            in_use: None,
            state: State::Configuration,
        }
    }

    /// Reports a phase, or progress within the current one.
    fn enter(&mut self, phase: LoadingPhase, progress: Option<Progress>, emit: Emit) {
        self.tell(phase, progress, None, emit);
    }

    fn tell(&mut self, phase: LoadingPhase, progress: Option<Progress>, failure: Option<LoadingError>, emit: Emit) {
        self.estimated_progress = match phase {
            LoadingPhase::Failed | LoadingPhase::Cancelled => 0.0,
            _ => phase.estimated_progress(progress.as_ref()).max(self.estimated_progress),
        };
        self.checkpoints.reach(phase);
        let event = LoadEvent {
            phase,
            estimated_progress: self.estimated_progress,
            checkpoint: self.checkpoints.last(),
            progress,
            failure,
            memory_bytes: memory::active(),
            elapsed: self.started.elapsed(),
        };
        if phase != self.phase || phase.is_terminal() {
            log::info!("{}: {}", self.configuration.name(), event.description());
        }
        (self.phase, self.working) = (phase, phase);
        emit(&event);
        self.progress = event.progress;
    }

    /// Reports that the model can be used.
    pub fn ready(&mut self, emit: Emit) {
        self.enter(LoadingPhase::Ready, None, emit);
    }

    /// Reports the failure, or that it was cancelled.
    pub fn fail(&mut self, error: &Error, emit: Emit) {
        let failed = LoadingError::new(self.working, error);
        let phase = match error.kind() {
            ErrorKind::Cancelled => LoadingPhase::Cancelled,
            _ => LoadingPhase::Failed,
        };
        self.tell(phase, None, Some(failed), emit);
    }

    /// Frees what was read. For gigabytes that takes a while, so it comes after everyone was told.
    pub fn discard(&mut self) {
        self.state = State::Over;
        self.in_use = None;
        let _ = array::synchronize();
        memory::clear_cache();
    }

    fn check_cancel(&self) -> Result<()> {
        match self.cancelled.load(Ordering::Acquire) {
            true => Err(Error::cancelled()),
            false => Ok(()),
        }
    }

    /// Does one step; returns the model when that was the last.
    pub fn advance(&mut self, emit: Emit) -> Result<Option<Loaded>> {
        self.check_cancel()?;
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Configuration => {
                let found = self.find();
                let phase = match &found {
                    Ok(Some(_)) => LoadingPhase::ReadingConfig,
                    _ => self.phase,
                };
                self.enter(phase, None, emit);
                self.check_cancel()?;
                match found? {
                    Some(directory) => self.open(directory)?,
                    None => self.start_download()?,
                }
            }
            State::Downloading(download) => match download.wait_for(Duration::ZERO) {
                None => {
                    download.set_paused(self.paused.load(Ordering::Acquire));
                    self.download_event(&download, emit);
                    State::Downloading(download)
                }
                Some(directory) => {
                    let directory = directory?;
                    self.download_event(&download, emit);
                    self.use_model()?;
                    self.open(directory)?
                }
            },
            State::Opening(opened) => match opened.recv_timeout(GLANCE) {
                Err(RecvTimeoutError::Timeout) => State::Opening(opened),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(ErrorKind::Panic, "reading the configuration panicked"));
                }
                Ok(configured) => {
                    let configured = configured?;
                    self.working = LoadingPhase::LoadingWeights;
                    let directory = configured.directory.clone();
                    let checkpoint = elsewhere("mlx-headers", move || Checkpoint::open(&directory))?;
                    State::Weights(Box::new(configured), checkpoint)
                }
            },
            State::Weights(configured, checkpoint) => match checkpoint.recv_timeout(GLANCE) {
                Err(RecvTimeoutError::Timeout) => State::Weights(configured, checkpoint),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(ErrorKind::Panic, "reading the headers of the weights panicked"));
                }
                Ok(checkpoint) => State::Reading(Box::new(self.build(*configured, checkpoint?, emit)?)),
            },
            State::Reading(mut reading) => match self.read_group(&mut reading, emit) {
                Ok(true) => State::Reading(reading),
                Err(error) => {
                    // Freeing what was read is left to `discard`.
                    self.state = State::Reading(reading);
                    return Err(error);
                }
                Ok(false) => {
                    self.enter(LoadingPhase::LoadingTokenizer, None, emit);
                    State::Tokenizer(Box::new(reading.built))
                }
            },
            State::Tokenizer(built) => match built.configured.tokenizer.recv_timeout(TICK) {
                Err(RecvTimeoutError::Timeout) => State::Tokenizer(built),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(ErrorKind::Panic, "reading the tokenizer panicked"));
                }
                Ok(tokenizer) => {
                    let tokenizer = tokenizer?.map(|t| self.with_extra_eos(t));
                    if let Some(Err(error)) = tokenizer.as_ref().map(Tokenizer::check_chat_templates) {
                        log::warn!("{}: the chat template cannot be used: {error}", self.configuration.name());
                    }
                    self.enter(LoadingPhase::InitializingModel, None, emit);
                    State::Initialization(built, tokenizer)
                }
            },
            State::Initialization(built, tokenizer) => {
                generate::warm_up(&*built.model)?;
                self.check_cancel()?;
                self.used();
                return self.finish(*built, tokenizer).map(Some);
            }
            State::Over => return Err(Error::internal("the load is over")),
        };
        Ok(None)
    }

    /// The directory of a model that is on the disk, which from here on stays there.
    fn find(&mut self) -> Result<Option<PathBuf>> {
        self.place = self.configuration.place()?;
        self.use_model()?;
        self.configuration.resolve_for_load()
    }

    /// Opens the files, which may take as long as a file system wants: not on this thread.
    fn open(&mut self, directory: PathBuf) -> Result<State> {
        self.working = LoadingPhase::ReadingConfig;
        let options = &self.configuration.options;
        let source = match &options.tokenizer_directory {
            _ if options.without_tokenizer => None,
            Some(other) => Some(other.clone()),
            None => Some(directory.clone()),
        };
        elsewhere("mlx-configuration", move || configure(directory, source)).map(State::Opening)
    }

    /// The tokenizer, also ending at the tokens that the catalogue has for the model.
    fn with_extra_eos(&self, tokenizer: Tokenizer) -> Tokenizer {
        let Some(Place { id, .. }) = &self.place else { return tokenizer };
        let entry = match &self.configuration.hub {
            Some(hub) => hub.catalog().get(id),
            None => Catalog::default().get(id),
        };
        let Some(entry) = entry else { return tokenizer };
        let mut ids = tokenizer.eos_token_ids().to_vec();
        for token in &entry.extra_eos {
            match tokenizer.token_to_id(token) {
                Some(id) => ids.push(id),
                None => log::warn!("{id}: the catalogue's extra_eos {token:?} is not a token of it"),
            }
        }
        tokenizer.with_eos(&ids)
    }

    /// Counts the use; from here on the files may be removed.
    fn used(&mut self) {
        if let Some(Place { directory, id }) = &self.place {
            Storage::new(directory).mark_used(id);
        }
        self.in_use = None;
    }

    /// Keeps the model from being removed until this load is over.
    fn use_model(&mut self) -> Result<()> {
        let Some(Place { directory, id }) = &self.place else { return Ok(()) };
        let storage = Storage::new(directory);
        // What is not there yet is kept by its download.
        if !storage.has(id)? {
            return Ok(());
        }
        let busy = || Error::new(ErrorKind::Busy, format!("{id} is being removed or moved"));
        self.in_use = Some(storage.in_use(id)?.ok_or_else(busy)?);
        Ok(())
    }

    fn start_download(&self) -> Result<State> {
        let ModelSource::Hub { id, revision } = &self.configuration.source else {
            return Err(Error::internal("a directory is not downloaded"));
        };
        // What cannot be run is not downloaded.
        let request = DownloadRequest {
            check: Some(Box::new(check_config)),
            cached_will_do: true,
            ..DownloadRequest::new(id, revision.clone())
        };
        self.configuration.hub_or_env()?.download(request).map(State::Downloading)
    }

    /// Whether the next step has nothing to do but to look at a download.
    pub fn is_downloading(&self) -> bool {
        matches!(self.state, State::Downloading(_))
    }

    /// Reports how a download goes, not too often.
    fn download_event(&mut self, download: &Download, emit: Emit) {
        let progress = download.progress();
        let phase = match progress.stage {
            Stage::Weights if progress.file_index > 0 => LoadingPhase::DownloadingWeights,
            _ => LoadingPhase::DownloadingConfig,
        };
        if phase != self.phase || !self.progress.as_ref().is_some_and(|old| old.is_where(&progress)) {
            self.enter(phase, Some(progress), emit);
        }
    }

    /// Builds the model from tensors that are not read yet; all headers are sound.
    fn build(&mut self, configured: Configured, mut checkpoint: Checkpoint, emit: Emit) -> Result<Reading> {
        let quantization = Quantization::from_config(&configured.config)?;
        let total = checkpoint.data_bytes();
        let files: Vec<String> = checkpoint.files.iter().map(|f| f.name.clone()).collect();
        self.enter(LoadingPhase::LoadingWeights, Some(reading_progress(&files, 0, 0, total)), emit);
        self.check_cancel()?;
        let dtype = match self.configuration.options.dtype() {
            WeightDtype::Stored => None,
            WeightDtype::F32 => Some(Dtype::F32),
            WeightDtype::F16 => Some(Dtype::F16),
            WeightDtype::Bf16 => Some(Dtype::Bf16),
            WeightDtype::Auto => {
                // MLX's own CPU products of quantized weights are inaccurate in half precision.
                (quantization.is_some() && !fused::is_accurate_in_half()).then_some(Dtype::F32)
            }
        };
        if let Some(dtype) = dtype {
            log::info!("{}: floating-point weights become {dtype}", self.configuration.name());
        }
        let progress = ReadProgress::new(self.cancelled.clone());
        let weights = Weights::open(&mut checkpoint, quantization.clone(), dtype, progress.clone())?;
        let model = configured.architecture.build(&configured.config, &weights)?.language()?;
        let parameters = weights.parameter_count();
        weights.finish()?;
        let built = Built {
            model: model.into(),
            quantization,
            parameters,
            weight_bytes: total,
            weight_files: files.len(),
            configured,
        };
        Ok(Reading { built, plan: weights.into_plan().into_iter().peekable(), progress, files, total })
    }

    /// Reads the next parameters; false when none is left.
    fn read_group(&mut self, reading: &mut Reading, emit: Emit) -> Result<bool> {
        let Some(first) = reading.plan.peek() else { return Ok(false) };
        let file = first.file;
        let mut group: Vec<Array> = Vec::new();
        let mut pages = Vec::new();
        let mut bytes = 0;
        while let Some(next) = reading.plan.peek()
            && next.file == file
            && (group.is_empty() || bytes + next.bytes <= GROUP_BYTES)
        {
            let next = reading.plan.next().expect("peeked");
            bytes += next.bytes;
            group.push(next.array);
            pages.extend(next.pages);
        }
        let begin = reading.progress.bytes();
        if !pages.is_empty() {
            let mut seen = begin;
            for pages in pages {
                pages.load(&reading.progress, || {
                    let now = reading.progress.bytes();
                    if now - seen >= reading.total / 200 || now >= begin + bytes as u64 {
                        seen = now;
                        self.weights_event(reading, file, now, emit);
                    }
                })?;
            }
            array::eval(&group)?;
            return Ok(true);
        }
        array::async_eval(&group)?;
        let mut seen = begin;
        while seen < begin + bytes as u64 {
            let now = reading.progress.wait_beyond(seen, TICK);
            reading.progress.check()?;
            // At most a few hundred events for the largest model.
            if now - seen >= reading.total / 200 || now >= begin + bytes as u64 {
                seen = now;
                self.weights_event(reading, file, now, emit);
            }
        }
        array::eval(&group)?;
        reading.progress.check()?;
        Ok(true)
    }

    fn weights_event(&mut self, reading: &Reading, file: usize, bytes_done: u64, emit: Emit) {
        let progress = reading_progress(&reading.files, file, bytes_done, reading.total);
        self.enter(LoadingPhase::LoadingWeights, Some(progress), emit);
    }

    fn finish(&self, built: Built, tokenizer: Option<Tokenizer>) -> Result<Loaded> {
        let embedding = built.model.embed(&Array::from_slice(&[0u32], &[1, 1])?)?;
        let config = built.configured.config;
        let number = |key: &str| config.get(key).and_then(Value::as_u64);
        let info = ModelInfo {
            name: self.configuration.name(),
            directory: built.configured.directory,
            model_type: built.configured.architecture.model_type.to_owned(),
            alias_of: built.configured.architecture.alias_of(),
            kind: built.configured.architecture.kind().name(),
            parameters: built.parameters,
            quantization: built.quantization.map(|q| QuantizationInfo {
                mode: q.default.mode.name(),
                bits: q.default.bits,
                group_size: q.default.group_size,
            }),
            context_length: built.model.context_length(),
            vocab_size: built.model.vocab_size(),
            layers: number("num_hidden_layers"),
            hidden_size: number("hidden_size"),
            weight_bytes: built.weight_bytes,
            weight_files: built.weight_files,
            chat_template_error: tokenizer.as_ref().and_then(|t| t.check_chat_templates().err()).map(|e| e.to_string()),
            has_chat_template: tokenizer.as_ref().is_some_and(Tokenizer::has_chat_template),
            // The tokenizer's own end token, where the configuration names none, is among its ids.
            eos_token_ids: tokenizer.as_ref().map_or(built.configured.eos, |t| t.eos_token_ids().to_vec()),
            device: array::device().name(),
            load_seconds: self.started.elapsed().as_secs_f64(),
        };
        Ok(Loaded {
            network: built.model,
            tokenizer,
            info,
            config,
            shape: built.configured.shape,
            element_bytes: embedding.dtype().size() as u64,
        })
    }
}

/// How far the reading of weights is. Files are not counted by themselves: several may be read at once.
fn reading_progress(files: &[String], file: usize, bytes_done: u64, bytes_total: u64) -> Progress {
    Progress {
        stage: Stage::Reading,
        file: files[file].clone(),
        file_index: file + 1,
        total_files: files.len(),
        bytes_done: bytes_done.min(bytes_total),
        bytes_total,
        ..Default::default()
    }
}

/// Looks at a `config.json` as a load does, before anything large is read.
///
/// # Errors
/// If it is malformed, or names an architecture that is not supported.
pub fn check_config(path: &Path) -> Result<()> {
    read_config(path).map(drop)
}

/// Reads `config.json` and finds the architecture that it names.
fn read_config(path: &Path) -> Result<(Value, &'static Architecture, ModelShape)> {
    let config =
        read_text(path, MAX_CONFIG).and_then(|text| parse_json(&text).map_err(|e| e.context(path.display())))?;
    let model_type = config
        .get("model_type")
        .and_then(Value::as_str)
        .ok_or_else(|| Error::invalid_config(format!("{}: model_type is missing", path.display())))?;
    let architecture = registry::find(model_type).map_err(|e| e.context(path.display()))?;
    let shape = architecture.shape(&config)?;
    Ok((config, architecture, shape))
}

/// Reads `config.json` once and refuses what cannot be run, before anything large is touched. `tokenizer` is where the
/// tokenizer is.
fn configure(directory: PathBuf, tokenizer: Option<PathBuf>) -> Result<Configured> {
    let (config, architecture, shape) = read_config(&directory.join("config.json"))?;
    // The generation configuration knows better which tokens end an answer.
    let generation = read_json_if_there(&directory.join("generation_config.json"))?;
    let eos = generation
        .as_ref()
        .and_then(|g| token_ids(g.get("eos_token_id")))
        .filter(|ids| !ids.is_empty())
        .or_else(|| token_ids(config.get("eos_token_id")))
        .unwrap_or_default();
    let options = TokenizerOptions { eos_token_ids: eos.clone(), ..Default::default() };
    // While the weights are read.
    let tokenizer = elsewhere("mlx-tokenizer", move || {
        let tokenizer = tokenizer.map(|directory| Tokenizer::from_directory(&directory, options)).transpose()?;
        // Compiled here, beside the weights; what is wrong with them is told when the load is done.
        let _ = tokenizer.as_ref().map(Tokenizer::check_chat_templates);
        Ok(tokenizer)
    })?;
    Ok(Configured { directory, architecture, shape, config, eos, tokenizer })
}

/// Does something on a thread of its own. If it panics, nothing is received.
fn elsewhere<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<Receiver<Result<T>>> {
    let (sender, receiver) = channel();
    threads::spawn(name, None, move || {
        let _ = sender.send(work());
    })?;
    Ok(receiver)
}

/// One id or a list of ids.
fn token_ids(value: Option<&Value>) -> Option<Vec<u32>> {
    let id = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
    match value? {
        Value::Array(list) => list.iter().map(id).collect(),
        other => id(other).map(|n| vec![n]),
    }
}
