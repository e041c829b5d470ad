//! Operations on arrays, named as in MLX. Axes may be negative; shapes broadcast as in NumPy.

use super::device::stream;
use super::error::check;
use super::{Array, ArrayVec, Dtype, Out, sys};
use crate::error::Result;

/// Calls an mlx-c function that fills a result array and takes the stream last.
macro_rules! call {
    ($f:ident($($arg:expr),* $(,)?)) => {{
        let mut out = Out::new();
        // SAFETY: all handles are valid for the call, and slices are passed with their lengths.
        let rc = unsafe { sys::$f(out.as_mut(), $($arg,)* stream()) };
        out.finish(rc, &stringify!($f)[4..])
    }};
}
pub(super) use call;

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident => $f:ident),+ $(,)?) => {
        impl Array {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $name(&self) -> Result<Array> {
                    call!($f(self.raw))
                }
            )+
        }
    };
}

unary! {
    /// `-x`
    negative => mlx_negative,
    /// `x * x`
    square => mlx_square,
    /// Square root.
    sqrt => mlx_sqrt,
    /// `e^x`
    exp => mlx_exp,
    /// `e^x - 1`
    expm1 => mlx_expm1,
    /// Natural logarithm.
    log => mlx_log,
    /// Absolute value.
    abs => mlx_abs,
    /// `1 / (1 + e^-x)`
    sigmoid => mlx_sigmoid,
    /// Hyperbolic tangent.
    tanh => mlx_tanh,
    /// The error function.
    erf => mlx_erf,
    /// The inverse of the error function.
    erfinv => mlx_erfinv,
    /// Sine of radians.
    sin => mlx_sin,
    /// Cosine of radians.
    cos => mlx_cos,
    /// Rounds towards minus infinity.
    floor => mlx_floor,
    /// Whether an element is NaN.
    is_nan => mlx_isnan,
    /// Reverses the axes.
    transpose => mlx_transpose,
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident => $f:ident),+ $(,)?) => {
        impl Array {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $name(&self, other: &Array) -> Result<Array> {
                    call!($f(self.raw, other.raw))
                }
            )+
        }
    };
}

binary! {
    /// Matrix product over the last two axes.
    matmul => mlx_matmul,
    /// The larger of two elements.
    maximum => mlx_maximum,
    /// The smaller of two elements.
    minimum => mlx_minimum,
    /// `x ^ other`
    power => mlx_power,
    /// Element-wise `x == other`, as booleans.
    equal => mlx_equal,
    /// Element-wise `x > other`, as booleans.
    greater => mlx_greater,
    /// Element-wise `x >= other`, as booleans.
    greater_equal => mlx_greater_equal,
    /// Element-wise `x < other`, as booleans.
    less => mlx_less,
    /// Element-wise `x <= other`, as booleans.
    less_equal => mlx_less_equal,
    /// Element-wise `and` of booleans.
    logical_and => mlx_logical_and,
    /// Element-wise `or` of booleans.
    logical_or => mlx_logical_or,
}

impl Array {
    /// The same elements in another shape. One size may be -1.
    #[track_caller]
    pub fn reshape(&self, shape: &[i32]) -> Result<Array> {
        call!(mlx_reshape(self.raw, shape.as_ptr(), shape.len()))
    }

    /// Exchanges two axes.
    #[track_caller]
    pub fn swap_axes(&self, a: i32, b: i32) -> Result<Array> {
        call!(mlx_swapaxes(self.raw, a, b))
    }

    /// Inserts an axis of size 1 before `axis`.
    #[track_caller]
    pub fn expand_dims(&self, axis: i32) -> Result<Array> {
        call!(mlx_expand_dims(self.raw, axis))
    }

    /// Removes `axis`, whose size must be 1.
    #[track_caller]
    pub fn squeeze_axis(&self, axis: i32) -> Result<Array> {
        call!(mlx_squeeze_axis(self.raw, axis))
    }

    /// Repeats elements so that the array has this shape.
    #[track_caller]
    pub fn broadcast_to(&self, shape: &[i32]) -> Result<Array> {
        call!(mlx_broadcast_to(self.raw, shape.as_ptr(), shape.len()))
    }

    /// Converts the elements.
    #[track_caller]
    pub fn astype(&self, dtype: Dtype) -> Result<Array> {
        match self.dtype() == dtype {
            true => Ok(self.clone()),
            false => call!(mlx_astype(self.raw, dtype.raw())),
        }
    }

    /// Floating-point numbers of a type, from codes of E4M3 (u8).
    #[track_caller]
    pub fn from_fp8(&self, dtype: Dtype) -> Result<Array> {
        call!(mlx_from_fp8(self.raw, dtype.raw()))
    }

    /// The same bytes read as another type.
    #[track_caller]
    pub fn view(&self, dtype: Dtype) -> Result<Array> {
        call!(mlx_view(self.raw, dtype.raw()))
    }

    /// The elements in row-major order, copied if they are not.
    #[track_caller]
    pub fn contiguous(&self) -> Result<Array> {
        call!(mlx_contiguous(self.raw, false))
    }

    /// Elements `start..stop` of one axis; negative positions count from the end.
    #[track_caller]
    pub fn slice_axis(&self, axis: i32, start: i32, stop: i32) -> Result<Array> {
        let axis = if axis < 0 { axis + self.ndim() as i32 } else { axis } as usize;
        let mut from = [0; 8];
        let mut to = [1; 8];
        let step = [1; 8];
        let rank = self.ndim().min(8);
        to[..rank].copy_from_slice(&self.shape()[..rank]);
        if axis >= rank {
            return Err(crate::Error::mlx(format!("slice: axis {axis} of {self:?}")));
        }
        let size = to[axis];
        let position = |p: i32| if p < 0 { p + size } else { p };
        (from[axis], to[axis]) = (position(start), position(stop));
        self.slice(&from[..rank], &to[..rank], &step[..rank])
    }

    /// A block of the array: `start[i]..stop[i]` in steps of `step[i]` on each axis.
    #[track_caller]
    pub fn slice(&self, start: &[i32], stop: &[i32], step: &[i32]) -> Result<Array> {
        call!(mlx_slice(self.raw, start.as_ptr(), start.len(), stop.as_ptr(), stop.len(), step.as_ptr(), step.len()))
    }

    /// A copy in which the block `start[i]..stop[i]` is `update`. Done in place where nobody else holds the array.
    #[track_caller]
    pub fn slice_update(&self, update: &Array, start: &[i32], stop: &[i32]) -> Result<Array> {
        let step = [1; 8];
        call!(mlx_slice_update(
            self.raw,
            update.raw,
            start.as_ptr(),
            start.len(),
            stop.as_ptr(),
            stop.len(),
            step.as_ptr(),
            start.len().min(step.len())
        ))
    }

    /// Splits an axis into `parts` of equal size.
    #[track_caller]
    pub fn split(&self, parts: i32, axis: i32) -> Result<Vec<Array>> {
        let mut out = ArrayVec::empty();
        // SAFETY: the handles are valid.
        check(unsafe { sys::mlx_split(&mut out.raw, self.raw, parts, axis, stream()) }, "split")?;
        out.into_vec()
    }

    /// Splits an axis before each of the positions `at`.
    #[track_caller]
    pub fn split_at(&self, at: &[i32], axis: i32) -> Result<Vec<Array>> {
        let mut out = ArrayVec::empty();
        // SAFETY: the handles are valid and `at` is passed with its length.
        let rc = unsafe { sys::mlx_split_sections(&mut out.raw, self.raw, at.as_ptr(), at.len(), axis, stream()) };
        check(rc, "split_sections")?;
        out.into_vec()
    }

    /// The entries of `axis` that `indices` name. MLX does not check their range.
    #[track_caller]
    pub fn take(&self, indices: &Array, axis: i32) -> Result<Array> {
        call!(mlx_take_axis(self.raw, indices.raw, axis))
    }

    /// Picks elements along `axis`, position by position; `indices` has the shape of the result.
    #[track_caller]
    pub fn take_along_axis(&self, indices: &Array, axis: i32) -> Result<Array> {
        call!(mlx_take_along_axis(self.raw, indices.raw, axis))
    }

    /// A copy in which the elements that `indices` name along `axis` are `values`.
    #[track_caller]
    pub fn put_along_axis(&self, indices: &Array, values: &Array, axis: i32) -> Result<Array> {
        call!(mlx_put_along_axis(self.raw, indices.raw, values.raw, axis))
    }

    /// Softmax along `axis`; `precise` computes it in f32.
    #[track_caller]
    pub fn softmax(&self, axis: i32, precise: bool) -> Result<Array> {
        call!(mlx_softmax_axis(self.raw, axis, precise))
    }

    /// The sum along `axis`.
    #[track_caller]
    pub fn sum(&self, axis: i32, keep_dims: bool) -> Result<Array> {
        call!(mlx_sum_axis(self.raw, axis, keep_dims))
    }

    /// The mean along `axis`.
    #[track_caller]
    pub fn mean(&self, axis: i32, keep_dims: bool) -> Result<Array> {
        call!(mlx_mean_axis(self.raw, axis, keep_dims))
    }

    /// The largest element along `axis`.
    #[track_caller]
    pub fn max(&self, axis: i32, keep_dims: bool) -> Result<Array> {
        call!(mlx_max_axis(self.raw, axis, keep_dims))
    }

    /// The smallest element along `axis`.
    #[track_caller]
    pub fn min(&self, axis: i32, keep_dims: bool) -> Result<Array> {
        call!(mlx_min_axis(self.raw, axis, keep_dims))
    }

    /// The position (u32) of the largest element along `axis`; the first of equals.
    #[track_caller]
    pub fn argmax(&self, axis: i32, keep_dims: bool) -> Result<Array> {
        call!(mlx_argmax_axis(self.raw, axis, keep_dims))
    }

    /// The positions (u32) that sort `axis` in ascending order.
    #[track_caller]
    pub fn argsort(&self, axis: i32) -> Result<Array> {
        call!(mlx_argsort_axis(self.raw, axis))
    }

    /// The positions (u32) that put the `kth` smallest element of `axis` in its place, smaller ones before it.
    #[track_caller]
    pub fn argpartition(&self, kth: i32, axis: i32) -> Result<Array> {
        call!(mlx_argpartition_axis(self.raw, kth, axis))
    }

    /// The elements of `axis` in ascending order.
    #[track_caller]
    pub fn sort(&self, axis: i32) -> Result<Array> {
        call!(mlx_sort_axis(self.raw, axis))
    }

    /// Running sums along `axis`, each including its own element.
    #[track_caller]
    pub fn cumsum(&self, axis: i32) -> Result<Array> {
        let same = sys::mlx_optional_dtype { value: self.dtype().raw(), has_value: false };
        call!(mlx_cumsum_axis(self.raw, axis, false, true, same))
    }

    /// Elements within these bounds.
    #[track_caller]
    pub fn clip(&self, least: f32, most: f32) -> Result<Array> {
        let [least, most] = [least, most].map(|n| Array::scalar(n, self.dtype()));
        self.maximum(&least?)?.minimum(&most?)
    }

    /// Repeats each element of `axis` `times` in a row.
    #[track_caller]
    pub fn repeat(&self, times: i32, axis: i32) -> Result<Array> {
        call!(mlx_repeat_axis(self.raw, times, axis))
    }

    /// `self` where the boolean `condition` holds, else `other`.
    #[track_caller]
    pub fn where_(&self, condition: &Array, other: &Array) -> Result<Array> {
        call!(mlx_where(condition.raw, self.raw, other.raw))
    }

    /// Adds `before` and `after` zeros on `axis`.
    #[track_caller]
    pub fn pad(&self, axis: i32, before: i32, after: i32) -> Result<Array> {
        let zero = Array::scalar(0.0, self.dtype())?;
        call!(mlx_pad(self.raw, &axis, 1, &before, 1, &after, 1, zero.raw, c"constant".as_ptr()))
    }

    /// Matmuls with selected matrices: `self[lhs[i]] @ other[rhs[i]]`. Without `lhs`, all of `self` in order.
    #[track_caller]
    pub fn gather_mm(&self, other: &Array, lhs: Option<&Array>, rhs: Option<&Array>, sorted: bool) -> Result<Array> {
        call!(mlx_gather_mm(self.raw, other.raw, or_null(lhs), or_null(rhs), sorted))
    }
}

/// The handle, or an empty one where mlx-c takes a null array.
pub(super) fn or_null(array: Option<&Array>) -> sys::mlx_array {
    array.map_or(sys::mlx_array { ctx: std::ptr::null_mut() }, |a| a.raw)
}

/// Joins arrays along an existing axis.
#[track_caller]
pub fn concatenate<'a>(arrays: impl IntoIterator<Item = &'a Array>, axis: i32) -> Result<Array> {
    let arrays = ArrayVec::new(arrays)?;
    call!(mlx_concatenate_axis(arrays.raw, axis))
}

/// Joins arrays of one shape along a new axis.
#[track_caller]
pub fn stack<'a>(arrays: impl IntoIterator<Item = &'a Array>, axis: i32) -> Result<Array> {
    let arrays = ArrayVec::new(arrays)?;
    call!(mlx_stack_axis(arrays.raw, axis))
}

/// An array of zeros.
#[track_caller]
pub fn zeros(shape: &[i32], dtype: Dtype) -> Result<Array> {
    call!(mlx_zeros(shape.as_ptr(), shape.len(), dtype.raw()))
}

/// An array whose elements are all `value`.
#[track_caller]
pub fn full(shape: &[i32], value: f32, dtype: Dtype) -> Result<Array> {
    let value = Array::scalar(value, dtype)?;
    call!(mlx_full(shape.as_ptr(), shape.len(), value.raw, dtype.raw()))
}

/// `start, start + step, ..` up to but without `stop`.
#[track_caller]
pub fn arange(start: f64, stop: f64, step: f64, dtype: Dtype) -> Result<Array> {
    call!(mlx_arange(start, stop, step, dtype.raw()))
}

/// What may stand beside an array in a formula: an array, the `Result` of a formula, or a number. A number takes the
/// array's type, as it does in MLX for Python.
pub trait Operand {
    /// The operand as an array; numbers become scalars of type `beside`.
    fn into_operand(self, beside: Dtype) -> Result<Array>;
}

impl Operand for Array {
    fn into_operand(self, _: Dtype) -> Result<Array> {
        Ok(self)
    }
}

impl Operand for &Array {
    fn into_operand(self, _: Dtype) -> Result<Array> {
        Ok(self.clone())
    }
}

impl Operand for Result<Array> {
    fn into_operand(self, _: Dtype) -> Result<Array> {
        self
    }
}

impl Operand for f32 {
    fn into_operand(self, beside: Dtype) -> Result<Array> {
        Array::scalar(self, beside)
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $f:ident) => {
        impl<B: Operand> std::ops::$trait<B> for &Array {
            type Output = Result<Array>;
            #[track_caller]
            fn $method(self, other: B) -> Result<Array> {
                let other = other.into_operand(self.dtype())?;
                call!($f(self.raw, other.raw))
            }
        }

        impl<B: Operand> std::ops::$trait<B> for Array {
            type Output = Result<Array>;
            #[track_caller]
            fn $method(self, other: B) -> Result<Array> {
                std::ops::$trait::$method(&self, other)
            }
        }

        impl std::ops::$trait<Array> for Result<Array> {
            type Output = Result<Array>;
            #[track_caller]
            fn $method(self, other: Array) -> Result<Array> {
                std::ops::$trait::$method(&self?, other)
            }
        }

        impl std::ops::$trait<&Array> for Result<Array> {
            type Output = Result<Array>;
            #[track_caller]
            fn $method(self, other: &Array) -> Result<Array> {
                std::ops::$trait::$method(&self?, other)
            }
        }
    };
}

operator!(Add, add, mlx_add);
operator!(Sub, sub, mlx_subtract);
operator!(Mul, mul, mlx_multiply);
operator!(Div, div, mlx_divide);
