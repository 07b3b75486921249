//! Decoupled distillation: the label against the rest, and the rest among themselves.
//!
//! With L = ln Σ_{k≠y} e^{z_k} and d_p = z_y − L, the student's odds of the label are e^{d_p}; b_p = [σ(d_p), σ(−d_p)].
//! So both parts are finite whatever saturates:
//!
//! ```text
//! KL(b_q ‖ b_p) = σ(d_q)·(ln σ(d_q) − ln σ(d_p)) + σ(−d_q)·(ln σ(−d_q) − ln σ(−d_p))      d/dd_p = σ(d_p) − σ(d_q)
//! KL(q̂ ‖ p̂)     the forward divergence of the logits with −∞ at the label
//! ```

use softlabel_tensor::autograd::{KnownGradient, Node};
use tch::{Tensor, no_grad_guard};

use crate::pair::{Pair, Tempering, log_sum_exp};
use crate::{Divergence, Error, Result};

/// α·KL(b_q ‖ b_p) + β·KL(q̂ ‖ p̂) of every row.
pub(crate) fn rows(pair: &Pair, labels: &Tensor, alpha: f64, beta: f64) -> Result<Tensor> {
    let classes = pair.classes();
    if classes < 3 {
        return Err(Error::TooFewClasses { loss: "dkd", least: 3, found: classes });
    }
    let at_label = labels.f_unsqueeze(-1)?;
    let rest = |logits: &Tensor| -> Result<Tensor> {
        Ok(logits.f_scatter_value(-1, &at_label, f64::NEG_INFINITY)?)
    };
    let mut total = None;
    if beta > 0.0 {
        let others = Pair {
            student: rest(&pair.student)?,
            teacher: rest(&pair.teacher)?,
            ignored: pair.ignored.as_ref().map(Tensor::shallow_clone),
            tempering: Tempering {
                factor: pair.tempering.factor.map(|factor| factor * beta),
                ..pair.tempering.clone()
            },
        };
        total = Some(Divergence::Forward.rows(&others)?);
    }
    if alpha > 0.0 {
        let [student, teacher] = pair.tempered()?;
        let odds = |logits: &Tensor| -> Result<Tensor> {
            let label = logits.f_gather(-1, &at_label, false)?.f_squeeze_dim(-1)?;
            Ok(label.f_sub(&log_sum_exp(&rest(logits)?)?)?)
        };
        let binary = two_classes(&odds(&student)?, &odds(&teacher)?)?;
        let binary = pair.scaled(&binary)?.f_mul_scalar(alpha)?;
        total = Some(match total {
            None => binary,
            Some(total) => total.f_add(&binary)?,
        });
    }
    // That one weight is positive was checked.
    total.map_or_else(|| Ok(labels.f_zeros_like()?), Ok)
}

/// KL(b_q ‖ b_p) from the log-odds of both, `[..]`; exactly 0, with a gradient of 0, where these are equal.
fn two_classes(student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    let student = student.f_unsqueeze(-1)?;
    let node = Node::new("BinaryDivergence", &[&student])?;
    let guard = no_grad_guard();
    let (student, teacher) = (student.f_detach()?, teacher.f_detach()?.f_unsqueeze(-1)?);
    let part = |d_p: &Tensor, d_q: &Tensor| -> Result<Tensor> {
        let q = d_q.f_sigmoid()?;
        let ratio = d_q.f_log_sigmoid()?.f_sub(&d_p.f_log_sigmoid()?)?;
        Ok(ratio.f_masked_fill(&q.f_eq(0.0)?, 0.0)?.f_mul(&q)?)
    };
    let divergence =
        part(&student, &teacher)?.f_add(&part(&student.f_neg()?, &teacher.f_neg()?)?)?;
    // Not negative but by rounding.
    let divergence = divergence.f_clamp_min(0.0)?.f_squeeze_dim(-1)?.f_contiguous()?;
    let gradient = student.f_sigmoid()?.f_sub(&teacher.f_sigmoid()?)?;
    drop(guard);
    Ok(node.attach_known(divergence, KnownGradient::new(gradient).with_missing_axis(-1))?)
}
