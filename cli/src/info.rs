//! `mlxe info` and `mlxe models`

use indicatif::HumanBytes;
use mlx_engine::models::registry;

use crate::Result;
use crate::args::{InfoArgs, ModelsArgs};
use crate::load::load;

/// `1.2B`, `596M`, ...
pub fn short_count(n: u64) -> String {
    match n as f64 {
        n if n >= 1e9 => format!("{:.1}B", n / 1e9),
        n if n >= 1e6 => format!("{:.1}M", n / 1e6),
        n if n >= 1e3 => format!("{:.1}K", n / 1e3),
        n => n.to_string(),
    }
}

pub fn info(args: &InfoArgs) -> Result {
    if let Some(id) = &args.id {
        return crate::storage::info(&args.model.how.hub, id, args.json);
    }
    let given = args.model.given();
    let missing = || mlx_engine::Error::invalid_argument("which model? give its id, or --model with its directory");
    let model = load(&given.ok_or_else(missing)?, true)?;
    let info = model.info();
    if args.json {
        println!("{}", serde_json::to_string(info).map_err(|e| mlx_engine::Error::internal(e.to_string()))?);
        return Ok(());
    }
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    let quantization =
        info.quantization.as_ref().map(|q| format!("{} {}-bit, groups of {}", q.mode, q.bits, q.group_size));
    for (name, value) in [
        ("name", info.name.clone()),
        ("directory", info.directory.display().to_string()),
        ("architecture", info.model_type.clone()),
        ("parameters", short_count(info.parameters)),
        ("quantization", or_none(quantization)),
        ("context", or_none(info.context_length.map(|n| n.to_string()))),
        ("vocabulary", info.vocab_size.to_string()),
        ("layers", or_none(info.layers.map(|n| n.to_string()))),
        ("hidden size", or_none(info.hidden_size.map(|n| n.to_string()))),
        ("weights", format!("{} in {} files", HumanBytes(info.weight_bytes), info.weight_files)),
        ("chat template", if info.has_chat_template { "yes" } else { "no" }.into()),
        ("device", info.device.into()),
        ("loaded in", format!("{:.2} s", info.load_seconds)),
    ] {
        println!("{name:14} {value}");
    }
    Ok(())
}

pub fn models(args: &ModelsArgs) -> Result {
    if args.json {
        println!("{}", registry::to_json());
        return Ok(());
    }
    for row in registry::ARCHITECTURES {
        match row.alias_of() {
            Some(of) => println!("{:16} {} (as {of})", row.model_type, row.kind().name()),
            None => println!("{:16} {}", row.model_type, row.kind().name()),
        }
    }
    Ok(())
}
