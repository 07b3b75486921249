//! Maps fitted to what is said of the validation split.

use softlabel_core::{Labels, Logits, Scalar};
use softlabel_posthoc::AnyCalibrator;

use crate::recipe::Fit;
use crate::{Error, Result};

/// An arm for a seed, whose maps, or whose teachers' maps, are fitted.
#[derive(Clone, Copy)]
pub(crate) struct FitOf<'a> {
    pub(crate) arm: &'a str,
    pub(crate) seed: u64,
}

impl FitOf<'_> {
    /// Fits a map to logits of held-out samples.
    pub(crate) fn fit<T: Scalar>(
        self,
        fit: &Fit,
        logits: &Logits<'_, T>,
        labels: &Labels,
    ) -> Result<AnyCalibrator> {
        // What the fit logs says whose it is.
        let Self { arm, seed } = self;
        let map = fit.calibration.name();
        let _span = tracing::warn_span!("fit", arm, seed, map).entered();
        fit.method.fit(logits, labels).map_err(|source| self.error(fit, source))
    }

    /// What a map objected to.
    pub(crate) fn error(self, fit: &Fit, source: softlabel_posthoc::Error) -> Error {
        let (arm, seed, map) = (self.arm.to_owned(), self.seed, fit.calibration.name().to_owned());
        Error::Calibration { arm, seed, map, source: Box::new(source) }
    }
}

/// The temperature of a map that is nothing else.
pub(crate) fn temperature(map: &AnyCalibrator) -> Option<f64> {
    match map {
        AnyCalibrator::Temperature(scaling) => Some(scaling.temperature().get()),
        _ => None,
    }
}
