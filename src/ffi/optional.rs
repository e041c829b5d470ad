//! What may be left out of the options, and how it becomes Rust's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::DeserializeOwned;

use super::{mlxe_str_t, mlxe_token_value_t, slice};
use crate::error::{Error, Result};

/// An optional integer. Set it with mlxe_int(); all zero means not set.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_opt_int_t {
    /// Whether `value` is set.
    pub given: bool,
    /// The number.
    pub value: i64,
}

/// An optional unsigned 64-bit integer. Set it with mlxe_u64(); all zero means not set.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_opt_u64_t {
    /// Whether `value` is set.
    pub given: bool,
    /// The number.
    pub value: u64,
}

/// An optional floating-point number. Set it with mlxe_float(); all zero means not set.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_opt_float_t {
    /// Whether `value` is set.
    pub given: bool,
    /// The number.
    pub value: f64,
}

impl mlxe_opt_int_t {
    /// The number, if there is one; refused if it is beyond what the option can be at all.
    pub(super) fn get<T: TryFrom<i64>>(self, name: &str) -> Result<Option<T>> {
        let convert =
            |value| T::try_from(value).map_err(|_| Error::invalid_argument(format!("{name} cannot be {value}")));
        self.given.then_some(self.value).map(convert).transpose()
    }
}

impl mlxe_opt_u64_t {
    /// As for integers.
    pub(super) fn get(self, _: &str) -> Result<Option<u64>> {
        Ok(self.given.then_some(self.value))
    }
}

impl mlxe_opt_float_t {
    /// As for integers. What a float cannot hold becomes infinite, and is then refused.
    pub(super) fn get(self, _: &str) -> Result<Option<f32>> {
        Ok(self.given.then_some(self.value as f32))
    }
}

impl From<Option<u32>> for mlxe_opt_int_t {
    fn from(value: Option<u32>) -> Self {
        mlxe_opt_int_t { given: value.is_some(), value: value.unwrap_or_default().into() }
    }
}

impl From<Option<u64>> for mlxe_opt_u64_t {
    fn from(value: Option<u64>) -> Self {
        mlxe_opt_u64_t { given: value.is_some(), value: value.unwrap_or_default() }
    }
}

impl From<Option<f32>> for mlxe_opt_float_t {
    fn from(value: Option<f32>) -> Self {
        mlxe_opt_float_t { given: value.is_some(), value: value.unwrap_or_default().into() }
    }
}

/// Puts what is given over what was there.
pub(super) fn overlay<T>(place: &mut Option<T>, given: Option<T>) {
    if given.is_some() {
        *place = given;
    }
}

/// The same for a list that is always there.
pub(super) fn overlay_list<T>(place: &mut T, given: Option<T>) {
    if let Some(list) = given {
        *place = list;
    }
}

/// One of some constants; `None` for 0.
pub(super) fn choice<T: Copy>(value: i32, choices: &[(i32, T)], name: &str) -> Result<Option<T>> {
    match choices.iter().find(|(constant, _)| *constant == value) {
        _ if value == 0 => Ok(None),
        Some((_, choice)) => Ok(Some(*choice)),
        None => Err(Error::invalid_argument(format!("{name} is {value}"))),
    }
}

/// A list; `None` for NULL, which is not the same as a list of nothing.
///
/// # Safety
/// `data` is NULL or points to `len` elements that are valid for `'a`.
unsafe fn list<'a, T>(data: *const T, len: usize, name: &str) -> Result<Option<&'a [T]>> {
    // SAFETY: the caller's promise.
    let elements = unsafe { slice(data, len, name) }?;
    Ok((!data.is_null()).then_some(elements))
}

/// A text; `None` if empty.
///
/// # Safety
/// The text is valid.
pub(super) unsafe fn text(text: mlxe_str_t, name: &str) -> Result<Option<String>> {
    // SAFETY: the caller's promise.
    Ok(unsafe { text.get_optional(name) }?.map(str::to_owned))
}

/// A file or a folder; `None` if empty.
///
/// # Safety
/// The text is valid.
pub(super) unsafe fn path(text: mlxe_str_t, name: &str) -> Result<Option<PathBuf>> {
    // SAFETY: the caller's promise.
    Ok(unsafe { text.get_optional(name) }?.map(PathBuf::from))
}

/// # Safety
/// As for [`list`], and the texts are valid.
pub(super) unsafe fn texts(data: *const mlxe_str_t, len: usize, name: &str) -> Result<Option<Vec<String>>> {
    // SAFETY: the caller's promise.
    let Some(texts) = unsafe { list(data, len, name) }? else { return Ok(None) };
    // SAFETY: the caller's promise.
    texts.iter().map(|text| unsafe { text.get(name) }.map(str::to_owned)).collect::<Result<_>>().map(Some)
}

/// # Safety
/// As for [`list`].
pub(super) unsafe fn tokens(data: *const u32, len: usize, name: &str) -> Result<Option<Vec<u32>>> {
    // SAFETY: the caller's promise.
    Ok(unsafe { list(data, len, name) }?.map(<[u32]>::to_vec))
}

/// # Safety
/// As for [`list`].
pub(super) unsafe fn token_values(
    data: *const mlxe_token_value_t,
    len: usize,
    name: &str,
) -> Result<Option<BTreeMap<u32, f32>>> {
    // SAFETY: the caller's promise.
    Ok(unsafe { list(data, len, name) }?.map(|pairs| pairs.iter().map(|p| (p.token, p.value)).collect()))
}

/// Options as JSON; nothing is given if there is no text.
///
/// # Safety
/// The text is valid.
pub(super) unsafe fn from_json<T: DeserializeOwned + Default>(json: mlxe_str_t, name: &str) -> Result<T> {
    // SAFETY: the caller's promise.
    let Some(text) = unsafe { json.get_optional(name) }? else { return Ok(T::default()) };
    // An array would be read as the fields in their order.
    if !text.trim_start().starts_with('{') {
        return Err(Error::invalid_argument(format!("{name} is not a JSON object")));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut reader)
        .map_err(|e| Error::invalid_argument(format!("{name}: {}: {}", e.path(), e.inner())))?;
    reader.end().map_err(|e| Error::invalid_argument(format!("{name}: {e}")))?;
    Ok(value)
}
