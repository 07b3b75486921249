//! Maps as JSON: what is written comes back, and what is wrong is named.

use softlabel_core::{Error as Input, Labels, Logits, Temperature};
use softlabel_posthoc::{
    AnyCalibrator, BetaCalibration, BetaCurve, BetaForm, BiasCorrectedTemperature, Calibrator,
    DirichletCalibration, Error, HistogramBinning, HistogramOptions, IsotonicCalibration,
    IsotonicOptions, MatrixScaling, Odir, PlattScaling, TemperatureScaling, VectorScaling, Zeros,
};

use crate::{checked, noisy};

const TEMPERATURE: &str = r#"{
  "schema": "softlabel.calibrator/1",
  "method": "temperature",
  "classes": 10,
  "parameters": {
    "temperature": 1.5
  }
}"#;

const PLATT: &str = r#"{
  "schema": "softlabel.calibrator/1",
  "method": "platt",
  "classes": 2,
  "parameters": {
    "intercepts": [
      0.0,
      -0.5
    ],
    "slopes": [
      1.0,
      2.0
    ]
  }
}"#;

const ISOTONIC: &str = r#"{
  "schema": "softlabel.calibrator/1",
  "method": "isotonic",
  "classes": 2,
  "parameters": {
    "interpolation": "linear",
    "knots": [
      [
        [
          0.25,
          0.0
        ],
        [
          0.75,
          1.0
        ]
      ]
    ],
    "zeros": {
      "clip": 1e-6
    }
  }
}"#;

fn read_error(json: &str) -> Error {
    AnyCalibrator::from_json(json).unwrap_err()
}

/// The document of a temperature with `from` replaced by `to`.
fn changed(from: &str, to: &str) -> String {
    assert!(TEMPERATURE.contains(from));
    TEMPERATURE.replace(from, to)
}

#[test]
fn documents_look_as_documented() {
    let temperature = Temperature::new(1.5).unwrap();
    let temperature = TemperatureScaling::from_temperature(temperature, 10).unwrap();
    assert_eq!(AnyCalibrator::from(temperature).to_json().unwrap(), TEMPERATURE);
    let platt = PlattScaling::from_parameters(&[1.0, 2.0], &[0.0, -0.5]).unwrap();
    assert_eq!(AnyCalibrator::from(platt).to_json().unwrap(), PLATT);
    let knots = vec![vec![(0.25, 0.0), (0.75, 1.0)]];
    let isotonic = IsotonicCalibration::from_knots(2, knots, IsotonicOptions::default()).unwrap();
    assert_eq!(AnyCalibrator::from(isotonic).to_json().unwrap(), ISOTONIC);
}

#[test]
fn fitted_maps_come_back_to_the_bit() {
    let (logits, labels) = noisy(60);
    let (logits, labels) = checked(&logits, &labels, 3);
    let temperature = TemperatureScaling::fit(&logits, &labels).unwrap();
    let platt = PlattScaling::fit(&logits, &labels).unwrap();
    let options = IsotonicOptions::default();
    let isotonic = IsotonicCalibration::fit(&logits, &labels, options).unwrap();
    let bias_corrected = BiasCorrectedTemperature::fit(&logits, &labels).unwrap();
    let vector = VectorScaling::fit(&logits, &labels).unwrap();
    let matrix = MatrixScaling::fit(&logits, &labels).unwrap();
    let odir = Odir::new(0.1, 0.1).unwrap();
    let dirichlet = DirichletCalibration::fit(&logits, &labels, odir).unwrap();
    let histogram = HistogramBinning::fit(&logits, &labels, HistogramOptions::default()).unwrap();
    let beta = BetaCalibration::fit(&logits, &labels, BetaForm::Abm).unwrap();
    let maps: [AnyCalibrator; 9] = [
        temperature.clone().into(),
        platt.clone().into(),
        isotonic.into(),
        histogram.into(),
        beta.into(),
        bias_corrected.into(),
        vector.into(),
        matrix.into(),
        dirichlet.into(),
    ];
    for map in maps {
        let read = AnyCalibrator::from_json(&map.to_json().unwrap()).unwrap();
        assert_eq!(read, map);
        assert_eq!(read.diagnostics(), map.diagnostics());
        assert_eq!(read.apply(&logits).unwrap(), map.apply(&logits).unwrap());
    }
    // A single map is written as the same document.
    let json = serde_json::to_string(&temperature).unwrap();
    assert_eq!(serde_json::from_str::<TemperatureScaling>(&json).unwrap(), temperature);
    let json = serde_json::to_string(&platt).unwrap();
    assert_eq!(serde_json::from_str::<PlattScaling>(&json).unwrap(), platt);
    assert_eq!(AnyCalibrator::from_json(&json).unwrap(), AnyCalibrator::from(platt));
}

/// Where there is no optimum, too, every number is one that JSON has.
#[test]
fn degenerate_fits_come_back_to_the_bit() {
    for labels in [[0; 4], [1; 4]] {
        let logits = Logits::new([700.0, 0.0].repeat(4), 2).unwrap();
        let labels = Labels::new(&labels, 2).unwrap();
        let map = AnyCalibrator::from(TemperatureScaling::fit(&logits, &labels).unwrap());
        assert_eq!(AnyCalibrator::from_json(&map.to_json().unwrap()).unwrap(), map);
        let map = AnyCalibrator::from(PlattScaling::fit(&logits, &labels).unwrap());
        assert_eq!(AnyCalibrator::from_json(&map.to_json().unwrap()).unwrap(), map);
    }
}

#[test]
fn another_schema_is_refused() {
    // A newer one is recognized whatever else it holds.
    let newer = r#"{"schema": "softlabel.calibrator/2", "maps": []}"#;
    let error = read_error(newer);
    assert!(matches!(error, Error::NewerSchema { found: 2, supported: 1 }), "{error}");
    for schema in ["softlabel.summary/1", "softlabel.calibrator/", "softlabel.calibrator/0", ""] {
        let error = read_error(&changed("softlabel.calibrator/1", schema));
        assert!(matches!(&error, Error::UnknownSchema { found, .. } if found == schema), "{error}");
    }
    assert!(matches!(read_error(r#"{"temperature": 1.5}"#), Error::Json(_)));
    // Deserializing without `from_json` checks the schema as well.
    let newer = changed("calibrator/1", "calibrator/3");
    let error = serde_json::from_str::<TemperatureScaling>(&newer).unwrap_err().to_string();
    assert!(error.contains("version 3"), "{error}");
}

#[test]
fn another_method_is_refused() {
    let error = read_error(&changed(r#""temperature","#, r#""magic","#));
    let expected = r#"unknown method "magic", expected one of temperature, platt, isotonic, "#;
    assert!(error.to_string().starts_with(expected), "{error}");
    let error = serde_json::from_str::<PlattScaling>(TEMPERATURE).unwrap_err().to_string();
    assert!(error.contains(r#"the method "platt", found "temperature""#), "{error}");
    assert!(serde_json::from_str::<TemperatureScaling>(PLATT).is_err());
}

#[test]
fn impossible_values_are_refused() {
    for temperature in ["0.0", "-1.5", "1e999", "null", "\"1.5\""] {
        let error = read_error(&changed("1.5", temperature));
        assert!(matches!(error, Error::Json(_)), "{temperature}: {error}");
    }
    let error = read_error(&changed("1.5", "-2")).to_string();
    assert!(error.contains("temperature must be positive and finite, found -2"), "{error}");
    assert!(matches!(read_error(&changed("10", "0")), Error::Input(Input::Empty { .. })));
    let wrong = PLATT.replace("\"classes\": 2", "\"classes\": 3");
    assert!(matches!(read_error(&wrong), Error::Input(Input::Mismatch { .. })));
    for (from, to) in [("0.75", "0.25"), ("0.75", "1.5"), ("1e-6", "0.5"), (": 2", ": 3")] {
        assert!(matches!(read_error(&ISOTONIC.replace(from, to)), Error::Input(_)), "{to}");
    }
    let wrong = ISOTONIC.replace("linear", "cubic");
    assert!(matches!(read_error(&wrong), Error::Json(_)));
    let wrong = PLATT.replace("0.0,", "");
    assert!(matches!(read_error(&wrong), Error::Input(Input::Mismatch { .. })));
}

#[test]
fn affine_maps_are_checked() {
    let vector = VectorScaling::from_parameters(vec![1.0, 2.0], vec![0.0, 0.5]).unwrap();
    let vector = AnyCalibrator::from(vector).to_json().unwrap();
    let temperature = Temperature::new(1.5).unwrap();
    let bias = BiasCorrectedTemperature::from_parameters(temperature, vec![0.0, 0.5]).unwrap();
    let bias = AnyCalibrator::from(bias).to_json().unwrap();
    for json in [&vector, &bias] {
        assert!(AnyCalibrator::from_json(json).is_ok());
        let wrong = json.replace(": 2,", ": 3,");
        assert!(matches!(read_error(&wrong), Error::Input(Input::Mismatch { .. })), "{wrong}");
    }
    // Two weights are no matrix of two classes.
    let wrong = vector.replace("vector", "matrix");
    assert!(matches!(read_error(&wrong), Error::Input(Input::Mismatch { .. })));
    assert!(matches!(read_error(&bias.replace("1.5", "-1.5")), Error::Json(_)));
    assert!(matches!(read_error(&vector.replace("weights", "factors")), Error::Json(_)));
}

#[test]
fn maps_class_by_class_are_checked() {
    let bins = vec![vec![(0.5, 0.25), (1.0, 0.75)]];
    let histogram = HistogramBinning::from_bins(2, bins, Zeros::Keep).unwrap();
    let histogram = AnyCalibrator::from(histogram).to_json().unwrap();
    assert!(histogram.contains(r#""zeros": "keep""#));
    for (from, to) in [("1.0", "0.9"), ("0.25", "-0.25"), (": 2,", ": 3,")] {
        let error = read_error(&histogram.replace(from, to));
        assert!(matches!(error, Error::Input(_)), "{to}: {error}");
    }
    let curve = BetaCurve { a: 0.5, b: 0.25, c: -1.5 };
    let beta = BetaCalibration::from_curves(2, vec![curve]).unwrap();
    let beta = AnyCalibrator::from(beta).to_json().unwrap();
    for (from, to) in [("0.25", "-0.25"), (": 2,", ": 3,")] {
        let error = read_error(&beta.replace(from, to));
        assert!(matches!(error, Error::Input(_)), "{to}: {error}");
    }
    assert!(matches!(read_error(&beta.replace("\"c\"", "\"d\"")), Error::Json(_)));
}

#[test]
fn what_is_missing_or_too_much_is_refused() {
    for (from, to) in [
        (r#""classes": 10,"#, ""),
        (r#""classes": 10,"#, r#""classes": 10, "classses": 10,"#),
        (r#""temperature": 1.5"#, r#""temperature": 1.5, "bias": 0"#),
        (r#""temperature": 1.5"#, ""),
    ] {
        assert!(matches!(read_error(&changed(from, to)), Error::Json(_)), "{to}");
    }
    for end in 0..TEMPERATURE.len() {
        assert!(matches!(read_error(&TEMPERATURE[..end]), Error::Json(_)));
    }
}

#[test]
fn a_read_map_checks_the_number_of_classes() {
    let map = AnyCalibrator::from_json(TEMPERATURE).unwrap();
    let error = map.apply(&Logits::new(&[0.0f32; 3], 3).unwrap()).unwrap_err();
    assert!(matches!(error, Error::ClassCount { expected: 10, found: 3 }));
}
