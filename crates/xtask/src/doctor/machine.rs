//! The environment, the processor, memory, disk and data.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::Finding;
use crate::libtorch::cache::Cache;
use crate::progress::megabytes;
use crate::trouble::Trouble;
use crate::workspace::LIBRARY_PATH;

/// Variables that get between the workspace and libtorch, with what they do.
const VARIABLES: [(&str, &str); 8] = [
    ("RUSTFLAGS", REPLACES),
    ("CARGO_ENCODED_RUSTFLAGS", REPLACES),
    ("CARGO_TARGET_DIR", MOVES),
    ("CARGO_BUILD_TARGET_DIR", MOVES),
    ("CARGO_BUILD_TARGET", MOVES),
    ("LIBTORCH_INCLUDE", DIVERTS),
    ("LIBTORCH_LIB", DIVERTS),
    ("LIBTORCH_STATIC", DIVERTS),
];
const REPLACES: &str = "replaces the flags by which programs find libtorch";
const MOVES: &str = "moves programs to where they do not find libtorch";
/// How many names of datasets are shown.
const SHOWN: usize = 12;
const DIVERTS: &str = "makes tch use something else than .libtorch";

/// Environment variables that change how programs are built.
pub(super) fn environment() -> Finding {
    environment_finding(&|name| env::var_os(name))
}

fn environment_finding(variable: &dyn Fn(&str) -> Option<OsString>) -> Finding {
    let set: Vec<_> = VARIABLES.iter().filter(|(name, _)| variable(name).is_some()).collect();
    if set.is_empty() {
        return Finding::ok("environment", "nothing in the way of the build");
    }
    let effects: Vec<String> =
        set.iter().map(|(name, effect)| format!("{name} {effect}")).collect();
    let names: Vec<&str> = set.iter().map(|(name, _)| *name).collect();
    let mut trouble = Trouble::new(effects.join("; "), format!("unset {}", names.join(" ")));
    if set.iter().any(|(_, effect)| *effect != DIVERTS) {
        trouble = trouble.or(format!(
            "export {LIBRARY_PATH}=\"$PWD/.libtorch/lib\" (cargo xtask does so for its commands)"
        ));
    }
    Finding::warning("environment", trouble)
}

/// Vector instructions and cores.
pub(super) fn processor() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let features = features();
    let has = |name: &str| features.contains(&name);
    let list = if features.is_empty() {
        "no vector instructions that are used".to_owned()
    } else {
        features.join(", ")
    };
    let text = format!("{} with {list}; {cores} cores", env::consts::ARCH);
    if cfg!(target_arch = "x86_64") && !(has("avx2") && has("fma")) {
        return Finding::warning(
            "processor",
            Trouble::new(
                text,
                "none on this machine: without avx2 and fma everything works, only slower",
            ),
        );
    }
    Finding::ok("processor", text)
}

/// Vector instructions that matter here.
#[cfg(target_arch = "x86_64")]
pub(crate) fn features() -> Vec<&'static str> {
    let all = [
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("fma", std::is_x86_feature_detected!("fma")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
    ];
    let present = all.into_iter().filter(|(_, present)| *present);
    present.map(|(name, _)| name).collect()
}

/// Vector instructions that matter here.
#[cfg(target_arch = "aarch64")]
pub(crate) fn features() -> Vec<&'static str> {
    // Part of every 64-bit ARM processor.
    vec!["neon"]
}

/// Vector instructions that matter here.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn features() -> Vec<&'static str> {
    Vec::new()
}

/// Memory, where it is cheap to ask.
pub(super) fn memory() -> Finding {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = |name: &str| meminfo(&text, name);
    match (bytes("MemTotal"), bytes("MemAvailable")) {
        // Compiling tch's glue takes about one gigabyte and a half.
        (Some(total), Some(free)) if free < 1_500_000_000 => Finding::warning(
            "memory",
            Trouble::new(
                format!("{} of {} are free", megabytes(free), megabytes(total)),
                "close other programs, or build with fewer jobs: export CARGO_BUILD_JOBS=1",
            ),
        ),
        (Some(total), Some(free)) => {
            Finding::ok("memory", format!("{} of {} are free", megabytes(free), megabytes(total)))
        }
        _ => Finding::ok("memory", "not known on this system"),
    }
}

/// A value of Linux's meminfo, in bytes.
pub(crate) fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.strip_prefix(':')?.split_whitespace().next()?.parse().ok()?;
    Some(1024 * kilobytes)
}

/// The cache folder, what it holds, and the free space beside it.
pub(super) fn cache() -> Finding {
    match Cache::locate() {
        Err(error) => Finding::problem(
            "cache",
            error
                .downcast::<Trouble>()
                .unwrap_or_else(|error| Trouble::new(format!("{error:#}"), "set SOFTLABEL_CACHE")),
        ),
        Ok(cache) => {
            let free = cache.free_space().map_or_else(|| "an unknown amount".to_owned(), megabytes);
            Finding::ok(
                "cache",
                format!(
                    "{} holds {}; {free} free there",
                    cache.root().display(),
                    megabytes(folder_size(cache.root()))
                ),
            )
        }
    }
}

/// Bytes of all files below a folder; what cannot be read counts as nothing.
fn folder_size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => folder_size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// The folder with datasets, and what it holds.
pub(super) fn data() -> Finding {
    data_finding(env::var_os("SOFTLABEL_DATA"))
}

fn data_finding(variable: Option<OsString>) -> Finding {
    let Some(folder) = variable.filter(|value| !value.is_empty()) else {
        return Finding::ok(
            "data",
            "SOFTLABEL_DATA is not set: only the embedded digits are available",
        );
    };
    let path = Path::new(&folder);
    let trouble = |what: String| {
        Finding::problem(
            "data",
            Trouble::new(what, "let SOFTLABEL_DATA name the folder with the datasets")
                .or("unset SOFTLABEL_DATA: the embedded digits need no files"),
        )
    };
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => return trouble(format!("SOFTLABEL_DATA={}: {error}", path.display())),
    };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    if names.is_empty() {
        return trouble(format!("SOFTLABEL_DATA={} is empty", path.display()));
    }
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    names.truncate(SHOWN);
    Finding::ok("data", format!("{} holds {}{more}", path.display(), names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn variables_in_the_way_are_named_with_their_effect() {
        let check =
            |set: &[&str]| environment_finding(&|name| set.contains(&name).then(OsString::new));
        assert_eq!(check(&[]).status, Status::Ok);
        let finding = check(&["RUSTFLAGS", "LIBTORCH_LIB"]);
        assert_eq!(finding.status, Status::Warning);
        assert!(finding.found.contains("RUSTFLAGS replaces"), "{finding:?}");
        assert_eq!(finding.cures[0], "unset RUSTFLAGS LIBTORCH_LIB");
        assert!(finding.cures[1].contains(LIBRARY_PATH), "{finding:?}");
        assert_eq!(check(&["LIBTORCH_LIB"]).cures.len(), 1);
    }

    #[test]
    fn meminfo_is_in_kilobytes() {
        let text = "MemTotal:       2000 kB\nMemFree:  5 kB\nMemAvailable:   1000 kB\n";
        assert_eq!(meminfo(text, "MemTotal"), Some(2_048_000));
        assert_eq!(meminfo(text, "MemAvailable"), Some(1_024_000));
        assert_eq!(meminfo(text, "SwapTotal"), None);
    }

    #[test]
    fn data_must_be_where_the_variable_says() {
        let folder = tempfile::tempdir().unwrap();
        let check = || data_finding(Some(folder.path().into()));
        assert_eq!(data_finding(None).status, Status::Ok);
        assert_eq!(check().status, Status::Problem);
        for number in 0..14 {
            fs::write(folder.path().join(format!("set-{number:02}")), "four").unwrap();
        }
        assert_eq!(check().status, Status::Ok);
        assert!(check().found.ends_with("set-11 and 2 more"), "{:?}", check());
        assert_eq!(folder_size(folder.path()), 56);
        let nowhere = data_finding(Some("/nowhere/at/all".into()));
        assert_eq!(nowhere.status, Status::Problem);
    }
}
