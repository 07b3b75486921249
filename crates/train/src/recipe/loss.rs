//! What mistakes cost, as data: the keys under `arms.NAME.loss`.
//!
//! ```text
//! loss = weight · CE(logits, smoothed labels) + Σ_i terms_i.weight · term_i(logits, labels)
//! ```
//!
//! Every weight and every ε may be a [`Schedule`] over the steps of the training.

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use softlabel_core::{Epsilon, Error as ValueError, Fraction};
use softlabel_losses::{AnyLoss, Normalizer};
use softlabel_targets::{
    Amount, Convention, CutMix, DisturbLabel, Error as TargetError, Mixup, NegativeEpsilon, Prior,
    Schedule, Smoothing, Svls, ZipfSmoothing,
};

use toml::{Table, Value};

use super::SampleNumbers;
use super::soft_labels::SoftLabelFile;

/// What mistakes cost: cross-entropy over smoothed labels, and what is added to it or stands in its place.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_field_names)] // The field's own word.
pub(crate) struct Loss {
    /// Of the cross-entropy; 0 leaves it out.
    #[serde(default)]
    pub(crate) weight: Weight,
    /// What is done to the labels of the cross-entropy.
    #[serde(default)]
    pub(crate) smoothing: ScheduledSmoothing,
    /// Smoothing that is learned from epoch to epoch, in the place of `smoothing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) online_smoothing: Option<OnlineSmoothing>,
    /// Smoothing by the rank of the logits, in the place of `smoothing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) zipf_smoothing: Option<RankSmoothing>,
    /// Smoothing of the labels of pixels where classes meet, in the place of `smoothing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) spatial_smoothing: Option<Svls>,
    /// Distributions in the place of the labels, from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) soft_labels: Option<SoftLabelFile>,
    /// One weight a class, of the cross-entropy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) class_weights: Option<Vec<f64>>,
    /// What the mean of a batch divides by; a difference only where there are class weights.
    #[serde(default, skip_serializing_if = "MeanOver::is_default")]
    pub(crate) mean_over: MeanOver,
    /// ζ of ζ·lse².
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) z_loss: Option<f64>,
    /// c of c·tanh(z/c).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) softcap: Option<f64>,
    /// What the logits are multiplied by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) logit_scale: Option<f64>,
    /// Pairs of images averaged. With `cutmix` too, each batch is one or the other, by a fair coin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mixup: Option<Mixup>,
    /// A box of one image pasted into another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cutmix: Option<CutMix>,
    /// Labels replaced at random, anew every epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) disturb_label: Option<DisturbLabel>,
    /// What is added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) terms: Vec<Term>,
}

/// A loss of any kind, and its weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Term {
    #[serde(default)]
    pub(crate) weight: Weight,
    #[serde(flatten)]
    pub(crate) loss: AnyLoss,
}

/// The weight of a loss over the steps; 1 if not said.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Weight(Option<Schedule>);

/// What the mean of a batch divides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MeanOver {
    /// The class weights of the targets.
    #[default]
    Weights,
    /// The number of samples.
    Samples,
}

/// Zhang et al. 2021: targets a·onehot + (1 − a)·S, with S what the network said in the epoch before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OnlineSmoothing {
    /// ε of the off-target smoothing that S begins with.
    #[serde(default = "tenth")]
    pub(crate) epsilon: Epsilon,
    /// a.
    #[serde(default = "half")]
    pub(crate) label_share: Fraction,
}

/// (1 − ε)·onehot + ε·d, d by the rank of each sample's logits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RankSettings", into = "RankSettings")]
pub(crate) struct RankSmoothing {
    pub(crate) epsilon: Epsilon,
    pub(crate) zipf: ZipfSmoothing,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RankSettings {
    epsilon: Epsilon,
    exponent: f64,
}

/// A [`Smoothing`] whose ε may change while training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SmoothingSettings", into = "SmoothingSettings")]
pub(crate) struct ScheduledSmoothing {
    amount: ScheduledAmount,
    prior: Prior,
}

#[derive(Debug, Clone, PartialEq)]
enum ScheduledAmount {
    /// In [0, 1].
    One(Schedule),
    PerClass(Vec<Epsilon>),
    PerSample(SampleNumbers),
    /// Never above 0.
    Negative(Schedule),
}

/// The keys of a [`Smoothing`].
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SmoothingSettings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epsilon: Option<Epsilons>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    negative_epsilon: Option<NegativeEpsilons>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    convention: Option<Convention>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prior: Option<Prior>,
}

/// A number or a schedule, all of it in [0, 1], a list with a number for each class, or a file with one for each sample.
#[derive(Clone)]
enum Epsilons {
    One(Schedule),
    PerClass(Vec<Epsilon>),
    PerSample(SampleNumbers),
}

/// A number below 0, or a schedule that is never above.
#[derive(Clone, Serialize)]
struct NegativeEpsilons(Schedule);

fn tenth() -> Epsilon {
    Epsilon::new(0.1).unwrap_or(Epsilon::ZERO)
}

fn half() -> Fraction {
    Fraction::new(0.5).unwrap_or(Fraction::ZERO)
}

impl Loss {
    /// Whether it is cross-entropy with weight 1 and nothing else.
    pub(crate) fn is_cross_entropy(&self) -> bool {
        self.terms.is_empty() && self.weight == Weight::default()
    }

    /// The keys that say something.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'static str> + use<> {
        let none = Self::default();
        let keys = [
            ("weight", self.weight != none.weight),
            ("smoothing", !self.smoothing.is_none()),
            ("online_smoothing", self.online_smoothing.is_some()),
            ("zipf_smoothing", self.zipf_smoothing.is_some()),
            ("spatial_smoothing", self.spatial_smoothing.is_some()),
            ("soft_labels", self.soft_labels.is_some()),
            ("class_weights", self.class_weights.is_some()),
            ("mean_over", self.mean_over != none.mean_over),
            ("z_loss", self.z_loss.is_some()),
            ("softcap", self.softcap.is_some()),
            ("logit_scale", self.logit_scale.is_some()),
            ("mixup", self.mixup.is_some()),
            ("cutmix", self.cutmix.is_some()),
            ("disturb_label", self.disturb_label.is_some()),
            ("terms", !self.terms.is_empty()),
        ];
        keys.into_iter().filter(|(_, says)| *says).map(|(key, _)| key)
    }

    /// Whether every sample has a distribution or an ε of its own.
    pub(crate) fn is_of_single_samples(&self) -> bool {
        self.zipf_smoothing.is_some()
            || self.spatial_smoothing.is_some()
            || self.soft_labels.is_some()
            || self.smoothing.of_samples().is_some()
    }

    /// Whether images are mixed.
    pub(crate) fn is_mixed(&self) -> bool {
        self.mixup.is_some() || self.cutmix.is_some()
    }

    /// Whether a term ranks samples by how often they were right.
    pub(crate) fn needs_history(&self) -> bool {
        self.terms.iter().any(|term| matches!(term.loss, AnyLoss::CorrectnessRanking(_)))
    }

    /// All weights: of the cross-entropy, then of the terms.
    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        std::iter::once(&self.weight).chain(self.terms.iter().map(|term| &term.weight))
    }
}

impl Weight {
    /// At a step of so many, from 0.
    pub(crate) fn at(&self, step: usize, steps: usize) -> f64 {
        self.0.as_ref().map_or(1.0, |schedule| schedule.at(step, steps))
    }

    /// The lowest and the highest value, if it is not 1 throughout.
    pub(crate) fn range(&self) -> Option<(f64, f64)> {
        self.0.as_ref().map(Schedule::range)
    }

    /// Whether it is 0 at every step.
    pub(crate) fn is_zero(&self) -> bool {
        self.0.as_ref().and_then(Schedule::as_constant) == Some(0.0)
    }
}

impl MeanOver {
    #[allow(clippy::trivially_copy_pass_by_ref)] // What serde calls.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn normalizer(self) -> Normalizer {
        match self {
            Self::Weights => Normalizer::WeightSum,
            Self::Samples => Normalizer::Count,
        }
    }
}

impl Serialize for Weight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            None => serializer.serialize_f64(1.0),
            Some(schedule) => schedule.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let schedule = Schedule::deserialize(deserializer)?;
        Ok(Self(Some(schedule).filter(|schedule| schedule.as_constant() != Some(1.0))))
    }
}

impl TryFrom<RankSettings> for RankSmoothing {
    type Error = TargetError;

    fn try_from(RankSettings { epsilon, exponent }: RankSettings) -> Result<Self, TargetError> {
        Ok(Self { epsilon, zipf: ZipfSmoothing::new(exponent)? })
    }
}

impl From<RankSmoothing> for RankSettings {
    fn from(RankSmoothing { epsilon, zipf }: RankSmoothing) -> Self {
        Self { epsilon, exponent: zipf.exponent() }
    }
}

impl ScheduledSmoothing {
    /// What holds at a step of so many, from 0.
    pub(crate) fn at(&self, step: usize, steps: usize) -> Result<Smoothing, TargetError> {
        let amount: Amount = match &self.amount {
            ScheduledAmount::One(schedule) => Epsilon::new(schedule.at(step, steps))?.into(),
            ScheduledAmount::PerClass(epsilons) => epsilons.clone().into(),
            // Only its prior counts.
            ScheduledAmount::PerSample(_) => Epsilon::ZERO.into(),
            ScheduledAmount::Negative(schedule) => match schedule.at(step, steps) {
                0.0 => Epsilon::ZERO.into(),
                below => NegativeEpsilon::new(below)?.into(),
            },
        };
        Ok(Smoothing::towards(amount, self.prior.clone()))
    }

    /// Whether it is the same at every step.
    pub(crate) fn is_constant(&self) -> bool {
        match &self.amount {
            ScheduledAmount::One(schedule) | ScheduledAmount::Negative(schedule) => {
                schedule.as_constant().is_some()
            }
            ScheduledAmount::PerClass(_) | ScheduledAmount::PerSample(_) => true,
        }
    }

    /// The file with an ε for each sample, if that is where they are.
    pub(crate) fn of_samples(&self) -> Option<&SampleNumbers> {
        match &self.amount {
            ScheduledAmount::PerSample(file) => Some(file),
            _ => None,
        }
    }

    /// Whether labels stay as they are, at every step.
    pub(crate) fn is_none(&self) -> bool {
        match &self.amount {
            ScheduledAmount::One(schedule) => schedule.as_constant() == Some(0.0),
            ScheduledAmount::PerClass(epsilons) => epsilons.iter().all(|e| *e == Epsilon::ZERO),
            ScheduledAmount::PerSample(_) | ScheduledAmount::Negative(_) => false,
        }
    }
}

impl Default for ScheduledSmoothing {
    /// No smoothing.
    fn default() -> Self {
        let prior = Prior::Uniform(Convention::Mixture);
        let none = Schedule::constant(0.0).map(ScheduledAmount::One);
        Self { amount: none.unwrap_or(ScheduledAmount::PerClass(Vec::new())), prior }
    }
}

impl TryFrom<SmoothingSettings> for ScheduledSmoothing {
    type Error = TargetError;

    fn try_from(settings: SmoothingSettings) -> Result<Self, TargetError> {
        let amount = match (settings.epsilon, settings.negative_epsilon) {
            (Some(Epsilons::One(schedule)), None) => ScheduledAmount::One(schedule),
            (Some(Epsilons::PerClass(epsilons)), None) => ScheduledAmount::PerClass(epsilons),
            (Some(Epsilons::PerSample(file)), None) => ScheduledAmount::PerSample(file),
            (None, Some(NegativeEpsilons(schedule))) => ScheduledAmount::Negative(schedule),
            (None, None) => {
                let (key, alternative) = ("epsilon", "negative_epsilon");
                return Err(TargetError::MissingKey { key, alternative });
            }
            (Some(_), Some(_)) => {
                let (first, second) = ("epsilon", "negative_epsilon");
                return Err(TargetError::Exclusive { first, second });
            }
        };
        let prior = match (settings.convention, settings.prior) {
            (Some(convention), None) => convention.into(),
            (None, Some(prior)) => prior,
            (None, None) => {
                let (key, alternative) = ("convention", "prior");
                return Err(TargetError::MissingKey { key, alternative });
            }
            (Some(_), Some(_)) => {
                let (first, second) = ("convention", "prior");
                return Err(TargetError::Exclusive { first, second });
            }
        };
        Ok(Self { amount, prior })
    }
}

impl From<ScheduledSmoothing> for SmoothingSettings {
    fn from(ScheduledSmoothing { amount, prior }: ScheduledSmoothing) -> Self {
        let (epsilon, negative_epsilon) = match amount {
            ScheduledAmount::One(schedule) => (Some(Epsilons::One(schedule)), None),
            ScheduledAmount::PerClass(epsilons) => (Some(Epsilons::PerClass(epsilons)), None),
            ScheduledAmount::PerSample(file) => (Some(Epsilons::PerSample(file)), None),
            ScheduledAmount::Negative(schedule) => (None, Some(NegativeEpsilons(schedule))),
        };
        let (convention, prior) = match prior {
            Prior::Uniform(convention) => (Some(convention), None),
            prior => (None, Some(prior)),
        };
        Self { epsilon, negative_epsilon, convention, prior }
    }
}

impl Serialize for Epsilons {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(schedule) => schedule.serialize(serializer),
            Self::PerClass(epsilons) => epsilons.serialize(serializer),
            Self::PerSample(file) => file.serialize(serializer),
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
        formatter.write_str(
            "a number, a list with a number for each class, a schedule, or a file with a number for each sample",
        )
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Epsilons, E> {
        Epsilon::new(value).map_err(E::custom)?;
        Schedule::constant(value).map(Epsilons::One).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Epsilons, E> {
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

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Epsilons, A::Error> {
        let table = Table::deserialize(MapAccessDeserializer::new(map))?;
        let is_file = table.contains_key("file");
        let value = Value::Table(table);
        let plain = |error: toml::de::Error| de::Error::custom(error.message());
        if is_file {
            return SampleNumbers::deserialize(value).map(Epsilons::PerSample).map_err(plain);
        }
        let schedule = Schedule::deserialize(value).map_err(plain)?;
        let (low, high) = schedule.range();
        for bound in [low, high] {
            Epsilon::new(bound).map_err(de::Error::custom)?;
        }
        Ok(Epsilons::One(schedule))
    }
}

impl<'de> Deserialize<'de> for NegativeEpsilons {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let schedule = Schedule::deserialize(deserializer)?;
        let (low, high) = schedule.range();
        NegativeEpsilon::new(low).map_err(de::Error::custom)?;
        if high <= 0.0 {
            return Ok(Self(schedule));
        }
        let (name, expected) = ("negative epsilon", "never above 0");
        Err(de::Error::custom(ValueError::OutOfRange { name, expected, found: high }))
    }
}
