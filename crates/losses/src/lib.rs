//! cross-entropy over hard, smoothed and soft targets on tch tensors.
