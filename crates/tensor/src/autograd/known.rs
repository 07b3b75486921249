//! Gradients that are known before backward asks for them.

use tch::Tensor;

use super::{Backward, Node};
use crate::scalars::number;
use crate::{Error, Result};

/// The gradient of a loss in its one input, computed together with the loss as if what arrives from above were 1.
///
/// Backward hands it out, multiplied by what does arrive unless that is 1. It is handed out itself, not a copy of it,
/// when the graph is not kept.
///
/// ```
/// use softlabel_tensor::autograd::{KnownGradient, Node};
/// use tch::{Kind, Tensor, no_grad};
///
/// // Σ x², whose gradient is 2x.
/// let x = Tensor::from_slice(&[1.0f64, 2.0]).set_requires_grad(true);
/// let node = Node::new("SumOfSquares", &[&x])?;
/// let (sum, gradient) = no_grad(|| (x.square().sum(Kind::Double), &x * 2.0));
/// let sum = node.attach_known(sum, KnownGradient::new(gradient))?;
/// (sum * 3.0).backward();
/// assert_eq!(Vec::<f64>::try_from(x.grad()).unwrap(), [6.0, 12.0]);
/// # Ok::<(), softlabel_tensor::Error>(())
/// ```
#[derive(Debug)]
pub struct KnownGradient {
    gradient: Tensor,
    divisor: f64,
    missing_axis: Option<i64>,
    ignored: Option<Tensor>,
    moved: bool,
}

impl KnownGradient {
    /// The gradient, in the shape and dtype of the input.
    pub fn new(gradient: Tensor) -> Self {
        Self { gradient, divisor: 1.0, missing_axis: None, ignored: None, moved: false }
    }

    /// What it has yet to be divided by.
    #[must_use]
    pub fn with_divisor(mut self, divisor: f64) -> Self {
        self.divisor = divisor;
        self
    }

    /// The output has one value for all entries along this axis of the gradient, and not the axis itself.
    #[must_use]
    pub fn with_missing_axis(mut self, axis: i64) -> Self {
        self.missing_axis = Some(axis);
        self
    }

    /// Where the output has a value without any gradient: bool, in the shape of the output. Whatever arrives there,
    /// infinity or NaN too, the gradient stays as it is.
    ///
    /// It is for an output of several values, one for all entries along a [missing axis](Self::with_missing_axis).
    #[must_use]
    pub fn with_ignored(mut self, ignored: Tensor) -> Self {
        self.ignored = Some(ignored);
        self
    }

    /// The last axis of the gradient is the second of the input.
    #[must_use]
    pub fn with_last_axis_second(mut self) -> Self {
        self.moved = true;
        self
    }

    /// The gradient, or a copy if it will be asked for again.
    fn taken(kept: &mut Option<Self>, again: bool) -> Option<Self> {
        if !again {
            return kept.take();
        }
        let known = kept.as_ref()?;
        let ignored = known.ignored.as_ref().map(Tensor::shallow_clone);
        Some(Self { gradient: known.gradient.copy(), ignored, ..*known })
    }

    fn times(mut self, arrived: &Tensor) -> Result<Tensor> {
        if let Some(axis) = self.missing_axis {
            let mut factors = arrived.f_div_scalar(self.divisor)?;
            if let Some(ignored) = &self.ignored {
                factors = factors.f_masked_fill(ignored, 1.0)?;
            }
            let _ = self.gradient.f_mul_(&factors.f_unsqueeze(axis)?)?;
        } else {
            let factor = number(arrived)? / self.divisor;
            if factor != 1.0 {
                let _ = self.gradient.f_mul_scalar_(factor)?;
            }
        }
        Ok(if self.moved { self.gradient.f_movedim_int(-1, 1)? } else { self.gradient })
    }
}

impl Node {
    /// Makes `output` the result of this node of one input, whose gradient is known.
    ///
    /// # Errors
    /// As [`attach`](Self::attach).
    pub fn attach_known(self, output: Tensor, known: KnownGradient) -> Result<Tensor> {
        let mut kept = Some(known);
        self.attach_one(output, &[], move |backward: &mut Backward<'_>| {
            let Some(arrived) = backward.gradient(0) else { return Ok(vec![None]) };
            let known = KnownGradient::taken(&mut kept, backward.keeps_graph());
            let known = known.ok_or_else(|| Error::other("its gradient was given away before"))?;
            Ok(vec![Some(known.times(arrived)?)])
        })
    }
}
