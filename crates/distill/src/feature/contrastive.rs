//! Contrastive representation distillation with a memory bank.

use softlabel_tensor::{Error as TensorError, check_same_device};
use tch::nn::Path;
use tch::nn::init::DEFAULT_KAIMING_UNIFORM;
use tch::{Tensor, no_grad_guard};

use super::adapter::{check_indices, wrong};
use super::{STUDENT, TEACHER, matched, unit_rows};
use crate::Result;

/// How samples are told apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ContrastiveSettings {
    /// Width of the student's features.
    pub student: i64,
    /// Width of the teacher's.
    pub teacher: i64,
    /// Width of the space in which they are compared; the authors take 128.
    pub width: i64,
    /// n, how many training samples there are: ids are below it.
    pub samples: i64,
    /// τ; the authors take 0.07.
    pub temperature: f64,
    /// Share of a remembered feature that stays when its sample comes again; the authors take 0.5.
    pub momentum: f64,
}

/// What student and teacher say of the same sample is told apart from what the other says of K others:
///
/// ```text
/// loss = Σ over both sides of mean over the batch of [ −ln σ(r(x, y₊)) − Σ_k ln σ(−r(x, y_k)) ]
/// r(x, y) = x·y/τ − ln Z − ln(K/n)
/// ```
///
/// x is one side's feature, projected and scaled to length 1; y are those of the other side from a memory of all n
/// samples, y₊ of the sample itself. Z, one a side, is n times the mean of e^(x·y/τ) in the first batch and stays.
/// In the authors' code this is a ratio of probabilities with 10⁻⁷ in the denominators; here it is the same in
/// logarithms, finite whatever the features.
///
/// Both projections are trained, and both memories and Z stay out of training; all are variables of the path, so they
/// are saved with its store. After each forward pass the memories of the batch's samples become
/// `momentum`·old + (1 − `momentum`)·new, scaled to length 1. Negatives are the caller's to draw, uniformly, with K of
/// 16384 in the paper: this crate draws nothing but the first values of its variables. The authors weigh it by 0.8.
///
/// Source: Tian, Krishnan, Isola, "Contrastive Representation Distillation", 2020.
///
/// ```
/// use softlabel_distill::feature::{ContrastiveRepresentation, ContrastiveSettings};
/// use tch::{Device, Kind, Tensor, nn::VarStore};
///
/// let store = VarStore::new(Device::Cpu);
/// let settings = ContrastiveSettings {
///     student: 5, teacher: 7, width: 4, samples: 100, temperature: 0.07, momentum: 0.5,
/// };
/// let mut loss = ContrastiveRepresentation::new(&store.root(), settings)?;
/// let (student, teacher) = (
///     Tensor::randn([2, 5], (Kind::Float, Device::Cpu)),
///     Tensor::randn([2, 7], (Kind::Float, Device::Cpu)),
/// );
/// let ids = Tensor::from_slice(&[3i64, 41]);
/// let negatives = Tensor::from_slice(&[0i64, 1, 2, 50, 60, 70]).view((2, 3));
/// assert!(f64::try_from(loss.forward(&student, &teacher, &ids, &negatives)?)? > 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "CRD")]
#[derive(Debug)]
pub struct ContrastiveRepresentation {
    settings: ContrastiveSettings,
    student: Side,
    teacher: Side,
}

/// One of the two.
#[derive(Debug)]
struct Side {
    weight: Tensor,
    bias: Tensor,
    /// A feature of length about 1 for each sample.
    memory: Tensor,
    /// ln Z, and whether it is known: of the memory of the other side.
    log_z: Tensor,
    is_known: Tensor,
}

impl ContrastiveRepresentation {
    /// With memories of random features of length about 1.
    ///
    /// # Errors
    /// A temperature that is not positive and finite, a momentum outside of [0, 1], sizes below 1.
    pub fn new(path: &Path<'_>, settings: ContrastiveSettings) -> Result<Self> {
        let ContrastiveSettings { student, teacher, width, samples, temperature, momentum } =
            settings;
        let bad = |name, expected, found| -> Result<Self> {
            let error = softlabel_core::Error::OutOfRange { name, expected, found };
            Err(TensorError::from(error).into())
        };
        if !(temperature > 0.0 && temperature.is_finite()) {
            return bad("temperature of a contrast", "positive and finite", temperature);
        }
        if !(0.0..=1.0).contains(&momentum) {
            return bad("momentum of a memory", "in [0, 1]", momentum);
        }
        for (name, size) in
            [("features", student.min(teacher)), ("width", width), ("samples", samples)]
        {
            if size < 1 {
                return bad(name, "at least 1", size as f64);
            }
        }
        let student = Side::new(&(path / "student"), student, width, samples)?;
        let teacher = Side::new(&(path / "teacher"), teacher, width, samples)?;
        Ok(Self { settings, student, teacher })
    }

    /// The loss of a batch of features `[N, ..]`, of the samples `ids` `[N]`, told apart from `negatives` `[N, K]`, both
    /// i64; differentiable in the student and the projections. Updates the memories.
    ///
    /// # Errors
    /// Features that are no floats, are empty, are of another width, differ in N or lie on different devices; ids or
    /// negatives of another shape or dtype, or that are not below n.
    pub fn forward(
        &mut self,
        student: &Tensor,
        teacher: &Tensor,
        ids: &Tensor,
        negatives: &Tensor,
    ) -> Result<Tensor> {
        let settings = self.settings;
        let (student, teacher) = matched(student, teacher)?;
        let samples = student.size()[0];
        let flat = |features: &Tensor, what, width| -> Result<Tensor> {
            let shape = features.size();
            if shape[0] != samples || shape[1..].iter().product::<i64>() != width {
                return Err(wrong(what, format!("[{samples}, ..] of {width} features"), shape));
            }
            Ok(features.f_reshape([samples, width])?)
        };
        let student = flat(&student, STUDENT, settings.student)?;
        let teacher = flat(&teacher, TEACHER, settings.teacher)?;
        check_same_device(ids, &student, "sample ids")?;
        check_same_device(negatives, &student, "negative samples")?;
        check_indices(ids, "sample ids", &[samples], settings.samples)?;
        let count = negatives.size().last().copied().unwrap_or_default();
        if count < 1 {
            return Err(wrong(
                "negative samples",
                format!("[{samples}, K], K at least 1"),
                negatives.size(),
            ));
        }
        check_indices(negatives, "negative samples", &[samples, count], settings.samples)?;
        let others = Tensor::f_cat(&[&ids.f_unsqueeze(1)?, negatives], 1)?;
        let (of_student, of_teacher) =
            (self.student.project(&student)?, self.teacher.project(&teacher)?);
        let loss = self.teacher.contrast(&of_student, &others, settings)?;
        let loss = loss.f_add(&self.student.contrast(&of_teacher, &others, settings)?)?;
        self.student.remember(&of_student, ids, settings.momentum)?;
        self.teacher.remember(&of_teacher, ids, settings.momentum)?;
        Ok(loss)
    }

    /// What is remembered of the student and of the teacher, `[n, width]` each.
    pub fn memories(&self) -> (Tensor, Tensor) {
        (self.student.memory.copy(), self.teacher.memory.copy())
    }
}

impl Side {
    fn new(path: &Path<'_>, features: i64, width: i64, samples: i64) -> Result<Self> {
        let weight = path.f_var("weight", &[width, features], DEFAULT_KAIMING_UNIFORM)?;
        let bias = path.f_zeros("bias", &[width])?;
        let mut memory = path.f_zeros_no_train("memory", &[samples, width])?;
        // As the authors': of variance 1/width, of length about 1.
        let bound = (3.0 / width as f64).sqrt();
        {
            let _guard = no_grad_guard();
            let _ = memory.f_uniform_(-bound, bound)?;
        }
        let log_z = path.f_zeros_no_train("log-z", &[])?;
        let is_known = path.f_zeros_no_train("is-known", &[])?;
        Ok(Self { weight, bias, memory, log_z, is_known })
    }

    fn project(&self, features: &Tensor) -> Result<Tensor> {
        unit_rows(&features.f_linear(&self.weight, Some(&self.bias))?)
    }

    /// The other side's features `[N, width]` against what is remembered of samples `[N, 1 + K]`, the right one first.
    fn contrast(
        &mut self,
        features: &Tensor,
        others: &Tensor,
        settings: ContrastiveSettings,
    ) -> Result<Tensor> {
        let shape = others.size();
        let remembered = self.memory.f_index_select(0, &others.f_view(-1)?)?;
        let remembered = remembered.f_view([shape[0], shape[1], settings.width])?;
        let products = remembered.f_bmm(&features.f_unsqueeze(2)?)?.f_squeeze_dim(2)?;
        let products = products.f_div_scalar(settings.temperature)?;
        let samples = settings.samples as f64;
        if f64::try_from(&self.is_known)? == 0.0 {
            let _guard = no_grad_guard();
            let flat = products.f_detach()?.f_view(-1)?;
            let mean = flat.f_logsumexp([0_i64].as_slice(), false)?;
            let log_z = mean.f_add_scalar(samples.ln() - (flat.numel() as f64).ln())?;
            self.log_z.f_copy_(&log_z)?;
            let _ = self.is_known.f_fill_(1.0)?;
        }
        let negatives = (shape[1] - 1) as f64;
        let odds = products.f_sub(&self.log_z)?.f_sub_scalar((negatives / samples).ln())?;
        let kind = odds.f_kind()?;
        let right = odds.f_narrow(1, 0, 1)?.f_log_sigmoid()?.f_sum(kind)?;
        let wrong = odds.f_narrow(1, 1, shape[1] - 1)?.f_neg()?.f_log_sigmoid()?.f_sum(kind)?;
        Ok(right.f_add(&wrong)?.f_div_scalar(-(shape[0] as f64))?)
    }

    fn remember(&mut self, features: &Tensor, ids: &Tensor, momentum: f64) -> Result<()> {
        let _guard = no_grad_guard();
        let old = self.memory.f_index_select(0, ids)?.f_mul_scalar(momentum)?;
        let new = old.f_add(&features.f_detach()?.f_mul_scalar(1.0 - momentum)?)?;
        let _ = self.memory.f_index_copy_(0, ids, &unit_rows(&new)?)?;
        Ok(())
    }
}
