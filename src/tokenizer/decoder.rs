//! Decoding, one token at a time.
//!
//! A decoder in `tokenizer.json` turns a list of pieces into text in a few steps. Each step is written here as a
//! machine that takes one piece at a time and holds back only what later pieces can still change: an unfinished code
//! point, a run of bytes, a possible match. So streaming and decoding at once are the same code and give the same
//! text, and a token costs time in proportion to its own length.

use serde_json::Value as Json;
use tokenizers::{Decoder, DecoderWrapper};

use crate::{Error, Result};

/// The steps of a decoder: first those that see pieces, then those that see their concatenation.
#[derive(Clone, Debug, Default)]
pub(super) struct Pipeline {
    pieces: Vec<PieceStep>,
    text: Vec<TextStep>,
}

/// A step that sees one piece after the other and passes pieces on.
#[derive(Clone, Debug)]
enum PieceStep {
    /// Pieces are words, with a blank between them. It is what a tokenizer without a decoder does.
    Words { first: bool },
    /// A step that treats every piece alike: `Replace`, left to the library because it may be a regular expression.
    Replace(DecoderWrapper),
    /// Cuts up to so many of a character off the ends of every piece.
    Strip(Strip),
    /// A character stands for the blank before a word; at the start of the text it may stand for nothing.
    Metaspace { replacement: char, drop_in_first: bool, first: bool },
    /// Pieces are words, unless the prefix says that they continue one.
    WordPiece { prefix: String, cleanup: bool, first: bool },
    /// A suffix marks the end of a word, which becomes a blank, save in the last piece.
    WordSuffix { suffix: String, held: Option<String> },
    /// Pieces such as `<0x0A>` are bytes. A run of them is text if all of it is UTF-8, else one U+FFFD per byte, so
    /// nothing of a run is known before it ends.
    ByteFallback { run: Vec<u8> },
    /// Characters stand for bytes, as GPT-2 has it. Holds an unfinished code point.
    ByteLevel { pending: Vec<u8> },
}

/// A step that sees all of the text, in parts of any length.
#[derive(Clone, Debug)]
enum TextStep {
    /// Cuts up to so many of a character off the start and the end of the text.
    Strip { strip: Strip, held: String },
    /// `text.replace(pattern, content)`
    Replace { pattern: String, content: String, held: String },
}

#[derive(Clone, Copy, Debug)]
struct Strip {
    content: char,
    start: usize,
    stop: usize,
}

/// What transformers' `clean_up_tokenization` replaces, in order.
const CLEAN_UP: [(&str, &str); 10] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

impl Pipeline {
    /// The steps of the decoder that `tokenizer.json` describes as `decoder`.
    ///
    /// Fails with [`ErrorKind::Tokenizer`](crate::ErrorKind::Tokenizer) on decoders that no language model has.
    pub fn new(decoder: Option<&DecoderWrapper>, clean_up: bool) -> Result<Self> {
        let mut pipeline = Pipeline::default();
        match decoder {
            None => pipeline.pieces.push(PieceStep::Words { first: true }),
            Some(decoder) => {
                let json = serde_json::to_value(decoder)
                    .map_err(|error| Error::tokenizer("tokenizer.json: decoder").with_source(error))?;
                pipeline.add(&json, &mut false)?;
            }
        }
        if clean_up {
            let replace = |(pattern, content): (&str, &str)| TextStep::replace(pattern.into(), content.into());
            pipeline.text.extend(CLEAN_UP.map(replace));
        }
        Ok(pipeline)
    }

    /// Adds a decoder's steps. `fused` says whether a step before has made one text of the pieces.
    fn add(&mut self, decoder: &Json, fused: &mut bool) -> Result<()> {
        let kind = decoder["type"].as_str().unwrap_or_default();
        let bad = |key: &str| Error::tokenizer(format!("tokenizer.json: decoder `{kind}`: `{key}` is not supported"));
        let text = |key: &str| decoder[key].as_str().map(str::to_owned).ok_or_else(|| bad(key));
        let number =
            |key: &str| decoder[key].as_u64().and_then(|number| usize::try_from(number).ok()).ok_or_else(|| bad(key));
        let character = |key: &str| {
            let text = text(key)?;
            let mut chars = text.chars();
            chars.next().filter(|_| chars.next().is_none()).ok_or_else(|| bad(key))
        };
        let step = match kind {
            "Sequence" => {
                let decoders = decoder["decoders"].as_array().ok_or_else(|| bad("decoders"))?;
                return decoders.iter().try_for_each(|decoder| self.add(decoder, fused));
            }
            "Fuse" => {
                *fused = true;
                return Ok(());
            }
            "Strip" => {
                let strip = Strip { content: character("content")?, start: number("start")?, stop: number("stop")? };
                if *fused {
                    self.text.push(TextStep::Strip { strip, held: String::new() });
                    return Ok(());
                }
                PieceStep::Strip(strip)
            }
            "Replace" if *fused => {
                let pattern = decoder["pattern"]["String"].as_str().filter(|pattern| !pattern.is_empty());
                self.text.push(TextStep::replace(pattern.ok_or_else(|| bad("pattern"))?.into(), text("content")?));
                return Ok(());
            }
            _ if *fused => return Err(bad("type after Fuse")),
            "Replace" => PieceStep::Replace(
                serde_json::from_value(decoder.clone()).map_err(|error| bad("pattern").with_source(error))?,
            ),
            "Metaspace" => PieceStep::Metaspace {
                replacement: character("replacement")?,
                drop_in_first: decoder["prepend_scheme"] != "never",
                first: true,
            },
            "WordPiece" => PieceStep::WordPiece {
                prefix: text("prefix")?,
                cleanup: decoder["cleanup"].as_bool().unwrap_or(true),
                first: true,
            },
            "BPEDecoder" => PieceStep::WordSuffix { suffix: text("suffix")?, held: None },
            "ByteFallback" => PieceStep::ByteFallback { run: Vec::new() },
            "ByteLevel" => {
                *fused = true;
                PieceStep::ByteLevel { pending: Vec::new() }
            }
            _ => return Err(bad("type")),
        };
        self.pieces.push(step);
        Ok(())
    }

    /// Takes an added token, which stands for its own text.
    pub fn push_added(&mut self, token: String, out: &mut String) {
        let spelled = self.pieces.iter().any(|step| matches!(step, PieceStep::ByteLevel { .. }));
        self.push(if spelled { token.bytes().map(byte_level_char).collect() } else { token }, out);
    }

    /// The bytes that a piece adds to a text, not at its beginning.
    pub fn bytes_of(&self, piece: &str, added: bool) -> Vec<u8> {
        let has = |is: fn(&PieceStep) -> bool| self.pieces.iter().any(is);
        if has(|step| matches!(step, PieceStep::ByteLevel { .. })) {
            let spelled = piece.chars().map(byte_level_byte).collect::<Option<Vec<u8>>>().filter(|_| !added);
            return spelled.unwrap_or_else(|| piece.as_bytes().to_vec());
        }
        if has(|step| matches!(step, PieceStep::ByteFallback { .. }))
            && let Some(byte) = fallback_byte(piece).filter(|_| !added)
        {
            return vec![byte];
        }
        let text = |pieces: &[&str]| {
            let (mut pipeline, mut out) = (self.clone(), String::new());
            pieces.iter().for_each(|piece| pipeline.push((*piece).to_owned(), &mut out));
            pipeline.finish(&mut out);
            out
        };
        let (before, all) = (text(&["a"]), text(&["a", piece]));
        all.strip_prefix(&before).unwrap_or(&all).as_bytes().to_vec()
    }

    pub fn push(&mut self, piece: String, out: &mut String) {
        run_pieces(&mut self.pieces, piece, &mut |piece| run_text(&mut self.text, &piece, out));
    }

    pub fn finish(mut self, out: &mut String) {
        for i in 0..self.pieces.len() {
            let (done, rest) = self.pieces.split_at_mut(i + 1);
            let text = &mut self.text;
            done[i].finish(&mut |piece| run_pieces(rest, piece, &mut |piece| run_text(text, &piece, out)));
        }
        for i in 0..self.text.len() {
            let (done, rest) = self.text.split_at_mut(i + 1);
            run_text(rest, &done[i].finish(), out);
        }
    }
}

fn run_pieces(steps: &mut [PieceStep], piece: String, sink: &mut dyn FnMut(String)) {
    match steps.split_first_mut() {
        Some((step, rest)) => step.push(piece, &mut |piece| run_pieces(rest, piece, sink)),
        None => sink(piece),
    }
}

fn run_text(steps: &mut [TextStep], text: &str, out: &mut String) {
    match steps.split_first_mut() {
        _ if text.is_empty() => {}
        Some((step, rest)) => run_text(rest, &step.push(text), out),
        None => out.push_str(text),
    }
}

impl PieceStep {
    fn push(&mut self, piece: String, sink: &mut dyn FnMut(String)) {
        match self {
            PieceStep::Words { first } => match std::mem::take(first) {
                true => sink(piece),
                false => sink(format!(" {piece}")),
            },
            PieceStep::Replace(decoder) => match decoder.decode_chain(vec![piece.clone()]) {
                Ok(pieces) => pieces.into_iter().for_each(sink),
                // A pattern that gives up leaves the piece as it is.
                Err(_) => sink(piece),
            },
            PieceStep::Strip(strip) => {
                let text = strip.start(&piece, strip.start).0;
                sink(text[..strip.stop(text)].to_owned());
            }
            PieceStep::Metaspace { replacement, drop_in_first, first } => {
                let blank = if std::mem::take(first) && *drop_in_first { "" } else { " " };
                sink(piece.replace(*replacement, blank));
            }
            PieceStep::WordPiece { prefix, cleanup, first } => {
                let text = match piece.strip_prefix(prefix.as_str()) {
                    _ if std::mem::take(first) => piece,
                    Some(text) => text.to_owned(),
                    None => format!(" {piece}"),
                };
                sink(if *cleanup { tokenizers::decoders::wordpiece::cleanup(&text) } else { text });
            }
            PieceStep::WordSuffix { suffix, held } => {
                if let Some(piece) = held.replace(piece) {
                    sink(piece.replace(suffix.as_str(), " "));
                }
            }
            PieceStep::ByteFallback { run } => match fallback_byte(&piece) {
                Some(byte) => run.push(byte),
                None => {
                    end_run(run, sink);
                    sink(piece);
                }
            },
            PieceStep::ByteLevel { pending } => {
                let start = pending.len();
                for c in piece.chars() {
                    match byte_level_byte(c) {
                        Some(byte) => pending.push(byte),
                        // One character outside the alphabet and the piece means itself: an added token.
                        None => {
                            pending.truncate(start);
                            pending.extend_from_slice(piece.as_bytes());
                            break;
                        }
                    }
                }
                sink(take_text(pending));
            }
        }
    }

    fn finish(&mut self, sink: &mut dyn FnMut(String)) {
        match self {
            PieceStep::WordSuffix { suffix, held: Some(piece) } => sink(piece.replace(suffix.as_str(), "")),
            PieceStep::ByteFallback { run } => end_run(run, sink),
            PieceStep::ByteLevel { pending } => sink(String::from_utf8_lossy(pending).into_owned()),
            _ => {}
        }
    }
}

impl TextStep {
    fn replace(pattern: String, content: String) -> Self {
        TextStep::Replace { pattern, content, held: String::new() }
    }

    fn push(&mut self, text: &str) -> String {
        match self {
            TextStep::Strip { strip, held } => {
                let (text, cut) = strip.start(text, strip.start);
                // Once another character has come, the start of the text is over.
                strip.start = if text.is_empty() { strip.start - cut } else { 0 };
                held.push_str(text);
                let known = strip.stop(held);
                let tail = held.split_off(known);
                std::mem::replace(held, tail)
            }
            TextStep::Replace { pattern, content, held } => {
                held.push_str(text);
                let mut out = String::new();
                let mut rest = held.as_str();
                while let Some(at) = rest.find(pattern.as_str()) {
                    out.push_str(&rest[..at]);
                    out.push_str(content);
                    rest = &rest[at + pattern.len()..];
                }
                // What may be the start of a match has to wait for more text.
                let starts = |at: &usize| rest.is_char_boundary(*at) && pattern.starts_with(&rest[*at..]);
                let longest = rest.len().min(pattern.len() - 1);
                let wait = (rest.len() - longest..rest.len()).find(starts).unwrap_or(rest.len());
                out.push_str(&rest[..wait]);
                *held = rest[wait..].to_owned();
                out
            }
        }
    }

    fn finish(&mut self) -> String {
        match self {
            // All of it is what the end of the text loses.
            TextStep::Strip { .. } => String::new(),
            TextStep::Replace { held, .. } => std::mem::take(held),
        }
    }
}

impl Strip {
    /// `text` without up to `most` of the character at its start, and how many those were.
    fn start<'a>(&self, text: &'a str, most: usize) -> (&'a str, usize) {
        let cut = text.chars().take(most).take_while(|c| *c == self.content).count();
        (&text[cut * self.content.len_utf8()..], cut)
    }

    /// Where `text` ends without up to `stop` of the character at its end.
    fn stop(&self, text: &str) -> usize {
        text.len()
            - text.chars().rev().take(self.stop).take_while(|c| *c == self.content).count() * self.content.len_utf8()
    }
}

/// The byte that a piece like `<0x0A>` stands for.
fn fallback_byte(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

fn end_run(run: &mut Vec<u8>, sink: &mut dyn FnMut(String)) {
    if run.is_empty() {
        return;
    }
    match String::from_utf8(std::mem::take(run)) {
        Ok(text) => sink(text),
        // A piece for each byte, because later steps may count pieces.
        Err(error) => error.as_bytes().iter().for_each(|_| sink("\u{FFFD}".into())),
    }
}

/// The byte that a character stands for in byte-level vocabularies: printable Latin-1 for itself, and U+0100 onwards
/// for the bytes that are left, in order.
fn byte_level_byte(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => u8::try_from(code).ok(),
        code @ 0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        code @ 0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// The character that stands for a byte there.
fn byte_level_char(byte: u8) -> char {
    let code = match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u32::from(byte),
        0..=0x20 => 0x100 + u32::from(byte),
        0x7f..=0xa0 => 0x121 + u32::from(byte - 0x7f),
        0xad => 0x143,
    };
    char::from_u32(code).expect("a letter")
}

/// Takes the text that is certain off the front of `bytes` and leaves at most an unfinished code point.
fn take_text(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut kept = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        kept += chunk.valid().len();
        if chunk.invalid().is_empty() {
            continue;
        }
        let rest = &bytes[kept..];
        // At the very end, bytes that could still become a code point are not wrong yet.
        if std::str::from_utf8(rest).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none()) {
            break;
        }
        text.push('\u{FFFD}');
        kept += chunk.invalid().len();
    }
    bytes.drain(..kept);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        for byte in 0..=255 {
            assert_eq!(byte_level_byte(byte_level_char(byte)), Some(byte));
        }
    }
}
