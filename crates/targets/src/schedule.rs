//! Numbers that change while a network trains: an ε, or the weight of a loss.
//!
//! Step s of n is at progress x = s/(n − 1): 0 at the first step, 1 at the last and after it; 0 where n ≤ 1.
//!
//! - constant: v
//! - linear: from + (to − from)·x
//! - cosine: to + (from − to)·(1 + cos πx)/2
//! - warm-up until x = w, then decay: linear from `from` to `peak`, then linear or cosine from `peak` to `to`
//! - piecewise: straight lines between given points (x, v); before the first and after the last, their values
//! - steps: one value until the first boundary, the next until the second, …
//!
//! At their ends all of them have the values that were given, exactly.

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use softlabel_core::Error as Core;

use crate::settings::check_settings;
use crate::{Error, Result};

/// A number at every step of a training.
///
/// In serialized form a number, which is constant, or a table with a `kind`:
///
/// ```toml
/// epsilon = 0.1
/// epsilon = { kind = "linear", from = 0.1, to = 0.2 }
/// epsilon = { kind = "cosine", from = 0.2, to = 0.0 }
/// epsilon = { kind = "warmup", from = 0.0, peak = 0.2, to = 0.1, until = 0.1, decay = "cosine" }
/// epsilon = { kind = "piecewise", points = [[0.0, 0.0], [0.5, 0.2], [1.0, 0.1]] }
/// epsilon = { kind = "steps", values = [0.0, -0.4], boundaries = [0.8] }
/// ```
///
/// ```
/// use softlabel_targets::Schedule;
///
/// let rising = Schedule::linear(0.1, 0.2)?;
/// assert_eq!([rising.at(0, 11), rising.at(10, 11)], [0.1, 0.2]);
/// assert!((rising.at(5, 11) - 0.15).abs() < 1e-15);
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule(Shape);

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Constant(f64),
    Linear { from: f64, to: f64 },
    Cosine { from: f64, to: f64 },
    Warmup { from: f64, peak: f64, to: f64, until: f64, decay: Decay },
    Piecewise(Vec<[f64; 2]>),
    Steps { values: Vec<f64>, boundaries: Vec<f64> },
}

/// How a [`Schedule`] falls after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decay {
    /// On a straight line.
    Linear,
    /// On half a period of a cosine: level at both ends.
    Cosine,
}

impl Schedule {
    /// v at every step.
    ///
    /// # Errors
    /// If it is not finite.
    pub fn constant(value: f64) -> Result<Self> {
        check_values(&[value])?;
        Ok(Self(Shape::Constant(value)))
    }

    /// On a straight line.
    ///
    /// # Errors
    /// If a value is not finite.
    pub fn linear(from: f64, to: f64) -> Result<Self> {
        check_values(&[from, to])?;
        Ok(Self(Shape::Linear { from, to }))
    }

    /// On half a period of a cosine.
    ///
    /// # Errors
    /// If a value is not finite.
    pub fn cosine(from: f64, to: f64) -> Result<Self> {
        check_values(&[from, to])?;
        Ok(Self(Shape::Cosine { from, to }))
    }

    /// On a straight line to `peak`, reached at progress `until`, and from there to `to`.
    ///
    /// # Errors
    /// If a value is not finite, or `until` is not in [0, 1].
    pub fn warmup(from: f64, peak: f64, to: f64, until: f64, decay: Decay) -> Result<Self> {
        check_values(&[from, peak, to])?;
        check_progress("end of the warm-up", &[until])?;
        Ok(Self(Shape::Warmup { from, peak, to, until, decay }))
    }

    /// On straight lines between points of progress and value.
    ///
    /// # Errors
    /// If there are no points, a value is not finite, or the progress does not rise from point to point in [0, 1].
    pub fn piecewise(points: Vec<[f64; 2]>) -> Result<Self> {
        if points.is_empty() {
            return Err(Core::Empty { what: "the list of points of a schedule" }.into());
        }
        check_values(&points.iter().map(|point| point[1]).collect::<Vec<_>>())?;
        let progress: Vec<f64> = points.iter().map(|point| point[0]).collect();
        check_progress("progress of a point", &progress)?;
        Ok(Self(Shape::Piecewise(points)))
    }

    /// One value after the other: the first below the first boundary, the last from the last boundary on.
    ///
    /// # Errors
    /// If there is not one value more than boundaries, a value is not finite, or the boundaries do not rise in [0, 1].
    pub fn steps(values: Vec<f64>, boundaries: Vec<f64>) -> Result<Self> {
        check_values(&values)?;
        check_progress("boundary of a schedule", &boundaries)?;
        if values.len() != boundaries.len() + 1 {
            let expected = format!("{}, one more than boundaries", boundaries.len() + 1);
            let found = values.len().to_string();
            return Err(Core::mismatch("values of a schedule", expected, found).into());
        }
        Ok(Self(Shape::Steps { values, boundaries }))
    }

    /// The number at step `step`, counted from 0, of `total`.
    pub fn at(&self, step: usize, total: usize) -> f64 {
        let last = total.saturating_sub(1);
        self.at_progress(if last == 0 { 0.0 } else { step.min(last) as f64 / last as f64 })
    }

    /// The number at a progress between 0 and 1; outside as at the nearer end, for NaN as at 0.
    pub fn at_progress(&self, progress: f64) -> f64 {
        let x = if progress.is_nan() { 0.0 } else { progress.clamp(0.0, 1.0) };
        match &self.0 {
            Shape::Constant(value) => *value,
            Shape::Linear { from, to } => line(*from, *to, x),
            Shape::Cosine { from, to } => half_wave(*from, *to, x),
            Shape::Warmup { from, peak, until, .. } if x < *until => line(*from, *peak, x / until),
            Shape::Warmup { peak, until, .. } if x == *until => *peak,
            Shape::Warmup { peak, to, until, decay, .. } => {
                let x = (x - until) / (1.0 - until);
                match decay {
                    Decay::Linear => line(*peak, *to, x),
                    Decay::Cosine => half_wave(*peak, *to, x),
                }
            }
            Shape::Piecewise(points) => {
                let after = points.partition_point(|point| point[0] <= x);
                match (after.checked_sub(1).map(|before| points[before]), points.get(after)) {
                    (Some([a, from]), Some([b, to])) => line(from, *to, (x - a) / (b - a)),
                    (Some([_, value]), None) => value,
                    // Before the first of the points, of which there is at least one.
                    (None, next) => next.map_or(f64::NAN, |point| point[1]),
                }
            }
            Shape::Steps { values, boundaries } => {
                values[boundaries.partition_point(|boundary| *boundary <= x)]
            }
        }
    }

    /// The lowest and the highest number that it can give: check these, and no step can surprise.
    ///
    /// ```
    /// use softlabel_core::Epsilon;
    /// use softlabel_targets::Schedule;
    ///
    /// let (low, high) = Schedule::linear(0.2, 0.1)?.range();
    /// assert_eq!((Epsilon::new(low)?.get(), Epsilon::new(high)?.get()), (0.1, 0.2));
    /// # Ok::<(), softlabel_targets::Error>(())
    /// ```
    pub fn range(&self) -> (f64, f64) {
        let values = match &self.0 {
            Shape::Constant(value) => vec![*value],
            Shape::Linear { from, to } | Shape::Cosine { from, to } => vec![*from, *to],
            Shape::Warmup { from, peak, to, .. } => vec![*from, *peak, *to],
            Shape::Piecewise(points) => points.iter().map(|point| point[1]).collect(),
            Shape::Steps { values, .. } => values.clone(),
        };
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        (low, values.into_iter().fold(f64::NEG_INFINITY, f64::max))
    }

    /// The number, if it never changes.
    pub fn as_constant(&self) -> Option<f64> {
        let (low, high) = self.range();
        (low == high).then_some(low)
    }
}

/// From a to b; exactly a at 0 and b at 1, and never outside.
fn line(a: f64, b: f64, x: f64) -> f64 {
    (a * (1.0 - x) + b * x).clamp(a.min(b), a.max(b))
}

fn half_wave(a: f64, b: f64, x: f64) -> f64 {
    line(b, a, f64::midpoint(1.0, (std::f64::consts::PI * x).cos()))
}

fn check_values(values: &[f64]) -> Result<()> {
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(&found) => {
            let (name, expected) = ("value of a schedule", "finite");
            Err(Core::OutOfRange { name, expected, found }.into())
        }
    }
}

fn check_progress(name: &'static str, progress: &[f64]) -> Result<()> {
    let mut lowest = 0.0;
    for (index, &found) in progress.iter().enumerate() {
        let rises = index == 0 || found > lowest;
        if !(0.0..=1.0).contains(&found) || !rises {
            let expected = "in [0, 1] and above the one before";
            return Err(Core::OutOfRange { name, expected, found }.into());
        }
        lowest = found;
    }
    Ok(())
}

impl std::fmt::Display for Schedule {
    /// `0.1`, `0.1 to 0.2 (linear)`, `0 to 0.2 to 0.1 (warmup)`, `0 then -0.4 (steps)`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let join = |values: Vec<f64>, word: &str| {
            values.iter().map(f64::to_string).collect::<Vec<_>>().join(word)
        };
        match &self.0 {
            Shape::Constant(value) => value.fmt(formatter),
            Shape::Linear { from, to } => write!(formatter, "{from} to {to} (linear)"),
            Shape::Cosine { from, to } => write!(formatter, "{from} to {to} (cosine)"),
            Shape::Warmup { from, peak, to, .. } => {
                write!(formatter, "{from} to {peak} to {to} (warmup)")
            }
            Shape::Piecewise(points) => {
                let values = points.iter().map(|point| point[1]).collect();
                write!(formatter, "{} (piecewise)", join(values, " to "))
            }
            Shape::Steps { values, .. } => {
                write!(formatter, "{} (steps)", join(values.clone(), " then "))
            }
        }
    }
}

/// The serialized form of what changes: flat, so that an unknown key is found at its own place.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peak: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decay: Option<Decay>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    points: Option<Vec<[f64; 2]>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    values: Option<Vec<f64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boundaries: Option<Vec<f64>>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Constant,
    Linear,
    Cosine,
    Warmup,
    Piecewise,
    Steps,
}

impl TryFrom<Settings> for Schedule {
    type Error = Error;

    fn try_from(settings: Settings) -> Result<Self> {
        let given = [
            ("value", settings.value.is_some()),
            ("from", settings.from.is_some()),
            ("peak", settings.peak.is_some()),
            ("to", settings.to.is_some()),
            ("until", settings.until.is_some()),
            ("decay", settings.decay.is_some()),
            ("points", settings.points.is_some()),
            ("values", settings.values.is_some()),
            ("boundaries", settings.boundaries.is_some()),
        ];
        let (kind, needed): (_, &[&str]) = match settings.kind {
            Kind::Constant => ("constant", &["value"]),
            Kind::Linear => ("linear", &["from", "to"]),
            Kind::Cosine => ("cosine", &["from", "to"]),
            Kind::Warmup => ("warmup", &["from", "peak", "to", "until", "decay"]),
            Kind::Piecewise => ("piecewise", &["points"]),
            Kind::Steps => ("steps", &["values", "boundaries"]),
        };
        check_settings("schedule", kind, &given, &[needed], &[])?;
        // All that the kind needs is there; what it does not need has no say.
        let number = |value: Option<f64>| value.unwrap_or(f64::NAN);
        let (from, to) = (number(settings.from), number(settings.to));
        match settings.kind {
            Kind::Constant => Self::constant(number(settings.value)),
            Kind::Linear => Self::linear(from, to),
            Kind::Cosine => Self::cosine(from, to),
            Kind::Warmup => {
                let decay = settings.decay.unwrap_or(Decay::Linear);
                Self::warmup(from, number(settings.peak), to, number(settings.until), decay)
            }
            Kind::Piecewise => Self::piecewise(settings.points.unwrap_or_default()),
            Kind::Steps => Self::steps(
                settings.values.unwrap_or_default(),
                settings.boundaries.unwrap_or_default(),
            ),
        }
    }
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let empty = |kind| Settings {
            kind,
            value: None,
            from: None,
            peak: None,
            to: None,
            until: None,
            decay: None,
            points: None,
            values: None,
            boundaries: None,
        };
        let ends =
            |kind, from: f64, to: f64| Settings { from: Some(from), to: Some(to), ..empty(kind) };
        let settings = match &self.0 {
            Shape::Constant(value) => return serializer.serialize_f64(*value),
            Shape::Linear { from, to } => ends(Kind::Linear, *from, *to),
            Shape::Cosine { from, to } => ends(Kind::Cosine, *from, *to),
            Shape::Warmup { from, peak, to, until, decay } => Settings {
                peak: Some(*peak),
                until: Some(*until),
                decay: Some(*decay),
                ..ends(Kind::Warmup, *from, *to)
            },
            Shape::Piecewise(points) => {
                Settings { points: Some(points.clone()), ..empty(Kind::Piecewise) }
            }
            Shape::Steps { values, boundaries } => Settings {
                values: Some(values.clone()),
                boundaries: Some(boundaries.clone()),
                ..empty(Kind::Steps)
            },
        };
        settings.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScheduleVisitor)
    }
}

/// By hand, where `untagged` would only say that nothing matched.
struct ScheduleVisitor;

impl<'de> Visitor<'de> for ScheduleVisitor {
    type Value = Schedule;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a number, or a table with a `kind`")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Schedule, E> {
        Schedule::constant(value).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Schedule, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Schedule, E> {
        self.visit_f64(value as f64)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Schedule, A::Error> {
        let settings = Settings::deserialize(MapAccessDeserializer::new(map))?;
        Schedule::try_from(settings).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> serde_json::Result<Schedule> {
        serde_json::from_str(text)
    }

    fn any() -> impl Strategy<Value = Schedule> {
        let value = || -2.0..2.0;
        let rising = |count| {
            prop::collection::btree_set(0..=1000_u16, count)
                .prop_map(|set| set.into_iter().map(|x| f64::from(x) / 1000.0).collect::<Vec<_>>())
        };
        prop_oneof![
            value().prop_map(|value| Schedule::constant(value).unwrap()),
            (value(), value()).prop_map(|(from, to)| Schedule::linear(from, to).unwrap()),
            (value(), value()).prop_map(|(from, to)| Schedule::cosine(from, to).unwrap()),
            (value(), value(), value(), 0.0..=1.0, any_bool()).prop_map(
                |(from, peak, to, until, cosine)| {
                    let decay = if cosine { Decay::Cosine } else { Decay::Linear };
                    Schedule::warmup(from, peak, to, until, decay).unwrap()
                }
            ),
            (rising(4), prop::collection::vec(value(), 4)).prop_map(|(progress, values)| {
                let points = progress.into_iter().zip(values).map(|(x, v)| [x, v]).collect();
                Schedule::piecewise(points).unwrap()
            }),
            (rising(3), prop::collection::vec(value(), 4))
                .prop_map(|(boundaries, values)| Schedule::steps(values, boundaries).unwrap()),
        ]
    }

    fn any_bool() -> impl Strategy<Value = bool> {
        prop::bool::ANY
    }

    #[test]
    fn the_shapes() {
        let at = |schedule: Result<Schedule>| {
            let schedule = schedule.unwrap();
            [0, 1, 2, 3, 4].map(|step| (schedule.at(step, 5) * 1e6).round() / 1e6)
        };
        assert_eq!(at(Schedule::constant(0.3)), [0.3; 5]);
        assert_eq!(at(Schedule::linear(1.0, 0.0)), [1.0, 0.75, 0.5, 0.25, 0.0]);
        // (1 + cos(pi/4))/2 = 0.853553.
        assert_eq!(at(Schedule::cosine(1.0, 0.0)), [1.0, 0.853_553, 0.5, 0.146_447, 0.0]);
        let warmup = |decay| at(Schedule::warmup(0.0, 1.0, 0.2, 0.5, decay));
        assert_eq!(warmup(Decay::Linear), [0.0, 0.5, 1.0, 0.6, 0.2]);
        assert_eq!(warmup(Decay::Cosine), [0.0, 0.5, 1.0, 0.6, 0.2]);
        let points = vec![[0.25, 1.0], [0.75, 3.0]];
        assert_eq!(at(Schedule::piecewise(points)), [1.0, 1.0, 2.0, 3.0, 3.0]);
        let steps = Schedule::steps(vec![0.0, -0.4, 0.1], vec![0.5, 1.0]);
        assert_eq!(at(steps), [0.0, 0.0, -0.4, -0.4, 0.1]);
    }

    #[test]
    fn odd_totals_and_progress() {
        let schedule = Schedule::linear(0.1, 0.2).unwrap();
        assert_eq!(schedule.at(0, 0), 0.1);
        assert_eq!(schedule.at(5, 1), 0.1);
        assert_eq!(schedule.at(9, 3), 0.2);
        assert_eq!(schedule.at_progress(f64::NAN), 0.1);
        assert_eq!(schedule.at_progress(7.0), 0.2);
        for until in [0.0, 1.0] {
            let warmup = Schedule::warmup(0.1, 0.5, 0.2, until, Decay::Cosine).unwrap();
            assert_eq!(warmup.at_progress(until), 0.5);
        }
    }

    #[test]
    fn a_number_is_constant() {
        for (text, value) in [("0.25", 0.25), ("1", 1.0), ("-2", -2.0)] {
            assert_eq!(parse(text).unwrap().as_constant(), Some(value));
        }
        assert_eq!(parse(r#"{"kind":"constant","value":1}"#).unwrap().at(3, 9), 1.0);
        let text = r#"{"kind":"linear","from":0.1,"to":0.2}"#;
        assert_eq!(parse(text).unwrap(), Schedule::linear(0.1, 0.2).unwrap());
        assert_eq!(parse(text).unwrap().as_constant(), None);
        assert_eq!(parse(text).unwrap().to_string(), "0.1 to 0.2 (linear)");
    }

    #[test]
    fn bad_settings_are_named() {
        for (bad, expected) in [
            (r#""fast""#, "expected a number, or a table with a `kind`"),
            (r#"{"kind":"linear","from":0.1}"#, "schedule of kind linear needs `from` and `to`"),
            (r#"{"kind":"linear","from":0,"to":1,"peak":1}"#, "does not take `peak`"),
            (r#"{"kind":"liner"}"#, "unknown variant `liner`"),
            (r#"{"kind":"linear","form":1}"#, "unknown field `form`"),
            (r#"{"kind":"piecewise","points":[]}"#, "is empty"),
            (r#"{"kind":"piecewise","points":[[0.5,1],[0.5,2]]}"#, "above the one before"),
            (r#"{"kind":"steps","values":[1],"boundaries":[0.5]}"#, "2, one more than boundaries"),
            (
                r#"{"kind":"warmup","from":0,"peak":1,"to":0,"until":1.5,"decay":"linear"}"#,
                "in [0, 1]",
            ),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(expected), "{bad}: {error}");
        }
        assert!(Schedule::constant(f64::NAN).is_err());
        assert!(Schedule::linear(0.0, f64::INFINITY).is_err());
    }

    proptest! {
        #[test]
        fn no_step_is_out_of_the_range(schedule in any(), progress in 0.0..=1.0, total in 0..50_usize) {
            let (low, high) = schedule.range();
            for value in [schedule.at_progress(progress), schedule.at(total / 3, total)] {
                prop_assert!((low..=high).contains(&value), "{value} not in {low}..={high}");
            }
        }

        #[test]
        fn what_is_written_reads_the_same(schedule in any()) {
            let text = serde_json::to_string(&schedule).unwrap();
            prop_assert_eq!(parse(&text).unwrap(), schedule);
        }
    }
}
