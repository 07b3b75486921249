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
        let index = self.values.iter().position(|&value| !valid(value.into()))?;
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

/// How far from one the sum of a row of probabilities may be: room for f16 values of a thousand classes,
/// none for anything that is not a distribution.
const SUM_TOLERANCE: f64 = 1e-3;

macro_rules! predictions {
    ($(#[$doc:meta])* $name:ident, $(#[$errors:meta])* check: $check:expr) => {
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
    /// [`Error::BadValue`] for NaN, +∞, or a row that is −∞ throughout.
    check: |matrix| {
        let matrix = matrix.check("Logits", "finite or -inf", |z| z < f64::INFINITY)?;
        let masked = |row: &[T]| row.iter().all(|&z| z.into() == f64::NEG_INFINITY);
        let row = matrix.iter().position(masked);
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
    /// [`Error::BadValue`] for NaN or a value outside [0, 1], [`Error::RowSum`] for a row that does not sum to 1.
    check: |matrix| matrix
        .check("Probabilities", "in [0, 1]", |p| (0.0..=1.0).contains(&p))?
        .check_sums("Probabilities", SUM_TOLERANCE, |row| row.iter().map(|&p| p.into()).sum())
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
    /// [`Error::BadValue`] for NaN or a positive value, [`Error::RowSum`] for a row that does not sum to 1.
    check: |matrix| matrix
        .check("LogProbabilities", "at most 0", |l| l <= SUM_TOLERANCE)?
        .check_sums("LogProbabilities", SUM_TOLERANCE, |row| {
            row.iter().map(|&l| l.into().exp()).sum()
        })
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
