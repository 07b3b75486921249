//! What the options of the commands on predictions can do about an error.

use std::error::Error;

use softlabel_core::Error as ValueError;
use softlabel_data::Error as DataError;
use softlabel_posthoc::Error as FitError;

/// The error, and the option that helps, if there is one.
pub(crate) fn named(error: anyhow::Error) -> anyhow::Error {
    match error.chain().find_map(option) {
        Some(help) => anyhow::anyhow!("{}; {help}", said(&error)),
        None => error,
    }
}

/// An error with its causes, each once.
pub(crate) fn said(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text += &format!(": {cause}");
        }
    }
    text
}

fn option(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    const SUMS: &str = "--renormalize divides each row by its sum";
    const IMPOSSIBLE: &str = "of probabilities --clip 1e-6 leaves none at 0";
    let of_values = |error: &ValueError| matches!(error, ValueError::RowSum { .. }).then_some(SUMS);
    let of_data = |error: &DataError| match error {
        DataError::Values(values) => of_values(values),
        _ => None,
    };
    let of_fit = |error: &FitError| match error {
        FitError::Input(values) => of_values(values),
        FitError::ImpossibleLabel { .. } | FitError::ImpossibleClass { .. } => Some(IMPOSSIBLE),
        _ => None,
    };
    let boxed = cause.downcast_ref::<Box<DataError>>().map(Box::as_ref);
    cause
        .downcast_ref()
        .and_then(of_values)
        .or_else(|| cause.downcast_ref().or(boxed).and_then(of_data))
        .or_else(|| cause.downcast_ref().and_then(of_fit))
}
