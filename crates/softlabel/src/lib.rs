//! soft targets, losses, calibration metrics, post-hoc calibration and distillation for classifiers on tch.
