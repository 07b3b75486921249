//! How the losses of single samples become one number.

/// How the losses of single samples become one number, or stay as they are.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Reduction {
    /// One loss a sample, in the shape of the labels.
    None,
    /// The sum.
    Sum,
    /// The sum divided by what the [`Normalizer`] says.
    Mean(Normalizer),
}

impl Default for Reduction {
    /// libtorch's default for hard targets.
    fn default() -> Self {
        Self::Mean(Normalizer::WeightSum)
    }
}

/// What a mean divides by.
///
/// Libraries differ here, silently: libtorch divides by the weights of the true classes when targets are hard
/// and by the number of rows when they are soft. We do what the normalizer says, for either kind of target.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Normalizer {
    /// The class weights of the targets, summed over the samples that count; without weights, their number.
    /// A soft target has the weight ⟨target, weights⟩.
    WeightSum,
    /// The number of samples that count, that is, are not ignored.
    Count,
    /// A number from outside: the samples of all accumulation steps or of all workers.
    Items(f64),
}
