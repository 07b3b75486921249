//! How numbers are written: digits, units, signs, counts, times.
//!
//! Every view formats through this module, so a number reads the same wherever it stands.

use softlabel_results::{Metric, Statistic};

/// A minus sign, as wide as the plus sign.
const MINUS: char = '−';

/// What stands in a cell without a number.
pub(crate) const NONE: &str = "–";

/// How the numbers of one metric are written.
struct Format {
    /// 100 for what is shown in percent.
    factor: f64,
    decimals: usize,
    /// Unit of a value, with the space before it.
    unit: &'static str,
    /// Unit of a change, with the space before it.
    change_unit: &'static str,
}

fn format_of(metric: Metric) -> Format {
    match metric {
        Metric::Accuracy | Metric::Ece | Metric::MeanConfidence => {
            Format { factor: 100.0, decimals: 2, unit: " %", change_unit: " pp" }
        }
        Metric::Nll | Metric::Brier => {
            Format { factor: 1.0, decimals: 4, unit: "", change_unit: "" }
        }
        Metric::MeanLogitGap => Format { factor: 1.0, decimals: 2, unit: "", change_unit: "" },
        Metric::Temperature => Format { factor: 1.0, decimals: 3, unit: "", change_unit: "" },
    }
}

/// The unit for the heading of a column; empty for a number without one.
pub(crate) fn heading_unit(metric: Metric) -> &'static str {
    match metric {
        Metric::Accuracy | Metric::Ece | Metric::MeanConfidence => "%",
        Metric::Nll => "nats",
        Metric::Brier => "0–2",
        Metric::MeanLogitGap | Metric::Temperature => "",
    }
}

/// The mean, without unit: `97.31`.
pub(crate) fn mean(metric: Metric, statistic: &Statistic) -> String {
    plain(metric, statistic.mean)
}

/// The standard deviation, without unit; none with a single seed.
pub(crate) fn sd(metric: Metric, statistic: &Statistic) -> Option<String> {
    statistic.sd.map(|sd| plain(metric, sd))
}

/// One value, without unit.
pub(crate) fn plain(metric: Metric, value: f64) -> String {
    let format = format_of(metric);
    decimal(value * format.factor, format.decimals)
}

/// Mean, standard deviation and unit: `97.31 ± 0.20 %`.
pub(crate) fn level(metric: Metric, statistic: &Statistic) -> String {
    let unit = format_of(metric).unit;
    with_sd(mean(metric, statistic), sd(metric, statistic)) + unit
}

/// A change with sign, standard deviation and unit: `−8.10 ± 1.20 pp`.
pub(crate) fn change(metric: Metric, statistic: &Statistic) -> String {
    let mean = mean_change(metric, statistic);
    with_sd(mean, sd(metric, statistic)) + format_of(metric).change_unit
}

/// The mean of a change with its sign: `−8.10`.
pub(crate) fn mean_change(metric: Metric, statistic: &Statistic) -> String {
    let format = format_of(metric);
    signed(statistic.mean * format.factor, format.decimals)
}

/// The unit of a column of changes, for its heading.
pub(crate) fn change_unit(metric: Metric) -> &'static str {
    match heading_unit(metric) {
        "%" => "pp",
        unit => unit,
    }
}

fn with_sd(mean: String, sd: Option<String>) -> String {
    match sd {
        Some(sd) => format!("{mean} ± {sd}"),
        None => mean,
    }
}

/// A bound as a person would write it: `5 %`, not `5.00 %`.
pub(crate) fn bound(metric: Metric, value: f64) -> String {
    let format = format_of(metric);
    short(value * format.factor) + format.unit
}

/// A value beside its bounds, with more digits where rounding would make the two look equal.
pub(crate) fn beside(metric: Metric, value: f64, bounds: &[f64]) -> String {
    let format = format_of(metric);
    let digits = |value: f64, extra| decimal(value * format.factor, format.decimals + extra);
    let distinct = |extra: &usize| {
        bounds.iter().all(|&bound| bound == value || digits(bound, *extra) != digits(value, *extra))
    };
    let extra = (0..8).find(distinct).unwrap_or(0);
    digits(value, extra) + format.unit
}

/// A number with a real minus sign; what rounds to zero has none.
pub(crate) fn decimal(value: f64, decimals: usize) -> String {
    let size = magnitude(value, decimals);
    let zero = size.chars().all(|c| matches!(c, '0' | '.'));
    if value < 0.0 && !zero { format!("{MINUS}{size}") } else { size }
}

/// A number with its sign, also where it rounds to zero; only an exact zero has none.
pub(crate) fn signed(value: f64, decimals: usize) -> String {
    let size = magnitude(value, decimals);
    if value > 0.0 {
        format!("+{size}")
    } else if value < 0.0 {
        format!("{MINUS}{size}")
    } else {
        size
    }
}

fn magnitude(value: f64, decimals: usize) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        "∞".to_owned()
    } else {
        format!("{:.decimals$}", value.abs())
    }
}

/// A share in percent: `18.02 %`.
pub(crate) fn percent(share: f64) -> String {
    decimal(share * 100.0, 2) + " %"
}

/// A share over the seeds in percent, without unit: `2.29 ± 0.38`.
pub(crate) fn share(statistic: &Statistic) -> String {
    let percent = |value: f64| decimal(value * 100.0, 2);
    with_sd(percent(statistic.mean), statistic.sd.map(percent))
}

/// A number over the seeds: `0.540 ± 0.001`.
pub(crate) fn spread(statistic: &Statistic, decimals: usize) -> String {
    let text = |value| decimal(value, decimals);
    with_sd(text(statistic.mean), statistic.sd.map(text))
}

/// A number of a recipe, with the digits that it has: `4`, `0.25`.
pub(crate) fn short(value: f64) -> String {
    let digits = decimal(value, 6);
    if !digits.contains('.') {
        return digits;
    }
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A level of confidence in percent, without zeros at its end: `95 %`, `99.9 %`.
pub(crate) fn level_of(share: f64) -> String {
    short(share * 100.0) + " %"
}

/// A whole number with its thousands set apart: `45,000`.
pub(crate) fn count(number: u64) -> String {
    grouped(&number.to_string())
}

/// A mean of counts, to the whole number: `45,000`.
pub(crate) fn whole(mean: f64) -> String {
    grouped(&magnitude(mean, 0))
}

fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 seed`, `5 seeds`.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number as u64))
}

/// A wall time: `0.84 s`, `12.3 s`, `4 min 12 s`, `2 h 05 min`.
pub(crate) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return NONE.to_owned();
    }
    if seconds < 9.995 {
        return format!("{seconds:.2} s");
    }
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = std::time::Duration::from_secs_f64(seconds.round().min(1e15)).as_secs();
    let (hours, minutes) = (whole / 3600, whole / 60 % 60);
    if hours == 0 {
        format!("{minutes} min {:02} s", whole % 60)
    } else {
        format!("{} h {minutes:02} min", count(hours))
    }
}

/// Seconds since 1970 as `2026-03-05 14:02 UTC`, in the Gregorian calendar.
pub(crate) fn utc(unix_seconds: u64) -> String {
    let (days, seconds) = (unix_seconds / 86_400, unix_seconds % 86_400);
    // Years begin on 1 March here, so that the leap day is the last of its year,
    // and eras of 400 years, all of the same length, begin with 1 March 0000.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leap_days_passed = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days_passed) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
    let month = (months_since_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (seconds / 3600, seconds / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minus_signs_are_real_and_never_stand_before_zero() {
        assert_eq!(decimal(-1.234, 2), "−1.23");
        assert_eq!(decimal(-0.001, 2), "0.00");
        assert_eq!(decimal(-0.0, 2), "0.00");
        assert_eq!(signed(-0.001, 2), "−0.00");
        assert_eq!(signed(0.5, 1), "+0.5");
        assert_eq!(signed(0.0, 1), "0.0");
    }

    #[test]
    fn what_is_no_number_is_named() {
        assert_eq!(decimal(f64::NAN, 2), "NaN");
        assert_eq!(decimal(f64::NEG_INFINITY, 2), "−∞");
        assert_eq!(signed(f64::INFINITY, 2), "+∞");
    }

    #[test]
    fn units_follow_the_metric() {
        let one = Statistic::of(vec![0.25]);
        let two = Statistic::of(vec![0.25, 0.27]);
        assert_eq!(level(Metric::Accuracy, &one), "25.00 %");
        assert_eq!(level(Metric::Ece, &two), "26.00 ± 1.41 %");
        assert_eq!(change(Metric::Ece, &two), "+26.00 ± 1.41 pp");
        assert_eq!(change(Metric::Nll, &one), "+0.2500");
    }

    #[test]
    fn bounds_are_short_and_values_tell_their_side() {
        assert_eq!(bound(Metric::Ece, 0.05), "5 %");
        assert_eq!(bound(Metric::Accuracy, 0.975), "97.5 %");
        assert_eq!(bound(Metric::Nll, 0.0), "0");
        assert_eq!(beside(Metric::Ece, 0.050_01, &[0.05]), "5.001 %");
        assert_eq!(beside(Metric::Ece, 0.04, &[0.05]), "4.00 %");
        assert_eq!(beside(Metric::Ece, 0.05, &[0.05]), "5.00 %");
    }

    #[test]
    fn counts_and_times() {
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "seed"), "1 seed");
        assert_eq!(duration(0.84), "0.84 s");
        assert_eq!(duration(59.96), "1 min 00 s");
        assert_eq!(duration(252.0), "4 min 12 s");
        assert_eq!(duration(7_500.0), "2 h 05 min");
        assert_eq!(duration(f64::NAN), "–");
    }

    #[test]
    fn dates_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(utc(951_868_800), "2000-03-01 00:00 UTC");
        assert_eq!(utc(1_767_225_599), "2025-12-31 23:59 UTC");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00 UTC");
    }
}
