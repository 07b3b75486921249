//! A constant on the logit of one class, chosen on held-out samples.

use softlabel_core::Labels;
use tch::{Kind, Tensor};

use crate::Result;
use crate::recipe::ClassBias;
use crate::samples::label_tensor;

/// The constant that was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ChosenBias {
    class: usize,
    pub(crate) bias: f64,
    /// Held-out samples that are wrong without it, and with it.
    pub(crate) errors: (usize, usize),
}

impl ChosenBias {
    /// The one with the fewest errors on held-out logits `[n, K]`; of several the smallest.
    pub(crate) fn choose(settings: &ClassBias, logits: &Tensor, labels: &Labels) -> Result<Self> {
        let labels = label_tensor(labels, logits.device())?;
        let class = settings.class;
        let errors = |bias: f64| -> Result<usize> {
            let said = Self { class, bias, errors: (0, 0) }.apply(logits)?.f_argmax(-1, false)?;
            let wrong = said.f_ne_tensor(&labels)?.f_sum(Kind::Int64)?;
            Ok(usize::try_from(i64::try_from(wrong)?).unwrap_or_default())
        };
        let before = errors(0.0)?;
        let mut chosen: Option<Self> = None;
        for bias in settings.values() {
            let found = errors(bias)?;
            if chosen.is_none_or(|chosen| found < chosen.errors.1) {
                chosen = Some(Self { class, bias, errors: (before, found) });
            }
        }
        // There is at least one value: the recipe was checked.
        Ok(chosen.unwrap_or(Self { class, bias: 0.0, errors: (before, before) }))
    }

    /// Logits `[n, K]` with the constant added to the class.
    pub(crate) fn apply(&self, logits: &Tensor) -> Result<Tensor> {
        let logits = logits.f_detach_copy()?;
        let _ = logits.f_select(-1, self.class as i64)?.f_add_scalar_(self.bias)?;
        Ok(logits)
    }
}

/// Logits with the constant that was chosen, if one was.
pub(crate) fn biased(bias: Option<ChosenBias>, logits: &Tensor) -> Result<Tensor> {
    match bias {
        Some(bias) => bias.apply(logits),
        None => Ok(logits.shallow_clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_constant_with_the_fewest_errors_is_chosen() {
        // Two of class 1 are 0.6 and 2.2 short of class 0, one of class 0 is 3 above.
        let values = [1.0f32, 0.4, 2.2, 0.0, 3.0, 0.0, 0.0, 1.0];
        let logits = Tensor::from_slice(&values).view((4, 2));
        let labels = Labels::new(&[1, 1, 0, 1], 2).unwrap();
        let chosen = |to: f64| {
            let settings = ClassBias { class: 1, from: 0.0, to, step: 0.25 };
            ChosenBias::choose(&settings, &logits, &labels).unwrap()
        };
        assert_eq!(chosen(12.0), ChosenBias { class: 1, bias: 2.25, errors: (2, 0) });
        assert_eq!(chosen(2.0), ChosenBias { class: 1, bias: 0.75, errors: (2, 1) });
        assert_eq!(chosen(0.5), ChosenBias { class: 1, bias: 0.0, errors: (2, 2) });
        let shifted = chosen(12.0).apply(&logits).unwrap();
        assert_eq!(Vec::<f32>::try_from(shifted.get(1)).unwrap(), [2.2, 2.25]);
        assert_eq!(Vec::<f32>::try_from(logits.get(1)).unwrap(), [2.2, 0.0]);
    }
}
