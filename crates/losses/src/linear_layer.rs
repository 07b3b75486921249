//! A linear layer before a loss, whose logits are never held whole. What the linear losses of this workspace share;
//! not for others.

use softlabel_tensor::{ClassAxis, Error, Result, check_same_device, class_last};
use tch::{Kind, Tensor};

/// h, W and b of the logits h·Wᵀ + b, detached, h as rows `[N, D]`.
#[derive(Debug)]
pub struct LinearLayer {
    pub hidden: Tensor,
    pub weight: Tensor,
    pub bias: Option<Tensor>,
}

/// The shape that the logits of a layer would have, `[.., K]`, if h, W and b, by these names, go together.
///
/// # Errors
/// Shapes, dtypes or devices that do not fit each other.
pub fn logits_shape(
    [hidden_name, weight_name, bias_name]: [&'static str; 3],
    hidden: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Vec<i64>> {
    let hidden = class_last(hidden, ClassAxis::Last, hidden_name)?;
    let mut logits = hidden.size();
    let width = logits.pop().unwrap_or_default();
    let kind = hidden.f_kind()?;
    let check = |what, tensor: &Tensor, fits: bool, expected: String| {
        if !fits {
            return Err(Error::Shape { what, expected, found: tensor.size() });
        }
        let found = tensor.f_kind()?;
        if found != kind {
            let expected = "the dtype of the hidden states";
            return Err(Error::Kind { what, expected, found });
        }
        check_same_device(tensor, &hidden, what)
    };
    let size = weight.size();
    let fits = size.len() == 2 && size.last() == Some(&width) && size.first() != Some(&0);
    check(weight_name, weight, fits, format!("[K, {width}] with K > 0"))?;
    let classes = size.first().copied().unwrap_or_default();
    if let Some(bias) = bias {
        check(bias_name, bias, bias.size() == [classes], format!("[{classes}]"))?;
    }
    logits.push(classes);
    Ok(logits)
}

impl LinearLayer {
    /// Of tensors that go together.
    ///
    /// # Errors
    /// libtorch's.
    pub fn new(hidden: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let width = hidden.size().last().copied().unwrap_or(1).max(1);
        Ok(Self {
            hidden: hidden.f_detach()?.f_reshape([-1, width])?.f_contiguous()?,
            weight: weight.f_detach()?,
            bias: bias.map(Tensor::f_detach).transpose()?,
        })
    }

    /// Some rows of h.
    ///
    /// # Errors
    /// libtorch's.
    pub fn rows(&self, start: i64, length: i64) -> Result<Tensor> {
        Ok(self.hidden.f_narrow(0, start, length)?)
    }

    /// The logits of rows of h.
    ///
    /// # Errors
    /// libtorch's.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        let weight = self.weight.f_tr()?;
        Ok(match &self.bias {
            None => hidden.f_mm(&weight)?,
            Some(bias) => bias.f_addmm(hidden, &weight)?,
        })
    }

    /// The logits of rows of h, written to a tensor of their shape.
    ///
    /// # Errors
    /// libtorch's.
    pub fn logits_into(&self, hidden: &Tensor, to: &Tensor) -> Result<()> {
        let weight = self.weight.f_tr()?;
        let _ = match &self.bias {
            None => hidden.f_mm_out(to, &weight)?,
            Some(bias) => bias.f_addmm_out(to, hidden, &weight)?,
        };
        Ok(())
    }
}

/// The gradients of h, W and b, where they are needed; the last two are sums in f32 or better.
#[derive(Debug, Default)]
pub struct LinearGradients {
    hidden: Option<Tensor>,
    weight: Option<Tensor>,
    bias: Option<Tensor>,
}

impl LinearGradients {
    /// Of nothing yet.
    ///
    /// # Errors
    /// libtorch's.
    pub fn new(layer: &LinearLayer, [hidden, weight, bias]: [bool; 3]) -> Result<Self> {
        let zeros = |like: &Tensor| -> Result<Tensor> {
            let kind = if like.f_kind()? == Kind::Double { Kind::Double } else { Kind::Float };
            Ok(Tensor::f_zeros(like.size().as_slice(), (kind, like.device()))?)
        };
        let needed_bias = layer.bias.as_ref().filter(|_| bias);
        Ok(Self {
            hidden: if hidden { Some(layer.hidden.f_empty_like()?) } else { None },
            weight: if weight { Some(zeros(&layer.weight)?) } else { None },
            bias: needed_bias.map(zeros).transpose()?,
        })
    }

    /// Adds what rows of h from `start` on, with this gradient of their logits, contribute.
    ///
    /// # Errors
    /// libtorch's.
    pub fn add(
        &mut self,
        layer: &LinearLayer,
        hidden: &Tensor,
        logits: &Tensor,
        start: i64,
    ) -> Result<()> {
        if let Some(sum) = &self.hidden {
            let length = hidden.size().first().copied().unwrap_or_default();
            let _ = logits.f_mm_out(&sum.f_narrow(0, start, length)?, &layer.weight)?;
        }
        if let Some(sum) = &mut self.weight {
            let kind = sum.f_kind()?;
            // Half precision is widened first: it has neither the digits nor, as f16, the room for a sum.
            let _ = sum.f_addmm_(&logits.f_tr()?.f_to_kind(kind)?, &hidden.f_to_kind(kind)?)?;
        }
        if let Some(sum) = &mut self.bias {
            let kind = sum.f_kind()?;
            let _ = sum.f_add_(&logits.f_sum_dim_intlist([0_i64].as_slice(), false, kind)?)?;
        }
        Ok(())
    }

    /// The same in memory of its own.
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = |gradient: &Option<Tensor>| gradient.as_ref().map(Tensor::copy);
        Self { hidden: copy(&self.hidden), weight: copy(&self.weight), bias: copy(&self.bias) }
    }

    /// The first `count` in the order of the inputs, times a factor, in the dtype of the inputs; that of h in its
    /// shape.
    ///
    /// # Errors
    /// libtorch's.
    pub fn handed_out(
        self,
        factor: f64,
        kind: Kind,
        shape: &[i64],
        count: usize,
    ) -> Result<Vec<Option<Tensor>>> {
        let finished = |mut gradient: Tensor| -> Result<Tensor> {
            if factor != 1.0 {
                let _ = gradient.f_mul_scalar_(factor)?;
            }
            Ok(gradient.f_to_kind(kind)?)
        };
        let hidden = self.hidden.map(finished).transpose()?;
        let hidden = hidden.map(|gradient| gradient.f_reshape(shape)).transpose()?;
        let (weight, bias) = (self.weight.map(finished), self.bias.map(finished));
        Ok([hidden, weight.transpose()?, bias.transpose()?].into_iter().take(count).collect())
    }
}
