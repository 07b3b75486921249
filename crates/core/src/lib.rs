//! The vocabulary that every softlabel crate speaks.
//!
//! Values that can be wrong are checked once, when they are made, and carry the proof in their type from then on:
//! an [`Epsilon`] lies in [0, 1], a [`Temperature`] is positive and finite, [`Labels`] lie below their class count, and
//! so do [`MaskedLabels`] where they are not ignored, [`Logits`] hold no NaN, the rows of [`Probabilities`] sum to one.
//! Everything downstream takes these types and has nothing left to check or to guess.
//!
//! This crate knows nothing of tensors, losses or files.
//!
//! ```
//! use softlabel_core::{Labels, Logits, Temperature};
//!
//! let logits = Logits::new(&[2.0f32, 1.0, 0.0, -1.0, 0.5, 3.0], 3)?;
//! let labels = Labels::new(&[0i64, 2], 3)?;
//! assert_eq!((logits.rows(), logits.classes(), labels.len()), (2, 3, 2));
//!
//! let wrong = Labels::new(&[0i64, 3], 3).unwrap_err();
//! assert_eq!(wrong.to_string(), "label 3 at position 1 is not in 0..3");
//! assert!(Temperature::new(0.0).is_err());
//! # Ok::<(), softlabel_core::Error>(())
//! ```

mod class_axis;
mod error;
mod labels;
mod masked_labels;
pub mod number;
mod predictions;
mod reduction;
mod scalar;
mod values;

pub use class_axis::ClassAxis;
pub use error::{Error, Result};
pub use labels::Labels;
pub use masked_labels::{ClassLabels, MaskedLabels};
pub use predictions::{LogProbabilities, Logits, Matrix, Probabilities};
pub use reduction::{Normalizer, Reduction};
pub use scalar::Scalar;
pub use values::{Epsilon, Fraction, Temperature};
