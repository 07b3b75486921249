//! Methods by name: words, tables, and what is wrong with them.

use softlabel_posthoc::{AnyCalibrator, BetaForm, Calibrator, Error, Method, Odir};

use crate::{checked, noisy};

#[test]
fn every_name_fits_a_map_of_that_name_that_survives_json() {
    let (logits, labels) = noisy(300);
    let (logits, labels) = checked(&logits, &labels, 3);
    for name in Method::names() {
        let method: Method = name.parse().unwrap();
        assert_eq!(method.name(), *name);
        let json = serde_json::to_string(&method).unwrap();
        assert_eq!(serde_json::from_str::<Method>(&json).unwrap(), method, "{json}");
        let map = method.fit(&logits, &labels).unwrap();
        assert_eq!(map.method(), *name);
        assert_eq!(map.classes(), 3);
        let read = AnyCalibrator::from_json(&map.to_json().unwrap()).unwrap();
        assert_eq!(read, map, "{name}");
        assert_eq!(read.apply(&logits).unwrap(), map.apply(&logits).unwrap(), "{name}");
    }
}

#[test]
fn tables_have_defaults_and_nothing_unknown() {
    let read = serde_json::from_str::<Method>;
    assert_eq!(read(r#""beta""#).unwrap(), Method::Beta { form: BetaForm::Abm });
    assert_eq!(
        read(r#"{"method": "dirichlet", "off_diagonal": 0.5}"#).unwrap(),
        Method::Dirichlet(Odir::new(0.5, 1.0).unwrap())
    );
    assert_eq!("histogram-binning".parse::<Method>().unwrap().name(), "histogram_binning");
    for (json, message) in [
        (r#"{"method": "temperature", "bins": 3}"#, r#"has no "bins""#),
        (r#"{"method": "isotonic", "bins": 3}"#, "unknown field `bins`"),
        (r#"{"method": "dirichlet", "off_diagonal": -1.0}"#, "at least 0"),
        (r#"{"bins": 3}"#, "without the name"),
        (r#"{"method": "magic"}"#, r#"unknown method "magic""#),
        ("3", "the name of a method"),
    ] {
        let error = read(json).unwrap_err().to_string();
        assert!(error.contains(message), "{json}: {error}");
    }
    assert!(matches!("magic".parse::<Method>(), Err(Error::UnknownMethod { .. })));
}
