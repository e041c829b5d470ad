//! The flags that `cargo xtask options` makes, and how their values are read.

mod engine;
mod generation;
mod hub;
mod load;
mod process;

pub use engine::EngineArgs;
pub use generation::GenerationArgs;
pub use hub::HubFlags;
pub use load::LoadFlags;
pub use process::ProcessArgs;

use mlx_engine::hub::{Hub, HubOptions};
use serde::de::DeserializeOwned;
use serde_json::Value;

impl HubFlags {
    /// The hub that the flags and the environment describe.
    pub fn hub(&self) -> mlx_engine::Result<Hub> {
        HubOptions::new(&self.options()).map(Hub::new)
    }
}

/// One of the names that the library knows.
pub fn choice<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(Value::from(text)).map_err(|e| e.to_string())
}

/// Bytes, followed by a decimal unit or none.
pub fn size(text: &str) -> Result<u64, String> {
    let upper = text.to_uppercase();
    let number = upper.trim_end_matches('B');
    let (number, unit) = match number.chars().last() {
        Some('K') => (&number[..number.len() - 1], 1e3),
        Some('M') => (&number[..number.len() - 1], 1e6),
        Some('G') => (&number[..number.len() - 1], 1e9),
        Some('T') => (&number[..number.len() - 1], 1e12),
        _ => (number, 1.0),
    };
    match number.trim().parse::<f64>() {
        Ok(n) if n >= 0.0 && n * unit < 1e18 => Ok((n * unit) as u64),
        _ => Err(format!("{text:?} is not a size such as 20G or 500M")),
    }
}

/// `ID=BIAS`
fn token_value(text: &str) -> Result<(u32, f32), String> {
    let (token, value) = text.split_once('=').ok_or("not ID=BIAS, such as 42=-100")?;
    let token = token.trim().parse().map_err(|e| format!("{token:?} is not a token id: {e}"))?;
    let value = value.trim().parse().map_err(|e| format!("{value:?} is not a number: {e}"))?;
    Ok((token, value))
}
