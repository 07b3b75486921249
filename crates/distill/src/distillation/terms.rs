//! What a specification makes of a batch: student and teacher made comparable, the soft term, both terms together.

use softlabel_core::{Error as CoreError, Reduction, Temperature};
use softlabel_losses::rows::divisor;
use softlabel_losses::{CrossEntropy, Error as LossError, RowLosses, Target, Term};
use softlabel_tensor::{
    ClassAxis, Error as TensorError, check_labels, check_same_device, class_last,
};
use tch::{Kind, Tensor};

use super::{Distillation, SoftScale};
use crate::pair::{Amount, Pair, Tempering};
use crate::soft_loss::out_of_range;
use crate::{Error, Result, Samples, SoftLoss, standardize};

impl Distillation {
    /// Both terms, each times the weight that it is given, or the one that has a weight.
    pub(crate) fn weigh(
        &self,
        soft: impl FnOnce(f64) -> Result<Tensor>,
        hard: impl FnOnce(f64) -> Result<Tensor>,
    ) -> Result<Tensor> {
        match (self.soft_weight > 0.0, self.hard_weight > 0.0) {
            (true, false) => soft(self.soft_weight),
            (false, _) => hard(self.hard_weight),
            (true, true) => Ok(hard(self.hard_weight)?.f_add(&soft(self.soft_weight)?)?),
        }
    }

    /// The soft term times a weight, reduced as the hard loss says.
    pub(crate) fn soft(
        &self,
        student: &Tensor,
        teacher: &Tensor,
        hard: &CrossEntropy,
        target: Target<'_>,
        samples: Samples<'_>,
        weight: f64,
    ) -> Result<Tensor> {
        let reduction = hard.reduction();
        if let (SoftLoss::Divergence(of), None) = (self.loss, samples.soft_weights)
            && reduction != Reduction::None
        {
            let ignored = hard.ignored(target)?;
            let pair = self.pair(student, teacher, hard.class_axis(), ignored, samples)?;
            let divisor = divisor(reduction, pair.counted_samples()?, None)?;
            return pair.sound(of.sum(&pair, divisor, weight)?);
        }
        let term = self.soft_term_of(student, teacher, hard, target, samples)?;
        Ok(term.reduce(reduction, self.loss.name())?.f_mul_scalar(weight)?)
    }

    pub(super) fn soft_term_of(
        &self,
        student: &Tensor,
        teacher: &Tensor,
        hard: &CrossEntropy,
        target: Target<'_>,
        samples: Samples<'_>,
    ) -> Result<Term> {
        let pair =
            self.pair(student, teacher, hard.class_axis(), hard.ignored(target)?, samples)?;
        let labels = if self.loss.needs_labels() {
            let (Target::Hard(labels)
            | Target::Smoothed { labels, .. }
            | Target::Allowed { labels, .. }) = target
            else {
                return Err(LossError::NeedsLabels { loss: self.loss.name() }.into());
            };
            let labels = check_labels(labels, &pair.student, hard.ignore_index())?;
            Some(match &pair.ignored {
                None => labels,
                Some(ignored) => labels.f_masked_fill(ignored, 0)?,
            })
        } else {
            None
        };
        self.term(&pair, labels.as_ref(), samples)
    }

    pub(super) fn term(
        &self,
        pair: &Pair,
        labels: Option<&Tensor>,
        samples: Samples<'_>,
    ) -> Result<Term> {
        let term = self.loss.term(pair, labels)?;
        let Some(weights) = samples.soft_weights else { return Ok(term) };
        let valid = |&weight: &f64| weight >= 0.0 && weight.is_finite();
        if let Some(&found) = weights.iter().find(|weight| !valid(weight)) {
            return Err(out_of_range("soft weight of a sample", "finite and not negative", found));
        }
        let Term::Rows(rows) = term else {
            return Err(Error::NotOfOneSample { loss: self.loss.name() });
        };
        let rows = rows.reduce(Reduction::None)?;
        check_count("soft weights of samples", weights, rows.numel() as i64)?;
        let rows = Amount::Samples(weights.to_vec()).times_rows(&rows)?;
        Ok(Term::Rows(RowLosses::new(rows, pair.ignored.as_ref())?))
    }

    /// Student and teacher, checked.
    pub(crate) fn pair(
        &self,
        student: &Tensor,
        teacher: &Tensor,
        axis: ClassAxis,
        ignored: Option<Tensor>,
        samples: Samples<'_>,
    ) -> Result<Pair> {
        let student = class_last(student, axis, "student logits")?;
        let teacher = class_last(teacher, axis, "teacher logits")?.f_detach()?;
        check_same_device(&teacher, &student, "teacher logits")?;
        let (student, teacher) = self.classes.apply(student, teacher)?;
        if student.size() != teacher.size() {
            return Err(Error::TeacherShape { student: student.size(), teacher: teacher.size() });
        }
        let mut shape = student.size();
        shape.pop();
        if let Some(ignored) = &ignored
            && ignored.size() != shape
        {
            let expected = format!("{shape:?}, one a sample");
            let found = ignored.size();
            return Err(TensorError::Shape { what: "mask of the samples", expected, found }.into());
        }
        // Of two precisions the better one.
        let student = if teacher.f_kind()? == Kind::Double {
            student.f_to_kind(Kind::Double)?
        } else {
            student
        };
        let tempering = self.tempering(samples, shape.iter().product())?;
        let mut pair = Pair { student, teacher, ignored, tempering };
        if self.standardize {
            pair.student = standardize(&pair.counted(&pair.student)?)?;
            pair.teacher = standardize(&pair.counted(&pair.teacher)?)?;
        }
        Ok(pair)
    }

    /// c for a temperature of the student.
    pub(crate) fn factor(&self, temperature: f64) -> f64 {
        match self.scale {
            SoftScale::TemperatureSquared => temperature.powi(2),
            SoftScale::One => 1.0,
        }
    }

    fn tempering(&self, samples: Samples<'_>, count: i64) -> Result<Tempering> {
        let teacher = match samples.temperatures {
            None => Amount::All(self.temperature.get()),
            Some(temperatures) => {
                check_count("temperatures of samples", temperatures, count)?;
                for &temperature in temperatures {
                    let temperature = Temperature::new(temperature).map_err(TensorError::from)?;
                    if temperature != Temperature::ONE && !self.loss.has_temperature() {
                        let (loss, found) = (self.loss.name(), temperature.get());
                        return Err(Error::NoTemperature { loss, found });
                    }
                }
                Amount::Samples(temperatures.to_vec())
            }
        };
        let student = match self.student_temperature {
            None => teacher.clone(),
            Some(temperature) => Amount::All(temperature.get()),
        };
        let factor = student.map(|temperature| self.factor(temperature));
        let [student, teacher] = [student, teacher].map(|side| side.map(f64::recip));
        Ok(Tempering { student, teacher, factor })
    }
}

fn check_count(what: &'static str, values: &[f64], samples: i64) -> Result<()> {
    if values.len() as i64 == samples {
        return Ok(());
    }
    let (expected, found) = (format!("{samples}, one a sample"), values.len().to_string());
    Err(TensorError::from(CoreError::mismatch(what, expected, found)).into())
}
