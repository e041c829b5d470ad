//! Tensors in the layouts that are published, as the layers take them.

use super::{Tensor, Weights};
use crate::array::{Array, Dtype};
use crate::error::{Error, Result};

/// Rows and columns of a block of FP8 weights that has one scale.
const BLOCK: i32 = 128;
/// What is after the name of such a weight in that of its scales.
const SCALES: &str = "_scale_inv";

impl Weights {
    /// Replaces tensors by what `f` makes of them, under other names. Nothing is read yet.
    ///
    /// # Errors
    /// If one is missing, and those of `f`.
    pub fn recast(&self, from: &[&str], to: &[String], f: impl FnOnce(&[Array]) -> Result<Vec<Array>>) -> Result<()> {
        let mut tensors = self.tensors.borrow_mut();
        let missing = |name: &&str| Error::invalid_weights(format!("{name} is missing"));
        let old = from.iter().map(|name| tensors.remove(*name).ok_or_else(|| missing(name)));
        let old = old.collect::<Result<Vec<_>>>()?;
        let arrays: Vec<Array> = old.iter().map(|t| t.array.clone()).collect();
        let (file, offset) = old.first().map_or((0, 0), |t| (t.file, t.offset));
        // All bytes are read for the first of them.
        let mut bytes = old.iter().map(|t| t.bytes).sum();
        let mut pages: Vec<_> = old.into_iter().flat_map(|t| t.pages).collect();
        let shapes = || arrays.iter().map(|a| format!("{:?}", a.shape())).collect::<Vec<_>>().join(", ");
        let new =
            f(&arrays).map_err(|e| Error::invalid_weights(format!("{}: {} of {}", from.join(", "), e, shapes())))?;
        for (name, array) in to.iter().zip(new) {
            let (bytes, pages) = (std::mem::take(&mut bytes), std::mem::take(&mut pages));
            if tensors.insert(name.clone(), Tensor { array, file, offset, bytes, pages }).is_some() {
                return Err(Error::invalid_weights(format!("{name} occurs twice, also in {}", from.join(", "))));
            }
        }
        Ok(())
    }

    /// Dequantizes weights in FP8 (E4M3) that have a scale for each block, `{weight}_scale_inv`, as DeepSeek publishes them.
    pub fn dequantize_blocks(&self) -> Result<()> {
        for scales in self.names().into_iter().filter(|name| name.ends_with(SCALES)) {
            let weight = scales[..scales.len() - SCALES.len()].to_owned();
            let to = [weight.clone()];
            self.recast(&[weight.as_str(), scales.as_str()], &to, |arrays| Ok(vec![blocks(&arrays[0], &arrays[1])?]))?;
        }
        Ok(())
    }
}

/// `codes` `[.., rows, columns]` times scales `[.., blocks of rows, blocks of columns]`, or of a shape that broadcasts. As in
/// the reference (mlx-lm 0.32.2, `deepseek_v3.py` and `mistral4.py`), the result is bf16.
fn blocks(codes: &Array, scales: &Array) -> Result<Array> {
    let (shape, have) = (codes.shape(), scales.shape());
    let [leading @ .., rows, columns] = shape else { return Err(Error::invalid_weights("a weight without rows")) };
    if codes.dtype() != Dtype::U8 {
        return Err(Error::invalid_weights(format!("codes in {}, not in FP8", codes.dtype())));
    }
    let weight = codes.from_fp8(Dtype::Bf16)?;
    let broadcasts =
        have.len() <= shape.len() && have.iter().rev().zip(shape.iter().rev()).all(|(s, n)| *s == 1 || s == n);
    if broadcasts {
        return (weight * scales)?.astype(Dtype::Bf16);
    }
    let blocks = [rows, columns].map(|n| (n + BLOCK - 1) / BLOCK);
    if have != [leading, &blocks].concat() {
        return Err(Error::invalid_weights(format!("no scales for each block of {BLOCK}")));
    }
    let [row, column] = [leading.len() as i32, leading.len() as i32 + 1];
    let weight = weight.pad(row, 0, blocks[0] * BLOCK - rows)?.pad(column, 0, blocks[1] * BLOCK - columns)?;
    let weight = weight.reshape(&[leading, &[blocks[0], BLOCK, blocks[1], BLOCK]].concat())?;
    let weight = (weight * scales.expand_dims(-2)?.expand_dims(-1)?)?;
    let weight = weight.reshape(&[leading, &[blocks[0] * BLOCK, blocks[1] * BLOCK]].concat())?;
    weight.slice_axis(row, 0, *rows)?.slice_axis(column, 0, *columns)?.astype(Dtype::Bf16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::{Device, set_device};

    #[test]
    fn blocks_have_their_scales() {
        set_device(Device::Cpu).unwrap();
        // 0x38 is 1 in E4M3, 0x40 is 2.
        let codes: Vec<u8> = (0..130 * 200).map(|i| if i % 2 == 0 { 0x38 } else { 0x40 }).collect();
        let codes = Array::from_slice(&codes, &[130, 200]).unwrap();
        let scales = Array::from_slice(&[1.0f32, 2.0, 4.0, 8.0], &[2, 2]).unwrap();
        let all = blocks(&codes, &scales).unwrap().astype(Dtype::F32).unwrap().to_vec::<f32>().unwrap();
        let at = |row: usize, column: usize| all[row * 200 + column];
        assert_eq!([at(0, 0), at(127, 127), at(0, 128), at(128, 1), at(129, 199)], [1.0, 2.0, 2.0, 8.0, 16.0]);
        let one = Array::from_slice(&[3.0f32], &[]).unwrap();
        let all = blocks(&codes, &one).unwrap().astype(Dtype::F32).unwrap().to_vec::<f32>().unwrap();
        assert_eq!([all[0], all[1]], [3.0, 6.0]);
        for wrong in [&[4][..], &[1, 4]] {
            let wrong = Array::from_slice(&[1.0f32, 2.0, 4.0, 8.0], wrong).unwrap();
            assert!(blocks(&codes, &wrong).is_err());
        }
        assert!(blocks(&one, &one).is_err());
    }
}
