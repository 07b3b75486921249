//! Soft targets, losses, calibration metrics, post-hoc calibration and distillation for classifiers on `tch`.
//!
//! A classifier trained on one-hot labels becomes overconfident. softlabel gives, as separate crates behind this
//! facade, what it takes to see that, to avoid it and to repair it:
//!
//! | module | what it answers |
//! |---|---|
//! | [`targets`] | what is the true distribution? label smoothing in both conventions, label noise |
//! | [`losses`] | what do logits cost under it? cross-entropy over hard, smoothed and soft targets |
//! | [`metrics`] | how good and how honest are predictions? ECE, NLL, Brier and more, streaming and mergeable |
//! | [`posthoc`] | which map makes them honest? temperature, Platt, vector, matrix, Dirichlet, beta, isotonic, histogram |
//! | [`distill`] | what does a teacher add? knowledge distillation, smoothed and temperature-scaled teachers |
//! | [`tensor`] | how do tensors become checked values, and where is the class axis? |
//! | [`data`] | datasets, stratified splits, saved predictions |
//!
//! Each module is a crate of its own (`softlabel-losses` and so on) and can be used alone.
//! The words they share, such as [`Logits`], [`Labels`] and [`Temperature`], are at the root.
//!
//! # Measuring and repairing calibration
//!
//! Nothing here needs libtorch; with `default-features = false` it is not even linked.
//!
//! ```
//! use softlabel::metrics::evaluate;
//! use softlabel::posthoc::{Calibrator, TemperatureScaling};
//! use softlabel::{Labels, Logits};
//!
//! // Held-out logits of a classifier that is surer than it should be: 3 of 4 right at 95 %.
//! let logits = Logits::new([3.0f32, 0.0].repeat(8), 2)?;
//! let labels = Labels::new(&[0, 0, 0, 1, 0, 0, 0, 1], 2)?;
//! let before = evaluate(&logits, &labels, 15)?;
//! assert!((before.ece - 0.2026).abs() < 1e-4);
//!
//! let scaling = TemperatureScaling::fit(&logits, &labels)?;
//! assert!((scaling.temperature().get() - 3.0 / 3f64.ln()).abs() < 1e-6);
//! let after = evaluate(&scaling.apply(&logits)?, &labels, 15)?;
//! assert!(after.ece < 1e-6);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it does not do
//!
//! It does not say that smoothing helps. In its own experiments smoothing often raises accuracy a little and, without
//! a temperature fitted afterwards, makes calibration worse as soon as a model is not overconfident to begin with.
//! Measure both on your data.
//!
//! # Features
//!
//! - `tch` (default): [`losses`], [`distill`], [`tensor`]; needs libtorch.
//! - `doc-only`: type-checks and documents all of it without a libtorch.

pub use softlabel_core::{
    ClassLabels, Epsilon, Error, Fraction, Labels, LogProbabilities, Logits, MaskedLabels,
    Normalizer, Probabilities, Reduction, Result, Scalar, Temperature,
};

pub use softlabel_data as data;
#[cfg(feature = "tch")]
pub use softlabel_distill as distill;
#[cfg(feature = "tch")]
pub use softlabel_losses as losses;
pub use softlabel_metrics as metrics;
pub use softlabel_posthoc as posthoc;
pub use softlabel_targets as targets;
#[cfg(feature = "tch")]
pub use softlabel_tensor as tensor;

/// The names that most programs want.
///
/// ```
/// use softlabel::prelude::*;
/// let labels = Labels::new(&[0i64, 1], 2)?;
/// assert_eq!(labels.len(), 2);
/// # Ok::<(), softlabel::Error>(())
/// ```
pub mod prelude {
    pub use softlabel_core::{
        Epsilon, Labels, LogProbabilities, Logits, Normalizer, Probabilities, Reduction,
        Temperature,
    };
    #[cfg(feature = "tch")]
    pub use softlabel_distill::{Distillation, Teacher, TeacherLogits};
    #[cfg(feature = "tch")]
    pub use softlabel_losses::{
        ClassAxis, CrossEntropy, LinearCrossEntropy, Target, cross_entropy,
    };
    pub use softlabel_metrics::{Accumulator, Evaluation, evaluate};
    pub use softlabel_posthoc::{Calibrator, PlattScaling, TemperatureScaling};
    pub use softlabel_targets::{Convention, LabelNoise, Smoothing, smooth_one_hot};
    #[cfg(feature = "tch")]
    pub use softlabel_tensor::{lend_logits, to_labels, to_logits};
}

/// The README's code, tested.
#[cfg(all(doctest, feature = "tch"))]
#[doc = include_str!("../../../README.md")]
struct Readme;
