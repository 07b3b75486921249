//! Methods by name: what is to be fitted, as data.
//!
//! A program or a recipe names a method by a word, `"temperature"`, or by a table with what the
//! method can be told, `{ method = "beta", form = "ab" }`; what is left out has its default.
//! The names are those that documents of fitted maps carry.

use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use softlabel_core::{Logits, Scalar};

use crate::any::METHODS;
use crate::composition::{IDENTITY, JOINT, joined};
use crate::{
    AnyCalibrator, BayesianBinning, BetaCalibration, BetaForm, BiasCorrectedTemperature,
    ClassTemperature, Composition, DirichletCalibration, EnsembleTemperature, Error, FitLoss,
    HistogramBinning, HistogramOptions, IsotonicCalibration, IsotonicOptions, MatrixRidge,
    MatrixScaling, MixtureOptions, Odir, ParametrizedOptions, ParametrizedTemperature,
    PlattScaling, QuadraticPlattScaling, Result, ScalingBinning, SplineCalibration, SplineOptions,
    StructuredMatrixScaling, StructuredVectorScaling, Targets, TemperatureMixture,
    TemperatureScaling, VectorRidge, VectorScaling, VennAbers,
};

/// A way of calibrating, with all it can be told: [`fit`](Self::fit) makes a map of it.
///
/// Read from a word or a table, written as a table; read from a text with [`FromStr`].
///
/// ```
/// use softlabel_posthoc::{BetaForm, Method};
///
/// let method: Method = "beta".parse()?;
/// assert_eq!(method, Method::Beta { form: BetaForm::Abm });
/// assert_eq!(method.name(), "beta");
///
/// let method: Method = serde_json::from_str(r#"{"method": "beta", "form": "ab"}"#)?;
/// assert_eq!(method, Method::Beta { form: BetaForm::Ab });
/// assert_eq!(serde_json::from_str::<Method>(r#""platt""#)?, Method::Platt);
///
/// let error = "tepmerature".parse::<Method>().unwrap_err();
/// assert!(error.to_string().starts_with(r#"unknown method "tepmerature", expected one of"#));
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "method", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Method {
    /// [`TemperatureScaling`].
    Temperature,
    /// [`BiasCorrectedTemperature`].
    BiasCorrectedTemperature,
    /// [`PlattScaling`].
    Platt,
    /// [`IsotonicCalibration`].
    Isotonic(IsotonicOptions),
    /// [`HistogramBinning`].
    HistogramBinning(HistogramOptions),
    /// [`BetaCalibration`].
    Beta {
        /// Which numbers are free.
        #[serde(default)]
        form: BetaForm,
    },
    /// [`VectorScaling`].
    Vector,
    /// [`MatrixScaling`].
    Matrix {
        /// How much it is held back; not at all without.
        #[serde(default)]
        regularization: Option<Odir>,
    },
    /// [`DirichletCalibration`].
    Dirichlet(Odir),
    /// [`QuadraticPlattScaling`].
    QuadraticPlatt,
    /// [`VennAbers`].
    VennAbers,
    /// [`BayesianBinning`].
    Bbq,
    /// [`TemperatureMixture`].
    TsMix(MixtureOptions),
    /// [`StructuredVectorScaling`].
    Svs(VectorRidge),
    /// [`StructuredMatrixScaling`].
    Sms(MatrixRidge),
    /// [`ClassTemperature`].
    ClassTemperature,
    /// [`EnsembleTemperature`].
    EnsembleTemperature {
        /// What is minimized.
        #[serde(default)]
        loss: FitLoss,
    },
    /// [`ScalingBinning`].
    ScalingBinning {
        /// The most bins that a class has.
        #[serde(default = "default_bins")]
        bins: usize,
    },
    /// [`SplineCalibration`].
    Spline(SplineOptions),
    /// [`ParametrizedTemperature`].
    ParametrizedTemperature(ParametrizedOptions),
    /// [`Composition`], the first method first; in a text with `+` between them, `identity` for none.
    #[serde(skip)]
    Composition(Vec<Method>),
}

/// Why [`VennAbers`] takes labels alone.
const ONE_BY_ONE: &str = "its promise is one of rows that are exchangeable, each counting once";

/// Why [`SplineCalibration`] takes labels alone.
const POINT_BY_POINT: &str = "its spline runs through running sums, with one point a row";

fn default_bins() -> usize {
    ScalingBinning::DEFAULT_BINS
}

impl Method {
    /// The names of all methods.
    ///
    /// ```
    /// assert!(softlabel_posthoc::Method::names().contains(&"temperature"));
    /// ```
    pub fn names() -> &'static [&'static str] {
        METHODS
    }

    /// The name of the method, as fitted maps have it too.
    pub fn name(&self) -> String {
        match self.table().get("method") {
            Some(Value::String(name)) => name.clone(),
            _ => String::new(),
        }
    }

    /// Fits a map to `logits` `[rows, classes]` and what they should have said.
    ///
    /// # Errors
    /// Those of the map's own `fit`; [`Error::Unsupported`] from `venn_abers` and `spline`, which know
    /// nothing of weights or of distributions in place of labels, if the targets have them.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::{AnyCalibrator, Method};
    ///
    /// let logits = Logits::new([9.0f64.ln(), 0.0].repeat(4), 2)?;
    /// let map = Method::Temperature.fit(&logits, &Labels::new(&[0, 0, 0, 1], 2)?)?;
    /// let AnyCalibrator::Temperature(scaling) = map else { unreachable!() };
    /// assert!((scaling.temperature().get() - 2.0).abs() < 1e-9);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<'t, T: Scalar>(
        &self,
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
    ) -> Result<AnyCalibrator> {
        let targets = &targets.into();
        Ok(match self {
            Self::Temperature => TemperatureScaling::fit(logits, targets)?.into(),
            Self::BiasCorrectedTemperature => {
                BiasCorrectedTemperature::fit(logits, targets)?.into()
            }
            Self::Platt => PlattScaling::fit(logits, targets)?.into(),
            Self::Isotonic(options) => IsotonicCalibration::fit(logits, targets, *options)?.into(),
            Self::HistogramBinning(options) => {
                HistogramBinning::fit(logits, targets, *options)?.into()
            }
            Self::Beta { form } => BetaCalibration::fit(logits, targets, *form)?.into(),
            Self::Vector => VectorScaling::fit(logits, targets)?.into(),
            Self::Matrix { regularization: None } => MatrixScaling::fit(logits, targets)?.into(),
            Self::Matrix { regularization: Some(odir) } => {
                MatrixScaling::fit_regularized(logits, targets, *odir)?.into()
            }
            Self::Dirichlet(odir) => DirichletCalibration::fit(logits, targets, *odir)?.into(),
            Self::QuadraticPlatt => QuadraticPlattScaling::fit(logits, targets)?.into(),
            Self::Bbq => BayesianBinning::fit(logits, targets)?.into(),
            Self::VennAbers => {
                VennAbers::fit(logits, targets.only_labels("venn_abers", ONE_BY_ONE)?)?.into()
            }
            Self::Composition(methods) => Composition::fit(methods, logits, targets)?.into(),
            Self::TsMix(options) => TemperatureMixture::fit(logits, targets, *options)?.into(),
            Self::Svs(ridge) => StructuredVectorScaling::fit(logits, targets, *ridge)?.into(),
            Self::Sms(ridge) => StructuredMatrixScaling::fit(logits, targets, *ridge)?.into(),
            Self::ClassTemperature => ClassTemperature::fit(logits, targets)?.into(),
            Self::EnsembleTemperature { loss } => {
                EnsembleTemperature::fit(logits, targets, *loss)?.into()
            }
            Self::ScalingBinning { bins } => ScalingBinning::fit(logits, targets, *bins)?.into(),
            Self::Spline(options) => {
                let labels = targets.only_labels("spline", POINT_BY_POINT)?;
                SplineCalibration::fit(logits, labels, *options)?.into()
            }
            Self::ParametrizedTemperature(options) => {
                ParametrizedTemperature::fit(logits, targets, *options)?.into()
            }
        })
    }

    /// The method as a table; every parameter is in it.
    fn table(&self) -> Map<String, Value> {
        if let Self::Composition(stages) = self {
            let names: Vec<String> = stages.iter().map(Self::name).collect();
            let name = joined(names.iter().map(String::as_str));
            let stages = stages.iter().map(|stage| Value::Object(stage.table()));
            return Map::from_iter([
                ("method".to_owned(), Value::String(name)),
                ("stages".to_owned(), Value::Array(stages.collect())),
            ]);
        }
        // Writing to a value fails only for keys that are no strings, and methods have none.
        match serde_json::to_value(self) {
            Ok(Value::Object(table)) => table,
            _ => Map::new(),
        }
    }

    fn from_table(table: &Map<String, Value>) -> Result<Self, serde_json::Error> {
        let Some(Value::String(name)) = table.get("method") else {
            return Err(serde_json::Error::custom("a table without the name of a `method`"));
        };
        if name == IDENTITY || name.contains(JOINT) {
            return Self::composition_from_table(name, table);
        }
        if !METHODS.contains(&name.as_str()) {
            let error = Error::UnknownMethod { known: METHODS, found: name.clone() };
            return Err(serde_json::Error::custom(error));
        }
        let method = Self::deserialize(Value::Object(table.clone()))?;
        method.of_table(table)
    }

    /// A composition, whose stages have their defaults if the table says only their names.
    fn composition_from_table(
        name: &str,
        table: &Map<String, Value>,
    ) -> Result<Self, serde_json::Error> {
        let names = || name.split(JOINT).filter(|name| *name != IDENTITY);
        let stages: Vec<Self> = match table.get("stages") {
            Some(stages) => serde_json::from_value(stages.clone())?,
            None => names()
                .map(|name| name.parse().map_err(serde_json::Error::custom))
                .collect::<Result<_, _>>()?,
        };
        let method = Self::Composition(stages);
        if method.name() != name {
            let found = method.name();
            let message = format!("the stages of the method {name:?} are those of {found:?}");
            return Err(serde_json::Error::custom(message));
        }
        method.of_table(table)
    }

    /// This method, if the table it was read from says nothing that it does not know.
    fn of_table(self, table: &Map<String, Value>) -> Result<Self, serde_json::Error> {
        let known = self.table();
        match table.keys().find(|key| !known.contains_key(*key)) {
            None => Ok(self),
            Some(key) => {
                let name = self.name();
                let expected: Vec<&str> = known.keys().map(String::as_str).collect();
                let expected = expected.join(", ");
                Err(serde_json::Error::custom(format!(
                    "the method {name:?} has no {key:?}, expected one of {expected}"
                )))
            }
        }
    }
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let name = text.trim().replace('-', "_");
        let mut words = name.split(JOINT).filter(|word| name != IDENTITY || *word != IDENTITY);
        if let Some(unknown) = words.find(|word| !METHODS.contains(word)) {
            let found = if name.contains(JOINT) { unknown } else { text };
            return Err(Error::UnknownMethod { known: METHODS, found: found.into() });
        }
        let table = Map::from_iter([("method".to_owned(), Value::String(name))]);
        Ok(Self::from_table(&table)?)
    }
}

impl Serialize for Method {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Self::Composition(stages) = self {
            // The stages as methods: as a table, one would say of a missing number that it is null.
            let mut table = serializer.serialize_map(Some(2))?;
            table.serialize_entry("method", &self.name())?;
            table.serialize_entry("stages", stages)?;
            return table.end();
        }
        // The derived function of this name, not the trait's.
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Method {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;

        impl<'de> Visitor<'de> for Word {
            type Value = Method;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("the name of a method, or a table with its `method`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Method, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Method, A::Error> {
                let table = Map::deserialize(MapAccessDeserializer::new(map))?;
                Method::from_table(&table).map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_any(Word)
    }
}
