//! Binary cross-entropy of labels that are each there or not.
//!
//! For logit z and target y in [0, 1] of one label, smoothed to t, and weight w of the label's presence (1 if none):
//!
//! ```text
//! loss = −w·t·ln σ(z) − (1 − t)·ln σ(−z)
//!
//! t = y(1 − ε) + ε/2        half
//! t = y(1 − ε) + ε/L        uniform over the L labels
//! ```
//!
//! A sample's loss is the mean over its L labels. ln σ is libtorch's `log_sigmoid`, exact for logits of any size.
//!
//! Sources: Szegedy et al. 2016 for smoothing; Wightman, Touvron, Jégou, "ResNet strikes back", 2021, for its use with
//! one label a sample; Keras smooths by halves, timm uniformly.

use softlabel_core::Error as CoreError;
use softlabel_targets::BinarySmoothing;
use softlabel_tensor::{Error as TensorError, check_same_device, class_last};
use tch::{Kind, Tensor};

use crate::check::configuration;
use crate::cross_entropy::class_last_mask;
use crate::numeric::{computing_kind, weigh};
use crate::term::row_loss;
use crate::{Batch, LossOptions, Result, RowLosses};

configuration! {
    /// Binary cross-entropy with logits, smoothed, for any number of labels a sample.
    ///
    /// By [`forward_binary`](Self::forward_binary) for targets `[.., L]`. As a [`LossTerm`](crate::LossTerm) it asks a
    /// yes-or-no question for each class of a one-label target, which is then one-hot (Wightman et al. 2021); labels
    /// and soft targets will do. Not a softmax loss: gradients of a sample do not sum to 0.
    ///
    /// ```
    /// use softlabel_losses::{BinaryCrossEntropy, LossOptions};
    /// use softlabel_targets::BinarySmoothing;
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[0.0f64, 3f64.ln()]).view((1, 2));
    /// let targets = Tensor::from_slice(&[1i64, 1]).view((1, 2));
    /// let loss = BinaryCrossEntropy::new()
    ///     .with_smoothing(BinarySmoothing::half(0.2)?)
    ///     .forward_binary(&logits, &targets, None, &LossOptions::default())?;
    /// let second = -0.9 * 0.75f64.ln() - 0.1 * 0.25f64.ln();
    /// assert!((f64::try_from(loss)? - (2f64.ln() + second) / 2.0).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "BCEWithLogitsLoss")]
    #[derive(Default)]
    BinaryCrossEntropy {
        #[serde(default)]
        smoothing: Option<BinarySmoothing>,
        #[serde(default)]
        pos_weight: Option<Vec<f64>>,
    }
}

impl BinaryCrossEntropy {
    /// No smoothing, no weights.
    pub fn new() -> Self {
        Self::default()
    }

    /// Smooths every target.
    #[must_use]
    pub fn with_smoothing(mut self, smoothing: BinarySmoothing) -> Self {
        self.smoothing = Some(smoothing);
        self
    }

    /// One weight a label for its presence: n_absent/n_present makes both weigh the same.
    ///
    /// # Errors
    /// If there is none, or one is negative or not finite.
    pub fn with_pos_weight(mut self, pos_weight: Vec<f64>) -> Result<Self> {
        self.pos_weight = Some(pos_weight);
        self.checked()
    }

    /// The smoothing, if there is one.
    pub fn smoothing(&self) -> Option<BinarySmoothing> {
        self.smoothing
    }

    /// The weights of presence.
    pub fn pos_weight(&self) -> Option<&[f64]> {
        self.pos_weight.as_deref()
    }

    /// The loss of logits `[.., L]` under targets of the same shape, floats in [0, 1], integers 0 and 1, or booleans.
    ///
    /// Entries whose `ignored`, of the same shape, is true count for nothing: loss and gradient are exactly 0, whatever
    /// logits and targets hold there. A sample's loss is the mean over its labels that count; a sample of which none
    /// counts is ignored as a whole. The ignore index of the options is not used.
    ///
    /// # Errors
    /// Shapes, dtypes or devices that do not fit; a target outside [0, 1]; another count of weights than of labels; a
    /// mean over no samples.
    pub fn forward_binary(
        &self,
        logits: &Tensor,
        targets: &Tensor,
        ignored: Option<&Tensor>,
        options: &LossOptions,
    ) -> Result<Tensor> {
        let mut logits = class_last(logits, options.class_axis, "logits")?;
        let kind = computing_kind(&logits)?;
        let same_layout = |tensor: &Tensor, what| -> Result<Tensor> {
            let tensor = class_last_mask(tensor, options.class_axis)?;
            if tensor.size() != logits.size() {
                let expected = format!("{:?} as the logits, class-last", logits.size());
                return Err(TensorError::Shape { what, expected, found: tensor.size() }.into());
            }
            check_same_device(&tensor, &logits, what)?;
            Ok(tensor)
        };
        let mut targets = same_layout(targets, "binary targets")?.f_detach()?.f_to_kind(kind)?;
        let mut counted = None;
        if let Some(ignored) = ignored {
            let ignored = same_layout(ignored, "the mask of ignored labels")?;
            let found = ignored.f_kind()?;
            if found != Kind::Bool {
                let (what, expected) = ("the mask of ignored labels", "a boolean dtype");
                return Err(TensorError::Kind { what, expected, found }.into());
            }
            logits = logits.f_masked_fill(&ignored, 0.0)?;
            targets = targets.f_masked_fill(&ignored, 0.0)?;
            counted = Some(ignored.f_logical_not()?.f_to_kind(kind)?);
        }
        check_targets(&targets)?;
        let losses = self.entries(&logits.f_to_kind(kind)?, &targets)?;
        let last = [-1_i64].as_slice();
        let Some(counted) = counted else {
            return RowLosses::new(losses.f_mean_dim(last, false, kind)?, None)?
                .reduce(options.reduction);
        };
        let labels = counted.f_sum_dim_intlist(last, false, kind)?;
        let sums = losses.f_mul(&counted)?.f_sum_dim_intlist(last, false, kind)?;
        let means = sums.f_div(&labels.f_clamp_min(1.0)?)?;
        RowLosses::new(means, Some(&labels.f_eq(0.0)?))?.reduce(options.reduction)
    }

    fn checked(self) -> Result<Self> {
        if let Some(weights) = &self.pos_weight {
            if weights.is_empty() {
                let what = "the weights of binary cross-entropy";
                return Err(TensorError::from(CoreError::Empty { what }).into());
            }
            for &weight in weights {
                crate::check::not_negative("a weight of binary cross-entropy", weight)?;
            }
        }
        Ok(self)
    }

    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let entries = self.entries(batch.logits(), &batch.target_rows()?)?;
        Ok(entries.f_mean_dim([-1_i64].as_slice(), false, batch.kind()?)?)
    }

    /// The loss of every label.
    fn entries(&self, logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let count = logits.size().last().copied().unwrap_or_default();
        let targets = match &self.smoothing {
            None => targets.shallow_clone(),
            Some(smoothing) => {
                let masses = smoothing.fused(usize::try_from(count).unwrap_or_default())?;
                targets.f_mul_scalar(masses.scale)?.f_add_scalar(masses.shift)?
            }
        };
        let absent = targets.f_neg()?.f_add_scalar(1.0)?;
        let present = match &self.pos_weight {
            None => targets,
            Some(weights) if weights.len() as i64 == count => {
                let weights = Tensor::f_from_slice(weights)?.f_to_kind(logits.f_kind()?)?;
                targets.f_mul(&weights.f_to_device(logits.device())?)?
            }
            Some(weights) => {
                let (expected, found) = (count.to_string(), weights.len().to_string());
                let what = "weights of binary cross-entropy, one a label";
                return Err(TensorError::from(CoreError::mismatch(what, expected, found)).into());
            }
        };
        let yes = weigh(&logits.f_log_sigmoid()?, &present)?;
        let no = weigh(&logits.f_neg()?.f_log_sigmoid()?, &absent)?;
        Ok(yes.f_add(&no)?.f_neg()?)
    }
}

row_loss!(BinaryCrossEntropy, "binary_cross_entropy");

fn check_targets(targets: &Tensor) -> Result<()> {
    if targets.numel() == 0 {
        return Ok(());
    }
    let targets = targets.f_detach()?;
    for found in [f64::try_from(targets.f_min()?)?, f64::try_from(targets.f_max()?)?] {
        crate::check::share("a binary target", found)?;
    }
    Ok(())
}
