//! Maps that a recipe has fitted: the entries of `arms.NAME.calibrate`, and `arms.NAME.distill.teacher_calibration`.
//!
//! A map is written as its [`Method`] is: as a word, `"temperature+isotonic"`, or as a table with what it is told,
//! `{ method = "beta", form = "ab" }`, in which it may have a `name` of its own. Rows of the table, checks and files
//! are called by the name.

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use softlabel_posthoc::{Error as MethodError, Method};
use softlabel_results::Calibration;
use toml::{Table, Value};

/// The key of a name that is not that of the method.
pub(super) const NAME: &str = "name";

/// How a map is fitted, and what it is called.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fit {
    pub(crate) calibration: Calibration,
    pub(crate) method: Method,
}

impl Fit {
    /// Whether it is called otherwise than its method.
    pub(super) fn has_own_name(&self) -> bool {
        self.calibration.name() != self.method.name()
    }

    /// Whether both go by one name, on a disk that takes `a` for `A` too, and are not the same.
    pub(super) fn is_mistaken_for(&self, other: &Self) -> bool {
        let names = [self, other].map(|fit| fit.calibration.name());
        names[0].eq_ignore_ascii_case(names[1]) && self != other
    }
}

impl Serialize for Fit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut table = Table::try_from(&self.method).map_err(S::Error::custom)?;
        if self.has_own_name() {
            table.insert(NAME.to_owned(), self.calibration.name().into());
        }
        if table.len() > 1 {
            table.serialize(serializer)
        } else {
            self.calibration.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Fit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FitVisitor)
    }
}

const EXPECTED: &str = "the name of a method, or a table with its `method`";

struct FitVisitor;

impl<'de> Visitor<'de> for FitVisitor {
    type Value = Fit;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(EXPECTED)
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Fit, E> {
        if name == Calibration::NONE.name() {
            return Err(E::custom("`none` does not belong here: expected methods"));
        }
        named(name, "")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Fit, A::Error> {
        described(map)
    }
}

/// A map, or `none`: for serde's `with`.
pub(super) mod or_none {
    use super::{
        Calibration, Deserializer, EXPECTED, Fit, MapAccess, Serialize, Serializer, Visitor, de,
        described, named,
    };

    #[allow(clippy::ref_option)] // What serde calls.
    pub(crate) fn serialize<S: Serializer>(
        fit: &Option<Fit>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match fit {
            None => Calibration::NONE.serialize(serializer),
            Some(fit) => fit.serialize(serializer),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Fit>, D::Error> {
        deserializer.deserialize_any(OrNone)
    }

    struct OrNone;

    impl<'de> Visitor<'de> for OrNone {
        type Value = Option<Fit>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(formatter, "`none`, {EXPECTED}")
        }

        fn visit_str<E: de::Error>(self, name: &str) -> Result<Option<Fit>, E> {
            if name == Calibration::NONE.name() {
                Ok(None)
            } else {
                named(name, "`none`, ").map(Some)
            }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<Fit>, A::Error> {
            described(map).map(Some)
        }
    }
}

/// The method of a name, told nothing.
fn named<E: de::Error>(name: &str, others: &str) -> Result<Fit, E> {
    let method: Method = name.parse().map_err(|error| unknown(error, others))?;
    Ok(Fit { calibration: Calibration::named(method.name()), method })
}

/// The method of a table, by its own name if it has one.
fn described<'de, A: MapAccess<'de>>(map: A) -> Result<Fit, A::Error> {
    let custom = <A::Error as de::Error>::custom;
    let mut table = Table::deserialize(MapAccessDeserializer::new(map))?;
    let own_name = match table.remove(NAME) {
        None => None,
        Some(Value::String(name)) => Some(name),
        Some(other) => {
            let found = other.type_str();
            return Err(custom(format!("invalid type for `{NAME}`: {found}, expected a string")));
        }
    };
    if let Some(Value::String(method)) = table.get("method") {
        let _: Method = method.parse().map_err(|error| unknown(error, ""))?;
    }
    // The trait's function: the type has one of its own of this name, which knows less.
    let method = <Method as Deserialize>::deserialize(Value::Table(table))
        .map_err(|error| custom(error.message().trim().to_owned()))?;
    let calibration = Calibration::named(own_name.unwrap_or_else(|| method.name()));
    Ok(Fit { calibration, method })
}

/// What posthoc says of a name, in the form in which recipes find what was probably meant.
fn unknown<E: de::Error>(error: MethodError, others: &str) -> E {
    let MethodError::UnknownMethod { known, found } = error else { return E::custom(error) };
    let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    let known = known.join(", ");
    E::custom(format!(
        "unknown method `{found}`, expected one of {others}{known}, or several with + between them"
    ))
}
