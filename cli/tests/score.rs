//! `mlxe score` on the trained model.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

const TEXT: &str = "Once upon a time there was a small dog. The dog went to the park and saw a big red ball.";

fn score(arguments: &[&str], input: Option<&str>) -> Result<Value, String> {
    let model = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tiny-qwen3");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mlxe"));
    command.arg("score").arg("--model").arg(model).args(["--device", "cpu", "--json"]).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.unwrap_or_default().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn list(json: &Value, name: &str) -> Vec<f64> {
    json[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn texts_are_scored_from_anywhere() {
    let whole = score(&[TEXT], None).unwrap();
    let (tokens, logprobs) = (list(&whole, "tokens"), list(&whole, "logprobs"));
    assert!(tokens.len() > 8 && tokens.len() == logprobs.len() && list(&whole, "most_likely").len() == tokens.len());
    let total: f64 = logprobs.iter().sum();
    assert!((whole["total"].as_f64().unwrap() - total).abs() < 1e-6 && logprobs.iter().all(|&x| x < 0.0));
    assert!((whole["perplexity"].as_f64().unwrap().ln() + total / tokens.len() as f64).abs() < 1e-6);
    assert_eq!(score(&[], Some(TEXT)).unwrap(), whole);
    let file = std::env::temp_dir().join(format!("mlxe-score-{}", std::process::id()));
    std::fs::write(&file, TEXT).unwrap();
    let from_file = score(&["--file", file.to_str().unwrap()], None);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(from_file.unwrap(), whole);

    // Every token but the first is scored once, however the text is cut.
    let parts = score(&["--context", "4", TEXT], None).unwrap();
    assert_eq!(list(&parts, "tokens"), tokens);
    let in_parts = list(&parts, "logprobs");
    assert_eq!(in_parts.len(), logprobs.len());
    assert!(
        (in_parts[0] - logprobs[0]).abs() < 0.1 && in_parts.iter().zip(&logprobs).any(|(a, b)| (a - b).abs() > 0.3)
    );
}

#[test]
fn prompts_are_not_scored() {
    let (prompt, text) = TEXT.split_at("Once upon a time".len());
    let whole = list(&score(&[TEXT], None).unwrap(), "logprobs");
    let scored = score(&["--prompt", prompt, text], None).unwrap();
    let logprobs = list(&scored, "logprobs");
    let same = whole[whole.len() - logprobs.len()..].iter().zip(&logprobs).all(|(a, b)| (a - b).abs() < 0.1);
    assert!(logprobs.len() < whole.len() && same, "{logprobs:?} of {whole:?}");
}

#[test]
fn tokens_are_scored_without_a_tokenizer() {
    let scored = score(&["--tokens", "5,9,14,3"], None).unwrap();
    assert_eq!(list(&scored, "tokens"), [9.0, 14.0, 3.0]);
    assert!(score(&["--tokens", "5"], None).unwrap_err().contains("nothing to score"));
    assert!(score(&["--context", "1", TEXT], None).unwrap_err().contains("--context"));
}
