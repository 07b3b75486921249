//! `softlabel calibrate`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;
use serde_json::Value;
use softlabel_core::Logits;
use softlabel_data::predictions::{PredictionFile, Targets};
use softlabel_metrics::CalibrationBins;
use softlabel_posthoc::{self as posthoc, AnyCalibrator, Calibrator, FitOutcome};
use softlabel_report::evaluation_table;

use crate::Verdict;
use crate::arguments::Calibrate;
use crate::evaluation::Evaluation;
use crate::output::{note, print, print_json, table_style};
use crate::predictions::{
    as_logits, check_is_no_folder, scores, select, select_targets, targets, write_file,
};
use crate::selection::{Candidate, choose, methods};

/// The object that `softlabel calibrate --json` prints.
#[derive(Debug, Serialize)]
struct CalibrationOutput<'a> {
    schema: &'static str,
    method: &'a str,
    classes: usize,
    parameters: &'a Value,
    fit: Fit,
    /// How all methods did that were to choose from; empty if there was one.
    selection: &'a [Candidate],
    /// On how many of the rows of the fit they were compared.
    selection_samples: Option<usize>,
    /// None if no rows were left.
    test: Option<&'a Test>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Fit {
    samples: usize,
    nll_before: Option<f64>,
    nll_after: Option<f64>,
    /// What was minimized, if it is not the likelihood.
    #[serde(skip_serializing_if = "Option::is_none")]
    objective_before: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    objective_after: Option<f64>,
    iterations: usize,
    converged: bool,
    outcome: FitOutcome,
}

#[derive(Debug, Serialize)]
struct Test {
    before: Evaluation,
    after: Evaluation,
}

/// Fits a calibrator and judges it on the rows that are left.
pub(crate) fn calibrate(options: &Calibrate) -> Result<Verdict> {
    let (logits, targets) = read(options)?;
    // Before the fit, which may take long, and where no rows are left to judge.
    CalibrationBins::new(options.bins)?;
    if let Some(path) = &options.out {
        check_is_no_folder(path)?;
    }
    let (fit_rows, test_rows) = split(options, targets.rows())?;
    let all = match &targets {
        Targets::Classes(labels) => posthoc::Targets::from(labels),
        Targets::Distributions(rows) => rows.into(),
    };
    let (fit_logits, fit_targets) = (select(&logits, &fit_rows)?, all.select(&fit_rows)?);
    let methods = methods(&options.method, fit_rows.len(), logits.classes());
    let (method, selection, selection_samples) = match methods.as_slice() {
        [only] => (only.clone(), Vec::new(), 0),
        several => choose(several, &fit_logits, &fit_targets, options.cv as usize, options.seed)?,
    };
    let map = method.fit(&fit_logits, &fit_targets).with_context(|| {
        format!("cannot fit {} to {}", method.name(), options.predictions.display())
    })?;
    let test = if test_rows.is_empty() {
        None
    } else {
        let (logits, targets) =
            (select(&logits, &test_rows)?, select_targets(&targets, &test_rows)?);
        let judged = |map| Evaluation::of_logits(&logits, &targets, map, options.bins);
        Some(Test { before: judged(None)?, after: judged(Some(&map))? })
    };
    if let Some(path) = &options.out {
        write_file(path, (map.to_json()? + "\n").as_bytes())?;
    }
    let document: Value = serde_json::from_str(&map.to_json()?)?;
    let parameters = document.get("parameters").unwrap_or(&Value::Null);
    let fit = fit_of(&map)?;
    if !fit.converged {
        note(&format!("warning: the fit is degenerate ({})", outcome_in_words(fit.outcome)));
    }
    if options.json {
        print_json(&CalibrationOutput {
            schema: "softlabel.calibration/1",
            method: map.method(),
            classes: map.classes(),
            parameters,
            fit,
            selection: &selection,
            selection_samples: (!selection.is_empty()).then_some(selection_samples),
            test: test.as_ref(),
        })?;
    } else {
        print(&text(&map, parameters, fit, (&selection, selection_samples), test.as_ref()))?;
    }
    Ok(Verdict::Done)
}

/// All rows, as logits, and what they should have said.
fn read(options: &Calibrate) -> Result<(Logits<'static, f64>, Targets)> {
    let file = PredictionFile::open(&options.predictions)?;
    let scores = scores(&file, &options.reading)?;
    let targets = targets(&file, &scores, &options.reading)?;
    Ok((as_logits(&scores.read()?)?, targets))
}

/// The rows to fit to and the rows to judge on, in ascending order.
fn split(options: &Calibrate, rows: usize) -> Result<(Vec<usize>, Vec<usize>)> {
    if let Some(fit) = &options.fit_rows {
        let fit = &fit.0;
        if fit.end > rows {
            let (start, end) = (fit.start, fit.end);
            bail!("--fit-rows: expected rows within 0..{rows}, found {start}..{end}");
        }
        return Ok((0..rows).partition(|row| fit.contains(row)));
    }
    let Some(share) = options.split else { return Ok(((0..rows).collect(), Vec::new())) };
    if !(share > 0.0 && share < 1.0) {
        bail!("--split: expected a share between 0 and 1, found {share}");
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // In 0..=rows.
    let count = (share * rows as f64).round() as usize;
    if count == 0 || count == rows {
        bail!("--split {share} leaves one side of {rows} rows empty");
    }
    let mut fit = softlabel_data::epoch_order(rows, options.seed, 0);
    let mut test = fit.split_off(count);
    fit.sort_unstable();
    test.sort_unstable();
    Ok((fit, test))
}

fn fit_of(map: &AnyCalibrator) -> Result<Fit> {
    let of = map.diagnostics().ok_or_else(|| anyhow!("a fitted map without diagnostics"))?;
    let finite = |value: f64| Some(value).filter(|value| value.is_finite());
    Ok(Fit {
        samples: of.samples,
        nll_before: finite(of.nll_before),
        nll_after: finite(of.nll_after),
        objective_before: of.objective.and_then(|objective| finite(objective.before)),
        objective_after: of.objective.and_then(|objective| finite(objective.after)),
        iterations: of.iterations,
        converged: of.outcome.converged(),
        outcome: of.outcome,
    })
}

fn outcome_in_words(outcome: FitOutcome) -> &'static str {
    match outcome {
        FitOutcome::Converged => "converged",
        FitOutcome::Separable => {
            "the labels can be told apart without error: the sharper the better"
        }
        FitOutcome::WorseThanUniform => {
            "no such map is better than predictions that are the same in every row"
        }
        FitOutcome::Flat => "all scores are equal",
        FitOutcome::OneSided => "a class has rows on one side only",
        FitOutcome::IterationLimit => "the search ended before a minimum, as it was told to",
        _ => "the data do not determine the map",
    }
}

fn text(
    map: &AnyCalibrator,
    parameters: &Value,
    fit: Fit,
    (selection, samples): (&[Candidate], usize),
    test: Option<&Test>,
) -> String {
    let mut text = String::new();
    for candidate in selection {
        let nll = candidate.nll.map_or("–".to_owned(), |nll| format!("{nll:.6}"));
        let reason = candidate.reason.as_deref().unwrap_or_default();
        text += format!("{:<26} cross-validated NLL {nll}  {reason}", candidate.method).trim_end();
        text.push('\n');
    }
    if !selection.is_empty() {
        if samples < fit.samples {
            text +=
                &format!("compared on {samples} of the {} rows, drawn at random\n", fit.samples);
        }
        text.push('\n');
    }
    text += &format!("method       {}\n", map.method());
    if let Some(temperature) = parameters.get("temperature") {
        text += &format!("temperature  {temperature}\n");
    }
    let number = |value: Option<f64>| value.map_or("∞".to_owned(), |value| format!("{value:.6}"));
    text += &format!(
        "fit          {} rows, NLL {} → {}, {} iterations\n",
        fit.samples,
        number(fit.nll_before),
        number(fit.nll_after),
        fit.iterations
    );
    match test {
        Some(Test { before, after }) => {
            text += &format!("test         {} rows\n\n", before.scores.samples);
            let columns = [("before", &before.scores), ("after", &after.scores)];
            text += &evaluation_table(&columns, &BTreeMap::new(), table_style());
        }
        None => {
            text +=
                "test         none: all rows were fitted to; --split or --fit-rows leaves some\n";
        }
    }
    text
}
