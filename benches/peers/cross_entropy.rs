//! Cross-entropies with a uniform share, or one towards a prior.

use std::hint::black_box;

use anyhow::Result;
use softlabel::prelude::{CrossEntropy, LinearCrossEntropy, Smoothing, Target};
use softlabel::targets::{ClassDistribution, ClassMatrix, Prior};
use tch::{Device, Kind, Reduction, Tensor};

use crate::case::Case;
use crate::operation::{Operation, Side, Who, sides};
use crate::tensors::{COMPARED, copy, first_rows, off, random};

/// Share of the prior in every target.
const EPSILON: f64 = 0.1;

/// Tensors, and what is computed of them.
#[derive(Debug)]
pub(crate) struct CrossEntropies {
    /// The logits; or the features of every sample and the weights of the last layer, `[classes, features]`.
    leaves: Vec<Tensor>,
    /// Labels or soft rows.
    target: Tensor,
    labels: Tensor,
    /// What the labels are smoothed towards if not uniformly: a row of classes, or one for each class.
    prior: Option<Tensor>,
    /// Where the warm copy goes: in the shape of the first leaf.
    place: Tensor,
    ours: CrossEntropy,
    uniform: CrossEntropy,
    linear: LinearCrossEntropy,
    hard: bool,
    backward: bool,
    scaling: bool,
}

impl CrossEntropies {
    pub(crate) fn new(case: &Case) -> Result<Self> {
        let kind = case.kind()?;
        // All in this order, in which `peers.py` draws as well.
        let leaves = if case.operation == "linear" {
            let scale = (case.features as f64).sqrt();
            let weights = random([case.classes, case.features])?.f_div_scalar(scale)?;
            vec![random([case.rows, case.features])?, weights]
        } else {
            vec![random([case.rows, case.classes])?]
        };
        let hard = case.operation != "soft";
        let rows = match case.operation.as_str() {
            "soft" => Some(random([case.rows, case.classes])?.f_softmax(-1, Kind::Float)?),
            _ => None,
        };
        let labels = Tensor::f_randint(case.classes, [case.rows], (Kind::Int64, Device::Cpu))?;
        let target = match rows {
            Some(rows) => rows.f_to_kind(kind)?,
            None => labels.shallow_clone(),
        };
        let leaf = |tensor: Tensor| -> Result<Tensor> {
            Ok(tensor.f_to_kind(kind)?.f_set_requires_grad(case.backward)?)
        };
        let leaves = leaves.into_iter().map(leaf).collect::<Result<Vec<_>>>()?;
        let rows = match case.operation.as_str() {
            "vector" => Some(1),
            "matrix" => Some(case.classes),
            _ => None,
        };
        let prior = match rows {
            None => None,
            Some(rows) => Some(random([rows, case.classes])?.f_softmax(-1, Kind::Double)?),
        };
        let smoothing = match &prior {
            None => Smoothing::mixture(EPSILON)?,
            Some(prior) => {
                let rows = Vec::<Vec<f64>>::try_from(prior)?;
                let prior = match rows.as_slice() {
                    [row] => Prior::from(ClassDistribution::new(row.clone())?),
                    rows => Prior::from(ClassMatrix::new(rows)?),
                };
                Smoothing::towards(softlabel::Epsilon::new(EPSILON)?, prior)
            }
        };
        let place = leaves[0].f_zeros_like()?;
        let ours = CrossEntropy::new().with_smoothing(smoothing.clone());
        let uniform = CrossEntropy::new().with_smoothing(Smoothing::mixture(EPSILON)?);
        let linear = LinearCrossEntropy::new(CrossEntropy::new().with_smoothing(smoothing));
        let (backward, scaling) = (case.backward, case.scaling);
        Ok(Self {
            leaves,
            target,
            labels,
            prior,
            place,
            ours,
            uniform,
            linear,
            hard,
            backward,
            scaling,
        })
    }

    fn gradients(&self, side: &Side) -> Result<Vec<Tensor>> {
        let leaves: Vec<&Tensor> = self.leaves.iter().collect();
        Ok(Tensor::f_run_backward(&[self.loss(side.who)?], &leaves, false, false)?)
    }

    fn loss(&self, who: Who) -> Result<Tensor> {
        match who {
            Who::Ours => self.ours(&self.leaves, &self.target),
            Who::Uniform => {
                Ok(self.uniform.forward(&self.leaves[0], Target::Hard(&self.labels))?)
            }
            _ => self.libtorch(&self.leaves, &self.target, Reduction::Mean),
        }
    }

    fn ours(&self, leaves: &[Tensor], target: &Tensor) -> Result<Tensor> {
        let target = if self.hard { Target::Hard(target) } else { Target::Soft(target) };
        match leaves {
            [features, weights] => Ok(self.linear.forward(features, weights, None, target)?),
            _ => Ok(self.ours.forward(&leaves[0], target)?),
        }
    }

    fn libtorch(&self, leaves: &[Tensor], target: &Tensor, how: Reduction) -> Result<Tensor> {
        let logits = match leaves {
            [features, weights] => features.f_matmul(&weights.f_tr()?)?,
            _ => leaves[0].shallow_clone(),
        };
        let weights = None::<Tensor>;
        let Some(prior) = &self.prior else {
            return Ok(logits.f_cross_entropy_loss(target, weights, how, -100, EPSILON)?);
        };
        // There is no operator for it: rows are built.
        let kind = logits.f_kind()?;
        let prior = prior.f_to_kind(kind)?.f_mul_scalar(EPSILON)?;
        let rows = if prior.size()[0] == 1 {
            prior.f_expand(logits.size(), false)?.f_contiguous()?
        } else {
            prior.f_index_select(0, target)?
        };
        let labels = target.f_unsqueeze(-1)?;
        let own = Tensor::f_full(labels.size(), 1.0 - EPSILON, (kind, Device::Cpu))?;
        let rows = rows.f_scatter_add(-1, &labels, &own)?;
        Ok(logits.f_cross_entropy_loss(&rows, weights, how, -100, 0.0)?)
    }
}

impl Operation for CrossEntropies {
    fn sides(&self, threads: i32) -> Vec<Side> {
        // Before a linear layer there are no logits to copy.
        let mut sides = sides(threads, self.scaling, self.leaves.len() == 1);
        if !self.hard || self.prior.is_some() {
            sides.push(Side::new("softlabel, uniform smoothing", threads, Who::Uniform));
        }
        if !self.hard {
            sides.push(Side::new("reading the soft rows", threads, Who::Reading));
        }
        sides
    }

    fn run(&self, side: &Side) -> Result<()> {
        match side.who {
            Who::WarmCopy | Who::FreshCopy => copy(&self.leaves[0], &self.place, side.who)?,
            Who::Reading => {
                drop(black_box(self.target.f_sum(None)?));
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

    fn error(&self, side: &Side) -> Result<Option<f64>> {
        if !self.backward || !matches!(side.who, Who::Ours | Who::Libtorch) {
            return Ok(None);
        }
        let all = self.leaves[0].size()[0];
        let exact = |tensor: &Tensor| -> Result<Tensor> {
            Ok(tensor.f_detach()?.f_to_kind(Kind::Double)?.f_set_requires_grad(true)?)
        };
        let mut leaves = vec![exact(&first_rows(&self.leaves[0], COMPARED)?)?];
        for leaf in &self.leaves[1..] {
            leaves.push(exact(leaf)?);
        }
        let target = first_rows(&self.target, COMPARED)?;
        let target = if self.hard { target } else { target.f_to_kind(Kind::Double)? };
        let sum = self.libtorch(&leaves, &target, Reduction::Sum)?;
        let mean = sum.f_div_scalar(all as f64)?;
        let truth = &Tensor::f_run_backward(&[mean], &[&leaves[0]], false, false)?[0];
        Ok(Some(off(&self.gradients(side)?[0], truth)?))
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
        for name in ["hard", "soft", "vector", "matrix", "linear"] {
            let operation = CrossEntropies::new(&case(name, "f32", true)).unwrap();
            let [ours, libtorch] = [Who::Ours, Who::Libtorch]
                .map(|who| f64::try_from(operation.loss(who).unwrap()).unwrap());
            assert!((ours - libtorch).abs() < 1e-5, "{name}: {ours} and {libtorch}");
            for side in operation.sides(1) {
                operation.run(&side).unwrap();
                if let Some(error) = operation.error(&side).unwrap() {
                    assert!(error < 1e-5, "{name} of {}: {error}", side.name);
                }
            }
        }
    }

    #[test]
    fn other_targets_are_compared_with_uniform_smoothing() {
        for (name, more) in [("hard", 0), ("vector", 1), ("matrix", 1), ("soft", 2)] {
            let operation = CrossEntropies::new(&case(name, "f32", true)).unwrap();
            assert_eq!(operation.sides(1).len(), 5 + more, "{name}");
        }
    }

    #[test]
    fn a_gradient_of_something_else_has_an_error() {
        let mut operation = CrossEntropies::new(&case("hard", "f32", true)).unwrap();
        operation.ours = CrossEntropy::new();
        let [ours, libtorch] =
            [0, 1].map(|index| operation.error(&operation.sides(1)[index]).unwrap().unwrap());
        assert!(ours > 1e-2 && libtorch < 1e-5, "{ours} and {libtorch}");
    }

    #[test]
    fn forward_alone_has_no_gradient_and_a_copy_no_error() {
        let forward = CrossEntropies::new(&case("hard", "bf16", false)).unwrap();
        for side in forward.sides(2) {
            forward.run(&side).unwrap();
            assert_eq!(forward.error(&side).unwrap(), None);
        }
        let both = CrossEntropies::new(&case("hard", "bf16", true)).unwrap();
        let sides = both.sides(2);
        let with_error = sides.iter().filter(|side| both.error(side).unwrap().is_some());
        assert_eq!(with_error.count(), 4);
    }

    #[test]
    fn one_thread_is_compared_where_there_are_more() {
        let operation = CrossEntropies::new(&case("hard", "f32", true)).unwrap();
        assert_eq!(operation.sides(1).len(), 5);
        assert_eq!(operation.sides(2)[5].threads, 1);
        let error = crate::operation::prepare(&case("firm", "f32", true)).err().unwrap();
        assert!(error.to_string().contains("no operation firm"), "{error}");
    }
}
