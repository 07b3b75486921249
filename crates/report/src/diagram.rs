//! Where the marks of a reliability diagram and of its confidence histogram stand.
//!
//! Both plots share the confidence axis: the diagram on top, the histogram below.
//! In each bin that holds samples a bar reaches up to the accuracy, and the gap between the accuracy
//! and the mean confidence is hatched. The expected calibration error is the mean of these gaps,
//! weighted by the histogram. A bin without samples has no accuracy, so it gets a band instead of a bar.
//!
//! Coordinates are in units of the SVG's view box; the template only writes them down.

use softlabel_metrics::ReliabilityDiagram;

use crate::numbers;

/// The diagram is a square of this size.
pub(crate) const SIZE: f64 = 262.0;
/// Left edge of both plots.
pub(crate) const LEFT: f64 = 46.0;
/// Upper edge of the diagram.
pub(crate) const TOP: f64 = 8.0;
/// Upper edge of the histogram.
pub(crate) const HISTOGRAM_TOP: f64 = 300.0;
/// Height of the histogram.
pub(crate) const HISTOGRAM_HEIGHT: f64 = 66.0;

/// Bins with fewer samples than this are drawn faint: their accuracy is hardly known.
pub(crate) const FEW_SAMPLES: u64 = 10;

/// A rectangle, a line or a label; which numbers are used depends on what it is.
pub(crate) struct Mark {
    pub(crate) x: String,
    pub(crate) y: String,
    pub(crate) width: String,
    pub(crate) height: String,
}

impl Mark {
    fn new(x: f64, y: f64, width: f64, height: f64) -> Self {
        let text = |value: f64| format!("{value:.1}");
        Self { x: text(x), y: text(y), width: text(width), height: text(height) }
    }
}

/// What all diagrams of a report have in common: the labels of the axes and the scale of the histogram.
pub(crate) struct Axes {
    /// Labels in percent along the confidence axis, with their place on the diagram's axes.
    pub(crate) ticks: Vec<(u32, Mark)>,
    /// Share of the samples at the top of the histogram, in percent.
    pub(crate) histogram_top: String,
    scale: f64,
}

impl Axes {
    /// Axes on which the histograms of all diagrams fit, so that they can be compared.
    pub(crate) fn fitting<'a>(diagrams: impl Iterator<Item = &'a ReliabilityDiagram>) -> Self {
        let largest = diagrams.flat_map(bins).map(|bin| bin.share).fold(0.0, f64::max);
        let scale = ((largest * 10.0).ceil() / 10.0).clamp(0.1, 1.0);
        let tick = |percent: u32| {
            let at = f64::from(percent) / 100.0;
            (percent, Mark::new(LEFT + at * SIZE, TOP + (1.0 - at) * SIZE, 0.0, 0.0))
        };
        Self {
            ticks: [0, 20, 40, 60, 80, 100].map(tick).into(),
            histogram_top: numbers::decimal(scale * 100.0, 0),
            scale,
        }
    }

    /// Places the marks of one diagram.
    pub(crate) fn place(&self, diagram: &ReliabilityDiagram) -> Vec<PlacedBin> {
        bins(diagram).map(|bin| self.place_bin(&bin)).collect()
    }

    /// Where a mean stands on the confidence axis of the histogram.
    pub(crate) fn line(mean: f64) -> Mark {
        Mark::new(LEFT + mean.clamp(0.0, 1.0) * SIZE, HISTOGRAM_TOP, 0.0, HISTOGRAM_HEIGHT)
    }

    fn place_bin(&self, bin: &Bin) -> PlacedBin {
        let width = (bin.upper - bin.lower) * SIZE;
        // A hairline between bars, as long as bars are wide enough to spare it.
        let margin = if width > 4.0 { 0.5 } else { 0.0 };
        let (x, width) = (LEFT + bin.lower * SIZE + margin, width - 2.0 * margin);
        let span = |low: f64, high: f64| {
            Mark::new(x, TOP + (1.0 - high) * SIZE, width, (high - low) * SIZE)
        };
        let height = (bin.share / self.scale).min(1.0) * HISTOGRAM_HEIGHT;
        let filled = bin.means.map(|(accuracy, confidence)| Filled {
            bar: span(0.0, accuracy.min(confidence)),
            gap: span(accuracy.min(confidence), accuracy.max(confidence)),
            overconfident: confidence > accuracy,
            accuracy: span(accuracy, accuracy),
            confidence: span(confidence, confidence),
            few: bin.count < FEW_SAMPLES,
            samples: Mark::new(x, HISTOGRAM_TOP + HISTOGRAM_HEIGHT - height, width, height),
        });
        PlacedBin { band: span(0.0, 1.0), filled, numbers: BinNumbers::of(bin) }
    }
}

/// A bin with the places of its marks.
pub(crate) struct PlacedBin {
    /// The whole column of the bin.
    pub(crate) band: Mark,
    /// None for a bin without samples.
    pub(crate) filled: Option<Filled>,
    pub(crate) numbers: BinNumbers,
}

impl PlacedBin {
    /// Whether the bin holds so few samples that it is drawn faint.
    pub(crate) fn is_faint(&self) -> bool {
        self.filled.as_ref().is_some_and(|filled| filled.few)
    }
}

/// The marks of a bin that holds samples.
pub(crate) struct Filled {
    /// From zero up to the accuracy, or to the confidence if that is lower.
    pub(crate) bar: Mark,
    /// Between accuracy and confidence.
    pub(crate) gap: Mark,
    pub(crate) overconfident: bool,
    pub(crate) accuracy: Mark,
    pub(crate) confidence: Mark,
    pub(crate) few: bool,
    /// The bar of the histogram.
    pub(crate) samples: Mark,
}

/// The numbers of a bin as text.
pub(crate) struct BinNumbers {
    /// `(80, 90]`, in percent.
    pub(crate) range: String,
    pub(crate) count: String,
    pub(crate) accuracy: String,
    pub(crate) confidence: String,
    /// All of them in words.
    pub(crate) sentence: String,
}

impl BinNumbers {
    fn of(bin: &Bin) -> Self {
        let edge = |value: f64| {
            let text = numbers::decimal(value * 100.0, 1);
            text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
        };
        let range = format!("({}, {}]", edge(bin.lower), edge(bin.upper));
        let count = numbers::count(bin.count);
        let (accuracy, confidence) = match bin.means {
            Some((accuracy, confidence)) => {
                (numbers::percent(accuracy), numbers::percent(confidence))
            }
            None => (numbers::NONE.to_owned(), numbers::NONE.to_owned()),
        };
        let sentence = match bin.means {
            Some(_) => format!(
                "Confidence in {range} %: samples {count} ({}), accuracy {accuracy}, mean confidence {confidence}",
                numbers::percent(bin.share)
            ),
            None => format!("Confidence in {range} %: no samples"),
        };
        Self { range, count, accuracy, confidence, sentence }
    }
}

/// A bin as it is drawn.
struct Bin {
    lower: f64,
    upper: f64,
    count: u64,
    /// Share of all samples.
    share: f64,
    /// Accuracy and mean confidence; none without samples.
    means: Option<(f64, f64)>,
}

fn bins(diagram: &ReliabilityDiagram) -> impl Iterator<Item = Bin> {
    let samples = diagram.samples.max(1) as f64;
    diagram.bins.iter().map(move |bin| Bin {
        lower: bin.lower,
        upper: bin.upper,
        count: bin.count,
        share: bin.count as f64 / samples,
        means: bin.accuracy.zip(bin.mean_confidence),
    })
}
