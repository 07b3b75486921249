//! Many rows at a time: vectors run across rows.
//!
//! For rows of few classes, where vectors along a row would be mostly empty, and for classes that
//! are not contiguous (N×K×S), where they could not be read.
//! A tile holds the logits of `LANES` rows, class by class; rows of few classes are transposed into
//! it and out of it.
//! Three sweeps run over the tile, for the largest logits, for e^{z − M} and its sums, and for the gradient, and the
//! arithmetic of single rows (logarithms, losses, factors) is done for all lanes at once in `f64`.

mod transfer;

use super::careful::CarefulRow;
use super::dispatch::Kernel;
use super::element::Element;
use super::element::sealed::{Convert, Real};
use super::four::Four;
use super::lanes::{LaneOutcomes, LaneTargets, WIDTH};
use super::long::{caps, steepness};
use super::problem::{Problem, Rows};
use super::scratch::Scratch;
use super::vector::{Lanes, Vector, Write};

/// Runs across rows.
pub(crate) struct Tiles<'a, 'b, T: Element>(pub(crate) Rows<'a, 'b, T>);

/// With more classes a tile of four vectors leaves the second cache.
const WIDE_CLASSES: usize = 256;

/// Classes whose terms are added up before they go to `f64`.
const RUN: usize = 16;

impl<T: Element> Kernel<T> for Tiles<'_, '_, T> {
    #[inline(always)]
    fn run<V: Lanes<Scalar = T::Sum> + Write<T>>(self) {
        let capped = self.0.problem.softcap.is_some();
        let gradient = !self.0.problem.output.is_null();
        match (capped, gradient, self.0.problem.is_flat()) {
            (false, false, false) => self.tiles::<V, false, false, false>(),
            (false, false, true) => self.tiles::<V, false, false, true>(),
            (false, true, false) => self.tiles::<V, false, true, false>(),
            (false, true, true) => self.tiles::<V, false, true, true>(),
            (true, false, false) => self.tiles::<V, true, false, false>(),
            (true, false, true) => self.tiles::<V, true, false, true>(),
            (true, true, false) => self.tiles::<V, true, true, false>(),
            (true, true, true) => self.tiles::<V, true, true, true>(),
        }
    }
}

#[allow(unsafe_code)]
impl<T: Element> Tiles<'_, '_, T> {
    #[inline(always)]
    fn tiles<V, const CAPPED: bool, const GRADIENT: bool, const FLAT: bool>(self)
    where
        V: Lanes<Scalar = T::Sum> + Write<T>,
    {
        let Rows { problem, range } = self.0;
        let spatial = problem.layout.spatial;
        let classes = problem.layout.classes;
        let goes_wide = !CAPPED && V::HAS_MANY_REGISTERS && classes <= WIDE_CLASSES;
        let size = classes * if goes_wide { Four::<V>::LANES } else { V::LANES };
        let scratch = Scratch::<T::Sum, 3>::take([size; 3]);
        let [logits, spread, steepness] = scratch.pieces;
        // Not made anew for every tile, which would take as long as a tenth of the work.
        let (mut targets, mut outcomes) = (LaneTargets::NONE, LaneOutcomes::NOTHING);
        let mut row = range.start;
        while row < range.end {
            // Rows of a tile are neighbours in memory.
            let neighbours = if spatial == 1 { usize::MAX } else { spatial - row % spatial };
            let rows = neighbours.min(range.end - row);
            let mut tile =
                Tile { problem, row, lanes: rows.min(V::LANES), logits, spread, steepness };
            // Four vectors at a time, where that is worth its code.
            #[allow(clippy::collapsible_if)] // What is known when it is compiled comes first.
            if !CAPPED && V::HAS_MANY_REGISTERS {
                if goes_wide && rows > 2 * V::LANES {
                    tile.lanes = rows.min(Four::<V>::LANES);
                    // SAFETY: the rows are the problem's and this kernel's alone; the scratch
                    // pieces hold K vectors of either kind.
                    unsafe {
                        tile.run::<Four<V>, CAPPED, GRADIENT, FLAT>(&mut targets, &mut outcomes);
                    }
                    row += tile.lanes;
                    continue;
                }
            }
            // SAFETY: as above.
            unsafe { tile.run::<V, CAPPED, GRADIENT, FLAT>(&mut targets, &mut outcomes) }
            row += tile.lanes;
        }
    }
}

/// Up to `LANES` rows.
struct Tile<'a, 'b, T: Element> {
    problem: &'a Problem<'b, T>,
    row: usize,
    lanes: usize,
    logits: *mut T::Sum,
    spread: *mut T::Sum,
    steepness: *mut T::Sum,
}

#[allow(unsafe_code)]
impl<T: Element> Tile<'_, '_, T> {
    /// # Safety
    /// The rows are the problem's, and nobody else writes to them; `logits`, `spread` and
    /// `steepness` hold K vectors.
    #[inline(always)]
    #[allow(clippy::too_many_lines)]
    unsafe fn run<V, const CAPPED: bool, const GRADIENT: bool, const FLAT: bool>(
        &self,
        targets: &mut LaneTargets<T::Sum>,
        outcomes: &mut LaneOutcomes,
    ) where
        V: Lanes<Scalar = T::Sum> + Write<T>,
    {
        let problem = self.problem;
        let classes = problem.layout.classes;
        let (zero, one) = (T::Sum::ZERO, T::Sum::ONE);
        let lowest = T::Sum::NEG_INFINITY;
        targets.set(problem.target, self.row, self.lanes, V::LANES);
        let targets = &*targets;
        let counts = &targets.counts;

        // SAFETY throughout: lanes below `self.lanes` are rows of the problem, classes below K;
        // the tiles hold K vectors.
        unsafe {
            self.read_tile::<V, T>(problem.input, self.logits);
            if !targets.all_count {
                for lane in (0..self.lanes).filter(|&lane| !counts[lane]) {
                    for class in 0..classes {
                        self.logits.add(class * V::LANES + lane).write(zero);
                    }
                }
            }
            let uniform = V::load(targets.uniform.as_ptr());
            if !FLAT {
                self.fill_spread::<V>(targets, uniform, V::load(targets.dense.as_ptr()));
                if !targets.all_count {
                    // A dense row of an ignored sample may hold anything.
                    for lane in (0..self.lanes).filter(|&lane| !counts[lane]) {
                        for class in 0..classes {
                            self.spread.add(class * V::LANES + lane).write(zero);
                        }
                    }
                }
            }

            let mut label_logits = [[zero; WIDTH]; 2];
            for (logits, classes) in
                label_logits.iter_mut().zip(&targets.classes).take(targets.points)
            {
                for lane in 0..V::LANES {
                    logits[lane] = self.logits.add(classes[lane] * V::LANES + lane).read();
                }
            }

            // The first sweep.
            let scale = V::splat(problem.scale);
            let (cap, over_cap) = caps::<T, V>(problem);
            let mut top = V::splat(lowest);
            let mut largest = V::splat(lowest);
            let (mut products, mut masses) = ([0.0; WIDTH], [0.0; WIDTH]);
            let mut start = 0;
            while start < classes {
                let end = classes.min(start + RUN);
                let mut mass = V::splat(zero);
                for class in start..end {
                    let at = class * V::LANES;
                    let logit = V::load(self.logits.add(at));
                    let mut z = logit.mul(scale);
                    if CAPPED {
                        top = top.max(z);
                        if GRADIENT {
                            let steepness = steepness(logit, scale, over_cap);
                            steepness.store(self.steepness.add(at));
                        }
                        z = z.mul(over_cap).tanh().mul(cap);
                    }
                    z.store(self.logits.add(at));
                    largest = largest.max(z);
                    if !FLAT {
                        mass = mass.add(V::load(self.spread.add(at)));
                    }
                }
                if !FLAT {
                    add_lanes(&mut masses, mass);
                }
                start = end;
            }
            if !CAPPED {
                top = largest;
            }
            // The second: z − M is exact enough, because z was rounded before M was chosen.
            let mut base = [zero; WIDTH];
            largest.store(base.as_mut_ptr());
            for base in &mut base[..V::LANES] {
                *base = if *base == lowest { zero } else { *base };
            }
            let negative = V::splat(-one);
            let down = V::load(base.as_ptr()).mul(negative);
            let mut totals = [0.0; WIDTH];
            let mut start = 0;
            while start < classes {
                let end = classes.min(start + RUN);
                let (mut total, mut product) = (V::splat(zero), V::splat(zero));
                for class in start..end {
                    let at = class * V::LANES;
                    let below = V::load(self.logits.add(at)).add(down);
                    let t = if FLAT { uniform } else { V::load(self.spread.add(at)) };
                    product = t.mul_add_if_nonzero(below, product);
                    let e = below.exp();
                    total = total.add(e);
                    if GRADIENT {
                        e.store(self.logits.add(at));
                    }
                }
                add_lanes(&mut totals, total);
                add_lanes(&mut products, product);
                start = end;
            }

            // What the rows come to.
            let mut shares = [0.0; WIDTH];
            V::logarithms(totals.as_ptr(), outcomes.log_total.as_mut_ptr(), shares.as_mut_ptr());
            if FLAT {
                for lane in 0..V::LANES {
                    masses[lane] = targets.uniform[lane].to_f64() * classes as f64;
                }
            }
            outcomes.settle::<T>(
                problem,
                targets,
                &base,
                &masses,
                &products,
                &label_logits,
                V::LANES,
            );

            // The third.
            let mut factors = [zero; WIDTH];
            let mut less = [zero; WIDTH];
            let mut labels = [[zero; WIDTH]; 2];
            if GRADIENT {
                let steps = targets.steps(problem, self.row, self.lanes);
                for lane in 0..V::LANES {
                    let factor = outcomes.slope[lane] * steps[lane] * shares[lane];
                    factors[lane] = T::Sum::from_f64(factor);
                    less[lane] = T::Sum::from_f64(-steps[lane]);
                }
                for point in 0..targets.points {
                    let values = &mut labels[point];
                    for lane in 0..V::LANES {
                        let class = targets.classes[point][lane];
                        let at = class * V::LANES + lane;
                        let spread =
                            if FLAT { targets.uniform[lane] } else { self.spread.add(at).read() };
                        let mass = spread + targets.point_mass_on(class, lane);
                        let e = self.logits.add(at).read();
                        let value = e.mul_add(factors[lane], mass * less[lane]);
                        let steepness = if CAPPED { self.steepness.add(at).read() } else { one };
                        values[lane] = value * steepness;
                    }
                }
                let (factor, less) = (V::load(factors.as_ptr()), V::load(less.as_ptr()));
                let constant = uniform.mul(less);
                for class in 0..classes {
                    let at = class * V::LANES;
                    let summand =
                        if FLAT { constant } else { V::load(self.spread.add(at)).mul(less) };
                    let mut gradient = V::load(self.logits.add(at)).mul_add(factor, summand);
                    if CAPPED {
                        gradient = gradient.mul(V::load(self.steepness.add(at)));
                    }
                    gradient.store(self.logits.add(at));
                }
                for (classes, values) in targets.classes.iter().zip(&labels).take(targets.points) {
                    for lane in 0..V::LANES {
                        self.logits.add(classes[lane] * V::LANES + lane).write(values[lane]);
                    }
                }
            }

            outcomes.report(problem, self.row, self.lanes, V::LANES);
            if !(outcomes.all_finite && problem.correct.is_null()) {
                let mut tops = [zero; WIDTH];
                top.store(tops.as_mut_ptr());
                for lane in 0..self.lanes {
                    self.judge::<GRADIENT>(
                        lane,
                        V::LANES,
                        targets,
                        outcomes,
                        (tops[lane], label_logits[0][lane]),
                    );
                }
            }
            if GRADIENT {
                self.write_tile::<V>();
            }
        }
    }

    /// What is left to say of a row: whether it is correct, and all of it if it is not finite.
    ///
    /// # Safety
    /// As [`run`](Self::run); the logits have not been overwritten.
    #[inline(always)]
    unsafe fn judge<const GRADIENT: bool>(
        &self,
        lane: usize,
        lanes: usize,
        targets: &LaneTargets<T::Sum>,
        outcomes: &LaneOutcomes,
        (top, label_logit): (T::Sum, T::Sum),
    ) {
        let (problem, row) = (self.problem, self.row + lane);
        // SAFETY: promised by the caller.
        unsafe {
            if !targets.counts[lane] {
                problem.report_correct(row, false);
                return;
            }
            let is_finite = outcomes.log_sum_exp[lane].is_finite();
            if !(is_finite && outcomes.loss[lane].is_finite()) {
                self.careful_lane::<GRADIENT>(lane, lanes, is_finite);
            }
            if is_finite && !problem.correct.is_null() {
                let own = label_logit * problem.scale;
                let correct = targets.points > 0
                    && own == top
                    && !self.occurs(lane, targets.classes[0][lane], own);
                problem.report_correct(row, correct);
            }
        }
    }

    /// A row that is not finite, into the tile and the reports.
    ///
    /// # Safety
    /// As [`run`](Self::run); the logits have not been overwritten.
    #[cold]
    #[inline(never)]
    unsafe fn careful_lane<const GRADIENT: bool>(
        &self,
        lane: usize,
        lanes: usize,
        sum_is_finite: bool,
    ) {
        let (problem, row) = (self.problem, self.row + lane);
        // SAFETY: promised by the caller.
        unsafe {
            let careful = CarefulRow::new(problem, row);
            let outcome = careful.outcome();
            problem.report(row, outcome.loss, outcome.log_sum_exp);
            if sum_is_finite {
                return;
            }
            problem.report_correct(row, careful.is_correct());
            if GRADIENT {
                let scale = problem.gradient_scale_of(row);
                for class in 0..problem.layout.classes {
                    let value = careful.gradient(class, &outcome, scale);
                    self.logits.add(class * lanes + lane).write(T::Sum::from_f64(value));
                }
            }
        }
    }

    /// Whether a scaled logit occurs in a row before a class.
    ///
    /// # Safety
    /// As [`run`](Self::run); the logits have not been overwritten.
    #[inline(always)]
    unsafe fn occurs(&self, lane: usize, before: usize, scaled: T::Sum) -> bool {
        let layout = self.problem.layout;
        let first = layout.first(self.row + lane);
        (0..before).any(|class| {
            // SAFETY: promised by the caller.
            let logit = unsafe { self.problem.input.add(first + class * layout.spatial).read() };
            T::Sum::widen(logit) * self.problem.scale == scaled
        })
    }
}

/// Adds the lanes of a vector to sums in `f64`.
#[allow(unsafe_code)]
#[inline(always)]
fn add_lanes<V: Lanes>(sums: &mut [f64; WIDTH], vector: V) {
    let mut lanes = [V::Scalar::ZERO; WIDTH];
    // SAFETY: the array holds at least LANES numbers.
    unsafe { vector.store(lanes.as_mut_ptr()) }
    for (sum, lane) in sums[..V::LANES].iter_mut().zip(&lanes[..V::LANES]) {
        *sum += lane.to_f64();
    }
}
