//! Seeded splits into train, validation and test that keep every class in proportion.
//!
//! Of the n_c samples of class c, validation gets n_c·v, the test n_c·t and training the rest, rounded to whole
//! samples by largest remainder: each share is rounded down, and what is left over goes, one sample each, first to
//! parts that would get nothing, then to those furthest behind their shares of this class and the classes before it.
//! So no part is further than one sample from its share of a class, and over classes large enough to give every part
//! something anyway, rounding does not add up.

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use softlabel_core::{Error as ValueError, Fraction, Labels};

use crate::{Error, Result, seed};

/// Which shares of a data set go to validation and to the test; the rest, more than nothing, is for training.
///
/// In a file: `{ validation = 0.2, test = 0.2 }`; `test` may be absent and is then 0, as it must be for a data set
/// that brings its own test set.
///
/// ```
/// use softlabel_data::SplitFractions;
///
/// let fractions: SplitFractions = toml::from_str("validation = 0.25")?;
/// assert_eq!((fractions.train(), fractions.validation(), fractions.test()), (0.75, 0.25, 0.0));
///
/// let error = SplitFractions::new(0.5, 0.5).unwrap_err();
/// assert_eq!(error.to_string(), "validation + test must be below 1, found 1");
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked", into = "Unchecked")]
pub struct SplitFractions {
    validation: Fraction,
    test: Fraction,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    validation: f64,
    #[serde(default)]
    test: f64,
}

impl SplitFractions {
    /// Checks the fractions; 0 leaves a part empty.
    ///
    /// # Errors
    /// [`Error::Values`] if a fraction is not in [0, 1], or their sum not below 1.
    pub fn new(validation: f64, test: f64) -> Result<Self> {
        let share = |name, found| {
            let wrong = ValueError::OutOfRange { name, expected: "in [0, 1]", found };
            Fraction::new(found).map_err(|_| wrong)
        };
        let validation_share = share("the validation share", validation)?;
        let fractions = Self { validation: validation_share, test: share("the test share", test)? };
        let found = validation + test;
        if found < 1.0 {
            return Ok(fractions);
        }
        let (name, expected) = ("validation + test", "below 1");
        Err(ValueError::OutOfRange { name, expected, found }.into())
    }

    /// What stays for training, in (0, 1].
    pub fn train(self) -> f64 {
        1.0 - (self.validation() + self.test())
    }

    /// The share for validation, in [0, 1).
    pub fn validation(self) -> f64 {
        self.validation.get()
    }

    /// The share for the test, in [0, 1).
    pub fn test(self) -> f64 {
        self.test.get()
    }
}

impl TryFrom<Unchecked> for SplitFractions {
    type Error = Error;

    fn try_from(Unchecked { validation, test }: Unchecked) -> Result<Self> {
        Self::new(validation, test)
    }
}

impl From<SplitFractions> for Unchecked {
    fn from(fractions: SplitFractions) -> Self {
        Self { validation: fractions.validation(), test: fractions.test() }
    }
}

/// Which samples belong to which part: ids, ascending, each in exactly one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Samples to train on.
    pub train: Vec<usize>,
    /// Samples to choose and calibrate on.
    pub validation: Vec<usize>,
    /// Samples to report on.
    pub test: Vec<usize>,
}

/// Splits samples at random, every class in proportion; the same for the same arguments on every machine.
///
/// A class without any sample is left out; a part whose fraction is 0 is empty.
///
/// # Errors
/// [`Error::ClassTooSmall`] for the first class that has samples, but too few for each part to get at least one.
///
/// ```
/// use softlabel_core::Labels;
/// use softlabel_data::{Error, SplitFractions, split};
///
/// let fractions = SplitFractions::new(0.25, 0.25)?;
/// let labels = Labels::new(&[0u8, 1, 0, 1, 0, 1, 0, 1], 2)?;
/// let parts = split::stratified(&labels, fractions, 42)?;
/// assert_eq!((parts.train.len(), parts.validation.len(), parts.test.len()), (4, 2, 2));
/// assert_eq!(labels.select(&parts.train)?.counts(), [2, 2]);
///
/// let labels = Labels::new(&[0u8, 0, 0, 0, 1], 2)?;
/// let error = split::stratified(&labels, fractions, 42).unwrap_err();
/// assert!(matches!(error, Error::ClassTooSmall { class: 1, found: 1, .. }));
/// # Ok::<(), softlabel_data::Error>(())
/// ```
pub fn stratified(labels: &Labels, fractions: SplitFractions, seed: u64) -> Result<Split> {
    let mut members = vec![Vec::new(); labels.classes()];
    for (sample, class) in labels.iter().enumerate() {
        members[class].push(sample);
    }
    let shares = [fractions.train(), fractions.validation(), fractions.test()];
    let mut generator = seed::stream(seed, seed::SPLIT);
    let mut parts = [const { Vec::new() }; 3];
    let mut owed = [0.0; 3];
    for (class, mut samples) in members.into_iter().enumerate() {
        let found = samples.len();
        let sizes = apportion(found, shares, &mut owed);
        let forgotten = |(&size, &share): (&usize, &f64)| size == 0 && share > 0.0;
        if found > 0 && sizes.iter().zip(&shares).any(forgotten) {
            let [train, validation, test] = shares;
            return Err(Error::ClassTooSmall { class, found, train, validation, test });
        }
        samples.shuffle(&mut generator);
        let mut samples = samples.into_iter();
        for (part, size) in parts.iter_mut().zip(sizes) {
            part.extend(samples.by_ref().take(size));
        }
    }
    for part in &mut parts {
        part.sort_unstable();
    }
    let [train, validation, test] = parts;
    Ok(Split { train, validation, test })
}

/// Splits `n` samples at random that have no class.
pub(crate) fn of_one_class(n: usize, fractions: SplitFractions, seed: u64) -> Result<Split> {
    let labels = Labels::new(&vec![0_u8; n], 1)?;
    stratified(&labels, fractions, seed).map_err(|error| match error {
        Error::ClassTooSmall { found, train, validation, test, .. } => {
            Error::TooFewMaps { found, train, validation, test }
        }
        error => error,
    })
}

/// Whole numbers that sum to `n`, close to `n` times `shares` (which sum to 1); the difference is added to `owed`.
fn apportion(n: usize, shares: [f64; 3], owed: &mut [f64; 3]) -> [usize; 3] {
    let exact = shares.map(|share| share * n as f64);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= x <= n")]
    let mut sizes = exact.map(|x| x.floor() as usize);
    let left = n.saturating_sub(sizes.iter().sum());
    let mut order = [0, 1, 2];
    // Parts that are whole already come last, so no share of 0 is ever rounded up.
    order.sort_by(|&a, &b| {
        let behind = |part: usize| exact[part].fract() + owed[part];
        let rank = |part: usize| (exact[part].fract() == 0.0, sizes[part] > 0);
        rank(a).cmp(&rank(b)).then(behind(b).total_cmp(&behind(a)))
    });
    for &part in order.iter().take(left) {
        sizes[part] += 1;
    }
    for part in order {
        owed[part] += exact[part] - sizes[part] as f64;
    }
    sizes
}
