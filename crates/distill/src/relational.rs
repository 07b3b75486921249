//! Correlations of probabilities, over the classes of a sample and over the samples of a class ("DIST").

use softlabel_losses::Term;
use softlabel_tensor::Error as TensorError;
use tch::Tensor;

use crate::distances::one_less_cosine;
use crate::pair::{Amount, Pair};
use crate::{Error, Result};

/// inter·(1 − mean ρ over rows) + intra·(1 − mean ρ over columns), times the factor.
pub(crate) fn term(pair: &Pair, inter: f64, intra: f64) -> Result<Term> {
    let Amount::All(factor) = pair.tempering.factor else {
        return Err(Error::NotOfOneSample { loss: "dist" });
    };
    let kind = pair.kind()?;
    let classes = pair.classes();
    let [z, u] = pair.tempered()?;
    let counted = pair.ignored.as_ref().map(Tensor::f_logical_not).transpose()?;
    let rows = |logits: Tensor| -> Result<Tensor> {
        let logits = logits.f_reshape([-1, classes])?;
        let logits = match &counted {
            None => logits,
            Some(counted) => {
                let places = counted.f_reshape([-1])?.f_nonzero()?.f_squeeze_dim(-1)?;
                logits.f_index_select(0, &places)?
            }
        };
        Ok(logits.f_softmax(-1, kind)?)
    };
    let (p, q) = (rows(z)?, rows(u)?);
    let samples = p.size().first().copied().unwrap_or_default();
    if samples < 2 {
        let expected = format!("[N, {classes}] with at least 2 samples that count, for dist");
        let found = vec![samples, classes];
        return Err(TensorError::Shape { what: "student logits", expected, found }.into());
    }
    let apart = |p: &Tensor, q: &Tensor| -> Result<Tensor> {
        let centred = |values: &Tensor| -> Result<Tensor> {
            Ok(values.f_sub(&values.f_mean_dim([-1_i64].as_slice(), true, kind)?)?)
        };
        Ok(one_less_cosine(&centred(p)?, &centred(q)?)?.f_mean(kind)?)
    };
    let mut total = None;
    for (weight, p, q) in
        [(inter, p.shallow_clone(), q.shallow_clone()), (intra, p.f_tr()?, q.f_tr()?)]
    {
        if weight > 0.0 {
            let part = apart(&p, &q)?.f_mul_scalar(weight * factor)?;
            total = Some(match total {
                None => part,
                Some(total) => part.f_add(&total)?,
            });
        }
    }
    // That one weight is positive was checked.
    let value = total.map_or_else(|| p.f_mean(kind), Ok)?;
    Ok(Term::Batch { value: pair.sound(value)?, counted: samples })
}
