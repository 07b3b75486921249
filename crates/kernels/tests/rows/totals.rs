//! The sum of the losses that a kernel gives along with them.

use softlabel_kernels::rows::{
    Options, Outputs, Scale, Target, cross_entropy, cross_entropy_in_place,
};

fn total(rows: usize, classes: usize, threads: usize) -> (f64, Vec<f32>) {
    let mut logits: Vec<f32> =
        (0..rows * classes).map(|i| ((i * 7919) % 1013) as f32 * 0.01).collect();
    let labels: Vec<i64> = (0..rows).map(|row| (row * 31 % classes) as i64).collect();
    let target = Target { ignore_index: Some(0), ..Target::labels(&labels, 1.0f32) };
    let options = Options::default();
    let (mut losses, mut total) = (vec![f32::NAN; rows], f64::NAN);
    let outputs = Outputs::losses(&mut losses).with_total(&mut total);
    cross_entropy(&logits, classes, &target, &options, outputs, threads).unwrap();

    let (mut again, mut total_again) = (losses.clone(), f64::NAN);
    let outputs = Outputs::losses(&mut again).with_total(&mut total_again);
    let scale = Scale::All(1.0);
    cross_entropy_in_place(&mut logits, classes, &target, &options, scale, outputs, threads)
        .unwrap();
    assert_eq!((total, &losses), (total_again, &again));
    (total, losses)
}

#[test]
fn a_total_is_that_of_the_losses_whatever_the_number_of_threads() {
    // Rows in groups and single rows, whole groups and a part of one.
    for (rows, classes) in [(1, 2), (64, 10), (20_001, 10), (700, 300), (9, 5000)] {
        let (one, losses) = total(rows, classes, 1);
        let sum: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
        assert!((one - sum).abs() <= 1e-13 * sum.abs(), "{rows}x{classes}: {one} for {sum}");
        assert!(rows == 1 || losses.iter().any(|&loss| loss > 1.0));
        for threads in [2, 7] {
            assert_eq!(
                total(rows, classes, threads).0.to_bits(),
                one.to_bits(),
                "{rows}x{classes}"
            );
        }
    }
}

#[test]
fn the_total_of_no_rows_is_zero() {
    assert_eq!(total(0, 3, 2).0, 0.0);
}
