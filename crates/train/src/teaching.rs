//! A teacher at work: what it says of each batch, and what a student makes of it.

use std::rc::Rc;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use softlabel_data::seed;
use softlabel_distill::{
    Distillation, Ensemble, LinearDistillation, LinearHead, MutualLearning, Samples, Teacher, TopK,
    VirtualTeacher,
};
use softlabel_losses::{CrossEntropy, Target};
use softlabel_posthoc::AnyCalibrator;
use tch::{Kind, Tensor, no_grad_guard};

use crate::imitation::Imitation;
use crate::model::{Forward, Network};
use crate::objective::Step;
use crate::recipe::{Distill, SampleNumbers};
use crate::training::Training;
use crate::{Error, Result};

/// Who teaches an arm, ready to be asked.
pub(crate) struct Mentor {
    pub(crate) voice: Voice,
    /// The network itself, for what is learned from its layers.
    pub(crate) network: Option<Rc<Network>>,
    /// The maps that were fitted to teachers from outside, each with the position of its teacher.
    pub(crate) calibrators: Vec<(usize, AnyCalibrator)>,
}

/// Where the teacher's logits come from.
pub(crate) enum Voice {
    One(Teacher),
    Virtual { teacher: VirtualTeacher, probabilities_as_logits: bool },
    Several { teachers: Vec<Teacher>, ensemble: Ensemble, gate: Option<String> },
    Peers(Vec<String>),
}

/// A teacher, and the weight of the labels beside it.
pub(crate) struct Teaching<'a> {
    settings: &'a Distill,
    steps: usize,
    voice: Voice,
    /// Learns whom of several to listen to.
    gate: Option<Network>,
    /// Learn at the same time.
    peers: Vec<Network>,
    imitation: Option<Imitation<'a>>,
    /// The teacher's, if it is an earlier arm.
    network: Option<Rc<Network>>,
    dropping: ChaCha8Rng,
    /// With the labels, and without; at this step.
    both: Distillation,
    soft: Option<Distillation>,
    /// Of all samples of the data set.
    temperatures: Option<Arc<[f64]>>,
    weights: Option<Arc<[f64]>>,
    kept_mass: (f64, u32),
}

impl<'a> Teaching<'a> {
    /// For an arm whose own network has these layers.
    pub(crate) fn new(
        training: &Training<'a>,
        name: &str,
        settings: &'a Distill,
        mentor: Mentor,
        network: &Network,
        steps: usize,
    ) -> Result<Self> {
        let Mentor { voice, network: teacher, .. } = mentor;
        let both = settings.at(0, steps).map_err(Error::Distillation)?;
        let (mut gate, mut peers) = (None, Vec::new());
        match &voice {
            Voice::Several { teachers, gate: Some(model), .. } => {
                gate = Some(training.network_of(model, "/gate", teachers.len())?);
            }
            Voice::Peers(models) => {
                let classes = training.samples.observed.classes();
                for (index, model) in models.iter().enumerate() {
                    peers.push(training.network_of(model, &format!("/peer-{index}"), classes)?);
                }
            }
            _ => {}
        }
        let imitation = match &teacher {
            Some(teacher) if !settings.features.is_empty() => {
                let images = training.samples.train.images.f_narrow(0, 0, 2)?;
                let _guard = no_grad_guard();
                let layers = (network.forward(&images)?.layers, teacher.forward(&images)?.layers);
                let (samples, seed) = (training.samples.train.subset.len(), training.seed);
                let layers = (&layers.0[..], &layers.1[..]);
                let (terms, device) = (&settings.features, training.device);
                Some(Imitation::new(name, terms, layers, samples, seed, device)?)
            }
            _ => None,
        };
        let dropping = seed::stream(training.seed, "dropout/beside");
        let kept_mass = (0.0, 0);
        let samples = training.samples.train.subset.dataset().len();
        let numbers = |file: &Option<SampleNumbers>, what, range| {
            file.as_ref().map(|file| file.read(samples, what, range)).transpose()
        };
        let (hot, heavy) = ((0.01, 1000.0, "[0.01, 1000]"), (0.0, 1e6, "[0, 1000000]"));
        let temperatures = numbers(&settings.sample_temperatures, "temperatures of samples", hot)?;
        let weights = numbers(&settings.sample_weights, "weights of samples", heavy)?;
        let mut teaching = Self {
            settings,
            steps,
            voice,
            gate,
            peers,
            imitation,
            network: teacher,
            dropping,
            both,
            soft: None,
            temperatures,
            weights,
            kept_mass,
        };
        teaching.set(0)?;
        Ok(teaching)
    }

    /// What is trained beside the student.
    pub(crate) fn parameters(&self) -> Vec<Tensor> {
        let networks = self.peers.iter().chain(&self.gate).flat_map(Network::parameters);
        let imitation = self.imitation.iter().flat_map(Imitation::parameters);
        networks.chain(imitation).collect()
    }

    pub(crate) fn begin(&mut self, step: usize) -> Result<()> {
        if self.settings.is_constant() { Ok(()) } else { self.set(step) }
    }

    fn set(&mut self, step: usize) -> Result<()> {
        let Self { settings, steps, .. } = *self;
        self.both = settings.at(step, steps).map_err(Error::Distillation)?;
        let is_soft = settings.soft_weight(step, steps) > 0.0;
        let soft = is_soft.then(|| settings.soft_at(step, steps).map_err(Error::Distillation));
        self.soft = soft.transpose()?;
        Ok(())
    }

    /// The mean mass of the classes that were kept of the teacher since the last time, if not all are.
    pub(crate) fn kept_mass(&mut self) -> Option<f64> {
        let (sum, count) = std::mem::take(&mut self.kept_mass);
        (count > 0).then(|| sum / f64::from(count))
    }

    /// The loss of a step: with a cross-entropy of labels, or with another loss of theirs.
    pub(crate) fn loss(
        &mut self,
        student: &Forward,
        step: &Step<'_>,
        labels: &Tensor,
        hard: Hard<'_>,
    ) -> Result<Tensor> {
        let logits = &student.logits;
        let target = Target::Hard(labels);
        let (at, steps) = (step.index, self.steps);
        let mut loss = if let Voice::Peers(_) = self.voice {
            let cross_entropy = match hard {
                Hard::CrossEntropy(hard) => hard,
                // The recipe was checked.
                Hard::Other(_) => &CrossEntropy::new(),
            };
            self.mutual(logits, step, cross_entropy, target)?
        } else {
            let (taught, of_gate) = self.taught(logits, step, labels)?;
            let classes = logits.size().last().copied().unwrap_or_default();
            self.both.check_impossible(&taught, classes, step.ids)?;
            let loss = match hard {
                Hard::CrossEntropy(hard) => {
                    self.distil(self.both, (logits, &taught), hard, target, step.ids)?
                }
                Hard::Other(hard) => {
                    let weight = self.settings.hard_weight(at, steps);
                    let soft = match self.soft {
                        None => None,
                        Some(soft) => {
                            let hard = CrossEntropy::new();
                            Some(self.distil(soft, (logits, &taught), &hard, target, step.ids)?)
                        }
                    };
                    match soft {
                        Some(soft) if weight == 0.0 => soft,
                        Some(soft) => soft.f_add(&hard()?.f_mul_scalar(weight)?)?,
                        None => hard()?.f_mul_scalar(weight)?,
                    }
                }
            };
            match of_gate {
                None => loss,
                Some(of_gate) => loss.f_add(&of_gate)?,
            }
        };
        if let (Some(imitation), Some(teacher)) = (&mut self.imitation, &self.network) {
            let layers = {
                let _guard = no_grad_guard();
                teacher.forward(step.images)?.layers
            };
            let position = (at, steps);
            let learned = imitation.loss(&student.layers, &layers, step.positions, position)?;
            if let Some(learned) = learned {
                loss = loss.f_add(&learned)?;
            }
        }
        Ok(loss)
    }

    /// The loss of a step from what the last layers of student and teacher see, whose logits are never there as a whole.
    pub(crate) fn fused_loss(
        &self,
        student: LinearHead<'_>,
        step: &Step<'_>,
        hard: CrossEntropy,
        target: Target<'_>,
    ) -> Result<Tensor> {
        let Some(teacher) = &self.network else {
            // The recipe was checked.
            return Err(softlabel_core::Error::Empty { what: "the teacher" }.into());
        };
        let features = {
            let _guard = no_grad_guard();
            teacher.features(step.images)?
        };
        let distillation = LinearDistillation::new(self.both, hard)?;
        Ok(distillation.forward(student, teacher.head(&features), target)?)
    }

    /// What the teacher says, and the loss of the gate if there is one.
    fn taught(
        &mut self,
        logits: &Tensor,
        step: &Step<'_>,
        labels: &Tensor,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let temperature = self.settings.temperature(step.index, self.steps);
        // Who teaches pixels was asked before, and knows them by their ids: any row each will do.
        let seen = step.images.counted.map_or(step.images.tensor, |_| logits);
        match &self.voice {
            Voice::One(teacher) => Ok((teacher.logits(step.ids, seen)?, None)),
            Voice::Virtual { teacher, probabilities_as_logits: false } => {
                Ok((teacher.logits(logits, labels, None)?, None))
            }
            Voice::Virtual { teacher, .. } => {
                Ok((teacher.probabilities_as_logits(logits, labels, None)?, None))
            }
            Voice::Several { teachers, ensemble, .. } => {
                let said = teachers.iter().map(|teacher| teacher.logits(step.ids, seen));
                let said = said.collect::<Result<Vec<_>, _>>()?;
                let said: Vec<&Tensor> = said.iter().collect();
                let Some(gate) = &self.gate else {
                    return Ok((ensemble.combine(&said, temperature, Some(labels))?, None));
                };
                let gates = gate.forward_training(step.images, &mut self.dropping)?.logits;
                let shares = gates.f_detach()?.f_softmax(-1, Kind::Float)?;
                let taught = ensemble.combine_gated(&said, temperature, &shares)?;
                Ok((taught, Some(gate_loss(&gates, &said, labels)?)))
            }
            // Peers speak for themselves.
            Voice::Peers(_) => Ok((logits.f_detach()?, None)),
        }
    }

    fn distil(
        &mut self,
        distillation: Distillation,
        (logits, taught): (&Tensor, &Tensor),
        hard: &CrossEntropy,
        target: Target<'_>,
        ids: &[usize],
    ) -> Result<Tensor> {
        let Some((k, tail)) = self.settings.top_k else {
            let of_batch = |all: &Arc<[f64]>| ids.iter().map(|&id| all[id]).collect::<Vec<_>>();
            let temperatures = self.temperatures.as_ref().map(of_batch);
            let soft_weights = self.weights.as_ref().map(of_batch);
            let samples = Samples {
                temperatures: temperatures.as_deref(),
                soft_weights: soft_weights.as_deref(),
            };
            return Ok(distillation.forward_samples(logits, taught, hard, target, samples)?);
        };
        let temperature = distillation.temperature();
        let top = TopK::from_logits(taught, k, temperature)?.with_tail(tail);
        let output = distillation.forward_top_k(logits, &top, hard, target)?;
        self.kept_mass.0 += output.kept_mass;
        self.kept_mass.1 += 1;
        Ok(output.loss)
    }

    /// The sum of the losses of all that learn from each other; each moves its own weights alone.
    fn mutual(
        &mut self,
        logits: &Tensor,
        step: &Step<'_>,
        hard: &CrossEntropy,
        target: Target<'_>,
    ) -> Result<Tensor> {
        let mut all = vec![logits.shallow_clone()];
        for peer in &self.peers {
            all.push(peer.forward_training(step.images, &mut self.dropping)?.logits);
        }
        let all: Vec<&Tensor> = all.iter().collect();
        let losses = MutualLearning::new(self.both).losses(&all, hard, target)?;
        let kind = logits.f_kind()?;
        Ok(Tensor::f_stack(&losses, 0)?.f_sum(kind)?)
    }
}

/// The loss of the labels: a cross-entropy, or how another is computed.
#[derive(Clone, Copy)]
pub(crate) enum Hard<'a> {
    CrossEntropy(&'a CrossEntropy),
    Other(&'a dyn Fn() -> Result<Tensor>),
}

/// −ln Σ_i g_i·q_i(y), the mean over a batch: a gate g learns who of the teachers knows the label.
fn gate_loss(gates: &Tensor, teachers: &[&Tensor], labels: &Tensor) -> Result<Tensor> {
    let labels = labels.f_unsqueeze(-1)?;
    let of_label = teachers.iter().map(|teacher| {
        let said = teacher.f_log_softmax(-1, Kind::Float)?.f_gather(-1, &labels, false)?;
        Ok(said.f_clamp_min(-1e4)?)
    });
    let of_label = Tensor::f_cat(&of_label.collect::<Result<Vec<_>>>()?, -1)?;
    let both = gates.f_log_softmax(-1, Kind::Float)?.f_add(&of_label)?;
    Ok(both.f_logsumexp([-1_i64].as_slice(), false)?.f_mean(Kind::Float)?.f_neg()?)
}
