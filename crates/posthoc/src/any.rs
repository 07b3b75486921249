//! A map of any kind, to be saved, loaded and applied by programs that learn the kind at run time.

use serde::{Deserialize, Serialize};
use softlabel_core::{LogProbabilities, Logits, Scalar};

use crate::composition::{IDENTITY, JOINT};
use crate::document::{Document, Written};
use crate::{
    BayesianBinning, BetaCalibration, BiasCorrectedTemperature, Calibrator, ClassTemperature,
    Composition, DirichletCalibration, EnsembleTemperature, Error, FitDiagnostics,
    HistogramBinning, IsotonicCalibration, MatrixScaling, ParametrizedTemperature, PlattScaling,
    QuadraticPlattScaling, Result, ScalingBinning, SplineCalibration, StructuredMatrixScaling,
    StructuredVectorScaling, TemperatureMixture, TemperatureScaling, VectorScaling, VennAbers,
};

/// A fitted map of any kind.
///
/// Written as a JSON document that names its schema, its method and its number of classes; every
/// single map is written as the same document.
///
/// ```
/// use softlabel_core::Temperature;
/// use softlabel_posthoc::{AnyCalibrator, Calibrator, TemperatureScaling};
///
/// let scaling = TemperatureScaling::from_temperature(Temperature::new(1.5)?, 10)?;
/// let json = AnyCalibrator::from(scaling).to_json()?;
/// assert!(json.contains(r#""schema": "softlabel.calibrator/1""#));
///
/// let read = AnyCalibrator::from_json(&json)?;
/// assert_eq!((read.method(), read.classes()), ("temperature", 10));
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
#[non_exhaustive]
pub enum AnyCalibrator {
    /// One temperature for all logits.
    Temperature(TemperatureScaling),
    /// A sigmoid for every class.
    Platt(PlattScaling),
    /// A non-decreasing map for every class.
    Isotonic(IsotonicCalibration),
    /// The frequencies of bins, for every class.
    Histogram(HistogramBinning),
    /// A logistic map of ln p and ln(1 − p) for every class.
    Beta(BetaCalibration),
    /// One temperature for all logits, and a constant for every class.
    BiasCorrected(BiasCorrectedTemperature),
    /// A factor and a constant for every class.
    Vector(VectorScaling),
    /// A matrix and a constant for every class.
    Matrix(MatrixScaling),
    /// A matrix of log-probabilities and a constant for every class.
    Dirichlet(DirichletCalibration),
    /// A sigmoid of a quadratic for every class.
    QuadraticPlatt(QuadraticPlattScaling),
    /// Two isotonic fits for every score and class.
    VennAbers(VennAbers),
    /// Histograms of many sizes, averaged, for every class.
    BayesianBinning(BayesianBinning),
    /// One temperature for all logits, and a little of the uniform distribution.
    TemperatureMixture(TemperatureMixture),
    /// A temperature, then a factor and a constant for every class, held near the identity.
    StructuredVector(StructuredVectorScaling),
    /// A temperature, then a matrix and a constant for every class, held near the identity.
    StructuredMatrix(StructuredMatrixScaling),
    /// One temperature for every class.
    ClassTemperature(ClassTemperature),
    /// The scaled, the unscaled and the uniform distribution, averaged.
    EnsembleTemperature(EnsembleTemperature),
    /// A sigmoid, made constant on bins, for every class.
    ScalingBinning(ScalingBinning),
    /// The score and the slope of a smoothed error, for every class.
    Spline(SplineCalibration),
    /// A temperature for every row.
    Parametrized(ParametrizedTemperature),
    /// One map after another.
    Composition(Composition),
}

impl AnyCalibrator {
    /// The map as a JSON document; reading it gives the same map to the last bit.
    ///
    /// # Errors
    /// [`Error::Json`](crate::Error::Json) if it cannot be written, which no map that was fitted or
    /// read is known to cause.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Reads a JSON document.
    ///
    /// # Errors
    /// [`Error::UnknownSchema`](crate::Error::UnknownSchema) if it is about something else,
    /// [`Error::NewerSchema`](crate::Error::NewerSchema) if a newer version wrote it,
    /// [`Error::UnknownMethod`](crate::Error::UnknownMethod) if it is about an unknown map,
    /// [`Error::Json`](crate::Error::Json) or [`Error::Input`](crate::Error::Input) if something is
    /// missing, too much or has an impossible value.
    ///
    /// ```
    /// use softlabel_posthoc::{AnyCalibrator, Error};
    ///
    /// let error = AnyCalibrator::from_json(r#"{"schema":
    /// "softlabel.calibrator/7"}"#).unwrap_err();
    /// assert!(matches!(error, Error::NewerSchema { found: 7, supported: 1 }));
    /// ```
    pub fn from_json(json: &str) -> Result<Self> {
        Document::from_json(json)?.try_into()
    }
}

/// A map of any kind from one of each, what all of them can do, and their documents.
///
/// The maps after the semicolon have no name of their own.
macro_rules! any_of {
    ($($named:ident => $name:ident),+ $(,)?; $($composed:ident => $composition:ident),+ $(,)?) => {
        /// The methods that this version reads and writes, but for compositions of them.
        pub(crate) const METHODS: &[&str] = &[$(<$named as Written>::METHOD),+];

        any_of!(all $($named => $name,)+ $($composed => $composition,)+);
    };
    (all $($map:ident => $variant:ident,)+) => {
        $(
            impl From<$map> for AnyCalibrator {
                fn from(map: $map) -> Self {
                    Self::$variant(map)
                }
            }

            impl From<$map> for Document {
                fn from(map: $map) -> Self {
                    Self::of(&map)
                }
            }

            impl TryFrom<Document> for $map {
                type Error = Error;

                /// Read as any map is, and must turn out to be of its kind.
                fn try_from(document: Document) -> Result<Self> {
                    match AnyCalibrator::try_from(document)? {
                        AnyCalibrator::$variant(map) => Ok(map),
                        other => Err(Error::OtherMethod {
                            expected: <$map as Written>::METHOD,
                            found: other.method().to_owned(),
                        }),
                    }
                }
            }
        )+

        impl From<AnyCalibrator> for Document {
            fn from(map: AnyCalibrator) -> Self {
                match map {
                    $(AnyCalibrator::$variant(map) => Self::of(&map),)+
                }
            }
        }

        impl TryFrom<Document> for AnyCalibrator {
            type Error = Error;

            fn try_from(document: Document) -> Result<Self> {
                match kind_of(document.method()?) {
                    $(<$map as Written>::METHOD => Ok(Self::$variant(document.restore()?)),)+
                    found => Err(Error::UnknownMethod { known: METHODS, found: found.into() }),
                }
            }
        }

        impl AnyCalibrator {
            /// The name of the map's kind, as documents write it, such as `"temperature"` or
            /// `"temperature+isotonic"`.
            pub fn method(&self) -> &str {
                match self {
                    $(Self::$variant(map) => Written::method(map),)+
                }
            }
        }

        impl Calibrator for AnyCalibrator {
            fn classes(&self) -> usize {
                match self {
                    $(Self::$variant(map) => map.classes(),)+
                }
            }

            fn diagnostics(&self) -> Option<&FitDiagnostics> {
                match self {
                    $(Self::$variant(map) => map.diagnostics(),)+
                }
            }

            fn apply<T: Scalar>(
                &self,
                logits: &Logits<'_, T>,
            ) -> Result<LogProbabilities<'static, f64>> {
                match self {
                    $(Self::$variant(map) => map.apply(logits),)+
                }
            }
        }
    };
}

any_of! {
    TemperatureScaling => Temperature,
    PlattScaling => Platt,
    IsotonicCalibration => Isotonic,
    HistogramBinning => Histogram,
    BetaCalibration => Beta,
    BiasCorrectedTemperature => BiasCorrected,
    VectorScaling => Vector,
    MatrixScaling => Matrix,
    DirichletCalibration => Dirichlet,
    QuadraticPlattScaling => QuadraticPlatt,
    VennAbers => VennAbers,
    BayesianBinning => BayesianBinning,
    TemperatureMixture => TemperatureMixture,
    StructuredVectorScaling => StructuredVector,
    StructuredMatrixScaling => StructuredMatrix,
    ClassTemperature => ClassTemperature,
    EnsembleTemperature => EnsembleTemperature,
    ScalingBinning => ScalingBinning,
    SplineCalibration => Spline,
    ParametrizedTemperature => Parametrized;
    Composition => Composition
}

/// The kind of map that a document of a method is about.
fn kind_of(method: &str) -> &str {
    if method.contains(JOINT) || method == IDENTITY { Composition::METHOD } else { method }
}
