//! Weight files: finding them, validating their headers, and handing their tensors to a model.
//!
//! Everything a header can tell is checked before a byte of tensor data is read: [`Checkpoint::open`] refuses files
//! that are truncated or overlap, and building a model from the lazy tensors refuses missing, misshapen and left-over
//! ones. Only then does the load read the data, in file order, through [`Weights::into_plan`].
#![forbid(unsafe_code)]

mod checkpoint;
pub mod quantization;
mod recast;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

pub use checkpoint::{Checkpoint, TensorInfo, WeightFile};
use quantization::Quantization;

use crate::array::fused::stack;
use crate::array::io::{ReadProgress, open_safetensors};
use crate::array::mapping::{Pages, map_tensors};
use crate::array::quant::{Mode, Quantized, Scheme};
use crate::array::{Array, Dtype};
use crate::error::{Error, Result};

/// What a read leaves in which order: one entry per finished parameter.
pub struct Parameter {
    /// The lazy array that the model holds.
    pub array: Array,
    /// Index of the file that it (or the first of its parts) comes from.
    pub file: usize,
    /// Bytes that computing it reads from the files.
    pub bytes: usize,
    /// What to bring into memory first, where files are mapped.
    pub pages: Vec<Pages>,
}

/// The tensors of a checkpoint while a model is built from them.
///
/// Tensors are taken by name and must have the expected shape. [`Weights::finish`] refuses what nobody took.
pub struct Weights {
    tensors: RefCell<HashMap<String, Tensor>>,
    quantization: RefCell<Option<Quantization>>,
    /// What floating-point tensors are converted to; `None` leaves them as stored.
    dtype: Option<Dtype>,
    parameters: RefCell<Vec<(u64, Parameter)>>,
    /// Weights as if nothing were quantized.
    count: Cell<u64>,
    problems: RefCell<Vec<String>>,
    ignored: RefCell<Vec<NameTest>>,
    finished: Cell<bool>,
}

/// Whether a tensor of this name may be left over.
type NameTest = Box<dyn Fn(&str) -> bool>;

struct Tensor {
    array: Array,
    file: usize,
    offset: u64,
    /// What it takes in the file.
    bytes: usize,
    pages: Vec<Pages>,
}

impl Weights {
    /// Opens all files of a checkpoint lazily.
    pub fn open(
        checkpoint: &mut Checkpoint,
        quantization: Option<Quantization>,
        dtype: Option<Dtype>,
        progress: Arc<ReadProgress>,
    ) -> Result<Weights> {
        // MLX's own operations, which convert types, want aligned numbers.
        let anywhere = dtype.is_none();
        let mut tensors = HashMap::new();
        for (index, file) in checkpoint.files.iter_mut().enumerate() {
            let (handle, header) = file.take_handle()?;
            let located = file.located(header.len() as u64, &checkpoint.tensors);
            let mapped = match &located {
                Some(located) => map_tensors(&handle, &file.name, located, anywhere)?,
                None => None,
            };
            let offset = |name: &str| file.offsets.get(name).copied().unwrap_or(0);
            if let Some(mapped) = mapped {
                for (name, (array, pages)) in mapped {
                    let offset = offset(&name);
                    let bytes = array.nbytes();
                    tensors.insert(name, Tensor { array, file: index, offset, bytes, pages: vec![pages] });
                }
                continue;
            }
            let arrays =
                open_safetensors(handle, &file.name, header, progress.clone()).map_err(|e| e.context(&file.name))?;
            for (name, array) in arrays {
                let offset = offset(&name);
                let bytes = array.nbytes();
                tensors.insert(name, Tensor { array, file: index, offset, bytes, pages: Vec::new() });
            }
        }
        Ok(Weights {
            tensors: RefCell::new(tensors),
            quantization: RefCell::new(quantization),
            dtype,
            parameters: RefCell::default(),
            count: Cell::new(0),
            problems: RefCell::default(),
            ignored: RefCell::default(),
            finished: Cell::new(false),
        })
    }

    /// Whether there is a tensor of this name that nobody took yet.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.borrow().contains_key(name)
    }

    /// The names that are left, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.tensors.borrow().keys().cloned().collect();
        names.sort();
        names
    }

    /// The shape of a tensor that nobody took yet.
    pub fn shape(&self, name: &str) -> Option<Vec<i32>> {
        self.tensors.borrow().get(name).map(|tensor| tensor.array.shape().to_vec())
    }

    /// Replaces floating-point tensors whose name `test` accepts by what `f` makes of them.
    pub fn amend(&self, test: impl Fn(&str) -> bool, f: impl Fn(&str, Array) -> Result<Array>) -> Result<()> {
        for (name, tensor) in self.tensors.borrow_mut().iter_mut() {
            if test(name) && tensor.array.dtype().is_float() {
                tensor.array = f(name, self.converted(tensor.array.clone())?)?;
            }
        }
        Ok(())
    }

    /// Splits a tensor along an axis into as many equal parts as there are names.
    pub fn split(&self, name: &str, axis: i32, parts: &[String]) -> Result<()> {
        let missing = || Error::invalid_weights(format!("{name} is missing"));
        let Tensor { array, file, offset, mut bytes, mut pages } =
            self.tensors.borrow_mut().remove(name).ok_or_else(missing)?;
        let shape = array.shape().to_vec();
        let each = array.split(parts.len() as i32, axis);
        let each =
            each.map_err(|_| Error::invalid_weights(format!("{name}: {shape:?} has no {} parts", parts.len())))?;
        for (part, array) in parts.iter().zip(each) {
            // All of it is read for the first.
            let (bytes, pages) = (std::mem::take(&mut bytes), std::mem::take(&mut pages));
            let tensor = Tensor { array: array.contiguous()?, file, offset, bytes, pages };
            if self.tensors.borrow_mut().insert(part.clone(), tensor).is_some() {
                return Err(Error::invalid_weights(format!("{part} occurs twice, also in {name}")));
            }
        }
        Ok(())
    }

    /// Gives tensors other names; those of which `f` makes none are dropped.
    ///
    /// # Errors
    /// If two would have the same name.
    pub fn rename(&self, f: impl Fn(&str) -> Option<String>) -> Result<()> {
        let mut tensors = self.tensors.borrow_mut();
        let mut renamed = HashMap::with_capacity(tensors.len());
        for (name, tensor) in tensors.drain() {
            let Some(new) = f(&name) else { continue };
            if renamed.insert(new.clone(), tensor).is_some() {
                return Err(Error::invalid_weights(format!("{new} occurs twice, also as {name}")));
            }
        }
        *tensors = renamed;
        if let Some(quantization) = &mut *self.quantization.borrow_mut() {
            let layers = quantization.layers.drain();
            let of = |path: String| Some(f(&format!("{path}.weight"))?.strip_suffix(".weight")?.to_owned());
            quantization.layers = layers.filter_map(|(path, scheme)| Some((of(path)?, scheme))).collect();
        }
        Ok(())
    }

    /// Does not mind left-over tensors whose name satisfies `f`.
    pub fn ignore(&self, f: impl Fn(&str) -> bool + 'static) {
        self.ignored.borrow_mut().push(Box::new(f));
    }

    /// Takes a floating-point parameter of exactly this shape.
    pub fn tensor(&self, name: &str, shape: &[i32]) -> Result<Array> {
        self.derived(name, shape, Ok)
    }

    /// Takes a floating-point tensor and keeps what `f` makes of it as the parameter.
    pub fn derived(&self, name: &str, shape: &[i32], f: impl FnOnce(Array) -> Result<Array>) -> Result<Array> {
        self.combined(&[name.to_owned()], shape, None, |arrays| f(arrays[0].clone()))
    }

    /// Takes several tensors and keeps what `f` makes of all of them as one parameter.
    pub fn joined(&self, names: &[String], shape: &[i32], f: impl FnOnce(&[Array]) -> Result<Array>) -> Result<Array> {
        self.combined(names, shape, None, f)
    }

    /// Takes tensors of one shape as one with a new first axis.
    pub fn stacked(&self, names: &[String], shape: &[i32]) -> Result<Array> {
        self.joined(names, shape, stack)
    }

    /// Takes the weight `{path}.weight` of a layer, `rows x columns`, as the checkpoint has it: quantized where there
    /// are `{path}.scales`, dense elsewhere.
    pub fn matrix(&self, path: &str, rows: i32, columns: i32) -> Result<Matrix> {
        self.assembled(&[path.to_owned()], &[rows], columns, &single)
    }

    /// Like [`Weights::matrix`], its rows in another order.
    pub fn matrix_reordered(
        &self,
        path: &str,
        rows: i32,
        columns: i32,
        order: &dyn Fn(&Array) -> Result<Array>,
    ) -> Result<Matrix> {
        self.assembled(&[path.to_owned()], &[rows], columns, &|arrays| order(&arrays[0]))
    }

    /// Like [`Weights::matrix`], for `count` matrices in one tensor.
    pub fn matrices(&self, path: &str, count: i32, rows: i32, columns: i32) -> Result<Matrix> {
        self.assembled(&[path.to_owned()], &[count, rows], columns, &single)
    }

    /// Like [`Weights::matrices`], for matrices in tensors of their own that are stored in one way.
    pub fn stacked_matrices(&self, paths: &[String], rows: i32, columns: i32) -> Result<Matrix> {
        self.assembled(paths, &[rows], columns, &stack)
    }

    /// What `f` makes of the weights at `paths`, part by part.
    fn assembled(
        &self,
        paths: &[String],
        rows: &[i32],
        columns: i32,
        f: &dyn Fn(&[Array]) -> Result<Array>,
    ) -> Result<Matrix> {
        let part = |suffix: &str, columns: i32, codes: Option<Dtype>| {
            let names: Vec<String> = paths.iter().map(|path| format!("{path}.{suffix}")).collect();
            self.combined(&names, &[rows, &[columns]].concat(), codes, f)
        };
        if !paths.iter().any(|path| self.has(&format!("{path}.scales"))) {
            return Ok(Matrix::Dense(part("weight", columns, None)?));
        }
        let scheme = match self.scheme(paths, columns) {
            Ok(scheme) => scheme,
            Err(error) => {
                self.problem(error.message().to_owned());
                for path in paths {
                    let path = format!("{path}.");
                    self.ignore(move |name| name.starts_with(&path));
                }
                let one = self.stand_in(&[rows, &[columns]].concat())?;
                return Ok(Matrix::Dense(f(&vec![one; paths.len()])?));
            }
        };
        let before = self.count.get();
        let groups = columns / scheme.group_size;
        let affine = scheme.mode == Mode::Affine;
        let quantized = Quantized {
            packed: part("weight", columns * scheme.bits / 32, Some(Dtype::U32))?,
            scales: part("scales", groups, if affine { None } else { Some(Dtype::U8) })?,
            biases: if affine { Some(part("biases", groups, None)?) } else { None },
            scheme,
        };
        let numbers = rows.iter().map(|&n| n as u64).product::<u64>() * columns as u64;
        self.count.set(before + numbers * paths.len() as u64);
        Ok(Matrix::Quantized(quantized))
    }

    /// Takes tensors of one shape and keeps what `f` makes of them as one parameter: floating-point numbers, or codes
    /// of a type, whose bytes stay as they are.
    fn combined(
        &self,
        names: &[String],
        shape: &[i32],
        codes: Option<Dtype>,
        f: impl FnOnce(&[Array]) -> Result<Array>,
    ) -> Result<Array> {
        let mut place = None::<Place>;
        let mut pages = Vec::new();
        let mut arrays = Vec::with_capacity(names.len());
        for name in names {
            let Some(tensor) = self.take(name, shape) else { continue };
            let dtype = tensor.array.dtype();
            match codes {
                None if !dtype.is_float() => {
                    self.problem(format!("{name} holds {dtype}, not floating-point numbers"));
                    continue;
                }
                Some(codes) if dtype != codes => {
                    self.problem(format!("{name} holds {dtype}, not codes in {codes}"));
                    continue;
                }
                _ => {}
            }
            let of = Place::of(&tensor);
            place.get_or_insert(Place { bytes: 0, ..of }).bytes += of.bytes;
            pages.extend(tensor.pages);
            arrays.push(if codes.is_none() { self.converted(tensor.array)? } else { tensor.array });
        }
        let (Some(place), true) = (place, arrays.len() == names.len()) else {
            return f(&vec![self.stand_in(shape)?; names.len()]);
        };
        let array = f(&arrays)?;
        self.register(place, &array, pages);
        if codes.is_none() {
            self.count(array.size() as u64);
        }
        Ok(array)
    }

    /// The scheme of quantized layers: the checkpoint's shapes say it, the configuration must not contradict them.
    fn scheme(&self, paths: &[String], columns: i32) -> Result<Scheme> {
        let (tensors, quantization) = (self.tensors.borrow(), self.quantization.borrow());
        let mut schemes = paths.iter().map(|path| {
            let part = |suffix: &str| {
                let name = format!("{path}.{suffix}");
                let missing = || Error::invalid_weights(format!("{name} is missing"));
                tensors.get(&name).map(|t| &t.array).ok_or_else(missing)
            };
            let (scales, packed) = (part("scales")?, part("weight")?);
            Ok((path, quantization::infer(path, columns, packed, scales, quantization.as_ref())?))
        });
        let (first, scheme) = schemes.next().ok_or_else(|| Error::internal("a weight without a path"))??;
        for other in schemes {
            let (path, other) = other?;
            if other != scheme {
                return Err(Error::invalid_weights(format!("{path} is quantized in another way than {first}")));
            }
        }
        Ok(scheme)
    }

    fn take(&self, name: &str, shape: &[i32]) -> Option<Tensor> {
        let Some(tensor) = self.tensors.borrow_mut().remove(name) else {
            self.problem(format!("{name} is missing"));
            return None;
        };
        if tensor.array.shape() != shape {
            self.problem(format!("{name} has shape {:?}, expected {shape:?}", tensor.array.shape()));
            return None;
        }
        Some(tensor)
    }

    /// In place of a tensor that is wrong, so that building goes on and one error can name all that is wrong.
    fn stand_in(&self, shape: &[i32]) -> Result<Array> {
        let one = Array::scalar(0.0, Dtype::F32)?;
        one.broadcast_to(shape)
    }

    fn converted(&self, array: Array) -> Result<Array> {
        match self.dtype {
            Some(dtype) => array.astype(dtype),
            None => Ok(array),
        }
    }

    fn register(&self, place: Place, array: &Array, pages: Vec<Pages>) {
        let parameter = Parameter { array: array.clone(), file: place.file, bytes: place.bytes, pages };
        self.parameters.borrow_mut().push((place.offset, parameter));
    }

    fn problem(&self, what: String) {
        self.problems.borrow_mut().push(what);
    }

    fn count(&self, weights: u64) {
        self.count.set(self.count.get() + weights);
    }

    /// How many weights were taken, counted as if none were quantized.
    pub fn parameter_count(&self) -> u64 {
        self.count.get()
    }

    /// Says what was wrong with the checkpoint, all of it at once; nothing has been read yet.
    pub fn finish(&self) -> Result<()> {
        let mut problems = std::mem::take(&mut *self.problems.borrow_mut());
        let ignored = self.ignored.borrow();
        let extra: Vec<String> =
            self.names().into_iter().filter(|name| !ignored.iter().any(|ignores| ignores(name))).collect();
        problems.extend(extra.iter().map(|name| format!("{name} is not part of this architecture")));
        self.tensors.borrow_mut().clear();
        self.finished.set(true);
        match problems.len() {
            0 => Ok(()),
            _ => Err(Error::invalid_weights(summary(&problems))),
        }
    }

    /// The parameters in the order in which their bytes lie in the files.
    pub fn into_plan(self) -> Vec<Parameter> {
        debug_assert!(self.finished.get(), "finish() comes first");
        let mut parameters = self.parameters.into_inner();
        parameters.sort_by_key(|(offset, parameter)| (parameter.file, *offset));
        parameters.into_iter().map(|(_, parameter)| parameter).collect()
    }
}

/// Where a parameter's bytes are.
#[derive(Clone, Copy, Default)]
struct Place {
    file: usize,
    offset: u64,
    bytes: usize,
}

impl Place {
    fn of(tensor: &Tensor) -> Place {
        Place { file: tensor.file, offset: tensor.offset, bytes: tensor.bytes }
    }
}

/// A weight matrix as the checkpoint has it.
#[derive(Clone, Debug)]
pub enum Matrix {
    /// `[rows, columns]`
    Dense(Array),
    /// Codes and scales of the same.
    Quantized(Quantized),
}

impl Matrix {
    /// Some of its rows: a view.
    pub fn rows(&self, from: i32, to: i32) -> Result<Matrix> {
        let part = |a: &Array| a.slice_axis(0, from, to);
        Ok(match self {
            Matrix::Dense(weight) => Matrix::Dense(part(weight)?),
            Matrix::Quantized(q) => Matrix::Quantized(Quantized {
                packed: part(&q.packed)?,
                scales: part(&q.scales)?,
                biases: q.biases.as_ref().map(part).transpose()?,
                scheme: q.scheme,
            }),
        })
    }
}

fn single(arrays: &[Array]) -> Result<Array> {
    Ok(arrays[0].clone())
}

/// All problems in one message, the first twenty by name.
fn summary(problems: &[String]) -> String {
    const SHOWN: usize = 20;
    let mut text = match problems.len() {
        1 => "the weights do not fit the model: ".to_owned(),
        n => format!("the weights do not fit the model in {n} places: "),
    };
    text += &problems.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if problems.len() > SHOWN {
        text += &format!("; and {} more", problems.len() - SHOWN);
    }
    text
}
