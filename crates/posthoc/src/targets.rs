//! What rows should have said, and how much each of them counts.
//!
//! A fit minimizes Σ_i w_i ℓ_i / Σ_i w_i, where ℓ_i = −Σ_k t_ik ln q_ik is the loss of row i, t_i its
//! target and w_i its weight: t_i is one-hot where there are labels, and w_i = 1 where nothing else is
//! said.
//!
//! - A row of weight 2 counts like two rows; one of weight 0 is as if it were absent, whatever its
//!   logits hold.
//! - A soft row t_i counts like rows of weight w_i t_ik with the label k, for every k: a fit of one
//!   class against the rest sees it on both sides.

use std::borrow::Cow;

use rayon::prelude::*;
use softlabel_core::{Error as Input, Labels, Logits, Probabilities, Scalar};
use softlabel_kernels::CompensatedSum;

use crate::{Error, Result};

/// A thread looks at at least so many rows.
const LEAST: usize = 1 << 12;

/// What rows of logits should have said: labels or distributions, with weights or without.
///
/// Every fit takes `impl Into<Targets>`: `&Labels`, `&Probabilities` (each row is divided by its
/// sum), or what [`weighted`](Self::weighted) makes of them.
///
/// A row of weight 2 counts like two rows, a row of weight 0 as if it were absent.
/// Where only means are minimized a common factor of all weights changes nothing; where the number of
/// rows matters (Platt's targets, Laplace's rule for separable data) their sum is that number.
///
/// ```
/// use softlabel_core::{Labels, Logits, Probabilities};
/// use softlabel_posthoc::{Targets, TemperatureScaling};
///
/// // 90 % sure in both rows, and right in one of them, which counts three times.
/// let logits = Logits::new([9.0f64.ln(), 0.0].repeat(2), 2)?;
/// let labels = Labels::new(&[0, 1], 2)?;
/// let weighted = Targets::from(&labels).weighted(&[3.0, 1.0])?;
/// let scaling = TemperatureScaling::fit(&logits, weighted)?;
/// assert!((scaling.temperature().get() - 2.0).abs() < 1e-9);
///
/// // 75 % of the annotators agree: the same.
/// let people = Probabilities::new([0.75, 0.25].repeat(2), 2)?;
/// let scaling = TemperatureScaling::fit(&logits, &people)?;
/// assert!((scaling.temperature().get() - 2.0).abs() < 1e-9);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[doc(alias("sample_weight", "soft labels"))]
pub struct Targets<'a> {
    rows: Rows<'a>,
    classes: usize,
    weights: Option<Cow<'a, [f64]>>,
}

#[derive(Debug, Clone, PartialEq)]
enum Rows<'a> {
    Labels(Cow<'a, Labels>),
    /// Row by row, each summing to 1.
    Soft(Cow<'a, [f64]>),
}

impl<'a> From<&'a Labels> for Targets<'a> {
    fn from(labels: &'a Labels) -> Self {
        Self { rows: Rows::Labels(Cow::Borrowed(labels)), classes: labels.classes(), weights: None }
    }
}

impl<T: Scalar> From<&Probabilities<'_, T>> for Targets<'static> {
    fn from(probabilities: &Probabilities<'_, T>) -> Self {
        let classes = probabilities.classes();
        let mut rows: Vec<f64> = probabilities.as_slice().iter().map(|&t| t.into()).collect();
        for row in rows.chunks_exact_mut(classes.max(1)) {
            let total: f64 = row.iter().sum();
            for t in row.iter_mut() {
                *t /= total;
            }
        }
        Self { rows: Rows::Soft(rows.into()), classes, weights: None }
    }
}

impl<'a> From<&'a Targets<'_>> for Targets<'a> {
    fn from(targets: &'a Targets<'_>) -> Self {
        let rows = match &targets.rows {
            Rows::Labels(labels) => Rows::Labels(Cow::Borrowed(labels.as_ref())),
            Rows::Soft(rows) => Rows::Soft(Cow::Borrowed(rows.as_ref())),
        };
        let weights = targets.weights.as_deref().map(Cow::Borrowed);
        Self { rows, classes: targets.classes, weights }
    }
}

impl<'a> Targets<'a> {
    /// The same with a weight a row, in place of those it had.
    ///
    /// # Errors
    /// [`Error::Input`] if there is not one weight a row, for NaN, a negative or an infinite weight,
    /// if all are 0, or if their sum is infinite.
    ///
    /// ```
    /// use softlabel_core::Labels;
    /// use softlabel_posthoc::Targets;
    /// let labels = Labels::new(&[0, 1], 2)?;
    /// assert!(Targets::from(&labels).weighted(&[1.0, 0.0]).is_ok());
    /// let error = Targets::from(&labels).weighted(&[1.0, -1.0]).unwrap_err();
    /// assert_eq!(error.to_string(), "weight must be finite and not negative, found -1");
    /// assert!(Targets::from(&labels).weighted(&[0.0, 0.0]).is_err());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn weighted(mut self, weights: impl Into<Cow<'a, [f64]>>) -> Result<Self> {
        let weights = weights.into();
        if weights.len() != self.len() {
            let expected = format!("{} rows of targets", self.len());
            let found = format!("{} weights", weights.len());
            return Err(Input::mismatch("weights", expected, found).into());
        }
        let valid = |weight: &f64| (0.0..f64::INFINITY).contains(weight);
        if let Some(&found) = weights.iter().find(|weight| !valid(weight)) {
            let expected = "finite and not negative";
            return Err(Input::OutOfRange { name: "weight", expected, found }.into());
        }
        let found = sum(&weights);
        let is_usable = found > 0.0 && found.is_finite();
        if !is_usable && !weights.is_empty() {
            let (name, expected) = ("the sum of all weights", "positive and finite");
            return Err(Input::OutOfRange { name, expected, found }.into());
        }
        self.weights = Some(weights);
        Ok(self)
    }

    /// Number of rows, those of weight 0 included.
    pub fn len(&self) -> usize {
        match &self.rows {
            Rows::Labels(labels) => labels.len(),
            Rows::Soft(rows) => rows.len() / self.classes.max(1),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// K, the number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The weights, if there are any.
    pub fn weights(&self) -> Option<&[f64]> {
        self.weights.as_deref()
    }

    /// The labels, if there are any.
    pub fn labels(&self) -> Option<&Labels> {
        match &self.rows {
            Rows::Labels(labels) => Some(labels),
            Rows::Soft(_) => None,
        }
    }

    /// The rows with these numbers, in this order.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no such row.
    ///
    /// ```
    /// use softlabel_core::Labels;
    /// use softlabel_posthoc::Targets;
    /// let labels = Labels::new(&[0, 1, 1], 2)?;
    /// let targets = Targets::from(&labels).weighted(&[1.0, 2.0, 3.0])?;
    /// assert_eq!(targets.select(&[2, 0])?.weights(), Some(&[3.0, 1.0][..]));
    /// assert!(targets.select(&[3]).is_err());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn select(&self, rows: &[usize]) -> Result<Targets<'static>> {
        if let Some(&row) = rows.iter().find(|&&row| row >= self.len()) {
            let (name, expected) = ("the number of a row", "below the number of rows");
            return Err(Input::OutOfRange { name, expected, found: row as f64 }.into());
        }
        let weights = |weights: &[f64]| rows.iter().map(|&row| weights[row]).collect();
        Ok(Targets {
            rows: match &self.rows {
                Rows::Labels(labels) => Rows::Labels(Cow::Owned(labels.select(rows)?)),
                Rows::Soft(all) => {
                    let row = |&row: &usize| &all[row * self.classes..][..self.classes];
                    Rows::Soft(rows.iter().flat_map(row).copied().collect())
                }
            },
            classes: self.classes,
            weights: self.weights.as_deref().map(weights),
        })
    }

    /// The labels, for maps whose fit knows nothing else.
    pub(crate) fn only_labels(&self, method: &'static str, why: &'static str) -> Result<&Labels> {
        let unsupported = |what| Error::Unsupported { method, what, why };
        if self.weights.is_some() {
            return Err(unsupported("weights"));
        }
        self.labels().ok_or_else(|| unsupported("distributions in place of labels"))
    }

    /// Checks what every fit needs (one target a row, the same classes, enough rows, no impossible
    /// label) of the rows that count; the others are left out of what it returns.
    pub(crate) fn of_fit<'l, T: Scalar>(
        self,
        logits: &'l Logits<'_, T>,
    ) -> Result<(Cow<'l, Logits<'l, T>>, Self)> {
        self.check_shape(logits)?;
        self.check_possible(logits)?;
        self.counted(logits)
    }

    /// The same, for fits that see by themselves whether a label is impossible, and
    /// [check](Self::check_possible) then which.
    pub(crate) fn of_fit_unseen<'l, T: Scalar>(
        self,
        logits: &'l Logits<'_, T>,
    ) -> Result<(Cow<'l, Logits<'l, T>>, Self)> {
        self.check_shape(logits)?;
        self.counted(logits)
    }

    /// One target a row, the same classes, enough rows that count.
    fn check_shape<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<()> {
        let (rows, classes) = (logits.rows(), logits.classes());
        if rows == 0 {
            return Err(Input::Empty { what: "the set of logits to fit on" }.into());
        }
        if self.len() != rows {
            let expected = format!("{rows} rows of logits");
            let found = format!("{} {}", self.len(), self.name());
            return Err(Input::mismatch(self.name(), expected, found).into());
        }
        if self.classes != classes {
            let (expected, found) =
                (format!("{classes} classes, as the logits"), format!("{} classes", self.classes));
            return Err(Input::mismatch(self.name(), expected, found).into());
        }
        let counted = |weights: &[f64]| weights.iter().filter(|&&weight| weight > 0.0).count();
        let rows = self.weights().map_or(rows, counted);
        if rows < classes {
            let what = "logits to fit on";
            return Err(Input::MoreClassesThanRows { what, classes, rows }.into());
        }
        Ok(())
    }

    /// No row that counts has a target of a class that cannot be.
    pub(crate) fn check_possible<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<()> {
        let (classes, matrix) = (self.classes, logits.as_slice());
        let impossible = |row: usize| {
            let logits = &matrix[row * classes..][..classes];
            let masses = self.row(row).masses();
            masses.map(|(class, _)| class).find(|&class| logits[class].into() == f64::NEG_INFINITY)
        };
        let counts = |row: &usize| self.weight(*row) > 0.0;
        let rows_that_count = (0..self.len()).into_par_iter().with_min_len(LEAST).filter(counts);
        if let Some(row) = rows_that_count.find_first(|&row| impossible(row).is_some()) {
            return Err(Error::ImpossibleLabel { row, label: impossible(row).unwrap_or_default() });
        }
        Ok(())
    }

    /// The rows that count.
    fn counted<'l, T: Scalar>(
        self,
        logits: &'l Logits<'_, T>,
    ) -> Result<(Cow<'l, Logits<'l, T>>, Self)> {
        let (classes, matrix) = (self.classes, logits.as_slice());
        let counted: Vec<usize> = match self.weights() {
            Some(weights) if weights.contains(&0.0) => {
                (0..self.len()).filter(|&row| weights[row] > 0.0).collect()
            }
            _ => return Ok((Cow::Borrowed(logits), self)),
        };
        let kept: Vec<T> =
            counted.iter().flat_map(|&row| &matrix[row * classes..][..classes]).copied().collect();
        Ok((Cow::Owned(Logits::new(kept, classes)?), self.select(&counted)?))
    }

    fn name(&self) -> &'static str {
        if self.labels().is_some() { "labels" } else { "targets" }
    }

    /// w of a row, 1 without weights.
    pub(crate) fn weight(&self, row: usize) -> f64 {
        self.weights().map_or(1.0, |weights| weights[row])
    }

    /// Σ_i w_i.
    pub(crate) fn total(&self) -> f64 {
        self.weights().map_or(self.len() as f64, sum)
    }

    /// A mean loss of so much says that every row gives its target more than half, if those are
    /// labels: no w_i ℓ_i exceeds the smallest w_i ln 2, or ln 2 if that is less.
    pub(crate) fn separable_loss(&self) -> f64 {
        let lightest = self.weights().map_or(1.0, |w| w.iter().copied().fold(1.0, f64::min));
        std::f64::consts::LN_2 * lightest / self.total()
    }

    /// The target of a row, which must exist.
    pub(crate) fn row(&self, row: usize) -> Row<'_> {
        match &self.rows {
            Rows::Labels(labels) => Row::Label(labels.as_slice()[row] as usize),
            Rows::Soft(rows) => Row::Soft(&rows[row * self.classes..][..self.classes]),
        }
    }

    /// Σ_i w_i t_ik for every class k.
    pub(crate) fn class_totals(&self) -> Vec<f64> {
        let mut totals = vec![CompensatedSum::default(); self.classes];
        for row in 0..self.len() {
            let weight = self.weight(row);
            self.row(row).masses().for_each(|(class, mass)| totals[class].add(weight * mass));
        }
        totals.into_iter().map(CompensatedSum::value).collect()
    }

    /// The mean loss of log-probabilities, row by row.
    pub(crate) fn mean_loss(&self, log_probabilities: &[f64]) -> f64 {
        let rows = log_probabilities.chunks_exact(self.classes.max(1)).enumerate();
        let loss = |(index, row): (usize, &[f64])| {
            let loss: f64 = self.row(index).masses().map(|(class, t)| -t * row[class]).sum();
            self.weight(index) * loss
        };
        rows.map(loss).collect::<CompensatedSum>().value() / self.total()
    }

    /// The mean of Σ_k (p_k − t_k)² of log-probabilities, row by row.
    pub(crate) fn mean_squared_error(&self, log_probabilities: &[f64]) -> f64 {
        let rows = log_probabilities.chunks_exact(self.classes.max(1)).enumerate();
        let error = |(index, row): (usize, &[f64])| {
            let target = self.row(index);
            let squares = row.iter().enumerate().map(|(k, x)| (x.exp() - target.share(k)).powi(2));
            self.weight(index) * squares.sum::<f64>()
        };
        rows.map(error).collect::<CompensatedSum>().value() / self.total()
    }
}

fn sum(weights: &[f64]) -> f64 {
    weights.iter().copied().collect::<CompensatedSum>().value()
}

/// The target of one row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Row<'a> {
    Label(usize),
    Soft(&'a [f64]),
}

impl<'a> Row<'a> {
    /// The classes whose share is not 0, with it.
    pub(crate) fn masses(self) -> impl Iterator<Item = (usize, f64)> + 'a {
        let (label, soft) = match self {
            Self::Label(label) => (Some((label, 1.0)), &[][..]),
            Self::Soft(soft) => (None, soft),
        };
        let soft = soft.iter().copied().enumerate().filter(|&(_, share)| share > 0.0);
        label.into_iter().chain(soft)
    }

    /// t_k.
    pub(crate) fn share(self, class: usize) -> f64 {
        match self {
            Self::Label(label) => f64::from(u8::from(label == class)),
            Self::Soft(shares) => shares[class],
        }
    }
}
