//! Numbers as people read them.

/// `1.2B`, `596M`, ...
pub fn short_count(n: u64) -> String {
    match n as f64 {
        n if n >= 1e9 => format!("{:.1}B", n / 1e9),
        n if n >= 1e6 => format!("{:.1}M", n / 1e6),
        n if n >= 1e3 => format!("{:.1}K", n / 1e3),
        n => n.to_string(),
    }
}
