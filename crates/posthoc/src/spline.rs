//! The slope of a smoothed cumulative error, added to the score, for every class against the rest.
//!
//! q_k = g_k(p_k) / Σ_j g_j(p_j), with p = softmax(z)
//!
//! z: logits `[rows, classes]`. Of one class, let s_1 ≤ … ≤ s_n be its p in the rows of the fit, y_i
//! whether row i is of the class, and t_i = (i − 1)/(n − 1). Then
//!
//! e_i = (1/n) Σ_{j≤i} (y_j − s_j), g(s_i) = s_i + S′(t_i), kept in \[0, 1\]
//!
//! where S is the natural cubic spline with knots at 0, 1/(m − 1), …, 1 that is nearest to the e_i in
//! the sum of squares. Between two scores g is linear, beside them constant.
//! e is the error that the Kolmogorov-Smirnov distance of calibration is the maximum of; its slope by
//! the share of rows is how far the frequency of the class is from its score, and no bins are drawn.
//!
//! This is the form for a class of its authors, one map for each, renormalized; they also have one
//! for the top class, which gives a confidence and not a distribution.
//! With two classes there is one map, that of class 1, and q_0 = 1 − q_1.
//! g need not rise; the top class of a row may change.
//!
//! What is defined where there is little to fit:
//!
//! - Rows with the same score share the mean of their y, and of their g, so their order says nothing.
//! - With fewer rows than m there are as many knots as rows. With fewer than two rows there is no
//!   slope, and g(p) = p.
//! - A class with the score s in all rows gets s + (frequency − s)(n − 1)/n ([`FitOutcome::Flat`]); one
//!   that never or alone occurs values near 0 or 1 ([`FitOutcome::OneSided`]).
//! - A row in which every g is 0 becomes uniform over the classes that can be; [`Zeros`] says whether
//!   a g of 0 stays.
//!
//! The map holds a point for every different score: a document of many classes and rows is large.
//!
//! Numerical notes: normal equations of the m values at the knots, in `f64` with compensated sums.
//!
//! Source: K. Gupta, A. Rahimi, T. Ajanthan, T. Mensink, C. Sminchisescu, R. Hartley, "Calibration of
//! Neural Networks using Splines" (2021).
//!
//! [`FitOutcome::Flat`]: crate::FitOutcome::Flat
//! [`FitOutcome::OneSided`]: crate::FitOutcome::OneSided

use serde::{Deserialize, Serialize};
use softlabel_core::{Error as Input, Labels, Logits, Scalar};
use softlabel_kernels::{CompensatedSum, softmax_in_place};

use crate::calibrator::{calibrates_rows, check_fit, map_rows};
use crate::document::{Document, Written};
use crate::histogram::class_fit;
use crate::one_vs_rest::{check_map_count, class_of, diagnostics, map_row, scores};
use crate::{Error, FitDiagnostics, Result, Zeros};

/// The most knots: with more the normal equations lose digits.
const MOST_KNOTS: usize = 100;

/// How a [`SplineCalibration`] is fitted.
///
/// ```
/// use softlabel_posthoc::SplineOptions;
/// assert_eq!(SplineOptions::default().knots, 6);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SplineOptions {
    /// m, the number of knots: 2 to 100.
    pub knots: usize,
    /// What becomes of probabilities 0 and 1.
    pub zeros: Zeros,
}

impl Default for SplineOptions {
    /// 6 knots, as its authors have them, zeros clipped.
    fn default() -> Self {
        Self { knots: 6, zeros: Zeros::default() }
    }
}

/// The slope of a smoothed cumulative error, added to the score, for every class against the rest,
/// and renormalized.
///
/// The errors y − p of the rows, sorted by p and summed up, are smoothed by a natural cubic spline in
/// the share of rows; g_k(p) is p plus its slope there, and q_k ∝ g_k(p_k).
/// With two classes there is one map, q_1 = g(p_1) and q_0 = 1 − q_1.
/// The top class of a row may change, and g need not rise.
///
/// # Little data
/// A class with the same score in all rows gets its frequency, but for 1/n of the way to it
/// ([`FitOutcome::Flat`](crate::FitOutcome::Flat)), one that never or alone occurs values near 0 or 1
/// ([`FitOutcome::OneSided`](crate::FitOutcome::OneSided)). There are never more knots than rows, and
/// with fewer than two rows g(p) = p.
///
/// # Source
/// K. Gupta, A. Rahimi, T. Ajanthan, T. Mensink, C. Sminchisescu, R. Hartley, "Calibration of Neural
/// Networks using Splines" (2021), in the form for a class.
///
/// # Example
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{Calibrator, SplineCalibration, SplineOptions};
///
/// // 0.9 in all rows, of which 3 in 4 are right: the cumulative error is a line with the slope −0.15.
/// let logits = Logits::new([9.0f64.ln(), 0.0].repeat(8), 2)?;
/// let labels = Labels::new(&[0, 0, 0, 1, 0, 0, 0, 1], 2)?;
/// let map = SplineCalibration::fit(&logits, &labels, SplineOptions::default())?;
/// // Its points stand at 1/n, …, 1 over shares from 0 to 1, so the slope is that times (n − 1)/n.
/// let expected = 0.9 - 0.15 * 7.0 / 8.0;
/// assert!((map.apply(&logits)?.as_slice()[0].exp() - expected).abs() < 1e-9);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct SplineCalibration {
    /// Points (score, g): one list a class, but a single one (of class 1) for two classes.
    points: Vec<Vec<(f64, f64)>>,
    classes: usize,
    zeros: Zeros,
    diagnostics: Option<FitDiagnostics>,
}

impl SplineCalibration {
    /// Fits a spline for every class against the rest.
    ///
    /// `logits` are `[rows, classes]`, with at least as many rows as classes.
    ///
    /// # Errors
    /// [`Error::Input`] if there are no rows, fewer rows than classes, not one label a row, labels of
    /// another number of classes, or for options out of their range;
    /// [`Error::ImpossibleLabel`] if a label has the logit −∞.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::{SplineCalibration, SplineOptions};
    ///
    /// let logits = Logits::new(&[2.0f32, 0.0, 0.0, 2.0], 2)?;
    /// let labels = Labels::new(&[0, 1], 2)?;
    /// let map = SplineCalibration::fit(&logits, &labels, SplineOptions::default())?;
    /// assert_eq!(map.points()[0].len(), 2);
    /// let one = SplineOptions { knots: 1, ..SplineOptions::default() };
    /// assert!(SplineCalibration::fit(&logits, &labels, one).is_err());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<T: Scalar>(
        logits: &Logits<'_, T>,
        labels: &Labels,
        options: SplineOptions,
    ) -> Result<Self> {
        check_fit(logits, labels)?;
        let SplineOptions { knots, zeros } = options;
        zeros.checked()?;
        if !(2..=MOST_KNOTS).contains(&knots) {
            let (name, found) = ("the number of knots", knots as f64);
            return Err(Input::OutOfRange { name, expected: "in 2..=100", found }.into());
        }
        let classes = logits.classes();
        let (mut points, mut fits) = (Vec::new(), Vec::new());
        for (map, mut scores) in scores(logits, labels, softmax_in_place)?.into_iter().enumerate() {
            scores.sort_by(|(x, _), (y, _)| x.total_cmp(y));
            let class = Some(class_of(map, classes));
            let error = Error::NotConverged { method: Self::METHOD, class, iterations: 0 };
            points.push(recalibrated(&scores, knots).ok_or(error)?);
            fits.push(class_fit(&scores));
        }
        let mut map = Self { points, classes, zeros, diagnostics: None };
        let after = map.calibrated(logits)?;
        map.diagnostics = Some(diagnostics(logits, labels, &after, fits)?);
        Ok(map)
    }

    /// The map with given points (score, value), for `classes` classes.
    ///
    /// `points` has one list a class, but for two classes a single one, that of class 1.
    ///
    /// # Errors
    /// [`Error::Input`] if `classes` is 0, if there are more or fewer lists, if one is empty, if scores
    /// do not rise strictly, if a number is outside \[0, 1\], or for an ε of [`Zeros::Clip`] outside (0,
    /// 1/2).
    ///
    /// ```
    /// use softlabel_core::Logits;
    /// use softlabel_posthoc::{Calibrator, SplineCalibration, Zeros};
    /// let points = vec![vec![(0.0, 0.25), (1.0, 0.5)]];
    /// let map = SplineCalibration::from_points(2, points, Zeros::Keep)?;
    /// let calibrated = map.apply(&Logits::new(&[0.0f32, 0.0], 2)?)?;
    /// assert_eq!(calibrated.as_slice()[1], 0.375f64.ln());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn from_points(classes: usize, points: Vec<Vec<(f64, f64)>>, zeros: Zeros) -> Result<Self> {
        Self::from_parts(classes, points, zeros, None)
    }

    fn from_parts(
        classes: usize,
        points: Vec<Vec<(f64, f64)>>,
        zeros: Zeros,
        diagnostics: Option<FitDiagnostics>,
    ) -> Result<Self> {
        check_map_count(classes, points.len())?;
        zeros.checked()?;
        for list in &points {
            if list.is_empty() {
                return Err(Input::Empty { what: "a list of points" }.into());
            }
            let outside = |value: &f64| !(0.0..=1.0).contains(value);
            if let Some(found) = list.iter().flat_map(|&(x, y)| [x, y]).find(outside) {
                let name = "a score or value of a point";
                return Err(Input::OutOfRange { name, expected: "in [0, 1]", found }.into());
            }
            if let Some(pair) = list.windows(2).find(|pair| pair[1].0 <= pair[0].0) {
                let (name, expected) = ("the score of a point", "above that of the point before");
                return Err(Input::OutOfRange { name, expected, found: pair[1].0 }.into());
            }
        }
        Ok(Self { points, classes, zeros, diagnostics })
    }

    /// The points (score, g) of every map, ascending: one list a class, but for two classes a single
    /// one, that of class 1.
    pub fn points(&self) -> &[Vec<(f64, f64)>] {
        &self.points
    }

    /// What becomes of probabilities 0 and 1.
    pub fn zeros(&self) -> Zeros {
        self.zeros
    }

    fn calibrated<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<Vec<f64>> {
        let value = |map: usize, p: f64| interpolate(&self.points[map], p);
        map_rows(logits, self.classes, |row| map_row(row, self.zeros, value))
    }
}

calibrates_rows!(SplineCalibration);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    points: Vec<Vec<(f64, f64)>>,
    zeros: Zeros,
}

impl Written for SplineCalibration {
    const METHOD: &'static str = "spline";
    type Parameters = Parameters;

    fn parameters(&self) -> Parameters {
        Parameters { points: self.points.clone(), zeros: self.zeros }
    }

    fn restore(
        classes: usize,
        parameters: Parameters,
        fit: Option<FitDiagnostics>,
    ) -> Result<Self> {
        Self::from_parts(classes, parameters.points, parameters.zeros, fit)
    }
}

/// g at x between the points, and at the nearer end beside them.
fn interpolate(points: &[(f64, f64)], x: f64) -> f64 {
    let above = points.partition_point(|&(score, _)| score < x);
    match (above.checked_sub(1).and_then(|below| points.get(below)), points.get(above)) {
        (Some(&(left, low)), Some(&(right, high))) => {
            low + (high - low) * ((x - left) / (right - left))
        }
        (Some(&(_, value)), None) | (None, Some(&(_, value))) => value,
        (None, None) => x,
    }
}

/// (s, g(s)) for every different one of the sorted `scores`; `None` if the spline is not determined.
fn recalibrated(scores: &[(f64, bool)], knots: usize) -> Option<Vec<(f64, f64)>> {
    let rows = scores.len();
    if rows < 2 {
        return Some(vec![(0.0, 0.0), (1.0, 1.0)]);
    }
    let knots = Knots::new(knots.min(rows));
    let share = |index: usize| index as f64 / (rows - 1) as f64;
    let ties = || scores.chunk_by(|(x, _), (y, _)| x == y);
    let (mut index, mut sum) = (0, CompensatedSum::default());
    let mut errors = Vec::with_capacity(rows);
    for tied in ties() {
        let positives = tied.iter().filter(|(_, positive)| *positive).count();
        let frequency = positives as f64 / tied.len() as f64;
        for (score, _) in tied {
            sum.add(frequency - score);
            errors.push((share(index), sum.value() / rows as f64));
            index += 1;
        }
    }
    let curve = knots.nearest(&errors)?;
    let mut index = 0;
    let point = |tied: &[(f64, bool)]| {
        let slopes = (index..index + tied.len()).map(|index| knots.slope(&curve, share(index)));
        let slope = slopes.collect::<CompensatedSum>().value() / tied.len() as f64;
        index += tied.len();
        (tied[0].0, (tied[0].0 + slope).clamp(0.0, 1.0))
    };
    Some(ties().map(point).collect())
}

/// Cubic splines over at least two knots at 0, h, 2h, …, 1 whose second derivative is 0 at both ends.
struct Knots {
    count: usize,
    /// h.
    step: f64,
}

/// A spline by its values and second derivatives at the knots.
struct Curve {
    values: Vec<f64>,
    bends: Vec<f64>,
}

impl Knots {
    fn new(count: usize) -> Self {
        Self { count, step: 1.0 / (count - 1) as f64 }
    }

    /// The spline through `values`: M_{i−1} + 4M_i + M_{i+1} = 6(y_{i−1} − 2y_i + y_{i+1})/h², M = 0
    /// at the ends.
    fn through(&self, values: Vec<f64>) -> Curve {
        let mut bends = vec![0.0; self.count];
        let mut pivots = vec![f64::INFINITY; self.count];
        for i in 1..self.count - 1 {
            let change = values[i - 1] - 2.0 * values[i] + values[i + 1];
            pivots[i] = 4.0 - pivots[i - 1].recip();
            bends[i] = 6.0 * change / (self.step * self.step) - bends[i - 1] / pivots[i - 1];
        }
        for i in (1..self.count - 1).rev() {
            bends[i] = (bends[i] - bends[i + 1]) / pivots[i];
        }
        Curve { values, bends }
    }

    /// The knot to the left of t, or of the last interval, and how far t is from it.
    fn place(&self, t: f64) -> (usize, f64) {
        let at = |knot: usize| knot as f64 * self.step;
        let left = (1..self.count - 1).rev().find(|&knot| at(knot) <= t).unwrap_or(0);
        (left, t - at(left))
    }

    /// S(t).
    fn value(&self, curve: &Curve, t: f64) -> f64 {
        let (left, x) = self.place(t);
        let (Curve { values, bends }, h) = (curve, self.step);
        let (y, m) = (&values[left..], &bends[left..]);
        y[0] * (1.0 - x / h)
            + y[1] * (x / h)
            + m[0] * (-x.powi(3) / (6.0 * h) + x * x / 2.0 - h * x / 3.0)
            + m[1] * (x.powi(3) / (6.0 * h) - h * x / 6.0)
    }

    /// S′(t).
    fn slope(&self, curve: &Curve, t: f64) -> f64 {
        let (left, x) = self.place(t);
        let (Curve { values, bends }, h) = (curve, self.step);
        let (y, m) = (&values[left..], &bends[left..]);
        (y[1] - y[0]) / h
            + m[0] * (-x * x / (2.0 * h) + x - h / 3.0)
            + m[1] * (x * x / (2.0 * h) - h / 6.0)
    }

    /// The spline nearest to `points` (t, e) in the sum of squares.
    fn nearest(&self, points: &[(f64, f64)]) -> Option<Curve> {
        let unit = |knot: usize| (0..self.count).map(|k| f64::from(u8::from(k == knot))).collect();
        let basis: Vec<Curve> = (0..self.count).map(|knot| self.through(unit(knot))).collect();
        let mut matrix = vec![CompensatedSum::default(); self.count * self.count];
        let mut right = vec![CompensatedSum::default(); self.count];
        for &(t, e) in points {
            let row: Vec<f64> = basis.iter().map(|curve| self.value(curve, t)).collect();
            let sums = matrix.chunks_exact_mut(self.count).zip(&mut right).zip(&row);
            for ((sums, right), share) in sums {
                for (sum, other) in sums.iter_mut().zip(&row) {
                    sum.add(share * other);
                }
                right.add(share * e);
            }
        }
        let values =
            |sums: Vec<CompensatedSum>| sums.into_iter().map(CompensatedSum::value).collect();
        Some(self.through(solve(values(matrix), values(right))?))
    }
}

/// The x with Ax = b, A being positive definite and known below its diagonal, by A = LLᵀ.
fn solve(mut a: Vec<f64>, mut b: Vec<f64>) -> Option<Vec<f64>> {
    let count = b.len();
    for i in 0..count {
        for j in 0..=i {
            let products = (0..j).map(|k| a[i * count + k] * a[j * count + k]);
            let rest = a[i * count + j] - products.sum::<f64>();
            if i > j {
                a[i * count + j] = rest / a[j * count + j];
            } else if rest > 0.0 && rest.is_finite() {
                a[i * count + i] = rest.sqrt();
            } else {
                return None;
            }
        }
        let known: f64 = (0..i).map(|k| a[i * count + k] * b[k]).sum();
        b[i] = (b[i] - known) / a[i * count + i];
    }
    for i in (0..count).rev() {
        let known: f64 = (i + 1..count).map(|k| a[k * count + i] * b[k]).sum();
        b[i] = (b[i] - known) / a[i * count + i];
    }
    Some(b)
}
