//! Tokenizers against goldens from Python (tests/fixtures/tokenizers/generate.py) and against the `tokenizers` crate.

use mlx_engine::ErrorKind;
use mlx_engine::tokenizer::{Tokenizer, TokenizerOptions};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn fixtures() -> Vec<String> {
    let entries = fs::read_dir(tests().join("fixtures/tokenizers")).unwrap().map(|entry| entry.unwrap());
    let dirs = entries.filter(|entry| entry.path().is_dir());
    let names: Vec<_> = dirs.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(names.len() >= 10, "{names:?}");
    names
}

fn load(name: &str) -> Tokenizer {
    let dir = tests().join("fixtures/tokenizers").join(name);
    Tokenizer::from_directory(&dir, TokenizerOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

/// Decodes one id at a time. The parts are Strings, so no part can end inside a code point.
fn stream(tokenizer: &Tokenizer, ids: &[u32], skip: bool) -> String {
    let mut detokenizer = tokenizer.detokenizer(skip);
    let mut text: String = ids.iter().map(|id| detokenizer.push(*id)).collect();
    text += &detokenizer.finish();
    assert_eq!(detokenizer.finish(), "", "finish leaves nothing");
    text
}

#[test]
fn agrees_with_python() {
    for name in fixtures() {
        let tokenizer = load(&name);
        let golden = fs::read_to_string(tests().join(format!("golden/tokenizers/{name}.json"))).unwrap();
        let golden: Value = serde_json::from_str(&golden).unwrap();
        assert_eq!(tokenizer.vocab_size() as u64, golden["vocab_size"], "{name}");
        assert_eq!(json!(tokenizer.special_tokens()), golden["special_tokens"], "{name}");
        for (id, token) in golden["tokens"].as_array().unwrap().iter().enumerate() {
            let id = id as u32;
            assert_eq!(json!(tokenizer.id_to_token(id)), *token, "{name}: {id}");
            let special = ids(&golden["special_ids"]).contains(&id);
            assert_eq!(tokenizer.is_special_token(id), special, "{name}: {id} {token}");
        }
        for case in golden["texts"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            assert_eq!(tokenizer.encode(text, true).unwrap(), ids(&case["ids"]), "{name}: {text:?}");
            assert_eq!(tokenizer.encode(text, false).unwrap(), ids(&case["plain_ids"]), "{name}: {text:?}");
        }
        for case in golden["sequences"].as_array().unwrap() {
            let ids = ids(&case["ids"]);
            for (key, skip) in [("text", false), ("skipped", true)] {
                let decoded = tokenizer.decode(&ids, skip).unwrap();
                assert_eq!(stream(&tokenizer, &ids, skip), decoded, "{name}: {ids:?}");
                if let Some(text) = case[key].as_str() {
                    assert_eq!(decoded, text, "{name}: {ids:?}");
                }
            }
        }
    }
}

/// Random ids, and runs of byte tokens, against the decoder of the `tokenizers` crate.
#[test]
fn any_ids_decode_as_in_the_library() {
    for name in fixtures() {
        let file = tests().join("fixtures/tokenizers").join(&name).join("tokenizer.json");
        // It has no clean-up, and it panics on what `stripped` strips.
        if !file.exists() || ["metaspace", "wordpiece", "stripped"].contains(&name.as_str()) {
            continue;
        }
        let library = tokenizers::Tokenizer::from_file(file).unwrap();
        let tokenizer = load(&name);
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let size = library.get_vocab_size(true) as u32;
        for length in (0..3000).map(|i| 1 + i % 30) {
            let near = rng.random_range(0..size);
            let sequence: Vec<u32> = (0..length)
                .map(|_| match rng.random_range(0..3) {
                    0 => rng.random_range(0..size),
                    1 => (near + rng.random_range(0..8)) % size,
                    _ => rng.random_range(0..size.min(300)),
                })
                .collect();
            for skip in [false, true] {
                // The library's decoder for end-of-word suffixes panics where there is nothing to decode.
                if name == "suffixed" && skip && sequence.iter().all(|id| tokenizer.is_special_token(*id)) {
                    continue;
                }
                let expected = library.decode(&sequence, skip).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(tokenizer.decode(&sequence, skip).unwrap(), expected, "{name}: {sequence:?}");
                assert_eq!(stream(&tokenizer, &sequence, skip), expected, "{name}: {sequence:?}");
            }
        }
    }
}

/// Added tokens stand for their own text, also where all their characters are of the byte-level alphabet. (The library
/// takes those for bytes: huggingface/tokenizers, issues 1392 and 1915.)
#[test]
fn added_tokens_decode_to_their_own_text() {
    let fixture = tests().join("fixtures/tokenizers/byte_level");
    let mut file: Value = serde_json::from_slice(&fs::read(fixture.join("tokenizer.json")).unwrap()).unwrap();
    let added = file["added_tokens"].as_array_mut().unwrap();
    let first = 100_000;
    for (i, text) in ["café", "đem", "a b\n", "日本"].into_iter().enumerate() {
        added.push(json!({
            "id": first + i, "content": text, "special": false, "normalized": false,
            "single_word": false, "lstrip": false, "rstrip": false,
        }));
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("tokenizer.json"), file.to_string()).unwrap();
    let tokenizer = Tokenizer::from_directory(dir.path(), TokenizerOptions::default()).unwrap();
    let text = "un café đem, a b\n 日本!";
    let encoded = tokenizer.encode(text, false).unwrap();
    assert!(encoded.contains(&tokenizer.token_to_id("café").unwrap()), "{encoded:?}");
    assert_eq!(tokenizer.decode(&encoded, true).unwrap(), text);
    assert_eq!(stream(&tokenizer, &encoded, false), text);
}

/// What Python writes where JSON has no number, and files that a tokenizer works without.
#[test]
fn side_files_need_not_be_perfect() {
    let fixture = tests().join("fixtures/tokenizers/byte_level");
    let dir = tempfile::tempdir().unwrap();
    fs::copy(fixture.join("tokenizer.json"), dir.path().join("tokenizer.json")).unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    let open = || Tokenizer::from_directory(dir.path(), TokenizerOptions::default());
    write("tokenizer_config.json", "{\"model_max_length\": Infinity, \"x\": [NaN, -Infinity]}");
    write("special_tokens_map.json", "{\"eos_token\": \"a\",}");
    write("added_tokens.json", "[");
    open().unwrap();
    write("tokenizer_config.json", "{\"model_max_length\": 5,}");
    let error = open().err().unwrap().to_string();
    assert!(error.contains("tokenizer_config.json"), "{error}");
    write("tokenizer_config.json", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
    let error = open().err().unwrap().to_string();
    assert!(error.contains("Git LFS pointer"), "{error}");
}

/// More white space than a pattern's matcher goes back over: what follows is still divided.
#[test]
fn a_million_blanks_do_not_stop_the_pattern() {
    let dir = tests().join("fixtures/tiny-qwen3");
    let tokenizer = Tokenizer::from_directory(&dir, TokenizerOptions::default()).unwrap();
    let after = "12345 and more";
    let wanted = tokenizer.encode(&format!(" {after}"), false).unwrap();
    let long = tokenizer.encode(&format!("{}{after}", " ".repeat(1_300_000)), false).unwrap();
    assert_eq!(long[long.len() - wanted.len()..], wanted, "{:?}", &long[long.len() - 20..]);
    assert_eq!(tokenizer.decode(&long, false).unwrap().len(), 1_300_000 + after.len());
}

#[test]
fn streams_text_as_soon_as_it_is_certain() {
    let tokenizer = load("byte_level");
    let mut detokenizer = tokenizer.detokenizer(true);
    let parts: Vec<String> =
        tokenizer.encode("naïve 日本 👩", false).unwrap().iter().map(|id| detokenizer.push(*id)).collect();
    assert_eq!(parts.concat(), "naïve 日本 👩");
    assert_eq!(detokenizer.finish(), "");

    // The first byte of a two-byte character is held back; what cannot follow it settles the matter.
    let byte = |c: &str| tokenizer.token_to_id(c).unwrap();
    let mut detokenizer = tokenizer.detokenizer(true);
    assert_eq!(detokenizer.push(byte("Ã")), "");
    assert_eq!(detokenizer.push(byte("Ã")), "\u{FFFD}");
    assert_eq!(detokenizer.push(byte("©")), "é");
    assert_eq!(detokenizer.push(byte("Ã")), "");
    assert_eq!(detokenizer.finish(), "\u{FFFD}");
    assert_eq!(detokenizer.push(byte("a")), "a", "a finished detokenizer is as new");
}

/// A hundred times the tokens take about a hundred times as long, not ten thousand times.
#[test]
fn streaming_is_linear() {
    for name in ["byte_level", "sentencepiece", "wordpiece"] {
        let tokenizer = load(name);
        // Ids without a line end or a sentence end to start over at; for sentencepiece one long run of bytes.
        let id = tokenizer.token_to_id(if name == "sentencepiece" { "<0x61>" } else { "a" }).unwrap();
        let time = |count: usize| {
            let start = std::time::Instant::now();
            assert!(stream(&tokenizer, &vec![id; count], false).len() >= count);
            start.elapsed().as_secs_f64()
        };
        let short = time(2_000).max(1e-4);
        let long = time(200_000);
        assert!(long < short * 1500.0, "{name}: {short} s, then {long} s");
    }
}

#[test]
fn sequence_ends_and_beginnings() {
    let tokenizer = load("sentencepiece");
    assert_eq!((tokenizer.bos_token(), tokenizer.bos_id()), (Some("<s>"), Some(1)));
    assert_eq!((tokenizer.unk_token(), tokenizer.unk_id()), (Some("<unk>"), Some(0)));
    assert_eq!((tokenizer.pad_token(), tokenizer.pad_id()), (None, None));
    assert_eq!(tokenizer.eos_token_ids(), [2]);
    assert_eq!(tokenizer.clone().with_eos(&[9, 2, 5, 9]).eos_token_ids(), [2, 5, 9]);
    // A prompt that begins a sequence already is not begun again.
    let plain = tokenizer.encode_prompt("Hello").unwrap();
    assert_eq!(plain, tokenizer.encode("Hello", true).unwrap());
    let rendered = tokenizer.encode_prompt("<s>Hello").unwrap();
    assert_eq!(rendered.iter().filter(|id| **id == 1).count(), 1);
    assert!(!tokenizer.has_chat_template());
    assert_eq!(tokenizer.chat_template_names(), [""; 0]);
}

struct Directory(tempfile::TempDir);

impl Directory {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = Directory(tempfile::tempdir().unwrap());
        for (name, content) in files {
            let path = dir.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir
    }

    fn load(&self) -> mlx_engine::Result<Tokenizer> {
        Tokenizer::from_directory(self.0.path(), TokenizerOptions::default())
    }

    /// The error of loading, which has to name `what`.
    #[track_caller]
    fn refuse(&self, kind: ErrorKind, what: &str) {
        let error = self.load().unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
}

const TINY: &str = r#"{"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}}"#;

#[test]
fn broken_files_are_named() {
    Directory::new(&[]).refuse(ErrorKind::NotFound, "no tokenizer.json");
    Directory::new(&[("tokenizer.model", "x")]).refuse(ErrorKind::NotFound, "tokenizer.model alone");
    Directory::new(&[("vocab.json", "{}")]).refuse(ErrorKind::NotFound, "merges.txt");
    for broken in ["", "{", "[]", "null", "{\"model\": {}}", "{\"version\": \"9\"}", "\u{0}"] {
        Directory::new(&[("tokenizer.json", broken)]).refuse(ErrorKind::Tokenizer, "tokenizer.json");
    }
    let deep = format!("{{\"model\": {}", "[".repeat(100_000));
    Directory::new(&[("tokenizer.json", &deep)]).refuse(ErrorKind::Tokenizer, "tokenizer.json");
    let with = |name, content| Directory::new(&[("tokenizer.json", TINY), (name, content)]);
    with("tokenizer_config.json", "{").refuse(ErrorKind::InvalidConfig, "tokenizer_config.json");
    with("tokenizer_config.json", "[1]").refuse(ErrorKind::InvalidConfig, "must hold an object");
    with("tokenizer_config.json", r#"{"bos_token": 7}"#).refuse(ErrorKind::InvalidConfig, "bos_token");
    with("tokenizer_config.json", r#"{"chat_template": 7}"#).refuse(ErrorKind::InvalidConfig, "chat_template");
    with("tokenizer_config.json", r#"{"added_tokens_decoder": {"x": {"content": "c"}}}"#)
        .refuse(ErrorKind::InvalidConfig, "added_tokens_decoder: x");
    with("added_tokens.json", r#"{"t": -1}"#).refuse(ErrorKind::InvalidConfig, "added_tokens.json: t");
    with("tokenizer_config.json/x", "").refuse(ErrorKind::Io, "is a directory, not a regular file");
    with("chat_template.jinja", &"x".repeat((4 << 20) + 1)).refuse(ErrorKind::Io, "larger than 4 MiB");
    let ctc = TINY.replace(
        "{\"version\"",
        r#"{"decoder": {"type": "CTC", "pad_token": "p", "word_delimiter_token": "|", "cleanup": true}, "version""#,
    );
    Directory::new(&[("tokenizer.json", &ctc)]).refuse(ErrorKind::Tokenizer, "CTC");
    // Two files on which the library panics.
    let undescribed = r#"{"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x",
        "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {}}, "version""#;
    let bad_decoder = r#"{"decoder": {"type": "ByteFallback", "x": 1e999}, "version""#;
    for broken in [undescribed, bad_decoder] {
        let file = TINY.replace("{\"version", broken);
        Directory::new(&[("tokenizer.json", &file)]).refuse(ErrorKind::Tokenizer, "tokenizer");
    }
    let gpt2 = |class: &str| {
        let config = json!({"tokenizer_class": class}).to_string();
        Directory::new(&[("vocab.json", r#"{"a": 0}"#), ("merges.txt", "a b\n"), ("tokenizer_config.json", &config)])
    };
    gpt2("RobertaTokenizer").refuse(ErrorKind::Tokenizer, "RobertaTokenizer");
    gpt2("GPT2Tokenizer").refuse(ErrorKind::Tokenizer, "merges.txt");
}

#[test]
fn finds_chat_templates() {
    let names = |files: &[(&str, &str)]| {
        let mut all = vec![("tokenizer.json", TINY)];
        all.extend(files);
        let tokenizer = Directory::new(&all).load().unwrap();
        let named = |name: &&str| (name.to_string(), tokenizer.chat_template_source(name).unwrap().to_owned());
        tokenizer.chat_template_names().iter().map(named).collect::<Vec<_>>()
    };
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, source)| (name.to_string(), source.to_string())).collect::<Vec<_>>()
    };
    let config = ("tokenizer_config.json", r#"{"chat_template": "config"}"#);
    let json = ("chat_template.json", r#"{"chat_template": "json"}"#);
    let jinja = ("chat_template.jinja", "jinja");
    let more = ("additional_chat_templates/rag.jinja", "rag");
    assert_eq!(names(&[]), pairs(&[]));
    assert_eq!(names(&[config]), pairs(&[("default", "config")]));
    // The processor's template counts where there is a processor, or where the tokenizer has none.
    let processor = ("preprocessor_config.json", "{}");
    assert_eq!(names(&[json]), pairs(&[("default", "json")]));
    assert_eq!(names(&[config, json]), pairs(&[("default", "config")]));
    assert_eq!(names(&[config, json, processor]), pairs(&[("default", "json")]));
    assert_eq!(names(&[config, processor]), pairs(&[("default", "config")]));
    assert_eq!(names(&[config, json, jinja]), pairs(&[("default", "jinja")]));
    assert_eq!(names(&[config, jinja, more]), pairs(&[("default", "jinja"), ("rag", "rag")]));
    let list = r#"{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}"#;
    assert_eq!(names(&[("tokenizer_config.json", list)]), pairs(&[("default", "d"), ("tool_use", "t")]));
}

#[test]
fn is_send_and_sync() {
    fn check<T: Send + Sync + Clone>() {}
    check::<Tokenizer>();
    check::<mlx_engine::tokenizer::StreamingDetokenizer>();
}
