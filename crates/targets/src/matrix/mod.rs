//! One distribution over the classes for each label: K×K, row y for label y, every row summing to 1.
//!
//! As the prior of a smoothing it gives (1 − ε)·onehot(y) + ε·S_y; at ε = 1 its rows are the whole target.
//!
//! - similarity: S_yk ∝ exp(s_yk/T), from similarities s or from the cosines of embeddings;
//! - confusion: S_yk = (n_yk + a)/Σ_j (n_yj + a), from counts n of label y against prediction k;
//! - [`Ordinal`] and [`Hierarchy`] make theirs from a distance between classes;
//! - [`OnlineLabelSmoothing`](crate::OnlineLabelSmoothing) learns one while a network trains.

mod hierarchy;
mod online;
mod ordinal;

use serde::{Deserialize, Serialize};
use softlabel_core::Error as Core;

use crate::distribution::{check_count, check_rows, normalized, softmax};
use crate::{Error, HistogramTarget, Result};

pub use hierarchy::{ClassTree, Hierarchy};
pub use online::OnlineLabelSmoothing;
pub use ordinal::{Ordinal, OrdinalDistance};

/// A row-stochastic K×K matrix: row y is a distribution that goes with label y.
///
/// In serialized form a list of rows.
///
/// ```
/// use softlabel_targets::ClassMatrix;
///
/// let counts = [8.0, 2.0, 0.0, 10.0];
/// let confusion = ClassMatrix::from_confusion(&counts, 2, 0.0)?;
/// assert_eq!(confusion.as_slice(), [0.8, 0.2, 0.0, 1.0]);
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Vec<f64>>", into = "Vec<Vec<f64>>")]
pub struct ClassMatrix {
    values: Vec<f64>,
    classes: usize,
}

impl ClassMatrix {
    /// Checks the rows.
    ///
    /// # Errors
    /// If there are none, they are not as many as they are long, a value is not in [0, 1], or a row does not sum to
    /// 1 within 1e-6.
    pub fn new(rows: &[Vec<f64>]) -> Result<Self> {
        check_square("class matrix", rows)?;
        check_rows("class matrix", rows)?;
        Ok(Self { values: rows.concat(), classes: rows.len() })
    }

    /// S_yk ∝ exp(s_yk/T) from similarities s, row-major K×K: the larger s, the more of the target class k receives
    /// when the label is y.
    ///
    /// A similarity of −∞ leaves a class without any; on the diagonal that leaves the whole row to the other classes.
    ///
    /// # Errors
    /// If the values are not K², one is NaN or +∞, a row is −∞ throughout, or `temperature` is not positive and
    /// finite.
    ///
    /// ```
    /// use softlabel_targets::ClassMatrix;
    ///
    /// let none = f64::NEG_INFINITY;
    /// let similarities = [none, 2.0, 2.0, 3.0f64.ln(), none, 0.0, 1.0, 1.0, none];
    /// let matrix = ClassMatrix::from_similarities(&similarities, 3, 1.0)?;
    /// assert_eq!(matrix.row(0), Some(&[0.0, 0.5, 0.5][..]));
    /// assert!((matrix.as_slice()[3] - 0.75).abs() < 1e-15);
    /// # Ok::<(), softlabel_targets::Error>(())
    /// ```
    pub fn from_similarities(
        similarities: &[f64],
        classes: usize,
        temperature: f64,
    ) -> Result<Self> {
        const WHAT: &str = "class similarities";
        check_count_of(WHAT, similarities, classes)?;
        softlabel_core::Temperature::new(temperature)?;
        let mut values = Vec::with_capacity(similarities.len());
        for (row, scores) in similarities.chunks_exact(classes).enumerate() {
            let scaled: Vec<f64> = scores.iter().map(|score| score / temperature).collect();
            let bad = scaled.iter().position(|score| score.is_nan() || *score == f64::INFINITY);
            if let Some(class) = bad {
                let expected = "finite or -inf, also when divided by the temperature";
                let found = scores[class];
                return Err(Core::BadValue { what: WHAT, expected, row, class, found }.into());
            }
            if scaled.iter().all(|&score| score == f64::NEG_INFINITY) {
                let (expected, found) = ("one finite value a row", f64::NEG_INFINITY);
                return Err(Core::BadValue { what: WHAT, expected, row, class: 0, found }.into());
            }
            values.extend(softmax(&scaled));
        }
        Ok(Self { values, classes })
    }

    /// S_yk ∝ exp(cos(e_y, e_k)/T) from one embedding e a class, such as word vectors of the class names or the rows
    /// of a trained classifier's last layer.
    ///
    /// # Errors
    /// If there are no embeddings, they differ in length, one is not finite or has no length, or `temperature` is not
    /// positive and finite.
    pub fn from_embeddings(embeddings: &[Vec<f64>], temperature: f64) -> Result<Self> {
        const WHAT: &str = "class embeddings";
        let Some(size) = embeddings.first().map(Vec::len) else {
            return Err(Core::Empty { what: WHAT }.into());
        };
        let mut directions = Vec::with_capacity(embeddings.len());
        for (row, embedding) in embeddings.iter().enumerate() {
            if embedding.len() != size {
                let expected = format!("{size} values a row");
                let found = format!("{} in row {row}", embedding.len());
                return Err(Core::mismatch(WHAT, expected, found).into());
            }
            // Divided by the largest first: squares of what is finite must not overflow.
            let largest = embedding.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
            let scaled: Vec<f64> = embedding.iter().map(|value| value / largest).collect();
            let length = scaled.iter().map(|value| value * value).sum::<f64>().sqrt();
            if !length.is_finite() {
                let found = format!("otherwise in row {row}");
                return Err(Core::mismatch(WHAT, "finite values, not all 0", found).into());
            }
            directions.push(scaled.into_iter().map(|v| v / length).collect::<Vec<_>>());
        }
        let cosine = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let cosines = |a: &Vec<f64>| directions.iter().map(|b| cosine(a, b)).collect::<Vec<_>>();
        let similarities: Vec<f64> = directions.iter().flat_map(cosines).collect();
        Self::from_similarities(&similarities, embeddings.len(), temperature)
    }

    /// S_yk = (n_yk + a)/Σ_j (n_yj + a) from counts n, row-major K×K: how often label y was taken for class k, with
    /// `pseudo_count` a added to each.
    ///
    /// # Errors
    /// If the counts are not K², one of them or the pseudo-count is negative or not finite, or a row has no counts
    /// and there is no pseudo-count.
    pub fn from_confusion(counts: &[f64], classes: usize, pseudo_count: f64) -> Result<Self> {
        const WHAT: &str = "confusion counts";
        check_count_of(WHAT, counts, classes)?;
        check_count("pseudo-count", pseudo_count)?;
        let added = vec![pseudo_count; classes];
        let mut values = Vec::with_capacity(counts.len());
        for (row, counts) in counts.chunks_exact(classes).enumerate() {
            values.extend(normalized(WHAT, row, counts, &added)?);
        }
        Ok(Self { values, classes })
    }

    /// The distribution of a value for each label: row y is that of `values[y]`, such as the age or the rating that
    /// class y stands for. As a prior with ε = 1 it makes regression by classification of a classification whose
    /// classes are numbers.
    ///
    /// # Errors
    /// If there are not as many values as classes of the histogram, or a value has no place in it.
    ///
    /// ```
    /// use softlabel_targets::{ClassMatrix, HistogramTarget};
    ///
    /// // Bins of width 1 around 0, 1 and 2.
    /// let gauss = HistogramTarget::hl_gauss_by_ratio(-0.5, 2.5, 3, 0.75)?;
    /// let matrix = ClassMatrix::from_histogram(&gauss, &[0.0, 1.0, 2.0])?;
    /// assert!((matrix.as_slice()[4] - 0.5186).abs() < 1e-4);
    /// # Ok::<(), softlabel_targets::Error>(())
    /// ```
    pub fn from_histogram(histogram: &HistogramTarget, values: &[f64]) -> Result<Self> {
        let classes = histogram.classes();
        if values.len() != classes {
            let (expected, found) = (format!("{classes}, one a class"), values.len().to_string());
            return Err(Core::mismatch("values of the classes", expected, found).into());
        }
        let mut rows = vec![0.0; classes * classes];
        for (row, &value) in rows.chunks_exact_mut(classes).zip(values) {
            histogram.encode_into(value, row)?;
        }
        Ok(Self { values: rows, classes })
    }

    /// Row y: the distribution that goes with label y; nothing for a label that is not below
    /// [`classes`](Self::classes).
    pub fn row(&self, label: usize) -> Option<&[f64]> {
        self.values.chunks_exact(self.classes).nth(label)
    }

    /// The rows in the order of the labels.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f64]> + Clone {
        self.values.chunks_exact(self.classes)
    }

    /// All rows, one after the other.
    pub fn as_slice(&self) -> &[f64] {
        &self.values
    }

    /// K.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Rows that are distributions by construction.
    fn from_rows(values: Vec<f64>, classes: usize) -> Self {
        Self { values, classes }
    }
}

impl TryFrom<Vec<Vec<f64>>> for ClassMatrix {
    type Error = Error;

    fn try_from(rows: Vec<Vec<f64>>) -> Result<Self> {
        Self::new(&rows)
    }
}

impl From<ClassMatrix> for Vec<Vec<f64>> {
    fn from(matrix: ClassMatrix) -> Self {
        matrix.values.chunks_exact(matrix.classes).map(<[f64]>::to_vec).collect()
    }
}

/// Checks that there are as many rows as each is long.
pub(crate) fn check_square(what: &'static str, rows: &[Vec<f64>]) -> Result<()> {
    let classes = rows.len();
    if classes == 0 {
        return Err(Core::Empty { what }.into());
    }
    match rows.iter().position(|row| row.len() != classes) {
        None => Ok(()),
        Some(row) => {
            let expected = format!("{classes} values a row");
            let found = format!("{} in row {row}", rows[row].len());
            Err(Core::mismatch(what, expected, found).into())
        }
    }
}

fn check_count_of(what: &'static str, values: &[f64], classes: usize) -> Result<()> {
    if classes == 0 {
        return Err(Core::Empty { what }.into());
    }
    if classes.checked_mul(classes) == Some(values.len()) {
        return Ok(());
    }
    let expected = format!("{classes} rows of {classes} values");
    Err(Core::mismatch(what, expected, format!("{} values", values.len())).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_stochastic_is_refused() {
        for (bad, expected) in [
            ("[]", "class matrix is empty"),
            ("[[0.5,0.5]]", "expected 1 values a row, found 2 in row 0"),
            ("[[1,0],[0.5,0.6]]", "row 1 sums to 1.1"),
            ("[[1,0],[1.5,-0.5]]", "found 1.5 in row 1, class 0"),
        ] {
            let error = serde_json::from_str::<ClassMatrix>(bad).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn bad_similarities_and_counts_are_refused() {
        let (nan, none) = (f64::NAN, f64::NEG_INFINITY);
        assert!(ClassMatrix::from_similarities(&[0.0, nan, 0.0, 0.0], 2, 1.0).is_err());
        assert!(ClassMatrix::from_similarities(&[none, none, 0.0, 0.0], 2, 1.0).is_err());
        assert!(ClassMatrix::from_similarities(&[0.0; 4], 2, 0.0).is_err());
        assert!(ClassMatrix::from_similarities(&[0.0; 3], 2, 1.0).is_err());
        assert!(ClassMatrix::from_similarities(&[], 0, 1.0).is_err());
        assert!(ClassMatrix::from_confusion(&[1.0, 0.0, 0.0, 0.0], 2, 0.0).is_err());
        let smoothed = ClassMatrix::from_confusion(&[1.0, 0.0, 0.0, 0.0], 2, 1.0).unwrap();
        assert_eq!(smoothed.as_slice(), [2.0 / 3.0, 1.0 / 3.0, 0.5, 0.5]);
        assert!(ClassMatrix::from_embeddings(&[vec![0.0, 0.0]], 1.0).is_err());
        assert!(ClassMatrix::from_embeddings(&[vec![1.0], vec![1.0, 2.0]], 1.0).is_err());
        assert!(ClassMatrix::from_embeddings(&[vec![nan]], 1.0).is_err());
    }

    #[test]
    fn embeddings_count_by_their_direction() {
        let embeddings = [vec![1e300, 0.0], vec![0.0, 3.0], vec![-2.0, 0.0]];
        let matrix = ClassMatrix::from_embeddings(&embeddings, 0.5).unwrap();
        // Cosines of class 0: 1, 0, -1.
        let powers = [2.0_f64.exp(), 1.0, (-2.0_f64).exp()];
        for (found, power) in matrix.row(0).unwrap().iter().zip(powers) {
            assert!((found - power / powers.iter().sum::<f64>()).abs() < 1e-15);
        }
    }

    proptest! {
        #[test]
        fn a_matrix_survives_its_serialized_form(
            similarities in prop::collection::vec(-50.0..50.0, 9), temperature in 0.1..10.0
        ) {
            let matrix = ClassMatrix::from_similarities(&similarities, 3, temperature).unwrap();
            for row in matrix.rows() {
                prop_assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-14);
            }
            let text = serde_json::to_string(&matrix).unwrap();
            prop_assert_eq!(serde_json::from_str::<ClassMatrix>(&text).unwrap(), matrix);
        }
    }
}
