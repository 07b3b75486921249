//! What there is to learn from a teacher: how much it says of wrong classes, how tightly it holds the samples of a
//! class together, and how that looks in the plane.
//!
//! ```text
//! γ = mean_i Σ_{k ≠ y_i} p_ik · K/(K − 1)
//! 1 − S = 1/K Σ_c 1/n_c Σ_{i: y_i = c} ‖p_i − p̄_c‖²        p̄_c = 1/n_c Σ_{i: y_i = c} p_i
//! ```
//!
//! γ of targets smoothed by ε over all classes is ε, which makes teachers with other labels comparable.
//! A temperature is the caller's: divide the logits by it first.
//!
//! Sources: R. Müller, S. Kornblith, G. Hinton, "When Does Label Smoothing Help?" (2019), for γ and the plane;
//! Z. Shen et al., "Is Label Smoothing Truly Incompatible with Knowledge Distillation?" (2021), for S.

use softlabel_core::{Error, Labels, Result};

use crate::Predictions;

/// γ, the probability that is given to wrong classes, times K/(K − 1): 0 for certainty in the label, 1 for the uniform
/// distribution.
///
/// # Errors
/// [`Error::Mismatch`] for labels of other rows or classes, [`Error::Empty`] without rows,
/// [`Error::OutOfRange`] for fewer than two classes.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::wrong_class_mass;
/// // Labels smoothed by 0.3 over three classes.
/// let smoothed = Probabilities::new(vec![0.8f64, 0.1, 0.1, 0.1, 0.8, 0.1], 3)?;
/// let mass = wrong_class_mass(&smoothed, &Labels::new(&[0, 1], 3)?)?;
/// assert!((mass - 0.3).abs() < 1e-15);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
pub fn wrong_class_mass(predictions: &impl Predictions, labels: &Labels) -> Result<f64> {
    let classes = checked(predictions, labels)?;
    let mut row = Vec::new();
    let mut sum = 0.0;
    for (index, label) in labels.iter().enumerate() {
        predictions.row_probabilities(index, &mut row);
        // Summed, not 1 less the label's: that would lose what is small.
        sum += row.iter().enumerate().filter(|(k, _)| *k != label).map(|(_, p)| p).sum::<f64>();
    }
    Ok(sum / labels.len() as f64 * classes as f64 / (classes as f64 - 1.0))
}

/// 1 − S, how far the probabilities of the samples of a class lie from their mean, squared: small for tight clusters.
///
/// The mean is over the classes that occur.
///
/// # Errors
/// As [`wrong_class_mass`].
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::class_dispersion;
/// // Two samples of class 0, each (0.1, −0.1) or its opposite away from (0.8, 0.2); one of class 1.
/// let said = Probabilities::new(vec![0.9f64, 0.1, 0.7, 0.3, 0.4, 0.6], 2)?;
/// let dispersion = class_dispersion(&said, &Labels::new(&[0, 0, 1], 2)?)?;
/// assert!((dispersion - 0.5 * 0.02).abs() < 1e-15);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[doc(alias = "stability")]
pub fn class_dispersion(predictions: &impl Predictions, labels: &Labels) -> Result<f64> {
    let classes = checked(predictions, labels)?;
    let mut counts = vec![0u64; classes];
    let mut means = vec![0.0; classes * classes];
    let mut row = Vec::new();
    let mut each = |use_row: &mut dyn FnMut(usize, &[f64])| {
        for (index, label) in labels.iter().enumerate() {
            predictions.row_probabilities(index, &mut row);
            use_row(label, &row);
        }
    };
    each(&mut |label, row| {
        counts[label] += 1;
        for (mean, p) in means[label * classes..].iter_mut().zip(row) {
            *mean += p;
        }
    });
    for (mean, &count) in means.chunks_exact_mut(classes).zip(&counts) {
        for sum in mean {
            *sum /= count.max(1) as f64;
        }
    }
    // A second pass: differences of squares would cancel.
    let mut squares = vec![0.0; classes];
    each(&mut |label, row| {
        let mean = &means[label * classes..];
        squares[label] += mean.iter().zip(row).map(|(mean, p)| (p - mean).powi(2)).sum::<f64>();
    });
    let present = counts.iter().filter(|&&count| count > 0).count();
    let within = squares.iter().zip(&counts).filter(|(_, count)| **count > 0);
    Ok(within.map(|(square, &count)| square / count as f64).sum::<f64>() / present as f64)
}

/// The plane through three points of the space of features, as which the templates of three classes are usually taken:
/// their rows of the last layer's weights.
///
/// What a network says of a sample is how near its features are to the templates; projected onto their plane, the
/// samples of the three classes show as clusters, spread for hard labels and tight for smoothed ones.
///
/// ```
/// use softlabel_metrics::TemplatePlane;
/// let plane = TemplatePlane::new([&[0.0, 0.0, 5.0], &[2.0, 0.0, 5.0], &[1.0, 3.0, 5.0]])?;
/// // The first axis goes from the first template to the second, the origin is the centre of all three.
/// let [x, y] = plane.project(&[1.0, 1.0, -7.0])?;
/// assert!(x.abs() < 1e-15 && y.abs() < 1e-15);
/// let [x, y] = plane.project(&[3.0, 2.0, 0.0])?;
/// assert!((x - 2.0).abs() < 1e-15 && (y - 1.0).abs() < 1e-15);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TemplatePlane {
    centre: Vec<f64>,
    axes: [Vec<f64>; 2],
}

impl TemplatePlane {
    /// The plane through three templates of the same length.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if they differ in length, [`Error::OutOfRange`] if they are not finite or lie on a line, so
    /// that there is no one plane.
    pub fn new(templates: [&[f64]; 3]) -> Result<Self> {
        let [first, second, third] = templates;
        for other in [second, third] {
            check_length(first.len(), other.len())?;
        }
        let difference = |a: &[f64]| a.iter().zip(first).map(|(a, b)| a - b).collect::<Vec<_>>();
        let (along, across) = (difference(second), difference(third));
        let scale = length(&along).max(length(&across));
        let along = unit(along, scale)?;
        let share = dot(&across, &along);
        let across = across.iter().zip(&along).map(|(a, b)| a - share * b).collect();
        let across = unit(across, scale)?;
        let sums = first.iter().zip(second).zip(third);
        let centre = sums.map(|((a, b), c)| (a + b + c) / 3.0).collect();
        Ok(Self { centre, axes: [along, across] })
    }

    /// Where the projection of some features lies in the plane.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if they are not as many as those of a template.
    pub fn project(&self, features: &[f64]) -> Result<[f64; 2]> {
        check_length(self.centre.len(), features.len())?;
        let from_centre: Vec<f64> = features.iter().zip(&self.centre).map(|(a, b)| a - b).collect();
        Ok([0, 1].map(|axis| dot(&from_centre, &self.axes[axis])))
    }
}

fn check_length(expected: usize, found: usize) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::mismatch("features", expected.to_string(), found.to_string()))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn length(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// Of length 1; an error if it is nothing beside `scale`.
fn unit(a: Vec<f64>, scale: f64) -> Result<Vec<f64>> {
    let found = length(&a);
    if found > 1e-9 * scale && found.is_finite() {
        return Ok(a.into_iter().map(|a| a / found).collect());
    }
    let (name, expected) = ("distance of a template from the line of the others", "above 0");
    Err(Error::OutOfRange { name, expected, found })
}

/// K, if the labels are of these predictions.
fn checked(predictions: &impl Predictions, labels: &Labels) -> Result<usize> {
    let (rows, classes) = (predictions.rows(), predictions.classes());
    let describe = |rows, classes| format!("{rows} of {classes} classes");
    let (expected, found) = (describe(rows, classes), describe(labels.len(), labels.classes()));
    if expected != found {
        return Err(Error::mismatch("labels", expected, found));
    }
    if rows == 0 {
        return Err(crate::accumulator::EMPTY);
    }
    if classes < 2 {
        let (name, expected) = ("number of classes", "at least 2");
        return Err(Error::OutOfRange { name, expected, found: classes as f64 });
    }
    Ok(classes)
}
