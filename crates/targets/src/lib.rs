//! soft targets: label smoothing in both conventions, label noise.
