//! Online label smoothing: the targets of an epoch are what the network predicted in the one before.
//!
//! During epoch t, for every class y, the predictions p of the samples of class y that were classified correctly are
//! summed; their mean is row y of S^t, and the target of epoch t + 1 is a·onehot(y) + (1 − a)·S^t_y.
//! S^0 is off-target smoothing: 1 − ε on the diagonal, ε/(K − 1) elsewhere. So begin some implementations; others have
//! zeros there, and hard labels in the first epoch.
//!
//! A class of which no sample was classified correctly keeps the row it had; the paper leaves the case open.
//! Rows of probabilities that sum to one only up to rounding are summed as they are, and the mean is normalized.
//!
//! Source: Zhang, Jiang, Hou, Wei, Han, Li, Cheng, "Delving Deep into Label Smoothing",
//! IEEE Transactions on Image Processing 30, 2021 (a = 0.5).

use serde::{Deserialize, Serialize};
use softlabel_core::{ClassLabels, Epsilon, Error as Core, Fraction, Probabilities, Scalar};

use super::check_square;
use crate::{ClassMatrix, Error, Result, Smoothing};

/// What a network said of each class while it was right: an accumulator over an epoch, and the matrix of the last.
///
/// [`update`](Self::update) on any number of batches, [`merge`](Self::merge) across workers (associative and
/// commutative up to rounding), [`finish_epoch`](Self::finish_epoch) at the end of each epoch. Serializes with its
/// running sums, so that training resumes in the middle of an epoch.
///
/// ```
/// use softlabel_core::{Epsilon, Fraction, Labels, Probabilities};
/// use softlabel_targets::OnlineLabelSmoothing;
///
/// let mut online = OnlineLabelSmoothing::new(3, Epsilon::new(0.1)?)?;
/// let said = Probabilities::new(&[0.5f64, 0.25, 0.25, 0.75, 0.25, 0.0, 0.5, 0.25, 0.25], 3)?;
/// online.update(&said, &Labels::new(&[0, 0, 1], 3)?)?; // the third is wrong and does not count
/// online.finish_epoch();
/// assert_eq!(online.matrix().as_slice()[..3], [0.625, 0.25, 0.125]);
/// assert_eq!(online.matrix().as_slice()[3..6], [0.05, 0.9, 0.05]); // as it was
///
/// let target = online.smoothing(Fraction::new(0.5)?)?.fused(3)?.rows(&Labels::new(&[0], 3)?)?;
/// assert_eq!(target, [0.8125, 0.125, 0.0625]);
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "State", into = "State")]
pub struct OnlineLabelSmoothing {
    matrix: ClassMatrix,
    /// Row-major K×K: sums of the predictions for correctly classified samples of each class.
    sums: Vec<f64>,
    /// How many samples are in each row of the sums.
    correct: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    matrix: ClassMatrix,
    sums: Vec<Vec<f64>>,
    correct: Vec<u64>,
}

impl OnlineLabelSmoothing {
    /// Before the first epoch: 1 − ε on the diagonal, ε/(K − 1) elsewhere.
    ///
    /// # Errors
    /// [`Error::TooFewClasses`] below two classes.
    pub fn new(classes: usize, epsilon: Epsilon) -> Result<Self> {
        if classes < 2 {
            return Err(Error::TooFewClasses { what: "online label smoothing", classes });
        }
        let other = epsilon.get() / (classes - 1) as f64;
        let value = |index| {
            if index / classes == index % classes { 1.0 - epsilon.get() } else { other }
        };
        let matrix = ClassMatrix::from_rows((0..classes * classes).map(value).collect(), classes);
        Ok(Self { matrix, sums: vec![0.0; classes * classes], correct: vec![0; classes] })
    }

    /// K.
    pub fn classes(&self) -> usize {
        self.matrix.classes()
    }

    /// S of the last epoch that was finished.
    pub fn matrix(&self) -> &ClassMatrix {
        &self.matrix
    }

    /// How many samples of each class were classified correctly so far in this epoch.
    pub fn correct(&self) -> &[u64] {
        &self.correct
    }

    /// Adds a batch: the rows whose largest probability (the first of them, if several are) is the label's.
    /// Ignored positions of [`MaskedLabels`](softlabel_core::MaskedLabels) count for nothing; their rows must be
    /// distributions all the same.
    ///
    /// # Errors
    /// If the class counts differ, or there are not as many rows as labels.
    pub fn update<T: Scalar, L: ClassLabels>(
        &mut self,
        probabilities: &Probabilities<'_, T>,
        labels: &L,
    ) -> Result<()> {
        let classes = self.classes();
        for found in [probabilities.classes(), labels.classes()] {
            same("classes of online label smoothing", classes, found)?;
        }
        same("rows of probabilities", labels.each().len(), probabilities.rows())?;
        for (row, label) in probabilities.matrix().iter().zip(labels.each()) {
            let Some(label) = label else { continue };
            let at_label: f64 = row[label].into();
            let wins = |(class, &p): (usize, &T)| {
                if class < label { p.into() < at_label } else { p.into() <= at_label }
            };
            if row.iter().enumerate().all(wins) {
                let sums = &mut self.sums[label * classes..(label + 1) * classes];
                sums.iter_mut().zip(row).for_each(|(sum, &p)| *sum += p.into());
                self.correct[label] += 1;
            }
        }
        Ok(())
    }

    /// Adds what another worker saw of the same epoch.
    ///
    /// # Errors
    /// If the other does not have the same matrix: it is of another epoch, or of another training.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.matrix != other.matrix {
            let (expected, found) = ("the matrix of the same epoch", "another");
            return Err(Core::mismatch("online label smoothing", expected, found).into());
        }
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, other)| *sum += other);
        self.correct.iter_mut().zip(&other.correct).for_each(|(count, other)| *count += other);
        Ok(())
    }

    /// Makes the mean predictions of this epoch the matrix, and starts the next.
    pub fn finish_epoch(&mut self) {
        let classes = self.classes();
        let old = self.matrix.as_slice().chunks_exact(classes);
        let row = |(sums, old): (&[f64], &[f64])| {
            let total: f64 = sums.iter().sum();
            if total > 0.0 { sums.iter().map(|sum| sum / total).collect() } else { old.to_vec() }
        };
        let rows = self.sums.chunks_exact(classes).zip(old).flat_map(row).collect();
        self.matrix = ClassMatrix::from_rows(rows, classes);
        self.sums.fill(0.0);
        self.correct.fill(0);
    }

    /// The targets a·onehot(y) + (1 − a)·S_y, with a = `label_share`: a smoothing with ε = 1 − a and S as its prior.
    ///
    /// # Errors
    /// None today; reserved for shares that rounding takes out of [0, 1].
    pub fn smoothing(&self, label_share: Fraction) -> Result<Smoothing> {
        Ok(Smoothing::towards(Epsilon::new(1.0 - label_share.get())?, self.matrix.clone()))
    }
}

impl TryFrom<State> for OnlineLabelSmoothing {
    type Error = Error;

    fn try_from(State { matrix, sums, correct }: State) -> Result<Self> {
        const WHAT: &str = "sums of online label smoothing";
        let classes = matrix.classes();
        if classes < 2 {
            return Err(Error::TooFewClasses { what: "online label smoothing", classes });
        }
        same(WHAT, classes, sums.len())?;
        same("counts of online label smoothing", classes, correct.len())?;
        check_square(WHAT, &sums)?;
        for (row, values) in sums.iter().enumerate() {
            if let Some(class) = values.iter().position(|sum| !(*sum >= 0.0 && sum.is_finite())) {
                let (expected, found) = ("at least 0 and finite", values[class]);
                return Err(Core::BadValue { what: WHAT, expected, row, class, found }.into());
            }
            let (total, count) = (values.iter().sum::<f64>(), correct[row]);
            // As far from a count as rows of probabilities may be from one.
            if (total - count as f64).abs() > 1.1e-3 * count as f64 {
                let expected = format!("a sum of {count}, the samples of the row");
                return Err(Core::mismatch(WHAT, expected, format!("{total} in row {row}")).into());
            }
        }
        Ok(Self { matrix, sums: sums.concat(), correct })
    }
}

impl From<OnlineLabelSmoothing> for State {
    fn from(online: OnlineLabelSmoothing) -> Self {
        let classes = online.classes();
        let sums = online.sums.chunks_exact(classes).map(<[f64]>::to_vec).collect();
        Self { matrix: online.matrix, sums, correct: online.correct }
    }
}

fn same(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Core::mismatch(what, expected.to_string(), found.to_string()).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use softlabel_core::{Labels, MaskedLabels};

    use super::*;

    const CLASSES: usize = 4;

    fn start() -> OnlineLabelSmoothing {
        OnlineLabelSmoothing::new(CLASSES, Epsilon::new(0.1).unwrap()).unwrap()
    }

    fn batch() -> impl Strategy<Value = Vec<(Vec<f64>, usize)>> {
        let sample = (prop::collection::vec(0.01..1.0, CLASSES), 0..CLASSES);
        let normalize = |(row, label): (Vec<f64>, usize)| {
            let sum: f64 = row.iter().sum();
            (row.into_iter().map(|p| p / sum).collect(), label)
        };
        prop::collection::vec(sample.prop_map(normalize), 0..20)
    }

    fn seen(batch: &[(Vec<f64>, usize)]) -> OnlineLabelSmoothing {
        let mut online = start();
        let rows: Vec<f64> = batch.iter().flat_map(|(row, _)| row.clone()).collect();
        let labels: Vec<usize> = batch.iter().map(|(_, label)| *label).collect();
        let rows = Probabilities::new(rows, CLASSES).unwrap();
        online.update(&rows, &Labels::new(&labels, CLASSES).unwrap()).unwrap();
        online
    }

    #[test]
    fn a_tie_goes_to_the_first() {
        let rows = Probabilities::new(&[0.5_f32, 0.5, 0.5, 0.5], 2).unwrap();
        let mut online = OnlineLabelSmoothing::new(2, Epsilon::ZERO).unwrap();
        online.update(&rows, &Labels::new(&[0, 1], 2).unwrap()).unwrap();
        assert_eq!(online.correct(), [1, 0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut online = start();
        let rows = Probabilities::new(&[0.5_f32, 0.5], 2).unwrap();
        assert!(online.update(&rows, &Labels::new(&[0], 2).unwrap()).is_err());
        let rows = Probabilities::new(&[0.25_f32; 4], 4).unwrap();
        assert!(online.update(&rows, &Labels::new(&[0, 1], 4).unwrap()).is_err());
        let other = OnlineLabelSmoothing::new(CLASSES, Epsilon::ZERO).unwrap();
        assert!(online.merge(&other).is_err());
        assert!(OnlineLabelSmoothing::new(1, Epsilon::ZERO).is_err());
    }

    #[test]
    fn a_state_that_cannot_be_is_refused() {
        let state = |sums: &str, correct: &str| {
            let text = format!(r#"{{"matrix":[[1,0],[0,1]],"sums":{sums},"correct":{correct}}}"#);
            serde_json::from_str::<OnlineLabelSmoothing>(&text)
        };
        assert!(state("[[1.5,0.5],[0,0]]", "[2,0]").is_ok());
        assert!(state("[[1.5,0.5],[0,0]]", "[3,0]").is_err());
        assert!(state("[[-1,3],[0,0]]", "[2,0]").is_err());
        assert!(state("[[0,0]]", "[0,0]").is_err());
        assert!(state("[[0,0],[0,0]]", "[0]").is_err());
    }

    proptest! {
        #[test]
        fn rows_are_means_over_the_correct(batch in batch()) {
            let mut online = seen(&batch);
            online.finish_epoch();
            for label in 0..CLASSES {
                let correct = batch.iter().filter(|(row, y)| {
                    *y == label && row.iter().all(|p| *p <= row[label])
                });
                let rows: Vec<_> = correct.map(|(row, _)| row).collect();
                for class in 0..CLASSES {
                    let mean = rows.iter().map(|row| row[class]).sum::<f64>() / rows.len() as f64;
                    let before = start().matrix().row(label).unwrap()[class];
                    let expected = if rows.is_empty() { before } else { mean };
                    prop_assert!((online.matrix().row(label).unwrap()[class] - expected).abs() < 1e-13);
                }
            }
        }

        #[test]
        fn ignored_samples_are_as_if_they_were_not_there(
            batch in batch(),
            ignored in proptest::collection::vec(any::<bool>(), 100),
        ) {
            let each = || batch.iter().zip(ignored.iter().cycle());
            let counted: Vec<_> =
                each().filter(|(_, ignored)| !**ignored).map(|(sample, _)| sample.clone()).collect();
            let values: Vec<i64> =
                each().map(|((_, y), &ignored)| if ignored { -100 } else { *y as i64 }).collect();
            let rows: Vec<f64> = batch.iter().flat_map(|(row, _)| row.clone()).collect();
            let rows = Probabilities::new(rows, CLASSES).unwrap();
            let mut online = start();
            online.update(&rows, &MaskedLabels::new(&values, CLASSES, -100).unwrap()).unwrap();
            prop_assert_eq!(online, seen(&counted));
        }

        #[test]
        fn merging_is_as_one_batch(first in batch(), second in batch(), third in batch()) {
            let whole = seen(&[first.clone(), second.clone(), third.clone()].concat());
            let (first, second, third) = (seen(&first), seen(&second), seen(&third));
            let mut left = first.clone();
            left.merge(&second).unwrap();
            left.merge(&third).unwrap();
            let mut right = third;
            right.merge(&second).unwrap();
            right.merge(&first).unwrap();
            for merged in [left, right] {
                prop_assert_eq!(&merged.correct, &whole.correct);
                for (a, b) in merged.sums.iter().zip(&whole.sums) {
                    prop_assert!((a - b).abs() < 1e-12);
                }
            }
        }

        #[test]
        fn a_state_resumes(first in batch(), second in batch()) {
            let mut online = seen(&first);
            let text = serde_json::to_string(&online).unwrap();
            let mut resumed: OnlineLabelSmoothing = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&resumed, &online);
            let second = seen(&second);
            online.merge(&second).unwrap();
            resumed.merge(&second).unwrap();
            online.finish_epoch();
            resumed.finish_epoch();
            prop_assert_eq!(resumed, online);
        }
    }
}
