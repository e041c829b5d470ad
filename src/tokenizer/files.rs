//! The files of a tokenizer.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use tokenizers::AddedToken;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::SpecialTokens;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{read_json_if_there, read_text};

/// The largest published tokenizer.json is about 35 MB.
const MAX_TOKENIZER: u64 = 256 << 20;
const MAX_TEMPLATE: u64 = 4 << 20;
/// Names of roles that a configuration may give to tokens.
const ROLES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// What a directory says about its tokenizer.
pub struct Files {
    pub tokenizer: tokenizers::Tokenizer,
    pub special: SpecialTokens,
    /// Names and texts.
    pub templates: Vec<(String, String)>,
}

impl Files {
    pub fn read(directory: &Path) -> Result<Files> {
        let config = read_json_if_there(&directory.join("tokenizer_config.json"))?.unwrap_or_default();
        let map = read_json_if_there(&directory.join("special_tokens_map.json"))?.unwrap_or_default();
        let mut special = SpecialTokens::default();
        for role in ROLES {
            if let Some(token) = [&config, &map].into_iter().find_map(|file| token_text(file.get(role)?)) {
                special.by_name.insert(role.to_owned(), Value::from(token));
            }
        }
        let templates = templates(directory, &config)?;
        Ok(Files { tokenizer: tokenizer(directory)?, special, templates })
    }
}

/// A token is given as its text, or as an object with `content`.
fn token_text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}

fn tokenizer(directory: &Path) -> Result<tokenizers::Tokenizer> {
    let path = directory.join("tokenizer.json");
    let text = match read_text(&path, MAX_TOKENIZER) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return byte_level_bpe(directory),
        Err(e) => return Err(e),
    };
    text.parse().map_err(|e| Error::tokenizer(format!("{}: {e}", path.display())))
}

/// GPT-2's form: a vocabulary, and merges beside it.
fn byte_level_bpe(directory: &Path) -> Result<tokenizers::Tokenizer> {
    let (vocab, merges) = (directory.join("vocab.json"), directory.join("merges.txt"));
    if !vocab.exists() || !merges.exists() {
        return Err(Error::not_found(format!(
            "{}: no tokenizer.json in it, nor vocab.json with merges.txt. Other forms of tokenizers \
             (tokenizer.model, tiktoken files) must be converted to tokenizer.json first",
            directory.display()
        )));
    }
    let bad = |what: String| Error::tokenizer(format!("{}: {what}", vocab.display()));
    let ids: BTreeMap<String, u32> =
        serde_json::from_str(&read_text(&vocab, MAX_TOKENIZER)?).map_err(|e| bad(e.to_string()))?;
    let pairs = read_text(&merges, MAX_TOKENIZER)?
        .lines()
        .filter(|line| !line.starts_with("#version") && !line.is_empty())
        .map(|line| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| Error::tokenizer(format!("{}: a line is not two tokens", merges.display())))?;
    let model = BPE::new(ids.into_iter().collect(), pairs);
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    let end = "<|endoftext|>";
    if tokenizer.token_to_id(end).is_some() {
        tokenizer.add_special_tokens([AddedToken::from(end, true)]).map_err(|e| bad(e.to_string()))?;
    }
    Ok(tokenizer)
}

/// Templates by name. A file of its own wins over the configuration.
fn templates(directory: &Path, config: &Value) -> Result<Vec<(String, String)>> {
    let mut found = BTreeMap::new();
    match config.get("chat_template") {
        Some(Value::String(text)) => {
            found.insert("default".to_owned(), text.clone());
        }
        Some(Value::Array(list)) => {
            for entry in list {
                let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
                let (Some(name), Some(template)) = (text("name"), text("template")) else {
                    return Err(Error::tokenizer(
                        "tokenizer_config.json: chat_template has an entry without name or template",
                    ));
                };
                found.insert(name, template);
            }
        }
        _ => {}
    }
    if let Some(file) = read_json_if_there(&directory.join("chat_template.json"))?
        && let Some(text) = file.get("chat_template").and_then(Value::as_str)
    {
        found.insert("default".to_owned(), text.to_owned());
    }
    let mut read = |name: &str, path: &Path| match read_text(path, MAX_TEMPLATE) {
        Ok(text) => {
            found.insert(name.to_owned(), text);
            Ok(())
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    };
    read("default", &directory.join("chat_template.jinja"))?;
    for entry in std::fs::read_dir(directory.join("additional_chat_templates")).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "jinja")
            && let Some(name) = path.file_stem().and_then(|s| s.to_str())
        {
            read(name, &path)?;
        }
    }
    Ok(found.into_iter().collect())
}
