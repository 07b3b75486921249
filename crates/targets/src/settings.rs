//! Flat tables with a `kind`: which keys go with which.

use crate::{Error, Result};

/// Checks the keys that were `given` (name, whether it is there) to something of kind `kind`: all of one of the groups
/// in `needed`, any of `optional`, and no other.
pub(crate) fn check_settings(
    what: &'static str,
    kind: &'static str,
    given: &[(&'static str, bool)],
    needed: &[&[&str]],
    optional: &[&str],
) -> Result<()> {
    let problem = |problem: String| Err(Error::Settings { what, kind, problem });
    let given: Vec<&str> =
        given.iter().filter(|(_, is_there)| *is_there).map(|(key, _)| *key).collect();
    let is_known = |key: &&str| needed.concat().contains(key) || optional.contains(key);
    if let Some(stranger) = given.iter().find(|key| !is_known(key)) {
        return problem(format!("does not take `{stranger}`"));
    }
    let is_full = |group: &&&[&str]| group.iter().all(|key| given.contains(key));
    let groups = || {
        let keys = |group: &&[&str]| {
            group.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" and ")
        };
        needed.iter().map(keys).collect::<Vec<_>>().join(" or ")
    };
    match needed.iter().filter(is_full).count() {
        1 => Ok(()),
        0 => problem(format!("needs {}", groups())),
        _ => problem(format!("takes {}, not both", groups())),
    }
}
