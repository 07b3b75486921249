//! A smoothed target as plain numbers, for losses that never build its rows.
//!
//! The target of a row with label y is, for every class k,
//!
//! t_k = uniform + dense·d_k + label·[k = y],
//!
//! with three masses that are the same for all rows, depend on the label, or on the row, and a vector d that is the
//! same for all rows or depends on the label. Its cross-entropy needs one pass over the logits z:
//!
//! Σ_k t_k·(lse − z_k) = label·(lse − z_y) + uniform·Σ_k (lse − z_k) + dense·Σ_k d_k·(lse − z_k).
//!
//! Numerical notes: where a logit is −∞, a factor of exactly 0 must win (0·∞ counts as 0). For `OffTarget` the mass
//! on top of the uniform part can be negative, and at ε = 1 `label + uniform` is exactly 0: leave the label out of the
//! sum before adding, or an infinity meets its negative.

use softlabel_core::{ClassLabels, Error as Core};

use crate::{Error, Result};

/// How a target is put together: t_k = uniform + dense·d_k + label·[k = y].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Masses {
    /// What the label has on top of the other parts; may be negative.
    pub label: f64,
    /// What every class has, the label too.
    pub uniform: f64,
    /// The factor of the dense part.
    pub dense: f64,
}

/// Which rows have which masses.
#[derive(Debug, Clone, PartialEq)]
pub enum MassesBy {
    /// All rows the same.
    All(Masses),
    /// By the label of the row: one a class.
    Class(Vec<Masses>),
    /// One a row.
    Row(Vec<Masses>),
}

/// The dense part d. Finite, and in a distribution's place 0 exactly where a class has no mass.
#[derive(Debug, Clone, PartialEq)]
pub enum Dense {
    /// None: d = 0.
    None,
    /// The same for all rows: K values.
    Vector(Vec<f64>),
    /// By the label of the row: K·K values, row-major.
    Matrix(Vec<f64>),
}

/// The targets of a batch, up to its labels.
///
/// ```
/// use softlabel_core::Labels;
/// use softlabel_targets::{MassesBy, Smoothing};
///
/// let target = Smoothing::mixture(0.5)?.fused(4)?;
/// assert!(matches!(target.masses, MassesBy::All(masses) if masses.label == 0.5 && masses.uniform == 0.125));
/// assert_eq!(target.rows(&Labels::new(&[1], 4)?)?, [0.125, 0.625, 0.125, 0.125]);
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FusedTarget {
    /// How much of each part.
    pub masses: MassesBy,
    /// The dense part.
    pub dense: Dense,
}

impl Masses {
    /// A one-hot target.
    pub const ONE_HOT: Self = Self { label: 1.0, uniform: 0.0, dense: 0.0 };
}

impl MassesBy {
    /// The masses of row `row`, whose label is `label`; nothing if there are not that many.
    pub fn get(&self, row: usize, label: usize) -> Option<Masses> {
        match self {
            Self::All(masses) => Some(*masses),
            Self::Class(masses) => masses.get(label).copied(),
            Self::Row(masses) => masses.get(row).copied(),
        }
    }
}

impl Dense {
    /// d for a row with this label among `classes`; nothing for [`Dense::None`], or if there are not that many.
    pub fn row(&self, label: usize, classes: usize) -> Option<&[f64]> {
        match self {
            Self::None => None,
            Self::Vector(values) => values.get(..classes),
            Self::Matrix(values) => values.get(label * classes..(label + 1) * classes),
        }
    }
}

impl FusedTarget {
    /// Whether every target is one-hot.
    pub fn is_one_hot(&self) -> bool {
        let is_one_hot = |masses: &Masses| *masses == Masses::ONE_HOT;
        match &self.masses {
            MassesBy::All(masses) => is_one_hot(masses),
            MassesBy::Class(masses) | MassesBy::Row(masses) => masses.iter().all(is_one_hot),
        }
    }

    /// The target of row `row`, whose label is `label`, into `out`, which has one place a class.
    ///
    /// # Errors
    /// If the masses or the dense part are not as many as that needs, or the label is not below the class count.
    pub fn row_into(&self, row: usize, label: usize, out: &mut [f64]) -> Result<()> {
        let classes = out.len();
        self.check(classes, None)?;
        let masses = self.masses.get(row, label).filter(|_| label < classes);
        let Some(masses) = masses else {
            let (expected, found) = (format!("one for row {row}, label {label}"), "none");
            return Err(Core::mismatch("masses of a target", expected, found).into());
        };
        self.write(masses, label, out);
        Ok(())
    }

    /// The targets as dense rows, row-major `[labels.len(), labels.classes()]`: computed in f64 and rounded once.
    /// A row of 0 where a label of [`MaskedLabels`](softlabel_core::MaskedLabels) is ignored.
    ///
    /// # Errors
    /// If the masses or the dense part are not as many as the labels or their classes.
    #[allow(clippy::cast_possible_truncation)] // The one rounding to f32 that the documentation states.
    pub fn rows<L: ClassLabels>(&self, labels: &L) -> Result<Vec<f32>> {
        let (classes, count) = (labels.classes(), labels.each().len());
        self.check(classes, Some(count))?;
        let mut rows = Vec::with_capacity(count * classes);
        let mut target = vec![0.0; classes];
        for (row, label) in labels.each().enumerate() {
            let Some(label) = label else {
                rows.resize(rows.len() + classes, 0.0);
                continue;
            };
            // Counted above: there are masses for every row and label.
            if let Some(masses) = self.masses.get(row, label) {
                self.write(masses, label, &mut target);
                rows.extend(target.iter().map(|&t| t as f32));
            }
        }
        Ok(rows)
    }

    /// Checks the lengths against the class count and, if it is known, the number of rows.
    ///
    /// # Errors
    /// A mismatch that names the part that is too short or too long.
    pub fn check(&self, classes: usize, rows: Option<usize>) -> Result<(), Error> {
        let count = |what, expected: usize, found: usize| {
            if expected == found {
                return Ok(());
            }
            Err(Core::mismatch(what, expected.to_string(), found.to_string()).into())
        };
        match &self.masses {
            MassesBy::All(_) => {}
            MassesBy::Class(masses) => count("masses by class", classes, masses.len())?,
            MassesBy::Row(masses) => {
                count("masses by row", rows.unwrap_or(masses.len()), masses.len())?;
            }
        }
        match &self.dense {
            Dense::None => Ok(()),
            Dense::Vector(values) => count("values of the prior", classes, values.len()),
            Dense::Matrix(values) => {
                count("values of the class matrix", classes.saturating_mul(classes), values.len())
            }
        }
    }

    fn write(&self, masses: Masses, label: usize, out: &mut [f64]) {
        let classes = out.len();
        match self.dense.row(label, classes) {
            None => out.fill(masses.uniform),
            Some(dense) => {
                for (t, d) in out.iter_mut().zip(dense) {
                    *t = masses.uniform + masses.dense * d;
                }
            }
        }
        out[label] += masses.label;
    }
}
