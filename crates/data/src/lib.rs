//! Data sets and saved predictions, without libtorch: reading, splitting, the order of batches.
//!
//! A [`Source`] names a data set and finds its files; loading gives a [`Data`], checked; splitting that gives three
//! [`Subset`]s of pixels, labels and sample ids.
//! Everything random follows from one number through [`seed`], on every machine alike.
//!
//! ```
//! use softlabel_data::{Source, SplitFractions};
//!
//! let data = Source::Digits.load(None)?;
//! let splits = data.split(SplitFractions::new(0.2, 0.2)?, 42)?;
//! assert_eq!((splits.train.len(), splits.validation.len(), splits.test.len()), (1078, 360, 359));
//! assert_eq!(splits.train.pixels_f32().len(), 1078 * 8 * 8);
//! # Ok::<(), softlabel_data::Error>(())
//! ```
//!
//! | module | what it reads |
//! |---|---|
//! | [`digits()`] | 1,797 handwritten digits that come with this crate |
//! | [`digit_maps()`] | 449 maps made of them, each pixel with a label |
//! | [`read_maps`] | images whose pixels have labels, as npy, npz or safetensors |
//! | [`idx`] | the MNIST family |
//! | [`cifar10`] | CIFAR-10, binary version |
//! | [`predictions`] | scores and labels of any program, as npy, npz, safetensors or CSV, and writes them |
//! | [`logit_cache`] | what a teacher says of each sample, by sample id, and writes it |
//!
//! Nothing is downloaded, no environment variable is read and nothing is printed: the program passes in where data
//! lies and shows what an [`Error`] says.
//! Label noise is a matter of the targets: `softlabel-targets` makes noisy labels from [`Subset::labels`].

mod batches;
pub mod cifar10;
mod dataset;
mod digits;
mod error;
mod file;
pub mod idx;
mod labelled;
pub mod logit_cache;
mod maps;
mod pixels;
pub mod predictions;
pub mod seed;
mod source;
pub mod split;
mod subset;

pub use batches::{batches, epoch_order};
pub use dataset::{Dataset, Fingerprint, ImageShape};
pub use digits::{digits, read_digits};
pub use error::{Error, Result};
pub use labelled::LabelledPixels;
pub use logit_cache::{LogitCache, LogitCacheWriter};
pub use maps::{MapFiles, digit_maps, read_maps};
pub use pixels::Pixels;
pub use predictions::SavedPredictions;
pub use source::Source;
pub use split::SplitFractions;
pub use subset::{Data, Splits, Subset};
