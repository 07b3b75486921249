//! One training: an arm, a seed, from the first batch to the last.

use std::borrow::Cow;
use std::num::NonZeroUsize;

use rand::{Rng, RngExt};
use softlabel_core::Labels;
use softlabel_data::{batches, seed};
use softlabel_metrics::evaluate;
use softlabel_targets::MixPlan;
use softlabel_tensor::to_logits;
use tch::{Device, Tensor};

use crate::event::{Event, Validation};
use crate::maps::{Images, index_tensor};
use crate::mentors::TRIED;
use crate::mixing::mix;
use crate::model::{Input, Network};
use crate::objective::{Criterion, Step};
use crate::optimize::Optimizer;
use crate::recipe::{Arm, Loss, Recipe};
use crate::samples::{Part, Rows, Samples};
use crate::shift::shift;
use crate::teaching::{Mentor, Teaching};
use crate::{Error, Result};

/// What an arm is trained on and with.
pub(crate) struct Training<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) samples: &'a Samples,
    pub(crate) seed: u64,
    pub(crate) device: Device,
}

impl<'a> Training<'a> {
    /// Trains one arm, from what its teacher says of the training samples if it has one.
    ///
    /// Arms with the same model start from the same weights and see the same batches.
    pub(crate) fn run(
        &self,
        name: &str,
        arm: &'a Arm,
        mentor: Option<Mentor>,
        tell: &dyn Fn(Event),
    ) -> Result<Network> {
        let network = self.network(&arm.model)?;
        let settings = &self.recipe.training;
        let kept = self.kept(arm);
        let count = kept.len();
        let rows_of_epoch: usize =
            kept.iter().map(|&at| self.samples.train.subset.rows(at).len()).sum();
        let batch_size = NonZeroUsize::new(settings.batch_size).unwrap_or(NonZeroUsize::MIN);
        let steps = settings.epochs * count.div_ceil(batch_size.get()) as u64;
        let step_count = usize::try_from(steps).unwrap_or(usize::MAX);
        let teaching = match (&arm.distill, mentor) {
            (Some(distill), Some(mentor)) => {
                Some(Teaching::new(self, name, distill, mentor, &network, step_count)?)
            }
            _ => None,
        };
        let mut criterion =
            Criterion::new(&arm.loss, teaching, self.size(), step_count, self.device)?;
        let trained = network.parameters().into_iter().chain(criterion.parameters());
        let mut optimizer = Optimizer::new(settings, trained.collect())?;
        let mut mixing = seed::stream(self.seed, "mix");
        let mut dropping = seed::stream(self.seed, "dropout");
        let mut shifting = seed::stream(self.seed, "shift");
        let mut step = 0;
        for epoch in 0..settings.epochs {
            let observed = self.observed(&arm.loss, epoch)?;
            let mut total = Tensor::f_zeros([1], (tch::Kind::Double, self.device))?;
            for batch in batches(count, batch_size, self.seed, epoch) {
                let batch: Vec<usize> = batch.into_iter().map(|index| kept[index]).collect();
                let Rows { positions, ids, labels, counted } =
                    self.samples.rows(&batch, &observed)?;
                let index = index_tensor(&batch, self.device)?;
                let mut images = self.samples.train.images.f_index_select(0, &index)?;
                if let Some(pixels) = arm.shift {
                    images = shift(&images, pixels, self.samples.black(), &mut shifting)?;
                }
                let plan = self.mix_plan(&arm.loss, positions.len(), &mut mixing)?;
                let mixed = plan.as_ref().map(|plan| plan.labels(&labels)).transpose()?;
                if let Some(plan) = &plan {
                    images = mix(&images, plan)?;
                }
                let index = usize::try_from(step).unwrap_or(usize::MAX);
                let (labels, mixed) = (&labels, mixed.as_ref());
                let images = Images { tensor: &images, counted: counted.as_ref() };
                let (positions, ids) = (&positions[..], &ids[..]);
                let batch = Step { index, positions, ids, images, labels, mixed };
                let loss = if arm.fuse_last_layer {
                    let features = network.features_training(images, &mut dropping)?;
                    criterion.fused_loss(network.head(&features), &batch)?
                } else {
                    criterion.loss(&network.forward_training(images, &mut dropping)?, &batch)?
                };
                let rate = settings.schedule.learning_rate(settings.learning_rate, step, steps);
                optimizer.step(&loss, rate)?;
                let weighed = loss.f_detach()?.f_mul_scalar(positions.len() as f64)?;
                let _ = total.f_add_(&weighed)?;
                step += 1;
            }
            criterion.finish_epoch()?;
            let kept_mass = criterion.kept_mass();
            let loss = f64::try_from(&total)? / rows_of_epoch as f64;
            let epoch = epoch + 1;
            if !loss.is_finite() {
                return Err(Error::Diverged { arm: name.to_owned(), seed: self.seed, epoch, loss });
            }
            let validation = self.validate(name, epoch, &network)?;
            tell(Event::Epoch {
                arm: name.to_owned(),
                seed: self.seed,
                epoch,
                epochs: settings.epochs,
                train_loss: loss,
                kept_mass,
                validation,
            });
        }
        Ok(network)
    }

    /// Tries one step of an arm on samples that its teacher knows, the first few, without moving a weight: as many as the
    /// last batch of an epoch has, if these are fewer still.
    pub(crate) fn try_teaching(&self, name: &str, arm: &'a Arm, mentor: Mentor) -> Result<()> {
        let Some(distill) = &arm.distill else { return Ok(()) };
        let network = self.network(&arm.model)?;
        let teaching = Teaching::new(self, name, distill, mentor, &network, 1)?;
        let mut criterion = Criterion::new(&arm.loss, Some(teaching), self.size(), 1, self.device)?;
        let (all, batch) = (self.kept(arm).len(), self.recipe.training.batch_size);
        let last = if all % batch == 0 { batch } else { all % batch };
        let first = self.first(arm, TRIED.min(last));
        let count = first.len();
        let Rows { positions, ids, labels, counted } =
            self.samples.rows(&first, &self.samples.observed)?;
        let tensor =
            &self.samples.train.images.f_index_select(0, &index_tensor(&first, self.device)?)?;
        let images = Images { tensor, counted: counted.as_ref() };
        let (positions, ids, mixed) = (&positions[..], &ids[..], None);
        let step = Step { index: 0, positions, ids, images, labels: &labels, mixed };
        let tried = if arm.fuse_last_layer {
            let features = network.features(images)?;
            criterion.fused_loss(network.head(&features), &step)
        } else {
            criterion.loss(&network.forward(images)?, &step)
        };
        let small = |source| match source {
            source if count < TRIED => {
                Error::LastBatch { samples: count, source: Box::new(source) }
            }
            source => source,
        };
        let loss = f64::try_from(tried.map_err(small)?)?;
        if loss.is_finite() { Ok(()) } else { Err(Error::Untrainable { loss }) }
    }

    /// Samples that are split, and classes.
    fn size(&self) -> (usize, usize) {
        (self.samples.train.subset.dataset().len(), self.samples.observed.classes())
    }

    /// The first images that an arm sees.
    pub(crate) fn first(&self, arm: &Arm, count: usize) -> Vec<usize> {
        self.kept(arm).into_iter().take(count).collect()
    }

    /// Positions of the images that an arm sees: of maps, those of which a pixel counts.
    fn kept(&self, arm: &Arm) -> Vec<usize> {
        if let Some(labelled) = self.samples.train.subset.labelled() {
            return (0..labelled.images()).filter(|&at| !labelled.rows(at).is_empty()).collect();
        }
        let labels = self.samples.observed.iter();
        let seen = |label: usize| !arm.omit_classes.contains(&label);
        labels.enumerate().filter(|(_, label)| seen(*label)).map(|(position, _)| position).collect()
    }

    /// The labels of an epoch: those of the data, or what is left of them.
    fn observed(&self, loss: &Loss, epoch: u64) -> Result<Cow<'_, Labels>> {
        let Some(disturb) = &loss.disturb_label else {
            return Ok(Cow::Borrowed(&self.samples.observed));
        };
        let seed = seed::derive(self.seed, &format!("disturb/{epoch}"));
        Ok(Cow::Owned(disturb.disturb(&self.samples.observed, seed)?))
    }

    /// Who is mixed with whom in a batch, if anybody is.
    fn mix_plan(
        &self,
        loss: &Loss,
        samples: usize,
        random: &mut impl Rng,
    ) -> Result<Option<MixPlan>> {
        let shape = self.samples.train.subset.dataset().shape();
        let by_cut = match (&loss.mixup, &loss.cutmix) {
            (Some(_), Some(_)) => random.random::<bool>(),
            (None, cutmix) => cutmix.is_some(),
            (Some(_), None) => false,
        };
        let seed = random.random::<u64>();
        Ok(match (&loss.mixup, &loss.cutmix) {
            (_, Some(cutmix)) if by_cut => {
                Some(cutmix.plan(samples, (shape.height, shape.width), seed)?)
            }
            (Some(mixup), _) => Some(mixup.plan(samples, seed)),
            _ => None,
        })
    }

    /// The untrained network of a model.
    pub(crate) fn network(&self, model: &str) -> Result<Network> {
        self.network_of(model, "", self.samples.observed.classes())
    }

    /// The same with other weights for each purpose, and with so many outputs.
    pub(crate) fn network_of(&self, model: &str, purpose: &str, outputs: usize) -> Result<Network> {
        let dataset = self.samples.train.subset.dataset();
        let mut random = seed::stream(self.seed, &format!("{}/{model}{purpose}", seed::INIT));
        let settings = &self.recipe.models[model];
        let input = Input { image: dataset.shape(), is_map: dataset.labelled().is_some() };
        Network::new(model, settings, input, outputs, self.device, &mut random)
    }

    /// Logits of a split after an epoch. The last step may have gone too far for the loss to tell.
    pub(crate) fn predict(
        &self,
        name: &str,
        epoch: u64,
        network: &Network,
        part: &Part,
    ) -> Result<Tensor> {
        let logits = network.predict(part.seen())?;
        if bool::try_from(logits.f_isfinite()?.f_all()?)? {
            Ok(logits)
        } else {
            Err(Error::NotFinite { arm: name.to_owned(), seed: self.seed, epoch })
        }
    }

    fn validate(&self, name: &str, epoch: u64, network: &Network) -> Result<Option<Validation>> {
        let part = &self.samples.validation;
        if part.subset.labels().is_empty() {
            return Ok(None);
        }
        let logits = to_logits::<f32>(&self.predict(name, epoch, network, part)?)?;
        let scores = evaluate(&logits, part.subset.labels(), self.recipe.evaluation.bins)?;
        Ok(Some(Validation { accuracy: scores.accuracy, nll: scores.nll, ece: scores.ece }))
    }
}
