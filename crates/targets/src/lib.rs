//! What the true distribution is: label smoothing in both of its conventions, and models of label noise.
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

mod annotators;
mod binary;
mod distribution;
mod disturb;
mod error;
mod histogram;
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
pub use spatial::{LabelMap, Layout, SpatialTargets, Svls};
pub use zipf::ZipfSmoothing;
