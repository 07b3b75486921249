//! numerics on slices: softmax rows, compensated sums, bins, safeguarded Newton.
