//! Features of samples in a plane, as one SVG: a panel beside another, each with axes of its own.

use askama::Template;

use crate::{Result, numbers};

/// A panel is a square of this size.
const SIZE: f64 = 250.0;
const LEFT: f64 = 40.0;
const TOP: f64 = 62.0;
/// From the left edge of a panel to that of the next, and from the upper edge to that of the next below.
const ACROSS: f64 = SIZE + 46.0;
const DOWN: f64 = SIZE + 58.0;

/// Panels in a row.
const COLUMNS: usize = 4;

/// The samples of three classes in a plane.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectionPanel {
    /// Whose features they are.
    pub title: String,
    /// Of each class, in the order of the names.
    pub points: [Vec<[f64; 2]>; 3],
}

/// Panels with the samples of three classes, side by side and four in a row: a colour and a shape for each class.
///
/// A panel is as wide as its points need, and its axes say how wide that is, from its lower left corner: where the origin
/// of a projection lies means nothing, distances do.
///
/// # Errors
/// [`Error::Template`](crate::Error::Template) if the template cannot be filled in.
///
/// ```
/// use softlabel_report::{ProjectionPanel, projection_svg};
///
/// let points = [vec![[0.0, 1.0]], vec![[1.0, -1.0], [1.5, -1.0]], vec![[-1.0, -1.0]]];
/// let panel = ProjectionPanel { title: "hard labels".to_owned(), points };
/// let svg = projection_svg(&["cat", "dog", "<bird>"].map(str::to_owned), &[panel])?;
/// assert!(svg.starts_with("<svg") && svg.contains("hard labels") && svg.contains("&#60;bird&#62;"));
/// # Ok::<(), softlabel_report::Error>(())
/// ```
pub fn projection_svg(classes: &[String; 3], panels: &[ProjectionPanel]) -> Result<String> {
    let columns = panels.len().clamp(1, COLUMNS);
    let rows = panels.len().div_ceil(COLUMNS).max(1);
    let placed = panels.iter().enumerate().map(|(index, panel)| Placed::of(panel, index));
    let entries = classes.iter().enumerate().map(|(class, name)| Entry {
        class,
        mark: mark(class, LEFT + 6.0 + 110.0 * class as f64, 17.0),
        x: LEFT + 16.0 + 110.0 * class as f64,
        name,
    });
    let svg = Projection {
        width: LEFT + ACROSS * columns as f64 - 30.0,
        height: TOP + DOWN * rows as f64 - 24.0,
        entries: entries.collect(),
        panels: placed.collect(),
    };
    Ok(svg.render()?)
}

#[derive(Template)]
#[template(path = "projection.svg", ext = "html", whitespace = "minimize")]
struct Projection<'a> {
    width: f64,
    height: f64,
    entries: Vec<Entry<'a>>,
    panels: Vec<Placed<'a>>,
}

/// A class of the legend.
struct Entry<'a> {
    class: usize,
    mark: String,
    x: f64,
    name: &'a str,
}

/// A panel with the places of its marks.
struct Placed<'a> {
    title: &'a str,
    left: f64,
    top: f64,
    /// Labels along both axes, and how far from the lower left corner.
    ticks: Vec<(String, f64)>,
    /// The way of all marks of a class.
    marks: Vec<String>,
}

impl<'a> Placed<'a> {
    fn of(panel: &'a ProjectionPanel, index: usize) -> Self {
        let (left, top) =
            (LEFT + ACROSS * (index % COLUMNS) as f64, TOP + DOWN * (index / COLUMNS) as f64);
        let (centre, reach) = extent(panel);
        let place = |point: &[f64; 2]| {
            let [x, y] = [0, 1].map(|axis| (point[axis] - centre[axis]) / reach);
            (left + (0.5 + x) * SIZE, top + (0.5 - y) * SIZE)
        };
        let of_class = |(class, points): (usize, &Vec<[f64; 2]>)| {
            let marks = points.iter().map(place).map(|(x, y)| mark(class, x, y));
            marks.collect::<String>()
        };
        let step = round_step(reach / 2.5);
        let count = (0..).map(|tick| f64::from(tick) * step).take_while(|value| *value <= reach);
        let decimals = usize::from(step < 1.0);
        let ticks = count.map(|value| (numbers::decimal(value, decimals), value / reach * SIZE));
        Self {
            title: &panel.title,
            left,
            top,
            ticks: ticks.collect(),
            marks: panel.points.iter().enumerate().map(of_class).collect(),
        }
    }

    fn centre(&self) -> f64 {
        self.left + SIZE / 2.0
    }

    fn bottom(&self) -> f64 {
        self.top + SIZE
    }
}

/// The middle of all points, and the side of a square that holds them.
fn extent(panel: &ProjectionPanel) -> ([f64; 2], f64) {
    let ends = [0, 1].map(|axis| {
        let along = panel.points.iter().flatten().map(|point| point[axis]);
        let along = along.filter(|value| value.is_finite());
        along.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        })
    });
    let middle = ends.map(|(low, high)| if low <= high { 0.5 * (low + high) } else { 0.0 });
    let reach = ends.iter().map(|(low, high)| high - low).fold(0.0, f64::max);
    (middle, if reach > 0.0 { 1.08 * reach } else { 1.0 })
}

/// 1, 2 or 5 times a power of ten, at most the value.
fn round_step(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let step = [5.0, 2.0, 1.0].into_iter().find(|step| step * power <= value);
    step.unwrap_or(1.0) * power
}

/// A circle, a square or a triangle about a place.
fn mark(class: usize, x: f64, y: f64) -> String {
    match class {
        0 => format!("M{:.1} {y:.1}a2.6 2.6 0 1 0 5.2 0a2.6 2.6 0 1 0-5.2 0", x - 2.6),
        1 => format!("M{:.1} {:.1}h4.6v4.6h-4.6z", x - 2.3, y - 2.3),
        _ => format!("M{x:.1} {:.1}l2.9 5.2h-5.8z", y - 3.2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_not_longer_than_asked_for() {
        for (value, step) in [(1.0, 1.0), (4.9, 2.0), (5.0, 5.0), (73.0, 50.0), (0.3, 0.2)] {
            assert!(
                (round_step(value) - step).abs() < 1e-12 * step,
                "{value}: {}",
                round_step(value)
            );
        }
    }

    #[test]
    fn every_point_lies_inside_of_its_panel() {
        let points = [vec![[-3.0, 8.0], [40.0, 9.0]], vec![[0.0, 0.0]], vec![[2.0, f64::NAN]]];
        let panel = ProjectionPanel { title: String::new(), points };
        let (middle, reach) = extent(&panel);
        assert_eq!(middle, [18.5, 4.5]);
        assert!((reach - 1.08 * 43.0).abs() < 1e-12);
        let empty = ProjectionPanel { title: String::new(), points: [vec![], vec![], vec![]] };
        assert_eq!(extent(&empty), ([0.0, 0.0], 1.0));
        assert!(projection_svg(&["a", "b", "c"].map(str::to_owned), &[empty]).is_ok());
    }
}
