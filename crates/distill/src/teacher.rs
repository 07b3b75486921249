//! What a teacher said about each sample of a training set.

use softlabel_core::Temperature;
use softlabel_tensor::{ClassAxis, check_same_device, class_last};
use tch::{Kind, Tensor};

use crate::{Error, Result};

/// A teacher's raw logits `[n, K]`, found by position in the training set: detached, finite, in f32 (f64 stays f64).
///
/// Whatever the order of the batches, a sample's position finds its row.
#[derive(Debug)]
pub struct TeacherLogits {
    logits: Tensor,
}

impl TeacherLogits {
    /// Takes logits `[n, K]`; row i belongs to the sample at position i.
    ///
    /// # Errors
    /// A shape that is not `[n, K]`, a dtype that is no float, or [`Error::TeacherNotFinite`] with the first sample.
    pub fn new(logits: &Tensor) -> Result<Self> {
        let logits = class_last(logits, ClassAxis::Last, "teacher logits")?.f_detach()?;
        if logits.dim() != 2 {
            let (what, expected) = ("teacher logits", "[samples, classes]".to_owned());
            let found = logits.size();
            return Err(softlabel_tensor::Error::Shape { what, expected, found }.into());
        }
        let kind = if logits.f_kind()? == Kind::Double { Kind::Double } else { Kind::Float };
        let logits = logits.f_to_kind(kind)?.f_detach_copy()?;
        let bad = logits.f_isfinite()?.f_logical_not()?.f_any_dim(1, false)?;
        if logits.numel() > 0 && i64::try_from(bad.f_any()?)? != 0 {
            let first = i64::try_from(bad.f_to_kind(Kind::Uint8)?.f_argmax(0, false)?)?;
            return Err(Error::TeacherNotFinite {
                sample: usize::try_from(first).unwrap_or_default(),
            });
        }
        Ok(Self { logits })
    }

    /// How many samples the teacher has seen.
    pub fn samples(&self) -> i64 {
        self.logits.size().first().copied().unwrap_or_default()
    }

    /// The logits of a batch, `[positions.len(), K]`, in the order of the positions, an `i64` tensor `[n]`.
    ///
    /// # Errors
    /// [`Error::UnknownSample`] with a position that the teacher has not seen; another dtype, shape or device.
    pub fn batch(&self, positions: &Tensor) -> Result<Tensor> {
        const WHAT: &str = "positions of samples";
        let (found, shape) = (positions.f_kind()?, positions.size());
        if found != Kind::Int64 {
            return Err(softlabel_tensor::Error::Kind { what: WHAT, expected: "i64", found }.into());
        }
        if shape.len() != 1 {
            let expected = "[samples]".to_owned();
            return Err(
                softlabel_tensor::Error::Shape { what: WHAT, expected, found: shape }.into()
            );
        }
        check_same_device(positions, &self.logits, WHAT)?;
        let samples = self.samples();
        if positions.numel() > 0 {
            for sample in [i64::try_from(positions.f_min()?)?, i64::try_from(positions.f_max()?)?] {
                if !(0..samples).contains(&sample) {
                    return Err(Error::UnknownSample { sample, samples });
                }
            }
        }
        Ok(self.logits.f_index_select(0, positions)?)
    }

    /// The same teacher, its logits divided by a temperature that was fitted on held-out data: what it says is then
    /// calibrated before a student hears it.
    ///
    /// # Errors
    /// [`Error::TeacherNotFinite`] if a temperature near 0 makes them overflow.
    ///
    /// ```
    /// use softlabel_core::Temperature;
    /// use softlabel_distill::TeacherLogits;
    /// use tch::Tensor;
    /// let teacher = TeacherLogits::new(&Tensor::from_slice(&[4.0f32, 2.0]).view((1, 2)))?;
    /// let row = teacher.scaled(Temperature::new(2.0)?)?.batch(&Tensor::from_slice(&[0i64]))?;
    /// assert_eq!(Vec::<f32>::try_from(row.get(0))?, [2.0, 1.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scaled(&self, temperature: Temperature) -> Result<Self> {
        Self::new(&self.logits.f_mul_scalar(temperature.inverse())?)
    }
}
