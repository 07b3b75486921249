//! how good and how honest predictions are: accumulators that update, merge, compute.
