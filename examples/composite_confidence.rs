//! One calibrated confidence out of several signals, as a retrieval-augmented system has them.
//!
//! An answer is right if the passages hold it and the model read it off them. The retriever's score
//! knows something of the first, the probability of the generated sequence of the second, and a
//! verifier of both, but it gives no answer now and then. None of them is the probability of being
//! right; combined on a few hundred judged answers they come close to it.
//!
//! ```text
//! cargo run -p softlabel-examples --example composite_confidence
//! ```

use softlabel::Labels;
use softlabel::posthoc::{Missing, Signal, SignalCombination, SignalOptions};

/// Numbers that look random, the same in every run.
struct Numbers(u64);

impl Numbers {
    /// In (0, 1).
    fn uniform(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as f64 + 0.5) / (1u64 << 31) as f64
    }

    /// Standard normal, about: the sum of twelve uniform numbers.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// Signals of answers, row by row, and whether each was right.
fn answers(count: usize, numbers: &mut Numbers) -> (Vec<f64>, Vec<usize>) {
    let (mut rows, mut right) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (found, read) = (numbers.normal(), numbers.normal());
        let log_odds = 0.5 + 1.5 * found + 1.2 * read;
        right.push(usize::from(numbers.uniform() < 1.0 / (1.0 + (-log_odds).exp())));
        let retriever = 0.6 + 0.1 * (found + 0.5 * numbers.normal());
        let sequence = -8.0 + 3.0 * (read + 0.7 * numbers.normal());
        let belief: f64 = 0.8 * found + 0.8 * read + numbers.normal();
        let verifier = 1.0 / (1.0 + (-3.0 * belief).exp());
        // It abstains from what is hard.
        let verifier = if belief.abs() < 0.2 { f64::NAN } else { verifier };
        rows.extend([retriever, sequence, verifier]);
    }
    (rows, right)
}

fn nll(probabilities: &[f64], right: &[usize]) -> f64 {
    let losses = probabilities.iter().zip(right).map(|(p, &right)| match right {
        1 => -p.ln(),
        _ => -(-p).ln_1p(),
    });
    losses.sum::<f64>() / right.len() as f64
}

fn main() -> anyhow::Result<()> {
    let mut numbers = Numbers(7);
    let (rows, right) = answers(600, &mut numbers);
    let (new_rows, new_right) = answers(4000, &mut numbers);
    let signals = [
        Signal::new("retriever score"),
        Signal::new("log-probability of the sequence"),
        Signal::log_odds("verifier"),
    ];
    let options = SignalOptions { missing: Missing::Indicate, ..SignalOptions::default() };
    let labels = Labels::new(&right, 2)?;
    let combined = SignalCombination::fit(&signals, &rows, &labels, options)?;
    let together = nll(&combined.apply(&new_rows)?, &new_right);
    println!("NLL on new answers");
    println!("{:<34} {together:.4}", "all signals combined");

    for (index, signal) in signals.iter().enumerate() {
        let column = |rows: &[f64]| -> Vec<f64> {
            rows.iter().skip(index).step_by(signals.len()).copied().collect()
        };
        let alone =
            SignalCombination::fit(&signals[index..=index], &column(&rows), &labels, options)?;
        let alone = nll(&alone.apply(&column(&new_rows))?, &new_right);
        println!("{:<34} {alone:.4}", format!("{} alone, calibrated", signal.name));
        anyhow::ensure!(together < alone - 0.02, "{} alone is as good", signal.name);
    }
    let verifier = new_rows.iter().skip(2).step_by(3);
    let raw: Vec<f64> = verifier.map(|p| if p.is_nan() { 0.5 } else { *p }).collect();
    let raw = nll(&raw, &new_right);
    println!("{:<34} {raw:.4}", "the verifier as it is");
    anyhow::ensure!(together < raw - 0.05, "the verifier as it is is as good");

    println!("\nwhat a standard deviation adds to the log-odds");
    for (signal, fitted) in combined.signals() {
        println!("{:<34} {:+.2}", signal.name, fitted.factor);
    }
    Ok(())
}
