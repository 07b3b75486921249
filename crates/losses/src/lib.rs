//! What logits cost under a target: cross-entropy over hard, smoothed and soft targets on tch tensors, losses that
//! stand in its place, regularizers that are added to it, and their sums.
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
//!
//! # Adding losses up
//!
//! [`CrossEntropy`] is used alone as above. It and everything below is a [`LossTerm`], and an [`Objective`] is a
//! weighted sum of them over one [`Batch`] that is checked once:
//!
//! ```
//! use softlabel_losses::{CrossEntropy, MarginSmoothing, Objective, Target};
//! use tch::Tensor;
//!
//! let logits = Tensor::from_slice(&[12.0f64, 0.0, 12.0, 12.0]).view((2, 2));
//! let labels = Tensor::from_slice(&[0i64, -1]);
//! let objective = Objective::new(CrossEntropy::new())
//!     .plus(0.1, MarginSmoothing::new(10.0)?)
//!     .with_ignore_index(-1);
//! let loss = objective.forward(&logits, Target::Hard(&labels))?;
//! assert!((f64::try_from(loss)? - ((-12f64).exp().ln_1p() + 0.1 * 1.0)).abs() < 1e-15);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`AnyLoss`] is one of them whose kind is read from a table, such as `{ kind = "margin_smoothing", margin = 10 }`.
//!
//! # Which one is for what
//!
//! What papers report of these losses was mostly measured on image classifiers, with weights chosen for the dataset.
//! A temperature fitted after training often calibrates as well as any of them: compare with it first.
//!
//! Added to a loss, with a weight; [`Mmce`], [`ZipfDivergence`] and a divergence from the target look at it, the others
//! do not:
//!
//! | term | holds back | know that |
//! |---|---|---|
//! | [`ConfidencePenalty`] | low entropy | it flattens right and wrong predictions alike |
//! | [`Entropy`] | high entropy, or low with a negative weight | |
//! | [`MarginSmoothing`] | logits far below the largest | within the margin it does nothing |
//! | [`Acls`] | the same, the more the farther | it is not blind to a constant added to all logits |
//! | [`MaxSup`] | the largest logit | equals label smoothing's term where the prediction is right |
//! | [`LogitPenalty`] | large logits | the sum over classes: the weight depends on their number |
//! | [`KlDivergence`], [`JsDivergence`] | distance from a prior | the direction is named; reverse KL from labels is infinite |
//! | [`CorrectnessRanking`] | confidence in the wrong order | needs a [`CorrectnessHistory`]; for ranking, not calibration |
//! | [`ZipfDivergence`] | shares of the other classes that are not by rank | keeps their order; needs labels |
//! | [`Mmce`] | miscalibration within the batch | quadratic in the batch; noisy for small ones; needs labels |
//!
//! In the place of cross-entropy:
//!
//! | loss | for | know that |
//! |---|---|---|
//! | [`Focal`], [`Focal53`], [`DualFocal`] | hard samples; less sure predictions | not proper scores |
//! | [`Poly`] | accuracy, by tuning one coefficient | positive ε makes predictions surer |
//! | [`Brier`] | a bounded proper score | learns slowly from surely wrong predictions |
//! | [`LabelRelaxation`] | targets that need not be exact | no gradient once the label has 1 − α |
//! | [`LogitNorm`] | out-of-distribution detection | the temperature has to be searched for |
//! | [`BinaryCrossEntropy`] | several labels a sample | not a softmax loss |
//! | [`GeneralizedCrossEntropy`] | wrong labels, of unknown kind | the more robust, the slower it learns |
//! | [`SymmetricCrossEntropy`] | the same | two weights and a constant to be chosen |
//! | [`Bootstrap`] | the same | trusts the prediction, also where that is wrong |
//! | [`ForwardCorrection`] | wrong labels, of known kind | right only if the matrix is |
//! | [`BackwardCorrection`] | the same, without bias | negative at times, of large variance |

mod any;
mod batch;
mod check;
mod cross_entropy;
mod error;
#[doc(hidden)]
pub mod linear_layer;
mod matrix;
mod numeric;
mod objective;
mod regularizers;
mod robust;
mod row_losses;
#[doc(hidden)]
pub mod rows;
mod term;

pub use any::AnyLoss;
pub use batch::Batch;
pub use cross_entropy::{
    CrossEntropy, CrossEntropyOutput, LinearCrossEntropy, Target, cross_entropy,
};
pub use error::{Error, Result};
pub use objective::{Objective, TermValue};
pub use regularizers::{
    Acls, Brier, ConfidencePenalty, CorrectnessHistory, CorrectnessRanking, Direction, Entropy,
    JsDivergence, KlDivergence, LogitNorm, LogitPenalty, MarginSmoothing, MaxSup, Mmce,
    NormalizedLogits, Reference, ZipfDivergence,
};
pub use robust::{
    BackwardCorrection, BinaryCrossEntropy, Bootstrap, BootstrapMode, DualFocal, Focal, Focal53,
    ForwardCorrection, GeneralizedCrossEntropy, LabelRelaxation, Poly, SymmetricCrossEntropy,
};
pub use row_losses::RowLosses;
pub use softlabel_core::{Normalizer, Reduction};
pub use softlabel_tensor::ClassAxis;
pub use term::{LossOptions, LossTerm, Term};
