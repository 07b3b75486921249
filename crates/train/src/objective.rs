//! What pulls at a network: the labels by way of a loss, and perhaps a teacher.

use std::sync::Arc;

use softlabel_core::{Labels, Probabilities};
use softlabel_distill::LinearHead;
use softlabel_losses::{
    Batch, CorrectnessHistory, CrossEntropy, LinearCrossEntropy, LossOptions, LossTerm, Objective,
    Reduction, Target,
};
use softlabel_targets::{MixedLabels, OnlineLabelSmoothing, Smoothing};
use softlabel_tensor::to_logits;
use tch::{Device, Kind, Tensor};

use crate::maps::{Images, index_tensor};
use crate::model::Forward;
use crate::recipe::Loss;
use crate::samples::label_tensor;
use crate::teaching::{Hard, Teaching};
use crate::{Error, Result};

/// What ε of single samples are called, and where they lie.
const EPSILONS: &str = "epsilons of samples";
const UNIT: (f64, f64, &str) = (0.0, 1.0, "[0, 1]");

/// The samples of one step; of maps these are pixels.
pub(crate) struct Step<'a> {
    /// Of the step, from 0.
    pub(crate) index: usize,
    /// Positions of the samples among the training samples.
    pub(crate) positions: &'a [usize],
    /// Their ids in the data set.
    pub(crate) ids: &'a [usize],
    /// What the network sees of them, or, of maps, the images that have them.
    pub(crate) images: Images<'a>,
    /// The labels that training sees.
    pub(crate) labels: &'a Labels,
    /// The labels of mixed samples.
    pub(crate) mixed: Option<&'a MixedLabels>,
}

/// What an arm's network is to make small.
pub(crate) struct Criterion<'a> {
    labels: LabelLoss<'a>,
    teaching: Option<Teaching<'a>>,
}

/// The loss of an arm, with what it remembers from step to step.
struct LabelLoss<'a> {
    settings: &'a Loss,
    device: Device,
    steps: usize,
    sum: Sum,
    /// A distribution for every sample of the data set.
    soft_labels: Option<Tensor>,
    /// ε of every sample of the data set.
    epsilons: Option<Arc<[f64]>>,
    online: Option<OnlineLabelSmoothing>,
    history: Option<CorrectnessHistory>,
}

/// Cross-entropy alone has a shorter way.
enum Sum {
    CrossEntropy(CrossEntropy),
    Terms(Objective),
}

impl<'a> Criterion<'a> {
    /// For data of so many samples and classes, and a training of so many steps.
    pub(crate) fn new(
        loss: &'a Loss,
        teaching: Option<Teaching<'a>>,
        size: (usize, usize),
        steps: usize,
        device: Device,
    ) -> Result<Self> {
        Ok(Self { labels: LabelLoss::new(loss, size, steps, device)?, teaching })
    }

    /// What is trained beside the arm's network.
    pub(crate) fn parameters(&self) -> Vec<Tensor> {
        self.teaching.as_ref().map(Teaching::parameters).unwrap_or_default()
    }

    /// The mean mass of what was kept of the teacher in the epoch, if only the likeliest classes are.
    pub(crate) fn kept_mass(&mut self) -> Option<f64> {
        self.teaching.as_mut().and_then(Teaching::kept_mass)
    }

    /// The loss of a step.
    pub(crate) fn loss(&mut self, said: &Forward, step: &Step<'_>) -> Result<Tensor> {
        let Self { labels, teaching } = self;
        labels.begin(step.index)?;
        let logits = &said.logits;
        let loss = match teaching {
            None => labels.forward(logits, step)?,
            Some(teaching) => {
                teaching.begin(step.index)?;
                let of_label = label_tensor(step.labels, logits.device())?;
                let hard = || labels.forward(logits, step);
                let hard = match (&labels.sum, labels.is_of_single_samples()) {
                    (Sum::CrossEntropy(hard), false) => Hard::CrossEntropy(hard),
                    _ => Hard::Other(&hard),
                };
                teaching.loss(said, step, &of_label, hard)?
            }
        };
        labels.observe(logits, step)?;
        Ok(loss)
    }

    /// The loss of a step from what the last layer sees, whose logits are never there as a whole.
    pub(crate) fn fused_loss(&mut self, head: LinearHead<'_>, step: &Step<'_>) -> Result<Tensor> {
        let Self { labels, teaching } = self;
        labels.begin(step.index)?;
        let hard = match &labels.sum {
            Sum::CrossEntropy(hard) => hard.clone(),
            Sum::Terms(_) => {
                cross_entropy(labels.settings, labels.smoothing(step.index)?, labels.device)?
            }
        };
        if let Some(teaching) = teaching {
            teaching.begin(step.index)?;
        }
        labels.with_target(None, step, |target| match teaching {
            None => {
                let loss = LinearCrossEntropy::new(hard);
                Ok(loss.forward(head.hidden, head.weight, head.bias, target)?)
            }
            Some(teaching) => teaching.fused_loss(head, step, hard, target),
        })
    }

    /// What is learned from an epoch holds from the next on.
    pub(crate) fn finish_epoch(&mut self) -> Result<()> {
        self.labels.finish_epoch()
    }
}

impl<'a> LabelLoss<'a> {
    /// For data of so many samples and classes, and a training of so many steps.
    fn new(
        settings: &'a Loss,
        (samples, classes): (usize, usize),
        steps: usize,
        device: Device,
    ) -> Result<Self> {
        let online = settings.online_smoothing;
        let online =
            online.map(|online| OnlineLabelSmoothing::new(classes, online.epsilon)).transpose()?;
        let history = settings.needs_history().then(CorrectnessHistory::new);
        let soft_labels = settings
            .soft_labels
            .as_ref()
            .map(|file| -> Result<Tensor> {
                let rows = Tensor::f_from_slice(&file.read(samples, classes)?.rows())?;
                Ok(rows.f_view([-1, classes as i64])?.f_to_device(device)?)
            })
            .transpose()?;
        let epsilons = settings.smoothing.of_samples();
        let epsilons = epsilons.map(|file| file.read(samples, EPSILONS, UNIT)).transpose()?;
        let sum = Sum::CrossEntropy(cross_entropy(settings, Smoothing::NONE, device)?);
        let mut loss =
            Self { settings, device, steps, sum, soft_labels, epsilons, online, history };
        loss.smooth(loss.smoothing(0)?)?;
        Ok(loss)
    }

    /// What is done to labels at a step.
    fn smoothing(&self, step: usize) -> Result<Smoothing> {
        Ok(match (&self.online, self.settings.online_smoothing) {
            (Some(online), Some(settings)) => online.smoothing(settings.label_share)?,
            _ => self.settings.smoothing.at(step, self.steps)?,
        })
    }

    fn smooth(&mut self, smoothing: Smoothing) -> Result<()> {
        match &mut self.sum {
            Sum::CrossEntropy(loss) if self.settings.is_cross_entropy() => {
                loss.set_smoothing(smoothing);
            }
            sum => {
                let cross_entropy = cross_entropy(self.settings, smoothing, self.device)?;
                let terms = self.settings.terms.iter();
                let add =
                    |all: Objective, term: &crate::recipe::Term| all.plus(1.0, term.loss.clone());
                let all = terms.fold(Objective::new(cross_entropy), add);
                let mean = Reduction::Mean(self.settings.mean_over.normalizer());
                *sum = Sum::Terms(all.with_reduction(mean));
            }
        }
        Ok(())
    }

    fn begin(&mut self, step: usize) -> Result<()> {
        if !self.settings.smoothing.is_constant() && self.online.is_none() {
            self.smooth(self.smoothing(step)?)?;
        }
        if let Sum::Terms(objective) = &mut self.sum {
            for (index, weight) in self.settings.weights().enumerate() {
                objective.set_weight(index, weight.at(step, self.steps))?;
            }
        }
        Ok(())
    }

    /// Whether every sample has a distribution or an ε of its own.
    fn is_of_single_samples(&self) -> bool {
        self.settings.is_of_single_samples()
    }

    fn forward(&self, logits: &Tensor, step: &Step<'_>) -> Result<Tensor> {
        self.with_target(Some(logits), step, |target| self.forward_target(logits, target, step))
    }

    /// What is made of the labels of a step, where they are ranked by the logits.
    fn with_target(
        &self,
        logits: Option<&Tensor>,
        step: &Step<'_>,
        then: impl FnOnce(Target<'_>) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let labels = label_tensor(step.labels, self.device)?;
        if let Some(rows) = &self.soft_labels {
            let rows = rows.f_index_select(0, &index_tensor(step.ids, self.device)?)?;
            return then(Target::Soft(&rows));
        }
        if let Some(mixed) = step.mixed {
            let second = label_tensor(mixed.second(), self.device)?;
            let share_of_second = mixed.share_of_second();
            let target = Target::Mixed { first: &labels, second: &second, share_of_second };
            return then(target);
        }
        if let (Some(settings), Some(logits)) = (self.settings.zipf_smoothing, logits) {
            let ranked = to_logits::<f32>(&logits.f_detach()?)?;
            let rows = settings.zipf.rows(&ranked, step.labels, settings.epsilon)?;
            let rows = Tensor::f_from_slice(&rows)?.f_view(logits.size().as_slice())?;
            let rows = rows.f_to_device(self.device)?;
            return then(Target::Soft(&rows));
        }
        if let (Some(svls), Some(counted)) = (self.settings.spatial_smoothing, step.images.counted)
        {
            let rows = counted.spatially_smoothed(svls, step.labels)?.f_to_device(self.device)?;
            return then(Target::Soft(&rows));
        }
        if let Some(epsilons) = &self.epsilons {
            let epsilons: Vec<f64> = step.ids.iter().map(|&id| epsilons[id]).collect();
            let target = Target::Smoothed { labels: &labels, epsilons: &epsilons };
            return then(target);
        }
        then(Target::Hard(&labels))
    }

    fn forward_target(
        &self,
        logits: &Tensor,
        target: Target<'_>,
        step: &Step<'_>,
    ) -> Result<Tensor> {
        let objective = match &self.sum {
            Sum::CrossEntropy(loss) => return Ok(loss.forward(logits, target)?),
            Sum::Terms(objective) => objective,
        };
        if objective.weights().all(|(weight, _)| weight == 0.0) {
            // A schedule may leave a step without any loss.
            return Ok(logits.f_sum(logits.f_kind()?)?.f_mul_scalar(0.0)?);
        }
        let mut batch = Batch::with_options(logits, target, objective.options())?;
        if let Some(history) = &self.history {
            batch = batch.with_correctness(&history.correctness(&ids(step.positions)))?;
        }
        Ok(objective.forward_batch(&batch)?.0)
    }

    /// Remembers what the network said.
    fn observe(&mut self, logits: &Tensor, step: &Step<'_>) -> Result<()> {
        if let Some(history) = &mut self.history {
            let right = logits
                .f_argmax(-1, false)?
                .f_eq_tensor(&label_tensor(step.labels, self.device)?)?;
            history.record(&ids(step.positions), &Vec::<bool>::try_from(right)?)?;
        }
        if let Some(online) = &mut self.online {
            let said = logits.f_detach()?.f_softmax(-1, Kind::Double)?.f_flatten(0, -1)?;
            let said = Vec::<f64>::try_from(said)?;
            online.update(&Probabilities::new(said, step.labels.classes())?, step.labels)?;
        }
        Ok(())
    }

    fn finish_epoch(&mut self) -> Result<()> {
        if let Some(online) = &mut self.online {
            online.finish_epoch();
            self.smooth(self.smoothing(0)?)?;
        }
        Ok(())
    }
}

/// The cross-entropy of the settings, with a smoothing.
fn cross_entropy(settings: &Loss, smoothing: Smoothing, device: Device) -> Result<CrossEntropy> {
    let mut loss = CrossEntropy::new()
        .with_reduction(Reduction::Mean(settings.mean_over.normalizer()))
        .with_smoothing(smoothing);
    if let Some(weights) = &settings.class_weights {
        let weights = Tensor::f_from_slice(weights)?.f_to_kind(Kind::Float)?;
        loss = loss.with_class_weights(weights.f_to_device(device)?);
    }
    if let Some(coefficient) = settings.z_loss {
        loss = loss.with_z_loss(coefficient)?;
    }
    if let Some(cap) = settings.softcap {
        loss = loss.with_softcap(cap)?;
    }
    if let Some(scale) = settings.logit_scale {
        loss = loss.with_logit_scale(scale)?;
    }
    Ok(loss)
}

fn ids(positions: &[usize]) -> Vec<u64> {
    positions.iter().map(|&position| position as u64).collect()
}

/// Whether the loss of an arm exists for so many classes: tries each part of it on two samples.
///
/// An error names the key.
pub(crate) fn check_loss(
    name: &str,
    loss: &Loss,
    (samples, classes): (usize, usize),
    device: Device,
) -> Result<()> {
    let of = |key: &str| {
        let key = format!("arms.{name}.loss.{key}");
        move |source: Error| Error::Loss { key, source: Box::new(source) }
    };
    let smoothed = || Ok(loss.smoothing.at(0, 1)?.fused(classes).map(|_| ())?);
    smoothed().map_err(of("smoothing"))?;
    if let Some(file) = loss.smoothing.of_samples() {
        let read = || file.read(samples, EPSILONS, UNIT).map(|_| ());
        read().map_err(of("smoothing.epsilon"))?;
    }
    if let Some(weights) = &loss.class_weights {
        let counted = || {
            if weights.len() == classes {
                return Ok(());
            }
            let (expected, found) = (classes.to_string(), weights.len().to_string());
            Err(softlabel_core::Error::mismatch("class weights", expected, found).into())
        };
        counted().map_err(of("class_weights"))?;
    }
    let labels = Labels::new(&[0, 1], classes)?;
    let share = [0.25, 0.5];
    let values: Vec<f32> = (0..2 * classes).map(|index| (index % 5) as f32).collect();
    let logits = Tensor::f_from_slice(&values)?.f_view([2, classes as i64])?;
    let logits = logits.f_to_device(device)?;
    let swapped = labels.select(&[1, 0])?;
    let mixed = MixedLabels::new(labels.clone(), swapped, share.to_vec())?;
    let mixed = Some(&mixed).filter(|_| loss.is_mixed());
    let (positions, ids) = (&[0, 1], &[0, 1]);
    let images = (&logits).into();
    let step = Step { index: 0, positions, ids, images, labels: &labels, mixed };
    for (index, term) in loss.terms.iter().enumerate() {
        let alone = || -> Result<()> {
            let first = label_tensor(&labels, device)?;
            let second = label_tensor(&labels, device)?;
            let rows;
            let has_rows = loss.zipf_smoothing.is_some()
                || loss.soft_labels.is_some()
                || loss.spatial_smoothing.is_some();
            let target = match (mixed, has_rows) {
                (Some(_), _) => {
                    Target::Mixed { first: &first, second: &second, share_of_second: &share }
                }
                (None, true) => {
                    rows = logits.f_softmax(-1, Kind::Float)?;
                    Target::Soft(&rows)
                }
                (None, false) => Target::Hard(&first),
            };
            let batch = Batch::with_options(&logits, target, &LossOptions::default())?;
            term.loss.term(&batch.with_correctness(&[0.0, 1.0])?)?;
            Ok(())
        };
        alone().map_err(of(&format!("terms.{index}")))?;
    }
    if let Some(file) = &loss.soft_labels {
        let read = || file.read(samples, classes).map(|_| ());
        read().map_err(of("soft_labels"))?;
    }
    LabelLoss::new(loss, (samples, classes), 1, device)?.forward(&logits, &step).map(|_| ())
}
