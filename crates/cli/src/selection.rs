//! The methods that are to be tried, and the choice among them.

use anyhow::Result;
use serde::Serialize;
use softlabel_core::{Labels, Logits};
use softlabel_posthoc::{Method, Selected, Selection};

use crate::arguments::Choice;

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
/// rows.
pub(crate) fn methods(choices: &[Choice], rows: usize, classes: usize) -> Vec<Method> {
    let mut methods = Vec::new();
    for choice in choices {
        let chosen = match choice {
            Choice::Of(method) => vec![method.clone()],
            Choice::Auto => Method::candidates(rows, classes),
        };
        for method in chosen {
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
    }
    methods
}

/// The method with the lowest NLL over `folds` folds, which are dealt with `seed`, and how all of them
/// did.
pub(crate) fn choose(
    methods: &[Method],
    logits: &Logits<'_, f64>,
    labels: &Labels,
    folds: usize,
    seed: u64,
) -> Result<(Method, Vec<Candidate>)> {
    let selection = Selection { folds, seed, ..Selection::default() };
    let Selected { method, candidates, .. } = selection.choose(methods, logits, labels)?;
    let candidates = candidates.into_iter().map(|of| Candidate {
        method: of.method.name(),
        nll: of.score,
        reason: of.reason,
    });
    Ok((method, candidates.collect()))
}
