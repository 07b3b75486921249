//! The risk-coverage curve of a report: where its line runs, and what it comes to at usual coverages.

use std::fmt::Write as _;

use softlabel_core::Fraction;
use softlabel_metrics::RiskCoverageCurve;

use crate::diagram::{LEFT, SIZE, TOP};
use crate::numbers;

/// Height of the plot.
pub(crate) const HEIGHT: f64 = 160.0;

/// More points than so many could not be told apart.
const POINTS: usize = 400;

/// Coverages at which the risk is written down.
const COVERAGES: [f64; 6] = [0.5, 0.7, 0.8, 0.9, 0.95, 1.0];

/// What the template of the curve draws.
pub(crate) struct SelectivePanel {
    /// The path of the line.
    pub(crate) line: String,
    /// The place and the percentage of a label of the coverage.
    pub(crate) coverages: Vec<(String, u32)>,
    /// The place and the text of a label of the risk.
    pub(crate) risks: Vec<(String, String)>,
    pub(crate) label: String,
    /// Coverage and risk as text.
    pub(crate) rows: Vec<(String, String)>,
}

impl SelectivePanel {
    pub(crate) fn of(curve: &RiskCoverageCurve) -> Self {
        let highest = curve.points.iter().map(|point| point.risk).fold(0.0, f64::max);
        // A multiple of 1 % below 10 %, else of 10 %.
        let unit = if highest <= 0.1 { 0.01 } else { 0.1 };
        let top = ((highest / unit).ceil() * unit).clamp(unit, 1.0);
        let x = |coverage: f64| LEFT + coverage * SIZE;
        let y = |risk: f64| TOP + (1.0 - risk / top) * HEIGHT;
        let last = curve.points.len().saturating_sub(1);
        let every = curve.points.len().div_ceil(POINTS).max(1);
        let shown = curve.points.iter().enumerate().filter(|(i, _)| i % every == 0 || *i == last);
        let mut line = String::new();
        for (_, point) in shown {
            let command = if line.is_empty() { 'M' } else { 'L' };
            // Writing to a text does not fail.
            let _ = write!(line, "{command}{:.1} {:.1}", x(point.coverage), y(point.risk));
        }
        let risk_at = |coverage: f64| {
            Fraction::new(coverage).ok().and_then(|coverage| curve.risk_at_coverage(coverage))
        };
        let percent = |share: f64| numbers::decimal(100.0 * share, 0);
        Self {
            line,
            coverages: [0u32, 20, 40, 60, 80, 100]
                .map(|percent| (format!("{:.1}", x(f64::from(percent) / 100.0)), percent))
                .into(),
            risks: [0.0, 0.5, 1.0]
                .map(|part| {
                    let digits = usize::from(unit < 0.1 && part == 0.5);
                    (format!("{:.1}", y(part * top)), numbers::decimal(100.0 * part * top, digits))
                })
                .into(),
            label: format!(
                "Risk against coverage: {} of all rows are wrong, {} of the surest half",
                numbers::percent(risk_at(1.0).unwrap_or_default()),
                numbers::percent(risk_at(0.5).unwrap_or_default())
            ),
            rows: COVERAGES
                .iter()
                .filter_map(|&coverage| {
                    Some((format!("{} %", percent(coverage)), numbers::percent(risk_at(coverage)?)))
                })
                .collect(),
        }
    }
}
