//! The methods that are to be tried, and the choice among them.

use anyhow::Result;
use serde::Serialize;
use softlabel_core::Logits;
use softlabel_posthoc::{Method, Selected, Selection, Targets};

use crate::arguments::Choice;

/// Methods are compared on at most so many rows: there the differences between them are far above the
/// noise, and all folds of all methods take seconds.
pub(crate) const MOST_ROWS: usize = 20_000;

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

/// The methods that are asked for, each once; `auto` stands for those that are worth a try on so many
/// rows, of which at most [`MOST_ROWS`] are used to choose.
pub(crate) fn methods(choices: &[Choice], rows: usize, classes: usize) -> Vec<Method> {
    let mut methods = Vec::new();
    for choice in choices {
        let chosen = match choice {
            Choice::Of(method) => vec![method.clone()],
            Choice::Auto => Method::candidates(rows.min(MOST_ROWS), classes),
        };
        for method in chosen {
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
    }
    methods
}

/// The method with the lowest NLL over `folds` folds, which are dealt with `seed`, how all of them did,
/// and on how many rows.
pub(crate) fn choose(
    methods: &[Method],
    logits: &Logits<'_, f64>,
    targets: &Targets<'_>,
    folds: usize,
    seed: u64,
) -> Result<(Method, Vec<Candidate>, usize)> {
    let most_rows = Some(MOST_ROWS);
    let selection = Selection { folds, seed, most_rows, ..Selection::default() };
    let Selected { method, candidates, samples, .. } =
        selection.choose(methods, logits, targets)?;
    let candidates = candidates.into_iter().map(|of| Candidate {
        method: of.method.name(),
        nll: of.score,
        reason: of.reason,
    });
    Ok((method, candidates.collect(), samples))
}
