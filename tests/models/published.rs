//! Checkpoints in the layouts that Hugging Face has, where they are others than mlx-lm's.

use std::collections::{BTreeMap, HashMap};

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::TOLERANCE;
use crate::support::fixture::{Golden, RawTensor, Recipe, relative_error};
use crate::support::{TempDir, bare, cpu_engine, load, quantize};

type Tensors = BTreeMap<String, RawTensor>;

/// The bytes of an element.
fn at<'a>(t: &'a RawTensor, index: &[usize]) -> &'a [u8] {
    let size = t.bytes.len() / t.shape.iter().product::<usize>();
    let flat = index.iter().zip(&t.shape).fold(0, |flat, (i, n)| flat * n + i);
    &t.bytes[flat * size..][..size]
}

/// A tensor whose elements `f` finds.
fn tensor<'a>(dtype: Dtype, shape: &[usize], f: impl Fn(&[usize]) -> &'a [u8]) -> RawTensor {
    let mut bytes = Vec::new();
    for flat in 0..shape.iter().product::<usize>() {
        let mut rest = flat;
        let mut index: Vec<usize> = shape.iter().rev().map(|n| (rest % n, rest /= n).0).collect();
        index.reverse();
        bytes.extend(f(&index));
    }
    RawTensor { dtype, shape: shape.to_vec(), bytes }
}

/// Rows and columns of matrices exchanged.
fn transposed(t: &RawTensor) -> RawTensor {
    let &[n, rows, columns] = &t.shape[..] else { panic!("{:?}", t.shape) };
    tensor(t.dtype, &[n, columns, rows], |i| at(t, &[i[0], i[2], i[1]]))
}

/// Two tensors as one, along their second axis.
fn joined(a: &RawTensor, b: &RawTensor, alternate: bool) -> RawTensor {
    let (mut shape, rows) = (a.shape.clone(), a.shape[1]);
    shape[1] *= 2;
    tensor(a.dtype, &shape, |i| {
        let (second, row) = if alternate { (i[1] % 2 == 1, i[1] / 2) } else { (i[1] >= rows, i[1] % rows) };
        let mut i = i.to_vec();
        i[1] = row;
        at(if second { b } else { a }, &i)
    })
}

/// Takes all tensors with this suffix; what comes before it.
fn each(tensors: &mut Tensors, suffix: &str) -> Vec<(String, RawTensor)> {
    let names: Vec<String> = tensors.keys().filter(|name| name.ends_with(suffix)).cloned().collect();
    assert!(!names.is_empty(), "{suffix}");
    names.into_iter().map(|n| (n[..n.len() - suffix.len()].to_owned(), tensors.remove(&n).unwrap())).collect()
}

fn latent(tensors: &mut Tensors) {
    for (path, keys) in each(tensors, "embed_q.weight") {
        let values = tensors.remove(&format!("{path}unembed_out.weight")).unwrap();
        let (heads, rank, nope, value) = (keys.shape[0], keys.shape[1], keys.shape[2], values.shape[1]);
        let all = tensor(keys.dtype, &[heads * (nope + value), rank], |i| {
            let (head, row) = (i[0] / (nope + value), i[0] % (nope + value));
            if row < nope { at(&keys, &[head, i[1], row]) } else { at(&values, &[head, row - nope, i[1]]) }
        });
        tensors.insert(format!("{path}kv_b_proj.weight"), all);
    }
}

fn further_layers(tensors: &mut Tensors) {
    let norm = tensors["model.norm.weight"].clone();
    tensors.insert("model.layers.2.shared_head.norm.weight".into(), norm);
}

/// GPT-OSS: the suffix of a kind of tensor, and how it is stored.
fn alternating(tensors: &mut Tensors, kind: &str, suffix: &str, stored: impl Fn(&RawTensor) -> RawTensor) {
    for (path, gate) in each(tensors, &format!("gate_proj.{kind}")) {
        let mut take = |part: &str| tensors.remove(&format!("{path}{part}_proj.{kind}")).unwrap();
        let (up, down) = (take("up"), take("down"));
        tensors.insert(format!("{path}gate_up_proj{suffix}"), stored(&joined(&gate, &up, true)));
        tensors.insert(format!("{path}down_proj{suffix}"), stored(&down));
    }
}

/// Words as bytes of groups.
fn blocks(t: &RawTensor) -> RawTensor {
    RawTensor { dtype: Dtype::U8, shape: vec![t.shape[0], t.shape[1], t.shape[2] / 4, 16], bytes: t.bytes.clone() }
}

/// Experts of which gate and up are one tensor.
fn fused(tensors: &mut Tensors, to: [&str; 3]) {
    for (path, gate) in each(tensors, "switch_mlp.gate_proj.weight") {
        let mut take = |part: &str| tensors.remove(&format!("{path}switch_mlp.{part}_proj.weight")).unwrap();
        let (up, down) = (take("up"), take("down"));
        tensors.insert(format!("{path}{}{}", to[0], to[1]), joined(&gate, &up, false));
        tensors.insert(format!("{path}{}{}", to[0], to[2]), down);
    }
}

#[test]
fn published_layouts_are_the_same_models() {
    type Change = fn(&mut Tensors);
    let changes: [(&str, Change); 6] = [
        ("deepseek_v3", |tensors| {
            latent(tensors);
            further_layers(tensors);
        }),
        ("glm4_moe", further_layers),
        ("gpt_oss", |tensors| {
            alternating(tensors, "weight", "", transposed);
            alternating(tensors, "bias", "_bias", Clone::clone);
        }),
        ("gpt_oss-mxfp4", |tensors| {
            alternating(tensors, "weight", "_blocks", blocks);
            alternating(tensors, "scales", "_scales", Clone::clone);
            alternating(tensors, "bias", "_bias", Clone::clone);
        }),
        ("granitemoe", |tensors| fused(tensors, ["", "input_linear.weight", "output_linear.weight"])),
        ("mistral4", |tensors| {
            latent(tensors);
            fused(tensors, ["experts.", "gate_up_proj", "down_proj"]);
        }),
    ];
    let engine = cpu_engine();
    for (case, change) in changes {
        let dir = TempDir::new("published");
        let recipe = Recipe::load(case);
        let mut tensors = recipe.checkpoint_tensors(&mut quantize);
        change(&mut tensors);
        std::fs::write(dir.path().join("config.json"), recipe.config.to_string()).unwrap();
        let views = tensors.iter().map(|(n, t)| (n, TensorView::new(t.dtype, t.shape.clone(), &t.bytes).unwrap()));
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize_to_file(views, Some(metadata), &dir.path().join("model.safetensors")).unwrap();
        let model = load(&engine, bare(dir.path())).unwrap_or_else(|e| panic!("{case}: {e}"));
        let logits = model.logits(recipe.prompt).unwrap().wait().unwrap();
        let error = relative_error(&logits.values, &Golden::load(case).logits);
        assert!(error <= TOLERANCE, "{case}: {error:.1e}");
    }
}
