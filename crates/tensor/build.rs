//! Tells the crate which libtorch it is built against.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // torch-sys passes its library folder to its direct dependents; with `doc-only` there is none.
    let version = std::env::var("DEP_TCH_LIBTORCH_LIB")
        .ok()
        .and_then(|folder| version_beside(Path::new(&folder)))
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=SOFTLABEL_LIBTORCH_VERSION={version}");
}

/// The version in the headers beside a library folder: they are what the code is compiled against.
fn version_beside(libraries: &Path) -> Option<String> {
    let include = libraries.parent()?.join("include/torch");
    let header = ["headeronly/version.h", "csrc/api/include/torch/version.h"]
        .iter()
        .find_map(|name| std::fs::read_to_string(include.join(name)).ok())?;
    let number = |part: &str| {
        let define = format!("#define TORCH_VERSION_{part} ");
        header.lines().find_map(|line| line.strip_prefix(&define)).map(str::trim)
    };
    Some(format!("{}.{}.{}", number("MAJOR")?, number("MINOR")?, number("PATCH")?))
}
