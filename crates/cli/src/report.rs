//! `softlabel report`.

use anyhow::Result;
use softlabel_results::RunFolder;

use crate::Verdict;
use crate::arguments::Report;
use crate::output::print_results;

/// Prints the results of a run folder and writes its report anew.
pub(crate) fn report(options: &Report) -> Result<Verdict> {
    let folder = RunFolder::open(&options.folder);
    let (summary, provenance) = (folder.read_summary()?, folder.read_provenance()?);
    let html = softlabel_report::html(&summary, &provenance)?;
    folder.write(&folder.report(), html.as_bytes())?;
    print_results(&folder, &summary, options.json)?;
    Ok(Verdict::Done)
}
