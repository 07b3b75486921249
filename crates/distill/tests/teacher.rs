//! A teacher that cannot be used wrongly: it never trains, never moves, and what it says fits.

// Clippy knows that test functions may panic, not that what they call may.
#![allow(clippy::unwrap_used, clippy::panic)]

use softlabel_core::Temperature;
use softlabel_distill::{Distillation, Error, Teacher, TeacherLogits};
use softlabel_losses::{CrossEntropy, Target};
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

#[test]
fn ids_are_checked() {
    let logits = || TeacherLogits::new(&Tensor::zeros([2, 3], (Kind::Float, Device::Cpu))).unwrap();
    assert!(matches!(logits().with_ids(&[4, 4]).unwrap_err(), Error::SampleTwice { sample: 4 }));
    assert!(matches!(logits().with_ids(&[4]).unwrap_err(), Error::TeacherBatch { found: 1, .. }));
}
