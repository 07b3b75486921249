//! A matrix of a configuration, and the tensor that is made of it once a device.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tch::Tensor;

use crate::{Batch, Result};

/// Rows of numbers; equality, clones and serde are those of the numbers.
#[derive(Debug)]
pub(crate) struct Matrix {
    rows: Vec<Vec<f64>>,
    /// What [`Matrix::tensor`] made last.
    made: Mutex<Option<Tensor>>,
}

impl Matrix {
    pub(crate) fn new(rows: Vec<Vec<f64>>) -> Self {
        Self { rows, made: Mutex::new(None) }
    }

    pub(crate) fn rows(&self) -> &[Vec<f64>] {
        &self.rows
    }

    /// The `[K, K]` tensor of what `values` computes, on the device and in the dtype of the batch; made anew when
    /// either changes. One matrix has one such computation.
    pub(crate) fn tensor(
        &self,
        batch: &Batch,
        values: impl FnOnce(&[Vec<f64>]) -> Result<Vec<f64>>,
    ) -> Result<Tensor> {
        let (kind, device) = (batch.kind()?, batch.logits().device());
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tensor) = made.as_ref()
            && tensor.f_kind()? == kind
            && tensor.device() == device
        {
            return Ok(tensor.shallow_clone());
        }
        let size = self.rows.len() as i64;
        let tensor = Tensor::f_from_slice(&values(&self.rows)?)?.f_reshape([size, size])?;
        let tensor = tensor.f_to_kind(kind)?.f_to_device(device)?;
        *made = Some(tensor.shallow_clone());
        Ok(tensor)
    }
}

impl Clone for Matrix {
    fn clone(&self) -> Self {
        Self::new(self.rows.clone())
    }
}

impl PartialEq for Matrix {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows
    }
}

impl Serialize for Matrix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rows.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Matrix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::new)
    }
}
