//! The bridge between tch tensors and the softlabel vocabulary.
//!
//! Everything that crosses it is checked once: the dtype, the shape, the device, the range of the labels.
//! What comes out is either a tensor in the layout that the losses compute in, or a value of `softlabel-core`
//! that the libtorch-free crates take.
//!
//! Four modules stand by themselves and serve any program on tch:
//! [`slices`] lends the elements of CPU tensors without a copy, [`buffers`] has memory for large ones, [`threads`] runs
//! work on libtorch's threads, and [`autograd`] puts functions whose gradient is written in Rust into libtorch's graph; [`gradient_check`] compares
//! such a gradient with finite differences.
//!
//! [`ScriptModule`] is a TorchScript module that is sure not to train, [`MappedFile`] a file as bytes in memory.
//!
//! ```
//! use softlabel_tensor::{to_labels, to_masked_labels, to_logits};
//! use tch::Tensor;
//!
//! let logits = Tensor::from_slice(&[2.0f32, 1.0, 0.0, 3.0]).view((2, 2));
//! let logits = to_logits::<f32>(&logits)?;
//! assert_eq!((logits.rows(), logits.classes()), (2, 2));
//!
//! let error = to_labels(&Tensor::from_slice(&[0i64, 2]), 2).unwrap_err();
//! assert_eq!(error.to_string(), "label 2 at position 1 is not in 0..2");
//! # Ok::<(), softlabel_tensor::Error>(())
//! ```

pub mod autograd;
pub mod buffers;
mod convert;
mod device;
mod error;
mod gradient_check;
mod layout;
mod mapped;
pub mod scalars;
mod script;
pub mod slices;
pub mod threads;

pub use convert::{
    Element, lend_logits, lend_probabilities, log_probabilities_like, to_labels, to_logits,
    to_masked_labels,
};
pub use device::DeviceChoice;
pub use error::{Error, Result};
pub use gradient_check::{Deviation, GradientCheck, gradient_check};
pub use layout::{
    check_label_values, check_labels, check_labels_fit, check_same_device, check_soft_row_values,
    check_soft_rows, check_soft_rows_fit, class_last, contiguous, soft_row_tolerance,
};
pub use softlabel_core::ClassAxis;

pub use mapped::MappedFile;
pub use script::ScriptModule;

/// The version of libtorch that this build links, such as `2.11.0`; `unknown` in a `doc-only` build.
pub const LIBTORCH_VERSION: &str = env!("SOFTLABEL_LIBTORCH_VERSION");
