//! What is trained, validated and tested on: [`Data`] as it was read, three [`Subset`]s once it is split.

use std::sync::Arc;

use softlabel_core::{Error as ValueError, Labels};

use crate::dataset::scale;
use crate::{Dataset, Error, Result, SplitFractions, split};

/// What a source gives: a pool to split, and the test set if the data brings its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    pool: Arc<Dataset>,
    test: Option<Arc<Dataset>>,
}

impl Data {
    /// Checks that pool and test set go together.
    ///
    /// # Errors
    /// [`Error::Values`] if they differ in image shape, maximum pixel value or class count.
    pub fn new(pool: Dataset, test: Option<Dataset>) -> Result<Self> {
        if let Some(test) = &test {
            let describe = |dataset: &Dataset| {
                let (shape, max_value) = (dataset.shape(), dataset.max_value());
                format!("images {shape} up to {max_value}, {} classes", dataset.classes())
            };
            let (expected, found) = (describe(&pool), describe(test));
            if expected != found {
                let what = "the test set beside its training set";
                return Err(ValueError::mismatch(what, expected, found).into());
            }
        }
        Ok(Self { pool: Arc::new(pool), test: test.map(Arc::new) })
    }

    /// What is split: into training and validation, and into the test too if there is no test set.
    pub fn pool(&self) -> &Dataset {
        &self.pool
    }

    /// The test set that the data brings.
    pub fn test(&self) -> Option<&Dataset> {
        self.test.as_deref()
    }

    /// Splits at random, every class in proportion (see [`split::stratified`]); all samples of a test set that the
    /// data brings are the test part.
    ///
    /// Pixels are shared, not copied.
    ///
    /// # Errors
    /// - [`Error::OwnTestSet`] if the data brings a test set and `fractions.test()` is not 0.
    /// - [`Error::ClassTooSmall`] if a class has too few samples.
    ///
    /// ```
    /// use softlabel_data::{Source, SplitFractions};
    /// let splits = Source::Digits.load(None)?.split(SplitFractions::new(0.2, 0.0)?, 42)?;
    /// assert_eq!(splits.train.len() + splits.validation.len(), 1797);
    /// assert!(splits.test.is_empty());
    /// # Ok::<(), softlabel_data::Error>(())
    /// ```
    pub fn split(&self, fractions: SplitFractions, seed: u64) -> Result<Splits> {
        if let Some(test) = &self.test
            && fractions.test() > 0.0
        {
            let (dataset, samples) = (test.name().to_owned(), test.len());
            return Err(Error::OwnTestSet { dataset, samples, found: fractions.test() });
        }
        let ids = split::stratified(self.pool.labels(), fractions, seed)?;
        let test = match &self.test {
            Some(test) => Subset::new(Arc::clone(test), (0..test.len()).collect())?,
            None => Subset::new(Arc::clone(&self.pool), ids.test)?,
        };
        Ok(Splits {
            train: Subset::new(Arc::clone(&self.pool), ids.train)?,
            validation: Subset::new(Arc::clone(&self.pool), ids.validation)?,
            test,
        })
    }
}

/// The three parts of an experiment's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splits {
    /// Samples to train on; never empty.
    pub train: Subset,
    /// Samples to choose and calibrate on.
    pub validation: Subset,
    /// Samples to report on.
    pub test: Subset,
}

/// Some samples of a [`Dataset`], which is shared: cheap to clone.
///
/// A *position* counts within the subset, an *id* within the data set.
///
/// ```
/// use std::sync::Arc;
/// use softlabel_data::{Subset, digits};
///
/// let subset = Subset::new(Arc::new(digits()?), vec![10, 3])?;
/// assert_eq!(subset.labels().as_slice(), [0, 3]);
/// assert_eq!(subset.pixels(), [subset.dataset().image(10), subset.dataset().image(3)].map(Option::unwrap).concat());
/// # Ok::<(), softlabel_data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subset {
    dataset: Arc<Dataset>,
    ids: Vec<usize>,
    labels: Labels,
}

impl Subset {
    /// The samples `ids`, in that order; an id may come more than once.
    ///
    /// # Errors
    /// [`Error::Values`] if an id is not below the number of samples.
    pub fn new(dataset: Arc<Dataset>, ids: Vec<usize>) -> Result<Self> {
        let labels = dataset.labels().select(&ids)?;
        Ok(Self { dataset, ids, labels })
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The data set that the ids refer to.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The id of each sample: its index in [`dataset`](Self::dataset).
    pub fn ids(&self) -> &[usize] {
        &self.ids
    }

    /// The label of each sample, as the data set has it.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The pixels, row-major `[len, channels, height, width]`.
    pub fn pixels(&self) -> Vec<u8> {
        let images = self.ids.iter().filter_map(|&id| self.dataset.image(id));
        images.flatten().copied().collect()
    }

    /// The pixels divided by the maximum value: in [0, 1], row-major `[len, channels, height, width]`.
    pub fn pixels_f32(&self) -> Vec<f32> {
        scale(&self.pixels(), self.dataset.max_value())
    }
}
