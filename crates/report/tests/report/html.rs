//! The HTML file: well formed, on its own, safe, and complete.

use softlabel_report::{TableStyle, html, table};
use softlabel_results::{DegenerateFit, Metric, Summary};

use crate::sample;

fn report(summary: &Summary) -> String {
    html(summary, &sample::provenance()).expect("the template is filled in")
}

/// Every tag is closed in order. Enough of a parser for this template: no `>` stands in an attribute,
/// because the escaping sees to it.
fn check_tags_balance(html: &str) {
    const VOID: [&str; 3] = ["!DOCTYPE", "meta", "br"];
    let mut open: Vec<&str> = Vec::new();
    for piece in html.split('<').skip(1) {
        let tag = piece.split('>').next().unwrap_or_default();
        let name = tag.split_whitespace().next().unwrap_or_default();
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closed by <{tag}>");
        } else if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

#[test]
fn a_report_is_well_formed() {
    let html = report(&sample::summary());
    // To be looked at in a browser.
    std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/report.html"), &html).unwrap();
    check_tags_balance(&html);
    check_tags_balance(&report(&sample::single_seed()));
}

#[test]
fn maps_that_follow_one_another_are_told_apart() {
    let html = report(&sample::composed());
    // To be looked at in a browser.
    std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/composed.html"), &html).unwrap();
    check_tags_balance(&html);
    assert!(html.contains(">+ temperature + isotonic</span>"));
    assert!(html.contains("<strong>+ temperature + isotonic</strong>"));
    assert!(html.contains("hard + ensemble_temperature + bias_corrected_temperature + isotonic"));
    assert!(!html.contains("temperature+isotonic"));
}

#[test]
fn a_report_needs_nothing_from_elsewhere() {
    let html = report(&sample::summary());
    for reference in
        ["http://", "https://", "src=", "<script", "<link", "<img", "@import", "xlink:"]
    {
        assert!(!html.contains(reference), "{reference}");
    }
    let urls = html.matches("url(").count();
    assert_eq!(urls, html.matches("url(#").count(), "an url() that leaves the file");
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn names_are_text_whatever_they_hold() {
    let hostile = r#"<script>alert("1")</script> & 'co'"#;
    let mut summary = sample::summary();
    summary.name = hostile.into();
    summary.rows[0].arm = hostile.into();
    summary.comparisons[0].candidate = hostile.into();
    summary.checks[0].row = hostile.into();
    summary.dataset.name = hostile.into();
    summary.dataset.label_noise = Some(hostile.into());
    let mut provenance = sample::provenance();
    provenance.recipe = hostile.into();
    provenance.overrides = vec![hostile.into()];
    provenance.timings[0].arm = hostile.into();
    let html = html(&summary, &provenance).unwrap();
    assert!(!html.contains("<script"));
    assert!(html.contains("&#60;script&#62;"));
    check_tags_balance(&html);
}

#[test]
fn every_mean_and_spread_of_the_table_is_there() {
    let summary = sample::summary();
    let html = report(&summary);
    for row in &summary.rows {
        for statistic in Metric::ALL.iter().filter_map(|&metric| row.metrics.get(metric)) {
            let shown =
                [(100.0, 2), (1.0, 4), (1.0, 3), (1.0, 2)].iter().any(|(factor, digits)| {
                    let number = |value: f64| format!("{:.digits$}", value * factor);
                    let (mean, sd) = (number(statistic.mean), number(statistic.sd.unwrap()));
                    html.contains(&format!(
                        r#"<span class="mean">{mean}</span> <span class="sd">± {sd}</span>"#
                    ))
                });
            assert!(shown, "{} {statistic:?}", row.title());
        }
    }
}

#[test]
fn the_facts_of_the_run_are_there() {
    let html = report(&sample::summary());
    for fact in [
        "digits with noisy labels",
        "1,257 training, 180 validation, 360 test",
        "20 % of the labels drawn anew from all classes; 17.96 ± 0.30 % of the labels changed",
        "1, 2, 3, 4, 5",
        "recipes/digits.toml",
        "<code>noise.rate=0.2</code>",
        "softlabel 0.1.0, libtorch 2.11.0",
        "cpu, 2 threads",
        "2026-03-05 14:02 UTC",
        "4 min 33 s",
        "sha256:5f1d0c2a9b7e4e3f",
        "✗ 1 of 3 checks failed",
        "test labels are clean",
    ] {
        assert!(html.contains(fact), "{fact}");
    }
}

#[test]
fn clean_labels_are_said_to_be_clean() {
    let mut summary = sample::summary();
    summary.dataset.label_noise = None;
    summary.dataset.changed_labels = vec![0.0; 5];
    let html = report(&summary);
    assert!(html.contains("as they came, no noise added"));
    assert!(!html.contains("test labels are clean"));
}

#[test]
fn better_and_worse_are_said_in_words() {
    let html = report(&sample::summary());
    for line in [
        r#"<li class="better"><span class="symbol" aria-hidden="true">✓</span> <span class="metric">ECE</span>"#,
        r#"<li class="worse"><span class="symbol" aria-hidden="true">✗</span> <span class="metric">ECE</span>"#,
        "better in 5 of 5 seeds",
        "worse in 5 of 5 seeds",
        "✗ failed",
        "✓ passed",
    ] {
        assert!(html.contains(line), "{line}");
    }
}

#[test]
fn empty_bins_are_bands_and_not_bars() {
    let mut summary = sample::summary();
    summary.rows.truncate(1);
    summary.comparisons.clear();
    summary.checks.clear();
    let reliability = &mut summary.rows[0].reliability;
    for (index, bin) in reliability.bins.iter_mut().enumerate() {
        (bin.count, bin.accuracy, bin.mean_confidence) = match index {
            // Samples, none of them right: a bar of no height, but no band.
            13 => (50, Some(0.0), Some(bin.lower + 0.01)),
            14 => (50, Some(0.5), Some(bin.upper)),
            _ => (0, None, None),
        };
    }
    reliability.samples = 100;
    let html = report(&summary);
    let diagram =
        html.split("<svg class=\"diagram\"").nth(1).unwrap().split("</svg>").next().unwrap();
    assert_eq!(diagram.matches(r#"class="empty""#).count(), 13);
    assert_eq!(diagram.matches(r#"class="bar""#).count(), 2);
    assert!(diagram.contains("13 of them without samples"));
    assert!(diagram.contains("no samples</title>"));
    assert!(diagram.contains("samples 50 (50.00 %), accuracy 0.00 %"));
    check_tags_balance(&html);
}

#[test]
fn sections_without_content_are_left_out() {
    let mut summary = sample::summary();
    summary.rows.truncate(1);
    summary.comparisons.clear();
    summary.checks.clear();
    let html = report(&summary);
    for heading in ["What changed", ">Checks<", "checks failed", "★"] {
        assert!(!html.contains(heading), "{heading}");
    }
    summary.rows.clear();
    check_tags_balance(&report(&summary));
}

#[test]
fn a_single_seed_has_no_spread() {
    let html = report(&sample::single_seed());
    assert!(
        !html.contains('±'),
        "{:?}",
        html.split('±').next().map(|text| &text[text.len() - 80..])
    );
    assert!(html.contains("A single seed"));
}

#[test]
fn a_fit_that_the_data_do_not_determine_is_named() {
    let mut summary = sample::summary();
    let fit = DegenerateFit { seed: 3, outcome: "every prediction is right".into() };
    summary.rows[1].degenerate_fits.push(fit);
    let expected = "hard + temperature: the validation split does not determine the fit for seed 3 \
                    (every prediction is right).";
    assert!(report(&summary).contains(expected));
    assert!(table(&summary, TableStyle::default()).contains(expected));
    assert!(!table(&sample::summary(), TableStyle::default()).contains("does not determine"));
}

#[test]
fn the_description_of_the_recipe_is_shown() {
    assert!(report(&sample::summary()).contains("Does smoothing help where labels are wrong?"));
}
