//! Post-hoc calibration: maps from logits to honest probabilities, fitted on held-out predictions.
//!
//! | map | parameters | keeps the top class | source |
//! |---|---|---|---|
//! | [`TemperatureScaling`] | one | yes | Guo et al. (2017) |
//! | [`TemperatureMixture`] | one, and a share that the number of rows says | yes | Berta et al. (2025) |
//! | [`EnsembleTemperature`] | one, and three weights | yes | Zhang, Kailkhura, Han (2020) |
//! | [`ParametrizedTemperature`] | a small network | yes | Tomani, Cremers, Buettner (2022) |
//! | [`ClassTemperature`] | one a class | no | Frenkel, Goldberger (2021) |
//! | [`BiasCorrectedTemperature`] | one, and one a class | no | Alexandari et al. (2020) |
//! | [`PlattScaling`] | two a class | no | Platt (1999), one class against the rest |
//! | [`QuadraticPlattScaling`] | three a class | no | Platt (1999), Berta et al. (2025) |
//! | [`BetaCalibration`] | two or three a class | no | Kull, Silva Filho, Flach (2017) |
//! | [`HistogramBinning`] | one a bin and class | no | Zadrozny, Elkan (2001) |
//! | [`BayesianBinning`] | one a bin and class | no | Naeini, Cooper, Hauskrecht (2015) |
//! | [`ScalingBinning`] | two a class, one a bin and class | no | Kumar, Liang, Ma (2019) |
//! | [`SplineCalibration`] | a point for every score, a class | no | Gupta et al. (2021) |
//! | [`IsotonicCalibration`] | a step for every block of rows, a class | no | Zadrozny, Elkan (2002) |
//! | [`VennAbers`] | two steps a row and class, at most | no | Vovk, Petej, Fedorova (2015) |
//! | [`VectorScaling`] | two a class | no | Guo et al. (2017) |
//! | [`MatrixScaling`] | a matrix, one a class | no | Guo et al. (2017) |
//! | [`DirichletCalibration`] | a matrix, one a class, held back | no | Kull et al. (2019) |
//! | [`StructuredVectorScaling`] | one, and two a class, held back | no | Berta et al. (2025) |
//! | [`StructuredMatrixScaling`] | one, a matrix, one a class, held back | no | Berta et al. (2025) |
//!
//! To fit is to make a new thing: [`TemperatureScaling::fit`] returns a fitted map, which carries
//! its [`FitDiagnostics`], and there is no map that still waits for its fit.
//! Fit on predictions that the model was not trained on, and judge on others again.
//!
//! Every fit takes [`Targets`]: labels or distributions, with weights or without.
//! A [`Composition`] applies one map after another; [`Selection`] chooses among methods by
//! cross-validation.
//!
//! One score and an event, without classes: [`IsotonicRegression`].
//! Several signals of confidence become one probability in a [`SignalCombination`].
//!
//! Sets of classes with a promised coverage come from a [`ConformalPredictor`].
//!
//! Every map is a [`Calibrator`]; [`AnyCalibrator`] holds one of any kind, and all of them are
//! written as, and read from, the same kind of JSON document.
//!
//! ```
//! use softlabel_core::{Labels, Logits};
//! use softlabel_posthoc::{AnyCalibrator, Calibrator, TemperatureScaling};
//!
//! // Twice as sure as it should be: with these labels the odds are 3 to 1, not 9 to 1.
//! let row = [9.0f64.ln(), 0.0];
//! let logits = Logits::new(row.repeat(4), 2)?;
//! let labels = Labels::new(&[0, 0, 0, 1], 2)?;
//! let scaling = TemperatureScaling::fit(&logits, &labels)?;
//! assert!((scaling.temperature().get() - 2.0).abs() < 1e-9);
//!
//! let calibrated = scaling.apply(&logits)?;
//! assert!((calibrated.as_slice()[0].exp() - 0.75).abs() < 1e-9);
//!
//! let json = AnyCalibrator::from(scaling.clone()).to_json()?;
//! assert_eq!(AnyCalibrator::from_json(&json)?, AnyCalibrator::from(scaling));
//! # Ok::<(), softlabel_posthoc::Error>(())
//! ```

mod affine;
mod any;
mod bbq;
mod beta;
mod bias_corrected;
mod brier_temperature;
mod calibrator;
mod class_temperature;
mod composition;
mod conformal;
mod cross_entropy;
mod diagnostics;
mod dirichlet;
mod document;
mod ensemble_temperature;
mod error;
mod fit_loss;
mod histogram;
mod isotonic;
mod isotonic_regression;
mod matrix;
mod method;
mod one_vs_rest;
mod parametrized;
mod platt;
mod quadratic_platt;
mod scaling_binning;
mod selection;
mod sigmoid;
mod signals;
mod simplex;
mod spline;
mod structured;
mod targets;
mod temperature;
mod temperature_mixture;
mod vector;
mod venn_abers;

pub use any::AnyCalibrator;
pub use bbq::BayesianBinning;
pub use beta::{BetaCalibration, BetaCurve, BetaForm};
pub use bias_corrected::BiasCorrectedTemperature;
pub use calibrator::Calibrator;
pub use class_temperature::ClassTemperature;
pub use composition::Composition;
pub use conformal::{ConformalPredictor, ConformalScore, PredictionSets};
pub use diagnostics::{ClassFit, FitDiagnostics, FitOutcome, Objective};
pub use dirichlet::{DirichletCalibration, Odir};
pub use ensemble_temperature::EnsembleTemperature;
pub use error::{Error, Result};
pub use fit_loss::FitLoss;
pub use histogram::{Binning, HistogramBinning, HistogramOptions};
pub use isotonic::{Interpolation, IsotonicCalibration, IsotonicOptions};
pub use isotonic_regression::IsotonicRegression;
pub use matrix::MatrixScaling;
pub use method::Method;
pub use one_vs_rest::Zeros;
pub use parametrized::{ParametrizedOptions, ParametrizedTemperature};
pub use platt::PlattScaling;
pub use quadratic_platt::{QuadraticCurve, QuadraticPlattScaling};
pub use scaling_binning::{BinnedSigmoid, ScalingBinning};
pub use selection::{Candidate, Selected, Selection, SelectionScore};
pub use signals::{FittedSignal, Missing, Signal, SignalCombination, SignalOptions, Transform};
pub use spline::{SplineCalibration, SplineOptions};
pub use structured::{MatrixRidge, StructuredMatrixScaling, StructuredVectorScaling, VectorRidge};
pub use targets::Targets;
pub use temperature::TemperatureScaling;
pub use temperature_mixture::{MixtureOptions, TemperatureMixture};
pub use vector::VectorScaling;
pub use venn_abers::{VennAbers, VennAbersSteps};
