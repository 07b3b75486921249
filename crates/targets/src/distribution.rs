//! A distribution over the classes, checked once.
//!
//! π with π_k ≥ 0 and Σ_k π_k = 1: a class prior ("unigram" in language models), or the uniform distribution over the
//! classes that are allowed.
//! As the prior of a smoothing it gives (1 − ε)·onehot + ε·π.
//!
//! Sources: Szegedy et al. 2016, section 7, write label smoothing with any fixed distribution u(k);
//! Pereyra, Tucker, Chorowski, Kaiser, Hinton, "Regularizing Neural Networks by Penalizing Confident Output
//! Distributions", 2017 (unigram smoothing).

use serde::{Deserialize, Serialize};
use softlabel_core::Error as Core;

use crate::{Error, Result};

/// How far from one the sum of a distribution may be: room for probabilities that were written with seven digits.
pub(crate) const SUM_TOLERANCE: f64 = 1e-6;

/// Probabilities of the K classes: each in [0, 1], together 1 within 1e-6. They are used as they are.
///
/// In serialized form a list of numbers.
///
/// ```
/// use softlabel_targets::ClassDistribution;
///
/// let prior = ClassDistribution::from_counts(&[60.0, 30.0, 10.0], 0.0)?;
/// assert_eq!(prior.probabilities(), [0.6, 0.3, 0.1]);
/// assert!(ClassDistribution::new(vec![0.5, 0.6]).is_err());
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>", into = "Vec<f64>")]
pub struct ClassDistribution(Vec<f64>);

impl ClassDistribution {
    /// Checks the probabilities.
    ///
    /// # Errors
    /// If there are none, one is not in [0, 1], or they do not sum to 1 within 1e-6.
    pub fn new(probabilities: Vec<f64>) -> Result<Self> {
        check_rows("class probabilities", std::slice::from_ref(&probabilities))?;
        Ok(Self(probabilities))
    }

    /// π_k = (n_k + a)/Σ_j (n_j + a): how often each class occurs, with `pseudo_count` a added to each.
    ///
    /// Without a pseudo-count a class that never occurs has no mass.
    ///
    /// # Errors
    /// If a count or the pseudo-count is negative or not finite, or they are all 0.
    pub fn from_counts(counts: &[f64], pseudo_count: f64) -> Result<Self> {
        check_count("pseudo-count", pseudo_count)?;
        normalized("class counts", 0, counts, &vec![pseudo_count; counts.len()]).map(Self)
    }

    /// π_k.
    pub fn probabilities(&self) -> &[f64] {
        &self.0
    }

    /// K.
    pub fn classes(&self) -> usize {
        self.0.len()
    }
}

impl TryFrom<Vec<f64>> for ClassDistribution {
    type Error = Error;

    fn try_from(probabilities: Vec<f64>) -> Result<Self> {
        Self::new(probabilities)
    }
}

impl From<ClassDistribution> for Vec<f64> {
    fn from(distribution: ClassDistribution) -> Self {
        distribution.0
    }
}

/// The classes that can be: a set of class indices, not empty.
///
/// As a prior it is uniform over them and exactly 0 elsewhere, so that a class whose logit is masked with −∞ costs
/// nothing. A label outside the set keeps its 1 − ε, which at a masked logit is an infinite loss, as it should be.
///
/// In serialized form a list of class indices.
///
/// ```
/// use softlabel_targets::AllowedClasses;
///
/// let allowed = AllowedClasses::new(vec![0, 2])?;
/// assert_eq!(allowed.distribution(4)?.probabilities(), [0.5, 0.0, 0.5, 0.0]);
/// assert!(allowed.distribution(2).is_err());
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<usize>", into = "Vec<usize>")]
pub struct AllowedClasses(Vec<usize>);

impl AllowedClasses {
    /// The set, in any order.
    ///
    /// # Errors
    /// If it is empty or a class is there twice.
    pub fn new(mut classes: Vec<usize>) -> Result<Self> {
        if classes.is_empty() {
            return Err(Core::Empty { what: "the set of allowed classes" }.into());
        }
        classes.sort_unstable();
        if let Some([twice, ..]) = classes.windows(2).find(|pair| pair[0] == pair[1]) {
            let found = format!("{twice} twice");
            return Err(Core::mismatch("allowed classes", "each class once", found).into());
        }
        Ok(Self(classes))
    }

    /// The classes for which `mask` is true.
    ///
    /// # Errors
    /// If there is none.
    pub fn from_mask(mask: &[bool]) -> Result<Self> {
        Self::new((0..mask.len()).filter(|&class| mask[class]).collect())
    }

    /// The classes, ascending.
    pub fn classes(&self) -> &[usize] {
        &self.0
    }

    /// 1/n on each of the n allowed classes, 0 on the others.
    ///
    /// # Errors
    /// If an allowed class is not below `classes`.
    pub fn distribution(&self, classes: usize) -> Result<ClassDistribution> {
        let mut probabilities = vec![0.0; classes];
        for &class in &self.0 {
            let outside = || Core::OutOfRange {
                name: "allowed class",
                expected: "below the number of classes",
                found: class as f64,
            };
            *probabilities.get_mut(class).ok_or_else(outside)? = 1.0 / self.0.len() as f64;
        }
        Ok(ClassDistribution(probabilities))
    }
}

impl TryFrom<Vec<usize>> for AllowedClasses {
    type Error = Error;

    fn try_from(classes: Vec<usize>) -> Result<Self> {
        Self::new(classes)
    }
}

impl From<AllowedClasses> for Vec<usize> {
    fn from(allowed: AllowedClasses) -> Self {
        allowed.0
    }
}

/// Checks that every row is a distribution over as many classes as the first.
pub(crate) fn check_rows(what: &'static str, rows: &[Vec<f64>]) -> Result<()> {
    let classes = rows.first().map_or(0, Vec::len);
    if classes == 0 {
        return Err(Core::Empty { what }.into());
    }
    for (row, values) in rows.iter().enumerate() {
        if values.len() != classes {
            let expected = format!("{classes} values a row");
            return Err(
                Core::mismatch(what, expected, format!("{} in row {row}", values.len())).into()
            );
        }
        if let Some(class) = values.iter().position(|p| !(0.0..=1.0).contains(p)) {
            let (expected, found) = ("in [0, 1]", values[class]);
            return Err(Core::BadValue { what, expected, row, class, found }.into());
        }
        let found: f64 = values.iter().sum();
        if (found - 1.0).abs() > SUM_TOLERANCE {
            return Err(Core::RowSum { what, row, found, tolerance: SUM_TOLERANCE }.into());
        }
    }
    Ok(())
}

/// Checks a number that counts or weighs: at least 0 and finite.
pub(crate) fn check_count(name: &'static str, value: f64) -> Result<()> {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Core::OutOfRange { name, expected: "at least 0 and finite", found: value }.into())
}

/// (n_k + a_k)/Σ(n + a), with the counts checked.
pub(crate) fn normalized(
    what: &'static str,
    row: usize,
    counts: &[f64],
    added: &[f64],
) -> Result<Vec<f64>> {
    if let Some(class) = counts.iter().position(|&n| !(n >= 0.0 && n.is_finite())) {
        let (expected, found) = ("at least 0 and finite", counts[class]);
        return Err(Core::BadValue { what, expected, row, class, found }.into());
    }
    let sum: f64 = counts.iter().zip(added).map(|(n, a)| n + a).sum();
    if sum <= 0.0 || !sum.is_finite() {
        let found = format!("{sum} in row {row}");
        return Err(Core::mismatch(what, "a positive, finite sum", found).into());
    }
    Ok(counts.iter().zip(added).map(|(n, a)| (n + a) / sum).collect())
}

/// The distribution proportional to exp(scores), each score finite or −∞, at least one finite.
pub(crate) fn softmax(scores: &[f64]) -> Vec<f64> {
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_distribution_is_refused() {
        for (bad, expected) in [
            (vec![], "class probabilities is empty"),
            (vec![0.5, 0.6], "row 0 sums to 1.1"),
            (vec![1.5, -0.5], "expected in [0, 1], found 1.5"),
            (vec![f64::NAN, 1.0], "found NaN in row 0, class 0"),
        ] {
            let error = ClassDistribution::new(bad).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(ClassDistribution::from_counts(&[0.0, 0.0], 0.0).is_err());
        assert!(ClassDistribution::from_counts(&[-1.0, 2.0], 0.0).is_err());
        assert!(ClassDistribution::from_counts(&[f64::INFINITY, 2.0], 0.0).is_err());
        let smoothed = ClassDistribution::from_counts(&[0.0, 2.0], 1.0).unwrap();
        assert_eq!(smoothed.probabilities(), [0.25, 0.75]);
    }

    #[test]
    fn a_set_of_classes_is_a_set() {
        assert!(AllowedClasses::new(vec![]).is_err());
        let error = AllowedClasses::new(vec![3, 1, 3]).unwrap_err().to_string();
        assert_eq!(error, "allowed classes: expected each class once, found 3 twice");
        let mask = AllowedClasses::from_mask(&[true, false, true]).unwrap();
        assert_eq!(mask.classes(), [0, 2]);
        assert_eq!(serde_json::to_string(&mask).unwrap(), "[0,2]");
        assert!(serde_json::from_str::<AllowedClasses>("[]").is_err());
    }
}
