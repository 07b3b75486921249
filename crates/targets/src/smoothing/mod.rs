//! Label smoothing.
//!
//! For a label y among K classes, with smoothing ε in [0, 1]:
//!
//! - `Mixture`: q = (1 − ε)·onehot(y) + ε/K. The label keeps 1 − ε + ε/K.
//!   Szegedy et al. 2016; PyTorch, timm, Keras, optax.
//! - `OffTarget`: q_y = 1 − ε, and ε/(K − 1) on every other class.
//!   fairseq, Megatron-LM, and the code that most tutorials print.
//!
//! They are one family: OffTarget(ε) = Mixture(ε·K/(K − 1)).
//! At K = 2 and ε = 0.1 the label keeps 0.95 under the first and 0.9 under the second.
//!
//! Beyond these, ε may depend on the class or the sample, or be negative, and what is taken from the label may go to
//! any prior π, the same for all labels or one for each: q = (1 − ε)·onehot(y) + ε·π_y.
//! However it is said, a target is three masses and a dense part ([`FusedTarget`]); the dense rows are written from
//! the same numbers.
//!
//! Sources: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer Vision",
//! CVPR 2016, section 7; Müller, Kornblith, Hinton, "When Does Label Smoothing Help?", NeurIPS 2019.

mod amount;
mod fused;
mod prior;

use serde::{Deserialize, Serialize};
use softlabel_core::{ClassLabels, Epsilon, Probabilities, Scalar};

use crate::{Error, Result};

use amount::Epsilons;
pub use amount::{Amount, NegativeEpsilon};
pub use fused::{Dense, FusedTarget, Masses, MassesBy};
pub use prior::Prior;

/// What ε means: spread over all classes, or over all but the label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Convention {
    /// (1 − ε)·onehot + ε/K: every class receives ε/K, the label too.
    Mixture,
    /// 1 − ε on the label, ε/(K − 1) on every other class.
    OffTarget,
}

/// How much is smoothed, and towards which prior.
///
/// The target of a sample with label y is (1 − ε)·onehot(y) + ε·π, with ε an [`Amount`] and π a [`Prior`].
/// Most smoothings have one ε and a uniform prior, in one of two [`Convention`]s: [`mixture`](Self::mixture) and
/// [`off_target`](Self::off_target). All others are made by [`towards`](Self::towards).
///
/// In serialized form `{ epsilon = 0.1, convention = "mixture" }`, `{ epsilon = [0.1, 0.2, 0.1], convention = "…" }`
/// by class, `{ epsilon = 0.1, prior = { kind = "vector", probabilities = [0.7, 0.3] } }` (see [`Prior`] for the
/// kinds), and `negative_epsilon = -0.4` in the place of `epsilon`.
///
/// ```
/// use softlabel_core::{Epsilon, Labels};
/// use softlabel_targets::{ClassDistribution, Smoothing};
///
/// let mixture = Smoothing::mixture(0.1)?;
/// let weights = mixture.weights(10)?;
/// assert!((weights.label - 0.91).abs() < 1e-15 && (weights.other - 0.01).abs() < 1e-15);
///
/// let off_target = Smoothing::off_target(0.09)?;
/// assert!((off_target.uniform_share(10)? - 0.1).abs() < 1e-15);
///
/// let prior = ClassDistribution::from_counts(&[6.0, 2.0], 0.0)?;
/// let unigram = Smoothing::towards(Epsilon::new(0.5)?, prior);
/// assert_eq!(unigram.fused(2)?.rows(&Labels::new(&[1], 2)?)?, [0.375, 0.625]);
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct Smoothing {
    amount: Amount,
    prior: Prior,
}

/// The serialized form.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epsilon: Option<Epsilons>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    negative_epsilon: Option<NegativeEpsilon>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    convention: Option<Convention>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prior: Option<Prior>,
}

/// A smoothed target, the same for every label: what the label has and what each other class has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TargetWeights {
    /// Probability of the label.
    pub label: f64,
    /// Probability of each other class.
    pub other: f64,
}

impl Smoothing {
    /// No smoothing: one-hot targets, the same in both conventions.
    pub const NONE: Self = Self::new(Epsilon::ZERO, Convention::Mixture);

    /// Uniform smoothing with a convention that is named.
    pub const fn new(epsilon: Epsilon, convention: Convention) -> Self {
        Self { amount: Amount::One(epsilon), prior: Prior::Uniform(convention) }
    }

    /// (1 − ε)·onehot + ε/K, as PyTorch's `label_smoothing`.
    ///
    /// # Errors
    /// If `epsilon` is not in [0, 1].
    pub fn mixture(epsilon: f64) -> Result<Self> {
        Ok(Self::new(Epsilon::new(epsilon)?, Convention::Mixture))
    }

    /// 1 − ε on the label, ε/(K − 1) on the others, as fairseq's `label_smoothing`.
    ///
    /// # Errors
    /// If `epsilon` is not in [0, 1].
    pub fn off_target(epsilon: f64) -> Result<Self> {
        Ok(Self::new(Epsilon::new(epsilon)?, Convention::OffTarget))
    }

    /// Any amount towards any prior: an [`Epsilon`], a `Vec` of one a class or a [`NegativeEpsilon`], and a
    /// [`Convention`], [`ClassDistribution`](crate::ClassDistribution), [`AllowedClasses`](crate::AllowedClasses),
    /// [`ClassMatrix`](crate::ClassMatrix), [`Ordinal`](crate::Ordinal) or [`Hierarchy`](crate::Hierarchy).
    ///
    /// Whether the two go with a class count is found out where that is known: in [`fused`](Self::fused).
    pub fn towards(amount: impl Into<Amount>, prior: impl Into<Prior>) -> Self {
        Self { amount: amount.into(), prior: prior.into() }
    }

    /// How much.
    pub fn amount(&self) -> &Amount {
        &self.amount
    }

    /// Towards what.
    pub fn prior(&self) -> &Prior {
        &self.prior
    }

    /// ε, if it is one number in [0, 1] for all samples.
    pub fn epsilon(&self) -> Option<Epsilon> {
        match self.amount {
            Amount::One(epsilon) => Some(epsilon),
            Amount::PerClass(_) | Amount::Negative(_) => None,
        }
    }

    /// What ε means, if the prior is uniform.
    pub fn convention(&self) -> Option<Convention> {
        match self.prior {
            Prior::Uniform(convention) => Some(convention),
            _ => None,
        }
    }

    /// Whether targets stay one-hot.
    pub fn is_none(&self) -> bool {
        self.amount.is_zero()
    }

    /// The same smoothing of `classes` classes, said in the `Mixture` convention: OffTarget(ε) = Mixture(ε·K/(K − 1)).
    ///
    /// # Errors
    /// [`Error::NotUniform`] if the prior is not uniform, an ε out of range if off-target smoothing leaves the label
    /// less than the others have, which no mixture does, and [`Error::TooFewClasses`] as in [`fused`](Self::fused).
    ///
    /// ```
    /// use softlabel_targets::Smoothing;
    ///
    /// assert_eq!(Smoothing::off_target(0.375)?.to_mixture(4)?, Smoothing::mixture(0.5)?);
    /// assert_eq!(Smoothing::mixture(0.5)?.to_off_target(4)?, Smoothing::off_target(0.375)?);
    /// assert!(Smoothing::off_target(0.9)?.to_mixture(4).is_err());
    /// # Ok::<(), softlabel_targets::Error>(())
    /// ```
    pub fn to_mixture(&self, classes: usize) -> Result<Self> {
        self.converted(Convention::Mixture, classes)
    }

    /// The same smoothing of `classes` classes, said in the `OffTarget` convention: Mixture(ε) = OffTarget(ε·(K − 1)/K).
    ///
    /// # Errors
    /// [`Error::NotUniform`] if the prior is not uniform, and [`Error::TooFewClasses`] as in [`fused`](Self::fused).
    pub fn to_off_target(&self, classes: usize) -> Result<Self> {
        self.converted(Convention::OffTarget, classes)
    }

    fn converted(&self, convention: Convention, classes: usize) -> Result<Self> {
        let Some(old) = self.convention() else {
            let what = "conversion between conventions";
            return Err(Error::NotUniform { what, found: self.to_string() });
        };
        // It checks the class count and the number of epsilons.
        self.fused(classes)?;
        let count = classes as f64;
        let amount = match (old, convention) {
            _ if self.is_none() => self.amount.clone(),
            (Convention::OffTarget, Convention::Mixture) => {
                self.amount.scaled(count / (count - 1.0))?
            }
            // All of a single class stays with it.
            (Convention::Mixture, Convention::OffTarget) if classes == 1 => Epsilon::ZERO.into(),
            (Convention::Mixture, Convention::OffTarget) => {
                self.amount.scaled((count - 1.0) / count)?
            }
            _ => self.amount.clone(),
        };
        Ok(Self::towards(amount, convention))
    }

    /// The ε' for which the target is (1 − ε')·onehot + ε'/K, whatever the convention.
    ///
    /// It exceeds 1 where `OffTarget` leaves the label less than the other classes have.
    /// In this form cross-entropy is (1 − ε')·(lse − z_y) + ε'·(lse − mean z).
    ///
    /// # Errors
    /// [`Error::TooFewClasses`] without classes, or for `OffTarget` with ε > 0 and a single class;
    /// [`Error::NotUniform`] unless there is one ε in [0, 1] and the prior is uniform.
    pub fn uniform_share(&self, classes: usize) -> Result<f64> {
        let (epsilon, convention) = self.uniform("the uniform share")?;
        match convention {
            _ if classes == 0 => Err(Error::TooFewClasses { what: "a target", classes }),
            Convention::Mixture => Ok(epsilon),
            Convention::OffTarget if epsilon == 0.0 => Ok(0.0),
            Convention::OffTarget if classes == 1 => {
                Err(Error::TooFewClasses { what: "off-target smoothing", classes })
            }
            Convention::OffTarget => Ok(epsilon * classes as f64 / (classes - 1) as f64),
        }
    }

    /// What the label and each other class have.
    ///
    /// # Errors
    /// As [`uniform_share`](Self::uniform_share).
    pub fn weights(&self, classes: usize) -> Result<TargetWeights> {
        let (epsilon, convention) = self.uniform("the weight of the label")?;
        // Also where the label's weight does not need it: it checks the class count.
        let other = self.uniform_share(classes)? / classes as f64;
        let label = match convention {
            Convention::Mixture => 1.0 - other * (classes - 1) as f64,
            Convention::OffTarget => 1.0 - epsilon,
        };
        Ok(TargetWeights { label, other })
    }

    /// ε and its convention, for what has an answer only where there is one of each.
    fn uniform(&self, what: &'static str) -> Result<(f64, Convention)> {
        match (self.epsilon(), self.convention()) {
            (Some(epsilon), Some(convention)) => Ok((epsilon.get(), convention)),
            _ => Err(Error::NotUniform { what, found: self.to_string() }),
        }
    }

    /// The targets as plain numbers, for losses that never build the rows.
    ///
    /// Working it out copies the prior, K² numbers for a matrix: do it once for a class count, not for every batch.
    ///
    /// # Errors
    /// [`Error::TooFewClasses`] without classes, or for `OffTarget` with ε > 0 and a single class;
    /// a mismatch if the epsilons or the prior are for another number of classes.
    ///
    /// ```
    /// use softlabel_targets::{Masses, MassesBy, Smoothing};
    ///
    /// // At ε = 1 nothing is left for the label, exactly.
    /// let target = Smoothing::off_target(1.0)?.fused(5)?;
    /// assert_eq!(target.masses, MassesBy::All(Masses { label: -0.25, uniform: 0.25, dense: 0.0 }));
    /// # Ok::<(), softlabel_targets::Error>(())
    /// ```
    pub fn fused(&self, classes: usize) -> Result<FusedTarget> {
        let masses = match &self.amount {
            Amount::One(epsilon) => MassesBy::All(self.masses(epsilon.get(), classes)?),
            Amount::Negative(epsilon) => MassesBy::All(self.masses(epsilon.get(), classes)?),
            Amount::PerClass(epsilons) => {
                let masses = epsilons.iter().map(|epsilon| self.masses(epsilon.get(), classes));
                MassesBy::Class(masses.collect::<Result<_>>()?)
            }
        };
        self.with_dense(masses, self.is_none(), classes)
    }

    /// The same with an ε for each row of a batch in the place of this smoothing's own: only its prior counts.
    ///
    /// # Errors
    /// As [`fused`](Self::fused), and if one of the epsilons is not in [0, 1].
    ///
    /// ```
    /// use softlabel_core::Labels;
    /// use softlabel_targets::Smoothing;
    ///
    /// let target = Smoothing::mixture(0.1)?.fused_per_row(2, &[0.0, 0.5])?;
    /// assert_eq!(target.rows(&Labels::new(&[0, 0], 2)?)?, [1.0, 0.0, 0.75, 0.25]);
    /// # Ok::<(), softlabel_targets::Error>(())
    /// ```
    pub fn fused_per_row(&self, classes: usize, epsilons: &[f64]) -> Result<FusedTarget> {
        let masses = |&epsilon: &f64| self.masses(Epsilon::new(epsilon)?.get(), classes);
        let masses = MassesBy::Row(epsilons.iter().map(masses).collect::<Result<_>>()?);
        self.with_dense(masses, epsilons.iter().all(|&epsilon| epsilon == 0.0), classes)
    }

    /// How a soft row q is smoothed, as masses whose dense part is q: t_k = uniform + dense·q_k.
    ///
    /// A soft row is a mixture of labels, and so is its smoothed target: Σ_y q_y·(target of label y), which is
    /// (1 − ε')·q + ε'/K with the [`uniform_share`](Self::uniform_share) ε'. That is also what PyTorch does.
    /// Where ε depends on the class or the prior is not uniform, q is not the whole of the dense part, and the rows
    /// have to be built: [`smooth_rows`](Self::smooth_rows).
    ///
    /// # Errors
    /// [`Error::NotUniform`] unless ε is one number and the prior is uniform; else as [`fused`](Self::fused).
    ///
    /// ```
    /// use softlabel_targets::{Masses, Smoothing};
    ///
    /// let masses = Smoothing::mixture(0.5)?.fused_soft(4)?;
    /// assert_eq!(masses, Masses { label: 0.0, uniform: 0.125, dense: 0.5 });
    /// # Ok::<(), softlabel_targets::Error>(())
    /// ```
    pub fn fused_soft(&self, classes: usize) -> Result<Masses> {
        let target = self.fused(classes)?;
        if let (MassesBy::All(masses), Prior::Uniform(_)) = (target.masses, &self.prior) {
            return Ok(Masses { label: 0.0, uniform: masses.uniform, dense: masses.label });
        }
        let what = "smoothing of soft rows without building them";
        Err(Error::NotUniform { what, found: self.to_string() })
    }

    /// Soft rows q, smoothed: Σ_y q_y·(target of label y), row-major as they came, whatever the amount and the prior.
    ///
    /// With one ε and a prior that is the same for all labels this is (1 − ε)·q + ε·π.
    /// Computed in f64 and rounded once. Costs K² operations a row if ε or the prior depends on the label, else K.
    ///
    /// # Errors
    /// As [`fused`](Self::fused).
    ///
    /// ```
    /// use softlabel_core::Probabilities;
    /// use softlabel_targets::Smoothing;
    ///
    /// let rows = Probabilities::new(&[0.75f32, 0.25, 0.0, 0.0], 4)?;
    /// assert_eq!(Smoothing::mixture(0.5)?.smooth_rows(&rows)?, [0.5, 0.25, 0.125, 0.125]);
    /// # Ok::<(), softlabel_targets::Error>(())
    /// ```
    #[allow(clippy::cast_possible_truncation)] // The one rounding to f32 that the documentation states.
    pub fn smooth_rows<T: Scalar>(&self, rows: &Probabilities<'_, T>) -> Result<Vec<f32>> {
        let classes = rows.classes();
        let target = self.fused(classes)?;
        let mut smoothed = Vec::with_capacity(rows.as_slice().len());
        for row in rows.matrix().iter() {
            if let (MassesBy::All(masses), Dense::None | Dense::Vector(_)) =
                (&target.masses, &target.dense)
            {
                let total: f64 = row.iter().map(|&q| q.into()).sum();
                let dense = target.dense.row(0, classes);
                let value = |(class, &q): (usize, &T)| {
                    let prior = dense.map_or(0.0, |dense| masses.dense * dense[class]);
                    (masses.label * q.into() + total * (masses.uniform + prior)) as f32
                };
                smoothed.extend(row.iter().enumerate().map(value));
                continue;
            }
            let (mut sum, mut of_label) = (vec![0.0; classes], vec![0.0; classes]);
            for (label, &q) in row.iter().enumerate().filter(|(_, q)| (**q).into() != 0.0) {
                target.row_into(0, label, &mut of_label)?;
                sum.iter_mut().zip(&of_label).for_each(|(sum, t)| *sum += q.into() * t);
            }
            smoothed.extend(sum.into_iter().map(|t| t as f32));
        }
        Ok(smoothed)
    }

    /// What a row with this ε is made of.
    fn masses(&self, epsilon: f64, classes: usize) -> Result<Masses> {
        let label = 1.0 - epsilon;
        match &self.prior {
            _ if classes == 0 => Err(Error::TooFewClasses { what: "a target", classes }),
            _ if epsilon == 0.0 => Ok(Masses::ONE_HOT),
            Prior::Uniform(Convention::Mixture) => {
                Ok(Masses { label, uniform: epsilon / classes as f64, dense: 0.0 })
            }
            Prior::Uniform(Convention::OffTarget) if classes == 1 => {
                Err(Error::TooFewClasses { what: "off-target smoothing", classes })
            }
            Prior::Uniform(Convention::OffTarget) => {
                let uniform = epsilon / (classes - 1) as f64;
                // In this order label + uniform is exactly 0 at ε = 1.
                Ok(Masses { label: label - uniform, uniform, dense: 0.0 })
            }
            _ => Ok(Masses { label, uniform: 0.0, dense: epsilon }),
        }
    }

    /// Masses with the prior; without it where it has no share, but checked all the same.
    fn with_dense(&self, masses: MassesBy, is_none: bool, classes: usize) -> Result<FusedTarget> {
        if classes == 0 {
            return Err(Error::TooFewClasses { what: "a target", classes });
        }
        let dense = self.prior.dense(classes)?;
        let target = FusedTarget { masses, dense: if is_none { Dense::None } else { dense } };
        target.check(classes, None)?;
        Ok(target)
    }
}

impl TryFrom<Settings> for Smoothing {
    type Error = Error;

    fn try_from(settings: Settings) -> Result<Self> {
        let amount: Amount = match (settings.epsilon, settings.negative_epsilon) {
            (Some(Epsilons::One(epsilon)), None) => epsilon.into(),
            (Some(Epsilons::PerClass(epsilons)), None) => epsilons.into(),
            (None, Some(negative)) => negative.into(),
            (None, None) => {
                let (key, alternative) = ("epsilon", "negative_epsilon");
                return Err(Error::MissingKey { key, alternative });
            }
            (Some(_), Some(_)) => {
                return Err(Error::Exclusive { first: "epsilon", second: "negative_epsilon" });
            }
        };
        match (settings.convention, settings.prior) {
            (Some(convention), None) => Ok(Self::towards(amount, convention)),
            (None, Some(prior)) => Ok(Self::towards(amount, prior)),
            (None, None) => Err(Error::MissingKey { key: "convention", alternative: "prior" }),
            (Some(_), Some(_)) => Err(Error::Exclusive { first: "convention", second: "prior" }),
        }
    }
}

impl From<Smoothing> for Settings {
    fn from(smoothing: Smoothing) -> Self {
        let (epsilon, negative_epsilon) = match smoothing.amount {
            Amount::One(epsilon) => (Some(Epsilons::One(epsilon)), None),
            Amount::PerClass(epsilons) => (Some(Epsilons::PerClass(epsilons)), None),
            Amount::Negative(negative) => (None, Some(negative)),
        };
        let (convention, prior) = match smoothing.prior {
            Prior::Uniform(convention) => (Some(convention), None),
            prior => (None, Some(prior)),
        };
        Self { epsilon, negative_epsilon, convention, prior }
    }
}

impl Default for Smoothing {
    /// No smoothing.
    fn default() -> Self {
        Self::NONE
    }
}

impl std::fmt::Display for Smoothing {
    /// `none`, `0.1 (mixture)`, `0.1 (off target)`, `0.1 to 0.3 by class (class prior)`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_none() {
            return formatter.write_str("none");
        }
        write!(formatter, "{} ({})", self.amount, self.prior)
    }
}

/// One-hot rows, smoothed: what tutorials write as `smooth_one_hot(labels, classes, epsilon)`, with the convention
/// named and the class count taken from the labels.
///
/// Returns row-major `[labels.len(), labels.classes()]` values, each row summing to 1 up to rounding, or 0 where a
/// label of [`MaskedLabels`](softlabel_core::MaskedLabels) is ignored.
/// Computed in f64 and rounded once.
///
/// # Errors
/// [`Error::TooFewClasses`] for `OffTarget` with ε > 0 and a single class.
///
/// ```
/// use softlabel_core::{Epsilon, Labels, MaskedLabels};
/// use softlabel_targets::{Convention, smooth_one_hot};
///
/// let labels = Labels::new(&[0i64, 1], 2)?;
/// let rows = smooth_one_hot(&labels, Epsilon::new(0.1)?, Convention::OffTarget)?;
/// assert_eq!(rows, [0.9, 0.1, 0.1, 0.9]);
///
/// let padded = MaskedLabels::new(&[0i64, -100], 2, -100)?;
/// let rows = smooth_one_hot(&padded, Epsilon::new(0.1)?, Convention::OffTarget)?;
/// assert_eq!(rows, [0.9, 0.1, 0.0, 0.0]);
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[doc(alias = "smooth_labels")]
pub fn smooth_one_hot<L: ClassLabels>(
    labels: &L,
    epsilon: Epsilon,
    convention: Convention,
) -> Result<Vec<f32>> {
    Smoothing::new(epsilon, convention).fused(labels.classes())?.rows(labels)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use softlabel_core::Labels;

    use super::*;

    #[test]
    fn the_two_conventions_at_two_classes() {
        let weights = |smoothing: Smoothing| smoothing.weights(2).unwrap();
        let mixture = weights(Smoothing::mixture(0.1).unwrap());
        assert_eq!((mixture.label, mixture.other), (0.95, 0.05));
        let off_target = weights(Smoothing::off_target(0.1).unwrap());
        assert_eq!((off_target.label, off_target.other), (0.9, 0.1));
    }

    #[test]
    fn the_ends() {
        let uniform = Smoothing::mixture(1.0).unwrap().weights(4).unwrap();
        assert_eq!((uniform.label, uniform.other), (0.25, 0.25));
        let none = Smoothing::off_target(1.0).unwrap().weights(5).unwrap();
        assert_eq!((none.label, none.other), (0.0, 0.25));
        assert_eq!(Smoothing::NONE.weights(3).unwrap().label, 1.0);
    }

    #[test]
    fn a_single_class() {
        assert_eq!(Smoothing::mixture(0.3).unwrap().weights(1).unwrap().label, 1.0);
        assert_eq!(Smoothing::off_target(0.0).unwrap().weights(1).unwrap().label, 1.0);
        let error = Smoothing::off_target(0.3).unwrap().weights(1).unwrap_err();
        assert_eq!(error.to_string(), "off-target smoothing needs at least 2 classes, found 1");
        assert!(Smoothing::NONE.weights(0).is_err());
    }

    #[test]
    fn serde_names_the_convention_and_refuses_strangers() {
        let text = r#"{"epsilon":0.1,"convention":"off_target"}"#;
        let smoothing: Smoothing = serde_json::from_str(text).unwrap();
        assert_eq!(smoothing, Smoothing::off_target(0.1).unwrap());
        assert_eq!(serde_json::to_string(&smoothing).unwrap(), text);
        for bad in [
            r#"{"epsilon":0.1}"#,
            r#"{"epsilon":-0.1,"convention":"mixture"}"#,
            r#"{"epsilon":0.1,"convention":"mixture","alpha":1}"#,
        ] {
            assert!(serde_json::from_str::<Smoothing>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn weights_sum_to_one(epsilon in 0.0..=1.0, classes in 2..2000_usize, mixture: bool) {
            let smoothing = if mixture { Smoothing::mixture(epsilon) } else { Smoothing::off_target(epsilon) };
            let weights = smoothing.unwrap().weights(classes).unwrap();
            let sum = weights.label + weights.other * (classes - 1) as f64;
            prop_assert!((sum - 1.0).abs() < 1e-12);
        }

        #[test]
        fn off_target_is_a_mixture_with_more(epsilon in 0.0..0.5, classes in 2..2000_usize) {
            let off_target = Smoothing::off_target(epsilon).unwrap();
            let share = epsilon * classes as f64 / (classes as f64 - 1.0);
            let mixture = Smoothing::mixture(share).unwrap();
            let (a, b) = (off_target.weights(classes).unwrap(), mixture.weights(classes).unwrap());
            prop_assert!((a.label - b.label).abs() < 1e-12 && (a.other - b.other).abs() < 1e-12);
        }

        #[test]
        fn dense_rows_hold_the_weights(
            labels in prop::collection::vec(0..7_u32, 0..20), epsilon in 0.0..=1.0
        ) {
            let labels = Labels::new(&labels, 7).unwrap();
            let epsilon = Epsilon::new(epsilon).unwrap();
            let rows = smooth_one_hot(&labels, epsilon, Convention::Mixture).unwrap();
            for (row, label) in rows.chunks(7).zip(labels.iter()) {
                for (class, &q) in row.iter().enumerate() {
                    let onehot = f64::from(u8::from(class == label));
                    let expected = (1.0 - epsilon.get()) * onehot + epsilon.get() / 7.0;
                    prop_assert!((f64::from(q) - expected).abs() < 1e-7);
                }
            }
        }
    }
}
