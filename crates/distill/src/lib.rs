//! What a teacher adds: knowledge distillation with hard, smoothed and temperature-scaled teachers.
//!
//! A student learns from two sources: the labels, through a cross-entropy, and the distribution that a teacher gives
//! to all classes, through a divergence at a raised temperature.
//! [`Distillation`] says how they are combined, every convention named; [`Teacher`] is whoever teaches, a network, a
//! TorchScript file or what one of them said, and never trains; [`TeacherLogits`] holds what a teacher said, by sample,
//! so that shuffling cannot misalign it.
//!
//! ```
//! use softlabel_core::Temperature;
//! use softlabel_distill::{Distillation, TeacherLogits};
//! use softlabel_losses::{CrossEntropy, Target};
//! use tch::Tensor;
//!
//! let teacher = TeacherLogits::new(&Tensor::from_slice(&[4.0f32, 1.0, 0.0, 0.0, 3.0, 1.0]).view((2, 3)))?
//!     .scaled(Temperature::new(1.5)?)?; // a teacher that was temperature-scaled before it teaches
//! let student = Tensor::from_slice(&[0.0f32, 1.0, 0.0]).view((1, 3));
//!
//! let distillation = Distillation::new(Temperature::new(4.0)?, 0.9, 0.1)?;
//! let loss = distillation.forward(
//!     &student,
//!     &teacher.batch(&Tensor::from_slice(&[1i64]))?,
//!     &CrossEntropy::new(),
//!     Target::Hard(&Tensor::from_slice(&[1i64])),
//! )?;
//! assert!(f64::try_from(&loss)? > 0.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a student can be taught with
//!
//! | to learn from | take |
//! |---|---|
//! | a network, a TorchScript file, a cache | [`Teacher`] |
//! | the logits of one teacher | [`Distillation`] with a [`SoftLoss`]: divergences, squared error, cosine, decoupled, relational, hard label |
//! | logits of any size alike | [`Distillation::with_standardization`], [`standardize()`] |
//! | temperatures and weights that change | [`DistillationSchedule`]; sample by sample: [`Samples`] |
//! | several teachers | [`Ensemble`]: averages of probabilities or of logits, weighted, by confidence, gated |
//! | a calibrated teacher | [`calibrated`], with any map of [`softlabel_posthoc`]; [`TeacherLogits::scaled`] |
//! | no teacher | [`VirtualTeacher`]; its own kind: [`born_again`]; its peers: [`MutualLearning`] |
//! | the likeliest classes alone | [`TopK`], [`Distillation::forward_top_k`] |
//! | a vocabulary of another size | [`ClassMatch`] |
//! | hidden states and heads of language models | [`LinearDistillation`] |
//! | batches to be added up | [`Distillation::sums`] |
//! | the layers below the logits | [`feature`] |

mod calibrate;
mod decoupled;
mod distances;
mod distillation;
mod divergence;
mod ensemble;
mod error;
pub mod feature;
mod linear;
mod mutual;
mod pair;
mod relational;
mod samples;
mod schedule;
mod settings;
mod soft_loss;
mod standardize;
mod teacher;
mod teacher_free;
mod top_k;

pub use calibrate::calibrated;
pub use distillation::{Distillation, SoftScale};
pub use divergence::Divergence;
pub use ensemble::{Average, Ensemble, Weighting};
pub use error::{Error, Result};
pub use linear::{LinearDistillation, LinearHead};
pub use mutual::{MutualLearning, born_again};
pub use samples::{DistillationSums, Samples};
pub use schedule::DistillationSchedule;
pub use settings::ClassMatch;
pub use soft_loss::SoftLoss;
pub use standardize::standardize;
pub use teacher::{Teacher, TeacherLogits};
pub use teacher_free::VirtualTeacher;
pub use top_k::{Tail, TopK, TopKOutput};
