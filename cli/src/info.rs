//! `mlxe info` and `mlxe models`

use indicatif::HumanBytes;
use mlx_engine::registry;

use crate::args::{InfoArgs, ModelsArgs};
use crate::failure::Result;
use crate::load::load;
use crate::numbers::short_count;
use crate::out::{print, say};
use crate::storage::value;

pub fn info(args: &InfoArgs) -> Result {
    if let Some(id) = &args.id {
        return crate::storage::info(&args.model.how.hub, id, args.json);
    }
    let given = args.model.given();
    let missing = || mlx_engine::Error::invalid_argument("which model? give its id, or --model with its directory");
    let model = load(&given.ok_or_else(missing)?, true)?;
    let info = model.info();
    if args.json {
        return print(&value(info)?);
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
        say!("{name:14} {value}");
    }
    Ok(())
}

pub fn models(args: &ModelsArgs) -> Result {
    if args.json {
        say!("{}", registry::to_json());
        return Ok(());
    }
    for row in registry::ARCHITECTURES {
        match row.alias_of() {
            Some(of) => say!("{:16} {} (as {of})", row.model_type, row.kind().name()),
            None => say!("{:16} {}", row.model_type, row.kind().name()),
        }
    }
    Ok(())
}
