//! What the Hub says about a model's weights: number, types, size.

use serde_json::{Map, Value};

/// What the Hub says about a model's weights.
#[derive(Default)]
pub(super) struct Weights {
    pub(super) parameters: Option<u64>,
    pub(super) bits: Option<u32>,
    pub(super) bytes: Option<u64>,
}

impl Weights {
    pub(super) fn of(entry: &Value, id: &str, tags: &[String]) -> Weights {
        let none = Map::new();
        let counts =
            entry.get("safetensors").and_then(|s| s.get("parameters")).and_then(Value::as_object).unwrap_or(&none);
        let named = parameters_of_name(id);
        let block = entry.get("config").and_then(|c| c.get("quantization_config").or_else(|| c.get("quantization")));
        let bits = block
            .and_then(|b| b.get("bits"))
            .and_then(Value::as_u64)
            .or_else(|| tags.iter().chain([&id.to_owned()]).find_map(|t| bits_of_name(t)))
            .filter(|b| (1..=8).contains(b))
            .map(|b| b as u32);
        let (mut bytes, mut codes, mut plain, mut widest) = (0u64, 0u64, 0u64, (0, 0));
        for (dtype, count) in counts {
            let (Some(size), Some(count)) = (dtype_bytes(dtype), count.as_u64()) else { continue };
            bytes = bytes.saturating_add(count.saturating_mul(size));
            match dtype.as_str() {
                "U32" | "I32" => codes = codes.saturating_add(count),
                _ => plain = plain.saturating_add(count),
            }
            widest = widest.max((count, size * 8));
        }
        if bytes == 0 {
            return Weights { parameters: named, bits, bytes: None };
        }
        let Some(bits) = bits.filter(|_| codes > 0) else {
            let bits = bits.or(Some(widest.1 as u32));
            return Weights { parameters: Some(plain.saturating_add(codes)), bits, bytes: Some(bytes) };
        };
        // Codes are stored in words; scales and biases, two in 64 of them, are among the plain numbers.
        let unpacked = codes.saturating_mul(32) / u64::from(bits);
        let far = |n: u64| named.map_or(0.0, |named| (n.max(1) as f64 / named as f64).ln().abs());
        if far(codes) < far(unpacked) {
            // The Hub has counted what the words hold.
            let bytes = (codes.saturating_mul(u64::from(bits)) / 8).saturating_add(plain.saturating_mul(2));
            return Weights { parameters: Some(codes), bits: Some(bits), bytes: Some(bytes) };
        }
        let parameters = unpacked.saturating_add(plain.saturating_sub(unpacked / 32));
        Weights { parameters: Some(parameters), bits: Some(bits), bytes: Some(bytes) }
    }
}

/// Bytes of a number of a safetensors type.
fn dtype_bytes(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F64" | "I64" | "U64" => 8,
        "F32" | "I32" | "U32" => 4,
        "F16" | "BF16" | "I16" | "U16" => 2,
        "I8" | "U8" | "BOOL" => 1,
        other if other.starts_with("F8") => 1,
        _ => return None,
    })
}

/// `7B`, `0.5b`, `135M`, `8x7B` in a name.
fn parameters_of_name(id: &str) -> Option<u64> {
    let name = id.rsplit('/').next()?.to_ascii_lowercase();
    name.split(['-', '_', ' ']).find_map(|word| {
        let (number, unit) = match (word.strip_suffix('b'), word.strip_suffix('m')) {
            (Some(n), _) => (n, 1e9),
            (_, Some(n)) => (n, 1e6),
            _ => return None,
        };
        let (times, number) = number.split_once('x').map_or((1.0, number), |(t, n)| (t.parse().unwrap_or(0.0), n));
        let digits = number.starts_with(|c: char| c.is_ascii_digit());
        let n = number.parse::<f64>().ok().filter(|n| digits && n.is_finite())? * times * unit;
        (1e5..1e13).contains(&n).then_some(n as u64)
    })
}

/// `4bit`, `4-bit`, `8bits` in a name.
fn bits_of_name(name: &str) -> Option<u64> {
    let name = name.to_ascii_lowercase();
    let at = name.find("bit")?;
    name[..at].trim_end_matches('-').chars().last()?.to_digit(10).map(u64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_sizes_and_bits() {
        assert_eq!(parameters_of_name("o/Qwen3-0.6B-4bit"), Some(600_000_000));
        assert_eq!(parameters_of_name("7b/SmolLM-135M-Instruct"), Some(135_000_000));
        assert_eq!(parameters_of_name("o/Mixtral-8x7B-v0.1"), Some(56_000_000_000));
        assert_eq!(parameters_of_name("o/nanb-infb-model"), None);
        assert_eq!(bits_of_name("Qwen3-0.6B-4bit"), Some(4));
        assert_eq!(bits_of_name("8-bit"), Some(8));
        assert_eq!(bits_of_name("habit"), None);
    }
}
