//! Standard output and error: readers that leave, and texts of servers that would steer the terminal.

use std::fmt::{Arguments, Display};
use std::io::Write;

use mlx_engine::progress::Progress;
use serde_json::Value;

use crate::failure::Result;

/// Prints a line. Like `println!`, which panics when the reader has left, as `head` does.
macro_rules! say {
    ($($text:tt)*) => { $crate::out::line(format_args!($($text)*))? };
}
pub(crate) use say;

pub fn line(text: Arguments) -> Result {
    Ok(writeln!(std::io::stdout().lock(), "{}", clean(text))?)
}

/// Prints JSON in one line, at once.
pub fn print(json: &Value) -> Result {
    // What JSON allows in its strings, and terminals take for the beginning of an escape code.
    let mut text = String::new();
    for c in json.to_string().chars() {
        match c {
            '\u{7f}'..='\u{9f}' => text += &format!("\\u{:04x}", c as u32),
            c => text.push(c),
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// A text without escape codes and marks that reverse its direction.
pub fn clean(text: impl Display) -> String {
    let steers = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.to_string().chars().map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// What is told of work where no bar can show it: failures that are about to be retried, and waiting for others.
#[derive(Default)]
pub struct Notices {
    last: Option<String>,
}

impl Notices {
    pub fn tell(&mut self, progress: &Progress) {
        let notice = notice(progress);
        if let Some(text) = notice.as_ref().filter(|_| notice != self.last) {
            eprintln!("mlxe: {}", clean(text));
        }
        self.last = notice;
    }
}

/// What keeps work from going on.
pub fn notice(progress: &Progress) -> Option<String> {
    let retry = |r: &mlx_engine::progress::Retry| {
        format!("trying again in {:.1} s ({} of {}): {}", r.wait.as_secs_f64(), r.attempt, r.limit, r.reason)
    };
    progress.waiting.as_ref().map(|w| format!("waiting: {w}")).or_else(|| progress.retry.as_ref().map(retry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_do_not_steer_the_terminal() {
        assert_eq!(clean("a\x1b[31mb\u{9b}c\u{202e}d\te\n"), "a\u{fffd}[31mb\u{fffd}c\u{fffd}d\te\n");
        assert_eq!(clean("Modell für ü 模型"), "Modell für ü 模型");
    }
}
