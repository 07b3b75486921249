//! How an arm is calibrated: the entries of `arms.NAME.calibrate`.

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, IntoDeserializer, MapAccess, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use softlabel_posthoc::Method;
use softlabel_results::Calibration;
use toml::Value;

/// A method by its name, or a table with its name and what it is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fit {
    pub(crate) calibration: Calibration,
    /// None for `none`, which the check refuses.
    pub(crate) method: Option<Method>,
}

impl Serialize for Fit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match Value::try_from(&self.method).map_err(S::Error::custom)? {
            Value::Table(table) if table.len() > 1 => table.serialize(serializer),
            _ => self.calibration.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Fit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FitVisitor)
    }
}

struct FitVisitor;

impl<'de> Visitor<'de> for FitVisitor {
    type Value = Fit;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the name of a method, or a table with its `method`")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Fit, E> {
        let calibration = Calibration::deserialize(name.into_deserializer())?;
        let method = match calibration {
            Calibration::None => None,
            _ => Some(name.parse().map_err(E::custom)?),
        };
        Ok(Fit { calibration, method })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Fit, A::Error> {
        // The trait's function: the type has one of its own of this name, which knows less.
        let method = <Method as Deserialize>::deserialize(MapAccessDeserializer::new(map))?;
        let name = method.name();
        let calibration = Calibration::deserialize(name.as_str().into_deserializer())?;
        Ok(Fit { calibration, method: Some(method) })
    }
}
