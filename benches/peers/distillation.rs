//! Knowledge distillation: T²·KL(teacher ‖ student) of tempered logits, averaged over the samples.

use std::hint::black_box;

use anyhow::Result;
use softlabel::Temperature;
use softlabel::prelude::{CrossEntropy, Distillation, Target};
use tch::{Device, Kind, Reduction, Tensor};

use crate::case::Case;
use crate::operation::{Operation, Side, Who, sides};
use crate::tensors::{COMPARED, copy, first_rows, off, random};

/// Of both sides.
const TEMPERATURE: f64 = 4.0;

/// Logits, and what is computed of them.
#[derive(Debug)]
pub(crate) struct Distillations {
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    place: Tensor,
    ours: Distillation,
    backward: bool,
    scaling: bool,
}

impl Distillations {
    pub(crate) fn new(case: &Case) -> Result<Self> {
        let kind = case.kind()?;
        let logits = || -> Result<Tensor> {
            Ok(random([case.rows, case.classes])?.f_mul_scalar(3.0)?.f_to_kind(kind)?)
        };
        let student = logits()?.f_set_requires_grad(case.backward)?;
        let teacher = logits()?;
        let place = student.f_zeros_like()?;
        let labels = Tensor::f_zeros([case.rows], (Kind::Int64, Device::Cpu))?;
        // The labels weigh nothing.
        let ours = Distillation::new(Temperature::new(TEMPERATURE)?, 1.0, 0.0)?;
        let (backward, scaling) = (case.backward, case.scaling);
        Ok(Self { student, teacher, labels, place, ours, backward, scaling })
    }

    fn loss(&self, who: Who) -> Result<Tensor> {
        match who {
            Who::Ours => {
                let target = Target::Hard(&self.labels);
                Ok(self.ours.forward(&self.student, &self.teacher, &CrossEntropy::new(), target)?)
            }
            _ => libtorch(&self.student, &self.teacher, self.student.size()[0]),
        }
    }

    fn gradient(&self, side: &Side) -> Result<Tensor> {
        let loss = self.loss(side.who)?;
        Ok(Tensor::f_run_backward(&[loss], &[&self.student], false, false)?.remove(0))
    }
}

/// As every tutorial has it, divided by a number of samples.
fn libtorch(student: &Tensor, teacher: &Tensor, samples: i64) -> Result<Tensor> {
    let kind = student.f_kind()?;
    let log_p = student.f_div_scalar(TEMPERATURE)?.f_log_softmax(-1, kind)?;
    let q = teacher.f_div_scalar(TEMPERATURE)?.f_softmax(-1, kind)?;
    let sum = log_p.f_kl_div(&q, Reduction::Sum, false)?;
    Ok(sum.f_mul_scalar(TEMPERATURE * TEMPERATURE / samples as f64)?)
}

impl Operation for Distillations {
    fn sides(&self, threads: i32) -> Vec<Side> {
        sides(threads, self.scaling, true)
    }

    fn run(&self, side: &Side) -> Result<()> {
        match side.who {
            Who::WarmCopy | Who::FreshCopy => copy(&self.student, &self.place, side.who)?,
            _ if self.backward => {
                drop(black_box(self.gradient(side)?));
            }
            who => {
                let _guard = tch::no_grad_guard();
                drop(black_box(self.loss(who)?));
            }
        }
        Ok(())
    }

    fn error(&self, side: &Side) -> Result<Option<f64>> {
        if !self.backward || !matches!(side.who, Who::Ours | Who::Libtorch) {
            return Ok(None);
        }
        let exact = |tensor: &Tensor| -> Result<Tensor> {
            Ok(first_rows(tensor, COMPARED)?.f_detach()?.f_to_kind(Kind::Double)?)
        };
        let student = exact(&self.student)?.f_set_requires_grad(true)?;
        let loss = libtorch(&student, &exact(&self.teacher)?, self.student.size()[0])?;
        let truth = &Tensor::f_run_backward(&[loss], &[&student], false, false)?[0];
        Ok(Some(off(&self.gradient(side)?, truth)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(dtype: &str, backward: bool) -> Case {
        let (operation, dtype) = ("distill".to_owned(), dtype.to_owned());
        Case { operation, rows: 70, classes: 11, features: 0, dtype, backward, scaling: false }
    }

    #[test]
    fn both_libraries_compute_the_same_loss_and_nearly_the_true_gradient() {
        let operation = Distillations::new(&case("f32", true)).unwrap();
        let [ours, libtorch] = [Who::Ours, Who::Libtorch]
            .map(|who| f64::try_from(operation.loss(who).unwrap()).unwrap());
        assert!((ours - libtorch).abs() < 1e-5 * ours, "{ours} and {libtorch}");
        for side in operation.sides(2) {
            operation.run(&side).unwrap();
            if let Some(error) = operation.error(&side).unwrap() {
                assert!(error < 1e-5, "{}: {error}", side.name);
            }
        }
    }

    #[test]
    fn another_temperature_has_an_error() {
        let mut operation = Distillations::new(&case("f32", true)).unwrap();
        operation.ours = Distillation::new(Temperature::ONE, 1.0, 0.0).unwrap();
        let error = operation.error(&operation.sides(1)[0]).unwrap().unwrap();
        assert!(error > 1e-2, "{error}");
        let forward = Distillations::new(&case("bf16", false)).unwrap();
        assert_eq!(forward.error(&forward.sides(1)[0]).unwrap(), None);
    }
}
