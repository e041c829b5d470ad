//! Texts that a pattern cannot divide.
//!
//! Patterns such as `\s*[\r\n]+` go back over a whole run of white space, and after a million steps back the matcher
//! (fancy-regex) gives up; tokenizers 0.23 takes that for the end of the matches, and the rest of the text is one piece. So a
//! run that is too long is cut before a pattern sees it.

/// White space that one part may have in a row. A pattern goes over it a few times.
const RUN: usize = 200_000;

/// Parts of a text, in order, none with a longer run of white space.
pub(super) fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut from, mut run) = (0, 0);
    if text.len() > RUN {
        for (at, c) in text.char_indices() {
            run = if c.is_whitespace() { run + 1 } else { 0 };
            if run > RUN {
                parts.push(&text[from..at]);
                (from, run) = (at, 1);
            }
        }
    }
    parts.push(&text[from..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_runs_are_cut() {
        let long = format!("a{}b", " \n".repeat(RUN));
        let cut = parts(&long);
        assert_eq!(cut.concat(), long);
        assert_eq!(cut.iter().map(|part| part.len()).collect::<Vec<_>>(), [1 + RUN, RUN + 1]);
        for whole in ["", "a", " ".repeat(RUN).as_str(), "a ".repeat(RUN).as_str()] {
            assert_eq!(parts(whole), [whole]);
        }
    }
}
