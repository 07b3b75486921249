//! The choice of a method by cross-validation.

use anyhow::{Result, bail};
use serde::Serialize;
use softlabel_core::{Labels, Logits};
use softlabel_metrics::negative_log_likelihood;
use softlabel_posthoc::{Calibrator, Method};

use crate::arguments::Choice;
use crate::predictions::select;

/// How a method did on rows that it was not fitted to.
#[derive(Debug, Serialize)]
pub(crate) struct Candidate {
    pub(crate) method: String,
    /// The mean NLL over the rows of all folds; none if it is infinite or a fit failed.
    pub(crate) nll: Option<f64>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// The methods that are asked for, each once; `auto` stands for all that the rows can determine.
pub(crate) fn methods(choices: &[Choice], rows: usize, classes: usize) -> Result<Vec<Method>> {
    let mut methods = Vec::new();
    for choice in choices {
        let chosen = match choice {
            Choice::Of(method) => vec![method.clone()],
            Choice::Auto => automatic(rows, classes)?,
        };
        for method in chosen {
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
    }
    Ok(methods)
}

/// All methods; those with a parameter for each pair of classes need two rows for each.
fn automatic(rows: usize, classes: usize) -> Result<Vec<Method>> {
    let enough = classes.saturating_mul(classes + 1).saturating_mul(2) <= rows;
    let quadratic = ["matrix", "dirichlet"];
    let names = Method::names().iter().filter(|name| enough || !quadratic.contains(name));
    Ok(names.map(|name| name.parse()).collect::<Result<_, _>>()?)
}

/// The method with the lowest NLL over `folds` folds, which are drawn with `seed`, and how all of them did.
pub(crate) fn choose(
    methods: Vec<Method>,
    logits: &Logits<'_, f64>,
    labels: &Labels,
    folds: usize,
    seed: u64,
) -> Result<(Method, Vec<Candidate>)> {
    let mut candidates = Vec::new();
    let mut best: Option<(Method, f64)> = None;
    let folds = folds_of(logits, labels, folds, seed)?;
    for method in methods {
        let (nll, reason) = match cross_validated(&method, &folds, labels.len()) {
            Ok(nll) if nll.is_finite() => (Some(nll), None),
            Ok(_) => (None, Some("it gives a label the probability 0".to_owned())),
            Err(error) => (None, Some(error.to_string())),
        };
        candidates.push(Candidate { method: method.name(), nll, reason });
        if let Some(nll) = nll
            && best.as_ref().is_none_or(|(_, lowest)| nll < *lowest)
        {
            best = Some((method, nll));
        }
    }
    if let Some((method, _)) = best {
        return Ok((method, candidates));
    }
    let reason = |of: Candidate| format!("{}: {}", of.method, of.reason.unwrap_or_default());
    let reasons: Vec<String> = candidates.into_iter().map(reason).collect();
    bail!("no method could be cross-validated: {}", reasons.join("; "))
}

/// Rows to fit to, and rows to judge on.
struct Fold {
    fit: (Logits<'static, f64>, Labels),
    test: (Logits<'static, f64>, Labels),
}

fn folds_of(
    logits: &Logits<'_, f64>,
    labels: &Labels,
    folds: usize,
    seed: u64,
) -> Result<Vec<Fold>> {
    let rows = labels.len();
    if rows < folds {
        bail!("expected at least one row for each of the {folds} folds of --cv, found {rows} rows");
    }
    let order = softlabel_data::epoch_order(rows, seed, 1);
    let part = |rows: &[usize]| -> Result<_> { Ok((select(logits, rows)?, labels.select(rows)?)) };
    let fold = |number: usize| {
        let rows = order.iter().enumerate();
        let (test, fit): (Vec<_>, Vec<_>) = rows.partition(|(place, _)| place % folds == number);
        let [fit, test] =
            [fit, test].map(|rows| rows.into_iter().map(|(_, &row)| row).collect::<Vec<_>>());
        Ok(Fold { fit: part(&fit)?, test: part(&test)? })
    };
    (0..folds).map(fold).collect()
}

fn cross_validated(method: &Method, folds: &[Fold], rows: usize) -> Result<f64> {
    let mut sum = 0.0;
    for Fold { fit: (logits, labels), test } in folds {
        let calibrated = method.fit(logits, labels)?.apply(&test.0)?;
        sum += negative_log_likelihood(&calibrated, &test.1)? * test.1.len() as f64;
    }
    Ok(sum / rows as f64)
}
