//! The command-line arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use mlx_engine::Device;
use mlx_engine::load::ModelConfiguration;

use crate::options::{EngineArgs, GenerationArgs, HubFlags, LoadFlags, ProcessArgs};

/// Load and run language models on MLX.
#[derive(Parser)]
#[command(name = "mlxe", version, about)]
pub struct Options {
    #[command(flatten)]
    pub process: ProcessArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Chat with a model in the terminal
    Run(RunArgs),
    /// Generate after a prompt and print the text
    Generate(GenerateArgs),
    /// Write the logits of every position of a sequence to a file
    Logits(LogitsArgs),
    /// Score a text: the log-probability of its tokens, and its perplexity
    Score(ScoreArgs),
    /// Download a model, or update one
    Pull(PullArgs),
    /// Search the Hub for models
    Search(SearchArgs),
    /// Estimate how much memory a model takes and whether it fits, without downloading its weights
    Fit(FitArgs),
    /// List the models on the disk
    List(ListArgs),
    /// Verify models on the disk: files, sizes, checksums, leftovers
    Verify(VerifyArgs),
    /// Remove models from the disk
    Rm(RmArgs),
    /// Remove models, least recently used first, until the rest fits a budget
    Prune(PruneArgs),
    /// Import a folder with a model into the models directory
    Import(ImportArgs),
    /// Move all models to another directory
    Mv(MvArgs),
    /// Load a model and show its progress
    Load(LoadArgs),
    /// Turn text into token ids
    Tokenize(TokenizeArgs),
    /// Render chat messages with a model's template
    Template(TemplateArgs),
    /// Show facts about a model; with an id, about its files on the disk
    Info(InfoArgs),
    /// List the supported architectures
    Models(ModelsArgs),
    /// Measure a model's speed
    Bench(BenchArgs),
}

/// Which model, and how to load it.
#[derive(Args, Clone)]
pub struct ModelArgs {
    /// A model's directory, or its id (organisation/name) on the Hugging Face Hub; missing files are downloaded
    #[arg(long, short, value_name = "DIR|ID")]
    pub model: String,
    #[command(flatten)]
    pub how: LoadingArgs,
}

/// How to load a model.
#[derive(Args, Clone)]
pub struct LoadingArgs {
    #[command(flatten)]
    pub load: LoadFlags,
    #[command(flatten)]
    pub hub: HubFlags,
    #[command(flatten)]
    pub engine: EngineArgs,
}

impl ModelArgs {
    /// What to load. `with_tokenizer` is false for commands that work with token ids only.
    pub fn configuration(&self, with_tokenizer: bool) -> crate::failure::Result<ModelConfiguration> {
        let path = PathBuf::from(&self.model);
        let mut options = self.how.load.options();
        let hub = match names_model(&self.model) {
            true => {
                options.id = Some(self.model.clone());
                Some(self.how.hub.hub()?)
            }
            false => {
                options.directory = Some(path);
                None
            }
        };
        if !with_tokenizer {
            (options.without_tokenizer, options.tokenizer_directory) = (true, None);
        }
        Ok(ModelConfiguration { hub, ..ModelConfiguration::from_options(options)? })
    }
}

/// Whether a text names a model of the Hub. What exists is a directory; what looks like an id, or an address, is one; the rest
/// is reported as a missing directory.
pub fn names_model(text: &str) -> bool {
    let is_name = || mlx_engine::hub::ModelName::parse(text).is_ok_and(|name| name.id.contains('/'));
    let looks_like_id = text.split('/').count() == 2 || text.contains("://") || is_name();
    !std::path::Path::new(text).exists() && looks_like_id && !text.starts_with(['.', '/'])
}

/// Like [`ModelArgs`], for commands where the model is optional.
#[derive(Args, Clone)]
pub struct OptionalModelArgs {
    /// Loads a model, from its directory or by its id, and shows facts about it
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

#[derive(Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub hub: HubFlags,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct VerifyArgs {
    /// The model; all models if not given
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    /// Removes damaged, leftover and useless files
    #[arg(long)]
    pub fix: bool,
    #[command(flatten)]
    pub hub: HubFlags,
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
    pub hub: HubFlags,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct PruneArgs {
    /// The space that all models together may take, e.g. 20G, 500M or 0
    #[arg(long, value_name = "SIZE", value_parser = crate::options::size)]
    pub budget: u64,
    /// A model to keep; may be given several times
    #[arg(long, value_name = "ID")]
    pub keep: Vec<String>,
    /// Only shows what would be removed
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub hub: HubFlags,
    /// Prints progress and result as lines of JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ImportArgs {
    /// The folder, with config.json, weights and tokenizer
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// The id it will have: organisation/name
    #[arg(value_name = "ID")]
    pub id: String,
    /// Hard-links the weights instead of copying them, where the file system allows
    #[arg(long)]
    pub link: bool,
    #[command(flatten)]
    pub hub: HubFlags,
    /// Prints progress and result as lines of JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct MvArgs {
    /// The new directory of the models
    #[arg(value_name = "DIR")]
    pub to: PathBuf,
    #[command(flatten)]
    pub hub: HubFlags,
    /// Prints progress and result as lines of JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub generation: GenerationArgs,
    /// A system message
    #[arg(long, short)]
    pub system: Option<String>,
    /// A JSON object of variables for the chat template, e.g. {"enable_thinking": false}
    #[arg(long, value_name = "JSON")]
    pub variables: Option<String>,
    /// Asks this one question and exits
    #[arg(value_name = "QUESTION")]
    pub question: Option<String>,
}

#[derive(Args)]
pub struct GenerateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub generation: GenerationArgs,
    #[command(flatten)]
    pub prompt: PromptArgs,
    /// First renders the prompt as a user message with the chat template
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
    /// A safetensors file to write, with the f32 tensor `logits`, one row per token
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Args)]
pub struct ScoreArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The text; without text, file or tokens: standard input
    #[arg(value_name = "TEXT", conflicts_with_all = ["file", "tokens"])]
    pub text: Option<String>,
    /// The file with the text
    #[arg(long, value_name = "FILE", conflicts_with = "tokens")]
    pub file: Option<PathBuf>,
    /// The text as token ids; no tokenizer is needed
    #[arg(long, value_name = "1,2,3", value_delimiter = ',')]
    pub tokens: Option<Vec<u32>>,
    /// A prompt that precedes the text and is not scored [default: the text's first token]
    #[arg(long, short, value_name = "TEXT", conflicts_with_all = ["tokens", "context"])]
    pub prompt: Option<String>,
    /// Scores a long text in parts of this many tokens, at least 2 [default: the model's context length, at most 4096]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub context: Option<u32>,
    /// Prints one JSON object: tokens, their log-probabilities, the most likely ones, total, perplexity
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct LoadArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Prints every event as a line of JSON
    #[arg(long)]
    pub events: bool,
    /// With --events: only the nine checkpoints of the coarse progress
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
    /// Adds no special tokens such as beginning-of-sequence
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
    /// The name of the template, if there are several
    #[arg(long)]
    pub name: Option<String>,
    /// Does not end the text where the answer is to begin
    #[arg(long)]
    pub no_generation_prompt: bool,
    /// Leaves the last message open, to be continued
    #[arg(long)]
    pub continue_final_message: bool,
}

#[derive(Args)]
pub struct InfoArgs {
    /// A model's id: shows its files on the disk, without loading it
    #[arg(value_name = "ID", conflicts_with = "model")]
    pub id: Option<String>,
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
    pub hub: HubFlags,
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
    /// The library that models are made for; an empty string for any
    #[arg(long, default_value = "mlx")]
    pub library: String,
    /// A tag; may be given several times
    #[arg(long)]
    pub tag: Vec<String>,
    /// A language code (en, de, ...); may be given several times
    #[arg(long)]
    pub language: Vec<String>,
    /// apache-2.0, mit, ...
    #[arg(long)]
    pub licence: Option<String>,
    /// Only models whose access must be requested (true), or that are open (false)
    #[arg(long, value_name = "BOOL")]
    pub gated: Option<bool>,
    /// model_type of the configuration: qwen3, ...
    #[arg(long)]
    pub architecture: Option<String>,
    /// tiny (under 100M parameters), small (up to 1B), medium (up to 7B), large (up to 13B) or xlarge
    #[arg(long, value_name = "CLASS")]
    pub size: Option<String>,
    /// Bits per weight
    #[arg(long)]
    pub bits: Option<u32>,
    /// text, image, audio, embedding or other
    #[arg(long)]
    pub modality: Option<String>,
    /// The most gigabytes (10^9 bytes) of weights
    #[arg(long, value_name = "GB")]
    pub max_size: Option<f64>,
    /// The most gigabytes (10^9 bytes) of estimated memory
    #[arg(long, value_name = "GB")]
    pub fits: Option<f64>,
    /// The fewest downloads in the last month
    #[arg(long, value_name = "N")]
    pub min_downloads: Option<u64>,
    /// The fewest likes
    #[arg(long, value_name = "N")]
    pub min_likes: Option<u64>,
    /// Modified on this date or later
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub since: Option<String>,
    /// Only models that mlxe can run
    #[arg(long)]
    pub supported: bool,
    /// downloads, likes, trending, created, modified or quality
    #[arg(long, default_value = "downloads")]
    pub sort: String,
    /// The most results
    #[arg(long, short = 'n', default_value_t = 20, value_name = "N")]
    pub limit: usize,
    /// The page to continue with, as the last one shows it
    #[arg(long)]
    pub page: Option<String>,
    #[command(flatten)]
    pub hub: HubFlags,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct FitArgs {
    /// A model's directory, its id on the Hub, or its short name in the catalogue; without one, the whole catalogue
    #[arg(value_name = "DIR|ID|NAME")]
    pub model: Option<String>,
    /// With an id: branch, tag or commit
    #[arg(long)]
    pub revision: Option<String>,
    /// Positions, prompt and answer together [default: the model's context length, at most 4096]
    #[arg(long, value_name = "N")]
    pub context: Option<u64>,
    /// Quantizes keys and values to this many bits
    #[arg(long, value_name = "BITS")]
    pub kv_bits: Option<u64>,
    /// Keeps only this many positions in the KV cache
    #[arg(long, value_name = "N")]
    pub max_kv_size: Option<u64>,
    /// The device it is to run on [default: the GPU if there is one, otherwise the CPU]
    #[arg(long, value_name = "NAME", value_parser = crate::options::choice::<Device>)]
    pub device: Option<Device>,
    #[command(flatten)]
    pub hub: HubFlags,
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
    /// Prompt tokens
    #[arg(long, default_value_t = 512, value_name = "N")]
    pub prompt_tokens: usize,
    /// Tokens to generate
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub generate_tokens: u32,
    /// Measured runs, after one warm-up run
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub runs: usize,
    /// Concurrent streams; the decoding rate is that of all together, while all of them decode
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub batch: usize,
    /// How tokens are chosen, for example {"temperature": 0.7, "top_p": 0.95} [default: greedy]
    #[arg(long, value_name = "JSON")]
    pub sampling: Option<String>,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}
