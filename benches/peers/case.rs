//! What is asked for: an operation, its shape and dtype, and what of it to measure.

use anyhow::{Result, bail};
use serde::Deserialize;
use tch::Kind;

/// One line of the conversation.
#[derive(Debug, Deserialize)]
pub(crate) struct Request {
    /// What to do.
    pub(crate) case: Case,
    /// What to find out about it.
    pub(crate) measure: String,
    /// Threads of libtorch.
    pub(crate) threads: i32,
    /// How long to go on timing.
    pub(crate) min_seconds: f64,
}

/// An entry of `cases.json`; what only the caller needs of it is passed over.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    /// an operation of `operation.rs`.
    pub(crate) operation: String,
    /// Samples.
    pub(crate) rows: i64,
    /// Classes.
    pub(crate) classes: i64,
    /// Features of a sample before the last linear layer.
    #[serde(default)]
    pub(crate) features: i64,
    /// `f32` or `bf16`.
    pub(crate) dtype: String,
    /// Whether the gradient is computed too.
    pub(crate) backward: bool,
    /// Whether one thread is compared with all.
    #[serde(default)]
    pub(crate) scaling: bool,
}

impl Case {
    /// The dtype as libtorch names it.
    pub(crate) fn kind(&self) -> Result<Kind> {
        match self.dtype.as_str() {
            "f32" => Ok(Kind::Float),
            "bf16" => Ok(Kind::BFloat16),
            other => bail!("dtype is f32 or bf16, not {other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_can_be_read() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("cases.json")).unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            case.kind().unwrap();
            assert_eq!(case.operation == "linear", case.features > 0, "{case:?}");
        }
    }

    #[test]
    fn a_request_has_a_default_for_what_few_cases_say() {
        let line = r#"{"case": {"name": "x", "operation": "hard", "rows": 2, "classes": 3,
            "dtype": "f16", "backward": true}, "measure": "time", "threads": 1, "min_seconds": 0}"#;
        let request: Request = serde_json::from_str(line).unwrap();
        assert_eq!((request.case.features, request.case.scaling), (0, false));
        let error = request.case.kind().unwrap_err();
        assert_eq!(error.to_string(), "dtype is f32 or bf16, not f16");
    }
}
