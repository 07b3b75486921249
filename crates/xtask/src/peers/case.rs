//! The cases of `benches/peers/cases.json`: shapes are stated there and nowhere else.
//!
//! | key | meaning |
//! |-----|---------|
//! | `name` | as in the report |
//! | `operation` | what is computed: an operation of `benches/peers` |
//! | `rows`, `classes` | shape of the logits |
//! | `features` | of a sample before the last layer, for `linear` only |
//! | `dtype` | `f32` or `bf16` |
//! | `backward` | whether the gradient is computed too |
//! | `scaling` | whether softlabel with one thread is a peer; false if absent |

use std::fmt;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Extent, nothing_left};
use crate::workspace::Workspace;

/// The file, relative to the workspace.
const FILE: &str = "benches/peers/cases.json";
/// Sizes in a quick run are at most these.
const QUICK: [(&str, i64); 3] = [("rows", 64), ("features", 32), ("classes", 128)];

/// One thing to compare.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Case {
    value: Value,
    /// As in the report.
    pub(crate) name: String,
    /// Sizes with × between them, rows first and classes last.
    pub(crate) shape: String,
    /// Of the logits.
    pub(crate) dtype: String,
}

impl Case {
    fn new(value: Value) -> Result<Self> {
        let text = |key: &str| {
            let text = value.get(key).and_then(Value::as_str).map(str::to_owned);
            text.with_context(|| format!("{FILE}: a case lacks the text {key}: {value}"))
        };
        let size = |key: &str| value.get(key).and_then(Value::as_u64);
        for key in ["rows", "classes"] {
            size(key).with_context(|| format!("{FILE}: a case lacks the size {key}: {value}"))?;
        }
        let sizes = ["rows", "features", "classes"].into_iter().filter_map(size);
        let shape = sizes.map(|size| size.to_string()).collect::<Vec<_>>().join("x");
        Ok(Self { name: text("name")?, dtype: text("dtype")?, shape, value })
    }

    /// A case for tests of what is made of it.
    #[cfg(test)]
    pub(crate) fn example(name: &str, shape: &str) -> Self {
        let [name, shape, dtype] = [name, shape, "f32"].map(str::to_owned);
        Self { value: Value::Null, name, shape, dtype }
    }

    /// The case as the programs are told.
    pub(crate) fn value(&self) -> &Value {
        &self.value
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.shape, self.dtype)
    }
}

/// The cases to compare.
pub(crate) fn read(workspace: &Workspace, extent: &Extent) -> Result<Vec<Case>> {
    let path = workspace.root().join(FILE);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    choose(&text, extent)
}

fn choose(text: &str, extent: &Extent) -> Result<Vec<Case>> {
    let values: Vec<Value> =
        serde_json::from_str(text).with_context(|| format!("{FILE} is damaged"))?;
    let filter = extent.filter.as_deref().unwrap_or_default();
    let mut cases = Vec::new();
    for value in values {
        let case = Case::new(value)?;
        if !case.to_string().contains(filter) {
            continue;
        }
        let case = if extent.quick { Case::new(shrunk(case.value))? } else { case };
        // Small, several cases are one.
        if !cases.contains(&case) {
            cases.push(case);
        }
    }
    if cases.is_empty() {
        return Err(nothing_left(filter).into());
    }
    Ok(cases)
}

/// A case of a size that takes no time.
fn shrunk(mut value: Value) -> Value {
    for (key, most) in QUICK {
        if let Some(size) = value.get(key).and_then(Value::as_i64) {
            value[key] = json!(size.min(most));
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: &str = r#"[
        {"name": "a", "operation": "hard", "rows": 500, "classes": 10, "dtype": "f32"},
        {"name": "a", "operation": "hard", "rows": 900, "classes": 10, "dtype": "f32"},
        {"name": "b", "operation": "linear", "rows": 8, "features": 50, "classes": 7, "dtype": "bf16"}
    ]"#;

    fn check(quick: bool, filter: Option<&str>) -> Vec<String> {
        let extent = Extent { quick, filter: filter.map(str::to_owned), rounds: 3 };
        let cases = choose(CASES, &extent).unwrap();
        cases.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn cases_are_chosen_by_any_part_of_what_they_are_called() {
        assert_eq!(check(false, None), ["a 500x10 f32", "a 900x10 f32", "b 8x50x7 bf16"]);
        assert_eq!(check(false, Some("900")), ["a 900x10 f32"]);
        assert_eq!(check(false, Some("bf16")), ["b 8x50x7 bf16"]);
        let extent = Extent { quick: false, filter: Some("c".to_owned()), rounds: 3 };
        let error = choose(CASES, &extent).unwrap_err().to_string();
        assert!(error.contains("no case has \"c\""), "{error}");
    }

    #[test]
    fn quick_cases_are_small_and_told_apart() {
        assert_eq!(check(true, None), ["a 64x10 f32", "b 8x32x7 bf16"]);
        // The filter is about the case as it is written.
        assert_eq!(check(true, Some("900")), ["a 64x10 f32"]);
    }

    #[test]
    fn a_case_without_a_size_is_refused() {
        let extent = Extent { quick: false, filter: None, rounds: 3 };
        let error = choose(r#"[{"name": "a", "rows": 3, "dtype": "f32"}]"#, &extent).unwrap_err();
        assert!(error.to_string().contains("lacks the size classes"), "{error}");
    }

    #[test]
    fn our_own_cases_can_be_read() {
        let workspace = Workspace::locate().unwrap();
        for quick in [false, true] {
            let extent = Extent { quick, filter: None, rounds: 1 };
            assert!(!read(&workspace, &extent).unwrap().is_empty());
        }
    }
}
