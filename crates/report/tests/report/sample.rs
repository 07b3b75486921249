//! A made-up run, shaped like a real one: six arms, five seeds, noisy training labels.

use softlabel_metrics::{ReliabilityBin, ReliabilityDiagram};
use softlabel_results::{
    Arm, Calibration, Check, Comparison, DatasetSummary, Errors, Lesson, Metric, MetricTable,
    Provenance, Range, Row, RunState, SplitSizes, Statistic, Summary, Taught, Timing,
};

/// The seeds of the repeats.
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

/// Means of one row.
struct Means {
    accuracy: f64,
    nll: f64,
    brier: f64,
    ece: f64,
    confidence: f64,
    gap: f64,
    temperature: Option<f64>,
}

pub(crate) fn summary() -> Summary {
    let plain = || Calibration::NONE;
    let temperature = || Calibration::TEMPERATURE;
    let platt = || Calibration::named("platt");
    let rows = vec![
        row("hard", plain(), &means([0.8639, 0.6872, 0.2561, 0.0881, 0.9520, 4.91], None)),
        row(
            "hard",
            temperature(),
            &means([0.8639, 0.5214, 0.2312, 0.0304, 0.8712, 2.53], Some(1.944)),
        ),
        row("hard", platt(), &means([0.8583, 0.5397, 0.2358, 0.0342, 0.8801, 2.40], None)),
        row("smoothed", plain(), &means([0.8806, 0.5538, 0.2268, 0.0916, 0.7890, 2.11], None)),
        row(
            "smoothed",
            temperature(),
            &means([0.8806, 0.4891, 0.2104, 0.0297, 0.8734, 3.06], Some(0.688)),
        ),
        row("smoothed", platt(), &means([0.8778, 0.4963, 0.2127, 0.0279, 0.8692, 2.97], None)),
        row("student", plain(), &means([0.8444, 0.7313, 0.2798, 0.0952, 0.9396, 4.12], None)),
        row(
            "student_from_hard",
            plain(),
            &means([0.8611, 0.5722, 0.2421, 0.0539, 0.9150, 3.35], None),
        ),
        row(
            "student_from_smoothed",
            plain(),
            &means([0.8667, 0.5466, 0.2290, 0.0613, 0.8054, 2.24], None),
        ),
        row(
            "student_from_scaled",
            plain(),
            &means([0.8694, 0.5098, 0.2197, 0.0288, 0.8720, 2.80], None),
        ),
    ];
    let pairs = [(0, 1), (0, 2), (0, 3), (1, 4), (3, 4), (6, 7), (7, 8), (7, 9)];
    let comparisons = pairs.map(|(from, to)| Comparison::of(&rows[from], &rows[to]));
    let check = |row: &Row, metric, at_least: Option<f64>, at_most: Option<f64>| {
        let found = row.metrics.get(metric).map_or(f64::NAN, |statistic| statistic.mean);
        let passed =
            at_least.is_none_or(|least| found >= least) && at_most.is_none_or(|most| found <= most);
        Check { row: row.title(), metric, at_least, at_most, found, passed }
    };
    let checks = vec![
        check(&rows[0], Metric::Accuracy, Some(0.85), None),
        check(&rows[1], Metric::Ece, None, Some(0.04)),
        check(&rows[3], Metric::Ece, None, Some(0.05)),
    ];
    Summary {
        schema: Summary::SCHEMA.into(),
        name: "digits with noisy labels".into(),
        description: "Does smoothing help where labels are wrong?".into(),
        seeds: SEEDS.into(),
        dataset: DatasetSummary {
            name: "digits".into(),
            classes: 10,
            samples: SplitSizes { train: 1257, validation: 180, test: 360 },
            fingerprint: "sha256:5f1d0c2a9b7e4e3f".into(),
            label_noise: Some("20 % of the labels drawn anew from all classes".into()),
            changed_labels: over_seeds(0.1798, 0.004).values,
        },
        bins: 15,
        arms: arms(),
        rows,
        comparisons: comparisons.into(),
        checks,
    }
}

/// `hard` and `smoothed` teach three students at a temperature that rises, one of them through a map.
fn arms() -> Vec<Arm> {
    let errors = |share: f64| Errors {
        samples_by_class: vec![over_seeds(36.0, 0.0); 10],
        by_class: (0..10).map(|class| over_seeds(f64::from(class), 0.5)).collect(),
        count: over_seeds(45.0, 2.0),
        share: over_seeds(share, 0.002),
    };
    let arm = |name: &str, share: f64, taught: Option<Taught>| Arm {
        name: name.into(),
        taught,
        training_errors: errors(share / 10.0),
        test_errors: errors(share),
        class_bias: None,
        lessons: vec![Lesson {
            temperature: 1.0,
            wrong_class_mass: over_seeds(share, 0.001),
            class_dispersion: over_seeds(share / 20.0, 0.0001),
        }],
    };
    let by = |teacher: &str, calibration| {
        Some(Taught {
            teachers: vec![teacher.into()],
            calibration,
            temperature: Some(Range { least: 1.0, most: 4.0 }),
            soft_weight: Range { least: 0.9, most: 0.9 },
            hard_weight: Range { least: 0.1, most: 0.1 },
            kept_mass: None,
        })
    };
    vec![
        arm("hard", 0.1361, None),
        arm("smoothed", 0.1194, None),
        arm("student", 0.1556, None),
        arm("student_from_hard", 0.1389, by("hard", Calibration::NONE)),
        Arm {
            class_bias: Some(over_seeds(1.5, 0.25)),
            ..arm("student_from_smoothed", 0.1333, by("smoothed", Calibration::NONE))
        },
        arm("student_from_scaled", 0.1306, by("smoothed", Calibration::TEMPERATURE)),
    ]
}

pub(crate) fn provenance() -> Provenance {
    let arms = [
        "hard",
        "smoothed",
        "student",
        "student_from_hard",
        "student_from_smoothed",
        "student_from_scaled",
    ];
    let timing = |(index, arm): (usize, &str)| {
        SEEDS.map(|seed| Timing { arm: arm.into(), seed, seconds: 6.2 + index as f64 })
    };
    Provenance {
        schema: Provenance::SCHEMA.into(),
        softlabel: "0.1.0".into(),
        libtorch: "2.11.0".into(),
        device: "cpu".into(),
        threads: 2,
        state: RunState::Finished,
        arguments: vec!["run".into(), "recipes/digits.toml".into()],
        data_folder: None,
        recipe: "recipes/digits.toml".into(),
        overrides: vec!["noise.rate=0.2".into(), "seeds=[1, 2, 3, 4, 5]".into()],
        seeds: SEEDS.into(),
        dataset_fingerprint: "sha256:5f1d0c2a9b7e4e3f".into(),
        started_unix_seconds: 1_772_719_320,
        seconds: 273.4,
        timings: arms.into_iter().enumerate().flat_map(timing).collect(),
    }
}

/// The same run with its first seed alone.
pub(crate) fn single_seed() -> Summary {
    let mut summary = summary();
    summary.seeds.truncate(1);
    summary.dataset.changed_labels.truncate(1);
    for row in &mut summary.rows {
        let metrics = &mut row.metrics;
        let statistics = [
            &mut metrics.accuracy,
            &mut metrics.nll,
            &mut metrics.brier,
            &mut metrics.ece,
            &mut metrics.mean_confidence,
            &mut metrics.mean_logit_gap,
        ];
        for statistic in statistics.into_iter().chain(metrics.temperature.as_mut()) {
            *statistic = Statistic::of(statistic.values[..1].to_vec());
        }
    }
    summary.arms.clear();
    let rows = &summary.rows;
    summary.comparisons =
        vec![Comparison::of(&rows[0], &rows[1]), Comparison::of(&rows[0], &rows[3])];
    summary.checks.clear();
    summary
}

fn means(numbers: [f64; 6], temperature: Option<f64>) -> Means {
    let [accuracy, nll, brier, ece, confidence, gap] = numbers;
    Means { accuracy, nll, brier, ece, confidence, gap, temperature }
}

/// Rows of arms under maps that follow one another, or have names of their own.
pub(crate) fn composed() -> Summary {
    let mut summary = summary();
    let names = [
        "none",
        "temperature+isotonic",
        "ensemble_temperature+bias_corrected_temperature+isotonic",
        "all.of-beta",
    ];
    for (row, name) in summary.rows.iter_mut().zip(names) {
        row.arm = "hard".into();
        row.calibration = Calibration::named(name);
    }
    let rows = &summary.rows;
    summary.comparisons = vec![
        Comparison::of(&rows[0], &rows[1]),
        Comparison::of(&rows[1], &rows[2]),
        Comparison::of(&rows[2], &rows[3]),
    ];
    summary
}

/// Numbers around a mean, the same ones for the same mean.
fn over_seeds(mean: f64, spread: f64) -> Statistic {
    let noise = |seed: u64| {
        let mut mixed =
            ((mean * 1e4).round() as u64 * 31 + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 40) as f64 / f64::from(1 << 23) - 1.0
    };
    Statistic::of(SEEDS.map(|seed| mean + spread * noise(seed)).into())
}

fn row(arm: &str, calibration: Calibration, means: &Means) -> Row {
    Row {
        arm: arm.into(),
        calibration,
        metrics: MetricTable {
            accuracy: over_seeds(means.accuracy, 0.0095),
            nll: over_seeds(means.nll, 0.0312),
            brier: over_seeds(means.brier, 0.0121),
            ece: over_seeds(means.ece, 0.0072),
            mean_confidence: over_seeds(means.confidence, 0.0064),
            mean_logit_gap: over_seeds(means.gap, 0.17),
            temperature: means.temperature.map(|mean| over_seeds(mean, 0.052)),
        },
        degenerate_fits: Vec::new(),
        reliability: reliability(means.accuracy, means.confidence),
    }
}

/// Bins of 5 × 360 samples, more of them the nearer to full confidence; accuracies stray from the
/// confidence by what the means ask for.
pub(crate) fn reliability(accuracy: f64, confidence: f64) -> ReliabilityDiagram {
    const BINS: u32 = 15;
    let power = (2.0 * confidence - 1.0).max(0.1) / (1.0 - confidence);
    let bins = (0..BINS).map(|index| {
        let (lower, upper) =
            (f64::from(index) / f64::from(BINS), f64::from(index + 1) / f64::from(BINS));
        let share = upper.powf(power + 1.0) - lower.powf(power + 1.0);
        let count = (1800.0 * share).round() as u64;
        let middle = lower + 0.55 / f64::from(BINS);
        let stray =
            (accuracy - confidence) * (1.0 + 2.0 * (1.0 - middle)) + 0.02 * f64::from(index).sin();
        ReliabilityBin {
            lower,
            upper,
            count,
            mean_confidence: (count > 0).then_some(middle),
            accuracy: (count > 0).then_some((middle + stray).clamp(0.0, 1.0)),
        }
    });
    let bins: Vec<ReliabilityBin> = bins.collect();
    ReliabilityDiagram { samples: bins.iter().map(|bin| bin.count).sum(), bins }
}
