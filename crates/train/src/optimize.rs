//! The rules by which weights move, and the learning rate over time.
//!
//! For a gradient g, learning rate η, weight decay λ, momentum μ:
//!
//! ```text
//! sgd    g += λw;  v = μv + g;  w −= ηv
//! adam   g += λw;  m = 0.9m + 0.1g;  v = 0.999v + 0.001g²;  w −= η·m̂/(√v̂ + 1e-8)      m̂, v̂: bias-corrected
//! adamw  w −= ηλw, then as adam without λ
//! ```
//!
//! Sources: Kingma and Ba 2015; Loshchilov and Hutter 2019. As `torch.optim`, which the tests compare with.

use tch::Tensor;

use crate::Result;
use crate::recipe::{OptimizerKind, Schedule, Training};

const BETA: (f64, f64) = (0.9, 0.999);
const EPSILON: f64 = 1e-8;

/// Weights, and what the rule remembers of each.
#[derive(Debug)]
pub(crate) struct Optimizer {
    kind: OptimizerKind,
    weight_decay: f64,
    momentum: f64,
    steps: f64,
    parameters: Vec<Tensor>,
    first: Vec<Tensor>,
    second: Vec<Tensor>,
}

impl Optimizer {
    pub(crate) fn new(training: &Training, parameters: Vec<Tensor>) -> Result<Self> {
        let zeros = || parameters.iter().map(Tensor::f_zeros_like).collect::<Result<Vec<_>, _>>();
        let second = if training.optimizer == OptimizerKind::Sgd { Vec::new() } else { zeros()? };
        Ok(Self {
            kind: training.optimizer,
            weight_decay: training.weight_decay,
            momentum: training.momentum,
            steps: 0.0,
            first: zeros()?,
            second,
            parameters,
        })
    }

    /// One step down the gradient of `loss`, a scalar.
    pub(crate) fn step(&mut self, loss: &Tensor, learning_rate: f64) -> Result<()> {
        let gradients = Tensor::f_run_backward(&[loss], &self.parameters, false, false)?;
        let _guard = tch::no_grad_guard();
        self.steps += 1.0;
        for (index, gradient) in gradients.into_iter().enumerate() {
            self.update(index, gradient, learning_rate)?;
        }
        Ok(())
    }

    fn update(&mut self, index: usize, mut gradient: Tensor, learning_rate: f64) -> Result<()> {
        let parameter = &mut self.parameters[index];
        if self.weight_decay > 0.0 {
            if self.kind == OptimizerKind::Adamw {
                let _ = parameter.f_mul_scalar_(1.0 - learning_rate * self.weight_decay)?;
            } else {
                gradient = gradient.f_add(&parameter.f_mul_scalar(self.weight_decay)?)?;
            }
        }
        let first = &mut self.first[index];
        if self.kind == OptimizerKind::Sgd {
            let _ = first.f_mul_scalar_(self.momentum)?.f_add_(&gradient)?;
            let _ = parameter.f_sub_(&first.f_mul_scalar(learning_rate)?)?;
            return Ok(());
        }
        let second = &mut self.second[index];
        let _ = first.f_lerp_(&gradient, 1.0 - BETA.0)?;
        let _ = second.f_lerp_(&gradient.f_square()?, 1.0 - BETA.1)?;
        let correction = |beta: f64| 1.0 - beta.powf(self.steps);
        let scale = correction(BETA.1).sqrt().recip();
        let denominator = second.f_sqrt()?.f_mul_scalar(scale)?.f_add_scalar(EPSILON)?;
        let step = first.f_div(&denominator)?.f_mul_scalar(learning_rate / correction(BETA.0))?;
        let _ = parameter.f_sub_(&step)?;
        Ok(())
    }
}

impl Schedule {
    /// The learning rate at a step of so many, from 0.
    pub(crate) fn learning_rate(self, base: f64, step: u64, steps: u64) -> f64 {
        match self {
            Self::Constant => base,
            Self::Cosine => {
                let progress = step as f64 / steps.max(1) as f64;
                base * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, nn, nn::OptimizerConfig};

    use super::*;

    fn training(optimizer: OptimizerKind, weight_decay: f64) -> Training {
        Training {
            epochs: 1,
            batch_size: 1,
            optimizer,
            learning_rate: 0.1,
            schedule: Schedule::Constant,
            weight_decay,
            momentum: 0.9,
        }
    }

    /// Something with a gradient that changes and whose coordinates differ in scale.
    fn loss(weights: &Tensor) -> Tensor {
        let scales = Tensor::from_slice(&[1.0f32, 10.0, 0.1]);
        ((weights * scales - 1.0).square() + weights.cos()).sum(tch::Kind::Float)
    }

    /// Twenty steps of ours against libtorch's own optimizer.
    fn check<C: OptimizerConfig>(kind: OptimizerKind, weight_decay: f64, theirs: C) {
        let start = Tensor::from_slice(&[0.3f32, -0.2, 2.0]);
        let ours = start.copy().set_requires_grad(true);
        let settings = training(kind, weight_decay);
        let mut optimizer = Optimizer::new(&settings, vec![ours.shallow_clone()]).unwrap();

        let store = nn::VarStore::new(Device::Cpu);
        let reference = store.root().var_copy("weights", &start);
        let mut expected = theirs.build(&store, 0.01).unwrap();
        for _ in 0..20 {
            optimizer.step(&loss(&ours), 0.01).unwrap();
            expected.backward_step(&loss(&reference));
        }
        let error = f64::try_from((&ours - &reference).abs().max()).unwrap();
        let moved = f64::try_from((&ours - &start).abs().max()).unwrap();
        assert!(error < 2e-6 && moved > 0.01, "{kind:?}: {error}, moved {moved}");
    }

    #[test]
    fn steps_agree_with_libtorch() {
        let (adam, adamw) = (nn::Adam::default(), nn::AdamW::default());
        check(OptimizerKind::Adam, 0.0, nn::Adam { wd: 0.0, ..adam });
        check(OptimizerKind::Adam, 0.1, nn::Adam { wd: 0.1, ..adam });
        check(OptimizerKind::Adamw, 0.1, nn::AdamW { wd: 0.1, ..adamw });
        let sgd = nn::Sgd { momentum: 0.9, dampening: 0.0, wd: 0.01, nesterov: false };
        check(OptimizerKind::Sgd, 0.01, sgd);
    }

    #[test]
    fn the_cosine_falls_from_the_rate_to_nothing() {
        let rate = |step| Schedule::Cosine.learning_rate(0.2, step, 100);
        assert_eq!(rate(0), 0.2);
        assert!((rate(50) - 0.1).abs() < 1e-15 && rate(99) < 1e-4 && rate(100).abs() < 1e-15);
        assert_eq!(Schedule::Constant.learning_rate(0.2, 50, 100), 0.2);
    }
}
