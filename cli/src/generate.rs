//! `mlxe generate` and `mlxe logits`

use std::collections::HashMap;
use std::io::Write;
use std::sync::mpsc::channel;

use mlx_engine::Error;
use mlx_engine::chat::ChatSession;
use mlx_engine::engine::{Control, Model};
use mlx_engine::generate::{GenerateOptions, GenerationEvent, GenerationStats};
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use crate::args::{GenerateArgs, LogitsArgs};
use crate::load::load;
use crate::{Failure, Result};

/// Generates, hands every event to `seen`, and returns the statistics.
pub fn stream(
    model: &Model,
    prompt: Vec<u32>,
    options: GenerateOptions,
    mut seen: impl FnMut(GenerationEvent) -> std::io::Result<()>,
) -> Result<GenerationStats> {
    // Printing may block; the engine's thread should not.
    let (sender, receiver) = channel();
    let task = model.generate(prompt, options, move |event: &GenerationEvent| match sender.send(event.clone()) {
        Ok(()) => Control::Continue,
        Err(_) => Control::Cancel,
    })?;
    for event in receiver {
        if let Err(error) = seen(event) {
            task.cancel();
            return Err(error.into());
        }
    }
    Ok(task.wait()?)
}

pub fn generate(args: &GenerateArgs) -> Result {
    let model = load(&args.model, args.prompt.prompt.is_some())?;
    let prompt = match (&args.prompt.prompt, &args.prompt.tokens) {
        (_, Some(tokens)) => tokens.clone(),
        (prompt, None) => {
            let text = prompt.as_deref().unwrap_or_default();
            let tokenizer = model.tokenizer().expect("loaded with one").clone();
            if args.chat {
                let mut session = ChatSession::new(tokenizer)?;
                session.push("user", text);
                session.prompt()?
            } else {
                tokenizer.encode_prompt(text)?
            }
        }
    };
    let has_text = model.tokenizer().is_some();
    let mut out = std::io::stdout().lock();
    let (mut text, mut tokens, mut details) = (String::new(), Vec::new(), Vec::new());
    let stats = stream(&model, prompt, args.generation.options(), |event| {
        let piece = match event {
            GenerationEvent::Prefill { .. } => return Ok(()),
            GenerationEvent::Token { token, text } => {
                tokens.push(token.id);
                if let Some(logprob) = token.logprob {
                    details.push(json!({"token": token.id, "logprob": logprob, "top": token.top}));
                }
                if !has_text && !args.json {
                    write!(out, "{}{}", if tokens.len() > 1 { "," } else { "" }, token.id)?;
                }
                text
            }
            GenerationEvent::Text { text } => text,
        };
        text.push_str(&piece);
        if !args.json {
            write!(out, "{piece}")?;
            out.flush()?;
        }
        Ok(())
    })?;
    if args.json {
        let mut object = json!({"tokens": tokens, "stats": stats});
        if has_text {
            object["text"] = Value::from(text);
        }
        if !details.is_empty() {
            object["logprobs"] = Value::from(details);
        }
        writeln!(out, "{object}")?;
    } else {
        writeln!(out)?;
    }
    Ok(())
}

pub fn logits(args: &LogitsArgs) -> Result {
    let model = load(&args.model, false)?;
    let logits = model.logits(args.tokens.clone())?.wait()?;
    let bytes: Vec<u8> = logits.values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let write = || -> std::result::Result<Vec<u8>, safetensors::SafeTensorError> {
        let view = TensorView::new(safetensors::Dtype::F32, vec![logits.rows, logits.columns], &bytes)?;
        safetensors::serialize(HashMap::from([("logits", view)]), None)
    };
    let file = write().map_err(|e| Failure::from(Error::internal(e.to_string())))?;
    std::fs::write(&args.out, file).map_err(|e| Failure::from(Error::io(&args.out, e)))
}
