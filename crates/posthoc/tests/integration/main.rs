//! Tests of the public interface, by theme.

// Clippy knows that test functions may panic, not that what they call may.
#![allow(clippy::unwrap_used, clippy::panic)]

mod affine;
mod bbq;
mod beta;
mod class_temperature;
mod composition;
mod conformal;
mod defects;
mod degenerate;
mod document;
mod ensemble_temperature;
mod first_order;
mod golden;
mod golden_maps;
mod histogram;
mod isotonic;
mod isotonic_regression;
mod little_data;
mod method;
#[path = "../../../metrics/tests/integration/networks.rs"]
mod networks;
mod parametrized;
mod platt;
mod quadratic_platt;
mod scaling_binning;
mod signals;
mod spline;
mod structured;
mod temperature;
mod temperature_mixture;
mod venn_abers;
mod weights;

use softlabel_core::{Labels, Logits};

/// Logits and labels, checked.
fn checked(logits: &[f64], labels: &[usize], classes: usize) -> (Logits<'static, f64>, Labels) {
    (Logits::new(logits.to_vec(), classes).unwrap(), Labels::new(labels, classes).unwrap())
}

/// Logits that say something about the labels and are wrong often enough: `rows` of three classes.
fn noisy(rows: usize) -> (Vec<f64>, Vec<usize>) {
    let logits: Vec<f64> = (0..3 * rows).map(|i| ((7 * i + 5 * i * i) % 23) as f64 / 8.0).collect();
    let top = |row: &[f64]| (0..3).rev().max_by(|&i, &j| row[i].total_cmp(&row[j])).unwrap();
    let label = |(i, row): (usize, &[f64])| if i % 3 == 0 { i % 7 % 3 } else { top(row) };
    let labels = logits.chunks(3).enumerate().map(label).collect();
    (logits, labels)
}
