//! The files of a tokenizer, and what transformers makes of them.

use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use tokenizers::{AddedToken, Tokenizer};

use crate::files::{self, parse_value};
use crate::{Error, ErrorKind, Result};

const MIB: u64 = 1 << 20;
const TOKENIZER_LIMIT: u64 = 256 * MIB;
const CONFIG_LIMIT: u64 = 16 * MIB;
const TEMPLATE_LIMIT: u64 = 4 * MIB;
const TEMPLATE_COUNT_LIMIT: usize = 64;

/// What a directory says about its tokenizer.
pub(super) struct Source {
    pub tokenizer: Tokenizer,
    pub special_tokens: BTreeMap<String, String>,
    /// Sources by name.
    pub templates: BTreeMap<String, String>,
    /// Whether decoding closes up the blanks before punctuation.
    pub clean_up: bool,
}

/// The roles that every tokenizer knows.
const ROLES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Roles and tokens that transformers' classes have where the files are silent.
const CLASS_DEFAULTS: [(&str, &[(&str, &str)]); 7] = [
    (
        "GPT2Tokenizer",
        &[("unk_token", "<|endoftext|>"), ("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>")],
    ),
    (
        "GPTNeoXTokenizer",
        &[
            ("unk_token", "<|endoftext|>"),
            ("bos_token", "<|endoftext|>"),
            ("eos_token", "<|endoftext|>"),
            ("pad_token", "<|padding|>"),
        ],
    ),
    (
        "CodeGenTokenizer",
        &[("unk_token", "<|endoftext|>"), ("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>")],
    ),
    (
        "Qwen2Tokenizer",
        &[("unk_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>")],
    ),
    ("LlamaTokenizer", &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>")]),
    (
        "GemmaTokenizer",
        &[
            ("unk_token", "<unk>"),
            ("bos_token", "<bos>"),
            ("eos_token", "<eos>"),
            ("pad_token", "<pad>"),
            ("mask_token", "<mask>"),
        ],
    ),
    (
        "CohereTokenizer",
        &[
            ("unk_token", "<UNK>"),
            ("bos_token", "<BOS_TOKEN>"),
            ("eos_token", "<|END_OF_TURN_TOKEN|>"),
            ("pad_token", "<PAD>"),
            ("cls_token", "<CLS>"),
            ("sep_token", "<SEP>"),
            ("mask_token", "<MASK_TOKEN>"),
        ],
    ),
];

/// Reads everything about the tokenizer in `dir`.
pub(super) fn read(dir: &Path) -> Result<Source> {
    let mut config = read_object(dir, "tokenizer_config.json")?.unwrap_or_default();
    let class = config.get("tokenizer_class").and_then(Json::as_str).unwrap_or_default().to_owned();
    let class = class.strip_suffix("Fast").unwrap_or(&class);

    let (mut tokenizer, has_json) = match read_bytes(dir, "tokenizer.json", TOKENIZER_LIMIT)? {
        Some(bytes) => (from_json(dir, &bytes)?, true),
        None => (from_vocab_and_merges(dir, class, &config)?, false),
    };
    let pad = tokenizer.get_padding().map(|padding| padding.pad_token.clone());
    // A file may ask for every text to be cut or filled to one length; transformers asks anew at every call.
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|error| bad_tokenizer(dir, error))?;
    tokenizer.set_encode_special_tokens(config.get("split_special_tokens") == Some(&Json::Bool(true)));

    let added = added_tokens(dir, &mut config)?;
    let (roles, extra) = special_tokens(&config, class, pad, &tokenizer)?;
    add_tokens(&mut tokenizer, added, &roles, extra).map_err(|error| bad_tokenizer(dir, error))?;
    let special_tokens: BTreeMap<_, _> = roles.into_iter().map(|(role, token)| (role, token.content)).collect();
    if !has_json {
        // With a tokenizer.json these settings are ignored: its post-processor is what counts.
        add_bos_and_eos(&mut tokenizer, &config, &special_tokens).map_err(|error| bad_tokenizer(dir, error))?;
    }

    let flag = |key: &str| config.get(key) == Some(&Json::Bool(true));
    let is_bpe = matches!(tokenizer.get_model(), tokenizers::ModelWrapper::BPE(_));
    let clean_up = flag("clean_up_tokenization_spaces")
        && (!is_bpe || flag("clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"));
    let templates = templates(dir, &config)?;
    // The library panics at the first text if the post-processor names a token that it does not describe. Better here,
    // where a panic becomes an error of loading. What it says of this text does not matter.
    let _ = tokenizer.encode_fast("a", true);
    Ok(Source { tokenizer, special_tokens, templates, clean_up })
}

fn bad_tokenizer(dir: &Path, error: tokenizers::Error) -> Error {
    Error::tokenizer(format!("{}: {error}", dir.join("tokenizer.json").display()))
}

/// The bytes of a file; `None` where there is none. Refuses files over `limit` bytes and what is no regular file.
fn read_bytes(dir: &Path, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let path = dir.join(name);
    let file = match files::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| Error::io(&path, error))?;
    if bytes.len() as u64 > limit {
        let why = format!("{}: is larger than {} MiB", path.display(), limit / MIB);
        return Err(Error::new(ErrorKind::Io, why));
    }
    Ok(Some(bytes))
}

fn read_json(dir: &Path, name: &str, limit: u64) -> Result<Option<Json>> {
    let Some(bytes) = read_bytes(dir, name, limit)? else { return Ok(None) };
    let broken = |why: String| Error::invalid_config(format!("{}: {why}", dir.join(name).display()));
    let text = std::str::from_utf8(&bytes).map_err(|error| broken(error.to_string()))?;
    parse_value(text).map(Some).map_err(|error| broken(error.message().to_owned()))
}

/// The object in a file that a tokenizer works without: where it is broken that is a warning.
fn read_optional(dir: &Path, name: &str) -> Result<Map<String, Json>> {
    match read_object(dir, name) {
        Err(error) if error.kind() == ErrorKind::InvalidConfig => {
            log::warn!("not used: {error}");
            Ok(Map::new())
        }
        other => Ok(other?.unwrap_or_default()),
    }
}

fn read_object(dir: &Path, name: &str) -> Result<Option<Map<String, Json>>> {
    match read_json(dir, name, CONFIG_LIMIT)? {
        None => Ok(None),
        Some(Json::Object(object)) => Ok(Some(object)),
        Some(_) => Err(Error::invalid_config(format!("{}: must hold an object", dir.join(name).display()))),
    }
}

fn read_template(dir: &Path, name: &str) -> Result<Option<String>> {
    let Some(bytes) = read_bytes(dir, name, TEMPLATE_LIMIT)? else { return Ok(None) };
    let text = String::from_utf8(bytes);
    text.map(Some).map_err(|error| Error::template(dir.join(name).display().to_string()).with_source(error))
}

fn from_json(dir: &Path, bytes: &[u8]) -> Result<Tokenizer> {
    Tokenizer::from_bytes(bytes).map_err(|error| bad_tokenizer(dir, error))
}

/// How Qwen 2 cuts text up before its merges.
const QWEN2_WORDS: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// A byte-level BPE tokenizer from the files that GPT-2 came with.
fn from_vocab_and_merges(dir: &Path, class: &str, config: &Map<String, Json>) -> Result<Tokenizer> {
    let vocab = read_json(dir, "vocab.json", TOKENIZER_LIMIT)?;
    let merges = read_bytes(dir, "merges.txt", TOKENIZER_LIMIT)?;
    let (Some(vocab), Some(merges)) = (vocab, merges) else { return Err(no_tokenizer(dir)) };
    let path = dir.join("merges.txt");
    let merges =
        String::from_utf8(merges).map_err(|error| Error::tokenizer(path.display().to_string()).with_source(error))?;
    let merges: Vec<&str> = merges.lines().filter(|line| !line.is_empty() && !line.starts_with("#version")).collect();
    let add_prefix_space = config.get("add_prefix_space") == Some(&Json::Bool(true));
    let byte_level = |use_regex: bool| {
        let prefix = add_prefix_space;
        json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": use_regex})
    };
    let (normalizer, pre_tokenizer) = match class {
        "" | "GPT2Tokenizer" | "PreTrainedTokenizer" => (Json::Null, byte_level(true)),
        "Qwen2Tokenizer" => {
            let split = json!({
                "type": "Split", "pattern": {"Regex": QWEN2_WORDS}, "behavior": "Isolated", "invert": false
            });
            (json!({"type": "NFC"}), json!({"type": "Sequence", "pretokenizers": [split, byte_level(false)]}))
        }
        other => {
            return Err(Error::tokenizer(format!(
                "{}: a {other} without tokenizer.json is not supported; from vocab.json and merges.txt only \
                 GPT2Tokenizer and Qwen2Tokenizer are",
                dir.display()
            )));
        }
    };
    let file = json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": null,
        "decoder": byte_level(true),
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    });
    let built = serde_json::to_vec(&file).map_err(tokenizers::Error::from).and_then(Tokenizer::from_bytes);
    built.map_err(|error| Error::tokenizer(format!("{}: vocab.json, merges.txt: {error}", dir.display())))
}

fn no_tokenizer(dir: &Path) -> Error {
    let others = ["tokenizer.model", "spiece.model", "tekken.json", "tiktoken.model", "vocab.json", "vocab.txt"];
    let present: Vec<_> = others.into_iter().filter(|name| dir.join(name).exists()).collect();
    let found = if present.is_empty() { String::new() } else { format!(" ({} alone does not do)", present.join(", ")) };
    Error::not_found(format!(
        "{}: no tokenizer.json, nor vocab.json with merges.txt{found}; other formats have to be converted to \
         tokenizer.json first",
        dir.display()
    ))
}

/// The tokens that the files add to `tokenizer.json`, in the order of their ids. Where the configuration does not list
/// them, the older files do, and `special_tokens_map.json` overrides the configuration.
fn added_tokens(dir: &Path, config: &mut Map<String, Json>) -> Result<Vec<AddedToken>> {
    let invalid = |what: String| Error::invalid_config(format!("{}: {what}", dir.display()));
    let mut tokens = BTreeMap::new();
    if let Some(listed) = config.get("added_tokens_decoder") {
        let listed = listed
            .as_object()
            .ok_or_else(|| invalid("tokenizer_config.json: added_tokens_decoder: must be an object".into()))?;
        for (id, token) in listed {
            let parsed = id.parse::<u32>().ok().zip(added_token(token, false));
            let (id, token) = parsed
                .ok_or_else(|| invalid(format!("tokenizer_config.json: added_tokens_decoder: {id}: is not a token")))?;
            tokens.insert(id, token);
        }
        return Ok(tokens.into_values().collect());
    }
    config.extend(read_optional(dir, "special_tokens_map.json")?);
    let special: Vec<String> =
        config.iter().filter(|(key, _)| key.ends_with("_token")).filter_map(|(_, token)| content(token)).collect();
    for (token, id) in read_optional(dir, "added_tokens.json")? {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let id = id.ok_or_else(|| invalid(format!("added_tokens.json: {token}: is not an id")))?;
        let is_special = special.contains(&token);
        tokens.insert(id, AddedToken::from(token, is_special));
    }
    Ok(tokens.into_values().collect())
}

/// The text of a token that is given as a string or as an object.
fn content(token: &Json) -> Option<String> {
    token.as_str().or_else(|| token.get("content")?.as_str()).map(str::to_owned)
}

fn added_token(token: &Json, special: bool) -> Option<AddedToken> {
    let flag = |key: &str| token.get(key).and_then(Json::as_bool);
    let special = special || flag("special").unwrap_or(false);
    Some(
        AddedToken::from(content(token)?, special)
            .single_word(flag("single_word").unwrap_or(false))
            .lstrip(flag("lstrip").unwrap_or(false))
            .rstrip(flag("rstrip").unwrap_or(false))
            .normalized(flag("normalized").unwrap_or(!special)),
    )
}

type Roles = BTreeMap<String, AddedToken>;

/// The tokens that have a role, and the special tokens without one.
fn special_tokens(
    config: &Map<String, Json>,
    class: &str,
    pad: Option<String>,
    tokenizer: &Tokenizer,
) -> Result<(Roles, Vec<AddedToken>)> {
    let mut roles = Roles::new();
    for (key, value) in config {
        if let Some(token) = added_token(value, true).filter(|_| key.ends_with("_token")) {
            roles.insert(key.clone(), token);
        } else if ROLES.contains(&key.as_str()) && !value.is_null() {
            return Err(Error::invalid_config(format!("tokenizer_config.json: {key}: is not a token")));
        }
    }
    let defaults = CLASS_DEFAULTS.iter().find(|(name, _)| *name == class).map_or(&[][..], |(_, roles)| roles);
    let defaults = defaults.iter().map(|(role, token)| (*role, (*token).to_owned()));
    for (role, token) in defaults.chain(pad.map(|token| ("pad_token", token))) {
        // An explicit null means that there is none.
        if !config.contains_key(role) && tokenizer.token_to_id(&token).is_some() {
            roles.entry(role.to_owned()).or_insert_with(|| AddedToken::from(token, true));
        }
    }
    let extra = match config.get("extra_special_tokens").filter(|tokens| !is_empty(tokens)) {
        // By name, they are roles.
        Some(Json::Object(named)) => {
            roles.extend(named.iter().filter_map(|(role, token)| Some((role.clone(), added_token(token, true)?))));
            None
        }
        Some(tokens) => Some(tokens),
        None => config.get("additional_special_tokens"),
    };
    let extra = extra.and_then(Json::as_array).into_iter().flatten();
    Ok((roles, extra.filter_map(|token| added_token(token, true)).collect()))
}

fn is_empty(tokens: &Json) -> bool {
    tokens.is_null() || tokens.as_array().is_some_and(Vec::is_empty) || tokens.as_object().is_some_and(Map::is_empty)
}

/// Adds the tokens that `tokenizer` does not have yet, or has with other properties.
fn add_tokens(
    tokenizer: &mut Tokenizer,
    added: Vec<AddedToken>,
    roles: &Roles,
    extra: Vec<AddedToken>,
) -> tokenizers::Result<()> {
    let special = |token: &AddedToken| roles.values().any(|role| role.content == token.content);
    let known = tokenizer.get_added_tokens_decoder();
    let mut new: Vec<AddedToken> = added.into_iter().filter(|token| !known.values().any(|k| k == token)).collect();
    for token in &mut new {
        token.special |= special(token);
    }
    for token in roles.values().chain(&extra) {
        let is_same = |other: &AddedToken| other.content == token.content;
        if !new.iter().any(is_same) && !known.values().any(is_same) {
            new.push(token.clone());
        }
    }
    tokenizer.add_tokens(new).map(drop)
}

/// What `add_bos_token` and `add_eos_token` ask for.
fn add_bos_and_eos(
    tokenizer: &mut Tokenizer,
    config: &Map<String, Json>,
    special_tokens: &BTreeMap<String, String>,
) -> tokenizers::Result<()> {
    let wanted = |setting: &str, role: &str| {
        let token = special_tokens.get(role).filter(|_| config.get(setting) == Some(&Json::Bool(true)))?;
        Some((token.clone(), tokenizer.token_to_id(token)?))
    };
    let bos = wanted("add_bos_token", "bos_token");
    let eos = wanted("add_eos_token", "eos_token");
    if bos.is_none() && eos.is_none() {
        return Ok(());
    }
    let special = |token: &(String, u32)| json!({"SpecialToken": {"id": token.0, "type_id": 0}});
    let template = |sequences: &[&str]| {
        let text = sequences.iter().map(|id| json!({"Sequence": {"id": id, "type_id": 0}}));
        Json::Array(bos.iter().map(special).chain(text).chain(eos.iter().map(special)).collect())
    };
    let described =
        bos.iter().chain(&eos).map(|(token, id)| (token.clone(), json!({"id": token, "ids": [id], "tokens": [token]})));
    let processor = json!({
        "type": "TemplateProcessing",
        "single": template(&["A"]),
        "pair": template(&["A", "B"]),
        "special_tokens": Json::Object(described.collect()),
    });
    let processor: tokenizers::PostProcessorWrapper = serde_json::from_value(processor)?;
    tokenizer.with_post_processor(Some(processor));
    Ok(())
}

/// The chat templates by name. Jinja files come first, as in transformers; then the tokenizer's configuration.
/// `chat_template.json` is the processor's of images and sound: where there is one, its template comes before the
/// tokenizer's.
fn templates(dir: &Path, config: &Map<String, Json>) -> Result<BTreeMap<String, String>> {
    let mut templates = BTreeMap::new();
    if let Some(source) = read_template(dir, "chat_template.jinja")? {
        templates.insert("default".to_owned(), source);
    }
    const MORE: &str = "additional_chat_templates";
    let path = dir.join(MORE);
    match fs::read_dir(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io(&path, error)),
        Ok(entries) => {
            for entry in entries {
                let name = entry.map_err(|error| Error::io(&path, error))?.file_name();
                let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".jinja")) else { continue };
                if templates.len() >= TEMPLATE_COUNT_LIMIT {
                    return Err(Error::template(format!("{}: too many templates", path.display())));
                }
                if let Some(source) = read_template(&path, &format!("{stem}.jinja"))? {
                    templates.insert(stem.to_owned(), source);
                }
            }
        }
    }
    if !templates.is_empty() {
        return Ok(templates);
    }
    const JSON: &str = "chat_template.json";
    let own = named_templates(config.get("chat_template").unwrap_or(&Json::Null), "tokenizer_config.json");
    let has_processor = ["preprocessor_config.json", "processor_config.json"].iter().any(|f| dir.join(f).exists());
    if !has_processor && !own.as_ref().is_ok_and(BTreeMap::is_empty) {
        return own;
    }
    let file = read_json(dir, JSON, TEMPLATE_LIMIT)?;
    let processors =
        named_templates(file.as_ref().and_then(|file| file.get("chat_template")).unwrap_or(&Json::Null), JSON)?;
    if processors.is_empty() { own } else { Ok(processors) }
}

/// `chat_template` as the two JSON files have it: one source, an object of them, or a list of `{name, template}`.
fn named_templates(value: &Json, file: &str) -> Result<BTreeMap<String, String>> {
    let pair = |name: &Json, source: &Json| Some((name.as_str()?.to_owned(), source.as_str()?.to_owned()));
    let templates: Option<BTreeMap<_, _>> = match value {
        Json::Null => return Ok(BTreeMap::new()),
        Json::String(source) => Some(BTreeMap::from([("default".to_owned(), source.clone())])),
        Json::Array(list) => list.iter().map(|item| pair(item.get("name")?, item.get("template")?)).collect(),
        Json::Object(map) => map.iter().map(|(name, source)| pair(&name.as_str().into(), source)).collect(),
        _ => None,
    };
    let templates = templates.filter(|templates| templates.len() <= TEMPLATE_COUNT_LIMIT);
    templates
        .ok_or_else(|| Error::invalid_config(format!("{file}: chat_template: must be a template or a list of them")))
}
