//! Compiles the C++ side against libtorch's headers, and tells the crate which libtorch it is built against.

use std::env;
use std::path::{Path, PathBuf};

const SOURCES: [&str; 5] = [
    "src/autograd/node.cpp",
    "src/buffers.cpp",
    "src/memory.cpp",
    "src/script.cpp",
    "src/threads.cpp",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    let libraries = libraries();
    let version =
        libraries.as_deref().and_then(version_beside).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=SOFTLABEL_LIBTORCH_VERSION={version}");
    if let Some(include) = libraries.as_deref().and_then(Path::parent) {
        compile(&include.join("include"));
    }
}

/// The library folder of libtorch; none with `doc-only`, which links nothing.
fn libraries() -> Option<PathBuf> {
    if env::var_os("CARGO_FEATURE_DOC_ONLY").is_some() {
        return None;
    }
    // torch-sys passes it to its direct dependents, except on Windows.
    let told = env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from);
    told.or_else(|| Some(Path::new(&env::var_os("LIBTORCH")?).join("lib")))
}

fn compile(include: &Path) {
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        // libtorch's headers warn.
        .warnings(false)
        .include(include)
        .include(include.join("torch/csrc/api/include"))
        .files(SOURCES);
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system != "windows") {
        build.define("_GLIBCXX_USE_CXX11_ABI", abi.as_str());
    }
    build.compile("softlabel_tensor");
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
