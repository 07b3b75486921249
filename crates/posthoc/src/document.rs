//! How a map is written down: one JSON document, whatever the map.
//!
//! ```json
//! {
//!   "schema": "softlabel.calibrator/1",
//!   "method": "temperature",
//!   "classes": 10,
//!   "parameters": { "temperature": 1.5 },
//!   "fit": {
//!     "samples": 5000, "nll_before": 0.4, "nll_after": 0.3, "iterations": 7, "outcome": "converged"
//!   }
//! }
//! ```
//!
//! `parameters` is the method's own; `fit` is absent of a map that was made from given parameters.
//! The number in `schema` rises when a document changes such that older versions cannot read it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use softlabel_core::{Error as Input, Temperature};

use crate::{
    AnyCalibrator, BetaCalibration, BetaCurve, BiasCorrectedTemperature, Calibrator,
    DirichletCalibration, Error, FitDiagnostics, HistogramBinning, Interpolation,
    IsotonicCalibration, IsotonicOptions, MatrixScaling, PlattScaling, Result, TemperatureScaling,
    VectorScaling, Zeros,
};

const SCHEMA: &str = "softlabel.calibrator/1";
const SCHEMA_NAME: &str = "softlabel.calibrator/";
const VERSION: u64 = 1;

impl TemperatureScaling {
    pub(crate) const METHOD: &'static str = "temperature";
}

impl PlattScaling {
    pub(crate) const METHOD: &'static str = "platt";
}

impl IsotonicCalibration {
    pub(crate) const METHOD: &'static str = "isotonic";
}

impl HistogramBinning {
    pub(crate) const METHOD: &'static str = "histogram_binning";
}

impl BetaCalibration {
    pub(crate) const METHOD: &'static str = "beta";
}

impl BiasCorrectedTemperature {
    pub(crate) const METHOD: &'static str = "bias_corrected_temperature";
}

impl VectorScaling {
    pub(crate) const METHOD: &'static str = "vector";
}

impl MatrixScaling {
    pub(crate) const METHOD: &'static str = "matrix";
}

impl DirichletCalibration {
    pub(crate) const METHOD: &'static str = "dirichlet";
}

/// The methods that this version reads and writes.
const METHODS: &[&str] = &[
    TemperatureScaling::METHOD,
    PlattScaling::METHOD,
    IsotonicCalibration::METHOD,
    HistogramBinning::METHOD,
    BetaCalibration::METHOD,
    BiasCorrectedTemperature::METHOD,
    VectorScaling::METHOD,
    MatrixScaling::METHOD,
    DirichletCalibration::METHOD,
];

/// What every version of the document has, so that a newer one is recognized before it fails to
/// parse.
#[derive(Deserialize)]
struct Header {
    schema: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    schema: String,
    method: String,
    classes: usize,
    parameters: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fit: Option<FitDiagnostics>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TemperatureParameters {
    temperature: Temperature,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlattParameters {
    slopes: Vec<f64>,
    intercepts: Vec<f64>,
}

/// Of maps that are affine in what a row says; a matrix is written row by row.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AffineParameters {
    weights: Vec<f64>,
    intercepts: Vec<f64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BiasCorrectedParameters {
    temperature: Temperature,
    intercepts: Vec<f64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IsotonicParameters {
    interpolation: Interpolation,
    zeros: Zeros,
    knots: Vec<Vec<(f64, f64)>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HistogramParameters {
    zeros: Zeros,
    bins: Vec<Vec<(f64, f64)>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BetaParameters {
    curves: Vec<BetaCurve>,
}

impl Document {
    /// Reads a document, whose schema is checked before anything else.
    pub(crate) fn from_json(json: &str) -> Result<Self> {
        let header: Header = serde_json::from_str(json)?;
        check_schema(&header.schema)?;
        Ok(serde_json::from_str(json)?)
    }

    fn new(method: &str, map: &impl Calibrator, parameters: Value) -> Self {
        Self {
            schema: SCHEMA.into(),
            method: method.into(),
            classes: map.classes(),
            parameters,
            fit: map.diagnostics().cloned(),
        }
    }
}

fn check_schema(schema: &str) -> Result<()> {
    let version = schema.strip_prefix(SCHEMA_NAME).and_then(|version| version.parse().ok());
    match version {
        Some(1..=VERSION) => Ok(()),
        Some(found @ 2..) => Err(Error::NewerSchema { found, supported: VERSION }),
        Some(0) | None => Err(Error::UnknownSchema { expected: SCHEMA, found: schema.into() }),
    }
}

/// Checks that there is one of something a class.
fn check_count(what: &'static str, classes: usize, found: usize) -> Result<()> {
    if found == classes {
        return Ok(());
    }
    Err(Input::mismatch(what, format!("{classes}, as classes"), found.to_string()).into())
}

impl From<TemperatureScaling> for Document {
    fn from(map: TemperatureScaling) -> Self {
        let parameters = serde_json::json!({ "temperature": map.temperature() });
        Self::new(TemperatureScaling::METHOD, &map, parameters)
    }
}

impl From<PlattScaling> for Document {
    fn from(map: PlattScaling) -> Self {
        let parameters = serde_json::json!({
            "slopes": map.slopes(),
            "intercepts": map.intercepts(),
        });
        Self::new(PlattScaling::METHOD, &map, parameters)
    }
}

impl From<IsotonicCalibration> for Document {
    fn from(map: IsotonicCalibration) -> Self {
        let IsotonicOptions { interpolation, zeros } = map.options();
        let parameters = serde_json::json!({
            "interpolation": interpolation,
            "zeros": zeros,
            "knots": map.knots(),
        });
        Self::new(IsotonicCalibration::METHOD, &map, parameters)
    }
}

impl From<HistogramBinning> for Document {
    fn from(map: HistogramBinning) -> Self {
        let parameters = serde_json::json!({ "zeros": map.zeros(), "bins": map.bins() });
        Self::new(HistogramBinning::METHOD, &map, parameters)
    }
}

impl From<BetaCalibration> for Document {
    fn from(map: BetaCalibration) -> Self {
        let parameters = serde_json::json!({ "curves": map.curves() });
        Self::new(BetaCalibration::METHOD, &map, parameters)
    }
}

impl From<BiasCorrectedTemperature> for Document {
    fn from(map: BiasCorrectedTemperature) -> Self {
        let parameters = serde_json::json!({
            "temperature": map.temperature(),
            "intercepts": map.intercepts(),
        });
        Self::new(BiasCorrectedTemperature::METHOD, &map, parameters)
    }
}

/// Maps that are affine in what a row says.
macro_rules! affine {
    ($($map:ident),+) => {$(
        impl From<$map> for Document {
            fn from(map: $map) -> Self {
                let parameters = serde_json::json!({
                    "weights": map.weights(),
                    "intercepts": map.intercepts(),
                });
                Self::new($map::METHOD, &map, parameters)
            }
        }

        impl $map {
            fn read(classes: usize, parameters: Value, fit: Option<FitDiagnostics>) -> Result<Self> {
                let AffineParameters { weights, intercepts } = serde_json::from_value(parameters)?;
                check_count("number of intercepts", classes, intercepts.len())?;
                Self::from_parts(weights, intercepts, fit)
            }
        }
    )+};
}

affine!(VectorScaling, MatrixScaling, DirichletCalibration);

impl From<AnyCalibrator> for Document {
    fn from(map: AnyCalibrator) -> Self {
        match map {
            AnyCalibrator::Temperature(map) => map.into(),
            AnyCalibrator::Platt(map) => map.into(),
            AnyCalibrator::Isotonic(map) => map.into(),
            AnyCalibrator::Histogram(map) => map.into(),
            AnyCalibrator::Beta(map) => map.into(),
            AnyCalibrator::BiasCorrected(map) => map.into(),
            AnyCalibrator::Vector(map) => map.into(),
            AnyCalibrator::Matrix(map) => map.into(),
            AnyCalibrator::Dirichlet(map) => map.into(),
        }
    }
}

impl TryFrom<Document> for AnyCalibrator {
    type Error = Error;

    fn try_from(document: Document) -> Result<Self> {
        check_schema(&document.schema)?;
        let Document { method, classes, parameters, fit, .. } = document;
        match method.as_str() {
            TemperatureScaling::METHOD => {
                let TemperatureParameters { temperature } = serde_json::from_value(parameters)?;
                Ok(Self::Temperature(TemperatureScaling::from_parts(temperature, classes, fit)?))
            }
            PlattScaling::METHOD => {
                let PlattParameters { slopes, intercepts } = serde_json::from_value(parameters)?;
                check_count("number of slopes", classes, slopes.len())?;
                Ok(Self::Platt(PlattScaling::from_parts(&slopes, &intercepts, fit)?))
            }
            IsotonicCalibration::METHOD => {
                let IsotonicParameters { interpolation, zeros, knots } =
                    serde_json::from_value(parameters)?;
                let options = IsotonicOptions { interpolation, zeros };
                Ok(Self::Isotonic(IsotonicCalibration::from_parts(classes, knots, options, fit)?))
            }
            HistogramBinning::METHOD => {
                let HistogramParameters { zeros, bins } = serde_json::from_value(parameters)?;
                Ok(Self::Histogram(HistogramBinning::from_parts(classes, bins, zeros, fit)?))
            }
            BetaCalibration::METHOD => {
                let BetaParameters { curves } = serde_json::from_value(parameters)?;
                Ok(Self::Beta(BetaCalibration::from_parts(classes, curves, fit)?))
            }
            BiasCorrectedTemperature::METHOD => {
                let BiasCorrectedParameters { temperature, intercepts } =
                    serde_json::from_value(parameters)?;
                check_count("number of intercepts", classes, intercepts.len())?;
                let map = BiasCorrectedTemperature::from_parts(temperature, intercepts, fit)?;
                Ok(Self::BiasCorrected(map))
            }
            VectorScaling::METHOD => {
                Ok(Self::Vector(VectorScaling::read(classes, parameters, fit)?))
            }
            MatrixScaling::METHOD => {
                Ok(Self::Matrix(MatrixScaling::read(classes, parameters, fit)?))
            }
            DirichletCalibration::METHOD => {
                Ok(Self::Dirichlet(DirichletCalibration::read(classes, parameters, fit)?))
            }
            _ => Err(Error::UnknownMethod { known: METHODS, found: method }),
        }
    }
}

/// A single map is read as any map is, and must turn out to be of its kind.
macro_rules! read_single {
    ($($map:ident => $variant:ident),+ $(,)?) => {$(
        impl TryFrom<Document> for $map {
            type Error = Error;

            fn try_from(document: Document) -> Result<Self> {
                match AnyCalibrator::try_from(document)? {
                    AnyCalibrator::$variant(map) => Ok(map),
                    other => {
                        Err(Error::OtherMethod { expected: Self::METHOD, found: other.method() })
                    }
                }
            }
        }
    )+};
}

read_single! {
    TemperatureScaling => Temperature,
    PlattScaling => Platt,
    IsotonicCalibration => Isotonic,
    HistogramBinning => Histogram,
    BetaCalibration => Beta,
    BiasCorrectedTemperature => BiasCorrected,
    VectorScaling => Vector,
    MatrixScaling => Matrix,
    DirichletCalibration => Dirichlet,
}
