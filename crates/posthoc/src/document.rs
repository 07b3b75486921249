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

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use softlabel_core::{Error as Input, Temperature};

use crate::{
    BetaCalibration, BetaCurve, BiasCorrectedTemperature, Calibrator, DirichletCalibration, Error,
    FitDiagnostics, HistogramBinning, Interpolation, IsotonicCalibration, IsotonicOptions,
    MatrixScaling, PlattScaling, Result, TemperatureScaling, VectorScaling, Zeros,
};

const SCHEMA: &str = "softlabel.calibrator/1";
const SCHEMA_NAME: &str = "softlabel.calibrator/";
const VERSION: u64 = 1;

/// A map that can be written as a document and read from one.
pub(crate) trait Written: Calibrator + Sized {
    /// The name of the method.
    const METHOD: &'static str;

    /// The name of the method of this map, which its documents carry.
    fn method(&self) -> &str {
        Self::METHOD
    }

    /// What a document holds under `parameters`.
    type Parameters: Serialize + DeserializeOwned;

    fn parameters(&self) -> Self::Parameters;

    /// The map with these parameters, which are checked.
    fn restore(
        classes: usize,
        parameters: Self::Parameters,
        fit: Option<FitDiagnostics>,
    ) -> Result<Self>;
}

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

impl Document {
    /// Reads a document, whose schema is checked before anything else.
    pub(crate) fn from_json(json: &str) -> Result<Self> {
        let header: Header = serde_json::from_str(json)?;
        check_schema(&header.schema)?;
        Ok(serde_json::from_str(json)?)
    }

    pub(crate) fn of<M: Written>(map: &M) -> Self {
        Self {
            schema: SCHEMA.into(),
            method: map.method().into(),
            classes: map.classes(),
            // Writing to a value fails only for keys that are no strings, and parameters have none.
            parameters: serde_json::to_value(map.parameters()).unwrap_or_default(),
            fit: map.diagnostics().cloned(),
        }
    }

    pub(crate) fn method(&self) -> Result<&str> {
        check_schema(&self.schema)?;
        Ok(&self.method)
    }

    pub(crate) fn restore<M: Written>(self) -> Result<M> {
        M::restore(self.classes, serde_json::from_value(self.parameters)?, self.fit)
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
pub(crate) fn check_count(what: &'static str, classes: usize, found: usize) -> Result<()> {
    if found == classes {
        return Ok(());
    }
    Err(Input::mismatch(what, format!("{classes}, as classes"), found.to_string()).into())
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TemperatureParameters {
    temperature: Temperature,
}

impl Written for TemperatureScaling {
    const METHOD: &'static str = "temperature";
    type Parameters = TemperatureParameters;

    fn parameters(&self) -> TemperatureParameters {
        TemperatureParameters { temperature: self.temperature() }
    }

    fn restore(
        classes: usize,
        parameters: TemperatureParameters,
        fit: Option<FitDiagnostics>,
    ) -> Result<Self> {
        Self::from_parts(parameters.temperature, classes, fit)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlattParameters {
    intercepts: Vec<f64>,
    slopes: Vec<f64>,
}

impl Written for PlattScaling {
    const METHOD: &'static str = "platt";
    type Parameters = PlattParameters;

    fn parameters(&self) -> PlattParameters {
        PlattParameters { intercepts: self.intercepts(), slopes: self.slopes() }
    }

    fn restore(
        classes: usize,
        parameters: PlattParameters,
        fit: Option<FitDiagnostics>,
    ) -> Result<Self> {
        check_count("number of slopes", classes, parameters.slopes.len())?;
        Self::from_parts(&parameters.slopes, &parameters.intercepts, fit)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BiasCorrectedParameters {
    intercepts: Vec<f64>,
    temperature: Temperature,
}

impl Written for BiasCorrectedTemperature {
    const METHOD: &'static str = "bias_corrected_temperature";
    type Parameters = BiasCorrectedParameters;

    fn parameters(&self) -> BiasCorrectedParameters {
        BiasCorrectedParameters {
            intercepts: self.intercepts().to_vec(),
            temperature: self.temperature(),
        }
    }

    fn restore(
        classes: usize,
        parameters: BiasCorrectedParameters,
        fit: Option<FitDiagnostics>,
    ) -> Result<Self> {
        check_count("number of intercepts", classes, parameters.intercepts.len())?;
        Self::from_parts(parameters.temperature, parameters.intercepts, fit)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IsotonicParameters {
    interpolation: Interpolation,
    knots: Vec<Vec<(f64, f64)>>,
    zeros: Zeros,
}

impl Written for IsotonicCalibration {
    const METHOD: &'static str = "isotonic";
    type Parameters = IsotonicParameters;

    fn parameters(&self) -> IsotonicParameters {
        let IsotonicOptions { interpolation, zeros, .. } = self.options();
        IsotonicParameters { interpolation, knots: self.knots().to_vec(), zeros }
    }

    fn restore(
        classes: usize,
        parameters: IsotonicParameters,
        fit: Option<FitDiagnostics>,
    ) -> Result<Self> {
        let IsotonicParameters { interpolation, knots, zeros } = parameters;
        Self::from_parts(classes, knots, IsotonicOptions { interpolation, zeros }, fit)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistogramParameters {
    bins: Vec<Vec<(f64, f64)>>,
    zeros: Zeros,
}

impl Written for HistogramBinning {
    const METHOD: &'static str = "histogram_binning";
    type Parameters = HistogramParameters;

    fn parameters(&self) -> HistogramParameters {
        HistogramParameters { bins: self.bins().to_vec(), zeros: self.zeros() }
    }

    fn restore(
        classes: usize,
        parameters: HistogramParameters,
        fit: Option<FitDiagnostics>,
    ) -> Result<Self> {
        Self::from_parts(classes, parameters.bins, parameters.zeros, fit)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BetaParameters {
    curves: Vec<BetaCurve>,
}

impl Written for BetaCalibration {
    const METHOD: &'static str = "beta";
    type Parameters = BetaParameters;

    fn parameters(&self) -> BetaParameters {
        BetaParameters { curves: self.curves().to_vec() }
    }

    fn restore(
        classes: usize,
        parameters: BetaParameters,
        fit: Option<FitDiagnostics>,
    ) -> Result<Self> {
        Self::from_parts(classes, parameters.curves, fit)
    }
}

/// Of maps that are affine in what a row says; a matrix is written row by row.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AffineParameters {
    intercepts: Vec<f64>,
    weights: Vec<f64>,
}

/// Maps that are affine in what a row says.
macro_rules! affine {
    ($($map:ident: $method:literal),+) => {$(
        impl Written for $map {
            const METHOD: &'static str = $method;
            type Parameters = AffineParameters;

            fn parameters(&self) -> AffineParameters {
                AffineParameters {
                    intercepts: self.intercepts().to_vec(),
                    weights: self.weights().to_vec(),
                }
            }

            fn restore(
                classes: usize,
                parameters: AffineParameters,
                fit: Option<FitDiagnostics>,
            ) -> Result<Self> {
                check_count("number of intercepts", classes, parameters.intercepts.len())?;
                Self::from_parts(parameters.weights, parameters.intercepts, fit)
            }
        }
    )+};
}

affine!(VectorScaling: "vector", MatrixScaling: "matrix", DirichletCalibration: "dirichlet");
