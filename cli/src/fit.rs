//! `mlxe fit`

use std::path::Path;

use indicatif::HumanBytes;
use mlx_engine::Device;
use mlx_engine::Error;
use mlx_engine::hub::Catalog;
use mlx_engine::load::fit::{self, Fit};
use mlx_engine::load::{EstimateOptions, ModelConfiguration};

use crate::args::{FitArgs, names_model};
use crate::failure::Result;
use crate::numbers::short_count;
use crate::out::say;

pub fn fit(args: &FitArgs) -> Result {
    let Some(name) = &args.model else { return catalogue(args.json) };
    let path = Path::new(name);
    let configuration = match (path.exists(), Catalog::default().find(name)) {
        (false, Some(entry)) => ModelConfiguration::hub(&args.hub.hub()?, entry.id, args.revision.clone()),
        (false, None) if names_model(name) => ModelConfiguration::hub(&args.hub.hub()?, name, args.revision.clone()),
        _ => ModelConfiguration::directory(path),
    };
    let options = EstimateOptions {
        context: args.context,
        prefill_step: None,
        kv_bits: args.kv_bits,
        kv_group_size: None,
        max_kv_size: args.max_kv_size,
    };
    let device = args.device.unwrap_or_else(Device::best);
    let found = fit::fit(&configuration, device, &options)?;
    match args.json {
        true => say!("{}", serde_json::to_string(&found).map_err(|e| Error::internal(e.to_string()))?),
        false => show(&found)?,
    }
    Ok(())
}

fn show(fit: &Fit) -> Result {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    let bytes = |n: u64| HumanBytes(n).to_string();
    let runs = match &fit.reason {
        None => "yes".to_owned(),
        Some(reason) => format!("no: {reason}"),
    };
    let verdict = match fit.fits {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not known",
    };
    for (name, value) in [
        ("name", fit.name.clone()),
        ("architecture", fit.model_type.clone()),
        ("runs", runs),
        ("parameters", short_count(fit.parameters)),
        ("bits", or_none(fit.bits.map(|b| b.to_string()))),
        ("download", bytes(fit.download_bytes)),
        ("context", fit.memory.context.to_string()),
        ("weights", bytes(fit.memory.weights)),
        ("KV cache", bytes(fit.memory.kv_cache)),
        ("activations", bytes(fit.memory.activations)),
        ("memory", bytes(fit.memory.total)),
        ("available", or_none(fit.memory_available.map(bytes))),
        ("of", or_none(fit.memory_total.map(bytes))),
        ("fits", verdict.to_owned()),
        ("longest context", or_none(fit.largest_context.map(|n| n.to_string()))),
    ] {
        say!("{name:16} {value}");
    }
    Ok(())
}

/// All well-known models, by their round figures.
fn catalogue(as_json: bool) -> Result {
    let all = fit::catalogue(&Catalog::default());
    if as_json {
        say!("{}", serde_json::to_string(&all).map_err(|e| Error::internal(e.to_string()))?);
        return Ok(());
    }
    for known in all {
        let verdict = match known.fits {
            _ if !known.supported => "not supported",
            Some(true) => "fits",
            Some(false) => "too large",
            None => "",
        };
        let (entry, bytes) = (known.entry, HumanBytes(known.weight_bytes).to_string());
        say!("{:20} {:52} {bytes:>11}  {verdict}", entry.short_name, entry.id);
    }
    Ok(())
}
