//! Terms that are added to a loss to keep a network from being too sure.

mod acls;
mod brier;
mod correctness_ranking;
mod divergence;
mod entropy;
mod logit_norm;
mod logit_penalty;
mod margin_smoothing;
mod max_sup;
mod mmce;
mod zipf_divergence;

pub use acls::Acls;
pub use brier::Brier;
pub use correctness_ranking::{CorrectnessHistory, CorrectnessRanking};
pub use divergence::{Direction, JsDivergence, KlDivergence, Reference};
pub use entropy::{ConfidencePenalty, Entropy};
pub use logit_norm::{LogitNorm, NormalizedLogits};
pub use logit_penalty::LogitPenalty;
pub use margin_smoothing::MarginSmoothing;
pub use max_sup::MaxSup;
pub use mmce::Mmce;
pub use zipf_divergence::ZipfDivergence;
