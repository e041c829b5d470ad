//! `mlxe list`, `info ID`, `verify`, `rm`, `prune`, `import` and `mv`: the models on the disk.

use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};
use mlx_engine::hub::{Import, Prune, Storage, StoredModel};
use mlx_engine::progress::Progress;
use mlx_engine::{Error, Result as EngineResult};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::{ImportArgs, ListArgs, MvArgs, PruneArgs, RmArgs, VerifyArgs};
use crate::failure::{Failure, Result};
use crate::options::HubFlags;
use crate::out::{print, say};
use crate::pull::event;

fn storage(hub: &HubFlags) -> Result<Storage> {
    Ok(hub.hub()?.storage())
}

pub fn value(of: impl Serialize) -> Result<Value> {
    serde_json::to_value(of).map_err(|e| Error::internal(e.to_string()).into())
}

/// Does work with a bar, or with a line of JSON for each event and one for the result.
fn watched<T: Serialize>(
    json: bool,
    work: impl FnOnce(&mut dyn FnMut(&Progress) -> EngineResult<()>) -> EngineResult<T>,
) -> Result<T> {
    let style = ProgressStyle::with_template("{bar:24} {bytes:>10} of {total_bytes:>10}  {msg}");
    let bar = ProgressBar::new(0).with_style(style.expect("a valid template"));
    let mut shown: Option<(Instant, usize)> = None;
    let mut unread = false;
    let result = work(&mut |progress| {
        // Often enough for people and programs; each file is reported.
        let recent =
            |(at, file): (Instant, usize)| file == progress.file_index && at.elapsed() < Duration::from_millis(50);
        if shown.is_some_and(recent) {
            return Ok(());
        }
        shown = Some((Instant::now(), progress.file_index));
        if json {
            // The reader has gone: the work ends too.
            return print(&event(progress)).map_err(|failure| {
                unread = failure.message.is_empty();
                Error::cancelled()
            });
        }
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes_done);
        let left = progress.remaining.map_or_else(String::new, |r| format!(", {} left", HumanDuration(r)));
        bar.set_message(format!("{}{left}", progress.file));
        Ok(())
    });
    bar.finish_and_clear();
    if unread {
        return Err(Failure::unread());
    }
    let result = result?;
    if json {
        print(&json!({"event": "done", "result": value(&result)?}))?;
    }
    Ok(result)
}

fn ago(model: &StoredModel) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let since = now.saturating_sub(Duration::from_secs(model.last_used));
    format!("{} ago", HumanDuration(since))
}

pub fn list(args: &ListArgs) -> Result {
    let storage = storage(&args.hub)?;
    let models = storage.list()?;
    if args.json {
        return print(&value(models)?);
    }
    let width = models.iter().map(|m| m.id.len()).max().unwrap_or(0);
    for model in &models {
        let state = if model.complete { "" } else { "  incomplete" };
        let bytes = HumanBytes(model.bytes).to_string();
        say!("{:width$}  {bytes:>10}  {:>16}{state}", model.id, ago(model));
    }
    let total = HumanBytes(models.iter().map(|m| m.bytes).sum());
    say!("{} models, {total} in {}", models.len(), storage.root().display());
    Ok(())
}

pub fn info(hub: &HubFlags, id: &str, json: bool) -> Result {
    let model = storage(hub)?.info(id)?;
    if json {
        return print(&value(model)?);
    }
    for (name, value) in [
        ("id", model.id.clone()),
        ("directory", model.directory.display().to_string()),
        ("architecture", model.model_type.clone().unwrap_or_else(|| "-".into())),
        ("complete", if model.complete { "yes" } else { "no" }.into()),
        ("on disk", HumanBytes(model.bytes).to_string()),
        ("last used", format!("{}, {} times", ago(&model), model.uses)),
    ] {
        say!("{name:14} {value}");
    }
    for r in &model.revisions {
        let state = if r.complete { "" } else { ", incomplete" };
        say!("{:14} {} {} ({} files, {}{state})", "revision", r.commit, r.refs.join(" "), r.files, HumanBytes(r.bytes));
    }
    Ok(())
}

pub fn verify(args: &VerifyArgs) -> Result {
    let storage = storage(&args.hub)?;
    let found = watched(args.json, |watch| storage.verify(args.id.as_deref(), args.fix, watch))?;
    if !args.json {
        for problem in &found.problems {
            say!("{}{}", problem.message, if problem.fixed { " (removed)" } else { "" });
        }
        say!("{} models, {} files, {}", found.models.len(), found.files, HumanBytes(found.bytes));
    }
    match found.sound {
        true => Ok(()),
        false if args.fix => Err(Failure { message: "some models were damaged; download them again".into(), code: 1 }),
        false => Err(Failure { message: "some models are damaged; --fix removes what is".into(), code: 1 }),
    }
}

pub fn remove(args: &RmArgs) -> Result {
    let storage = storage(&args.hub)?;
    for id in &args.ids {
        let removed = storage.remove(id, args.revision.as_deref())?;
        match args.json {
            true => print(&value(removed)?)?,
            false => say!("{id}: {} freed", HumanBytes(removed.bytes)),
        }
    }
    Ok(())
}

pub fn prune(args: &PruneArgs) -> Result {
    let storage = storage(&args.hub)?;
    let prune = Prune { budget: args.budget, keep: args.keep.clone(), dry_run: args.dry_run };
    let pruned = watched(args.json, |watch| storage.prune(&prune, watch))?;
    if !args.json {
        let word = if args.dry_run { "would be freed" } else { "freed" };
        for removed in &pruned.removed {
            say!("{}: {} {word}", removed.id, HumanBytes(removed.bytes));
        }
        for id in &pruned.busy {
            say!("{id}: in use, kept");
        }
        say!("{} left", HumanBytes(pruned.bytes));
    }
    match pruned.within_budget {
        true => Ok(()),
        false => Err(Failure { message: "what had to stay is more than the budget".into(), code: 1 }),
    }
}

pub fn import(args: &ImportArgs) -> Result {
    let storage = storage(&args.hub)?;
    let import = Import {
        folder: args.folder.clone(),
        id: args.id.clone(),
        link: args.link,
        check: Some(&mlx_engine::load::check_config),
    };
    let model = watched(args.json, |watch| storage.import(&import, watch))?;
    if !args.json {
        say!("{}: {} in {}", model.id, HumanBytes(model.bytes), model.directory.display());
    }
    Ok(())
}

pub fn relocate(args: &MvArgs) -> Result {
    let storage = storage(&args.hub)?;
    let moved = watched(args.json, |watch| storage.relocate(&args.to, watch))?;
    if !args.json {
        for id in &moved.stayed {
            say!("{id}: in use, or a model of that name is already there; not moved");
        }
        say!("{} models in {}", moved.moved.len(), moved.directory.display());
    }
    match moved.stayed.is_empty() {
        true => Ok(()),
        false => Err(Failure { message: "not all models were moved".into(), code: 1 }),
    }
}
