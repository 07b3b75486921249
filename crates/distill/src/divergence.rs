//! Divergences between what student and teacher say, a sample at a time.

use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use softlabel_kernels::rows::{
    Comparison, Divergence as Kernel, Scale, divergence, divergence_gradient,
};
use softlabel_losses::rows::{Logit, Number, dense_rows, threads};
use softlabel_tensor::Error as TensorError;
use softlabel_tensor::autograd::{KnownGradient, Node};
use softlabel_tensor::buffers::uninit;
use softlabel_tensor::slices::{slice, uninit_slice_mut};
use tch::{Device, Kind, Tensor, no_grad_guard};

use crate::{Error, Result};

/// Which divergence of the student's distribution p and the teacher's q, both at the temperature.
///
/// In serialized form `"forward"`, `"reverse"`, `"jeffreys"`, or
/// `{ jensen_shannon = { beta = 0.5, continuous = false } }`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Divergence {
    /// KL(q ‖ p) = Σ q·(ln q − ln p), the teacher first: the student covers all that the teacher holds possible.
    /// Same gradient as Hinton's cross-entropy with soft targets. Hinton, Vinyals, Dean 2015.
    #[default]
    Forward,
    /// KL(p ‖ q), the student first: it keeps to what the teacher holds likely. Gu et al. 2024 ("MiniLLM").
    Reverse,
    /// KL(q ‖ p) + KL(p ‖ q). Jeffreys 1946.
    Jeffreys,
    /// JS_β = β·KL(q ‖ m) + (1 − β)·KL(p ‖ m) with m = β·q + (1 − β)·p. Agarwal et al. 2024 ("GKD").
    ///
    /// It vanishes at both ends of β; over β·(1 − β), which `continuous` asks for, it becomes the forward divergence
    /// at 0 and the reverse at 1.
    JensenShannon {
        /// β, the teacher's share of the mixture, in (0, 1), or in [0, 1] if `continuous`.
        beta: f64,
        /// Whether it is divided by β·(1 − β).
        #[serde(default)]
        continuous: bool,
    },
}

impl Divergence {
    pub(crate) fn check(self) -> Result<()> {
        let Self::JensenShannon { beta, continuous } = self else { return Ok(()) };
        let fits = if continuous { (0.0..=1.0).contains(&beta) } else { beta > 0.0 && beta < 1.0 };
        if fits {
            return Ok(());
        }
        let expected = if continuous { "in [0, 1]" } else { "in (0, 1)" };
        let name = "beta of a Jensen-Shannon divergence";
        let error = softlabel_core::Error::OutOfRange { name, expected, found: beta };
        Err(TensorError::from(error).into())
    }

    /// The same, a number of times.
    fn kernel(self, factor: f64) -> Kernel {
        let both = |forward: f64, reverse: f64| Kernel::KullbackLeibler {
            forward: forward * factor,
            reverse: reverse * factor,
        };
        match self {
            Self::Forward | Self::JensenShannon { beta: 0.0, .. } => both(1.0, 0.0),
            Self::Reverse | Self::JensenShannon { beta: 1.0, .. } => both(0.0, 1.0),
            Self::Jeffreys => both(1.0, 1.0),
            Self::JensenShannon { beta, continuous } => {
                let scale = if continuous { 1.0 / (beta * (1.0 - beta)) } else { 1.0 };
                Kernel::JensenShannon { beta, factor: factor * scale }
            }
        }
    }

    /// `factor` times the divergence of every row of `[.., K]` logits at a temperature of `1 / inverse`; 0 where a
    /// sample is ignored. Differentiable in the student.
    pub(crate) fn rows(
        self,
        student: &Tensor,
        teacher: &Tensor,
        ignored: Option<&Tensor>,
        inverse: f64,
        factor: f64,
    ) -> Result<Tensor> {
        if student.device() != Device::Cpu {
            return self.through_operators(student, teacher, ignored, inverse, factor);
        }
        match student.f_kind()? {
            Kind::Double => self.fused::<f64>(student, teacher, ignored, inverse, factor),
            Kind::BFloat16 => self.fused::<bf16>(student, teacher, ignored, inverse, factor),
            Kind::Half => self.fused::<f16>(student, teacher, ignored, inverse, factor),
            _ => self.fused::<f32>(student, teacher, ignored, inverse, factor),
        }
    }

    fn fused<T: Logit>(
        self,
        student: &Tensor,
        teacher: &Tensor,
        ignored: Option<&Tensor>,
        inverse: f64,
        factor: f64,
    ) -> Result<Tensor> {
        let node = Node::new("Divergence", &[student])?;
        let guard = no_grad_guard();
        let mut shape = student.size();
        let classes = shape.pop().and_then(|k| usize::try_from(k).ok()).unwrap_or_default();
        let samples: i64 = shape.iter().product();
        let values = student.f_detach()?.f_contiguous()?;
        let teacher = teacher.f_detach()?.f_contiguous()?;
        let ignored = ignored.map(Tensor::f_contiguous).transpose()?;
        let scale = Scale::All(T::Sum::of(inverse));
        let comparison = Comparison {
            teacher: dense_rows(&teacher)?,
            divergence: self.kernel(factor),
            scale,
            teacher_scale: scale,
            ignored: ignored.as_ref().map(slice::<bool>).transpose()?,
        };
        let threads = threads();
        let mut divergences = vec![T::Sum::default(); usize::try_from(samples).unwrap_or_default()];
        let logits = slice::<T>(&values)?;
        let refused = |error: softlabel_kernels::rows::TargetError| -> Error {
            let found = error.to_string();
            let what = "teacher logits";
            let error = softlabel_core::Error::mismatch(what, "such that fit", found);
            TensorError::from(error).into()
        };
        let gradient = if node.is_recording() {
            let mut gradient = uninit::<T>(&values.size())?;
            let buffer = uninit_slice_mut::<T>(&mut gradient)?;
            let one = Scale::All(T::Sum::of(1.0));
            divergence_gradient(
                logits,
                classes,
                &comparison,
                one,
                buffer,
                &mut divergences,
                threads,
            )
            .map_err(refused)?;
            Some(gradient)
        } else {
            divergence(logits, classes, &comparison, &mut divergences, threads).map_err(refused)?;
            None
        };
        let rows = Tensor::f_from_slice(&divergences)?.f_reshape(shape.as_slice())?;
        drop(guard);
        let Some(gradient) = gradient else { return Ok(rows) };
        let known = KnownGradient::new(gradient).with_missing_axis(-1);
        Ok(node.attach_known(rows, known)?)
    }

    fn through_operators(
        self,
        student: &Tensor,
        teacher: &Tensor,
        ignored: Option<&Tensor>,
        inverse: f64,
        factor: f64,
    ) -> Result<Tensor> {
        let double = student.f_kind()? == Kind::Double;
        let kind = if double { Kind::Double } else { Kind::Float };
        let log_softmax = |logits: &Tensor| -> Result<Tensor> {
            // An ignored row is replaced before anything is computed from it.
            let logits = match ignored {
                None => logits.shallow_clone(),
                Some(ignored) => logits.f_masked_fill(&ignored.f_unsqueeze(-1)?, 0.0)?,
            };
            Ok(logits.f_to_kind(kind)?.f_mul_scalar(inverse)?.f_log_softmax(-1, kind)?)
        };
        let (log_p, log_q) = (log_softmax(student)?, log_softmax(&teacher.f_detach()?)?);
        // Σ a·(ln a − ln b); what a holds impossible costs nothing, whatever b says of it.
        let from = |log_a: &Tensor, log_b: &Tensor| -> Result<Tensor> {
            let impossible = log_a.f_eq(f64::NEG_INFINITY)?;
            let difference = log_a.f_sub(log_b)?.f_masked_fill(&impossible, 0.0)?;
            let terms = log_a.f_exp()?.f_mul(&difference)?;
            Ok(terms.f_sum_dim_intlist([-1_i64].as_slice(), false, kind)?)
        };
        let divergences = match self.kernel(factor) {
            Kernel::KullbackLeibler { forward, reverse } => {
                let part =
                    |weight: f64, log_a: &Tensor, log_b: &Tensor| -> Result<Option<Tensor>> {
                        if weight == 0.0 {
                            return Ok(None);
                        }
                        Ok(Some(from(log_a, log_b)?.f_mul_scalar(weight)?))
                    };
                match (part(forward, &log_q, &log_p)?, part(reverse, &log_p, &log_q)?) {
                    (Some(forward), Some(reverse)) => forward.f_add(&reverse)?,
                    (Some(one), None) | (None, Some(one)) => one,
                    (None, None) => from(&log_q, &log_q)?,
                }
            }
            Kernel::JensenShannon { beta, factor } => {
                let shares = [log_q.f_add_scalar(beta.ln())?, log_p.f_add_scalar((-beta).ln_1p())?];
                let log_m = shares[0].f_logaddexp(&shares[1])?;
                let of_teacher = from(&log_q, &log_m)?.f_mul_scalar(beta)?;
                let of_student = from(&log_p, &log_m)?.f_mul_scalar(1.0 - beta)?;
                of_teacher.f_add(&of_student)?.f_mul_scalar(factor)?
            }
        };
        Ok(match ignored {
            None => divergences,
            Some(ignored) => divergences.f_masked_fill(ignored, 0.0)?,
        })
    }
}
