//! What is trained, validated and tested on: [`Data`] as it was read, three [`Subset`]s once it is split.

use std::ops::Range;
use std::sync::Arc;

use softlabel_core::{Error as ValueError, Labels};

use crate::{Dataset, Error, LabelledPixels, Result, SplitFractions, split};

/// What a source gives: a pool to split, and the test set if the data brings its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Data {
    pool: Arc<Dataset>,
    test: Option<Arc<Dataset>>,
}

impl Data {
    /// Checks that pool and test set go together.
    ///
    /// # Errors
    /// [`Error::Values`] if they differ in image shape, maximum pixel value or class count, or one is of maps alone.
    pub fn new(pool: Dataset, test: Option<Dataset>) -> Result<Self> {
        if let Some(test) = &test {
            let describe = |dataset: &Dataset| {
                let (shape, max_value) = (dataset.shape(), dataset.max_value());
                let what = if dataset.labelled().is_some() { "maps" } else { "images" };
                format!("{what} {shape} up to {max_value}, {} classes", dataset.classes())
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
    /// data brings are the test part. Maps, which have no class, are split as a whole, never pixel by pixel.
    ///
    /// Pixels are shared, not copied.
    ///
    /// # Errors
    /// - [`Error::OwnTestSet`] if the data brings a test set and `fractions.test()` is not 0.
    /// - [`Error::ClassTooSmall`] if a class has too few samples, [`Error::TooFewMaps`] if there are too few maps.
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
        let ids = match self.pool.labelled() {
            None => split::stratified(self.pool.labels(), fractions, seed)?,
            Some(maps) => split::of_one_class(maps.images(), fractions, seed)?,
        };
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
#[derive(Debug, Clone, PartialEq)]
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
#[derive(Debug, Clone, PartialEq)]
pub struct Subset {
    dataset: Arc<Dataset>,
    ids: Vec<usize>,
    labels: Labels,
    /// Of maps: which pixels have the labels, and the id of each.
    labelled: Option<(LabelledPixels, Vec<usize>)>,
}

impl Subset {
    /// The samples `ids`, in that order; an id may come more than once.
    ///
    /// # Errors
    /// [`Error::Values`] if an id is not below the number of samples.
    pub fn new(dataset: Arc<Dataset>, ids: Vec<usize>) -> Result<Self> {
        let Some(all) = dataset.labelled() else {
            let labels = dataset.labels().select(&ids)?;
            return Ok(Self { dataset, ids, labels, labelled: None });
        };
        let labelled = all.select(&ids)?;
        let rows: Vec<usize> = ids.iter().flat_map(|&id| all.rows(id)).collect();
        let labels = dataset.labels().select(&rows)?;
        let area = dataset.shape().height * dataset.shape().width;
        let of_image =
            |&id: &usize| all.pixels(id).iter().map(move |&pixel| id * area + pixel as usize);
        let row_ids = ids.iter().flat_map(of_image).collect();
        Ok(Self { labelled: Some((labelled, row_ids)), dataset, ids, labels })
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

    /// The label of each row, as the data set has it: of each sample, or, of maps, of each pixel that counts.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The id of each row: that of its sample, or, of maps, the id of the image times height × width, plus the pixel.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use softlabel_data::{Dataset, ImageShape, Pixels, Subset};
    ///
    /// let shape = ImageShape { channels: 1, height: 1, width: 3 };
    /// let pixels = Pixels::Floats(vec![0.0; 6]);
    /// let maps = Dataset::maps("tiny", shape, pixels, &[0, 1, 1, 1, 255, 0], 2, Some(255))?;
    /// let subset = Subset::new(Arc::new(maps), vec![1])?;
    /// assert_eq!((subset.ids(), subset.row_ids()), (&[1][..], &[3, 5][..]));
    /// assert_eq!(subset.labels().as_slice(), [1, 0]);
    /// # Ok::<(), softlabel_data::Error>(())
    /// ```
    pub fn row_ids(&self) -> &[usize] {
        self.labelled.as_ref().map_or(&self.ids, |(_, row_ids)| row_ids)
    }

    /// The rows of the sample at a position.
    pub fn rows(&self, position: usize) -> Range<usize> {
        match &self.labelled {
            Some((labelled, _)) => labelled.rows(position),
            None => position..position + 1,
        }
    }

    /// Which pixels have a label, by position, if it is not the images that have one.
    pub fn labelled(&self) -> Option<&LabelledPixels> {
        self.labelled.as_ref().map(|(labelled, _)| labelled)
    }

    /// The pixels, row-major `[len, channels, height, width]`; empty where they are no bytes.
    pub fn pixels(&self) -> Vec<u8> {
        let images = self.ids.iter().filter_map(|&id| self.dataset.image(id));
        images.flatten().copied().collect()
    }

    /// The pixels, bytes divided by the maximum value: row-major `[len, channels, height, width]`.
    pub fn pixels_f32(&self) -> Vec<f32> {
        self.dataset.select_f32(&self.ids)
    }
}
