//! Soft labels from what several annotators said.
//!
//! A sample that n_k annotators put in class k has the target (n_k + a_k)/Σ_j (n_j + a_j): the mean of the posterior
//! under a Dirichlet prior with concentrations a, or the plain shares for a = 0. With one annotator and a_k = a for all
//! classes it is label smoothing, Mixture with ε = a·K/(1 + a·K).
//!
//! Source: Peterson, Battleday, Griffiths, Russakovsky, "Human Uncertainty Makes Classification More Robust",
//! ICCV 2019 (shares, CIFAR-10H).

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use softlabel_core::{Error as Core, Probabilities};

use crate::distribution::{check_count, normalized};
use crate::{Error, MaskedTargets, Result};

/// Concentrations a of the Dirichlet prior: pseudo-votes that every class starts with.
///
/// In serialized form a number, the same for all classes, or a list with a number for each.
#[derive(Debug, Clone, PartialEq)]
pub struct Concentration(Shape);

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Symmetric(f64),
    PerClass(Vec<f64>),
}

impl Concentration {
    /// No prior: the shares as they are.
    pub const NONE: Self = Self(Shape::Symmetric(0.0));

    /// The same for all classes.
    ///
    /// # Errors
    /// If it is negative or not finite.
    pub fn symmetric(value: f64) -> Result<Self> {
        check_count("concentration", value)?;
        Ok(Self(Shape::Symmetric(value)))
    }

    /// One for each class.
    ///
    /// # Errors
    /// If there are none, or one is negative or not finite.
    pub fn per_class(values: Vec<f64>) -> Result<Self> {
        if values.is_empty() {
            return Err(Core::Empty { what: "the list of concentrations" }.into());
        }
        values.iter().try_for_each(|&value| check_count("concentration", value))?;
        Ok(Self(Shape::PerClass(values)))
    }

    /// a_k.
    ///
    /// # Errors
    /// If they are for another number of classes.
    pub fn values(&self, classes: usize) -> Result<Vec<f64>> {
        match &self.0 {
            Shape::Symmetric(value) => Ok(vec![*value; classes]),
            Shape::PerClass(values) if values.len() == classes => Ok(values.clone()),
            Shape::PerClass(values) => {
                let (expected, found) = (classes.to_string(), values.len().to_string());
                Err(Core::mismatch("concentrations", expected, found).into())
            }
        }
    }
}

impl Default for Concentration {
    /// No prior.
    fn default() -> Self {
        Self::NONE
    }
}

impl Serialize for Concentration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Shape::Symmetric(value) => value.serialize(serializer),
            Shape::PerClass(values) => values.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Concentration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ConcentrationVisitor)
    }
}

/// By hand, where `untagged` would only say that nothing matched.
struct ConcentrationVisitor;

impl<'de> Visitor<'de> for ConcentrationVisitor {
    type Value = Concentration;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a number, or a list with a number for each class")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Concentration, E> {
        Concentration::symmetric(value).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Concentration, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Concentration, E> {
        self.visit_f64(value as f64)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Concentration, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Concentration::per_class(values).map_err(de::Error::custom)
    }
}

/// A distribution over the classes for each sample, rows summing to 1.
///
/// In serialized form `{ classes = 2, rows = [[0.75, 0.25], …] }`.
///
/// ```
/// use softlabel_core::Probabilities;
/// use softlabel_targets::{Concentration, SoftLabels};
///
/// let votes = [3.0, 1.0, 0.0, 0.0, 0.0, 4.0];
/// let shares = SoftLabels::from_counts(&votes, 3, &Concentration::NONE)?;
/// assert_eq!(shares.as_slice()[..3], [0.75, 0.25, 0.0]);
/// let posterior = SoftLabels::from_counts(&votes, 3, &Concentration::symmetric(2.0)?)?;
/// assert_eq!(posterior.as_slice()[..3], [0.5, 0.3, 0.2]);
/// assert_eq!(Probabilities::from(&posterior).rows(), 2);
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct SoftLabels {
    probabilities: Probabilities<'static, f64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "SoftLabels")]
struct Settings {
    classes: usize,
    rows: Vec<Vec<f64>>,
}

impl SoftLabels {
    /// From votes, row-major `[samples, classes]`: whole numbers, or weights of annotators.
    ///
    /// # Errors
    /// If the votes are no multiple of `classes`, one is negative or not finite, the concentrations are for another
    /// number of classes, or a sample has neither votes nor concentrations.
    pub fn from_counts(
        counts: &[f64],
        classes: usize,
        concentration: &Concentration,
    ) -> Result<Self> {
        check_columns(counts, classes)?;
        let added = concentration.values(classes)?;
        let mut values = Vec::with_capacity(counts.len());
        for (row, counts) in counts.chunks_exact(classes).enumerate() {
            values.extend(normalized(COUNTS, row, counts, &added)?);
        }
        Ok(Self { probabilities: Probabilities::new(values, classes)? })
    }

    /// The shares of votes, as [`from_counts`](Self::from_counts), of samples of which some do not count, whatever their
    /// votes are: those that nobody has seen, or padding. Rounded to f32 once.
    ///
    /// # Errors
    /// As [`from_counts`](Self::from_counts) for the samples that count, and if there is not one flag a sample.
    ///
    /// ```
    /// use softlabel_targets::{Concentration, SoftLabels};
    ///
    /// let (votes, counted) = ([3.0, 1.0, 0.0, 0.0], [true, false]);
    /// let targets = SoftLabels::masked_counts(&votes, 2, &Concentration::NONE, &counted)?;
    /// assert_eq!(targets.values, [0.75, 0.25, 0.0, 0.0]);
    /// # Ok::<(), softlabel_targets::Error>(())
    /// ```
    #[allow(clippy::cast_possible_truncation)] // The one rounding to f32 that the documentation states.
    pub fn masked_counts(
        counts: &[f64],
        classes: usize,
        concentration: &Concentration,
        counted: &[bool],
    ) -> Result<MaskedTargets> {
        check_columns(counts, classes)?;
        let samples = counts.len() / classes;
        if counted.len() != samples {
            let (expected, found) = (format!("{samples} samples"), counted.len().to_string());
            return Err(Core::mismatch("flags of annotated samples", expected, found).into());
        }
        let added = concentration.values(classes)?;
        let mut values = Vec::with_capacity(counts.len());
        for (row, (counts, counted)) in counts.chunks_exact(classes).zip(counted).enumerate() {
            if *counted {
                let shares = normalized(COUNTS, row, counts, &added)?;
                values.extend(shares.into_iter().map(|share| share as f32));
            } else {
                values.resize(values.len() + classes, 0.0);
            }
        }
        Ok(MaskedTargets { values, counted: counted.to_vec() })
    }

    /// From distributions, row-major `[samples, classes]`, used as they are.
    ///
    /// # Errors
    /// If the values are no multiple of `classes`, one is not in [0, 1], or a row does not sum to 1 within 1e-3.
    pub fn from_probabilities(values: Vec<f64>, classes: usize) -> Result<Self> {
        Ok(Self { probabilities: Probabilities::new(values, classes)? })
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.probabilities.rows()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// K.
    pub fn classes(&self) -> usize {
        self.probabilities.classes()
    }

    /// All rows, one after the other.
    pub fn as_slice(&self) -> &[f64] {
        self.probabilities.as_slice()
    }

    /// All rows, rounded once.
    #[allow(clippy::cast_possible_truncation)] // The one rounding to f32 that the documentation states.
    pub fn rows(&self) -> Vec<f32> {
        self.as_slice().iter().map(|&p| p as f32).collect()
    }
}

const COUNTS: &str = "annotator counts";

fn check_columns(counts: &[f64], classes: usize) -> Result<()> {
    if classes == 0 {
        return Err(Core::Empty { what: "the class axis" }.into());
    }
    if !counts.len().is_multiple_of(classes) {
        let expected = format!("a multiple of {classes} classes");
        return Err(Core::mismatch(COUNTS, expected, format!("{} values", counts.len())).into());
    }
    Ok(())
}

impl<'a> From<&'a SoftLabels> for Probabilities<'a, f64> {
    fn from(labels: &'a SoftLabels) -> Self {
        labels.probabilities.clone()
    }
}

impl TryFrom<Settings> for SoftLabels {
    type Error = Error;

    fn try_from(settings: Settings) -> Result<Self> {
        let Settings { classes, rows } = settings;
        if let Some(row) = rows.iter().position(|row| row.len() != classes) {
            let found = format!("{} in row {row}", rows[row].len());
            let expected = format!("{classes} values a row");
            return Err(Core::mismatch("soft labels", expected, found).into());
        }
        Self::from_probabilities(rows.concat(), classes)
    }
}

impl From<SoftLabels> for Settings {
    fn from(labels: SoftLabels) -> Self {
        let rows = labels.probabilities.matrix().iter().map(<[f64]>::to_vec).collect();
        Self { classes: labels.classes(), rows }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use softlabel_core::Labels;

    use super::*;
    use crate::Smoothing;

    #[test]
    fn what_makes_no_sense_is_refused() {
        let counts = |counts: &[f64], classes| {
            SoftLabels::from_counts(counts, classes, &Concentration::NONE)
        };
        assert!(counts(&[1.0, 0.0, 0.0, 0.0], 2).is_err());
        assert!(counts(&[1.0, -1.0], 2).is_err());
        assert!(counts(&[1.0, f64::NAN], 2).is_err());
        assert!(counts(&[1.0, 2.0, 3.0], 2).is_err());
        assert!(counts(&[], 0).is_err());
        assert!(counts(&[], 2).unwrap().is_empty());
        let prior = Concentration::per_class(vec![1.0, 3.0]).unwrap();
        assert!(SoftLabels::from_counts(&[0.0; 3], 3, &prior).is_err());
        let unseen = SoftLabels::from_counts(&[0.0; 2], 2, &prior).unwrap();
        assert_eq!(unseen.rows(), [0.25, 0.75]);
        assert!(Concentration::symmetric(-1.0).is_err());
        assert!(Concentration::per_class(vec![]).is_err());
        assert!(SoftLabels::from_probabilities(vec![0.5, 0.6], 2).is_err());
    }

    #[test]
    fn concentrations_and_soft_labels_read_and_write() {
        let parse = |text: &str| serde_json::from_str::<Concentration>(text);
        assert_eq!(parse("1").unwrap(), Concentration::symmetric(1.0).unwrap());
        let listed = parse("[1,0.5]").unwrap();
        assert_eq!(serde_json::to_string(&listed).unwrap(), "[1.0,0.5]");
        for bad in ["-1", "[]", "[1,-1]", "\"a\""] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let labels = SoftLabels::from_probabilities(vec![0.25, 0.75], 2).unwrap();
        let text = serde_json::to_string(&labels).unwrap();
        assert_eq!(text, r#"{"classes":2,"rows":[[0.25,0.75]]}"#);
        assert_eq!(serde_json::from_str::<SoftLabels>(&text).unwrap(), labels);
        for bad in [r#"{"classes":2,"rows":[[1.0]]}"#, r#"{"classes":2,"rows":[[1.0,0.5]]}"#] {
            assert!(serde_json::from_str::<SoftLabels>(bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn one_vote_and_a_symmetric_prior_is_label_smoothing(a in 0.0..5.0, label in 0..4_usize) {
            let mut votes = [0.0; 4];
            votes[label] = 1.0;
            let soft = SoftLabels::from_counts(&votes, 4, &Concentration::symmetric(a).unwrap()).unwrap();
            let smoothing = Smoothing::mixture(4.0 * a / (1.0 + 4.0 * a)).unwrap();
            let rows = smoothing.fused(4).unwrap().rows(&Labels::new(&[label], 4).unwrap()).unwrap();
            for (a, b) in soft.rows().iter().zip(rows) {
                prop_assert!((a - b).abs() < 1e-7);
            }
        }
    }
}
