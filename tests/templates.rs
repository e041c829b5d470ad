//! Chat templates against goldens that transformers rendered (tests/fixtures/templates/generate.py).

use mlx_engine::ErrorKind;
use mlx_engine::tokenizer::{TemplateChoice, TemplateOptions, Tokenizer, TokenizerOptions};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use time::macros::datetime;

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn golden(name: &str) -> Map<String, Value> {
    let path = tests().join("golden/templates").join(name).with_extension("json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A tokenizer that only lends its special tokens.
fn tokenizer(templates: &[(&str, &str)]) -> Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    let model = json!({
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": {"<s>": 0, "</s>": 1, "<pad>": 2}, "unk_token": "<s>"}
    });
    let named = |(name, template): &(&str, &str)| json!({"name": name, "template": template});
    let config = json!({
        "bos_token": "<s>",
        "eos_token": {"content": "</s>", "lstrip": false},
        "pad_token": "<pad>",
        "chat_template": templates.iter().map(named).collect::<Vec<_>>(),
    });
    fs::write(dir.path().join("tokenizer.json"), model.to_string()).unwrap();
    fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    Tokenizer::from_directory(dir.path(), TokenizerOptions::default()).unwrap()
}

fn options(given: &Map<String, Value>) -> TemplateOptions {
    let mut variables = given.clone();
    let mut take = |key: &str| variables.remove(key);
    TemplateOptions {
        tools: take("tools"),
        documents: take("documents"),
        add_generation_prompt: take("add_generation_prompt") == Some(Value::Bool(true)),
        continue_final_message: take("continue_final_message")
            .map(|field| field.as_str().unwrap_or("content").to_owned()),
        template: TemplateChoice::Auto,
        variables,
        now: Some(datetime!(2024-07-09 08:05:03)),
    }
}

/// What differs from the expected outcome, if anything does.
fn difference(tokenizer: &Tokenizer, messages: &Value, options: &TemplateOptions, expected: &Value) -> Option<String> {
    let got = tokenizer.apply_chat_template(messages, options);
    match (expected["text"].as_str(), expected["raised"].as_str(), got) {
        (Some(text), _, Ok(got)) if got == text => None,
        (Some(text), _, Ok(got)) => Some(format!("\n expected {text:?}\n      got {got:?}")),
        (Some(text), _, Err(error)) => Some(format!("\n expected {text:?}\n      got error {error}")),
        (_, Some(raised), Err(error)) if error.kind() == ErrorKind::Template && error.message() == raised => None,
        (_, None, Err(_)) => None,
        (_, _, got) => Some(format!("\n expected {expected}\n      got {got:?}")),
    }
}

/// What minijinja 3.0 does otherwise than Jinja. Should one of them start to agree, the list is to be shortened.
const KNOWN_DIFFERENCES: [&str; 6] = [
    // `%` does not format text.
    "{{ '%s is %s' % ('a', 'b') }}",
    // A panic in the engine, which comes out as an error.
    "{{ [][::-1] }}",
    // The end of a backward slice is taken for the start of the list.
    "{{ 'abc'[:0:-1] }}",
    // Inside of `~`, floats do not have Python's exponents.
    "{{ 'a' ~ [1e16] }}",
    // Not refused.
    "{% for i in none %}{% endfor %}",
    "{{ 'a' < 1 }}",
];

#[test]
fn families_render_as_in_transformers() {
    let cases = golden("cases");
    let mut compared = 0;
    let mut failures = Vec::new();
    for entry in fs::read_dir(tests().join("fixtures/templates")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let sources: Vec<(String, String)> = if path.is_dir() {
            let files = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
            files
                .map(|p| (p.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(p).unwrap()))
                .collect()
        } else if path.extension().is_some_and(|ext| ext == "jinja") {
            vec![("default".to_owned(), fs::read_to_string(&path).unwrap())]
        } else {
            continue;
        };
        let sources: Vec<_> = sources.iter().map(|(name, source)| (name.as_str(), source.as_str())).collect();
        let tokenizer = tokenizer(&sources);
        for (key, expected) in golden(&name) {
            let (choice, case) = key.split_once(':').map_or((None, key.as_str()), |(name, case)| (Some(name), case));
            let mut options = options(cases[case]["options"].as_object().unwrap());
            if let Some(choice) = choice {
                options.template = TemplateChoice::Named(choice.to_owned());
            }
            compared += 1;
            if let Some(difference) = difference(&tokenizer, &cases[case]["messages"], &options, &expected) {
                failures.push(format!("{name}/{key}: {difference}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {compared} differ:\n{}", failures.len(), failures.join("\n"));
    assert!(compared > 800, "only {compared} cases");
}

#[test]
fn features_render_as_in_transformers() {
    let golden = golden("snippets");
    let variables = golden["variables"].as_object().unwrap();
    let mut failures = Vec::new();
    for snippet in golden["snippets"].as_array().unwrap() {
        let source = snippet["template"].as_str().unwrap();
        let tokenizer = tokenizer(&[("default", source)]);
        let difference = difference(&tokenizer, &golden["messages"], &options(variables), snippet);
        match (difference, KNOWN_DIFFERENCES.contains(&source)) {
            (Some(difference), false) => failures.push(format!("{source:?}: {difference}")),
            (None, true) => failures.push(format!("{source:?}: is no known difference any more")),
            _ => {}
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
}
