//! Loading, with progress.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use mlx_engine::engine::{Control, Engine, Model};
use mlx_engine::load::{Checkpoints, LoadEvent, LoadingPhase};

use crate::args::{LoadArgs, ModelArgs};
use crate::failure::{Failure, Result};
use crate::out::{Notices, clean, say};

/// Loads the model that the arguments name. On a terminal a bar shows its progress.
pub fn load(args: &ModelArgs, with_tokenizer: bool) -> Result<Model> {
    load_on(&Engine::new(&args.how.engine.options())?, args, with_tokenizer)
}

/// [`load`] on this engine.
pub fn load_on(engine: &Engine, args: &ModelArgs, with_tokenizer: bool) -> Result<Model> {
    let configuration = args.configuration(with_tokenizer)?;
    if !std::io::stderr().is_terminal() {
        let mut notices = Notices::default();
        let tell = move |event: &LoadEvent| {
            event.progress.iter().for_each(|p| notices.tell(p));
            Control::Continue
        };
        return Ok(engine.load(configuration, tell).wait()?);
    }
    let style = ProgressStyle::with_template("{bar:24} {percent:>3}%  {msg}").expect("a valid template");
    let bar = ProgressBar::new(1000).with_style(style);
    let shown = bar.clone();
    let result = engine
        .load(configuration, move |event: &LoadEvent| {
            shown.set_position((event.estimated_progress * 1000.0) as u64);
            shown.set_message(clean(line(event)));
            Control::Continue
        })
        .wait();
    bar.finish_and_clear();
    Ok(result?)
}

/// A phase in a few words.
fn line(event: &LoadEvent) -> String {
    let Some(p) = event.progress.as_ref().filter(|p| p.bytes_total > 0) else { return event.description() };
    let rate = match event.phase {
        LoadingPhase::DownloadingWeights => format!(", {}/s", HumanBytes(p.bytes_per_second as u64)),
        _ => String::new(),
    };
    format!("{}  {} of {}{rate}", event.description(), HumanBytes(p.bytes_done), HumanBytes(p.bytes_total))
}

/// `mlxe load`
pub fn load_command(args: &LoadArgs) -> Result {
    if !args.events {
        let model = load(&args.model, !args.without_tokenizer)?;
        let info = model.info();
        say!(
            "{} ({}, {} parameters, {}) in {:.2} s",
            info.name,
            info.model_type,
            crate::numbers::short_count(info.parameters),
            HumanBytes(info.weight_bytes),
            info.load_seconds
        );
        return Ok(());
    }
    let engine = Engine::new(&args.model.how.engine.options())?;
    let configuration = args.model.configuration(!args.without_tokenizer)?;
    let name = configuration.name();
    let mut view = args.checkpoints.then(Checkpoints::default);
    if view.is_some() {
        say!("{}", Checkpoints::started(&name));
    }
    let unread = Arc::new(AtomicBool::new(false));
    let left = unread.clone();
    let task = engine.load(configuration, move |event: &LoadEvent| {
        let lines: Vec<String> = match &mut view {
            Some(view) => view.reach(event.phase).iter().map(|c| c.to_json(&name).to_string()).collect(),
            None => vec![event.to_json().to_string()],
        };
        let mut out = std::io::stdout().lock();
        for line in lines {
            if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                left.store(true, Ordering::Relaxed);
                return Control::Cancel;
            }
        }
        Control::Continue
    });
    match task.wait() {
        Err(_) if unread.load(Ordering::Relaxed) => Err(Failure::unread()),
        result => Ok(result.map(drop)?),
    }
}
