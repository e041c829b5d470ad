//! `mlxe run`: a chat in the terminal.

use std::io::{BufRead, IsTerminal, Write};

use mlx_engine::chat::ChatSession;
use mlx_engine::engine::Model;
use mlx_engine::generate::{GenerationEvent, GenerationStats, StopReason};

use crate::args::RunArgs;
use crate::failure::Result;
use crate::generate::stream;
use crate::load::load;
use crate::text;

pub fn run(args: &RunArgs) -> Result {
    let model = load(&args.model, true)?;
    let mut session = ChatSession::new(model.tokenizer().expect("loaded with one").clone())?;
    if let Some(system) = &args.system {
        session.push("system", system);
    }
    if let Some(variables) = &args.variables {
        session.template.variables = text::read_variables(variables)?;
    }
    if let Some(question) = &args.question {
        answer(&model, &mut session, args, question)?;
        return Ok(());
    }
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        eprintln!("{} on {}. /clear starts over, /bye quits.", model.info().name, model.info().device);
    }
    let mut lines = std::io::stdin().lock();
    loop {
        if terminal {
            eprint!("> ");
        }
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim() {
            "" => {}
            "/bye" => return Ok(()),
            "/clear" => session.clear(),
            question => {
                let stats = answer(&model, &mut session, args, question)?;
                if terminal {
                    let rate = stats.generation_tokens_per_second;
                    let ended = match stats.stop_reason {
                        StopReason::Eos => String::new(),
                        other => format!(", ended by {}", other.name()),
                    };
                    eprintln!("[{} tokens, {rate:.1} tokens/s{ended}]", stats.generated_tokens);
                }
            }
        }
    }
}

/// Asks, prints the answer as it comes, and remembers both.
fn answer(model: &Model, session: &mut ChatSession, args: &RunArgs, question: &str) -> Result<GenerationStats> {
    session.push("user", question);
    let mut out = std::io::stdout().lock();
    let mut said = String::new();
    let stats = stream(model, session.prompt()?, args.generation.options(), |event| {
        if let GenerationEvent::Token { text, .. } | GenerationEvent::Text { text } = event {
            said.push_str(&text);
            write!(out, "{text}")?;
            out.flush()?;
        }
        Ok(())
    })?;
    writeln!(out)?;
    session.push("assistant", said);
    Ok(stats)
}
