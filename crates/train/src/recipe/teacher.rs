//! Who teaches an arm, as data: the key `teacher` under `arms.NAME.distill`.

use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use softlabel_distill::{Average, Ensemble, VirtualTeacher, Weighting};

/// Whoever teaches.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TeacherSource {
    /// An earlier arm, by name.
    Arm(String),
    /// An arm of a run that is done: its folder, the name of the arm, and the seed of the one teacher of all seeds, if it
    /// is not for each seed the teacher of that seed.
    Run { run: PathBuf, arm: String, seed: Option<u64> },
    /// A TorchScript file, what its pixels are, and how many classes it has, if not those of the data.
    Script { script: PathBuf, pixels: Pixels, classes: Option<usize> },
    /// The folder of a logit cache, and how the fingerprint of the teacher's weights begins, if that is said.
    Cache { cache: PathBuf, weights: Option<String> },
    /// Nobody: the label with some confidence, all else alike. Its probabilities may stand in the place of logits.
    Virtual { teacher: VirtualTeacher, probabilities_as_logits: bool },
    /// Some of the above, together; with a gate, a model that learns whom to listen to, sample by sample.
    Several { teachers: Vec<TeacherSource>, ensemble: Ensemble, gate: Option<String> },
    /// Networks of these models that learn at the same time, each from all others.
    Peers(Vec<String>),
}

/// What the pixels of a TorchScript teacher are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pixels {
    /// From 0 to 1.
    #[default]
    Unit,
    /// With the mean and deviation of the training pixels taken out, as the models of a recipe see them.
    Standardized,
}

impl TeacherSource {
    /// Each teacher that speaks for itself.
    pub(crate) fn each(&self) -> &[Self] {
        match self {
            Self::Several { teachers, .. } => teachers,
            one => std::slice::from_ref(one),
        }
    }

    /// In words, each teacher that speaks for itself: the name of an arm, or where it comes from.
    pub(crate) fn titles(&self) -> Vec<String> {
        let title = |source: &Self| match source {
            Self::Arm(name) => name.clone(),
            Self::Run { run, arm, seed: None } => format!("{arm} of {}", run.display()),
            Self::Run { run, arm, seed: Some(seed) } => {
                format!("{arm} of {}, seed {seed}", run.display())
            }
            Self::Script { script, .. } => script.display().to_string(),
            Self::Cache { cache, .. } => format!("cache {}", cache.display()),
            Self::Virtual { .. } => "nobody".to_owned(),
            Self::Peers(models) => format!("peers {}", models.join(", ")),
            Self::Several { teachers, .. } => {
                teachers.iter().flat_map(Self::titles).collect::<Vec<_>>().join(", ")
            }
        };
        self.each().iter().map(title).collect()
    }

    /// The earlier arms among the teachers.
    pub(crate) fn arms(&self) -> impl Iterator<Item = &str> {
        self.each().iter().filter_map(|source| match source {
            Self::Arm(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The models that are trained beside the student: of peers and of a gate.
    pub(crate) fn models(&self) -> &[String] {
        match self {
            Self::Peers(models) => models,
            Self::Several { gate: Some(gate), .. } => std::slice::from_ref(gate),
            _ => &[],
        }
    }

    /// Whether one of the teachers was trained for one seed and teaches all.
    pub(crate) fn teaches_other_seeds(&self) -> bool {
        let one =
            |source: &Self| matches!(source, Self::Run { seed: Some(_), .. } | Self::Cache { .. });
        self.each().iter().any(one)
    }

    /// Whether one of the teachers was asked about the images as they are, before anything is trained.
    pub(crate) fn is_recorded(&self) -> bool {
        let recorded = |source: &Self| {
            matches!(source, Self::Run { .. } | Self::Script { .. } | Self::Cache { .. })
        };
        self.each().iter().any(recorded)
    }

    /// Whether there are logits of a teacher to be calibrated.
    pub(crate) fn has_logits(&self) -> bool {
        !matches!(self, Self::Virtual { .. } | Self::Peers(_))
    }
}

/// The keys of a teacher that is no arm of the recipe.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arm: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    script: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pixels: Option<Pixels>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    classes: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weights: Option<String>,
    #[serde(default, rename = "virtual", skip_serializing_if = "Option::is_none")]
    nobody: Option<VirtualTeacher>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    probabilities_as_logits: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    several: Option<Vec<TeacherSource>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    average: Option<Average>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weighting: Option<Weighting>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gate: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peers: Option<Vec<String>>,
}

/// The key that says what kind of teacher it is, and the keys that go with it.
const KINDS: [(&str, &[&str]); 6] = [
    ("run", &["arm", "seed"]),
    ("script", &["pixels", "classes"]),
    ("cache", &["weights"]),
    ("virtual", &["probabilities_as_logits"]),
    ("several", &["average", "weighting", "gate"]),
    ("peers", &[]),
];

impl Written {
    /// The keys that were written.
    fn keys(&self) -> Vec<&'static str> {
        let there = [
            ("run", self.run.is_some()),
            ("arm", self.arm.is_some()),
            ("seed", self.seed.is_some()),
            ("script", self.script.is_some()),
            ("pixels", self.pixels.is_some()),
            ("classes", self.classes.is_some()),
            ("cache", self.cache.is_some()),
            ("weights", self.weights.is_some()),
            ("virtual", self.nobody.is_some()),
            ("probabilities_as_logits", self.probabilities_as_logits.is_some()),
            ("several", self.several.is_some()),
            ("average", self.average.is_some()),
            ("weighting", self.weighting.is_some()),
            ("gate", self.gate.is_some()),
            ("peers", self.peers.is_some()),
        ];
        there.into_iter().filter_map(|(key, is_there)| is_there.then_some(key)).collect()
    }

    fn checked(self) -> Result<TeacherSource, String> {
        let keys = self.keys();
        let fits = |(kind, others): &(&str, &[&str])| {
            keys.contains(kind) && keys.iter().all(|key| key == kind || others.contains(key))
        };
        let expected = "expected `run` and `arm` (and `seed`), or `script` (and `pixels`, `classes`), \
                        or `cache` (and `weights`), or `virtual` (and `probabilities_as_logits`), \
                        or `several` (and `average`, and `weighting` or `gate`), or `peers`";
        if !KINDS.iter().any(fits) {
            return Err(expected.to_owned());
        }
        match self {
            Self { run: Some(run), arm: Some(arm), seed, .. } => {
                Ok(TeacherSource::Run { run, arm, seed })
            }
            Self { script: Some(script), pixels, classes, .. } => {
                Ok(TeacherSource::Script { script, pixels: pixels.unwrap_or_default(), classes })
            }
            Self { cache: Some(cache), weights, .. } => Ok(TeacherSource::Cache { cache, weights }),
            Self { nobody: Some(teacher), probabilities_as_logits, .. } => {
                let probabilities_as_logits = probabilities_as_logits.unwrap_or_default();
                Ok(TeacherSource::Virtual { teacher, probabilities_as_logits })
            }
            Self { several: Some(teachers), average, weighting, gate, .. } => {
                several(teachers, average.unwrap_or_default(), weighting, gate)
            }
            Self { peers: Some(models), .. } if !models.is_empty() => {
                Ok(TeacherSource::Peers(models))
            }
            Self { peers: Some(_), .. } => {
                Err("`peers` must name at least one model, found none".to_owned())
            }
            _ => Err(expected.to_owned()),
        }
    }
}

fn several(
    teachers: Vec<TeacherSource>,
    average: Average,
    weighting: Option<Weighting>,
    gate: Option<String>,
) -> Result<TeacherSource, String> {
    let found = teachers.len();
    if found < 2 {
        return Err(format!("`several` must name at least two teachers, found {found}"));
    }
    if teachers.iter().any(|one| !one.has_logits() || one.each().len() != 1) {
        return Err("`several` takes teachers of one voice: arms, runs, scripts and caches".into());
    }
    if weighting.is_some() && gate.is_some() {
        return Err("`gate` stands in the place of `weighting`: expected one of the two".into());
    }
    let ensemble = match weighting.unwrap_or_default() {
        Weighting::Fixed(weights) if weights.len() != found => {
            let count = weights.len();
            return Err(format!("expected {found} weights, one a teacher, found {count}"));
        }
        Weighting::Fixed(weights) => {
            Ensemble::fixed(average, weights).map_err(|error| error.to_string())?
        }
        Weighting::Confidence => Ensemble::confidence(average, None),
        _ => Ensemble::equal(average),
    };
    Ok(TeacherSource::Several { teachers, ensemble, gate })
}

impl Serialize for TeacherSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let none = Written::default();
        match self.clone() {
            Self::Arm(name) => return name.serialize(serializer),
            Self::Run { run, arm, seed } => {
                Written { run: Some(run), arm: Some(arm), seed, ..none }
            }
            Self::Script { script, pixels, classes } => {
                Written { script: Some(script), pixels: Some(pixels), classes, ..none }
            }
            Self::Cache { cache, weights } => Written { cache: Some(cache), weights, ..none },
            Self::Virtual { teacher, probabilities_as_logits } => {
                let probabilities_as_logits = Some(probabilities_as_logits);
                Written { nobody: Some(teacher), probabilities_as_logits, ..none }
            }
            Self::Several { teachers, ensemble, gate } => Written {
                several: Some(teachers),
                average: Some(ensemble.average()),
                weighting: gate.is_none().then(|| ensemble.weighting().clone()),
                gate,
                ..none
            },
            Self::Peers(models) => Written { peers: Some(models), ..none },
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TeacherSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = TeacherSource;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(
            "the name of an earlier arm, { run = .., arm = .. }, { script = .. }, { cache = .. }, \
             { virtual = .. }, { several = [..] } or { peers = [..] }",
        )
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<TeacherSource, E> {
        Ok(TeacherSource::Arm(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TeacherSource, A::Error> {
        Written::deserialize(MapAccessDeserializer::new(map))?.checked().map_err(de::Error::custom)
    }
}
