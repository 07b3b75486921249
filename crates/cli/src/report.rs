//! `softlabel report`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use softlabel_data::predictions::SavedFeatures;
use softlabel_metrics::TemplatePlane;
use softlabel_report::{ProjectionPanel, fill_page, projection_svg};
use softlabel_results::{Provenance, RunFolder, Summary};

use crate::Verdict;
use crate::arguments::Report;
use crate::output::print_results;
use crate::predictions::write_file;

/// Prints the results of a run folder and writes its report anew.
pub(crate) fn report(options: &Report) -> Result<Verdict> {
    let folder = RunFolder::open(&options.folder);
    let (summary, provenance) = (folder.read_summary()?, folder.read_provenance()?);
    let html = softlabel_report::html(&summary, &provenance)?;
    folder.write(&folder.report(), html.as_bytes())?;
    if let Some(page) = &options.tables {
        fill_tables(page, &summary, &provenance)?;
    }
    if let Some(file) = &options.features {
        let svg = features(&folder, &summary, options.class_names.as_deref())?;
        fs::write(file, svg).with_context(|| format!("writing {}", file.display()))?;
    }
    print_results(&folder, &summary, options.json)?;
    Ok(Verdict::Done)
}

/// Whether a page has a place for the tables of a run that is to come.
#[cfg(feature = "torch")]
pub(crate) fn check_tables(page: &Path, run: &str) -> Result<()> {
    let text = read_page(page)?;
    softlabel_report::check_page(&text, run).with_context(|| page.display().to_string())
}

fn read_page(page: &Path) -> Result<String> {
    fs::read_to_string(page).with_context(|| format!("reading {}", page.display()))
}

/// Puts the tables of a run into a page of other text.
pub(crate) fn fill_tables(page: &Path, summary: &Summary, provenance: &Provenance) -> Result<()> {
    let filled = fill_page(&read_page(page)?, summary, provenance);
    let filled = filled.with_context(|| page.display().to_string())?;
    write_file(page, filled.as_bytes())
}

/// The features of all arms that kept them, of the first seed: of training and of test samples.
fn features(folder: &RunFolder, summary: &Summary, names: Option<&[String]>) -> Result<String> {
    let seed = summary.seeds.first().copied().unwrap_or_default();
    let mut arms: Vec<&str> = summary.rows.iter().map(|row| row.arm.as_str()).collect();
    arms.dedup();
    let (mut panels, mut classes) = (Vec::new(), Vec::new());
    for arm in arms {
        for split in ["train", "test"] {
            let path = folder.predictions(arm, seed, &format!("features-{split}"));
            if !path.is_file() {
                continue;
            }
            let saved = SavedFeatures::read(&path)?;
            ensure!(
                classes.is_empty() || classes == saved.classes(),
                "{}: arms that are drawn together keep the same classes, expected {classes:?}, found {:?}",
                path.display(),
                saved.classes()
            );
            classes = saved.classes().to_vec();
            panels.push(panel(&saved).with_context(|| path.display().to_string())?);
        }
    }
    if panels.is_empty() {
        bail!("{}: no arm of this run has `save_features`", folder.root().display());
    }
    let names = match names {
        Some(names) => names.to_vec(),
        None => classes.iter().map(|class| format!("class {class}")).collect(),
    };
    let found = names.len();
    let Ok(names) = <[String; 3]>::try_from(names) else {
        bail!("--class-names: expected 3 names, found {found}");
    };
    Ok(projection_svg(&names, &panels)?)
}

/// Features in the plane of the templates of their classes.
fn panel(saved: &SavedFeatures) -> Result<ProjectionPanel> {
    let wide = |row: &[f32]| row.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
    let templates: Vec<Vec<f64>> = saved.templates().map(wide).collect();
    let [first, second, third] = templates.as_slice() else {
        bail!("a plane needs 3 classes, found {}", templates.len());
    };
    let plane = TemplatePlane::new([first, second, third])?;
    let mut points = [Vec::new(), Vec::new(), Vec::new()];
    for (label, row) in saved.rows() {
        for (class, points) in saved.classes().iter().zip(&mut points) {
            if *class == label {
                points.push(plane.project(&wide(row))?);
            }
        }
    }
    let title = format!("{}, {}", saved.origin().arm, saved.origin().split);
    Ok(ProjectionPanel { title, points })
}
