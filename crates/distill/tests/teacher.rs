//! A teacher that cannot be used wrongly: it never trains, never moves, and what it says fits.

// What is computed in f64 is compared with what is kept in f32.
#![allow(clippy::cast_possible_truncation)]
// Clippy knows that test functions may panic, not that what they call may.
#![allow(clippy::unwrap_used, clippy::panic)]

use softlabel_core::{Labels, Logits, Temperature};
use softlabel_distill::{Distillation, Error, Teacher, TeacherLogits};
use softlabel_losses::{CrossEntropy, Target};
use softlabel_posthoc::{
    AnyCalibrator, Calibrator, Error as CalibrationError, HistogramBinning, Method,
    TemperatureScaling, Zeros,
};
use softlabel_tensor::ScriptModule;
use tch::nn::{self, ModuleT, OptimizerConfig, VarStore};
use tch::{CModule, Device, Kind, Tensor};

const CLASSES: i64 = 3;
const IDS: [usize; 5] = [40, 7, 19, 3, 88];

fn inputs() -> Tensor {
    (Tensor::arange(20, (Kind::Float, Device::Cpu)) * 0.7).sin().view((5, 4))
}

/// A network with everything that differs between training and evaluation.
fn network(store: &VarStore) -> impl ModuleT + use<> {
    let root = store.root();
    nn::seq_t()
        .add(nn::linear(&root / "first", 4, 8, nn::LinearConfig::default()))
        .add(nn::batch_norm1d(&root / "norm", 8, nn::BatchNormConfig::default()))
        .add_fn_t(|x, train| x.dropout(0.5, train))
        .add(nn::linear(&root / "last", 8, CLASSES, nn::LinearConfig::default()))
}

/// The teacher, and handles to its variables.
fn teacher() -> (Teacher, Vec<(String, Tensor)>) {
    let store = VarStore::new(Device::Cpu);
    let module = network(&store);
    let mut variables: Vec<_> = store.variables().into_iter().collect();
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    (Teacher::module(store, module, CLASSES), variables)
}

#[test]
fn training_the_student_neither_flips_nor_moves_the_teacher() {
    let (teacher, variables) = teacher();
    let before: Vec<Tensor> = variables.iter().map(|(_, variable)| variable.copy()).collect();
    let said = teacher.logits(&IDS, &inputs()).unwrap();
    assert!(variables.iter().any(|(name, _)| name.contains("running_mean")), "{variables:?}");

    let store = VarStore::new(Device::Cpu);
    let student = network(&store);
    let mut optimizer = nn::Sgd::default().build(&store, 0.1).unwrap();
    let distillation = Distillation::new(Temperature::new(2.0).unwrap(), 0.9, 0.1).unwrap();
    let labels = Tensor::from_slice(&[0i64, 1, 2, 0, 1]);
    let start = store.variables()["first.weight"].copy();
    for _ in 0..10 {
        // Gradients in the inputs must not reach the teacher either.
        let inputs = inputs().set_requires_grad(true);
        let logits = teacher.logits(&IDS, &inputs).unwrap();
        assert!(!logits.requires_grad());
        let loss = distillation
            .forward(
                &student.forward_t(&inputs, true),
                &logits,
                &CrossEntropy::new(),
                Target::Hard(&labels),
            )
            .unwrap();
        optimizer.backward_step(&loss);
    }
    assert_ne!(store.variables()["first.weight"], start, "the student did not learn");
    for ((name, variable), before) in variables.iter().zip(&before) {
        assert_eq!(variable, before, "{name} moved");
        assert!(!variable.requires_grad() && !variable.grad().defined(), "{name} has a gradient");
    }
    assert_eq!(teacher.logits(&IDS, &inputs()).unwrap(), said);
}

#[test]
fn samples_do_not_depend_on_their_neighbours() {
    let (teacher, _) = teacher();
    let together = teacher.logits(&IDS, &inputs()).unwrap();
    let alone = teacher.logits(&[IDS[2]], &inputs().narrow(0, 2, 1)).unwrap();
    let error = f64::try_from((alone.get(0) - together.get(2)).abs().max()).unwrap();
    assert!(error < 1e-6, "{error}");
}

#[test]
fn a_network_that_trains_all_the_same_is_found_out() {
    let store = VarStore::new(Device::Cpu);
    let module = network(&store);
    let teacher = Teacher::function(store, CLASSES, move |x, _| Ok(module.forward_t(x, true)));
    let error = teacher.logits(&IDS, &inputs()).unwrap_err();
    assert!(
        matches!(&error, Error::TeacherChanged { variable } if variable.starts_with("norm.running")),
        "{error}"
    );
}

#[test]
fn a_teacher_that_is_written_to_from_outside_is_found_out() {
    let (teacher, mut variables) = teacher();
    let _ = teacher.logits(&IDS, &inputs()).unwrap();
    let (name, variable) = &mut variables[0];
    tch::no_grad(|| *variable += 1.0);
    let error = teacher.logits(&IDS, &inputs()).unwrap_err();
    assert!(matches!(&error, Error::TeacherChanged { variable } if variable == name), "{error}");
}

#[test]
fn a_nan_stops_with_the_id_of_its_sample() {
    for bad in [f64::NAN, f64::INFINITY] {
        let teacher = Teacher::function(VarStore::new(Device::Cpu), CLASSES, move |x, _| {
            let logits = x.f_narrow(1, 0, CLASSES)?;
            logits.f_masked_fill(&x.f_narrow(1, 3, 1)?.f_gt(0.9)?, bad)
        });
        let row = (0..5).find(|&row| inputs().double_value(&[row, 3]) > 0.9).unwrap();
        let sample = IDS[usize::try_from(row).unwrap()];
        let error = teacher.logits(&IDS, &inputs()).unwrap_err();
        assert!(matches!(error, Error::TeacherNotFinite { sample: found } if found == sample));
        assert!(error.to_string().contains(&format!("sample {sample} ")), "{error}");
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let (teacher, _) = teacher();
    let said = |result: softlabel_distill::Result<Tensor>| result.unwrap_err().to_string();
    assert_eq!(
        said(teacher.logits(&IDS[..4], &inputs())),
        "teacher: expected 4 inputs, one a sample, found 5"
    );
    let of = |classes, forward: fn(&Tensor) -> Result<Tensor, tch::TchError>| {
        Teacher::function(VarStore::new(Device::Cpu), classes, move |x, _| forward(x))
    };
    assert_eq!(
        said(of(10, |x| x.f_narrow(1, 0, 3)).logits(&IDS, &inputs())),
        "teacher: expected logits of 10 classes, found shape [5, 3]"
    );
    assert_eq!(
        said(of(3, |x| x.f_narrow(1, 0, 3)?.f_narrow(0, 0, 2)).logits(&IDS, &inputs())),
        "teacher: expected 5 rows of logits, one a sample, found 2"
    );
    // Where a network computes is where its variables are, and it needs none to be somewhere else.
    let store = VarStore::new(Device::Cuda(0));
    let elsewhere = Teacher::function(store, 3, |x, _| x.f_narrow(1, 0, 3));
    let error = elsewhere.logits(&IDS, &inputs()).unwrap_err();
    assert!(
        matches!(error, Error::TeacherDevice { teacher: Device::Cuda(0), inputs: Device::Cpu }),
        "{error}"
    );
    let refused = said(of(3, |x| x.f_matmul(x)).logits(&IDS, &inputs()));
    assert!(refused.starts_with("libtorch: "), "{refused}");
    let elsewhere = Tensor::zeros([5, 4], (Kind::Float, Device::Cpu));
    let logits = TeacherLogits::new(&elsewhere).unwrap().with_ids(&IDS).unwrap();
    assert_eq!(
        said(Teacher::from(logits).logits(&[7, 8], &inputs().narrow(0, 0, 2))),
        "sample 8 was asked for, but is none of the 5 that the teacher has seen"
    );
    let short = Teacher::recorded(3, |_| Ok(vec![0.0; 3]));
    assert!(said(short.logits(&IDS, &inputs())).contains("expected 5 rows of logits"));
}

#[test]
fn every_kind_of_teacher_says_the_same() {
    let (network, _) = teacher();
    let expected = network.logits(&IDS, &inputs()).unwrap();

    let mut forward = |x: &[Tensor]| {
        vec![network.logits(&IDS[..usize::try_from(x[0].size()[0]).unwrap()], &x[0]).unwrap()]
    };
    let traced = CModule::create_by_tracing("Net", "forward", &[inputs()], &mut forward).unwrap();
    let folder = tempfile::tempdir().unwrap();
    traced.save(folder.path().join("net.pt")).unwrap();
    let bytes = std::fs::read(folder.path().join("net.pt")).unwrap();
    let script = Teacher::script(ScriptModule::from_bytes(&bytes, Device::Cpu).unwrap(), CLASSES);

    let values = Vec::<f32>::try_from(expected.view(-1)).unwrap();
    let recorded = Teacher::recorded(CLASSES, move |ids| {
        let row = |id| IDS.iter().position(|known| known == id).ok_or("unknown");
        let rows: Result<Vec<_>, _> = ids
            .iter()
            .map(|id| Ok(values.chunks_exact(3).nth(row(id)?).unwrap_or_default()))
            .collect();
        rows.map(|rows| rows.concat()).map_err(|error: &str| error.into())
    });
    let memory = Teacher::from(TeacherLogits::new(&expected).unwrap().with_ids(&IDS).unwrap());

    let order = [3i64, 0, 4, 1, 2];
    let ids: Vec<usize> = order.iter().map(|&at| IDS[usize::try_from(at).unwrap()]).collect();
    let at = Tensor::from_slice(&order);
    let (inputs, expected) = (inputs().index_select(0, &at), expected.index_select(0, &at));
    for (name, teacher) in
        [("network", network), ("script", script), ("recorded", recorded), ("memory", memory)]
    {
        let error = (teacher.logits(&ids, &inputs).unwrap() - &expected).abs().max();
        assert!(f64::try_from(error).unwrap() < 1e-6, "{name}");
        let scaled = teacher.scaled(Temperature::new(4.0).unwrap()).unwrap();
        let scaled = scaled.scaled(Temperature::new(0.5).unwrap()).unwrap();
        let error = (scaled.logits(&ids, &inputs).unwrap() - &expected / 2.0).abs().max();
        assert!(f64::try_from(error).unwrap() < 1e-6, "{name}, scaled");
    }
}

/// Maps of three classes: one made of two, and one that makes zeros.
fn maps() -> [AnyCalibrator; 2] {
    let held_out: Vec<f64> = (0..60).map(|at| (f64::from(at) * 0.9).sin() * 3.0).collect();
    let labels: Vec<usize> = (0..20).map(|at| at * 7 % 3).collect();
    let (logits, labels) = (Logits::new(held_out, 3).unwrap(), Labels::new(&labels, 3).unwrap());
    let composed = "temperature+beta".parse::<Method>().unwrap().fit(&logits, &labels).unwrap();
    let bins = vec![vec![(0.35, 0.0), (1.0, 0.7)]; 3];
    [composed, HistogramBinning::from_bins(3, bins, Zeros::Keep).unwrap().into()]
}

#[test]
fn a_map_is_applied_to_the_logits_of_every_kind_of_teacher() {
    let (network, _) = teacher();
    let raw = network.logits(&IDS, &inputs()).unwrap();
    let values = Vec::<f32>::try_from(raw.view(-1)).unwrap();
    let memory = || Teacher::from(TeacherLogits::new(&raw).unwrap().with_ids(&IDS).unwrap());
    let recorded = || {
        let values = values.clone();
        Teacher::recorded(CLASSES, move |ids| {
            assert_eq!(ids, IDS);
            Ok(values.clone())
        })
    };
    let network = || teacher_of(&raw);
    let [composed, zeros] = maps();
    for map in [&composed, &zeros] {
        let logits = Logits::new(&values, 3).unwrap();
        let truth: Vec<f32> =
            map.apply(&logits).unwrap().as_slice().iter().map(|&value| value as f32).collect();
        for (name, teacher) in
            [("memory", memory()), ("recorded", recorded()), ("network", network())]
        {
            let teacher = teacher.calibrated(map.clone()).unwrap();
            let found = teacher.logits(&IDS, &inputs()).unwrap();
            assert_eq!(Vec::<f32>::try_from(found.view(-1)).unwrap(), truth, "{name}");
            // On top of it, in turn: a temperature, another map, a temperature.
            let further = teacher.scaled(Temperature::new(2.0).unwrap()).unwrap();
            let further = further.calibrated(zeros.clone()).unwrap();
            let further = further.scaled(Temperature::new(0.5).unwrap()).unwrap();
            let halved: Vec<f32> = truth.iter().map(|value| value * 0.5).collect();
            let again = zeros.apply(&Logits::new(&halved, 3).unwrap()).unwrap();
            let again: Vec<f32> =
                again.as_slice().iter().map(|&value| value as f32 * 2.0).collect();
            let found = further.logits(&IDS, &inputs()).unwrap();
            assert_eq!(Vec::<f32>::try_from(found.view(-1)).unwrap(), again, "{name}");
        }
    }
    let truth = zeros.apply(&Logits::new(&values, 3).unwrap()).unwrap();
    assert!(truth.as_slice().contains(&f64::NEG_INFINITY), "{truth:?}");
}

/// A network that says these logits.
fn teacher_of(logits: &Tensor) -> Teacher {
    let logits = logits.copy();
    Teacher::function(VarStore::new(Device::Cpu), CLASSES, move |_, _| Ok(logits.copy()))
}

#[test]
fn a_fitted_temperature_leaves_logits_divided_by_it() {
    let (network, _) = teacher();
    let raw = network.logits(&IDS, &inputs()).unwrap();
    let temperature = Temperature::new(1.7).unwrap();
    let map: AnyCalibrator = TemperatureScaling::from_temperature(temperature, 3).unwrap().into();
    let expected = &raw * temperature.inverse();
    let said = |teacher: Teacher| {
        teacher.calibrated(map.clone()).unwrap().logits(&IDS, &inputs()).unwrap()
    };
    let memory = TeacherLogits::new(&raw).unwrap();
    let whole = Tensor::from_slice(&[0i64, 1, 2, 3, 4]);
    assert_eq!(memory.calibrated(&map).unwrap().batch(&whole).unwrap(), expected);
    assert_eq!(said(Teacher::from(memory.with_ids(&IDS).unwrap())), expected);
    assert_eq!(said(network), expected);
}

#[test]
fn a_map_neither_hides_what_is_wrong_nor_fits_other_classes() {
    let [_, zeros] = maps();
    let raw = Tensor::from_slice(&[1f32, 2.0, 0.0, 0.5, f32::NEG_INFINITY, 3.0]).view((2, 3));
    // A class that no map made impossible.
    let teacher = teacher_of(&raw).calibrated(zeros.clone()).unwrap();
    let error = teacher.logits(&[4, 9], &inputs().narrow(0, 0, 2)).unwrap_err();
    assert!(matches!(error, Error::TeacherNotFinite { sample: 9 }), "{error}");
    let memory = TeacherLogits::new(&Tensor::zeros([2, 3], (Kind::Float, Device::Cpu))).unwrap();
    let four = TemperatureScaling::from_temperature(Temperature::ONE, 4).unwrap();
    let error = Teacher::from(memory).calibrated(four.into()).unwrap_err();
    let expected = CalibrationError::ClassCount { expected: 4, found: 3 }.to_string();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn ids_are_checked() {
    let logits = || TeacherLogits::new(&Tensor::zeros([2, 3], (Kind::Float, Device::Cpu))).unwrap();
    assert!(matches!(logits().with_ids(&[4, 4]).unwrap_err(), Error::SampleTwice { sample: 4 }));
    assert!(matches!(logits().with_ids(&[4]).unwrap_err(), Error::TeacherBatch { found: 1, .. }));
}
