//! What a student learns from the layers of its teacher.

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use softlabel_data::seed;
use softlabel_distill::feature::{
    ContrastiveRepresentation, ContrastiveSettings, MaskedGeneration, ReviewFusion,
    VariationalInformation, attention_transfer, correlation_congruence, hierarchical_context, hint,
    probabilistic_transfer, relational_angle, relational_distance, similarity_preserving,
};
use tch::nn::{Init, Path, VarStore};
use tch::{Device, Kind, Tensor};

use crate::recipe::{FeatureKind, FeatureTerm};
use crate::{Error, Result};

/// All terms of an arm, with what is trained beside the student.
pub(crate) struct Imitation<'a> {
    terms: Vec<(&'a FeatureTerm, Matching)>,
    store: VarStore,
    random: ChaCha8Rng,
    /// Training samples.
    samples: usize,
}

/// A loss, ready for layers of known shapes.
enum Matching {
    Function(fn(&Tensor, &Tensor) -> softlabel_distill::Result<Tensor>),
    Adapted(Adapter),
    Congruence(f64),
    Variational(VariationalInformation),
    Contrastive(Box<ContrastiveRepresentation>, usize),
    Masked(MaskedGeneration, f64),
    Review(ReviewFusion, Vec<(usize, usize)>),
}

/// A linear map of the channels, or of the features.
struct Adapter {
    weight: Tensor,
    bias: Tensor,
}

impl<'a> Imitation<'a> {
    /// For layers of student and teacher that have these shapes, the first axis aside.
    pub(crate) fn new(
        arm: &str,
        terms: &'a [FeatureTerm],
        (student, teacher): (&[Tensor], &[Tensor]),
        samples: usize,
        seed: u64,
        device: Device,
    ) -> Result<Self> {
        let store = VarStore::new(device);
        let matched = terms.iter().enumerate().map(|(index, term)| {
            let key = |key: &str| format!("arms.{arm}.distill.features.{index}{key}");
            let layer = |layers: &[Tensor], number: Option<usize>, side: &str| {
                let number = number.unwrap_or(layers.len().saturating_sub(1));
                let shape = layers.get(number).map(Tensor::size);
                shape.ok_or_else(|| Error::NoLayer {
                    key: key(side),
                    found: number,
                    layers: layers.len(),
                })
            };
            let (of_student, of_teacher) = match &term.kind {
                FeatureKind::Review { .. } => (Vec::new(), Vec::new()),
                _ => (
                    layer(student, term.student, ".student")?,
                    layer(teacher, term.teacher, ".teacher")?,
                ),
            };
            let path = store.root() / index;
            let all = (student, teacher);
            let matching = Matching::new(&path, &term.kind, &of_student, &of_teacher, all, samples);
            let named = |source| Error::Loss { key: key(""), source: Box::new(source) };
            Ok((term, matching.map_err(named)?))
        });
        let terms = matched.collect::<Result<Vec<_>>>()?;
        let mut random = seed::stream(seed, "features");
        draw(&store, &mut random)?;
        Ok(Self { terms, store, random, samples })
    }

    /// What is trained beside the student.
    pub(crate) fn parameters(&self) -> Vec<Tensor> {
        let mut named: Vec<_> = self.store.variables().into_iter().collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        let trained = named.into_iter().map(|(_, variable)| variable);
        trained.filter(Tensor::requires_grad).collect()
    }

    /// The sum of all terms at a step of so many, for the samples at these positions among the training samples.
    pub(crate) fn loss(
        &mut self,
        student: &[Tensor],
        teacher: &[Tensor],
        positions: &[usize],
        (step, steps): (usize, usize),
    ) -> Result<Option<Tensor>> {
        let Self { terms, random, samples, .. } = self;
        let mut total: Option<Tensor> = None;
        for (term, matching) in terms {
            let weight = term.weight.at(step, steps);
            if weight == 0.0 {
                continue;
            }
            let last = |layers: &[Tensor], number: Option<usize>| {
                layers[number.unwrap_or(layers.len() - 1)].shallow_clone()
            };
            let loss = if let Matching::Review(review, levels) = matching {
                let pick = |layers: &[Tensor], of: fn(&(usize, usize)) -> usize| -> Vec<Tensor> {
                    levels.iter().map(|level| layers[of(level)].shallow_clone()).collect()
                };
                review.forward(&pick(student, |l| l.0), &pick(teacher, |l| l.1), true)?
            } else {
                let (student, teacher) = (last(student, term.student), last(teacher, term.teacher));
                matching.loss(&student, &teacher, positions, *samples, random)?
            };
            let loss = loss.f_mul_scalar(weight)?;
            total = Some(match total {
                None => loss,
                Some(total) => total.f_add(&loss)?,
            });
        }
        Ok(total)
    }
}

impl Matching {
    fn new(
        path: &Path<'_>,
        kind: &FeatureKind,
        student: &[i64],
        teacher: &[i64],
        layers: (&[Tensor], &[Tensor]),
        samples: usize,
    ) -> Result<Self> {
        let channels = |shape: &[i64]| shape.get(1).copied().unwrap_or(1);
        let width = |shape: &[i64]| shape.iter().skip(1).product::<i64>();
        Ok(match kind {
            FeatureKind::Hint {} if student == teacher => Self::Function(hint),
            FeatureKind::Hint {} => {
                Self::Adapted(Adapter::new(path, channels(student), channels(teacher))?)
            }
            FeatureKind::AttentionTransfer {} => Self::Function(attention_transfer),
            FeatureKind::RelationalDistance {} => Self::Function(relational_distance),
            FeatureKind::RelationalAngle {} => Self::Function(relational_angle),
            FeatureKind::SimilarityPreserving {} => Self::Function(similarity_preserving),
            FeatureKind::ProbabilisticTransfer {} => Self::Function(probabilistic_transfer),
            FeatureKind::HierarchicalContext {} => Self::Function(hierarchical_context),
            FeatureKind::CorrelationCongruence { gamma } => Self::Congruence(*gamma),
            FeatureKind::VariationalInformation { variance } => {
                let (student, teacher) = (channels(student), channels(teacher));
                Self::Variational(VariationalInformation::new(path, student, teacher, *variance)?)
            }
            FeatureKind::Contrastive { width: space, temperature, momentum, negatives } => {
                let settings = ContrastiveSettings {
                    student: width(student),
                    teacher: width(teacher),
                    width: *space,
                    samples: samples as i64,
                    temperature: *temperature,
                    momentum: *momentum,
                };
                let contrast = ContrastiveRepresentation::new(path, settings)?;
                Self::Contrastive(Box::new(contrast), *negatives)
            }
            FeatureKind::MaskedGeneration { masked } => {
                let (student, teacher) = (channels(student), channels(teacher));
                Self::Masked(MaskedGeneration::new(path, student, teacher)?, *masked)
            }
            FeatureKind::Review { levels, middle } => {
                let of = |layers: &[Tensor], number: usize| {
                    let shape = layers.get(number).map(Tensor::size);
                    shape.map(|shape| channels(&shape)).ok_or_else(|| Error::NoLayer {
                        key: "levels".to_owned(),
                        found: number,
                        layers: layers.len(),
                    })
                };
                let (student, teacher) = layers;
                let pairs =
                    levels.iter().map(|level| Ok((of(student, level.0)?, of(teacher, level.1)?)));
                let pairs = pairs.collect::<Result<Vec<_>>>()?;
                Self::Review(ReviewFusion::new(path, &pairs, *middle)?, levels.clone())
            }
        })
    }

    fn loss(
        &mut self,
        student: &Tensor,
        teacher: &Tensor,
        positions: &[usize],
        samples: usize,
        random: &mut impl Rng,
    ) -> Result<Tensor> {
        Ok(match self {
            Self::Function(loss) => loss(student, teacher)?,
            Self::Adapted(adapter) => hint(&adapter.forward(student)?, teacher)?,
            Self::Congruence(gamma) => correlation_congruence(student, teacher, *gamma)?,
            Self::Variational(loss) => loss.forward(student, teacher)?,
            Self::Contrastive(loss, count) => {
                let ids: Vec<i64> = positions.iter().map(|&position| position as i64).collect();
                let other = |id: i64, random: &mut _| {
                    // Any of the n − 1 others.
                    let drawn = RngExt::random_range(random, 0..samples.max(2) as i64 - 1);
                    if drawn < id { drawn } else { drawn + 1 }
                };
                let mut others = Vec::with_capacity(ids.len() * *count);
                for &id in &ids {
                    others.extend((0..*count).map(|_| other(id, random)));
                }
                let shape = [ids.len() as i64, *count as i64];
                let others = Tensor::f_from_slice(&others)?.f_view(shape)?;
                let ids = Tensor::f_from_slice(&ids)?.f_to_device(student.device())?;
                loss.forward(student, teacher, &ids, &others.f_to_device(student.device())?)?
            }
            Self::Masked(loss, masked) => {
                let shape = teacher.size();
                let place = |axis: usize| shape.get(axis).copied().unwrap_or(1);
                let shape = [place(0), 1, place(2), place(3)];
                let count = shape.iter().product::<i64>();
                let kept: Vec<bool> = (0..count).map(|_| !random.random_bool(*masked)).collect();
                let kept = Tensor::f_from_slice(&kept)?.f_view(shape)?;
                loss.forward(student, teacher, &kept.f_to_device(student.device())?)?
            }
            // What sees several layers was asked before.
            Self::Review(..) => Tensor::f_zeros([], (Kind::Float, student.device()))?,
        })
    }
}

impl Adapter {
    fn new(path: &Path<'_>, from: i64, to: i64) -> Result<Self> {
        let weight = path.f_var("weight", &[to, from], Init::Const(0.0))?;
        Ok(Self { weight, bias: path.f_zeros("bias", &[to])? })
    }

    /// Of `[N, C, ..]` to as many channels as the teacher has.
    fn forward(&self, features: &Tensor) -> Result<Tensor> {
        if features.dim() == 2 {
            return Ok(features.f_linear(&self.weight, Some(&self.bias))?);
        }
        let weight = self.weight.f_unsqueeze(-1)?.f_unsqueeze(-1)?;
        Ok(features.f_conv2d(&weight, Some(&self.bias), 1, 0, 1, 1)?)
    }
}

/// Draws all matrices anew, from a stream of ours: libtorch's own belongs to the process.
fn draw(store: &VarStore, random: &mut impl Rng) -> Result<()> {
    let _guard = tch::no_grad_guard();
    let mut named: Vec<_> = store.variables().into_iter().collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, mut variable) in named {
        let shape = variable.size();
        if shape.len() < 2 {
            continue;
        }
        let fan_in = shape[1..].iter().product::<i64>() as f64;
        // Remembered features have a length of about 1.
        let variance = if name.ends_with("memory") { 3.0 } else { 1.0 };
        let bound = (variance / fan_in).sqrt();
        let values: Vec<f64> =
            (0..variable.numel()).map(|_| random.random_range(-bound..bound)).collect();
        let values = Tensor::f_from_slice(&values)?.f_view(shape.as_slice())?;
        variable.f_copy_(&values)?;
    }
    Ok(())
}
