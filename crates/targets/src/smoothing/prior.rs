//! Where the smoothed share goes.

use serde::{Deserialize, Serialize};

use super::Convention;
use super::fused::Dense;
use crate::settings::check_settings;
use crate::{
    AllowedClasses, ClassDistribution, ClassMatrix, ClassTree, Error, Hierarchy, HistogramTarget,
    Ordinal, OrdinalDistance, Result,
};

/// π, the distribution that receives what is taken from the label.
///
/// In serialized form a table with a `kind`:
///
/// | table | prior |
/// |---|---|
/// | `{ kind = "mixture" }`, `{ kind = "off_target" }` | uniform; the same as `convention = "…"` |
/// | `{ kind = "vector", probabilities = [0.7, 0.3] }` | a class prior |
/// | `{ kind = "vector", counts = [70, 30], pseudo_count = 1 }` | the same from counts |
/// | `{ kind = "allowed", classes = [0, 2] }` | uniform over some classes, 0 on the rest |
/// | `{ kind = "matrix", matrix = [[0.9, 0.1], [0.2, 0.8]] }` | a row for each label |
/// | `{ kind = "similarity", matrix = [[1, 0.5], [0.5, 1]], temperature = 0.1 }` | the same from similarities |
/// | `{ kind = "similarity", embeddings = [[1, 0], [1, 1]], temperature = 0.1 }` | the same from embeddings |
/// | `{ kind = "confusion", matrix = [[90, 10], [5, 95]], pseudo_count = 1 }` | the same from counts |
/// | `{ kind = "histogram", target = { kind = "hl_gauss", .. }, values = [0.5, 1, 2] }` | a row for each label, as [`HistogramTarget`] encodes its value |
/// | `{ kind = "ordinal", distance = "absolute", scale = 1.0, positions = [0, 1, 5] }` | [`Ordinal`] |
/// | `{ kind = "hierarchy", paths = [["animal"], ["animal"], []], beta = 4 }` | [`Hierarchy`] |
/// | `{ kind = "hierarchy", parents = [3, 3, 4, 4, 4], beta = 4 }` | the same from parent links |
///
/// `pseudo_count` (0 if not given), `positions` and `values` (both 0, 1, 2, .. if not given) may be left out. Counts,
/// similarities, embeddings, histograms and paths are
/// read and worked out; what is written back is the vector, matrix or parent links that came of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
#[non_exhaustive]
pub enum Prior {
    /// All classes, or all but the label, get the same.
    Uniform(Convention),
    /// A distribution that is the same for every label.
    Vector(ClassDistribution),
    /// Uniform over some classes.
    Allowed(AllowedClasses),
    /// A distribution for each label.
    Matrix(ClassMatrix),
    /// A distribution for each label, by the order of the classes.
    Ordinal(Ordinal),
    /// A distribution for each label, by a tree of the classes.
    Hierarchy(Hierarchy),
}

impl Prior {
    /// The dense part of a fused target: nothing where the prior is uniform.
    ///
    /// # Errors
    /// If the prior is for another number of classes.
    pub fn dense(&self, classes: usize) -> Result<Dense> {
        let same = |what, found: usize| {
            if found == classes {
                return Ok(());
            }
            let (expected, found) = (classes.to_string(), found.to_string());
            Err(Error::from(softlabel_core::Error::mismatch(what, expected, found)))
        };
        Ok(match self {
            Self::Uniform(_) => Dense::None,
            Self::Vector(distribution) => {
                same("classes of the prior", distribution.classes())?;
                Dense::Vector(distribution.probabilities().to_vec())
            }
            Self::Allowed(allowed) => Dense::Vector(allowed.distribution(classes)?.into()),
            Self::Matrix(matrix) => {
                same("classes of the class matrix", matrix.classes())?;
                Dense::Matrix(matrix.as_slice().to_vec())
            }
            Self::Ordinal(ordinal) => Dense::Matrix(ordinal.matrix(classes)?.as_slice().to_vec()),
            Self::Hierarchy(hierarchy) => {
                same("classes of the tree", hierarchy.tree().classes())?;
                Dense::Matrix(hierarchy.matrix().as_slice().to_vec())
            }
        })
    }
}

impl From<Convention> for Prior {
    fn from(convention: Convention) -> Self {
        Self::Uniform(convention)
    }
}

impl From<ClassDistribution> for Prior {
    fn from(distribution: ClassDistribution) -> Self {
        Self::Vector(distribution)
    }
}

impl From<AllowedClasses> for Prior {
    fn from(allowed: AllowedClasses) -> Self {
        Self::Allowed(allowed)
    }
}

impl From<ClassMatrix> for Prior {
    fn from(matrix: ClassMatrix) -> Self {
        Self::Matrix(matrix)
    }
}

impl From<Ordinal> for Prior {
    fn from(ordinal: Ordinal) -> Self {
        Self::Ordinal(ordinal)
    }
}

impl From<Hierarchy> for Prior {
    fn from(hierarchy: Hierarchy) -> Self {
        Self::Hierarchy(hierarchy)
    }
}

impl std::fmt::Display for Prior {
    /// `mixture`, `off target`, or in words what receives the share.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uniform(Convention::Mixture) => formatter.write_str("mixture"),
            Self::Uniform(Convention::OffTarget) => formatter.write_str("off target"),
            Self::Vector(_) => formatter.write_str("class prior"),
            Self::Allowed(allowed) => {
                write!(formatter, "uniform over {} classes", allowed.classes().len())
            }
            Self::Matrix(matrix) => write!(formatter, "{0}×{0} class matrix", matrix.classes()),
            Self::Ordinal(ordinal) => {
                let distance = match ordinal.distance() {
                    OrdinalDistance::Absolute => "absolute",
                    OrdinalDistance::Squared => "squared",
                };
                write!(formatter, "ordinal, {distance}, scale {}", ordinal.scale())
            }
            Self::Hierarchy(hierarchy) => write!(formatter, "hierarchy, beta {}", hierarchy.beta()),
        }
    }
}

/// The serialized form: flat, so that an unknown key is found at its own place.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    probabilities: Option<ClassDistribution>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    counts: Option<Vec<f64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pseudo_count: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    classes: Option<AllowedClasses>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    matrix: Option<Vec<Vec<f64>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    embeddings: Option<Vec<Vec<f64>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<HistogramTarget>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    values: Option<Vec<f64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    distance: Option<OrdinalDistance>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scale: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    positions: Option<Vec<f64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parents: Option<ClassTree>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paths: Option<Vec<Vec<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    beta: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Mixture,
    OffTarget,
    Vector,
    Allowed,
    Matrix,
    Similarity,
    Confusion,
    Histogram,
    Ordinal,
    Hierarchy,
}

impl Kind {
    /// Its name in a file, the groups of keys of which it needs one, and the keys that may be left out.
    fn keys(self) -> (&'static str, &'static [&'static [&'static str]], &'static [&'static str]) {
        match self {
            Self::Mixture => ("mixture", &[&[]], &[]),
            Self::OffTarget => ("off_target", &[&[]], &[]),
            Self::Vector => ("vector", &[&["probabilities"], &["counts"]], &["pseudo_count"]),
            Self::Allowed => ("allowed", &[&["classes"]], &[]),
            Self::Matrix => ("matrix", &[&["matrix"]], &[]),
            Self::Similarity => {
                ("similarity", &[&["matrix", "temperature"], &["embeddings", "temperature"]], &[])
            }
            Self::Confusion => ("confusion", &[&["matrix"]], &["pseudo_count"]),
            Self::Histogram => ("histogram", &[&["target"]], &["values"]),
            Self::Ordinal => ("ordinal", &[&["distance", "scale"]], &["positions"]),
            Self::Hierarchy => ("hierarchy", &[&["parents", "beta"], &["paths", "beta"]], &[]),
        }
    }
}

impl TryFrom<Settings> for Prior {
    type Error = Error;

    fn try_from(settings: Settings) -> Result<Self> {
        let given = [
            ("probabilities", settings.probabilities.is_some()),
            ("counts", settings.counts.is_some()),
            ("pseudo_count", settings.pseudo_count.is_some()),
            ("classes", settings.classes.is_some()),
            ("matrix", settings.matrix.is_some()),
            ("embeddings", settings.embeddings.is_some()),
            ("temperature", settings.temperature.is_some()),
            ("target", settings.target.is_some()),
            ("values", settings.values.is_some()),
            ("distance", settings.distance.is_some()),
            ("scale", settings.scale.is_some()),
            ("positions", settings.positions.is_some()),
            ("parents", settings.parents.is_some()),
            ("paths", settings.paths.is_some()),
            ("beta", settings.beta.is_some()),
        ];
        let (kind, needed, optional) = settings.kind.keys();
        check_settings("prior", kind, &given, needed, optional)?;
        let pseudo_count = settings.pseudo_count.unwrap_or(0.0);
        let incomplete =
            || Error::Settings { what: "prior", kind, problem: "is incomplete".into() };
        let number = |value: Option<f64>| value.ok_or_else(incomplete);
        match settings.kind {
            Kind::Mixture => Ok(Convention::Mixture.into()),
            Kind::OffTarget => Ok(Convention::OffTarget.into()),
            Kind::Vector => match (settings.probabilities, settings.counts) {
                (Some(_), _) if settings.pseudo_count.is_some() => {
                    let problem = "takes `pseudo_count` with `counts` only".into();
                    Err(Error::Settings { what: "prior", kind, problem })
                }
                (Some(probabilities), _) => Ok(probabilities.into()),
                (None, counts) => {
                    let counts = counts.ok_or_else(incomplete)?;
                    Ok(ClassDistribution::from_counts(&counts, pseudo_count)?.into())
                }
            },
            Kind::Allowed => Ok(settings.classes.ok_or_else(incomplete)?.into()),
            Kind::Matrix => Ok(ClassMatrix::new(&settings.matrix.ok_or_else(incomplete)?)?.into()),
            Kind::Similarity => {
                let temperature = number(settings.temperature)?;
                let matrix = match (settings.matrix, settings.embeddings) {
                    (Some(rows), _) => {
                        crate::matrix::check_square("class similarities", &rows)?;
                        ClassMatrix::from_similarities(&rows.concat(), rows.len(), temperature)?
                    }
                    (None, embeddings) => ClassMatrix::from_embeddings(
                        &embeddings.ok_or_else(incomplete)?,
                        temperature,
                    )?,
                };
                Ok(matrix.into())
            }
            Kind::Confusion => {
                let rows = settings.matrix.ok_or_else(incomplete)?;
                crate::matrix::check_square("confusion counts", &rows)?;
                Ok(ClassMatrix::from_confusion(&rows.concat(), rows.len(), pseudo_count)?.into())
            }
            Kind::Histogram => {
                let histogram = settings.target.ok_or_else(incomplete)?;
                let values = settings.values.unwrap_or_else(|| {
                    (0..histogram.classes()).map(|class| class as f64).collect()
                });
                Ok(ClassMatrix::from_histogram(&histogram, &values)?.into())
            }
            Kind::Ordinal => {
                let distance = settings.distance.ok_or_else(incomplete)?;
                let ordinal = Ordinal::new(distance, number(settings.scale)?)?;
                Ok(match settings.positions {
                    None => ordinal.into(),
                    Some(positions) => ordinal.with_positions(positions)?.into(),
                })
            }
            Kind::Hierarchy => {
                let tree = match (settings.parents, settings.paths) {
                    (Some(tree), _) => tree,
                    (None, paths) => ClassTree::from_paths(&paths.ok_or_else(incomplete)?)?,
                };
                Ok(Hierarchy::new(tree, number(settings.beta)?)?.into())
            }
        }
    }
}

impl From<Prior> for Settings {
    fn from(prior: Prior) -> Self {
        let empty = |kind| Self {
            kind,
            probabilities: None,
            counts: None,
            pseudo_count: None,
            classes: None,
            matrix: None,
            embeddings: None,
            temperature: None,
            target: None,
            values: None,
            distance: None,
            scale: None,
            positions: None,
            parents: None,
            paths: None,
            beta: None,
        };
        match prior {
            Prior::Uniform(Convention::Mixture) => empty(Kind::Mixture),
            Prior::Uniform(Convention::OffTarget) => empty(Kind::OffTarget),
            Prior::Vector(distribution) => {
                Self { probabilities: Some(distribution), ..empty(Kind::Vector) }
            }
            Prior::Allowed(allowed) => Self { classes: Some(allowed), ..empty(Kind::Allowed) },
            Prior::Matrix(matrix) => Self { matrix: Some(matrix.into()), ..empty(Kind::Matrix) },
            Prior::Ordinal(ordinal) => Self {
                distance: Some(ordinal.distance()),
                scale: Some(ordinal.scale()),
                positions: ordinal.positions().map(<[f64]>::to_vec),
                ..empty(Kind::Ordinal)
            },
            Prior::Hierarchy(hierarchy) => Self {
                parents: Some(hierarchy.tree().clone()),
                beta: Some(hierarchy.beta()),
                ..empty(Kind::Hierarchy)
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> serde_json::Result<Prior> {
        serde_json::from_str(text)
    }

    #[test]
    fn every_kind_reads_and_what_is_written_reads_the_same() {
        for (text, classes) in [
            (r#"{"kind":"mixture"}"#, 3),
            (r#"{"kind":"off_target"}"#, 3),
            (r#"{"kind":"vector","probabilities":[0.7,0.3]}"#, 2),
            (r#"{"kind":"vector","counts":[7,2],"pseudo_count":1}"#, 2),
            (r#"{"kind":"allowed","classes":[2,0]}"#, 3),
            (r#"{"kind":"matrix","matrix":[[0.9,0.1],[0.2,0.8]]}"#, 2),
            (r#"{"kind":"similarity","matrix":[[1,0.5],[0.5,1]],"temperature":0.1}"#, 2),
            (r#"{"kind":"similarity","embeddings":[[1,0],[1,1]],"temperature":0.1}"#, 2),
            (r#"{"kind":"confusion","matrix":[[9,1],[0,0]],"pseudo_count":1}"#, 2),
            (r#"{"kind":"histogram","target":{"kind":"two_hot","low":0,"high":2,"classes":3}}"#, 3),
            (
                r#"{"kind":"histogram","target":{"kind":"hl_gauss","low":0,"high":9,"classes":2,"sigma":1},
                   "values":[1,8]}"#,
                2,
            ),
            (r#"{"kind":"ordinal","distance":"absolute","scale":1.5}"#, 4),
            (r#"{"kind":"ordinal","distance":"squared","scale":1,"positions":[0,1,5]}"#, 3),
            (r#"{"kind":"hierarchy","parents":[3,3,4,4,4],"beta":4}"#, 3),
            (r#"{"kind":"hierarchy","paths":[["a"],["a"],[]],"beta":4}"#, 3),
        ] {
            let prior = parse(text).unwrap();
            let written = serde_json::to_string(&prior).unwrap();
            assert_eq!(parse(&written).unwrap(), prior, "{written}");
            assert!(prior.dense(classes).is_ok(), "{text}");
            assert!(!prior.to_string().is_empty());
        }
    }

    #[test]
    fn what_is_missing_or_too_much_is_named() {
        for (bad, expected) in [
            (r#"{"kind":"vector"}"#, "prior of kind vector needs `probabilities` or `counts`"),
            (r#"{"kind":"vector","probabilities":[1],"counts":[1]}"#, "or `counts`, not both"),
            (r#"{"kind":"vector","probabilities":[1],"pseudo_count":1}"#, "with `counts` only"),
            (r#"{"kind":"vector","probabilities":[1],"beta":1}"#, "does not take `beta`"),
            (r#"{"kind":"vector","probabilities":[0.5,0.6]}"#, "row 0 sums to 1.1"),
            (r#"{"kind":"mixture","scale":1}"#, "does not take `scale`"),
            (r#"{"kind":"ordinal","scale":1}"#, "needs `distance` and `scale`"),
            (r#"{"kind":"ordinal","distance":"absolute","scale":0}"#, "positive and finite"),
            (r#"{"kind":"hierarchy","parents":[1,0],"beta":1}"#, "one root"),
            (
                r#"{"kind":"similarity","temperature":1}"#,
                "needs `matrix` and `temperature` or `embeddings`",
            ),
            (r#"{"kind":"histogram"}"#, "needs `target`"),
            (
                r#"{"kind":"histogram","target":{"kind":"two_hot","low":0,"high":1,"classes":3}}"#,
                "2",
            ),
            (r#"{"kind":"vectr"}"#, "unknown variant `vectr`"),
            (r#"{"kind":"vector","probability":[1]}"#, "unknown field `probability`"),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(expected), "{bad}: {error}");
        }
    }
}
