//! From the moments of rows to the cumulants that are summed, a few rows at a time.

use super::{ORDER, Sums};
use crate::CompensatedSum;
use crate::rows::exponential::ln;

/// So many rows are summed before compensation.
const GROUP: usize = 16;

/// The moments of a few rows; a place that none has taken weighs nothing.
pub(super) struct Group {
    moments: [[f64; GROUP]; ORDER + 1],
    gaps: [f64; GROUP],
    weights: [f64; GROUP],
    count: usize,
}

impl Group {
    pub(super) const EMPTY: Self = Self {
        moments: [[1.0; GROUP]; ORDER + 1],
        gaps: [0.0; GROUP],
        weights: [0.0; GROUP],
        count: 0,
    };

    /// To be called unless it is full.
    #[inline(always)]
    pub(super) fn push<const N: usize>(&mut self, moments: [f64; N], gap: f64, weight: f64) {
        let place = self.count % GROUP;
        for (to, moment) in self.moments.iter_mut().zip(moments) {
            to[place] = moment;
        }
        self.gaps[place] = gap;
        self.weights[place] = weight;
        self.count = place + 1;
    }

    /// [`add_cross_entropy`](Self::add_cross_entropy) if no place is left.
    #[inline(always)]
    pub(super) fn add_cross_entropy_if_full(&mut self, sum: &mut CompensatedSum) {
        if self.count == GROUP {
            self.add_cross_entropy(sum);
        }
    }

    /// Adds w (ln Σ e^d − g) of its rows, and forgets them.
    #[inline(always)]
    pub(super) fn add_cross_entropy(&mut self, sum: &mut CompensatedSum) {
        let mut terms = [0.0; GROUP];
        for (row, term) in terms.iter_mut().enumerate() {
            *term = self.weights[row] * (ln(self.moments[0][row]) - self.gaps[row]);
        }
        let mut total = 0.0;
        for term in terms {
            total += term;
        }
        sum.add(total);
        *self = Self::EMPTY;
    }

    /// [`add`](Self::add) if no place is left.
    #[inline(always)]
    pub(super) fn add_if_full(&mut self, beta: f64, sums: &mut Sums) {
        if self.count == GROUP {
            self.add(beta, sums);
        }
    }

    /// Adds L and its derivatives of its rows, and forgets them.
    #[inline(always)]
    pub(super) fn add(&mut self, beta: f64, sums: &mut Sums) {
        let mut terms = [[0.0; GROUP]; ORDER + 1];
        // One loop without calls, which the compiler makes vectors of.
        for row in 0..GROUP {
            let [m0, m1, m2, m3, m4, m5, m6] = [
                self.moments[0][row],
                self.moments[1][row],
                self.moments[2][row],
                self.moments[3][row],
                self.moments[4][row],
                self.moments[5][row],
                self.moments[6][row],
            ];
            let share = 1.0 / m0;
            let mean = m1 * share;
            let (m2, m3, m4, m5, m6) = (m2 * share, m3 * share, m4 * share, m5 * share, m6 * share);
            let square = mean * mean;
            // Central moments, by the binomial theorem.
            let variance = m2 - square;
            let c2 = if variance < 0.0 { 0.0 } else { variance };
            let c3 = m3 - mean * (3.0 * m2 - 2.0 * square);
            let c4 = m4 - mean * (4.0 * m3 - mean * (6.0 * m2 - 3.0 * square));
            let inner = 10.0 * m3 - mean * (10.0 * m2 - 4.0 * square);
            let c5 = m5 - mean * (5.0 * m4 - mean * inner);
            let inner = 20.0 * m3 - mean * (15.0 * m2 - 5.0 * square);
            let c6 = m6 - mean * (6.0 * m5 - mean * (15.0 * m4 - mean * inner));
            // Cumulants.
            let k4 = c4 - 3.0 * c2 * c2;
            let k5 = c5 - 10.0 * c2 * c3;
            let k6 = c6 - 15.0 * c2 * (k4 + c2 * c2) - 10.0 * c3 * c3;
            let (weight, gap) = (self.weights[row], self.gaps[row]);
            terms[0][row] = weight * (ln(m0) - beta * gap);
            terms[1][row] = weight * (mean - gap);
            terms[2][row] = weight * c2;
            terms[3][row] = weight * c3;
            terms[4][row] = weight * k4;
            terms[5][row] = weight * k5;
            terms[6][row] = weight * k6;
        }
        for (sum, terms) in sums.0.iter_mut().zip(terms) {
            let mut total = 0.0;
            for term in terms {
                total += term;
            }
            sum.add(total);
        }
        *self = Self::EMPTY;
    }
}
