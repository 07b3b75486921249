//! Large CPU tensors to write into, whose memory is kept for the next one.
//!
//! A gradient of 1024 × 32000 logits is 131 MB.
//! libtorch asks the system for that much in every step and gives it back after, and the system clears 32,000 pages
//! each time: a copy of the logits into such memory took 33 ms, into memory in use 6.
//! [`allocate`] has the buffers of large tensors from memory that earlier ones left, if there is any of about the size.
//!
//! A tensor may get a buffer that is up to half as large again as it needs.
//! What is kept is at most [`keep_at_most`] bytes, 512 MiB unless told; beyond, what was kept for longest is freed,
//! and a buffer that is larger by itself is not kept at all.
//! Kept memory is in use as far as the system can tell. Lending it back until it is needed again (`MADV_FREE`) was tried:
//! a cross-entropy of 4096 × 1000 then took 0.84 ms, and 0.70 without anything kept.
//! On Linux fresh buffers ask for pages of 2 MiB, of which there are fewer to be asked for.
//!
//! ```
//! use softlabel_tensor::buffers::{allocate, keep_at_most, kept};
//! use tch::Kind;
//!
//! let gradient = allocate(&[1024, 2000], Kind::Float)?;
//! assert_eq!(kept(), 0);
//! drop(gradient);
//! assert_eq!(kept(), 4 * 1024 * 2000);
//! let next = allocate(&[2000, 1024], Kind::Float)?;
//! assert_eq!(kept(), 0);
//! drop(next);
//! keep_at_most(0);
//! assert_eq!(kept(), 0);
//! # Ok::<(), softlabel_tensor::Error>(())
//! ```

use torch_sys::C_tensor;

use tch::{Device, Kind, Tensor};

use crate::Result;
use crate::slices::Element;

/// From here on buffers are kept: asking the system for them costs more than a lock.
const LARGE: usize = 4 << 20;

/// A CPU tensor whose elements are not initialized, for a buffer that is about to be written.
///
/// From 4 MiB on its memory may be that of an earlier one, and is kept for a later one when the last tensor on it is
/// gone; see the [module](self). Below, this is libtorch's `empty`.
///
/// # Errors
/// libtorch's, for a negative size or no memory.
///
/// ```
/// use softlabel_tensor::buffers::allocate;
/// use tch::Kind;
///
/// let gradient = allocate(&[512, 1000], Kind::Float)?;
/// assert_eq!((gradient.size(), gradient.kind()), (vec![512, 1000], Kind::Float));
/// # Ok::<(), softlabel_tensor::Error>(())
/// ```
#[allow(unsafe_code)]
pub fn allocate(shape: &[i64], kind: Kind) -> Result<Tensor> {
    let bytes = shape.iter().try_fold(kind.elt_size_in_bytes(), |bytes, &size| {
        bytes.checked_mul(usize::try_from(size).ok()?)
    });
    if bytes.is_some_and(|bytes| bytes >= LARGE) {
        let like = Tensor::f_empty([0], (kind, Device::Cpu))?;
        // SAFETY: a live handle, and as many sizes as there are axes.
        let tensor = unsafe { softlabel_allocate(like.as_ptr(), shape.as_ptr(), shape.len()) };
        if !tensor.is_null() {
            // SAFETY: a new handle, which is nobody else's.
            return Ok(unsafe { Tensor::from_ptr(tensor) });
        }
    }
    // libtorch says what is wrong, if anything is.
    Ok(Tensor::f_empty(shape, (kind, Device::Cpu))?)
}

/// An uninitialized CPU tensor for elements of type `T`: [`allocate`] with its dtype.
///
/// # Errors
/// As [`allocate`].
pub fn uninit<T: Element>(shape: &[i64]) -> Result<Tensor> {
    allocate(shape, T::KIND)
}

/// How many bytes are kept from now on, for all threads; 0 keeps nothing, and frees what was kept.
///
/// ```
/// // Before a section that needs all the memory there is.
/// softlabel_tensor::buffers::keep_at_most(0);
/// assert_eq!(softlabel_tensor::buffers::kept(), 0);
/// ```
#[allow(unsafe_code)]
pub fn keep_at_most(bytes: usize) {
    // SAFETY: no pointers.
    unsafe { softlabel_keep_at_most(bytes) }
}

/// How many bytes are kept now that no tensor has.
#[allow(unsafe_code)]
pub fn kept() -> usize {
    // SAFETY: no pointers.
    unsafe { softlabel_kept() }
}

#[allow(unsafe_code)]
// SAFETY: the functions of buffers.cpp, with its types.
unsafe extern "C" {
    fn softlabel_allocate(like: *const C_tensor, shape: *const i64, axes: usize) -> *mut C_tensor;
    fn softlabel_keep_at_most(bytes: usize);
    fn softlabel_kept() -> usize;
}
