//! The command line's grammar.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mlx_engine::array::{Device, Dtype};
use mlx_engine::cache::{CacheOptions, KvQuantization};
use mlx_engine::engine::EngineOptions;
use mlx_engine::generate::GenerateOptions;
use mlx_engine::generate::sampling::{DryParams, MirostatParams, SamplingParams};
use mlx_engine::hub::Hub;
use mlx_engine::load::{ModelConfiguration, TokenizerSource, WeightDtype};

/// Load and run language models on MLX.
#[derive(Parser)]
#[command(name = "mlxe", version, about)]
pub struct Options {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Chat with a model in the terminal
    Run(RunArgs),
    /// Generate behind a prompt and print the text
    Generate(GenerateArgs),
    /// Write the logits of every position of a sequence to a file
    Logits(LogitsArgs),
    /// Download a model, or what is missing or new of it
    Pull(PullArgs),
    /// Look for models on the Hub
    Search(SearchArgs),
    /// Say what a model takes in memory and whether it fits, without downloading it
    Fit(FitArgs),
    /// List the models on the disk
    List(ListArgs),
    /// Check models on the disk: files, sizes, checksums, leftovers
    Verify(VerifyArgs),
    /// Remove models from the disk
    Rm(RmArgs),
    /// Remove the models that were not used for the longest time until the rest fits a budget
    Prune(PruneArgs),
    /// Take a folder with a model into the models directory
    Import(ImportArgs),
    /// Move all models to another directory
    Mv(MvArgs),
    /// Load a model and show what happens
    Load(LoadArgs),
    /// Turn text into token ids
    Tokenize(TokenizeArgs),
    /// Render chat messages with a model's template
    Template(TemplateArgs),
    /// Say what is known about a model; with an id, what of it is on the disk
    Info(InfoArgs),
    /// List the supported architectures
    Models(ModelsArgs),
    /// Measure a model's speed
    Bench(BenchArgs),
}

/// Which model, and how to load it.
#[derive(Args, Clone)]
pub struct ModelArgs {
    /// A model's directory, or its id (organisation/name) on the Hugging Face Hub; what the cache lacks is downloaded
    #[arg(long, short, value_name = "DIR|ID")]
    pub model: String,
    #[command(flatten)]
    pub how: LoadingArgs,
}

/// How to load a model.
#[derive(Args, Clone)]
pub struct LoadingArgs {
    /// With an id: branch, tag or commit
    #[arg(long)]
    pub revision: Option<String>,
    /// Take the tokenizer from this directory
    #[arg(long, value_name = "DIR")]
    pub tokenizer: Option<PathBuf>,
    /// What floating-point weights are converted to
    #[arg(long, value_enum, default_value_t = DtypeArg::Auto)]
    pub dtype: DtypeArg,
    /// Where to compute; the GPU if there is one
    #[arg(long, value_enum)]
    pub device: Option<DeviceArg>,
    /// Threads of the CPU kernels; one a core if not given
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum DtypeArg {
    Auto,
    Stored,
    F32,
    F16,
    Bf16,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum DeviceArg {
    Cpu,
    Gpu,
}

impl ModelArgs {
    pub fn engine(&self) -> EngineOptions {
        let device = self.how.device.map(|d| match d {
            DeviceArg::Cpu => Device::Cpu,
            DeviceArg::Gpu => Device::Gpu,
        });
        EngineOptions { device, cpu_threads: self.how.threads, ..Default::default() }
    }

    /// What to load. `with_tokenizer` is false for commands that work with token ids only.
    pub fn configuration(&self, with_tokenizer: bool) -> crate::Result<ModelConfiguration> {
        // What exists is a directory; what looks like an id is one; the rest is reported as a missing directory.
        let path = PathBuf::from(&self.model);
        let looks_like_id = !path.exists() && self.model.split('/').count() == 2 && !self.model.starts_with(['.', '/']);
        let configuration = match looks_like_id {
            true => ModelConfiguration::hub(&Hub::from_env()?, &self.model, self.how.revision.clone()),
            false => ModelConfiguration::directory(path),
        };
        let tokenizer = match (&self.how.tokenizer, with_tokenizer) {
            (_, false) => TokenizerSource::None,
            (Some(directory), true) => TokenizerSource::Directory(directory.clone()),
            (None, true) => TokenizerSource::Model,
        };
        let dtype = match self.how.dtype {
            DtypeArg::Auto => WeightDtype::Auto,
            DtypeArg::Stored => WeightDtype::Stored,
            DtypeArg::F32 => WeightDtype::Exactly(Dtype::F32),
            DtypeArg::F16 => WeightDtype::Exactly(Dtype::F16),
            DtypeArg::Bf16 => WeightDtype::Exactly(Dtype::Bf16),
        };
        Ok(configuration.with_tokenizer(tokenizer).with_dtype(dtype))
    }
}

/// Like [`ModelArgs`], where there need not be a model.
#[derive(Args, Clone)]
pub struct OptionalModelArgs {
    /// Loads a model, from its directory or by its id, and says what is known about it
    #[arg(long, short, value_name = "DIR|ID")]
    pub model: Option<String>,
    #[command(flatten)]
    pub how: LoadingArgs,
}

impl OptionalModelArgs {
    pub fn given(&self) -> Option<ModelArgs> {
        Some(ModelArgs { model: self.model.clone()?, how: self.how.clone() })
    }
}

/// Where models lie.
#[derive(Args, Clone)]
pub struct DirectoryArg {
    /// The models directory; else MLXE_MODELS_DIR, HF_HUB_CACHE or HF_HOME, else the platform's
    #[arg(long = "models-dir", value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

#[derive(Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub directory: DirectoryArg,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct VerifyArgs {
    /// The model; all if not given
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    /// Removes what is damaged, left over or of no use
    #[arg(long)]
    pub fix: bool,
    #[command(flatten)]
    pub directory: DirectoryArg,
    /// Prints progress and result as lines of JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct RmArgs {
    /// The models
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
    /// Removes only this branch, tag or commit
    #[arg(long)]
    pub revision: Option<String>,
    #[command(flatten)]
    pub directory: DirectoryArg,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct PruneArgs {
    /// What all models together may take, e.g. 20G, 500M or 0
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub budget: u64,
    /// A model that stays; may be given several times
    #[arg(long, value_name = "ID")]
    pub keep: Vec<String>,
    /// Only says what would go
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub directory: DirectoryArg,
    /// Prints progress and result as lines of JSON
    #[arg(long)]
    pub json: bool,
}

/// Bytes, with a decimal unit behind them or none.
fn size(text: &str) -> Result<u64, String> {
    let upper = text.to_uppercase();
    let number = upper.trim_end_matches('B');
    let (number, unit) = match number.chars().last() {
        Some('K') => (&number[..number.len() - 1], 1e3),
        Some('M') => (&number[..number.len() - 1], 1e6),
        Some('G') => (&number[..number.len() - 1], 1e9),
        Some('T') => (&number[..number.len() - 1], 1e12),
        _ => (number, 1.0),
    };
    match number.trim().parse::<f64>() {
        Ok(n) if n >= 0.0 && n * unit < 1e18 => Ok((n * unit) as u64),
        _ => Err(format!("{text:?} is no size such as 20G or 500M")),
    }
}

#[derive(Args)]
pub struct ImportArgs {
    /// Has config.json, weights and tokenizer
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// The name it will have: organisation/name
    #[arg(value_name = "ID")]
    pub id: String,
    /// Hard-links the weights instead of copying them, where the file system can
    #[arg(long)]
    pub link: bool,
    #[command(flatten)]
    pub directory: DirectoryArg,
    /// Prints progress and result as lines of JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct MvArgs {
    /// Where the models will be
    #[arg(value_name = "DIR")]
    pub to: PathBuf,
    #[command(flatten)]
    pub directory: DirectoryArg,
    /// Prints progress and result as lines of JSON
    #[arg(long)]
    pub json: bool,
}

/// How to choose tokens.
#[derive(Args, Clone)]
pub struct SamplingArgs {
    /// Tokens at most
    #[arg(long, short = 'n', value_name = "N")]
    pub max_tokens: Option<u32>,
    /// 0 always chooses the likeliest token; higher is more random
    #[arg(long, short, default_value_t = 0.0, value_name = "T")]
    pub temperature: f32,
    /// Only the N likeliest tokens
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub top_k: u32,
    /// Only the likeliest tokens of this probability together
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    pub top_p: f32,
    /// Only tokens at least this probable, relative to the likeliest
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    pub min_p: f32,
    /// Only tokens of typical surprise, of this probability together
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    pub typical_p: f32,
    /// Only tokens within N standard deviations of the highest logit
    #[arg(long, default_value_t = 0.0, value_name = "N")]
    pub top_n_sigma: f32,
    /// Probability with which XTC excludes the likeliest tokens
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    pub xtc_probability: f32,
    /// XTC excludes all but the least of the tokens at least this probable
    #[arg(long, default_value_t = 0.1, value_name = "P")]
    pub xtc_threshold: f32,
    /// Strength of DRY, the penalty on repeated sequences
    #[arg(long, default_value_t = 0.0, value_name = "X")]
    pub dry_multiplier: f32,
    /// Target surprise of Mirostat v2, in bits
    #[arg(long, value_name = "TAU")]
    pub mirostat: Option<f32>,
    /// Factor on the logits of tokens seen before
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub repetition_penalty: f32,
    /// Subtracted from the logits of tokens seen before
    #[arg(long, default_value_t = 0.0, value_name = "X", allow_negative_numbers = true)]
    pub presence_penalty: f32,
    /// Subtracted for each time a token was seen
    #[arg(long, default_value_t = 0.0, value_name = "X", allow_negative_numbers = true)]
    pub frequency_penalty: f32,
    /// The same seed gives the same text
    #[arg(long)]
    pub seed: Option<u64>,
    /// A text that ends the answer; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Goes on behind the end of the answer
    #[arg(long)]
    pub ignore_eos: bool,
    /// Positions at most, prompt and answer together
    #[arg(long, value_name = "N")]
    pub max_context: Option<i32>,
    /// Quantizes keys and values to this many bits
    #[arg(long, value_name = "BITS")]
    pub kv_bits: Option<i32>,
    /// Keeps only this many positions of keys and values
    #[arg(long, value_name = "N")]
    pub max_kv_size: Option<i32>,
    /// Reports the N likeliest tokens with each token (with --json)
    #[arg(long, value_name = "N")]
    pub logprobs: Option<u32>,
}

impl SamplingArgs {
    pub fn options(&self) -> GenerateOptions {
        let quantization = self.kv_bits.map(|bits| KvQuantization { bits, group_size: 64, start: 0 });
        GenerateOptions {
            max_tokens: self.max_tokens,
            sampling: SamplingParams {
                temperature: self.temperature,
                top_k: self.top_k,
                top_p: self.top_p,
                min_p: self.min_p,
                typical_p: self.typical_p,
                top_n_sigma: self.top_n_sigma,
                xtc_probability: self.xtc_probability,
                xtc_threshold: self.xtc_threshold,
                dry: (self.dry_multiplier != 0.0)
                    .then(|| DryParams { multiplier: self.dry_multiplier, ..Default::default() }),
                mirostat: self.mirostat.map(|tau| MirostatParams { tau, ..Default::default() }),
                repetition_penalty: self.repetition_penalty,
                presence_penalty: self.presence_penalty,
                frequency_penalty: self.frequency_penalty,
                seed: self.seed,
                logprobs: self.logprobs,
                ..Default::default()
            },
            stop: self.stop.clone(),
            ignore_eos: self.ignore_eos,
            cache: CacheOptions { max_kv_size: self.max_kv_size, quantization },
            max_context: self.max_context,
            ..Default::default()
        }
    }
}

#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// A system message
    #[arg(long, short)]
    pub system: Option<String>,
    /// A JSON object of variables for the chat template, e.g. {"enable_thinking": false}
    #[arg(long, value_name = "JSON")]
    pub variables: Option<String>,
    /// Ask this and end
    #[arg(value_name = "QUESTION")]
    pub question: Option<String>,
}

#[derive(Args)]
pub struct GenerateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub prompt: PromptArgs,
    /// Renders the prompt as a user's message with the chat template first
    #[arg(long, conflicts_with = "tokens")]
    pub chat: bool,
    /// Prints one JSON object: text, tokens, statistics
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct PromptArgs {
    /// The prompt
    #[arg(long, short, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// The prompt as token ids; no tokenizer is needed
    #[arg(long, value_name = "1,2,3", value_delimiter = ',')]
    pub tokens: Option<Vec<u32>>,
}

#[derive(Args)]
pub struct LogitsArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The sequence as token ids
    #[arg(long, value_name = "1,2,3", value_delimiter = ',', required = true)]
    pub tokens: Vec<u32>,
    /// A safetensors file to write, with the f32 tensor `logits`, one row a token
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Args)]
pub struct LoadArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Prints every event as a line of JSON
    #[arg(long)]
    pub events: bool,
    /// With --events: the coarse view, nine checkpoints
    #[arg(long, requires = "events")]
    pub checkpoints: bool,
    /// Loads no tokenizer
    #[arg(long)]
    pub without_tokenizer: bool,
}

#[derive(Args)]
pub struct TokenizeArgs {
    /// A model's directory
    #[arg(long, short, value_name = "DIR")]
    pub model: PathBuf,
    /// The text; standard input if not given
    pub text: Option<String>,
    /// Does not add special tokens such as a beginning of sequence
    #[arg(long)]
    pub no_special: bool,
    /// Turns token ids (separated by commas or spaces) into text instead
    #[arg(long, short)]
    pub decode: bool,
    /// Prints JSON: ids and tokens
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct TemplateArgs {
    /// A model's directory
    #[arg(long, short, value_name = "DIR")]
    pub model: PathBuf,
    /// A JSON array of messages, or @FILE; standard input if not given
    pub messages: Option<String>,
    /// A JSON array of tools, or @FILE
    #[arg(long, value_name = "JSON")]
    pub tools: Option<String>,
    /// A JSON object of variables for the template
    #[arg(long, value_name = "JSON")]
    pub variables: Option<String>,
    /// The name of the template, where there are several
    #[arg(long)]
    pub name: Option<String>,
    /// Does not end the text where the answer begins
    #[arg(long)]
    pub no_generation_prompt: bool,
    /// Ends the text within the last message, to be continued
    #[arg(long)]
    pub continue_final_message: bool,
}

#[derive(Args)]
pub struct InfoArgs {
    /// A model's id: says what of it is on the disk, without loading it
    #[arg(value_name = "ID", conflicts_with = "model")]
    pub id: Option<String>,
    #[command(flatten)]
    pub directory: DirectoryArg,
    #[command(flatten)]
    pub model: OptionalModelArgs,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct PullArgs {
    /// The model's id: organisation/name
    #[arg(value_name = "ID")]
    pub id: String,
    /// Branch, tag or commit
    #[arg(long)]
    pub revision: Option<String>,
    #[command(flatten)]
    pub directory: DirectoryArg,
    /// Prints progress and result as lines of JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct SearchArgs {
    /// Part of the id
    pub text: Option<String>,
    /// User or organisation
    #[arg(long)]
    pub author: Option<String>,
    /// text-generation, image-text-to-text, ...
    #[arg(long)]
    pub task: Option<String>,
    /// The library that models are made for; an empty text for any
    #[arg(long, default_value = "mlx")]
    pub library: String,
    /// A tag; may be given several times
    #[arg(long)]
    pub tag: Vec<String>,
    /// The code of a language (en, de, ...); may be given several times
    #[arg(long)]
    pub language: Vec<String>,
    /// apache-2.0, mit, ...
    #[arg(long)]
    pub licence: Option<String>,
    /// Only models that access must be asked for (true), or that are open (false)
    #[arg(long, value_name = "BOOL")]
    pub gated: Option<bool>,
    /// model_type of the configuration: qwen3, ...
    #[arg(long)]
    pub architecture: Option<String>,
    /// tiny (under 100M parameters), small (to 1B), medium (to 7B), large (to 13B) or xlarge
    #[arg(long, value_name = "CLASS")]
    pub size: Option<String>,
    /// Bits of the weights
    #[arg(long)]
    pub bits: Option<u32>,
    /// text, image, audio, embedding or other
    #[arg(long)]
    pub modality: Option<String>,
    /// Gigabytes (10^9 bytes) of weights at most
    #[arg(long, value_name = "GB")]
    pub max_size: Option<f64>,
    /// Gigabytes (10^9 bytes) of estimated memory at most
    #[arg(long, value_name = "GB")]
    pub fits: Option<f64>,
    /// Downloads of the last month at least
    #[arg(long, value_name = "N")]
    pub min_downloads: Option<u64>,
    /// Likes at least
    #[arg(long, value_name = "N")]
    pub min_likes: Option<u64>,
    /// Changed at this date or later
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub since: Option<String>,
    /// Only models that mlxe can run
    #[arg(long)]
    pub supported: bool,
    /// downloads, likes, trending, created, modified or quality
    #[arg(long, default_value = "downloads")]
    pub sort: String,
    /// Results at most
    #[arg(long, short = 'n', default_value_t = 20, value_name = "N")]
    pub limit: usize,
    /// Where the last page ended
    #[arg(long)]
    pub page: Option<String>,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct FitArgs {
    /// A model's directory, its id on the Hub, or its short name in the catalogue; without one, all of the catalogue
    #[arg(value_name = "DIR|ID|NAME")]
    pub model: Option<String>,
    /// With an id: branch, tag or commit
    #[arg(long)]
    pub revision: Option<String>,
    /// Positions, prompt and answer together; the model's, but 4096 at most, if not given
    #[arg(long, value_name = "N")]
    pub context: Option<u64>,
    /// Quantizes keys and values to this many bits
    #[arg(long, value_name = "BITS")]
    pub kv_bits: Option<u64>,
    /// Keeps only this many positions of keys and values
    #[arg(long, value_name = "N")]
    pub max_kv_size: Option<u64>,
    /// Where it is to run; the GPU if there is one
    #[arg(long, value_enum)]
    pub device: Option<DeviceArg>,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ModelsArgs {
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct BenchArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Tokens of the prompt
    #[arg(long, default_value_t = 512, value_name = "N")]
    pub prompt_tokens: usize,
    /// Tokens to generate
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub generate_tokens: u32,
    /// Measured runs, behind one that is not
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub runs: usize,
    /// Streams at once; the rate of decoding is that of all together, while all of them decode
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub batch: usize,
    /// How tokens are chosen, for example {"temperature": 0.7, "top_p": 0.95}; the likeliest ones if not given
    #[arg(long, value_name = "JSON")]
    pub sampling: Option<String>,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}
