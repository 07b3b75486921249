//! What is written, what is read, and what changes from step to step.

use softlabel_core::Temperature;
use softlabel_distill::{
    ClassMatch, Distillation, DistillationSchedule, Divergence, Error, SoftLoss, SoftScale,
};
use softlabel_losses::{CrossEntropy, Target};
use softlabel_targets::Schedule;

use crate::{labels, number, soft, temperature, wave};

fn read(text: &str) -> Result<Distillation, String> {
    toml::from_str(&format!("soft_weight = 0.9\nhard_weight = 0.1\n{text}"))
        .map_err(|error| error.to_string())
}

#[test]
fn every_kind_has_a_name() {
    for (text, expected) in [
        ("", SoftLoss::default()),
        ("kind = 'forward'", Divergence::Forward.into()),
        ("kind = 'reverse'", Divergence::Reverse.into()),
        ("kind = 'jeffreys'", Divergence::Jeffreys.into()),
        (
            "kind = { jensen_shannon = { beta = 0.5 } }",
            Divergence::JensenShannon { beta: 0.5, continuous: false }.into(),
        ),
        ("kind = 'mse'", SoftLoss::SquaredError),
        ("kind = { dkd = { alpha = 1, beta = 8 } }", SoftLoss::Decoupled { alpha: 1.0, beta: 8.0 }),
        (
            "kind = { dist = { inter = 1, intra = 2 } }",
            SoftLoss::Relational { inter: 1.0, intra: 2.0 },
        ),
    ] {
        let found = read(&format!("temperature = 4\n{text}")).unwrap();
        assert_eq!(found.loss(), expected);
    }
    for (text, expected) in [("cosine", SoftLoss::Cosine), ("hard_label", SoftLoss::TeacherLabel)] {
        assert_eq!(read(&format!("temperature = 1\nkind = '{text}'")).unwrap().loss(), expected);
        assert_eq!(expected.name(), text);
    }
}

#[test]
fn what_is_written_reads_the_same() {
    let full = soft(SoftLoss::Decoupled { alpha: 1.0, beta: 8.0 }, 4.0)
        .with_scale(SoftScale::One)
        .with_standardization(true)
        .with_classes(ClassMatch::SliceTeacher)
        .with_student_temperature(temperature(2.0))
        .unwrap();
    let least = Distillation::new(temperature(4.0), 0.9, 0.1).unwrap();
    for distillation in [full, least] {
        let text = toml::to_string(&distillation).unwrap();
        assert_eq!(toml::from_str::<Distillation>(&text).unwrap(), distillation, "{text}");
        let schedule = DistillationSchedule::new(distillation).unwrap();
        assert_eq!(toml::from_str::<DistillationSchedule>(&text).unwrap(), schedule);
        assert_eq!(schedule.at(3, 10).unwrap(), distillation);
        let json = serde_json::to_string(&schedule).unwrap();
        assert_eq!(serde_json::from_str::<DistillationSchedule>(&json).unwrap(), schedule);
    }
}

#[test]
fn what_is_refused_is_named() {
    for (text, expected) in [
        ("temperature = 4\nreduction = 'mean'", "makes the soft term K times too small"),
        ("temperature = 4\nreduction = 'sum'", "unknown reduction `sum`, expected `batch_mean`"),
        ("temperature = 0", "temperature must be positive and finite, found 0"),
        (
            "temperature = 4\nkind = 'cosine'",
            "cosine does not depend on a temperature: expected 1, found 4",
        ),
        ("temperature = 4\nkind = { dkd = { alpha = 1 } }", "missing field `beta`"),
        (
            "temperature = 4\nkind = { dkd = { alpha = -1, beta = 8 } }",
            "alpha of dkd must be finite and not negative",
        ),
        ("temperature = 4\nkind = 'kl'", "unknown variant `kl`"),
        ("temperature = 4\nalpha = 0.5", "unknown field `alpha`"),
        ("temperature = 4\nclasses = 'pad'", "unknown variant `pad`"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert!(read("temperature = 4\nreduction = 'batch_mean'").is_ok());
}

#[test]
fn schedules_are_checked_over_their_whole_range() {
    let fixed = soft(Divergence::Forward, 4.0);
    let schedule = DistillationSchedule::new(fixed).unwrap();
    let falling = Schedule::linear(4.0, 0.0).unwrap();
    assert!(schedule.clone().with_temperature(falling.clone()).is_err());
    assert!(schedule.clone().with_soft_weight(Schedule::linear(1.0, -0.1).unwrap()).is_err());
    assert!(schedule.clone().with_soft_weight(Schedule::constant(0.0).unwrap()).is_err());
    let one = DistillationSchedule::new(soft(SoftLoss::Cosine, 1.0)).unwrap();
    let annealed = Schedule::cosine(4.0, 1.0).unwrap();
    assert!(matches!(one.with_temperature(annealed.clone()), Err(Error::NoTemperature { .. })));

    let annealed = schedule.with_temperature(annealed).unwrap().with_soft_weight(falling).unwrap();
    let half = annealed.at(5, 11).unwrap();
    assert!(
        (half.temperature().get() - 2.5).abs() < 1e-12 && (half.soft_weight() - 2.0).abs() < 1e-12
    );
    // At the last step neither side has a weight.
    assert!(matches!(annealed.at(10, 11), Err(Error::Weights { .. })));
    let labelled = annealed.with_hard_weight(Schedule::linear(0.0, 1.0).unwrap()).unwrap();

    // With no soft weight left: the labels alone, bit for bit, whatever the teacher says.
    let (student, labels) = (wave(&[5, 4], 0.1), labels(5, 4));
    let nothing = wave(&[5, 4], 0.0) * f64::NAN;
    let hard = CrossEntropy::new();
    let target = Target::Hard(&labels);
    let last = labelled.at(10, 11).unwrap().forward(&student, &nothing, &hard, target).unwrap();
    let plain = hard.forward(&student, target).unwrap();
    assert_eq!(number(&last).to_bits(), number(&plain).to_bits());
    assert_eq!(labelled.at(10, 11).unwrap().temperature(), Temperature::ONE);
}
