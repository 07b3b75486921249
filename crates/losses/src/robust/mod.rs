//! Losses in the place of cross-entropy: those that look harder at hard samples, and those that believe labels less.

mod binary;
mod bootstrap;
mod correction;
mod focal;
mod generalized;
mod label_relaxation;
mod poly;
mod symmetric;

pub use binary::BinaryCrossEntropy;
pub use bootstrap::{Bootstrap, BootstrapMode};
pub use correction::{BackwardCorrection, ForwardCorrection};
pub use focal::{DualFocal, Focal, Focal53};
pub use generalized::GeneralizedCrossEntropy;
pub use label_relaxation::LabelRelaxation;
pub use poly::Poly;
pub use symmetric::SymmetricCrossEntropy;
