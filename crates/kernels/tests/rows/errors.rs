//! What does not fit is named, and what it was found too late for is not lost.

use std::mem::MaybeUninit;

use softlabel_kernels::rows::{
    Dense, DenseRows, Masses, MassesBy, Options, Outputs, Scale, Second, SecondShare, Target,
    TargetError, check_target, cross_entropy, cross_entropy_gradient, cross_entropy_in_place,
    spatial_cross_entropy, spatial_cross_entropy_gradient, spatial_cross_entropy_in_place,
};

fn message<'a>(change: impl FnOnce(&mut Target<'a, f32>)) -> String {
    let mut target = Target::labels(&[0, 2, 1], 1.0f32);
    change(&mut target);
    check_target(3, 3, &target).unwrap_err().to_string()
}

#[test]
fn lengths() {
    let none = Masses { label: 0.0f32, uniform: 0.0, dense: 0.0 };
    let five = [none; 5];
    assert_eq!(
        message(|target| target.masses = MassesBy::Class(&five)),
        "masses by class: expected 3 elements, found 5"
    );
    assert_eq!(
        message(|target| target.masses = MassesBy::Row(&five)),
        "masses by row: expected 3 elements, found 5"
    );
    assert_eq!(
        message(|target| target.dense = Dense::Vector(&[0.0; 2])),
        "dense vector: expected 3 elements, found 2"
    );
    assert_eq!(
        message(|target| target.dense = Dense::Matrix(&[0.0; 3])),
        "dense matrix: expected 9 elements, found 3"
    );
    assert_eq!(
        message(|target| target.dense = Dense::Rows(DenseRows::Mask(&[true; 8]))),
        "dense rows: expected 9 elements, found 8"
    );
    assert_eq!(
        message(|target| target.class_weights = Some(&[1.0; 4])),
        "class weights: expected 3 elements, found 4"
    );
    assert_eq!(
        message(|target| target.ignored = Some(&[true; 4])),
        "ignored: expected 3 elements, found 4"
    );
    assert_eq!(
        message(|target| target.labels = Some(&[1])),
        "labels: expected 3 elements, found 1"
    );
    let one = SecondShare::One(0.5);
    assert_eq!(
        message(|target| target.second = Some(Second { labels: &[1], share: one })),
        "second labels: expected 3 elements, found 1"
    );
    let rows = SecondShare::Rows(&[0.5]);
    assert_eq!(
        message(|target| target.second = Some(Second { labels: &[1, 1, 1], share: rows })),
        "shares of the second label: expected 3 elements, found 1"
    );
}

#[test]
fn labels() {
    assert_eq!(
        message(|target| target.labels = Some(&[0, -1, 3])),
        "the label of row 1 must be in 0..3, found -1"
    );
    assert_eq!(
        message(|target| {
            target.labels = Some(&[-100, i64::MIN, 3]);
            target.ignore_index = Some(-100);
            target.ignored = Some(&[false, true, false]);
        }),
        "the label of row 2 must be in 0..3, found 3"
    );
    let share = SecondShare::One(0.5);
    assert_eq!(
        message(|target| target.second = Some(Second { labels: &[0, 0, i64::MAX], share })),
        "the second label of row 2 must be in 0..3, found 9223372036854775807"
    );
    // A second label of a row that does not count is not looked at.
    let mut target = Target::labels(&[0, 1, 2], 1.0f32);
    target.second = Some(Second { labels: &[0, 5, 1], share });
    target.ignored = Some(&[false, true, false]);
    assert_eq!(check_target(3, 3, &target), Ok(()));
}

#[test]
fn no_labels_and_no_classes() {
    assert_eq!(
        message(|target| target.labels = None),
        "mass on the label needs labels, found none"
    );
    let masses = [Masses { label: 0.0f32, uniform: 0.0, dense: 0.0 }; 3];
    assert_eq!(
        message(|target| {
            target.labels = None;
            target.masses = MassesBy::Class(&masses);
        }),
        "masses by class needs labels, found none"
    );
    assert_eq!(check_target(1, 0, &Target::labels(&[0], 1.0f32)), Err(TargetError::NoClasses));
    assert_eq!(check_target(0, 0, &Target::labels(&[], 1.0f32)), Ok(()));
}

#[test]
fn nothing_is_written() {
    let target = Target::labels(&[0, 7], 1.0f32);
    let options = Options::default();
    let logits = [1.0f32; 6];
    let mut losses = [9.0; 2];
    let outputs = Outputs::losses(&mut losses);
    assert!(cross_entropy(&logits, 3, &target, &options, outputs, 1).is_err());
    let mut gradient = [MaybeUninit::new(9.0f32); 6];
    let outputs = Outputs::losses(&mut losses);
    let scale = Scale::All(1.0);
    let result =
        cross_entropy_gradient(&logits, 3, &target, &options, scale, &mut gradient, outputs, 1);
    assert!(result.is_err());
    // SAFETY: was made of a number.
    #[allow(unsafe_code)]
    let is_untouched = |entry: &MaybeUninit<f32>| unsafe { entry.assume_init() } == 9.0;
    assert!(gradient.iter().all(is_untouched));
    let mut logits = logits;
    let outputs = Outputs::losses(&mut losses);
    let result = cross_entropy_in_place(&mut logits, 3, &target, &options, scale, outputs, 1);
    assert!(result.is_err());
    assert_eq!((logits, losses), ([1.0; 6], [9.0; 2]));
}

/// Labels are looked at in parts, on several threads; it is always the first bad one that is named, and a second label
/// only if all first ones are classes.
#[test]
fn the_first_bad_label_of_many_rows_is_named() {
    const ROWS: usize = 40_000;
    let options = Options::default();
    let logits = vec![1.0f32; 3 * ROWS];
    let mut labels = vec![2i64; ROWS];
    let others = labels.clone();
    for row in [ROWS - 1, 25_003, 31_000] {
        labels[row] = 3;
    }
    let named = |error: TargetError| error.to_string();
    for threads in [1, 2, 5] {
        let mut losses = vec![0.0; ROWS];
        let target = Target::labels(&labels, 1.0f32);
        let outputs = Outputs::losses(&mut losses);
        let error = cross_entropy(&logits, 3, &target, &options, outputs, threads).unwrap_err();
        assert_eq!(named(error), "the label of row 25003 must be in 0..3, found 3");

        let share = SecondShare::One(0.5f32);
        let second = Some(Second { labels: &labels, share });
        let target = Target { second, ..Target::labels(&others, 1.0) };
        let mut given_up = logits.clone();
        let (outputs, scale) = (Outputs::losses(&mut losses), Scale::All(1.0));
        let error =
            cross_entropy_in_place(&mut given_up, 3, &target, &options, scale, outputs, threads)
                .unwrap_err();
        assert_eq!(named(error), "the second label of row 25003 must be in 0..3, found 3");
        assert_eq!(given_up, logits);
    }
}

/// What a call with bad labels says: of losses alone, with a gradient, and in place, where the logits must be left.
fn named(
    rows: usize,
    classes: usize,
    spatial: usize,
    target: &Target<f32>,
    threads: usize,
) -> String {
    let (options, scale) = (Options::default(), Scale::All(1.0));
    let logits = vec![1.0f32; rows * classes];
    let mut losses = vec![0.0; rows];
    let outputs = Outputs::losses(&mut losses);
    let forward =
        spatial_cross_entropy(&logits, classes, spatial, target, &options, outputs, threads);
    let mut gradient = vec![MaybeUninit::uninit(); logits.len()];
    let outputs = Outputs::losses(&mut losses);
    let backward = spatial_cross_entropy_gradient(
        &logits,
        classes,
        spatial,
        target,
        &options,
        scale,
        &mut gradient,
        outputs,
        threads,
    );
    assert_eq!(forward, backward);
    let mut given_up = logits.clone();
    let outputs = Outputs::losses(&mut losses);
    let in_place = spatial_cross_entropy_in_place(
        &mut given_up,
        classes,
        spatial,
        target,
        &options,
        scale,
        outputs,
        threads,
    );
    assert_eq!(forward, in_place);
    assert_eq!(given_up, logits);
    forward.unwrap_err().to_string()
}

/// Few and many classes, rows of several blocks, classes that are not contiguous: every path looks at its labels.
#[test]
fn a_late_bad_label_is_named_in_every_layout() {
    for (rows, classes, spatial) in [
        (40_000, 3, 1),
        (3000, 70, 1),
        (300, 1000, 1),
        (40, 5000, 1),
        (4096, 5, 512),
        (1024, 80, 256),
    ] {
        let mut labels = vec![1i64; rows];
        labels[rows - 1] = -1;
        labels[rows - 3] = classes as i64;
        labels[rows - 5] = -7;
        let expected = format!("the label of row {} must be in 0..{classes}, found", rows - 3);
        for threads in [1, 3] {
            let target = Target { ignore_index: Some(-7), ..Target::labels(&labels, 1.0f32) };
            let message = named(rows, classes, spatial, &target, threads);
            assert_eq!(message, format!("{expected} {classes}"));
            // The same by flags.
            let mut ignored = vec![false; rows];
            ignored[rows - 5] = true;
            let target = Target { ignored: Some(&ignored), ..Target::labels(&labels, 1.0f32) };
            let message = named(rows, classes, spatial, &target, threads);
            assert_eq!(message, format!("{expected} {classes}"));
        }
    }
}

/// Whether rows are checked in passing, before (class weights) or not to lose logits (in place): labels come first.
#[test]
fn a_bad_label_is_named_before_a_bad_row() {
    const ROWS: usize = 2000;
    let weights = [1.0f32, 2.0, 0.5];
    let mut shares: Vec<f32> = [0.5, 0.25, 0.25].into_iter().cycle().take(3 * ROWS).collect();
    shares[3] = 0.75;
    let masses = Masses { label: 0.5f32, uniform: 0.0, dense: 0.5 };
    let mut labels = vec![2i64; ROWS];
    let good = labels.clone();
    labels[ROWS - 1] = 3;
    for class_weights in [None, Some(&weights[..])] {
        let target = |labels| Target {
            masses: MassesBy::All(masses),
            dense: Dense::Rows(DenseRows::F32(&shares)),
            tolerance: Some(1e-4),
            class_weights,
            ..Target::labels(labels, 1.0)
        };
        let bad_row = named(ROWS, 3, 1, &target(&good), 2);
        assert_eq!(bad_row, "dense row 1: expected a sum of 1, found 1.25");
        let bad_label = named(ROWS, 3, 1, &target(&labels), 2);
        assert_eq!(bad_label, "the label of row 1999 must be in 0..3, found 3");
    }
}

#[test]
fn outputs_and_scales() {
    let target = Target::labels(&[0, 1], 1.0f32);
    let options = Options::default();
    let logits = [1.0f32; 6];
    let mut losses = [0.0; 2];
    let mut short = [0.0; 1];
    let mut flags = [false; 3];
    let outputs = Outputs::losses(&mut losses).with_log_sum_exp(&mut short);
    let error = cross_entropy(&logits, 3, &target, &options, outputs, 1).unwrap_err();
    assert_eq!(error.to_string(), "log_sum_exp: expected 2 elements, found 1");
    let outputs = Outputs::losses(&mut losses).with_correct(&mut flags);
    let error = cross_entropy(&logits, 3, &target, &options, outputs, 1).unwrap_err();
    assert_eq!(error.to_string(), "correct: expected 2 elements, found 3");
    let outputs = Outputs::losses(&mut losses);
    let error = cross_entropy(&logits[..5], 3, &target, &options, outputs, 1).unwrap_err();
    assert_eq!(error.to_string(), "logits: expected 6 elements, found 5");
    let scale = Scale::Rows(&[1.0; 3]);
    let mut in_place = logits;
    let outputs = Outputs::losses(&mut losses);
    let error = cross_entropy_in_place(&mut in_place, 3, &target, &options, scale, outputs, 1);
    assert_eq!(error.unwrap_err().to_string(), "gradient scales: expected 2 elements, found 3");
    let mut gradient = [MaybeUninit::uninit(); 5];
    let outputs = Outputs::losses(&mut losses);
    let error = cross_entropy_gradient(
        &logits,
        3,
        &target,
        &options,
        Scale::All(1.0),
        &mut gradient,
        outputs,
        1,
    );
    assert_eq!(error.unwrap_err().to_string(), "gradient: expected 6 elements, found 5");
    for spatial in [0, 3] {
        let outputs = Outputs::losses(&mut losses);
        let result = spatial_cross_entropy(&logits, 3, spatial, &target, &options, outputs, 1);
        assert!(matches!(result, Err(TargetError::Length { what: "losses", .. })));
    }
}
