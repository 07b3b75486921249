//! How much is smoothed: one ε, one a class, or a negative one.

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use softlabel_core::{Epsilon, Error as Core};

use crate::{Error, Result};

/// How much of a target is taken from the label.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Amount {
    /// The same for every sample.
    One(Epsilon),
    /// ε_y for a sample of class y.
    PerClass(Vec<Epsilon>),
    /// Less than nothing, the same for every sample.
    Negative(NegativeEpsilon),
}

/// A negative ε: r < 0, finite. The target (1 − r)·onehot + r·π gives the label more than 1 and the other classes
/// less than 0.
///
/// It is no distribution, and the loss (1 − r)·(−log p_y) + r·mean(−log p) has no lower bound: it falls without end as
/// the other classes' probabilities go to 0. Use it from a trained network on, for few epochs and with much label
/// noise, where Wei et al. found it better than positive smoothing; nowhere else.
///
/// Source: Wei, Liu, Liu, Niu, Sugiyama, Liu, "To Smooth or Not? When Label Smoothing Meets Noisy Labels", ICML 2022.
///
/// ```
/// use softlabel_targets::{Convention, NegativeEpsilon, Smoothing};
///
/// let smoothing = Smoothing::towards(NegativeEpsilon::new(-0.5)?, Convention::Mixture);
/// let masses = smoothing.fused_soft(4)?;
/// assert_eq!((masses.dense, masses.uniform), (1.5, -0.125));
/// assert!(NegativeEpsilon::new(0.1).is_err());
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct NegativeEpsilon(f64);

impl NegativeEpsilon {
    /// Checks the number.
    ///
    /// # Errors
    /// If it is not below 0 and finite.
    pub fn new(value: f64) -> Result<Self> {
        if value < 0.0 && value.is_finite() {
            return Ok(Self(value));
        }
        let (name, expected) = ("negative epsilon", "below 0 and finite");
        Err(Core::OutOfRange { name, expected, found: value }.into())
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for NegativeEpsilon {
    type Error = Error;

    fn try_from(value: f64) -> Result<Self> {
        Self::new(value)
    }
}

impl From<NegativeEpsilon> for f64 {
    fn from(epsilon: NegativeEpsilon) -> Self {
        epsilon.0
    }
}

impl From<Epsilon> for Amount {
    fn from(epsilon: Epsilon) -> Self {
        Self::One(epsilon)
    }
}

impl From<Vec<Epsilon>> for Amount {
    fn from(epsilons: Vec<Epsilon>) -> Self {
        Self::PerClass(epsilons)
    }
}

impl From<NegativeEpsilon> for Amount {
    fn from(epsilon: NegativeEpsilon) -> Self {
        Self::Negative(epsilon)
    }
}

impl Amount {
    /// Whether it is 0 for every sample.
    pub fn is_zero(&self) -> bool {
        match self {
            Self::One(epsilon) => *epsilon == Epsilon::ZERO,
            Self::PerClass(epsilons) => epsilons.iter().all(|epsilon| *epsilon == Epsilon::ZERO),
            Self::Negative(_) => false,
        }
    }

    /// Each ε multiplied by a positive factor.
    pub(super) fn scaled(&self, factor: f64) -> Result<Self> {
        let scaled = |epsilon: &Epsilon| {
            let value = epsilon.get() * factor;
            // What is 1 but for rounding is 1: ε = (K − 1)/K off target is ε = 1 as a mixture.
            let is_one = value > 1.0 && value <= 1.0 + 4.0 * f64::EPSILON;
            Epsilon::new(if is_one { 1.0 } else { value })
        };
        Ok(match self {
            Self::One(epsilon) => Self::One(scaled(epsilon)?),
            Self::PerClass(epsilons) => {
                Self::PerClass(epsilons.iter().map(scaled).collect::<Result<_, _>>()?)
            }
            Self::Negative(epsilon) => {
                Self::Negative(NegativeEpsilon::new(epsilon.get() * factor)?)
            }
        })
    }
}

impl std::fmt::Display for Amount {
    /// `0.1`, `0.1 to 0.3 by class` or `-0.4`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(epsilon) => epsilon.fmt(formatter),
            Self::PerClass(epsilons) => {
                let values = || epsilons.iter().map(|epsilon| epsilon.get());
                let (low, high) = (values().fold(1.0, f64::min), values().fold(0.0, f64::max));
                write!(formatter, "{low} to {high} by class")
            }
            Self::Negative(epsilon) => epsilon.get().fmt(formatter),
        }
    }
}

/// What stands under the key `epsilon`: a number, or a list with one a class.
#[derive(Clone)]
pub(super) enum Epsilons {
    One(Epsilon),
    PerClass(Vec<Epsilon>),
}

impl Serialize for Epsilons {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(epsilon) => epsilon.serialize(serializer),
            Self::PerClass(epsilons) => epsilons.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Epsilons {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EpsilonsVisitor)
    }
}

/// By hand, where `untagged` would only say that nothing matched.
struct EpsilonsVisitor;

impl<'de> Visitor<'de> for EpsilonsVisitor {
    type Value = Epsilons;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a number, or a list with a number for each class")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Epsilons, E> {
        Epsilon::new(value).map(Epsilons::One).map_err(E::custom)
    }

    #[allow(clippy::cast_precision_loss)] // Far outside [0, 1] anyway.
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Epsilons, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Epsilons, E> {
        self.visit_f64(value as f64)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Epsilons, A::Error> {
        let mut epsilons = Vec::new();
        while let Some(epsilon) = list.next_element()? {
            epsilons.push(epsilon);
        }
        if epsilons.is_empty() {
            return Err(de::Error::invalid_length(0, &"an epsilon for each class"));
        }
        Ok(Epsilons::PerClass(epsilons))
    }
}
