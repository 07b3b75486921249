//! What a classifier said: [`Logits`], [`LogProbabilities`] or [`Probabilities`], three types that never mix.
//!
//! All are row-major matrices `[rows, classes]`, borrowed or owned, and checked when they are made.

use std::borrow::Cow;

use crate::{Error, Result, Scalar};

/// A row-major `[rows, classes]` matrix, borrowed or owned; what the three kinds of prediction share.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix<'a, T: Scalar> {
    values: Cow<'a, [T]>,
    classes: usize,
}

impl<'a, T: Scalar> Matrix<'a, T> {
    fn new(what: &'static str, values: Cow<'a, [T]>, classes: usize) -> Result<Self> {
        if classes == 0 {
            return Err(Error::Empty { what: "the class axis" });
        }
        if !values.len().is_multiple_of(classes) {
            let expected = format!("a multiple of {classes} classes");
            return Err(Error::mismatch(what, expected, format!("{} values", values.len())));
        }
        Ok(Self { values, classes })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.classes
    }

    /// K, the number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The rows, each a slice of K values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[T]> + Clone {
        self.values.chunks_exact(self.classes)
    }

    /// All values, row by row.
    pub fn as_slice(&self) -> &[T] {
        &self.values
    }

    /// The first value, with its place, that `valid` does not accept.
    fn find_bad(&self, valid: impl Fn(f64) -> bool) -> Option<(usize, usize, f64)> {
        // A block without branches is widened and checked in vectors.
        let mut wide = [0.0; BLOCK];
        let mut is_bad = |block: &[T]| {
            let wide = &mut wide[..block.len().min(BLOCK)];
            T::widen(block, wide);
            wide.iter().fold(false, |bad, &z| bad | !valid(z))
        };
        let block = self.values.chunks(BLOCK).position(&mut is_bad)?;
        let in_block = self.values.iter().skip(block * BLOCK);
        let index = block * BLOCK + in_block.clone().position(|&value| !valid(value.into()))?;
        Some((index / self.classes, index % self.classes, self.values[index].into()))
    }

    fn check(
        self,
        what: &'static str,
        expected: &'static str,
        valid: impl Fn(f64) -> bool,
    ) -> Result<Self> {
        match self.find_bad(valid) {
            None => Ok(self),
            Some((row, class, found)) => Err(Error::BadValue { what, expected, row, class, found }),
        }
    }

    /// The first row whose `sum` is further than `tolerance` from one.
    fn check_sums(
        self,
        what: &'static str,
        tolerance: f64,
        sum: impl Fn(&[T]) -> f64,
    ) -> Result<Self> {
        for (row, values) in self.iter().enumerate() {
            let found = sum(values);
            if (found - 1.0).abs() > tolerance {
                return Err(Error::RowSum { what, row, found, tolerance });
            }
        }
        Ok(self)
    }
}

/// How many values are checked at a time.
const BLOCK: usize = 1024;

/// The sum of a row, in eight parts that do not wait for each other.
fn sum_of<T: Scalar>(row: &[T], term: impl Fn(f64) -> f64) -> f64 {
    let (blocks, rest) = row.as_chunks::<8>();
    let mut parts = [0.0; 8];
    for block in blocks {
        for (part, &value) in parts.iter_mut().zip(block) {
            *part += term(value.into());
        }
    }
    parts.iter().sum::<f64>() + rest.iter().map(|&value| term(value.into())).sum::<f64>()
}

/// How far from one the sum of a row of probabilities may be: room for f16 values of a thousand classes,
/// none for anything that is not a distribution.
const SUM_TOLERANCE: f64 = 1e-3;

macro_rules! predictions {
    ($(#[$doc:meta])* $name:ident, dense: $dense:literal => $rows:literal, $(#[$errors:meta])*
     check: $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name<'a, T: Scalar = f32>(Matrix<'a, T>);

        impl<'a, T: Scalar> $name<'a, T> {
            /// Checks `values`, row-major `[rows, classes]`. Takes a slice or a `Vec`; nothing is copied.
            ///
            /// # Errors
            /// [`Error::Mismatch`] if the number of values is no multiple of `classes`,
            /// [`Error::Empty`] if `classes` is 0, and
            $(#[$errors])*
            pub fn new(values: impl Into<Cow<'a, [T]>>, classes: usize) -> Result<Self> {
                let check: fn(Matrix<'a, T>) -> Result<Matrix<'a, T>> = $check;
                check(Matrix::new(stringify!($name), values.into(), classes)?).map(Self)
            }

            /// Checks `values`, `[batch, classes, positions]` in row-major order, as dense predictions
            /// (segmentation) lie in memory, and moves them into rows `[batch · positions, classes]`.
            ///
            /// Labels `[batch, positions]` in row-major order belong to these rows one by one;
            /// further axes of positions (height, width) count as one.
            ///
            /// # Errors
            /// Those of [`new`](Self::new), and [`Error::Mismatch`] if the number of values is no
            /// multiple of `classes · positions`; [`Error::Empty`] if `positions` is 0.
            ///
            /// ```
            #[doc = concat!("use softlabel_core::", stringify!($name), ";")]
            /// // One image of two positions: of the first class 1 and 0, of the second 0 and 1.
            #[doc = concat!("let dense = ", stringify!($name), "::from_dense(", $dense, ", 2, 2)?;")]
            #[doc = concat!("assert_eq!(dense.as_slice(), ", $rows, ");")]
            /// # Ok::<(), softlabel_core::Error>(())
            /// ```
            #[doc(alias = "segmentation")]
            pub fn from_dense(values: &[T], classes: usize, positions: usize) -> Result<Self> {
                if positions == 0 {
                    return Err(Error::Empty { what: "the axis of positions" });
                }
                if !values.len().is_multiple_of(classes.max(1).saturating_mul(positions)) {
                    let expected = format!("a multiple of {classes} classes × {positions} positions");
                    let found = format!("{} values", values.len());
                    return Err(Error::mismatch(stringify!($name), expected, found));
                }
                let image = classes.max(1) * positions;
                let mut rows = Vec::with_capacity(values.len());
                for image in values.chunks_exact(image) {
                    for position in 0..positions {
                        rows.extend(image.iter().skip(position).step_by(positions));
                    }
                }
                Self::new(rows, classes)
            }

            /// The values as a matrix.
            pub fn matrix(&self) -> &Matrix<'a, T> {
                &self.0
            }

            /// Number of rows.
            pub fn rows(&self) -> usize {
                self.0.rows()
            }

            /// K, the number of classes.
            pub fn classes(&self) -> usize {
                self.0.classes()
            }

            /// All values, row by row.
            pub fn as_slice(&self) -> &[T] {
                self.0.as_slice()
            }
        }
    };
}

predictions! {
    /// Unnormalized scores z; softmax(z) are the probabilities.
    ///
    /// Values are finite or −∞ (a class that cannot be), and at least one class of a row can be.
    ///
    /// ```
    /// use softlabel_core::Logits;
    /// assert_eq!(Logits::new(&[2.0f32, -1.0], 2)?.rows(), 1);
    /// let error = Logits::new(&[2.0f32, f32::NAN], 2).unwrap_err();
    /// assert_eq!(error.to_string(), "Logits: expected finite or -inf, found NaN in row 0, class 1");
    /// # Ok::<(), softlabel_core::Error>(())
    /// ```
    Logits,
    dense: "&[1.0f32, 0.0, 0.0, 1.0]" => "[1.0, 0.0, 0.0, 1.0]",
    /// [`Error::BadValue`] for NaN, +∞, or a row that is −∞ throughout.
    check: |matrix| {
        let matrix = matrix.check("Logits", "finite or -inf", |z| z < f64::INFINITY)?;
        let masked = |row: &[T]| row.iter().all(|&z| z.into() == f64::NEG_INFINITY);
        let is_masked = matrix.find_bad(|z| z != f64::NEG_INFINITY).is_some();
        let row = if is_masked { matrix.iter().position(masked) } else { None };
        match row {
            None => Ok(matrix),
            Some(row) => Err(Error::BadValue {
                what: "Logits",
                expected: "one finite value a row",
                row,
                class: 0,
                found: f64::NEG_INFINITY,
            }),
        }
    }
}

predictions! {
    /// Probabilities p: every value in [0, 1], every row summing to 1 within 1e-3.
    ///
    /// Rows are used as they are; nothing is renormalized.
    ///
    /// ```
    /// use softlabel_core::Probabilities;
    /// assert!(Probabilities::new(&[0.75f32, 0.25], 2).is_ok());
    /// let error = Probabilities::new(&[0.75f32, 0.5], 2).unwrap_err();
    /// assert_eq!(error.to_string(), "Probabilities: row 0 sums to 1.25, expected 1 ± 0.001");
    /// # Ok::<(), softlabel_core::Error>(())
    /// ```
    Probabilities,
    dense: "&[1.0f32, 0.0, 0.0, 1.0]" => "[1.0, 0.0, 0.0, 1.0]",
    /// [`Error::BadValue`] for NaN or a value outside [0, 1], [`Error::RowSum`] for a row that does not sum to 1.
    check: |matrix| matrix
        .check("Probabilities", "in [0, 1]", |p| (0.0..=1.0).contains(&p))?
        .check_sums("Probabilities", SUM_TOLERANCE, |row| sum_of(row, |p| p))
}

predictions! {
    /// Logarithms of probabilities: every value at most 0 (or a rounding above), every row's exponentials summing to
    /// 1 within 1e-3.
    ///
    /// ```
    /// use softlabel_core::LogProbabilities;
    /// assert!(LogProbabilities::new(&[0.5f64.ln(), 0.5f64.ln()], 2).is_ok());
    /// # Ok::<(), softlabel_core::Error>(())
    /// ```
    LogProbabilities,
    dense: "&[0.0f32, -40.0, -40.0, 0.0]" => "[0.0, -40.0, -40.0, 0.0]",
    /// [`Error::BadValue`] for NaN or a positive value, [`Error::RowSum`] for a row that does not sum to 1.
    check: |matrix| matrix
        .check("LogProbabilities", "at most 0", |l| l <= SUM_TOLERANCE)?
        .check_sums("LogProbabilities", SUM_TOLERANCE, |row| sum_of(row, f64::exp))
}

impl<T: Scalar> Probabilities<'static, T> {
    /// Rows of numbers that are not negative, such as counts or probabilities that were rounded, each
    /// divided by its sum: for whoever knows that the rows mean distributions but do not sum to 1.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the number of values is no multiple of `classes`, [`Error::Empty`] if
    /// `classes` is 0, [`Error::BadValue`] for NaN, a negative or an infinite value,
    /// [`Error::RowSum`] for a row whose sum is 0.
    ///
    /// ```
    /// use softlabel_core::Probabilities;
    /// // What 4 people called two images.
    /// let votes = Probabilities::renormalized(vec![3.0f32, 1.0, 0.0, 4.0], 2)?;
    /// assert_eq!(votes.as_slice(), [0.75, 0.25, 0.0, 1.0]);
    /// assert!(Probabilities::renormalized(vec![0.0f32, 0.0], 2).is_err());
    /// # Ok::<(), softlabel_core::Error>(())
    /// ```
    #[doc(alias("counts", "votes", "normalize"))]
    pub fn renormalized(values: Vec<T>, classes: usize) -> Result<Self> {
        let what = "Probabilities";
        let matrix = Matrix::new(what, Cow::Owned(values), classes)?.check(
            what,
            "finite and not negative",
            |value| (0.0..f64::INFINITY).contains(&value),
        )?;
        let mut values = matrix.values.into_owned();
        for (row, values) in values.chunks_exact_mut(classes).enumerate() {
            let sum = sum_of(values, |value| value);
            if sum <= 0.0 || sum.is_infinite() {
                return Err(Error::RowSum { what, row, found: sum, tolerance: SUM_TOLERANCE });
            }
            for value in values {
                *value = T::narrow((*value).into() / sum);
            }
        }
        Ok(Self(Matrix { values: Cow::Owned(values), classes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_checked() {
        assert!(matches!(Logits::new(&[0.0f32; 5], 2), Err(Error::Mismatch { .. })));
        assert!(matches!(Logits::new(&[0.0f32; 5], 0), Err(Error::Empty { .. })));
        assert_eq!(Logits::<f32>::new(&[][..], 3).unwrap().rows(), 0);
    }

    #[test]
    fn masked_classes_are_fine_but_not_whole_rows() {
        let masked = f32::NEG_INFINITY;
        assert!(Logits::new(&[masked, 0.0], 2).is_ok());
        let error = Logits::new(&[0.0, 0.0, masked, masked], 2).unwrap_err();
        assert!(matches!(error, Error::BadValue { row: 1, .. }));
        assert!(Logits::new(&[f32::INFINITY, 0.0], 2).is_err());
    }

    #[test]
    fn values_and_sums_of_probabilities_are_checked() {
        let error = Probabilities::new(&[1.0f64, 0.0, 1.2, -0.2], 2).unwrap_err();
        assert!(matches!(error, Error::BadValue { row: 1, class: 0, .. }));
        let error = Probabilities::new(&[1.0f64, 0.0, 0.5, 0.4], 2).unwrap_err();
        assert!(matches!(error, Error::RowSum { row: 1, .. }));
        assert!(Probabilities::new(&[f64::NAN, 1.0], 2).is_err());
        assert!(LogProbabilities::new(&[0.1f64, -3.0], 2).is_err());
        assert!(LogProbabilities::new(&[-1.0f64, -1.0], 2).is_err());
    }

    #[test]
    fn a_vec_moves_in() {
        let logits: Logits<'static, f64> = Logits::new(vec![0.0, 1.0], 2).unwrap();
        assert_eq!(logits.as_slice(), [0.0, 1.0]);
    }
}
