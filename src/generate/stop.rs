//! Stop strings, which may span tokens.

/// Passes text through until a stop string appears, holding back what might be the beginning of one.
#[derive(Default)]
pub struct StopMatcher {
    stops: Vec<String>,
    held: String,
}

impl StopMatcher {
    /// A matcher for these strings. Empty ones are ignored.
    pub fn new(stops: &[String]) -> Self {
        StopMatcher { stops: stops.iter().filter(|s| !s.is_empty()).cloned().collect(), held: String::new() }
    }

    /// Takes new text. Returns what may be shown, and whether a stop string appeared.
    pub fn push(&mut self, text: &str) -> (String, bool) {
        if self.stops.is_empty() {
            return (text.to_owned(), false);
        }
        self.held.push_str(text);
        if let Some(at) = self.stops.iter().filter_map(|s| self.held.find(s.as_str())).min() {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let keep = self.stops.iter().map(|s| overlap(&self.held, s)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What was held back, when no more text comes.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// The length of the longest suffix of `text` that is a proper prefix of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len() - 1);
    (1..=longest)
        .rev()
        .find(|&n| stop.is_char_boundary(n) && text.as_bytes().ends_with(&stop.as_bytes()[..n]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(|s| (*s).to_owned()).collect();
        let mut matcher = StopMatcher::new(&stops);
        let mut shown = String::new();
        for piece in pieces {
            let (text, stopped) = matcher.push(piece);
            shown += &text;
            if stopped {
                return (shown, true);
            }
        }
        (shown + &matcher.finish(), false)
    }

    #[test]
    fn finds_stops_across_pieces() {
        assert_eq!(run(&["\n\nUser:"], &["Hi", "\n", "\nUs", "er", ": no"]), ("Hi".into(), true));
        assert_eq!(run(&["END"], &["E", "N", "E", "N", "D", "x"]), ("EN".into(), true));
        assert_eq!(run(&["abc", "b"], &["aab", "c"]), ("aa".into(), true));
        assert_eq!(run(&["日本"], &["in ", "日", "本"]), ("in ".into(), true));
    }

    #[test]
    fn lets_everything_else_through() {
        assert_eq!(run(&["END"], &["EN", "E", "EN"]), ("ENEEN".into(), false));
        assert_eq!(run(&[""], &["x"]), ("x".into(), false));
        assert_eq!(run(&[], &["x"]), ("x".into(), false));
    }

    /// The result does not depend on how a text is cut into pieces.
    #[test]
    fn does_not_depend_on_the_cut() {
        let text = "one two ÄÖ three twotwo END of END";
        for stop in ["END", "two t", "ÄÖ", "wot", "zzz", "of END"] {
            let whole = run(&[stop], &[text]);
            for width in 1..6 {
                let chars: Vec<char> = text.chars().collect();
                let pieces: Vec<String> = chars.chunks(width).map(|c| c.iter().collect()).collect();
                let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
                assert_eq!(run(&[stop], &pieces), whole, "{stop} by {width}");
            }
        }
    }
}
