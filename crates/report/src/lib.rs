//! HTML and terminal views of results.
