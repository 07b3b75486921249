//! What logits cost under a target: cross-entropy over hard, smoothed and soft targets on tch tensors.
//!
//! ```
//! use softlabel_losses::{CrossEntropy, Target};
//! use softlabel_targets::Smoothing;
//! use tch::Tensor;
//!
//! let logits = Tensor::from_slice(&[2.0f32, 1.0, 0.0, -1.0, 0.5]).view((1, 5)).set_requires_grad(true);
//! let labels = Tensor::from_slice(&[0i64]);
//!
//! let loss = CrossEntropy::new()
//!     .with_smoothing(Smoothing::mixture(0.1)?)
//!     .forward(&logits, Target::Hard(&labels))?;
//! assert!((f64::try_from(&loss)? - 0.724_437_9).abs() < 1e-6);
//! loss.backward();
//! assert_eq!(logits.grad().size(), [1, 5]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Everything is differentiable, runs on any device, and computes in f32 or better whatever the dtype of the logits.

mod any;
mod batch;
mod check;
mod cross_entropy;
mod error;
mod matrix;
mod numeric;
mod objective;
mod regularizers;
mod robust;
mod row_losses;
mod term;

pub use any::AnyLoss;
pub use batch::Batch;
pub use cross_entropy::{CrossEntropy, Target, cross_entropy};
pub use error::{Error, Result};
pub use objective::{Objective, TermValue};
pub use regularizers::{
    Acls, Brier, ConfidencePenalty, CorrectnessHistory, CorrectnessRanking, Direction, Entropy,
    JsDivergence, KlDivergence, LogitNorm, LogitPenalty, MarginSmoothing, MaxSup, Mmce,
    NormalizedLogits, Reference,
};
pub use robust::{
    BackwardCorrection, BinaryCrossEntropy, BinarySmoothing, Bootstrap, BootstrapMode, DualFocal,
    Focal, Focal53, ForwardCorrection, GeneralizedCrossEntropy, LabelRelaxation, Poly,
    SymmetricCrossEntropy,
};
pub use row_losses::RowLosses;
pub use softlabel_core::{Normalizer, Reduction};
pub use softlabel_tensor::ClassAxis;
pub use term::{LossOptions, LossTerm, Term};
