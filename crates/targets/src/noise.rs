//! Models of label noise: which label a sample shows, given the true one.
//!
//! A model is a row-stochastic K×K transition matrix T with T[i][j] = P(observed j | true i):
//!
//! - symmetric: 1 − r on the diagonal, r/(K − 1) elsewhere, so r is the share of labels that change;
//! - pair flip: 1 − r on the diagonal, r on the next class (the last goes to the first);
//! - matrix: any T.
//!
//! Sources: Patrini et al., "Making Deep Neural Networks Robust to Label Noise", CVPR 2017;
//! Han et al., "Co-teaching", NeurIPS 2018 (pair flip).

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use softlabel_core::{ClassLabels, Fraction};

use crate::distribution::check_rows;
use crate::matrix::check_square;
use crate::{Error, Result};

/// How labels go wrong.
///
/// In serialized form a table with a `kind`: `{ kind = "symmetric", rate = 0.2 }`,
/// `{ kind = "pair_flip", rate = 0.2 }` or `{ kind = "matrix", matrix = [[0.9, 0.1], [0.3, 0.7]] }`.
///
/// ```
/// use softlabel_core::Labels;
/// use softlabel_targets::LabelNoise;
///
/// let labels = Labels::new(&[0i64; 10_000], 5)?;
/// let noisy = LabelNoise::symmetric(0.2)?.corrupt(&labels, 7)?;
/// let changed = noisy.iter().filter(|&label| label != 0).count();
/// assert!((1_880..2_120).contains(&changed)); // 0.2, within three standard deviations
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
#[non_exhaustive]
pub enum LabelNoise {
    /// With this probability a label becomes one of the other classes, each as likely.
    Symmetric {
        /// Share of the labels that change.
        rate: Fraction,
    },
    /// With this probability a label becomes the next class.
    PairFlip {
        /// Share of the labels that change.
        rate: Fraction,
    },
    /// Row i is the distribution of the observed label of class i.
    Matrix {
        /// Row-stochastic, K×K.
        matrix: Vec<Vec<f64>>,
    },
}

/// The serialized form: flat, so that an unknown key is found at its own place.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate: Option<Fraction>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    matrix: Option<Vec<Vec<f64>>>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Symmetric,
    PairFlip,
    Matrix,
}

impl LabelNoise {
    /// A label becomes one of the K − 1 others, each as likely, with probability `rate`.
    ///
    /// # Errors
    /// If `rate` is not in [0, 1].
    pub fn symmetric(rate: f64) -> Result<Self> {
        Ok(Self::Symmetric { rate: Fraction::new(rate)? })
    }

    /// A label becomes the next class with probability `rate`.
    ///
    /// # Errors
    /// If `rate` is not in [0, 1].
    pub fn pair_flip(rate: f64) -> Result<Self> {
        Ok(Self::PairFlip { rate: Fraction::new(rate)? })
    }

    /// Any transition matrix.
    ///
    /// # Errors
    /// If it is empty or not square, or a row is not a distribution within 1e-6.
    pub fn matrix(matrix: Vec<Vec<f64>>) -> Result<Self> {
        check_stochastic(&matrix)?;
        Ok(Self::Matrix { matrix })
    }

    /// The transition matrix, row-major K×K: `[i·K + j]` is P(observed j | true i).
    ///
    /// # Errors
    /// [`Error::TooFewClasses`] for symmetric or pair-flip noise among fewer than two classes, a mismatch if a given
    /// matrix has another size.
    pub fn transition_matrix(&self, classes: usize) -> Result<Vec<f64>> {
        let filled = |rate: Fraction, entry: &dyn Fn(usize, usize) -> f64| {
            if classes < 2 {
                return Err(Error::TooFewClasses { what: "label noise", classes });
            }
            let value = |index: usize| {
                let (from, to) = (index / classes, index % classes);
                if from == to { 1.0 - rate.get() } else { entry(from, to) }
            };
            Ok((0..classes * classes).map(value).collect())
        };
        match self {
            Self::Symmetric { rate } => filled(*rate, &|_, _| rate.get() / (classes - 1) as f64),
            Self::PairFlip { rate } => filled(*rate, &|from, to| {
                if to == (from + 1) % classes { rate.get() } else { 0.0 }
            }),
            Self::Matrix { matrix } if matrix.len() == classes => {
                check_stochastic(matrix)?;
                Ok(matrix.concat())
            }
            Self::Matrix { matrix } => Err(softlabel_core::Error::mismatch(
                "classes of the noise matrix",
                classes.to_string(),
                matrix.len().to_string(),
            )
            .into()),
        }
    }

    /// The labels that would be observed: each drawn from its row of the transition matrix.
    ///
    /// The random stream depends on `seed` alone and is the same on every machine.
    /// One draw a label, so the noise of a sample does not depend on the labels of the others, nor on whether they are
    /// ignored. Ignored positions of [`MaskedLabels`](softlabel_core::MaskedLabels) stay ignored, and no label becomes
    /// ignored: where the ignore index is a class, symmetric and pair-flip noise are among the others.
    ///
    /// # Errors
    /// As [`transition_matrix`](Self::transition_matrix) of the classes that labels can be, and if the ignore index is a
    /// class that a matrix gives to others.
    ///
    /// ```
    /// use softlabel_core::MaskedLabels;
    /// use softlabel_targets::LabelNoise;
    ///
    /// let labels = MaskedLabels::new(&[0, -100, 2], 3, -100)?;
    /// assert_eq!(LabelNoise::pair_flip(1.0)?.corrupt(&labels, 7)?.to_vec(), [1, -100, 0]);
    /// # Ok::<(), softlabel_targets::Error>(())
    /// ```
    pub fn corrupt<L: ClassLabels>(&self, labels: &L, seed: u64) -> Result<L> {
        let classes = labels.classes();
        let transitions = self.transitions(classes, labels.ignored_class())?;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let observe = |label: Option<usize>| {
            let draw = random.random::<f64>();
            label.map_or(0, |label| {
                draw_from(&transitions[label * classes..(label + 1) * classes], label, draw)
            })
        };
        let observed: Vec<usize> = labels.each().map(observe).collect();
        Ok(labels.relabelled(&observed)?)
    }

    /// The transition matrix among all classes but one that no label can be.
    fn transitions(&self, classes: usize, ignored: Option<usize>) -> Result<Vec<f64>> {
        let Some(ignored) = ignored else { return self.transition_matrix(classes) };
        let possible: Vec<usize> = (0..classes).filter(|&class| class != ignored).collect();
        if let Self::Matrix { .. } = self {
            let all = self.transition_matrix(classes)?;
            let given = possible.iter().map(|class| all[class * classes + ignored]);
            return match given.fold(0.0, f64::max) {
                0.0 => Ok(all),
                found => {
                    let name = "the probability that noise turns a label into the ignore index";
                    Err(softlabel_core::Error::OutOfRange { name, expected: "0", found }.into())
                }
            };
        }
        let mut all = vec![0.0; classes * classes];
        let among = match (self, possible.as_slice()) {
            (Self::Symmetric { rate } | Self::PairFlip { rate }, [_]) if rate.get() == 0.0 => {
                vec![1.0]
            }
            (_, []) => vec![],
            _ => self.transition_matrix(possible.len())?,
        };
        for (from, row) in possible.iter().zip(among.chunks_exact(possible.len().max(1))) {
            for (to, p) in possible.iter().zip(row) {
                all[from * classes + to] = *p;
            }
        }
        Ok(all)
    }
}

impl std::fmt::Display for LabelNoise {
    /// `symmetric, rate 0.2`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Symmetric { rate } => write!(formatter, "symmetric, rate {rate}"),
            Self::PairFlip { rate } => write!(formatter, "pair flip, rate {rate}"),
            Self::Matrix { matrix } => write!(formatter, "{0}×{0} transition matrix", matrix.len()),
        }
    }
}

/// The class on which `draw` in [0, 1) falls when the row is laid out from 0 to 1, the label's own share first:
/// so the same draw changes a label under a higher rate if it does under a lower one.
fn draw_from(row: &[f64], label: usize, draw: f64) -> usize {
    let mut reached = row[label];
    if draw < reached {
        return label;
    }
    let others = row.iter().enumerate().filter(|&(class, &p)| class != label && p > 0.0);
    let mut last = label;
    for (class, p) in others {
        reached += p;
        last = class;
        if draw < reached {
            break;
        }
    }
    last
}

fn check_stochastic(matrix: &[Vec<f64>]) -> Result<()> {
    check_square("noise matrix", matrix)?;
    check_rows("noise matrix", matrix)
}

impl TryFrom<Settings> for LabelNoise {
    type Error = Error;

    fn try_from(settings: Settings) -> Result<Self> {
        let wrong = |kind, problem| Err(Error::NoiseSettings { kind, problem });
        match settings {
            Settings { kind: Kind::Symmetric, rate: Some(rate), matrix: None } => {
                Ok(Self::Symmetric { rate })
            }
            Settings { kind: Kind::PairFlip, rate: Some(rate), matrix: None } => {
                Ok(Self::PairFlip { rate })
            }
            Settings { kind: Kind::Matrix, rate: None, matrix: Some(matrix) } => {
                Self::matrix(matrix)
            }
            Settings { kind: Kind::Symmetric, .. } => {
                wrong("symmetric", "takes a rate and no matrix")
            }
            Settings { kind: Kind::PairFlip, .. } => {
                wrong("pair_flip", "takes a rate and no matrix")
            }
            Settings { kind: Kind::Matrix, .. } => wrong("matrix", "takes a matrix and no rate"),
        }
    }
}

impl From<LabelNoise> for Settings {
    fn from(noise: LabelNoise) -> Self {
        match noise {
            LabelNoise::Symmetric { rate } => {
                Self { kind: Kind::Symmetric, rate: Some(rate), matrix: None }
            }
            LabelNoise::PairFlip { rate } => {
                Self { kind: Kind::PairFlip, rate: Some(rate), matrix: None }
            }
            LabelNoise::Matrix { matrix } => {
                Self { kind: Kind::Matrix, rate: None, matrix: Some(matrix) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use softlabel_core::{Labels, MaskedLabels};

    use super::*;

    fn cycling(count: usize, classes: usize) -> Labels {
        let values: Vec<usize> = (0..count).map(|index| index % classes).collect();
        Labels::new(&values, classes).unwrap()
    }

    #[test]
    fn no_label_becomes_ignored() {
        for ignore_index in [0, 1, 3] {
            let given: Vec<i64> = [0i64, 1, 2, 3].repeat(100);
            let labels = MaskedLabels::new(&given, 4, ignore_index).unwrap();
            let symmetric = LabelNoise::symmetric(1.0).unwrap().corrupt(&labels, 5).unwrap();
            for (before, after) in labels.iter().zip(symmetric.iter()) {
                assert_eq!(before.is_none(), after.is_none());
                assert!(before.is_none() || before != after);
            }
        }
        // 0 → 2 → 3 → 0, as 1 is no label.
        let labels = MaskedLabels::new(&[0, 1, 2, 3], 4, 1).unwrap();
        let flipped = LabelNoise::pair_flip(1.0).unwrap().corrupt(&labels, 5).unwrap();
        assert_eq!(flipped.to_vec(), [2, 1, 3, 0]);
        // With one class left there is nothing to become, with none nothing to corrupt.
        let one = MaskedLabels::new(&[0, 1, 1], 2, 0).unwrap();
        assert_eq!(LabelNoise::pair_flip(0.0).unwrap().corrupt(&one, 5).unwrap(), one);
        assert!(LabelNoise::symmetric(0.1).unwrap().corrupt(&one, 5).is_err());
        let none = MaskedLabels::new(&[0, 0], 1, 0).unwrap();
        assert_eq!(LabelNoise::symmetric(0.1).unwrap().corrupt(&none, 5).unwrap(), none);
        let keeps = vec![vec![0.5, 0.0, 0.5], vec![0.0, 1.0, 0.0], vec![0.5, 0.0, 0.5]];
        let labels = MaskedLabels::new(&[0, 1, 2], 3, 1).unwrap();
        let noise = LabelNoise::matrix(keeps.clone()).unwrap();
        assert_eq!(noise.corrupt(&labels, 5).unwrap().counted(), 2);
        let gives = vec![keeps[0].clone(), keeps[1].clone(), vec![0.0, 0.25, 0.75]];
        let error = LabelNoise::matrix(gives).unwrap().corrupt(&labels, 5).unwrap_err();
        let expected =
            "the probability that noise turns a label into the ignore index must be 0, found 0.25";
        assert_eq!(error.to_string(), expected);
    }

    /// Observed frequencies of each transition against the matrix, at five standard deviations.
    fn check_frequencies(noise: &LabelNoise, classes: usize) {
        let labels = cycling(classes * 20_000, classes);
        let observed = noise.corrupt(&labels, 3).unwrap();
        let mut counts = vec![0_u32; classes * classes];
        for (from, to) in labels.iter().zip(observed.iter()) {
            counts[from * classes + to] += 1;
        }
        let expected = noise.transition_matrix(classes).unwrap();
        for (count, p) in counts.iter().zip(expected) {
            let deviation = (p * (1.0 - p) / 20_000.0).sqrt();
            let error = (f64::from(*count) / 20_000.0 - p).abs();
            assert!(error <= 5.0 * deviation, "{count} of 20000 against {p}");
        }
    }

    #[test]
    fn frequencies_follow_the_matrix() {
        check_frequencies(&LabelNoise::symmetric(0.4).unwrap(), 5);
        check_frequencies(&LabelNoise::pair_flip(0.3).unwrap(), 4);
        let matrix = vec![vec![0.5, 0.5, 0.0], vec![0.1, 0.2, 0.7], vec![0.0, 0.0, 1.0]];
        check_frequencies(&LabelNoise::matrix(matrix).unwrap(), 3);
    }

    #[test]
    fn the_ends_are_exact() {
        let labels = cycling(1000, 4);
        assert_eq!(LabelNoise::symmetric(0.0).unwrap().corrupt(&labels, 1).unwrap(), labels);
        let all = LabelNoise::symmetric(1.0).unwrap().corrupt(&labels, 1).unwrap();
        assert!(labels.iter().zip(all.iter()).all(|(before, after)| before != after));
        let next = LabelNoise::pair_flip(1.0).unwrap().corrupt(&labels, 1).unwrap();
        assert!(labels.iter().zip(next.iter()).all(|(before, after)| after == (before + 1) % 4));
    }

    #[test]
    fn same_seed_same_labels() {
        let (labels, noise) = (cycling(100, 4), LabelNoise::symmetric(0.5).unwrap());
        assert_eq!(noise.corrupt(&labels, 1).unwrap(), noise.corrupt(&labels, 1).unwrap());
        assert_ne!(noise.corrupt(&labels, 1).unwrap(), noise.corrupt(&labels, 2).unwrap());
    }

    #[test]
    fn bad_settings_are_named() {
        let parse = |text: &str| serde_json::from_str::<LabelNoise>(text);
        assert_eq!(
            parse(r#"{"kind":"symmetric","rate":0.2}"#).unwrap(),
            LabelNoise::symmetric(0.2).unwrap()
        );
        for (bad, expected) in [
            (r#"{"kind":"symmetric"}"#, "takes a rate and no matrix"),
            (r#"{"kind":"symmetric","rate":1.2}"#, "fraction must be in [0, 1], found 1.2"),
            (r#"{"kind":"matrix","matrix":[[0.5,0.6],[0,1]]}"#, "row 0 sums to 1.1"),
            (r#"{"kind":"matrix","matrix":[[1.0],[0,1]]}"#, "expected 2 values a row"),
            (r#"{"kind":"symmetric","rat":0.2}"#, "unknown field `rat`"),
            (r#"{"kind":"symetric","rate":0.2}"#, "unknown variant `symetric`"),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(expected), "{bad}: {error}");
        }
    }

    #[test]
    fn sizes_must_fit() {
        let noise = LabelNoise::matrix(vec![vec![1.0, 0.0], vec![0.0, 1.0]]).unwrap();
        assert!(noise.corrupt(&cycling(9, 3), 1).is_err());
        let single = Labels::new(&[0], 1).unwrap();
        let error = LabelNoise::symmetric(0.1).unwrap().corrupt(&single, 1).unwrap_err();
        assert_eq!(error, Error::TooFewClasses { what: "label noise", classes: 1 });
    }

    proptest! {
        #[test]
        fn rows_of_the_matrix_sum_to_one(rate in 0.0..=1.0, classes in 2..30_usize) {
            for noise in [LabelNoise::symmetric(rate), LabelNoise::pair_flip(rate)] {
                let matrix = noise.unwrap().transition_matrix(classes).unwrap();
                for row in matrix.chunks(classes) {
                    prop_assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                }
            }
        }

        #[test]
        fn ignored_labels_stay_and_change_nothing_elsewhere(
            ignored in proptest::collection::vec(any::<bool>(), 60),
            rate in 0.0..=1.0,
        ) {
            let whole = cycling(60, 4);
            let with_ignored = |labels: &Labels| {
                let each = labels.iter().zip(&ignored);
                each.map(|(label, &ignored)| if ignored { -100 } else { label as i64 }).collect::<Vec<_>>()
            };
            let masked = MaskedLabels::new(&with_ignored(&whole), 4, -100).unwrap();
            let noise = LabelNoise::symmetric(rate).unwrap();
            let expected = with_ignored(&noise.corrupt(&whole, 5).unwrap());
            prop_assert_eq!(noise.corrupt(&masked, 5).unwrap().to_vec(), expected);
        }

        #[test]
        fn more_noise_changes_the_same_labels_and_more(low in 0.0..0.5, more in 0.0..0.5) {
            let labels = cycling(200, 5);
            let changed = |rate| {
                let observed = LabelNoise::symmetric(rate).unwrap().corrupt(&labels, 9).unwrap();
                labels.iter().zip(observed.iter()).map(|(a, b)| a != b).collect::<Vec<_>>()
            };
            for (before, after) in changed(low).into_iter().zip(changed(low + more)) {
                prop_assert!(!before || after);
            }
        }
    }
}
