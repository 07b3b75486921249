//! How a row of logits becomes bytes, and back.

use std::fmt;

use half::f16;
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::{Deserialize, Serialize};

use super::CacheError;
use crate::predictions::Tensors;
use crate::{Error, Result};

const LOGITS: &str = "logits";
const VALUES: &str = "values";
const CLASSES: &str = "classes";
const TAIL: &str = "tail";

/// What is kept of a row of K logits.
///
/// In serialized form `"f32"`, `"f16"` or `{ top_k = 8 }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Encoding {
    /// All, as they are.
    #[default]
    F32,
    /// All, rounded to half precision; a logit beyond ±65504 is an error.
    F16,
    /// The k largest as they are, and the log-sum-exp of the rest; k in 1..K.
    TopK(usize),
}

impl fmt::Display for Encoding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32 => formatter.write_str("f32"),
            Self::F16 => formatter.write_str("f16"),
            Self::TopK(k) => write!(formatter, "top-{k}"),
        }
    }
}

impl Encoding {
    /// Whether rows of so many classes can be kept like this; else why not.
    pub(super) fn check(self, classes: usize) -> Result<(), String> {
        match self {
            _ if classes == 0 => Err("expected at least one class, found 0".to_owned()),
            Self::TopK(k) if !(1..classes).contains(&k) => {
                Err(format!("k of top-k must be in 1..{classes}, found {k}"))
            }
            _ => Ok(()),
        }
    }

    /// The tensors of rows `[ids.len(), K]`, which are in order.
    pub(super) fn encode(
        self,
        ids: &[usize],
        rows: &[&[f32]],
        classes: usize,
    ) -> Result<Tensors, CacheError> {
        let limit = if self == Self::F16 { f32::from(f16::MAX) } else { f32::MAX };
        let expected = if self == Self::F16 {
            "to be within ±65504 for half precision"
        } else {
            "to be finite"
        };
        for (&sample, row) in ids.iter().zip(rows) {
            let bad = row.iter().position(|logit| logit.is_nan() || logit.abs() > limit);
            if let Some(class) = bad {
                return Err(CacheError::Logit { sample, class, expected, found: row[class] });
            }
        }
        let mut tensors = Tensors::default();
        let values = || rows.iter().flat_map(|row| row.iter());
        let shape = vec![rows.len(), classes];
        match self {
            Self::F32 => {
                let bytes = values().flat_map(|logit| logit.to_le_bytes());
                tensors.push(LOGITS, Dtype::F32, shape, bytes);
            }
            Self::F16 => {
                let bytes = values().flat_map(|&logit| f16::from_f32(logit).to_le_bytes());
                tensors.push(LOGITS, Dtype::F16, shape, bytes);
            }
            Self::TopK(k) => {
                let kept: Vec<TopK> = rows.iter().map(|row| TopK::of(row, k)).collect();
                let shape = vec![rows.len(), k];
                let classes = kept.iter().flat_map(|row| &row.classes);
                let classes = classes.flat_map(|class| class.to_le_bytes());
                tensors.push(CLASSES, Dtype::I32, shape.clone(), classes);
                let tails = kept.iter().flat_map(|row| row.tail.to_le_bytes());
                tensors.push(TAIL, Dtype::F32, vec![rows.len()], tails);
                let values = kept.iter().flat_map(|row| &row.values);
                let values = values.flat_map(|value| value.to_le_bytes());
                tensors.push(VALUES, Dtype::F32, shape, values);
            }
        }
        Ok(tensors)
    }

    /// Where the tensors of a shard lie, if they have the types and shapes that they must have.
    pub(super) fn layout(
        self,
        header: &Metadata,
        start: usize,
        rows: usize,
        classes: usize,
    ) -> Result<Layout> {
        let at = |name, dtype, shape: &[usize]| place(header, start, name, dtype, shape);
        Ok(match self {
            Self::F32 => Layout::F32(at(LOGITS, Dtype::F32, &[rows, classes])?),
            Self::F16 => Layout::F16(at(LOGITS, Dtype::F16, &[rows, classes])?),
            Self::TopK(k) => Layout::TopK {
                k,
                classes: at(CLASSES, Dtype::I32, &[rows, k])?,
                tail: at(TAIL, Dtype::F32, &[rows])?,
                values: at(VALUES, Dtype::F32, &[rows, k])?,
            },
        })
    }
}

/// Where a tensor's bytes begin in the file of a shard.
pub(super) fn place(
    header: &Metadata,
    start: usize,
    name: &'static str,
    dtype: Dtype,
    shape: &[usize],
) -> Result<usize> {
    let wrong = |found: String| {
        let expected = format!("{dtype} of shape {shape:?}");
        Error::Tensor { name, expected, found }
    };
    let info = header.info(name).ok_or_else(|| wrong("nothing".into()))?;
    if info.dtype == dtype && info.shape == shape {
        Ok(start + info.data_offsets.0)
    } else {
        Err(wrong(format!("{} of shape {:?}", info.dtype, info.shape)))
    }
}

/// Where the bytes of each tensor begin.
#[derive(Debug, Clone, Copy)]
pub(super) enum Layout {
    F32(usize),
    F16(usize),
    TopK { k: usize, classes: usize, tail: usize, values: usize },
}

impl Layout {
    /// Writes a row of a shard to `out`, which has K elements; false if the file does not hold it.
    pub(super) fn decode(self, bytes: &[u8], row: usize, out: &mut [f32]) -> bool {
        let width = out.len();
        match self {
            Self::F32(at) => {
                let Some(row) = elements::<4>(bytes, at, row, width) else { return false };
                for (to, from) in out.iter_mut().zip(row) {
                    *to = f32::from_le_bytes(*from);
                }
            }
            Self::F16(at) => {
                let Some(row) = elements::<2>(bytes, at, row, width) else { return false };
                for (to, from) in out.iter_mut().zip(row) {
                    *to = f16::from_le_bytes(*from).to_f32();
                }
            }
            Self::TopK { k, classes, tail, values } => {
                let (Some(classes), Some([tail]), Some(values)) = (
                    elements::<4>(bytes, classes, row, k),
                    elements::<4>(bytes, tail, row, 1),
                    elements::<4>(bytes, values, row, k),
                ) else {
                    return false;
                };
                let others = (width - k) as f64;
                #[allow(clippy::cast_possible_truncation)] // Logits are single precision.
                out.fill((f64::from(f32::from_le_bytes(*tail)) - others.ln()) as f32);
                for (class, value) in classes.iter().zip(values) {
                    let class = usize::try_from(i32::from_le_bytes(*class)).ok();
                    let Some(place) = class.and_then(|class| out.get_mut(class)) else {
                        return false;
                    };
                    *place = f32::from_le_bytes(*value);
                }
            }
        }
        true
    }

    /// The probability of what is kept of a row, at temperature 1.
    pub(super) fn kept_mass(self, bytes: &[u8], row: usize) -> Option<f64> {
        let Self::TopK { k, tail, values, .. } = self else { return Some(1.0) };
        let [tail] = elements::<4>(bytes, tail, row, 1)? else { return None };
        let tail = f64::from(f32::from_le_bytes(*tail));
        let values = elements::<4>(bytes, values, row, k)?.iter();
        let kept = log_sum_exp(values.map(|value| f64::from(f32::from_le_bytes(*value))));
        Some(1.0 / (1.0 + (tail - kept).exp()))
    }
}

/// The elements of a row, `SIZE` bytes each.
fn elements<const SIZE: usize>(
    bytes: &[u8],
    at: usize,
    row: usize,
    width: usize,
) -> Option<&[[u8; SIZE]]> {
    let length = width.checked_mul(SIZE)?;
    let start = at.checked_add(row.checked_mul(length)?)?;
    Some(bytes.get(start..start.checked_add(length)?)?.as_chunks().0)
}

/// The k largest logits of a row with their classes, the largest first, and the log-sum-exp of the rest.
struct TopK {
    values: Vec<f32>,
    classes: Vec<i32>,
    tail: f32,
}

impl TopK {
    fn of(row: &[f32], k: usize) -> Self {
        let mut order: Vec<usize> = (0..row.len()).collect();
        // Of equal logits the first classes.
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        let (kept, rest) = order.split_at(k);
        let tail = log_sum_exp(rest.iter().map(|&class| f64::from(row[class])));
        Self {
            values: kept.iter().map(|&class| row[class]).collect(),
            classes: kept.iter().map(|&class| i32::try_from(class).unwrap_or(i32::MAX)).collect(),
            #[allow(clippy::cast_possible_truncation)] // Logits are single precision.
            tail: tail as f32,
        }
    }
}

fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    largest + values.map(|value| (value - largest).exp()).sum::<f64>().ln()
}
