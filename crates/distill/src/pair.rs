//! Student and teacher of one batch, brought together once for every loss.

use softlabel_kernels::rows::Scale;
use softlabel_losses::rows::Number;
use tch::{Device, Kind, Tensor};

use crate::{Error, Result};

/// A number that all samples share, or one a sample.
#[derive(Debug, Clone)]
pub(crate) enum Amount {
    All(f64),
    Samples(Vec<f64>),
}

impl Amount {
    pub(crate) fn map(&self, of: impl Fn(f64) -> f64) -> Self {
        match self {
            Self::All(value) => Self::All(of(*value)),
            Self::Samples(values) => Self::Samples(values.iter().map(|&value| of(value)).collect()),
        }
    }

    /// That of the first sample, the second and so on; without end if all share it.
    fn each(&self) -> Box<dyn Iterator<Item = f64> + '_> {
        match self {
            Self::All(value) => Box::new(std::iter::repeat(*value)),
            Self::Samples(values) => Box::new(values.iter().copied()),
        }
    }

    /// One value a sample `[..]` times it.
    pub(crate) fn times_rows(&self, rows: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::All(1.0) => rows.shallow_clone(),
            Self::All(value) => rows.f_mul_scalar(*value)?,
            Self::Samples(values) => {
                rows.f_mul(&tensor(values, &rows.size(), rows.f_kind()?, rows.device())?)?
            }
        })
    }

    /// Logits `[.., K]` times it.
    pub(crate) fn times_logits(&self, logits: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::All(1.0) => logits.shallow_clone(),
            Self::All(value) => logits.f_mul_scalar(*value)?,
            Self::Samples(values) => {
                let mut shape = logits.size();
                if let Some(classes) = shape.last_mut() {
                    *classes = 1;
                }
                logits.f_mul(&tensor(values, &shape, logits.f_kind()?, logits.device())?)?
            }
        })
    }

    /// As the row kernels take it; `room` holds what is one a sample.
    pub(crate) fn scale<'a, A: Number>(&self, room: &'a mut Vec<A>) -> Scale<'a, A> {
        match self {
            Self::All(value) => Scale::All(A::of(*value)),
            Self::Samples(values) => {
                *room = values.iter().map(|&value| A::of(value)).collect();
                Scale::Rows(room)
            }
        }
    }
}

fn tensor(values: &[f64], shape: &[i64], kind: Kind, device: Device) -> Result<Tensor> {
    Ok(Tensor::f_from_slice(values)?.f_reshape(shape)?.f_to_kind(kind)?.f_to_device(device)?)
}

/// What logits are multiplied by before a softmax, and the loss after it.
#[derive(Debug, Clone)]
pub(crate) struct Tempering {
    /// 1/T of the student.
    pub(crate) student: Amount,
    /// 1/T of the teacher.
    pub(crate) teacher: Amount,
    /// c.
    pub(crate) factor: Amount,
}

impl Tempering {
    /// The largest c/T of the student: entries of the gradient of a sample are about as large at most.
    pub(crate) fn steepest(&self) -> f64 {
        match (&self.factor, &self.student) {
            (Amount::All(factor), Amount::All(inverse)) => factor * inverse,
            (factors, inverses) => {
                factors.each().zip(inverses.each()).map(|(c, i)| c * i).fold(0.0, f64::max)
            }
        }
    }

    /// Logits and loss as they are.
    pub(crate) fn none() -> Self {
        let one = || Amount::All(1.0);
        Self { student: one(), teacher: one(), factor: one() }
    }
}

/// Logits of both sides, class-last and of one shape.
#[derive(Debug)]
pub(crate) struct Pair {
    /// `[.., K]`, f64 if the teacher's are.
    pub(crate) student: Tensor,
    /// `[.., K]` of any float dtype, detached.
    pub(crate) teacher: Tensor,
    /// `[..]`: samples that count for nothing.
    pub(crate) ignored: Option<Tensor>,
    pub(crate) tempering: Tempering,
}

impl Pair {
    /// The dtype that is computed in.
    pub(crate) fn kind(&self) -> Result<Kind> {
        computing_kind(&self.student)
    }

    pub(crate) fn classes(&self) -> i64 {
        self.student.size().last().copied().unwrap_or_default()
    }

    /// How many samples count.
    pub(crate) fn counted_samples(&self) -> Result<f64> {
        let all = self.student.numel() as f64 / self.classes().max(1) as f64;
        Ok(match &self.ignored {
            None => all,
            Some(ignored) => all - f64::try_from(ignored.f_sum(Kind::Int64)?)?,
        })
    }

    /// Logits of either side, 0 where a sample is ignored: nothing may be computed from those.
    pub(crate) fn counted(&self, logits: &Tensor) -> Result<Tensor> {
        Ok(match &self.ignored {
            None => logits.shallow_clone(),
            Some(ignored) => logits.f_masked_fill(&ignored.f_unsqueeze(-1)?, 0.0)?,
        })
    }

    /// z and u: both sides over their temperatures, in the dtype that is computed in, 0 where a sample is ignored.
    pub(crate) fn tempered(&self) -> Result<[Tensor; 2]> {
        let kind = self.kind()?;
        let of = |logits: &Tensor, inverse: &Amount| {
            inverse.times_logits(&self.counted(logits)?.f_to_kind(kind)?)
        };
        Ok([
            of(&self.student, &self.tempering.student)?,
            of(&self.teacher, &self.tempering.teacher)?,
        ])
    }

    /// c times one loss a sample, exactly 0 where a sample is ignored.
    pub(crate) fn scaled(&self, rows: &Tensor) -> Result<Tensor> {
        let rows = self.tempering.factor.times_rows(rows)?;
        Ok(match &self.ignored {
            None => rows,
            Some(ignored) => rows.f_masked_fill(ignored, 0.0)?,
        })
    }

    /// Passes a loss on unless it is NaN and the teacher is to blame.
    ///
    /// # Errors
    /// [`Error::TeacherNotFinite`] with the first sample whose teacher says NaN or +∞.
    pub(crate) fn sound(&self, loss: Tensor) -> Result<Tensor> {
        if loss.numel() > 0 && i64::try_from(loss.f_detach()?.f_isnan()?.f_any()?)? != 0 {
            self.check_teacher()?;
        }
        Ok(loss)
    }

    /// # Errors
    /// [`Error::TeacherNotFinite`] with the first sample whose teacher says NaN or +∞.
    pub(crate) fn check_teacher(&self) -> Result<()> {
        let teacher = self.counted(&self.teacher)?;
        let bad = teacher.f_isnan()?.f_logical_or(&teacher.f_isposinf()?)?;
        let bad = bad.f_any_dim(-1, false)?.f_reshape([-1])?;
        if bad.numel() == 0 || i64::try_from(bad.f_any()?)? == 0 {
            return Ok(());
        }
        let first = i64::try_from(bad.f_to_kind(Kind::Uint8)?.f_argmax(0, false)?)?;
        Err(Error::TeacherNotFinite { sample: usize::try_from(first).unwrap_or_default() })
    }
}

/// f32, or f64 for f64.
pub(crate) fn computing_kind(logits: &Tensor) -> Result<Kind> {
    Ok(if logits.f_kind()? == Kind::Double { Kind::Double } else { Kind::Float })
}

/// Σ over the classes.
pub(crate) fn sum_classes(values: &Tensor) -> Result<Tensor> {
    Ok(values.f_sum_dim_intlist([-1_i64].as_slice(), false, values.f_kind()?)?)
}

/// ln Σ exp over the classes; −∞ without a gradient where all of them are −∞.
pub(crate) fn log_sum_exp(logits: &Tensor) -> Result<Tensor> {
    let nothing = logits.f_detach()?.f_amax([-1_i64].as_slice(), false)?.f_eq(f64::NEG_INFINITY)?;
    let filled = logits.f_masked_fill(&nothing.f_unsqueeze(-1)?, 0.0)?;
    let sums = filled.f_logsumexp([-1_i64].as_slice(), false)?;
    Ok(sums.f_masked_fill(&nothing, f64::NEG_INFINITY)?)
}
