//! A clock and a gauge of memory; `peers.py` has the same two.

use std::fs;
use std::time::Instant;

use anyhow::Result;

/// Fewest timed repetitions.
const FEWEST: usize = 3;

/// Median milliseconds of `operation`, repeated for at least `min_seconds` after two warm-up runs.
///
/// For `min_seconds` of 0 one run is timed.
pub(crate) fn median_ms(
    min_seconds: f64,
    operation: &mut dyn FnMut() -> Result<()>,
) -> Result<f64> {
    operation()?;
    operation()?;
    let fewest = if min_seconds > 0.0 { FEWEST } else { 1 };
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < fewest || start.elapsed().as_secs_f64() < min_seconds {
        let before = Instant::now();
        operation()?;
        times.push(1e3 * before.elapsed().as_secs_f64());
    }
    Ok(median(&mut times))
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
    fn an_operation_is_warmed_up_and_repeated() {
        let count = |min_seconds| {
            let mut runs = 0;
            let mut operation = || {
                runs += 1;
                Ok(())
            };
            median_ms(min_seconds, &mut operation).unwrap();
            runs
        };
        assert_eq!(count(0.0), 3);
        assert!(count(1e-9) >= 5);
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
