//! The elements of CPU tensors as slices, without a copy.
//!
//! A kernel in plain Rust reads logits `[N, K]` as one `&[f32]` of N·K elements in row-major order and writes the
//! gradient into another. [`slice()`] lends the elements of a tensor, [`slice_mut`] lends them for writing,
//! [`uninit_slice_mut`] lends memory that nothing was written to yet, as [`allocate`](crate::buffers::allocate) gives it.
//! What is lent is checked: the dtype, the device, the layout (contiguous, neither conjugated nor negated), the
//! alignment. A tensor without elements gives an empty slice.
//!
//! ```
//! use softlabel_tensor::buffers::allocate;
//! use softlabel_tensor::slices::{slice, uninit_slice_mut};
//! use tch::{Kind, Tensor};
//!
//! let logits = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0]).view((2, 2));
//! let mut doubled = allocate(&logits.size(), Kind::Float)?;
//! for (to, from) in uninit_slice_mut::<f32>(&mut doubled)?.iter_mut().zip(slice::<f32>(&logits)?) {
//!     to.write(2.0 * from);
//! }
//! assert_eq!(slice::<f32>(&doubled)?, [2.0, 4.0, 6.0, 8.0]);
//! # Ok::<(), softlabel_tensor::Error>(())
//! ```
//!
//! # What remains to the caller
//!
//! Several handles may name one tensor, and several tensors may share memory: `shallow_clone`, views, `detach`.
//! tch lets any of them write in place or resize, from any thread, through a shared reference and without `unsafe`.
//! **While a slice from [`slice()`] lives, nobody may write to its memory or resize it through another handle.**
//! Nothing can check that; it is as with tch's own in-place operations, whose writers have to agree among themselves.
//! Keep the slice for the length of one computation.
//!
//! Slices for writing do not leave this to the caller: they are refused unless the handle is the only one to its
//! tensor, and the tensor the only one to its storage. Memory that a tensor only borrows (`from_blob`) is beyond
//! what libtorch counts.

use std::any::type_name;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use tch::{Kind, Tensor};
use torch_sys::C_tensor;

use crate::{Error, Result};

/// The Rust type of a dtype. Sealed: its values are any bits of that dtype, or checked.
///
/// tch has a trait of this name, which takes `bf16` for the dtype of `f16`.
pub trait Element: Copy + 'static + sealed::Sealed {
    /// The dtype.
    const KIND: Kind;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($element:ty: $kind:ident),*) => {
        $(
            impl sealed::Sealed for $element {}
            impl Element for $element {
                const KIND: Kind = Kind::$kind;
            }
        )*
    };
}

elements!(
    f32: Float, f64: Double, half::f16: Half, half::bf16: BFloat16, u8: Uint8, i8: Int8, i16: Int16, i32: Int,
    i64: Int64, bool: Bool
);

/// The elements of a CPU tensor, in row-major order.
///
/// `T` is the Rust type of the dtype: `f32`, `f64`, `half::f16`, `half::bf16`, `u8`, `i8`, `i16`, `i32`, `i64`, `bool`.
/// Whether the tensor requires grad does not matter: nothing is recorded.
///
/// Nobody may write to the memory through another handle while the slice lives: see the [module](self).
///
/// # Errors
/// [`Error::Kind`] for another dtype, [`Error::Memory`] if the tensor is undefined, not on the CPU, sparse, not
/// contiguous or not aligned, or holds a bool that is neither 0 nor 1.
///
/// ```
/// use softlabel_tensor::slices::slice;
/// use tch::Tensor;
///
/// let labels = Tensor::from_slice(&[3i64, 1, 2, 0]).view((2, 2));
/// assert_eq!(slice::<i64>(&labels)?, [3, 1, 2, 0]);
/// let error = slice::<i64>(&labels.tr()).unwrap_err();
/// assert_eq!(error.to_string(), "a slice needs a contiguous tensor, found shape [2, 2] with strides [1, 2]");
/// # Ok::<(), softlabel_tensor::Error>(())
/// ```
#[allow(unsafe_code)]
pub fn slice<T: Element>(tensor: &Tensor) -> Result<&[T]> {
    let (data, count) = elements::<T>(tensor, false)?;
    check_bools((data, count))?;
    // SAFETY: the memory holds that many elements of this dtype, aligned, as long as the handle lives; that nobody
    // writes to it is what the module asks of its callers.
    Ok(unsafe { std::slice::from_raw_parts(data.as_ptr(), count) })
}

/// The elements of a CPU tensor for writing, in row-major order.
///
/// The tensor's version goes up, so that a graph that saved the tensor finds it changed.
///
/// # Errors
/// As [`slice()`], and [`Error::Memory`] if there is another handle to the tensor or another tensor on its storage,
/// as a `shallow_clone`, a view, a `.grad` or a tensor saved for backward is.
///
/// ```
/// use softlabel_tensor::slices::slice_mut;
/// use tch::Tensor;
///
/// let mut weights = Tensor::from_slice(&[1.0f64, 2.0]);
/// slice_mut::<f64>(&mut weights)?[1] = 5.0;
/// assert_eq!(weights.double_value(&[1]), 5.0);
///
/// let other = weights.shallow_clone();
/// assert!(slice_mut::<f64>(&mut weights).is_err());
/// # Ok::<(), softlabel_tensor::Error>(())
/// ```
#[allow(unsafe_code)]
pub fn slice_mut<T: Element>(tensor: &mut Tensor) -> Result<&mut [T]> {
    let (data, count) = elements::<T>(tensor, true)?;
    check_bools((data, count))?;
    // SAFETY: as in `slice`; the handle is borrowed for writing and is the only one to its memory.
    Ok(unsafe { std::slice::from_raw_parts_mut(data.as_ptr(), count) })
}

/// The memory of a CPU tensor for writing, whatever it holds: what
/// [`allocate`](crate::buffers::allocate) gives holds nothing yet.
///
/// Every element has to be written before the tensor is read.
///
/// # Errors
/// As [`slice_mut`].
#[allow(unsafe_code)]
pub fn uninit_slice_mut<T: Element>(tensor: &mut Tensor) -> Result<&mut [MaybeUninit<T>]> {
    let (data, count) = elements::<T>(tensor, true)?;
    // SAFETY: as in `slice_mut`; no value is asked of the elements.
    Ok(unsafe { std::slice::from_raw_parts_mut(data.cast().as_ptr(), count) })
}

/// As in memory.cpp.
#[repr(C)]
#[derive(Default)]
struct Memory {
    elements: usize,
    handles: usize,
    tensors: usize,
    defined: u8,
    on_cpu: u8,
    strided: u8,
    contiguous: u8,
}

#[allow(unsafe_code)]
// SAFETY: the functions of memory.cpp, with its types.
unsafe extern "C" {
    fn softlabel_memory(tensor: *const C_tensor, memory: *mut Memory) -> bool;
    fn softlabel_data(tensor: *const C_tensor, writable: bool, data: *mut *mut c_void) -> bool;
}

/// Where the elements lie and how many there are, for elements of type `T` or its `MaybeUninit`, once all is checked.
fn elements<T: Element>(tensor: &Tensor, writable: bool) -> Result<(NonNull<T>, usize)> {
    let memory = checked(tensor, writable)?;
    let found = tensor.f_kind()?;
    if found != T::KIND {
        return Err(Error::Kind { what: "slice", expected: type_name::<T>(), found });
    }
    if memory.elements == 0 {
        return Ok((NonNull::dangling(), 0));
    }
    let data = NonNull::new(data(tensor, writable)?.cast::<T>());
    match data {
        Some(data) if data.is_aligned() => Ok((data, memory.elements)),
        Some(_) => Err(refused("aligned memory", "a misaligned address".to_owned())),
        None => Err(refused("memory", "none".to_owned())),
    }
}

#[allow(unsafe_code)]
fn checked(tensor: &Tensor, writable: bool) -> Result<Memory> {
    let mut memory = Memory::default();
    // SAFETY: a live handle, and a place of the right type.
    if !unsafe { softlabel_memory(tensor.as_ptr(), &raw mut memory) } {
        return Err(refused("a plain tensor", "one that libtorch cannot describe".to_owned()));
    }
    if memory.defined == 0 {
        return Err(refused("a tensor", "an undefined one".to_owned()));
    }
    if memory.on_cpu == 0 {
        return Err(refused("a tensor on the CPU", format!("{:?}", tensor.device())));
    }
    if memory.strided == 0 {
        return Err(refused("a dense tensor", "another layout".to_owned()));
    }
    if memory.contiguous == 0 {
        let (shape, strides) = (tensor.size(), tensor.stride());
        return Err(refused(
            "a contiguous tensor",
            format!("shape {shape:?} with strides {strides:?}"),
        ));
    }
    if writable && (memory.handles > 1 || memory.tensors > 1) {
        let (handles, tensors) = (memory.handles, memory.tensors);
        return Err(refused(
            "the only handle to its memory",
            format!("{handles} handles to the tensor, {tensors} tensors on its storage"),
        ));
    }
    Ok(memory)
}

#[allow(unsafe_code)]
fn data(tensor: &Tensor, writable: bool) -> Result<*mut c_void> {
    let mut data = std::ptr::null_mut();
    // SAFETY: a live handle, and a place of the right type.
    if unsafe { softlabel_data(tensor.as_ptr(), writable, &raw mut data) } {
        Ok(data)
    } else {
        Err(refused("memory", "none that libtorch gives out".to_owned()))
    }
}

/// Other bytes than 0 and 1 are no bool for Rust, and libtorch lets them in through views of another dtype.
#[allow(unsafe_code)]
fn check_bools<T: Element>((data, count): (NonNull<T>, usize)) -> Result<()> {
    if T::KIND != Kind::Bool {
        return Ok(());
    }
    // SAFETY: a bool is one byte, and any byte is a u8.
    let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>().as_ptr(), count) };
    match bytes.iter().find(|&&byte| byte > 1) {
        Some(byte) => Err(refused("bools that are 0 or 1", byte.to_string())),
        None => Ok(()),
    }
}

fn refused(expected: &'static str, found: String) -> Error {
    Error::Memory { expected, found }
}
