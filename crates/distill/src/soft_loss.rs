//! The kinds of loss between a student's logits and a teacher's.

use serde::{Deserialize, Serialize};
use softlabel_core::Error as CoreError;
use softlabel_losses::{CrossEntropy, Error as LossError, RowLosses, Target, Term};
use softlabel_tensor::Error as TensorError;
use tch::Tensor;

use crate::pair::Pair;
use crate::{Divergence, Error, Result, decoupled, distances, relational};

/// What is asked of a student that has a teacher: one loss between z = s/T and u = t/T, for logits s of the student and
/// t of the teacher, times c (see [`SoftScale`](crate::SoftScale)).
///
/// With p = softmax(z) and q = softmax(u):
///
/// | kind | loss of a row | serialized |
/// |---|---|---|
/// | [`Divergence`] | KL(q ‖ p), KL(p ‖ q), both, JS_β | `"forward"`, `"reverse"`, `"jeffreys"`, `{ jensen_shannon = { beta = 0.5 } }` |
/// | [`SquaredError`](Self::SquaredError) | Σ_k (z_k − u_k)² | `"mse"` |
/// | [`Cosine`](Self::Cosine) | 1 − cos(z, u) | `"cosine"` |
/// | [`Decoupled`](Self::Decoupled) | α·KL(b_q ‖ b_p) + β·KL(q̂ ‖ p̂) | `{ dkd = { alpha = 1, beta = 8 } }` |
/// | [`Relational`](Self::Relational) | correlations of rows and of columns | `{ dist = { inter = 1, intra = 1 } }` |
/// | [`TeacherLabel`](Self::TeacherLabel) | −ln p at the teacher's largest logit | `"hard_label"` |
///
/// All are 0, with a gradient of 0, where z = u, but for the last. A class that both sides hold impossible (−∞) costs
/// nothing in any of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
#[non_exhaustive]
pub enum SoftLoss {
    /// A divergence of the two distributions. The forward one is the default.
    Divergence(Divergence),
    /// Σ_k (z_k − u_k)²: the sum over classes, not their mean.
    ///
    /// With c = T² the temperature drops out. 1/(2K) times this is what the forward divergence times T² becomes for
    /// large T, for logits that each sum to 0. Where one side alone holds a class impossible it is +∞, and that
    /// class has no gradient.
    /// Kim et al. 2021, "Comparing Kullback-Leibler Divergence and Mean Squared Error Loss in Knowledge Distillation".
    SquaredError,
    /// 1 − cos(z, u) over the classes that neither side holds impossible; 1 where one side is 0 throughout.
    ///
    /// It does not depend on the temperature, which has to be 1.
    Cosine,
    /// Decoupled: whether it is the label, and which of the others it is, weighed by themselves.
    ///
    /// With b_p = [p_y, 1 − p_y] and p̂ the softmax of z without class y, and so for q:
    /// α·KL(b_q ‖ b_p) + β·KL(q̂ ‖ p̂). Hinton's forward divergence is α = 1 and β = 1 − q_y, sample by sample.
    /// Computed from log-sum-exp, so that it is finite on saturated rows too. Needs labels, and K > 2: of two classes
    /// there is but one other. The paper has α = 1, β = 8 and T = 4 on CIFAR-100, under a warm-up of the soft weight
    /// over 20 epochs: see [`DistillationSchedule`](crate::DistillationSchedule).
    /// Zhao et al. 2022, "Decoupled Knowledge Distillation".
    Decoupled {
        /// α, of label against the rest.
        alpha: f64,
        /// β, among the rest.
        beta: f64,
    },
    /// inter·(1 − mean over samples of ρ(p_n, q_n)) + intra·(1 − mean over classes of ρ(p_·k, q_·k)), ρ being Pearson's
    /// correlation: of a row over its classes, and of a class over the samples of the batch.
    ///
    /// One number about a batch: half batches that are added up are not the whole. At least 2 samples.
    /// The published code multiplies by T², the formula in the paper does not: the scale says which.
    /// Where both sides are constant ρ counts as 1, where one is it counts as 0.
    /// Huang et al. 2022, "Knowledge Distillation from A Stronger Teacher" ("DIST").
    Relational {
        /// Weight of the correlation over the classes of a sample.
        inter: f64,
        /// Weight of the correlation over the samples of a class.
        intra: f64,
    },
    /// Cross-entropy with the class of the teacher's (first) largest logit as the label, without smoothing.
    ///
    /// There is no temperature: it has to be 1. Touvron et al. 2021, "Training data-efficient image transformers &
    /// distillation through attention" ("DeiT").
    TeacherLabel,
}

impl Default for SoftLoss {
    fn default() -> Self {
        Self::Divergence(Divergence::default())
    }
}

impl From<Divergence> for SoftLoss {
    fn from(divergence: Divergence) -> Self {
        Self::Divergence(divergence)
    }
}

/// The serialized form: all kinds side by side.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Written {
    Forward,
    Reverse,
    Jeffreys,
    JensenShannon {
        beta: f64,
        #[serde(default)]
        continuous: bool,
    },
    Mse,
    Cosine,
    Dkd {
        alpha: f64,
        beta: f64,
    },
    Dist {
        inter: f64,
        intra: f64,
    },
    HardLabel,
}

impl From<Written> for SoftLoss {
    fn from(written: Written) -> Self {
        match written {
            Written::Forward => Divergence::Forward.into(),
            Written::Reverse => Divergence::Reverse.into(),
            Written::Jeffreys => Divergence::Jeffreys.into(),
            Written::JensenShannon { beta, continuous } => {
                Divergence::JensenShannon { beta, continuous }.into()
            }
            Written::Mse => Self::SquaredError,
            Written::Cosine => Self::Cosine,
            Written::Dkd { alpha, beta } => Self::Decoupled { alpha, beta },
            Written::Dist { inter, intra } => Self::Relational { inter, intra },
            Written::HardLabel => Self::TeacherLabel,
        }
    }
}

impl From<SoftLoss> for Written {
    fn from(loss: SoftLoss) -> Self {
        match loss {
            SoftLoss::Divergence(Divergence::Forward) => Self::Forward,
            SoftLoss::Divergence(Divergence::Reverse) => Self::Reverse,
            SoftLoss::Divergence(Divergence::Jeffreys) => Self::Jeffreys,
            SoftLoss::Divergence(Divergence::JensenShannon { beta, continuous }) => {
                Self::JensenShannon { beta, continuous }
            }
            SoftLoss::SquaredError => Self::Mse,
            SoftLoss::Cosine => Self::Cosine,
            SoftLoss::Decoupled { alpha, beta } => Self::Dkd { alpha, beta },
            SoftLoss::Relational { inter, intra } => Self::Dist { inter, intra },
            SoftLoss::TeacherLabel => Self::HardLabel,
        }
    }
}

impl SoftLoss {
    /// The name under which it is serialized.
    pub fn name(self) -> &'static str {
        match self {
            Self::Divergence(Divergence::Forward) => "forward",
            Self::Divergence(Divergence::Reverse) => "reverse",
            Self::Divergence(Divergence::Jeffreys) => "jeffreys",
            Self::Divergence(Divergence::JensenShannon { .. }) => "jensen_shannon",
            Self::SquaredError => "mse",
            Self::Cosine => "cosine",
            Self::Decoupled { .. } => "dkd",
            Self::Relational { .. } => "dist",
            Self::TeacherLabel => "hard_label",
        }
    }

    /// Whether it compares what is known of labels.
    pub fn needs_labels(self) -> bool {
        matches!(self, Self::Decoupled { .. })
    }

    /// Whether it is finite where the teacher alone holds a class impossible (−∞): a student would have to hold it
    /// impossible too.
    ///
    /// ```
    /// use softlabel_distill::{Divergence, SoftLoss};
    /// assert!(SoftLoss::from(Divergence::Forward).bears_impossible_classes());
    /// assert!(!SoftLoss::from(Divergence::Reverse).bears_impossible_classes());
    /// ```
    pub fn bears_impossible_classes(self) -> bool {
        match self {
            Self::SquaredError | Self::Divergence(Divergence::Reverse | Divergence::Jeffreys) => {
                false
            }
            // At 1 it is the reverse one.
            Self::Divergence(Divergence::JensenShannon { beta, .. }) => beta < 1.0,
            _ => true,
        }
    }

    pub(crate) fn has_temperature(self) -> bool {
        !matches!(self, Self::Cosine | Self::TeacherLabel)
    }

    /// The ranges of its parameters.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Self::Divergence(divergence) => divergence.check(),
            Self::Decoupled { alpha, beta } => {
                check_weights(("alpha of dkd", alpha), ("beta of dkd", beta))
            }
            Self::Relational { inter, intra } => {
                check_weights(("inter of dist", inter), ("intra of dist", intra))
            }
            Self::SquaredError | Self::Cosine | Self::TeacherLabel => Ok(()),
        }
    }

    /// The loss of a pair; `labels` are `[..]`, checked, 0 where a sample is ignored.
    pub(crate) fn term(self, pair: &Pair, labels: Option<&Tensor>) -> Result<Term> {
        let rows = match self {
            Self::Divergence(divergence) => divergence.rows(pair)?,
            Self::SquaredError => distances::squared_error(pair)?,
            Self::Cosine => distances::cosine(pair)?,
            Self::Decoupled { alpha, beta } => {
                let missing = || LossError::NeedsLabels { loss: "dkd" };
                decoupled::rows(pair, labels.ok_or_else(missing)?, alpha, beta)?
            }
            Self::Relational { inter, intra } => return relational::term(pair, inter, intra),
            Self::TeacherLabel => teacher_label(pair)?,
        };
        let rows = pair.sound(rows)?;
        Ok(Term::Rows(RowLosses::new(rows, pair.ignored.as_ref())?))
    }
}

fn teacher_label(pair: &Pair) -> Result<Tensor> {
    const IGNORED: i64 = -1;
    pair.check_teacher()?;
    let labels = pair.counted(&pair.teacher)?.f_argmax(-1, false)?;
    let labels = match &pair.ignored {
        None => labels,
        Some(ignored) => labels.f_masked_fill(ignored, IGNORED)?,
    };
    let loss = CrossEntropy::new()
        .with_ignore_index(IGNORED)
        .with_reduction(softlabel_core::Reduction::None);
    pair.scaled(&loss.forward(&pair.student, Target::Hard(&labels))?)
}

fn check_weights(first: (&'static str, f64), second: (&'static str, f64)) -> Result<()> {
    for (name, found) in [first, second] {
        if !(found >= 0.0 && found.is_finite()) {
            let expected = "finite and not negative";
            return Err(out_of_range(name, expected, found));
        }
    }
    if first.1 + second.1 > 0.0 {
        return Ok(());
    }
    Err(out_of_range(first.0, "positive where the other weight is 0", first.1))
}

pub(crate) fn out_of_range(name: &'static str, expected: &'static str, found: f64) -> Error {
    TensorError::from(CoreError::OutOfRange { name, expected, found }).into()
}
