//! `mlxe score`

use mlx_engine::Error;
use mlx_engine::engine::{Model, Scores};
use serde_json::json;

use crate::args::ScoreArgs;
use crate::failure::{Failure, Result};
use crate::load::load;
use crate::out::{print, say};
use crate::text::text_or_stdin;

/// The most tokens of a part where nothing else is asked for.
const MAX_CONTEXT: u32 = 4096;

pub fn score(args: &ScoreArgs) -> Result {
    let model = load(&args.model, args.tokens.is_none())?;
    let (prompt, tokens) = match &args.tokens {
        Some(tokens) => (None, tokens.clone()),
        None => encode(&model, args)?,
    };
    // Without a prompt there is nothing that the first token could be scored by.
    let (scored, scores) = match prompt {
        Some(prompt) => (&tokens[..], (*model.score(prompt, tokens.clone())?.wait()?).clone()),
        None => (tokens.get(1..).unwrap_or_default(), in_parts(&model, &tokens, context(&model, args.context))?),
    };
    if args.json {
        return print(&json!({
            "tokens": scored,
            "logprobs": scores.logprobs,
            "most_likely": scores.most_likely,
            "total": scores.total(),
            "perplexity": scores.perplexity(),
        }));
    }
    say!("tokens           {}", scores.logprobs.len());
    say!("log-probability  {:.4}", scores.total());
    say!("perplexity       {:.4}", scores.perplexity());
    Ok(())
}

/// Prompt and text.
fn encode(model: &Model, args: &ScoreArgs) -> Result<(Option<Vec<u32>>, Vec<u32>)> {
    let text = match &args.file {
        Some(path) => std::fs::read_to_string(path).map_err(|e| Failure::from(Error::io(path, e)))?,
        None => text_or_stdin(args.text.as_ref())?,
    };
    let tokenizer = model.tokenizer().expect("loaded with one");
    let Some(prompt) = &args.prompt else { return Ok((None, tokenizer.encode_prompt(&text)?)) };
    let before = tokenizer.encode_prompt(prompt)?;
    // Encoded together where the border between them stays one between tokens: a text may begin differently alone.
    let mut all = tokenizer.encode_prompt(&format!("{prompt}{text}"))?;
    let continuation = match all.starts_with(&before) {
        true => all.split_off(before.len()),
        false => tokenizer.encode(&text, false)?,
    };
    Ok((Some(before), continuation))
}

/// Tokens of a part.
fn context(model: &Model, given: Option<u32>) -> usize {
    let most = model.info().context_length.map_or(MAX_CONTEXT, |n| (n as u32).min(MAX_CONTEXT));
    given.unwrap_or(most) as usize
}

/// Scores all tokens but the first. Each part begins with the last token of the one before, which it does not score.
fn in_parts(model: &Model, tokens: &[u32], context: usize) -> Result<Scores> {
    if tokens.len() < 2 {
        return Err(Error::invalid_argument("a text of one token has nothing to score; give a --prompt").into());
    }
    let mut all = Scores::default();
    for start in (0..tokens.len() - 1).step_by(context - 1) {
        let part = &tokens[start..(start + context).min(tokens.len())];
        let scores = model.score(part[..1].to_vec(), part[1..].to_vec())?.wait()?;
        all.logprobs.extend(&scores.logprobs);
        all.most_likely.extend(&scores.most_likely);
    }
    Ok(all)
}
