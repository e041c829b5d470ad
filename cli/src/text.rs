//! `mlxe tokenize` and `mlxe template`

use std::io::{Read, Write};

use mlx_engine::Error;
use mlx_engine::tokenizer::{TemplateChoice, TemplateOptions, Tokenizer, TokenizerOptions, parse_template_data};
use serde_json::{Map, Value, json};

use crate::args::{TemplateArgs, TokenizeArgs};
use crate::failure::{Failure, Result};
use crate::out::say;

/// The argument, or all of standard input.
pub fn text_or_stdin(argument: Option<&String>) -> Result<String> {
    match argument {
        Some(text) => Ok(text.clone()),
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            Ok(text)
        }
    }
}

pub fn tokenize(args: &TokenizeArgs) -> Result {
    let tokenizer = Tokenizer::from_directory(&args.model, TokenizerOptions::default())?;
    let text = text_or_stdin(args.text.as_ref())?;
    if args.decode {
        let ids = text
            .split([',', ' ', '\n', '\t', '[', ']'])
            .filter(|piece| !piece.is_empty())
            .map(|piece| piece.parse().map_err(|_| Error::invalid_argument(format!("{piece:?} is not a token id"))))
            .collect::<std::result::Result<Vec<u32>, _>>()?;
        writeln!(std::io::stdout().lock(), "{}", tokenizer.decode(&ids, args.no_special)?)?;
        return Ok(());
    }
    let ids = tokenizer.encode(&text, !args.no_special)?;
    if args.json {
        let tokens: Vec<Option<String>> = ids.iter().map(|&id| tokenizer.id_to_token(id)).collect();
        say!("{}", json!({"ids": ids, "tokens": tokens}));
    } else {
        say!("{}", ids.iter().map(u32::to_string).collect::<Vec<_>>().join(","));
    }
    Ok(())
}

/// JSON given directly or as `@file`.
fn read_json(argument: &str, name: &str) -> Result<Value> {
    let text = match argument.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).map_err(|e| Failure::from(Error::io(path, e)))?,
        None => argument.to_owned(),
    };
    Ok(parse_template_data(&text, name)?)
}

/// The JSON object of `--variables`.
pub fn read_variables(argument: &str) -> Result<Map<String, Value>> {
    match read_json(argument, "--variables")? {
        Value::Object(map) => Ok(map),
        _ => Err(Error::invalid_argument("--variables is not a JSON object").into()),
    }
}

pub fn template(args: &TemplateArgs) -> Result {
    let tokenizer = Tokenizer::from_directory(&args.model, TokenizerOptions::default())?;
    let messages = read_json(&text_or_stdin(args.messages.as_ref())?, "messages")?;
    let optional = |argument: &Option<String>, name: &str| match argument {
        Some(text) => read_json(text, name).map(Some),
        None => Ok(None),
    };
    let variables = args.variables.as_deref().map(read_variables).transpose()?.unwrap_or_default();
    let options = TemplateOptions {
        tools: optional(&args.tools, "--tools")?,
        add_generation_prompt: !args.no_generation_prompt && !args.continue_final_message,
        continue_final_message: args.continue_final_message.then(|| "content".to_owned()),
        template: args.name.clone().map_or(TemplateChoice::Auto, TemplateChoice::Named),
        variables,
        ..Default::default()
    };
    Ok(write!(std::io::stdout().lock(), "{}", tokenizer.apply_chat_template(&messages, &options)?)?)
}
