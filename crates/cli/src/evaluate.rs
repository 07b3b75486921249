//! `softlabel evaluate`.

use anyhow::{Result, bail};
use softlabel_data::predictions::{PredictionFile, Targets};
use softlabel_metrics::{Bootstrap, FullScores};
use softlabel_posthoc::AnyCalibrator;
use softlabel_report::{EvaluationView, evaluation_html, evaluation_table};

use crate::Verdict;
use crate::arguments::{Bound, Evaluate};
use crate::evaluation::{Evaluation, EvaluationOutput};
use crate::output::{note, print, print_json, table_style};
use crate::predictions::{read_calibrator, scores, targets, write_file};

/// Prints the metrics of predictions, and says whether they are within their bounds.
pub(crate) fn evaluate(options: &Evaluate) -> Result<Verdict> {
    let bootstrap = options.ci.map(|level| {
        let bootstrap = Bootstrap::new(options.bootstrap, options.seed)?.at_level(level)?;
        Ok::<_, anyhow::Error>(bootstrap.by(options.interval.into()))
    });
    let bootstrap = bootstrap.transpose()?;
    let mut facts = vec![("File", options.predictions.display().to_string())];
    let file = PredictionFile::open(&options.predictions)?;
    let evaluation = if file.has_top_labels() && options.reading.scores_key.is_none() {
        if let Some(path) = &options.calibrator {
            let (file, path) = (file.path().display(), path.display());
            bail!("{path} needs the scores of all classes, {file} has the top class alone");
        }
        facts.push(("Scores", "confidence of the top class alone".to_owned()));
        Evaluation::of_top_labels(&file, &options.reading, options.bins)?
    } else {
        of_scores(&file, options, &mut facts)?
    };
    let evaluation = match &bootstrap {
        Some(bootstrap) => evaluation.with_intervals(bootstrap)?,
        None => evaluation,
    };
    // Before anything is written: a metric that is not there is an error.
    let verdicts = [(&options.fail_above, true), (&options.fail_below, false)]
        .into_iter()
        .flat_map(|(bounds, above)| bounds.iter().map(move |bound| (bound, above)))
        .map(|(bound, above)| broken(&evaluation.scores, bound, above))
        .collect::<Result<Vec<_>>>()?;
    if let Some(path) = &options.report {
        let title = file.path().file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let curve = evaluation.rows.risk_coverage();
        let view = EvaluationView {
            title: &title,
            facts: &facts,
            scores: &evaluation.scores,
            intervals: &evaluation.intervals,
            risk_coverage: curve.as_ref(),
            classwise: evaluation.classwise.as_ref(),
        };
        write_file(path, evaluation_html(&view)?.as_bytes())?;
    }
    if options.json {
        print_json(&EvaluationOutput(&evaluation))?;
    } else {
        print(&text(&evaluation))?;
    }
    let broken: Vec<String> = verdicts.into_iter().flatten().collect();
    for text in &broken {
        note(text);
    }
    Ok(if broken.is_empty() { Verdict::Done } else { Verdict::CheckFailed })
}

fn of_scores(
    file: &PredictionFile,
    options: &Evaluate,
    facts: &mut Vec<(&'static str, String)>,
) -> Result<Evaluation> {
    let reading = &options.reading;
    let scores = scores(file, reading)?;
    let targets = targets(file, &scores, reading)?;
    facts.extend(reading.scores.map(|kind| ("Scores", kind.name().to_owned())));
    facts.extend(reading.labels.as_ref().map(|path| ("Labels", path.display().to_string())));
    if matches!(targets, Targets::Distributions(_)) {
        facts.push(("Labels are", "distributions; metrics of one label take the largest".into()));
    }
    let calibrator =
        options.calibrator.as_ref().map(|path| read_calibrator(path, &scores)).transpose()?;
    let method = |map: &AnyCalibrator| ("Calibrator", map.method().to_owned());
    facts.extend(calibrator.as_ref().map(method));
    Evaluation::of_scores(&scores, &targets, calibrator.as_ref(), options.bins)
}

fn text(evaluation: &Evaluation) -> String {
    let scores = &evaluation.scores;
    let classes = scores.classes.map_or(String::new(), |k| format!(", {k} classes"));
    let mut text = format!("{} samples{classes}\n\n", scores.samples);
    text += &evaluation_table(&[("value", scores)], &evaluation.intervals, table_style());
    if let Some(soft) = &evaluation.soft {
        text += &format!(
            "\nAgainst the labels as distributions (entropy {:.6})\n\
             cross-entropy    {:.6}\nKL divergence    {:.6}\ntotal variation  {:.6}\n\
             Brier            {:.6}\nagreement        {:.6}\n",
            soft.target_entropy,
            soft.cross_entropy,
            soft.kl_divergence,
            soft.total_variation,
            soft.brier,
            soft.agreement
        );
    }
    text
}

/// What to say if a metric passes its bound.
fn broken(scores: &FullScores, bound: &Bound, above: bool) -> Result<Option<String>> {
    let Bound { metric: name, value } = bound;
    let Some(metric) = scores.metric(name) else {
        let known: Vec<&str> = scores.metrics().into_iter().map(|(name, _)| name).collect();
        bail!("no metric {name:?}, expected one of {}", known.join(", "));
    };
    Ok(match metric {
        Ok(found) if above && found > *value => {
            Some(format!("failed: {name} is {found}, above {value}"))
        }
        Ok(found) if !above && found < *value => {
            Some(format!("failed: {name} is {found}, below {value}"))
        }
        Ok(_) => None,
        Err(reason) => Some(format!("failed: {name} is undefined: {reason}")),
    })
}
