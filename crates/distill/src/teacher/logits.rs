//! What a teacher said about each sample of a training set.

use std::collections::HashMap;

use softlabel_core::Temperature;
use softlabel_posthoc::AnyCalibrator;
use softlabel_tensor::{ClassAxis, check_same_device, class_last};
use tch::{Kind, Tensor};

use crate::{Error, Result, calibrated};

/// A teacher's raw logits `[n, K]`, found by sample: detached, finite, in f32 (f64 stays f64).
/// Once they are [`calibrated`](Self::calibrated) a class may be impossible, −∞.
///
/// Whatever the order of the batches, a sample finds its row: by its position in the training set
/// ([`batch`](Self::batch)), or by its id ([`rows`](Self::rows)), which is the position unless
/// [`with_ids`](Self::with_ids) says otherwise.
#[derive(Debug)]
pub struct TeacherLogits {
    logits: Tensor,
    /// The row of each id; none if ids are positions.
    rows: Option<HashMap<usize, i64>>,
    /// Whether a map may have made a class impossible.
    zeros: bool,
}

impl TeacherLogits {
    /// Takes logits `[n, K]`; row i belongs to the sample at position i.
    ///
    /// # Errors
    /// A shape that is not `[n, K]`, a dtype that is no float, or [`Error::TeacherNotFinite`] with the first sample.
    pub fn new(logits: &Tensor) -> Result<Self> {
        Self::checked(logits, false)
    }

    fn checked(logits: &Tensor, zeros: bool) -> Result<Self> {
        let logits = class_last(logits, ClassAxis::Last, "teacher logits")?.f_detach()?;
        if logits.dim() != 2 {
            let (what, expected) = ("teacher logits", "[samples, classes]".to_owned());
            let found = logits.size();
            return Err(softlabel_tensor::Error::Shape { what, expected, found }.into());
        }
        let kind = if logits.f_kind()? == Kind::Double { Kind::Double } else { Kind::Float };
        let logits = logits.f_to_kind(kind)?.f_detach_copy()?;
        match first_unsound(&logits, zeros)? {
            Some(sample) => Err(Error::TeacherNotFinite { sample }),
            None => Ok(Self { logits, rows: None, zeros }),
        }
    }

    /// The same, row i being of the sample `ids[i]`.
    ///
    /// # Errors
    /// [`Error::TeacherBatch`] if there are not as many ids as rows, [`Error::SampleTwice`] if an id comes twice.
    ///
    /// ```
    /// use softlabel_distill::TeacherLogits;
    /// use tch::Tensor;
    /// let logits = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0]).view((2, 2));
    /// let teacher = TeacherLogits::new(&logits)?.with_ids(&[70, 30])?;
    /// assert_eq!(Vec::<f32>::try_from(teacher.rows(&[30])?.get(0))?, [3.0, 4.0]);
    /// assert!(teacher.rows(&[0]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_ids(mut self, ids: &[usize]) -> Result<Self> {
        if ids.len() as i64 != self.samples() {
            let (what, samples, found) = ("sample ids", self.samples(), ids.len() as i64);
            return Err(Error::TeacherBatch { what, samples, found });
        }
        let mut rows = HashMap::with_capacity(ids.len());
        for (row, &sample) in ids.iter().enumerate() {
            if rows.insert(sample, row as i64).is_some() {
                return Err(Error::SampleTwice { sample });
            }
        }
        self.rows = Some(rows);
        Ok(self)
    }

    /// K, the number of classes.
    pub fn classes(&self) -> i64 {
        self.logits.size().last().copied().unwrap_or_default()
    }

    /// Where the logits lie.
    pub(super) fn device(&self) -> tch::Device {
        self.logits.device()
    }

    /// The logits of samples, `[ids.len(), K]`, in the order of the ids.
    ///
    /// # Errors
    /// [`Error::UnknownSample`] or [`Error::MissingSample`] with the first id that the teacher has not seen.
    pub fn rows(&self, ids: &[usize]) -> Result<Tensor> {
        let positions: Vec<i64> = match &self.rows {
            None => ids.iter().map(|&id| id as i64).collect(),
            Some(rows) => {
                let row = |&sample| {
                    let samples = self.samples();
                    rows.get(&sample).copied().ok_or(Error::MissingSample { sample, samples })
                };
                ids.iter().map(row).collect::<Result<_>>()?
            }
        };
        let positions = Tensor::f_from_slice(&positions)?.f_to_device(self.logits.device())?;
        self.batch(&positions)
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
        let logits = self.logits.f_mul_scalar(temperature.inverse())?;
        Ok(Self { rows: self.rows.clone(), ..Self::checked(&logits, self.zeros)? })
    }

    /// The same teacher as a map makes it that was fitted on held-out data: its log-probabilities, see
    /// [`calibrated`](crate::calibrated()), in the place of its logits. Temperature scaling leaves
    /// [`scaled`](Self::scaled) logits.
    ///
    /// # Errors
    /// What the map objects to, such as another number of classes.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_distill::TeacherLogits;
    /// use softlabel_posthoc::Method;
    /// use tch::Tensor;
    ///
    /// // Half of the labels are right where it says 9 to 1.
    /// let held_out = Logits::new([9f64.ln(), 0.0].repeat(2), 2)?;
    /// let map = "isotonic".parse::<Method>()?.fit(&held_out, &Labels::new(&[0, 1], 2)?)?;
    /// let teacher = TeacherLogits::new(&Tensor::from_slice(&[9f32.ln(), 0.0]).view((1, 2)))?;
    /// let row = teacher.calibrated(&map)?.batch(&Tensor::from_slice(&[0i64]))?;
    /// assert!((row.double_value(&[0, 0]) - 0.5f64.ln()).abs() < 1e-6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn calibrated(&self, map: &AnyCalibrator) -> Result<Self> {
        if let AnyCalibrator::Temperature(scaling) = map {
            return self.scaled(scaling.temperature());
        }
        Ok(Self {
            rows: self.rows.clone(),
            ..Self::checked(&calibrated(&self.logits, map)?, true)?
        })
    }

    /// Whether a map may have made a class impossible.
    pub(super) fn may_have_zeros(&self) -> bool {
        self.zeros
    }
}

/// The first row of logits `[n, K]` with a NaN or an infinity, though −∞ may be allowed.
pub(super) fn first_unsound(logits: &Tensor, zeros: bool) -> Result<Option<usize>> {
    let sound = logits.f_isfinite()?;
    let sound = if zeros { sound.f_logical_or(&logits.f_isneginf()?)? } else { sound };
    if logits.numel() == 0 || bool::try_from(sound.f_all()?)? {
        return Ok(None);
    }
    let bad = sound.f_logical_not()?.f_any_dim(1, false)?.f_to_kind(Kind::Uint8)?;
    Ok(usize::try_from(i64::try_from(bad.f_argmax(0, false)?)?).ok())
}
