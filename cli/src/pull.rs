//! `mlxe pull`: downloads, with a bar for each file in progress.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use mlx_engine::hub::{Download, DownloadRequest};
use mlx_engine::progress::Progress;
use serde_json::{Value, json};

use crate::args::PullArgs;
use crate::failure::Result;
use crate::out::{Notices, clean, notice, print, say};

/// How often progress is shown.
const TICK: Duration = Duration::from_millis(100);

pub fn pull(args: &PullArgs) -> Result {
    let request = DownloadRequest::new(&args.id, args.revision.clone());
    let download = args.hub.hub()?.download(request)?;
    let mut bars = Bars::new();
    let mut notices = (!args.json && !std::io::stderr().is_terminal()).then(Notices::default);
    let mut last = Value::Null;
    let result = loop {
        let result = download.wait_for(TICK);
        if args.json {
            let json = to_json(&download);
            if json != last {
                print(&json)?;
                last = json;
            }
        } else {
            bars.show(&download);
        }
        if let Some(notices) = &mut notices {
            notices.tell(&download.progress());
        }
        if let Some(result) = result {
            break result;
        }
    };
    bars.clear();
    let folder = result?;
    match args.json {
        true => print(&json!({"event": "done", "id": args.id, "commit": download.commit(), "directory": folder})),
        false => {
            say!("{}", folder.display());
            Ok(())
        }
    }
}

/// The progress, in total and of each file.
fn to_json(download: &Download) -> Value {
    let files = download.files();
    let files = files.iter().map(|f| json!({"name": f.name, "size": f.size, "done": f.done}));
    let mut json = event(&download.progress());
    json["files"] = files.collect();
    json
}

/// An event of work on models: the progress, in the form that C and loads have it in.
pub fn event(progress: &Progress) -> Value {
    let mut json = json!({"event": "progress"});
    if let (Value::Object(json), Value::Object(more)) = (&mut json, progress.to_json()) {
        json.extend(more);
    }
    json
}

/// A bar for the whole, and one for each file in progress. Nothing where standard error is no terminal.
struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    files: Vec<(String, ProgressBar)>,
}

impl Bars {
    fn new() -> Bars {
        let all = MultiProgress::new();
        let style = "{bar:24} {bytes:>10} of {total_bytes:>10}  {msg}";
        let total = ProgressBar::new(0).with_style(ProgressStyle::with_template(style).expect("a valid template"));
        Bars { total: all.add(total), all, files: Vec::new() }
    }

    fn show(&mut self, download: &Download) {
        let progress = download.progress();
        for file in &download.files() {
            let place = self.files.iter().position(|(name, _)| *name == file.name);
            match (place, file.finished || file.done == 0) {
                (Some(place), true) => self.files.remove(place).1.finish_and_clear(),
                (Some(place), false) => self.files[place].1.set_position(file.done),
                (None, true) => {}
                (None, false) => {
                    let bar = self.all.insert_before(&self.total, ProgressBar::new(file.size));
                    bar.set_style(self.total.style());
                    bar.set_message(file.name.clone());
                    self.files.push((file.name.clone(), bar));
                }
            }
        }
        self.total.set_length(progress.bytes_total);
        self.total.set_position(progress.bytes_done);
        self.total.set_message(match (notice(&progress), progress.remaining) {
            (Some(notice), _) => clean(notice),
            (None, Some(left)) => {
                let rate = indicatif::HumanBytes(progress.bytes_per_second as u64);
                format!("{rate}/s, {} left", indicatif::HumanDuration(left))
            }
            (None, None) => "checking the cache".into(),
        });
    }

    fn clear(&self) {
        let _ = self.all.clear();
    }
}
