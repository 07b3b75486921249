//! what a run leaves behind: the run folder and the schema of its files.
