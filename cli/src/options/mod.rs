//! The flags that `cargo xtask options` makes, and how their values are read.

mod generation;

pub use generation::GenerationArgs;

/// `ID=BIAS`
fn token_value(text: &str) -> Result<(u32, f32), String> {
    let (token, value) = text.split_once('=').ok_or("not ID=BIAS, such as 42=-100")?;
    let token = token.trim().parse().map_err(|e| format!("{token:?} is no token id: {e}"))?;
    let value = value.trim().parse().map_err(|e| format!("{value:?} is no number: {e}"))?;
    Ok((token, value))
}
