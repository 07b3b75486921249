//! Saved predictions: of a run of softlabel, and of anything else.
//!
//! [`SavedPredictions`] is what a run of softlabel leaves behind, as one safetensors file that is read whole, and
//! [`SavedFeatures`] what the last layer saw, where the recipe asked for it.
//!
//! [`PredictionFile`] reads what other programs left behind, whatever its size:
//!
//! | extension | holds |
//! |---|---|
//! | `.npy` | one NumPy array, in C or Fortran order |
//! | `.npz` | named NumPy arrays, compressed or not |
//! | `.safetensors` | named tensors |
//! | `.csv` | numbers in columns, named in the first line or not |
//!
//! The scores are `[rows, classes]`, in `f16`, `bf16`, `f32` or `f64`, and [`ScoreKind`] says what they mean: it is
//! never guessed from their values.
//! They are read a block of rows at a time ([`Scores::for_each_block`]), so a file may be larger than memory.
//! The labels, in the same file or in another one, are classes or distributions over the classes ([`Targets`]).
//! [`PredictionWriter`] writes scores in the same formats.

mod array;
mod element;
mod features;
mod file;
mod names;
mod npy;
mod saved;
mod scores;
mod table;
mod targets;
mod tensors;
mod write;

pub(crate) use element::Numbers;
pub(crate) use saved::Tensors;
pub(crate) use tensors::header;
pub(crate) use write::replace;

pub use element::ElementType;
pub use features::SavedFeatures;
pub use file::{ArrayInfo, Format, PredictionFile};
pub use saved::{Origin, SCHEMA, SavedPredictions};
pub use scores::{Checked, ScoreBlock, ScoreKind, Scores};
pub use table::TopLabels;
pub use targets::Targets;
pub use write::{PredictionWriter, WrittenScores};
