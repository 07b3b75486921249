//! Fits and metrics on predictions, without tensors: the peers are in `calibration.py`.

use std::hint::black_box;

use anyhow::{Result, bail};
use softlabel::metrics::{
    Accumulator, Bootstrap, ConfidenceScore, Evaluation, Forecasts, SelectiveClassification,
};
use softlabel::posthoc::{
    DirichletCalibration, Interpolation, IsotonicRegression, MatrixScaling, Odir,
    TemperatureScaling, VectorScaling,
};
use softlabel::{Labels, Logits};
use tch::{Device, Kind, Tensor};

use crate::case::Case;
use crate::operation::{Operation, Side, Who};
use crate::tensors::random;

/// Of the calibration errors.
const BINS: usize = 15;
/// Of a bootstrap.
const REPLICATES: usize = 1000;

/// The operations there are.
pub(crate) const NAMES: [&str; 7] = [
    "temperature",
    "vector_scaling",
    "matrix_scaling",
    "dirichlet",
    "isotonic",
    "metrics",
    "bootstrap",
];

/// Predictions, and what is done with them.
#[derive(Debug)]
pub(crate) struct Calibrations {
    operation: String,
    logits: Logits<'static, f32>,
    labels: Labels,
    forecasts: Option<Forecasts>,
    /// Scores and events.
    points: (Vec<f64>, Vec<f64>),
}

impl Calibrations {
    pub(crate) fn new(case: &Case) -> Result<Self> {
        let shape = [case.rows, case.classes];
        let size = (Kind::Float, Device::Cpu);
        // Overconfident logits, and labels drawn from half of them, by adding noise of Gumbel to what the largest is
        // taken of.
        let logits = random(shape)?.f_mul_scalar(3.0)?;
        let uniform = Tensor::f_rand(shape, size)?;
        let noise = uniform.f_log()?.f_neg()?.f_log()?.f_neg()?;
        let labels = logits.f_div_scalar(2.0)?.f_add(&noise)?.f_argmax(-1, false)?;
        let values = Vec::<f32>::try_from(logits.f_flatten(0, -1)?)?;
        let classes = usize::try_from(logits.size()[1])?;
        let labels = Labels::new(&Vec::<i64>::try_from(labels)?, classes)?;
        let forecasts =
            if case.operation == "bootstrap" { Some(forecasts(case.rows)?) } else { None };
        let points =
            if case.operation == "isotonic" { points(case.rows)? } else { Default::default() };
        let logits = Logits::new(values, classes)?;
        Ok(Self { operation: case.operation.clone(), logits, labels, forecasts, points })
    }
}

/// Uniform scores, and events as rare as their squares.
fn points(rows: i64) -> Result<(Vec<f64>, Vec<f64>)> {
    let size = (Kind::Double, Device::Cpu);
    let scores = Tensor::f_rand([rows], size)?;
    let events = Tensor::f_rand([rows], size)?.f_lt_tensor(&scores.f_square()?)?;
    Ok((Vec::try_from(scores)?, Vec::try_from(events.f_to_kind(Kind::Double)?)?))
}

/// Confidences between a half and 1 that are what they say.
fn forecasts(rows: i64) -> Result<Forecasts> {
    let size = (Kind::Double, Device::Cpu);
    let confidences = Tensor::f_rand([rows], size)?.f_mul_scalar(0.5)?.f_add_scalar(0.5)?;
    let happened = Tensor::f_rand([rows], size)?.f_lt_tensor(&confidences)?;
    let (confidences, happened) =
        (Vec::<f64>::try_from(confidences)?, Vec::<bool>::try_from(happened)?);
    Ok(Forecasts::new(&confidences, &happened)?)
}

impl Operation for Calibrations {
    fn sides(&self, threads: i32) -> Vec<Side> {
        vec![Side { name: "softlabel", threads, reuse: true, who: Who::Ours }]
    }

    fn run(&self, _side: &Side) -> Result<()> {
        let (logits, labels) = (&self.logits, &self.labels);
        match (self.operation.as_str(), &self.forecasts) {
            ("temperature", _) => drop(black_box(TemperatureScaling::fit(logits, labels)?)),
            ("vector_scaling", _) => drop(black_box(VectorScaling::fit(logits, labels)?)),
            ("matrix_scaling", _) => {
                drop(black_box(MatrixScaling::fit_regularized(logits, labels, Odir::default())?));
            }
            ("dirichlet", _) => {
                drop(black_box(DirichletCalibration::fit(logits, labels, Odir::default())?));
            }
            ("isotonic", _) => {
                let (scores, events) = &self.points;
                let (weights, interpolation) = (None, Interpolation::default());
                let map = IsotonicRegression::fit(scores, events, weights, interpolation)?;
                drop(black_box(map));
            }
            ("metrics", _) => {
                let ranked = SelectiveClassification::new(ConfidenceScore::default());
                let mut both = (Evaluation::new(BINS)?, ranked);
                both.update(logits, labels)?;
                drop(black_box(both.compute()));
            }
            ("bootstrap", Some(forecasts)) => {
                let bootstrap = Bootstrap::new(REPLICATES, 0)?;
                black_box(bootstrap.expected_calibration_error(forecasts, BINS)?);
            }
            (other, _) => bail!("there is no {other}"),
        }
        Ok(())
    }

    fn error(&self, _side: &Side) -> Result<Option<f64>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_carried_out() {
        for operation in NAMES {
            let operation = operation.to_owned();
            let classes = if operation == "isotonic" { 2 } else { 5 };
            let dtype = "f32".to_owned();
            let case = Case {
                operation,
                rows: 400,
                classes,
                features: 0,
                dtype,
                backward: false,
                scaling: false,
            };
            let calibrations = Calibrations::new(&case).unwrap();
            let sides = calibrations.sides(2);
            calibrations.run(&sides[0]).unwrap();
            assert_eq!(calibrations.error(&sides[0]).unwrap(), None);
        }
    }

    #[test]
    fn labels_are_drawn_from_half_of_the_logits() {
        tch::manual_seed(0);
        let operation = "temperature".to_owned();
        let dtype = "f32".to_owned();
        let case = Case {
            operation,
            rows: 20_000,
            classes: 10,
            features: 0,
            dtype,
            backward: false,
            scaling: false,
        };
        let calibrations = Calibrations::new(&case).unwrap();
        let fit = TemperatureScaling::fit(&calibrations.logits, &calibrations.labels).unwrap();
        assert!((fit.temperature().get() - 2.0).abs() < 0.05, "{fit:?}");
    }
}
