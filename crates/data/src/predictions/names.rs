//! What arrays and columns of predictions are usually called.

/// What labels are usually called.
pub(crate) const LABEL_NAMES: [&str; 10] = [
    "labels",
    "label",
    "targets",
    "target",
    "y",
    "y_true",
    "ground_truth",
    "true_label",
    "true_labels",
    "class",
];

/// What scores of any kind are usually called.
pub(crate) const SCORE_NAMES: [&str; 7] =
    ["scores", "predictions", "preds", "outputs", "output", "y_score", "y_pred"];

/// What is found beside scores and labels, and is neither: positions, groups, weights, and predicted classes.
const OTHER_NAMES: [&str; 26] = [
    "index",
    "idx",
    "id",
    "ids",
    "sample",
    "sample_id",
    "sample_ids",
    "row",
    "row_id",
    "fold",
    "folds",
    "group",
    "groups",
    "split",
    "epoch",
    "seed",
    "weight",
    "weights",
    "sample_weight",
    "pred",
    "prediction",
    "predicted",
    "pred_label",
    "pred_labels",
    "predicted_label",
    "argmax",
];

/// Whether a name is one of these, in upper or lower case.
pub(crate) fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|usual| usual.eq_ignore_ascii_case(name))
}

/// Whether labels are usually called so.
pub(crate) fn names_labels(name: &str) -> bool {
    is_one_of(name, &LABEL_NAMES)
}

/// Whether one column of several with labels, a number a class, is usually called so: `labels_0`.
pub(crate) fn names_label_of_class(name: &str) -> bool {
    name.rsplit_once('_').is_some_and(|(before, number)| {
        names_labels(before) && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Whether neither scores nor labels are called so: nameless columns among them, as spreadsheets write positions.
pub(crate) fn names_something_else(name: &str) -> bool {
    let lower = name.trim().to_ascii_lowercase();
    lower.is_empty() || lower.starts_with("unnamed:") || is_one_of(&lower, &OTHER_NAMES)
}
