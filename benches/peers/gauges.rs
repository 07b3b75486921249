//! A clock and a gauge of memory; `peers.py` has the same two.

use std::fs;
use std::time::Instant;

use anyhow::Result;

/// Fewest timed repetitions.
const FEWEST: usize = 3;
/// Seconds after which it is another side's turn.
const TURN: f64 = 0.05;

/// Median milliseconds of each of `sides` operations, where `run(i)` carries out the i-th.
///
/// After two warm-up runs each, they take turns of [`TURN`] until each has had `min_seconds`, so that whatever
/// slows the machine for a while slows all of them. For `min_seconds` of 0 one run of each is timed.
pub(crate) fn medians_ms(
    min_seconds: f64,
    sides: usize,
    run: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<f64>> {
    let (fewest, turn) = if min_seconds > 0.0 { (FEWEST, TURN) } else { (1, 0.0) };
    for side in 0..sides {
        run(side)?;
        run(side)?;
    }
    let mut times = vec![Vec::new(); sides];
    let mut spent = vec![0.0; sides];
    while (0..sides).any(|side| times[side].len() < fewest || spent[side] < min_seconds) {
        for side in 0..sides {
            let start = Instant::now();
            loop {
                let before = Instant::now();
                run(side)?;
                times[side].push(1e3 * before.elapsed().as_secs_f64());
                if start.elapsed().as_secs_f64() >= turn {
                    break;
                }
            }
            spent[side] += start.elapsed().as_secs_f64();
        }
    }
    Ok(times.iter_mut().map(|times| median(times)).collect())
}

/// The middle value, or the mean of the two in the middle; NaN of nothing.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Resident bytes at the peak of `operation` beyond those before it; none where Linux does not say.
///
/// Memory that the allocator keeps from earlier runs would hide what the operation takes, so the caller starts this
/// process with an allocator that returns everything at once (`MALLOC_MMAP_THRESHOLD_`).
pub(crate) fn peak_bytes(operation: &mut dyn FnMut() -> Result<()>) -> Result<Option<u64>> {
    // Code and thread stacks are loaded by the first run.
    operation()?;
    // Sets the high-water mark back to what is resident now.
    if fs::write("/proc/self/clear_refs", "5").is_err() {
        return Ok(None);
    }
    let before = status("VmRSS:");
    operation()?;
    Ok(status("VmHWM:").zip(before).map(|(peak, before)| peak.saturating_sub(before)))
}

/// A value of this process's status, in bytes.
fn status(name: &str) -> Option<u64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, name)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(1024 * kilobytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&mut []).is_nan());
    }

    #[test]
    fn sides_are_warmed_up_and_take_turns() {
        let count = |min_seconds| {
            let mut runs = [0, 0];
            let mut run = |side: usize| {
                runs[side] += 1;
                std::thread::sleep(std::time::Duration::from_millis(20));
                Ok(())
            };
            assert_eq!(medians_ms(min_seconds, 2, &mut run).unwrap().len(), 2);
            runs
        };
        assert_eq!(count(0.0), [3, 3]);
        assert!(count(1e-9).iter().all(|&runs| runs >= 5));
    }

    #[test]
    fn the_status_is_in_kilobytes() {
        let text = "Name:\tx\nVmHWM:\t    12 kB\nVmRSS:\t    10 kB\n";
        assert_eq!(field(text, "VmHWM:"), Some(12_288));
        assert_eq!(field(text, "VmSwap:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_an_operation_touches_is_counted() {
        const SIZE: usize = 64 << 20;
        let mut operation = || {
            std::hint::black_box(vec![1_u8; SIZE]);
            Ok(())
        };
        // Where the mark cannot be set back there is nothing to compare.
        if let Some(bytes) = peak_bytes(&mut operation).unwrap() {
            assert!(bytes >= (SIZE as u64) / 10 * 9, "{bytes}");
        }
    }
}
