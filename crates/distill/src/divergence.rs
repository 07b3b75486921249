//! Divergences between what student and teacher say, a sample at a time.

use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use softlabel_kernels::rows::{Comparison, Divergence as Kernel, divergence, divergence_gradient};
use softlabel_losses::rows::{Logit, Number, dense_rows, reduced, split, threads};
use softlabel_tensor::autograd::{KnownGradient, Node};
use softlabel_tensor::buffers::uninit;
use softlabel_tensor::slices::{slice, uninit_slice_mut};
use softlabel_tensor::{Error as TensorError, contiguous};
use tch::{Device, Kind, Tensor, no_grad_guard};

use crate::pair::{Amount, Pair, sum_classes};
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

/// How the losses of the samples become one number.
#[derive(Debug, Clone, Copy)]
struct Reduced {
    divisor: f64,
    weight: f64,
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

    /// The divergence of every row, times the factor of the pair; 0 where a sample is ignored. Differentiable in the
    /// student.
    pub(crate) fn rows(self, pair: &Pair) -> Result<Tensor> {
        if pair.student.device() != Device::Cpu {
            return self.through_operators(pair);
        }
        self.of_kind(pair, None)
    }

    /// The sum of the rows, divided and then multiplied: on the CPU in the pass that computes them.
    pub(crate) fn sum(self, pair: &Pair, divisor: f64, weight: f64) -> Result<Tensor> {
        if pair.student.device() != Device::Cpu {
            let rows = self.through_operators(pair)?;
            return Ok(rows.f_sum(rows.f_kind()?)?.f_mul_scalar(weight / divisor)?);
        }
        self.of_kind(pair, Some(Reduced { divisor, weight }))
    }

    fn of_kind(self, pair: &Pair, to: Option<Reduced>) -> Result<Tensor> {
        match pair.student.f_kind()? {
            Kind::Double => self.fused::<f64>(pair, to),
            Kind::BFloat16 => self.fused::<bf16>(pair, to),
            Kind::Half => self.fused::<f16>(pair, to),
            _ => self.fused::<f32>(pair, to),
        }
    }

    fn fused<T: Logit>(self, pair: &Pair, to: Option<Reduced>) -> Result<Tensor> {
        let Pair { student, teacher, ignored, tempering } = pair;
        let node = Node::new("Divergence", &[student])?;
        let guard = no_grad_guard();
        let mut shape = student.size();
        let classes = shape.pop().and_then(|k| usize::try_from(k).ok()).unwrap_or_default();
        let samples: i64 = shape.iter().product();
        let values = contiguous(student)?;
        let teacher = contiguous(teacher)?;
        let ignored = ignored.as_ref().map(Tensor::f_contiguous).transpose()?;
        // One factor for all is part of the divergence; one a sample comes on top of it.
        let (factor, each) = match &tempering.factor {
            Amount::All(factor) => (*factor, None),
            each @ Amount::Samples(_) => (1.0, Some(each)),
        };
        let mut room = [Vec::new(), Vec::new(), Vec::new()];
        let [first, second, third] = &mut room;
        let comparison = Comparison {
            teacher: dense_rows(&teacher)?,
            divergence: self.kernel(factor),
            scale: tempering.student.scale::<T::Sum>(first),
            teacher_scale: tempering.teacher.scale::<T::Sum>(second),
            ignored: ignored.as_ref().map(slice::<bool>).transpose()?,
        };
        let (now, late) = match to {
            None => (1.0, 1.0),
            Some(Reduced { divisor, weight }) => {
                split(divisor / weight, tempering.steepest(), T::KIND)
            }
        };
        let gradient_scale = each.unwrap_or(&Amount::All(1.0)).map(|factor| factor / now);
        let gradient_scale = gradient_scale.scale::<T::Sum>(third);
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
            divergence_gradient(
                logits,
                classes,
                &comparison,
                gradient_scale,
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
        if let Some(Amount::Samples(factors)) = each {
            for (divergence, factor) in divergences.iter_mut().zip(factors) {
                *divergence = T::Sum::of((*divergence).into() * factor);
            }
        }
        let losses = match to {
            None => Tensor::f_from_slice(&divergences)?.f_reshape(shape.as_slice())?,
            Some(Reduced { divisor, weight }) => reduced(&divergences, divisor, weight)?,
        };
        drop(guard);
        let Some(gradient) = gradient else { return Ok(losses) };
        let mut known = KnownGradient::new(gradient).with_divisor(late);
        if to.is_none() {
            known = known.with_missing_axis(-1);
        }
        Ok(node.attach_known(losses, known)?)
    }

    fn through_operators(self, pair: &Pair) -> Result<Tensor> {
        let kind = pair.kind()?;
        let [z, u] = pair.tempered()?;
        let (log_p, log_q) = (z.f_log_softmax(-1, kind)?, u.f_log_softmax(-1, kind)?);
        // Σ a·(ln a − ln b); what a holds impossible costs nothing, whatever b says of it. It is +∞ where b holds
        // impossible what a does not: with a slope in b, for which that does not matter, and without one in a.
        let from = |log_a: &Tensor, log_b: &Tensor| -> Result<Tensor> {
            let impossible = log_a.f_isneginf()?;
            let mut nothing = impossible.shallow_clone();
            let mut unmatched = None;
            if log_a.requires_grad() {
                let places = log_b.f_isneginf()?.f_logical_and(&impossible.f_logical_not()?)?;
                nothing = nothing.f_logical_or(&places)?;
                unmatched = Some(places.f_any_dim(-1, false)?);
            }
            let difference =
                log_a.f_masked_fill(&nothing, 0.0)?.f_sub(&log_b.f_masked_fill(&nothing, 0.0)?)?;
            let sums = sum_classes(&log_a.f_exp()?.f_mul(&difference)?)?;
            Ok(match unmatched {
                None => sums,
                Some(unmatched) => sums.f_masked_fill(&unmatched, f64::INFINITY)?,
            })
        };
        let divergences = match self.kernel(1.0) {
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
                // A class that both hold impossible is not looked at; −∞ would have no slope there.
                let nobodys = log_q.f_isneginf()?.f_logical_and(&log_p.f_isneginf()?)?;
                let of_q = log_q.f_masked_fill(&nobodys, 0.0)?.f_add_scalar(beta.ln())?;
                let of_p = log_p.f_masked_fill(&nobodys, 0.0)?.f_add_scalar((-beta).ln_1p())?;
                let log_m = of_q.f_logaddexp(&of_p)?;
                let of_teacher = from(&log_q, &log_m)?.f_mul_scalar(beta)?;
                let of_student = from(&log_p, &log_m)?.f_mul_scalar(1.0 - beta)?;
                of_teacher.f_add(&of_student)?.f_mul_scalar(factor)?
            }
        };
        pair.scaled(&divergences)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::Tempering;

    fn wave(phase: f64) -> Tensor {
        let steps = Tensor::arange(15, (Kind::Double, Device::Cpu)) * 0.73 + phase;
        (steps.sin() * 3.0).view((3, 5))
    }

    /// Other devices than the CPU go through the operators; what these compute does not depend on the device.
    #[test]
    fn operators_and_kernels_agree() {
        // Sample 1 is ignored, class 2 of sample 0 impossible for both, class 4 of sample 2 for one of them.
        let impossible = |logits: Tensor, one: bool| {
            let _ = logits.get(0).get(2).fill_(f64::NEG_INFINITY);
            let _ = logits.get(1).fill_(f64::NAN);
            if one {
                let _ = logits.get(2).get(4).fill_(f64::NEG_INFINITY);
            }
            logits
        };
        let each = || Amount::Samples(vec![0.5, 1.0, 0.25]);
        let all = || Amount::All(0.5);
        for divergence in [
            Divergence::Forward,
            Divergence::Reverse,
            Divergence::Jeffreys,
            Divergence::JensenShannon { beta: 0.3, continuous: false },
            Divergence::JensenShannon { beta: 0.3, continuous: true },
            Divergence::JensenShannon { beta: 1.0, continuous: true },
        ] {
            for (amounts, of_student, of_teacher) in [
                ([all(), all(), all()], false, false),
                ([each(), all(), each()], true, false),
                ([all(), each(), all()], false, true),
            ] {
                let found = [false, true].map(|operators| {
                    let [student, teacher, factor] = amounts.clone();
                    let at = impossible(wave(0.1), of_student).set_requires_grad(true);
                    let pair = Pair {
                        student: at.shallow_clone(),
                        teacher: impossible(wave(2.0), of_teacher),
                        ignored: Some(Tensor::from_slice(&[false, true, false])),
                        tempering: Tempering { student, teacher, factor },
                    };
                    let rows = if operators {
                        divergence.through_operators(&pair).unwrap()
                    } else {
                        divergence.rows(&pair).unwrap()
                    };
                    // Rows that are infinite have a gradient all the same.
                    let ones = Tensor::from_slice(&[1.0, 2.0, 3.0]);
                    let gradient = Tensor::run_backward(
                        &[(&rows * ones).sum(Kind::Double)],
                        &[&at],
                        false,
                        false,
                    );
                    (rows.detach(), gradient[0].shallow_clone())
                });
                let [(kernel, slope), (operators, other)] = found;
                // Equal infinities are close.
                assert!(kernel.allclose(&operators, 0.0, 1e-13, false), "{divergence:?}");
                assert!(
                    slope.allclose(&other, 0.0, 1e-13, false),
                    "{divergence:?} {slope} {other}"
                );
            }
        }
    }
}
