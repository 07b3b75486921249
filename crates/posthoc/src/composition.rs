//! One map after another: each is fitted to what the one before says.
//!
//! q = m_s(… m_2(m_1(z)) …), where every m_i reads the log-probabilities of the one before as logits
//!
//! A temperature that straightens confidence as a whole, then an isotonic map a class for what is
//! left, is the usual one.
//! All stages are fitted to the same rows; a later stage sees rows that the earlier ones were fitted
//! to, so rows of its own to judge on matter more the more stages there are.
//!
//! No stages are the identity, q = softmax(z).
//!
//! Source: Y. Zhang, J. Kailkhura, T. Y.-J. Han, "Mix-n-Match: Ensemble and Compositional Methods for
//! Uncertainty Calibration in Deep Learning" (2020).

use serde::{Deserialize, Serialize};
use softlabel_core::{Error as Input, LogProbabilities, Logits, Scalar};
use softlabel_kernels::log_softmax_in_place;

use crate::calibrator::map_rows;
use crate::document::{Document, Written};
use crate::{
    AnyCalibrator, Calibrator, Error, FitDiagnostics, FitOutcome, Method, Result, Targets,
};

/// What stands between the names of stages.
pub(crate) const JOINT: char = '+';

/// The name of a composition of nothing.
pub(crate) const IDENTITY: &str = "identity";

/// One map after another, each fitted to what the one before says.
///
/// Its [`method`](AnyCalibrator::method) is that of its stages with `+` between, such as
/// `"temperature+isotonic"`; without stages it is the `"identity"`.
///
/// # Example
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{AnyCalibrator, Calibrator, Composition, Method};
///
/// // Twice as sure as it should be, and 2 in 8 where it is not sure at all.
/// let logits = [[9.0f64.ln(), 0.0].repeat(8), [0.0, 0.0].repeat(8)].concat();
/// let logits = Logits::new(logits, 2)?;
/// let labels = Labels::new(&[0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1], 2)?;
/// let methods: [Method; 2] = ["temperature".parse()?, "isotonic".parse()?];
/// let map = Composition::fit(&methods, &logits, &labels)?;
/// let calibrated = map.apply(&logits)?;
/// // A temperature leaves 1/2 what it is; the second map does not.
/// assert!((calibrated.as_slice()[30].exp() - 0.75).abs() < 1e-12);
///
/// let any = AnyCalibrator::from(map);
/// assert_eq!(any.method(), "temperature+isotonic");
/// assert_eq!(AnyCalibrator::from_json(&any.to_json()?)?, any);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
#[doc(alias = "pipeline")]
pub struct Composition {
    stages: Vec<AnyCalibrator>,
    classes: usize,
    name: String,
    diagnostics: Option<FitDiagnostics>,
}

impl Composition {
    /// Fits a map of every method to what the ones before say.
    ///
    /// `logits` are `[rows, classes]`, with at least as many rows as classes.
    ///
    /// # Errors
    /// [`Error::Stage`] with the error of a stage; [`Error::Input`] and [`Error::ImpossibleLabel`] as
    /// every fit has them.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::{Composition, Method, Targets};
    ///
    /// let logits = Logits::new(&[2.0f32, 0.0, 0.0, 1.0], 2)?;
    /// let labels = Labels::new(&[0, 1], 2)?;
    /// let weighted = Targets::from(&labels).weighted(&[1.0, 2.0])?;
    /// let methods: [Method; 2] = ["temperature".parse()?, "venn-abers".parse()?];
    /// let error = Composition::fit(&methods, &logits, &weighted).unwrap_err();
    /// let expected = "stage 2 (venn_abers): venn_abers cannot be fitted with weights: ";
    /// assert!(error.to_string().starts_with(expected));
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<'t, T: Scalar>(
        methods: &[Method],
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
    ) -> Result<Self> {
        let (logits, targets) = targets.into().of_fit(logits)?;
        let classes = logits.classes();
        let before = map_rows(&logits, classes, log_softmax_in_place)?;
        let nll_before = targets.mean_loss(&before);
        let mut stages: Vec<AnyCalibrator> = Vec::new();
        let mut rows = Logits::new(map_rows(&logits, classes, |_| {})?, classes)?;
        for (index, method) in methods.iter().enumerate() {
            let in_stage = |error| Error::stage(index, &method.name(), error);
            let stage = method.fit(&rows, &targets).map_err(in_stage)?;
            rows = as_logits(&stage.apply(&rows).map_err(in_stage)?)?;
            stages.push(stage);
        }
        let fits = || stages.iter().filter_map(Calibrator::diagnostics);
        let outcomes = fits().map(|fit| fit.outcome);
        let diagnostics = FitDiagnostics {
            samples: targets.len(),
            nll_before,
            nll_after: if stages.is_empty() {
                nll_before
            } else {
                targets.mean_loss(rows.as_slice())
            },
            objective: None,
            iterations: fits().map(|fit| fit.iterations).sum(),
            outcome: outcomes.into_iter().find(|o| !o.converged()).unwrap_or(FitOutcome::Converged),
            classes: Vec::new(),
        };
        Self::from_parts(classes, stages, Some(diagnostics))
    }

    /// The composition of given maps, the first to be applied first, for `classes` classes.
    ///
    /// A composition among them counts as its stages.
    ///
    /// # Errors
    /// [`Error::Input`] if `classes` is 0; [`Error::Stage`] with [`Error::ClassCount`] if a map is for
    /// another number of classes.
    ///
    /// ```
    /// use softlabel_core::{Logits, Temperature};
    /// use softlabel_posthoc::{Calibrator, Composition, TemperatureScaling};
    /// let halving = TemperatureScaling::from_temperature(Temperature::new(2.0)?, 2)?;
    /// let twice = Composition::from_stages(2, vec![halving.clone().into(), halving.into()])?;
    /// let calibrated = twice.apply(&Logits::new(vec![4.0 * 3.0f64.ln(), 0.0], 2)?)?;
    /// assert!((calibrated.as_slice()[0].exp() - 0.75).abs() < 1e-15);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn from_stages(classes: usize, stages: Vec<AnyCalibrator>) -> Result<Self> {
        Self::from_parts(classes, stages, None)
    }

    fn from_parts(
        classes: usize,
        stages: Vec<AnyCalibrator>,
        diagnostics: Option<FitDiagnostics>,
    ) -> Result<Self> {
        if classes == 0 {
            return Err(Input::Empty { what: "the set of classes" }.into());
        }
        let mut flat = Vec::new();
        for stage in stages {
            match stage {
                AnyCalibrator::Composition(inner) => flat.extend(inner.stages),
                other => flat.push(other),
            }
        }
        for (index, stage) in flat.iter().enumerate() {
            if stage.classes() != classes {
                let error = Error::ClassCount { expected: classes, found: stage.classes() };
                return Err(Error::stage(index, stage.method(), error));
            }
        }
        let name = joined(flat.iter().map(AnyCalibrator::method));
        Ok(Self { stages: flat, classes, name, diagnostics })
    }

    /// The maps, the first to be applied first.
    pub fn stages(&self) -> &[AnyCalibrator] {
        &self.stages
    }
}

/// The name of stages with these names.
pub(crate) fn joined<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let joined = names.collect::<Vec<_>>().join(&JOINT.to_string());
    if joined.is_empty() { IDENTITY.to_owned() } else { joined }
}

/// Log-probabilities as the logits that they are.
fn as_logits(rows: &LogProbabilities<'static, f64>) -> Result<Logits<'static, f64>> {
    let classes = rows.classes();
    Ok(Logits::new(rows.as_slice().to_vec(), classes)?)
}

impl Calibrator for Composition {
    fn classes(&self) -> usize {
        self.classes
    }

    fn diagnostics(&self) -> Option<&FitDiagnostics> {
        self.diagnostics.as_ref()
    }

    fn apply<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<LogProbabilities<'static, f64>> {
        let mut stages = self.stages.iter().enumerate();
        let in_stage = |index, stage: &AnyCalibrator| {
            let name = stage.method().to_owned();
            move |error| Error::stage(index, &name, error)
        };
        let Some((first, stage)) = stages.next() else {
            let rows = map_rows(logits, self.classes, log_softmax_in_place)?;
            return Ok(LogProbabilities::new(rows, self.classes)?);
        };
        let mut rows = stage.apply(logits).map_err(in_stage(first, stage))?;
        for (index, stage) in stages {
            rows = stage.apply(&as_logits(&rows)?).map_err(in_stage(index, stage))?;
        }
        Ok(rows)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    stages: Vec<AnyCalibrator>,
}

impl Written for Composition {
    const METHOD: &'static str = "composition";
    type Parameters = Parameters;

    fn method(&self) -> &str {
        &self.name
    }

    fn parameters(&self) -> Parameters {
        Parameters { stages: self.stages.clone() }
    }

    fn restore(
        classes: usize,
        parameters: Parameters,
        fit: Option<FitDiagnostics>,
    ) -> Result<Self> {
        Self::from_parts(classes, parameters.stages, fit)
    }
}
