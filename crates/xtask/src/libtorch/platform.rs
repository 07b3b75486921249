//! The downloads: which wheels hold a CPU libtorch for each platform, and what is taken from them.
//!
//! On Linux the wheel of torch is the CUDA build.
//! Its `libtorch_cpu.so` loads with two small CUDA libraries beside it, so those are fetched as well and everything else of CUDA is left out: 0.5 GB instead of 3.
//! A `libtorch.so` that is a one-line linker script lets `-ltorch` link without the CUDA half.
//!
//! Every wheel is pinned by its SHA-256.
//! The wheels of torch differ by Python version; the one for CPython 3.12 is taken whatever the local Python is, since only its C++ part is used.
//!
//! **Only Linux on x86-64 has been tried.**
//! For Linux on aarch64 and macOS on arm64 the hashes are those of the published wheels and the lists of libraries follow from what each library asks the loader for, but nobody has run the result.

use super::Version;

/// How one platform gets its libtorch.
#[derive(Debug)]
pub(crate) struct Platform {
    /// Name in the cache folder.
    pub(crate) name: &'static str,
    /// Operating system and architecture, as Rust spells them.
    target: (&'static str, &'static str),
    /// Version of libtorch in the wheels.
    pub(crate) version: Version,
    /// pip's platform tags for the wheels.
    pub(crate) tags: &'static [&'static str],
    /// What to download.
    pub(crate) wheels: &'static [Wheel],
    /// Libraries to take, by their path in a wheel.
    pub(crate) libraries: &'static [&'static str],
    /// Whether `libtorch.so` is to be a linker script.
    pub(crate) linker_script: bool,
    /// Size once unpacked, in bytes, rounded up.
    pub(crate) unpacked: u64,
}

/// One pinned wheel.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// What pip is asked for.
    pub(crate) requirement: &'static str,
    /// Name of the file.
    pub(crate) file: &'static str,
    /// SHA-256 of the file, in hex.
    pub(crate) sha256: &'static str,
    /// Size of the file in bytes.
    pub(crate) size: u64,
}

impl Platform {
    /// The download for the machine this program runs on, if there is one for `version`.
    pub(crate) fn here(version: Version) -> Option<&'static Self> {
        Self::find(std::env::consts::OS, std::env::consts::ARCH, version)
    }

    fn find(os: &str, arch: &str, version: Version) -> Option<&'static Self> {
        PLATFORMS
            .iter()
            .find(|platform| platform.target == (os, arch) && platform.version == version)
    }

    /// Bytes of all wheels together.
    pub(crate) fn download_size(&self) -> u64 {
        self.wheels.iter().map(|wheel| wheel.size).sum()
    }

    /// Where a file of a wheel belongs in libtorch's folder; none for most files.
    pub(crate) fn destination(&self, name: &str) -> Option<String> {
        if let Some(rest) = name.strip_prefix("torch/include/") {
            return Some(format!("include/{rest}"));
        }
        let library = self.libraries.iter().find(|library| **library == name)?;
        Some(format!("lib/{}", library.rsplit('/').next()?))
    }
}

/// Every download there is.
static PLATFORMS: [Platform; 3] = [
    Platform {
        name: "linux-x86_64",
        target: ("linux", "x86_64"),
        version: Version::new(2, 11, 0),
        tags: &["manylinux_2_28_x86_64", "manylinux_2_25_x86_64", "manylinux2014_x86_64"],
        wheels: &[
            Wheel {
                requirement: "torch==2.11.0",
                file: "torch-2.11.0-cp312-cp312-manylinux_2_28_x86_64.whl",
                sha256: "0f68f4ac6d95d12e896c3b7a912b5871619542ec54d3649cf48cc1edd4dd2756",
                size: 530_712_279,
            },
            Wheel {
                requirement: "nvidia-cuda-cupti==13.0.85",
                file: "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
                sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
                size: 10_715_597,
            },
            Wheel {
                requirement: "nvidia-cuda-runtime==13.0.96",
                file: "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
                sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
                size: 2_243_632,
            },
        ],
        libraries: &[
            "torch/lib/libtorch_cpu.so",
            "torch/lib/libc10.so",
            "torch/lib/libgomp.so.1",
            "nvidia/cu13/lib/libcudart.so.13",
            "nvidia/cu13/lib/libcupti.so.13",
        ],
        linker_script: true,
        unpacked: 500_000_000,
    },
    Platform {
        name: "linux-aarch64",
        target: ("linux", "aarch64"),
        version: Version::new(2, 11, 0),
        tags: &["manylinux_2_28_aarch64", "manylinux_2_25_aarch64", "manylinux2014_aarch64"],
        wheels: &[
            Wheel {
                requirement: "torch==2.11.0",
                file: "torch-2.11.0-cp312-cp312-manylinux_2_28_aarch64.whl",
                sha256: "f99924682ef0aa6a4ab3b1b76f40dc6e273fca09f367d15a524266db100a723f",
                size: 419_731_115,
            },
            Wheel {
                requirement: "nvidia-cuda-cupti==13.0.85",
                file: "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_aarch64.whl",
                sha256: "796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151",
                size: 10_310_827,
            },
            Wheel {
                requirement: "nvidia-cuda-runtime==13.0.96",
                file: "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
                sha256: "ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55",
                size: 2_261_060,
            },
        ],
        libraries: &[
            "torch/lib/libtorch_cpu.so",
            "torch/lib/libc10.so",
            "torch/lib/libgomp.so.1",
            "torch/lib/libarm_compute.so",
            "torch/lib/libarm_compute_graph.so",
            "torch/lib/libnvpl_blas_core.so.0",
            "torch/lib/libnvpl_blas_lp64_gomp.so.0",
            "torch/lib/libnvpl_lapack_core.so.0",
            "torch/lib/libnvpl_lapack_lp64_gomp.so.0",
            "nvidia/cu13/lib/libcudart.so.13",
            "nvidia/cu13/lib/libcupti.so.13",
        ],
        linker_script: true,
        unpacked: 340_000_000,
    },
    Platform {
        name: "macos-arm64",
        target: ("macos", "aarch64"),
        version: Version::new(2, 11, 0),
        tags: &["macosx_11_0_arm64"],
        wheels: &[Wheel {
            requirement: "torch==2.11.0",
            file: "torch-2.11.0-cp312-cp312-macosx_11_0_arm64.whl",
            sha256: "4b5866312ee6e52ea625cd211dcb97d6a2cdc1131a5f15cc0d87eec948f6dd34",
            size: 80_606_338,
        }],
        libraries: &[
            "torch/lib/libtorch.dylib",
            "torch/lib/libtorch_cpu.dylib",
            "torch/lib/libc10.dylib",
            "torch/lib/libomp.dylib",
        ],
        linker_script: false,
        unpacked: 260_000_000,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_without_a_download_are_none() {
        let version = Version::new(2, 11, 0);
        assert!(Platform::find("linux", "x86_64", version).is_some());
        assert!(Platform::find("windows", "x86_64", version).is_none());
        assert!(Platform::find("linux", "x86_64", Version::new(2, 13, 0)).is_none());
    }

    #[test]
    fn headers_and_listed_libraries_are_taken() {
        let linux = &PLATFORMS[0];
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(linux.destination(name).as_deref(), expected, "{name}");
        };
        check("torch/include/ATen/ATen.h", Some("include/ATen/ATen.h"));
        check("torch/lib/libc10.so", Some("lib/libc10.so"));
        check("nvidia/cu13/lib/libcupti.so.13", Some("lib/libcupti.so.13"));
        check("torch/lib/libtorch_cuda.so", None);
        check("torch/version.py", None);
    }

    #[test]
    fn pins_are_well_formed() {
        for platform in &PLATFORMS {
            for wheel in platform.wheels {
                assert_eq!(wheel.sha256.len(), 64, "{}", wheel.file);
                assert!(wheel.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()));
                let version = wheel.requirement.rsplit('=').next().unwrap();
                assert!(wheel.file.contains(version), "{}", wheel.file);
            }
        }
    }
}
