//! Maps with a convex objective on degenerate inputs: where a fit says that it is at the optimum its gradient vanishes,
//! by the formula of the objective, whose only zeros are minima.

// Formulas name their indices.
#![allow(clippy::needless_range_loop)]

use softlabel_core::{Error as Input, Labels, Logits};
use softlabel_posthoc::{
    AnyCalibrator, Calibrator, ClassTemperature, DirichletCalibration, Error, FitOutcome,
    MatrixRidge, MatrixScaling, Odir, StructuredMatrixScaling, StructuredVectorScaling,
    TemperatureMixture, VectorRidge,
};

/// Numbers in −3..3 that look like chance.
fn numbers(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64 * 6.0 - 3.0
    }
}

struct Case {
    name: String,
    classes: usize,
    logits: Vec<f64>,
    labels: Vec<usize>,
}

fn cases(seed: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    for (classes, rows) in [(3, 60), (5, 40), (4, 4), (2, 30)] {
        let mut number = numbers(seed + 100 * classes as u64);
        let plain: Vec<f64> = (0..rows * classes).map(|_| number()).collect();
        let top = |row: &[f64]| (0..classes).max_by(|&i, &j| row[i].total_cmp(&row[j])).unwrap();
        let drawn: Vec<usize> = plain
            .chunks(classes)
            .enumerate()
            .map(|(i, row)| if number() > 0.0 { top(row) } else { i % classes })
            .collect();
        let absent = drawn.iter().map(|l| if *l == 1 { 0 } else { *l }).collect::<Vec<_>>();
        let best: Vec<usize> = plain.chunks(classes).map(top).collect();
        let change = |f: &dyn Fn(usize, &[f64]) -> f64| -> Vec<f64> {
            plain.chunks(classes).flat_map(|row| (0..classes).map(|k| f(k, row))).collect()
        };
        let inputs = [
            ("as they are", plain.clone()),
            ("the first two columns the same", change(&|k, row| row[k.max(1)])),
            ("all columns the same", change(&|_, row| row[0])),
            ("a constant column", change(&|k, row| if k == 1 { 0.7 } else { row[k] })),
            ("a large constant column", change(&|k, row| if k == 1 { 1e4 } else { row[k] })),
            ("times 1e-8", change(&|k, row| 1e-8 * row[k])),
            ("times 1e-30", change(&|k, row| 1e-30 * row[k])),
            ("times 1e-2", change(&|k, row| 1e-2 * row[k])),
            ("times 1e-4", change(&|k, row| 1e-4 * row[k])),
            ("times 1e6", change(&|k, row| 1e6 * row[k])),
            ("0 and -800", change(&|k, row| if k == top(row) { 0.0 } else { -800.0 })),
            ("0 or -800", change(&|k, row| if row[k] > 0.0 { 0.0 } else { -800.0 })),
        ];
        for (input, logits) in inputs {
            for (rule, labels) in [
                ("drawn", drawn.clone()),
                ("a class absent", absent.clone()),
                ("one class", vec![1; rows]),
                ("the largest", best.clone()),
            ] {
                let name = format!("{input}, {rule}, {classes} classes, seed {seed}");
                cases.push(Case { name, classes, logits: logits.clone(), labels });
            }
        }
    }
    cases
}

/// ln softmax of every row.
fn normalized(rows: &[f64], classes: usize) -> Vec<f64> {
    let of_row = |row: &[f64]| {
        let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = row.iter().map(|z| (z - highest).exp()).sum();
        row.iter().map(|z| z - highest - total.ln()).collect::<Vec<_>>()
    };
    rows.chunks(classes).flat_map(of_row).collect()
}

/// The mean loss of q = softmax(Wx + b), its derivatives by W, row by row, and by b, and how large x is, by column.
struct Slopes {
    loss: f64,
    weights: Vec<f64>,
    intercepts: Vec<f64>,
    sizes: Vec<f64>,
    /// What rounding can change of a probability.
    rounding: f64,
}

fn slopes(x: &[f64], labels: &[usize], w: &[f64], b: &[f64]) -> Slopes {
    let (classes, n) = (b.len(), labels.len() as f64);
    let column = |j: usize| x.iter().skip(j).step_by(classes);
    let mut found = Slopes {
        loss: 0.0,
        weights: vec![0.0; classes * classes],
        intercepts: vec![0.0; classes],
        sizes: (0..classes).map(|j| column(j).fold(0.0, |s: f64, x| s.max(x.abs()))).collect(),
        rounding: 0.0,
    };
    for (row, &label) in x.chunks(classes).zip(labels) {
        let score =
            |k: usize| (0..classes).map(|j| w[k * classes + j] * row[j]).sum::<f64>() + b[k];
        let l = normalized(&(0..classes).map(score).collect::<Vec<_>>(), classes);
        found.loss -= l[label] / n;
        let product = |at: usize| (w[at] * row[at % classes]).abs();
        let largest = (0..classes * classes).map(product).fold(0.0, f64::max);
        found.rounding = found.rounding.max(4.0 * f64::EPSILON * largest);
        for k in 0..classes {
            let off = (l[k].exp() - f64::from(u8::from(k == label))) / n;
            found.intercepts[k] += off;
            for j in 0..classes {
                found.weights[k * classes + j] += off * row[j];
            }
        }
    }
    found
}

fn occurs(case: &Case, class: usize) -> bool {
    case.labels.contains(&class)
}

/// What is wrong with the place that `map` says is the optimum, whose weight off the diagonal is `lambda`, and of b
/// `mu`, as factors of sums of squares.
fn wrong(
    case: &Case,
    x: &[f64],
    w: &[f64],
    b: &[f64],
    [lambda, mu]: [f64; 2],
    outcome: FitOutcome,
) -> Option<String> {
    let classes = case.classes;
    let found = slopes(x, &case.labels, w, b);
    let floor = std::f64::consts::LN_2 / case.labels.len() as f64;
    let one_class = case.labels.iter().all(|label| *label == case.labels[0]);
    let endless = outcome == FitOutcome::Separable || (one_class && outcome == FitOutcome::Flat);
    if endless && found.loss <= floor * (1.0 + 1e-7) {
        return None;
    }
    // W·x + b loses an ulp of its terms, which no W and b can give back.
    let bound = 1e-6 + found.rounding;
    for k in (0..classes).filter(|&k| occurs(case, k)) {
        let slope = found.intercepts[k] + 2.0 * mu * b[k];
        if slope.abs() > bound {
            return Some(format!("by b_{k}: {slope}, {outcome:?}"));
        }
        for j in 0..classes {
            let penalty = if k == j { 0.0 } else { 2.0 * lambda * w[k * classes + j] };
            let slope = found.weights[k * classes + j] + penalty;
            if slope.abs() > bound * found.sizes[j] {
                return Some(format!("by W_{k}{j}: {slope} of {}, {outcome:?}", found.sizes[j]));
            }
        }
    }
    None
}

/// F − min F of a structured map is at most |∇F|²/(4λ), λ being the weakest ridge.
fn structured(
    case: &Case,
    map: &TemperatureMixture,
    w: &[f64],
    b: &[f64],
    full: bool,
) -> Option<String> {
    let (classes, n) = (case.classes as f64, case.labels.len() as f64);
    let logits = Logits::new(case.logits.clone(), case.classes).unwrap();
    let x = map.apply(&logits).unwrap().as_slice().to_vec();
    let found = slopes(&x, &case.labels, w, b);
    let (on, off) = (classes / n, classes * (classes - 1.0) / n);
    let mut square = 0.0;
    for k in 0..case.classes {
        square += (found.intercepts[k] + 2.0 * on * b[k]).powi(2);
        for j in 0..case.classes {
            let at = k * case.classes + j;
            let strength = if k == j { on } else { off };
            if k == j || full {
                let change = w[at] - f64::from(u8::from(k == j));
                square += (found.weights[at] + 2.0 * strength * change).powi(2);
            }
        }
    }
    let excess = square / (4.0 * on.min(off));
    if excess <= 1e-12 { None } else { Some(format!("{excess} above the optimum")) }
}

/// What is wrong with a temperature for every class: the derivatives by each ln β, over the size of β·ln p, and by all
/// of them at once.
fn class_temperature(case: &Case, logits: &Logits<'_, f64>, labels: &Labels) -> Option<String> {
    let map = match ClassTemperature::fit(logits, labels) {
        Err(error) => return Some(error.to_string()),
        Ok(map) => map,
    };
    let outcome = map.diagnostics().unwrap().outcome;
    let classes = case.classes;
    let x = normalized(&case.logits, classes);
    let mut w = vec![0.0; classes * classes];
    w.iter_mut().step_by(classes + 1).zip(map.temperatures()).for_each(|(w, t)| *w = t.inverse());
    let found = slopes(&x, &case.labels, &w, &vec![0.0; classes]);
    let floor = std::f64::consts::LN_2 / case.labels.len() as f64;
    if outcome == FitOutcome::Separable && found.loss <= floor * (1.0 + 1e-12) {
        return None;
    }
    let mut common = 0.0;
    for k in (0..classes).filter(|&k| occurs(case, k)) {
        let (beta, slope) = (w[k * classes + k], found.weights[k * classes + k]);
        common += beta * slope;
        let bound = 1e-6 * (found.sizes[k] * beta).max(1.0);
        if (beta * slope).abs() > bound {
            return Some(format!("by ln β_{k}: {} of {bound}, {outcome:?}", beta * slope));
        }
    }
    // T and ln p have a rounding of their own, which large β·ln p make larger.
    let scores = (0..classes).map(|k| w[k * (classes + 1)] * found.sizes[k]).fold(0.0, f64::max);
    let rounding = 16.0 * f64::EPSILON * scores * scores;
    if common.abs() > 1e-6 + rounding {
        return Some(format!("by all ln β: {common}, {outcome:?}"));
    }
    None
}

fn problems(case: &Case) -> Vec<String> {
    let logits = Logits::new(case.logits.clone(), case.classes).unwrap();
    let labels = Labels::new(&case.labels, case.classes).unwrap();
    let pairs = (case.classes * (case.classes - 1)) as f64;
    let mut problems = Vec::new();
    let mut note = |what: &str, problem: Option<String>| {
        problems.extend(problem.map(|problem| format!("{}: {what}: {problem}", case.name)));
    };
    let of = |map: AnyCalibrator| map.diagnostics().unwrap().outcome;
    match MatrixScaling::fit(&logits, &labels) {
        Err(error) => note("matrix", Some(error.to_string())),
        Ok(map) => note(
            "matrix",
            wrong(
                case,
                &case.logits,
                map.weights(),
                map.intercepts(),
                [0.0; 2],
                of(map.clone().into()),
            ),
        ),
    }
    let x = normalized(&case.logits, case.classes);
    for (lambda, mu) in [(0.0, 0.0), (1e-3, 0.0), (0.0, 1e-3), (1e-6, 1e-6), (0.1, 0.1)] {
        let what = format!("dirichlet {lambda} {mu}");
        match DirichletCalibration::fit(&logits, &labels, Odir::new(lambda, mu).unwrap()) {
            Err(error) => note(&what, Some(error.to_string())),
            Ok(map) => {
                let penalty = [lambda / pairs, mu / case.classes as f64];
                note(
                    &what,
                    wrong(
                        case,
                        &x,
                        map.weights(),
                        map.intercepts(),
                        penalty,
                        of(map.clone().into()),
                    ),
                );
            }
        }
    }
    note("class_temperature", class_temperature(case, &logits, &labels));
    match StructuredVectorScaling::fit(&logits, &labels, VectorRidge::default()) {
        Err(error) => note("svs", Some(error.to_string())),
        Ok(map) => {
            let mixture =
                TemperatureMixture::from_parameters(map.temperature(), map.uniform(), case.classes);
            let mut w = vec![0.0; case.classes * case.classes];
            w.iter_mut().step_by(case.classes + 1).zip(map.weights()).for_each(|(w, v)| *w = *v);
            note("svs", structured(case, &mixture.unwrap(), &w, map.intercepts(), false));
        }
    }
    match StructuredMatrixScaling::fit(&logits, &labels, MatrixRidge::default()) {
        Err(error) => note("sms", Some(error.to_string())),
        Ok(map) => {
            let mixture =
                TemperatureMixture::from_parameters(map.temperature(), map.uniform(), case.classes);
            note("sms", structured(case, &mixture.unwrap(), map.weights(), map.intercepts(), true));
        }
    }
    problems
}

#[test]
fn the_gradient_vanishes_on_degenerate_inputs() {
    let problems: Vec<String> = (1..=3).flat_map(cases).flat_map(|case| problems(&case)).collect();
    assert!(problems.is_empty(), "{}\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn fewer_rows_than_classes_are_refused() {
    let logits = Logits::new(&[0.5, 0.2, 0.1, 0.0, 0.3, 0.9], 3).unwrap();
    let labels = Labels::new(&[0, 2], 3).unwrap();
    let odir = Odir::new(0.1, 0.1).unwrap();
    for error in [
        MatrixScaling::fit(&logits, &labels).unwrap_err(),
        DirichletCalibration::fit(&logits, &labels, odir).unwrap_err(),
        StructuredVectorScaling::fit(&logits, &labels, VectorRidge::default()).unwrap_err(),
        StructuredMatrixScaling::fit(&logits, &labels, MatrixRidge::default()).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Input(Input::MoreClassesThanRows { .. })), "{error:?}");
    }
}
