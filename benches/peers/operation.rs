//! The operations, as softlabel and libtorch have them.
//!
//! A new operation is an arm in [`Operation::prepare`] (its tensors), in [`Operation::ours`] and, if libtorch's
//! differs from what there is, in [`libtorch`]; and a function of the same name in `peers.py`.

use std::hint::black_box;

use anyhow::{Result, bail};
use softlabel::prelude::{CrossEntropy, LinearCrossEntropy, Smoothing, Target};
use tch::{Device, Kind, Reduction, Tensor};

use crate::case::Case;

/// Share of the uniform distribution in every target.
const EPSILON: f64 = 0.1;
/// Samples whose gradient is compared with f64.
const COMPARED: i64 = 64;

/// Who carries an operation out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Ours,
    Libtorch,
    WarmCopy,
    FreshCopy,
}

/// One of those who are compared.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    /// As in the report.
    pub(crate) name: &'static str,
    /// Threads that it may use.
    pub(crate) threads: i32,
    who: Who,
}

/// Tensors, and what is computed of them.
#[derive(Debug)]
pub(crate) struct Operation {
    /// The logits; or the features of every sample and the weights of the last layer, `[classes, features]`.
    leaves: Vec<Tensor>,
    /// Labels or soft rows.
    target: Tensor,
    /// Where the warm copy goes: in the shape of the first leaf.
    place: Tensor,
    ours: CrossEntropy,
    linear: LinearCrossEntropy,
    hard: bool,
    backward: bool,
    scaling: bool,
}

impl Operation {
    /// Tensors drawn with a fixed seed.
    pub(crate) fn prepare(case: &Case) -> Result<Self> {
        tch::manual_seed(0);
        let kind = case.kind()?;
        let random = |size: [i64; 2]| -> Result<Tensor> {
            Ok(Tensor::f_randn(size, (Kind::Float, Device::Cpu))?)
        };
        let leaves = match case.operation.as_str() {
            "hard" | "soft" => vec![random([case.rows, case.classes])?],
            "linear" => {
                let scale = (case.features as f64).sqrt();
                let weights = random([case.classes, case.features])?;
                vec![random([case.rows, case.features])?, weights.f_div_scalar(scale)?]
            }
            other => bail!("operation is hard, soft or linear, not {other}"),
        };
        let hard = case.operation != "soft";
        let target = if hard {
            Tensor::f_randint(case.classes, [case.rows], (Kind::Int64, Device::Cpu))?
        } else {
            random([case.rows, case.classes])?.f_softmax(-1, Kind::Float)?.f_to_kind(kind)?
        };
        let leaf = |tensor: Tensor| -> Result<Tensor> {
            Ok(tensor.f_to_kind(kind)?.f_set_requires_grad(case.backward)?)
        };
        let leaves = leaves.into_iter().map(leaf).collect::<Result<Vec<_>>>()?;
        let place = leaves[0].f_zeros_like()?;
        let smoothing = Smoothing::mixture(EPSILON)?;
        let ours = CrossEntropy::new().with_smoothing(smoothing.clone());
        let linear = LinearCrossEntropy::new(CrossEntropy::new().with_smoothing(smoothing));
        let (backward, scaling) = (case.backward, case.scaling);
        Ok(Self { leaves, target, place, ours, linear, hard, backward, scaling })
    }

    /// Everyone who is compared, softlabel first.
    pub(crate) fn sides(&self, threads: i32) -> Vec<Side> {
        let side = |name, who| Side { name, threads, who };
        let mut sides = vec![
            side("softlabel", Who::Ours),
            side("libtorch eager (same process)", Who::Libtorch),
            side("copy of the logits (warm)", Who::WarmCopy),
            side("copy of the logits (fresh)", Who::FreshCopy),
        ];
        if self.leaves.len() > 1 {
            // There are no logits to copy.
            sides.truncate(2);
        }
        if self.scaling && threads > 1 {
            sides.push(Side { name: "softlabel, 1 thread", threads: 1, who: Who::Ours });
        }
        sides
    }

    /// Carries the operation out once.
    pub(crate) fn run(&self, side: &Side) -> Result<()> {
        match side.who {
            Who::WarmCopy => {
                self.place.shallow_clone().f_copy_(&self.leaves[0].f_detach()?)?;
            }
            Who::FreshCopy => {
                let source = self.leaves[0].f_detach()?;
                let mut copy = source.f_empty_like()?;
                copy.f_copy_(&source)?;
                drop(black_box(copy));
            }
            _ if self.backward => {
                drop(black_box(self.gradients(side)?));
            }
            who => {
                let _guard = tch::no_grad_guard();
                drop(black_box(self.loss(who)?));
            }
        }
        Ok(())
    }

    fn gradients(&self, side: &Side) -> Result<Vec<Tensor>> {
        let leaves: Vec<&Tensor> = self.leaves.iter().collect();
        Ok(Tensor::f_run_backward(&[self.loss(side.who)?], &leaves, false, false)?)
    }

    fn loss(&self, who: Who) -> Result<Tensor> {
        match who {
            Who::Ours => self.ours(&self.leaves, &self.target),
            _ => libtorch(&self.leaves, &self.target, Reduction::Mean),
        }
    }

    fn ours(&self, leaves: &[Tensor], target: &Tensor) -> Result<Tensor> {
        let target = if self.hard { Target::Hard(target) } else { Target::Soft(target) };
        match leaves {
            [features, weights] => Ok(self.linear.forward(features, weights, None, target)?),
            _ => Ok(self.ours.forward(&leaves[0], target)?),
        }
    }

    /// How far the gradient of the first leaf is off, in its first rows and of its largest entry there.
    pub(crate) fn error(&self, side: &Side) -> Result<Option<f64>> {
        if !self.backward || !matches!(side.who, Who::Ours | Who::Libtorch) {
            return Ok(None);
        }
        let all = self.leaves[0].size()[0];
        let first = |tensor: &Tensor| tensor.f_narrow(0, 0, COMPARED.min(all));
        let exact = |tensor: &Tensor| -> Result<Tensor> {
            Ok(tensor.f_detach()?.f_to_kind(Kind::Double)?.f_set_requires_grad(true)?)
        };
        let mut leaves = vec![exact(&first(&self.leaves[0])?)?];
        for leaf in &self.leaves[1..] {
            leaves.push(exact(leaf)?);
        }
        let target = first(&self.target)?;
        let target = if self.hard { target } else { target.f_to_kind(Kind::Double)? };
        let sum = libtorch(&leaves, &target, Reduction::Sum)?;
        let mean = sum.f_div_scalar(all as f64)?;
        let truth = &Tensor::f_run_backward(&[mean], &[&leaves[0]], false, false)?[0];
        let found = first(&self.gradients(side)?[0])?.f_to_kind(Kind::Double)?;
        let off = f64::try_from(found.f_sub(truth)?.f_abs()?.f_max()?)?;
        Ok(Some(off / f64::try_from(truth.f_abs()?.f_max()?)?))
    }
}

fn libtorch(leaves: &[Tensor], target: &Tensor, how: Reduction) -> Result<Tensor> {
    let weights = None::<Tensor>;
    Ok(logits(leaves)?.f_cross_entropy_loss(target, weights, how, -100, EPSILON)?)
}

/// The logits, which the last layer has yet to compute if there is one.
fn logits(leaves: &[Tensor]) -> Result<Tensor> {
    match leaves {
        [features, weights] => Ok(features.f_matmul(&weights.f_tr()?)?),
        _ => Ok(leaves[0].shallow_clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(operation: &str, dtype: &str, backward: bool) -> Case {
        let (operation, dtype) = (operation.to_owned(), dtype.to_owned());
        let features = if operation == "linear" { 6 } else { 0 };
        Case { operation, rows: 70, classes: 11, features, dtype, backward, scaling: true }
    }

    #[test]
    fn both_libraries_compute_the_same_loss_and_nearly_the_true_gradient() {
        for (name, dtype, tolerance) in
            [("hard", "f32", 1e-5), ("soft", "f32", 1e-5), ("linear", "f32", 1e-5)]
        {
            let operation = Operation::prepare(&case(name, dtype, true)).unwrap();
            let [ours, libtorch] = [Who::Ours, Who::Libtorch]
                .map(|who| f64::try_from(operation.loss(who).unwrap()).unwrap());
            assert!((ours - libtorch).abs() < 1e-5, "{name}: {ours} and {libtorch}");
            for side in operation.sides(1) {
                operation.run(&side).unwrap();
                if let Some(error) = operation.error(&side).unwrap() {
                    assert!(error < tolerance, "{name} of {}: {error}", side.name);
                }
            }
        }
    }

    #[test]
    fn a_gradient_of_something_else_has_an_error() {
        let mut operation = Operation::prepare(&case("hard", "f32", true)).unwrap();
        operation.ours = CrossEntropy::new();
        let [ours, libtorch] =
            [0, 1].map(|index| operation.error(&operation.sides(1)[index]).unwrap().unwrap());
        assert!(ours > 1e-2 && libtorch < 1e-5, "{ours} and {libtorch}");
    }

    #[test]
    fn forward_alone_has_no_gradient_and_a_copy_no_error() {
        let forward = Operation::prepare(&case("hard", "bf16", false)).unwrap();
        for side in forward.sides(2) {
            forward.run(&side).unwrap();
            assert_eq!(forward.error(&side).unwrap(), None);
        }
        let both = Operation::prepare(&case("hard", "bf16", true)).unwrap();
        let sides = both.sides(2);
        let with_error = sides.iter().filter(|side| both.error(side).unwrap().is_some());
        assert_eq!(with_error.count(), 3);
    }

    #[test]
    fn one_thread_is_compared_where_there_are_more() {
        let operation = Operation::prepare(&case("hard", "f32", true)).unwrap();
        assert_eq!(operation.sides(1).len(), 4);
        assert_eq!(operation.sides(2)[4].threads, 1);
        let error = Operation::prepare(&case("firm", "f32", true)).unwrap_err();
        assert!(error.to_string().contains("not firm"), "{error}");
    }
}
