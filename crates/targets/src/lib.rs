//! What the true distribution is: label smoothing of every kind, soft labels, mixed samples, label noise.
//!
//! A classifier trained on one-hot targets is asked to be certain. Label smoothing asks for less: a share ε of every
//! target is taken from the label and spread over the classes. Two conventions go by that name, and they are not the
//! same distribution; [`Smoothing`] makes you say which one you mean, and converts between them.
//!
//! | K = 4, ε = 0.1, label 2 | target |
//! |---|---|
//! | [`Convention::Mixture`] | 0.025, 0.025, **0.925**, 0.025 |
//! | [`Convention::OffTarget`] | 0.0333, 0.0333, **0.9**, 0.0333 |
//!
//! This crate knows nothing of logits and needs no libtorch: losses take a [`Smoothing`] as it is and never build the
//! dense rows. Whoever wants the rows calls [`smooth_one_hot`]:
//!
//! ```
//! use softlabel_core::{Epsilon, Labels};
//! use softlabel_targets::{Convention, smooth_one_hot};
//!
//! let labels = Labels::new(&[2i64], 4)?;
//! let rows = smooth_one_hot(&labels, Epsilon::new(0.1)?, Convention::Mixture)?;
//! assert_eq!(rows, [0.025, 0.025, 0.925, 0.025]);
//! # Ok::<(), softlabel_targets::Error>(())
//! ```
//!
//! # Which kind, and when
//!
//! All in the first table are a [`Smoothing`]: (1 − ε)·onehot + ε·π, with ε an [`Amount`] and π a [`Prior`].
//! [`Smoothing::fused`] gives any of them as three masses and a vector or matrix, [`FusedTarget`], from which a loss is
//! computed in one pass over the logits and from which the dense rows are written too.
//!
//! | kind | when |
//! |---|---|
//! | [`Smoothing::mixture`], [`Smoothing::off_target`] | a first try; 0.1 is the usual ε |
//! | an ε a class, or a row ([`Smoothing::fused_per_row`]) | some classes or samples are less certain than others |
//! | [`NegativeEpsilon`] | much label noise, after training as usual; the loss has no lower bound |
//! | [`ClassDistribution`] | many rare classes, as in language models: spread by how often they occur |
//! | [`AllowedClasses`] | some classes are masked with −∞ and must cost nothing |
//! | [`ClassMatrix`] | mistakes that you know to be likely: similarities, embeddings, a confusion matrix |
//! | [`Ordinal`] | classes in an order: grades, ages, depths; with ε = 1 the rows are SORD |
//! | [`Hierarchy`] | classes in a tree, where a near miss is better; with ε = 1 as in Bertinetto et al. |
//! | [`OnlineLabelSmoothing`] | the similarities are not known: learn them while training |
//!
//! The others are targets of their own:
//!
//! | kind | when |
//! |---|---|
//! | [`ZipfSmoothing`] | the other classes by their rank in the logits |
//! | [`SoftLabels`] | several annotators |
//! | [`BinarySmoothing`] | yes or no, one or many labels a sample |
//! | [`HistogramTarget`] | regression as classification: two-hot, HL-Gauss |
//! | [`Svls`] | segmentation: soft where classes meet |
//! | [`Mixup`], [`CutMix`] | pairs of samples mixed; [`MixedLabels`] are smoothed once, by the loss |
//! | [`DisturbLabel`] | a noisy sample of label smoothing: labels replaced at random, anew every epoch |
//! | [`LabelNoise`] | experiments with labels that are wrong for good |
//!
//! A [`Schedule`] is a number that changes while training: an ε, or the weight of a loss.
//!
//! # Padding and other ignored positions
//!
//! What takes [`Labels`](softlabel_core::Labels) takes [`MaskedLabels`](softlabel_core::MaskedLabels) too, which know
//! their ignore index. Dense rows of ignored positions are 0, accumulators do not count them, noise and
//! [`DisturbLabel`] leave them as they are, and a sample that is mixed with an ignored one is ignored.
//! A soft row cannot say that it counts for nothing, so losses take a mask beside soft rows.
//!
//! # What smoothing does not do
//!
//! - It usually gives a small gain in accuracy, not always: in Mukhoti et al. 2020, on CIFAR-10, ε = 0.05 made the
//!   error of all four networks larger.
//! - It lowers the calibration error of raw predictions, but temperature scaling lowers it more (Müller et al. 2019,
//!   table 3, all three tasks), and after temperature scaling networks trained without smoothing are the better
//!   calibrated ones (Mukhoti et al. 2020, four of four).
//! - It makes confidence a worse guide to which predictions are wrong (Xia et al. 2025: AURC 6.53 → 7.55 on ImageNet),
//!   unless logits are normalized.
//! - Features transfer worse to other tasks with a linear probe (Kornblith et al. 2021; Zhou et al. 2025:
//!   0.814 → 0.746 on CIFAR-10).
//! - A smoothed teacher can harm its student where the student is small and the temperature above 1
//!   (Chandrasegaran et al. 2022).
//! - Under much label noise its advantage vanishes (Wei et al. 2022).
//! - With class weights, what libraries call smoothing differs further: PyTorch weighs the smoothed mass by class too.
//!   That is the loss's business and is said there.
//!
//! # Numbers
//!
//! Everything is computed in f64; dense rows are rounded once, to f32. Random draws come from a seed that is given,
//! never from a global one. What is read from a file goes through the same constructors as what is made in code, so a
//! value that exists is a value that is right; what depends on the class count is checked where that is known.

mod annotators;
mod binary;
mod distribution;
mod disturb;
mod error;
mod histogram;
mod masked;
mod matrix;
mod mixing;
mod noise;
mod schedule;
mod settings;
mod smoothing;
mod spatial;
mod zipf;

pub use annotators::{Concentration, SoftLabels};
pub use binary::{BinaryForm, BinaryMasses, BinarySmoothing};
pub use distribution::{AllowedClasses, ClassDistribution};
pub use disturb::DisturbLabel;
pub use error::{Error, Result};
pub use histogram::{HistogramTarget, Outside};
pub use masked::MaskedTargets;
pub use matrix::{
    ClassMatrix, ClassTree, Hierarchy, OnlineLabelSmoothing, Ordinal, OrdinalDistance,
};
pub use mixing::{CutMix, MixBox, MixBy, MixPlan, MixedLabels, Mixup};
pub use noise::LabelNoise;
pub use schedule::{Decay, Schedule};
pub use smoothing::{
    Amount, Convention, Dense, FusedTarget, Masses, MassesBy, NegativeEpsilon, Prior, Smoothing,
    TargetWeights, smooth_one_hot,
};
pub use softlabel_core::ClassAxis;
pub use spatial::{LabelMap, Svls};
pub use zipf::ZipfSmoothing;
