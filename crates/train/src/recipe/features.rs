//! What an arm learns from the layers of its teacher, as data: the list `features` under `arms.NAME.distill`.

use serde::{Deserialize, Serialize};

use super::Weight;

/// A loss between a layer of the student and one of the teacher.
///
/// Layers are numbered from 0, convolutions before fully connected ones; without a number it is the last before the
/// logits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FeatureTerm {
    #[serde(default)]
    pub(crate) weight: Weight,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) student: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) teacher: Option<usize>,
    #[serde(flatten)]
    pub(crate) kind: FeatureKind,
}

/// Which loss; see [`softlabel_distill::feature`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum FeatureKind {
    /// With an adapter where the widths differ.
    Hint {},
    AttentionTransfer {},
    RelationalDistance {},
    RelationalAngle {},
    SimilarityPreserving {},
    ProbabilisticTransfer {},
    CorrelationCongruence {
        #[serde(default = "gamma")]
        gamma: f64,
    },
    HierarchicalContext {},
    VariationalInformation {
        #[serde(default = "variance")]
        variance: f64,
    },
    Contrastive {
        #[serde(default = "width")]
        width: i64,
        #[serde(default = "contrast")]
        temperature: f64,
        #[serde(default = "half")]
        momentum: f64,
        /// How many other samples each is told apart from.
        #[serde(default = "negatives")]
        negatives: usize,
    },
    MaskedGeneration {
        /// Share of the positions that are masked.
        #[serde(default = "half")]
        masked: f64,
    },
    /// Layers of student and teacher, the shallowest first.
    Review {
        levels: Vec<(usize, usize)>,
        middle: i64,
    },
}

impl FeatureTerm {
    /// The first key whose value is none that it can have, and what was expected.
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        if let Some((lowest, _)) = self.weight.range().filter(|(lowest, _)| *lowest < 0.0) {
            return Some(("weight", format!("must not be negative, found {lowest:?}")));
        }
        match &self.kind {
            FeatureKind::MaskedGeneration { masked } if !(0.0..=1.0).contains(masked) => {
                Some(("masked", format!("must be in [0, 1], found {masked:?}")))
            }
            FeatureKind::VariationalInformation { variance }
                if !(*variance > 1e-5 && *variance <= 500.0) =>
            {
                Some(("variance", format!("must be in (1e-5, 500], found {variance:?}")))
            }
            FeatureKind::Review { .. } if self.student.is_some() => {
                Some(("student", "`levels` says which layers: expected no other".to_owned()))
            }
            FeatureKind::Review { .. } if self.teacher.is_some() => {
                Some(("teacher", "`levels` says which layers: expected no other".to_owned()))
            }
            FeatureKind::Review { levels, .. }
                if levels.is_empty()
                    || levels
                        .windows(2)
                        .any(|two| two[0].0 >= two[1].0 || two[0].1 >= two[1].1) =>
            {
                let expected = "expected pairs of layers, at least one, the shallowest first";
                Some(("levels", format!("{expected}, found {levels:?}")))
            }
            FeatureKind::Review { middle, .. } if *middle < 1 => {
                Some(("middle", format!("must be at least 1, found {middle}")))
            }
            _ => None,
        }
    }
}

fn gamma() -> f64 {
    0.4
}

fn variance() -> f64 {
    5.0
}

fn width() -> i64 {
    128
}

fn contrast() -> f64 {
    0.07
}

fn half() -> f64 {
    0.5
}

fn negatives() -> usize {
    1024
}
