//! The command line's grammar.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use mlx_engine::array::Device;
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
    #[command(flatten)]
    pub load: LoadFlags,
    #[command(flatten)]
    pub hub: HubFlags,
    #[command(flatten)]
    pub engine: EngineArgs,
}

impl ModelArgs {
    /// What to load. `with_tokenizer` is false for commands that work with token ids only.
    pub fn configuration(&self, with_tokenizer: bool) -> crate::Result<ModelConfiguration> {
        // What exists is a directory; what looks like an id is one; the rest is reported as a missing directory.
        let path = PathBuf::from(&self.model);
        let looks_like_id = !path.exists() && self.model.split('/').count() == 2 && !self.model.starts_with(['.', '/']);
        let mut options = self.how.load.options();
        let hub = match looks_like_id {
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
    /// The model; all if not given
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    /// Removes what is damaged, left over or of no use
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
    /// What all models together may take, e.g. 20G, 500M or 0
    #[arg(long, value_name = "SIZE", value_parser = crate::options::size)]
    pub budget: u64,
    /// A model that stays; may be given several times
    #[arg(long, value_name = "ID")]
    pub keep: Vec<String>,
    /// Only says what would go
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
    pub hub: HubFlags,
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
    /// Ask this and end
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
    #[command(flatten)]
    pub hub: HubFlags,
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
    /// Where it is to run [default: the GPU if there is one, else the CPU]
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
