//! Finding and loading NVIDIA's driver library: the real one, by absolute path, never the shim.

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The variable that names the driver library, if it lies where nobody looks.
pub const DRIVER_VARIABLE: &str = "RINGBAR_CUDA_DRIVER";
/// The symbol that the shim exports so that nobody takes it for a driver.
pub const SHIM_MARKER: &str = "ringbar_shim_marker";
/// The library's file name.
const FILE_NAME: &str = "libcuda.so.1";
/// Where drivers put it, besides the loader's cache.
const FOLDERS: [&str; 8] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/local/nvidia/lib64",
    "/usr/local/nvidia/lib",
    "/usr/lib64",
    "/usr/lib",
    "/usr/lib/wsl/lib",
    "/usr/local/cuda/compat",
];

/// Why there is no driver.
#[derive(Debug, Error)]
pub enum DriverError {
    /// No candidate exists.
    #[error(
        "found no libcuda.so.1 in {looked}; likely cause: no NVIDIA driver on this machine, or a container without it; try: RINGBAR_CUDA_DRIVER=/path/to/libcuda.so.1, or --backend mock"
    )]
    NotFound {
        /// The places that were looked at.
        looked: String,
    },
    /// The library cannot be loaded.
    #[error(
        "{path}: {reason}; likely cause: the library belongs to another driver or system; try: RINGBAR_CUDA_DRIVER=/path/to/libcuda.so.1"
    )]
    Load {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// The library is the shim.
    #[error(
        "{path}: found ringbar's own shim, expected NVIDIA's driver; likely cause: the executor was started in an environment made for programs; try: RINGBAR_CUDA_DRIVER=/path/to/libcuda.so.1"
    )]
    Shim {
        /// The file.
        path: PathBuf,
    },
    /// The library lacks a function that every driver has.
    #[error("{path}: found no function {name}; likely cause: this is no CUDA driver")]
    NoDriver {
        /// The file.
        path: PathBuf,
        /// The function.
        name: &'static str,
    },
}

/// The absolute path of the driver library that a worker would load: `RINGBAR_CUDA_DRIVER` if it is set, else the first
/// of the usual folders and of the loader's cache. It is looked at as a file and not loaded.
///
/// # Errors
/// [`DriverError::NotFound`] if there is none, [`DriverError::Shim`] if all there is is the shim.
pub fn driver_library() -> Result<PathBuf, DriverError> {
    let named = std::env::var_os(DRIVER_VARIABLE).filter(|name| !name.is_empty());
    match choose(candidates(named.clone().map(PathBuf::from))) {
        Err(DriverError::NotFound { looked }) if named.is_none() => {
            // Asked last: it costs a process.
            choose(from_loader_cache()).map_err(|error| match error {
                DriverError::NotFound { .. } => DriverError::NotFound { looked },
                other => other,
            })
        }
        other => other,
    }
}

fn choose(candidates: Vec<PathBuf>) -> Result<PathBuf, DriverError> {
    let mut shim = None;
    for path in &candidates {
        let Ok(real) = path.canonicalize() else { continue };
        if is_shim(&real) {
            shim.get_or_insert(real);
            continue;
        }
        return Ok(path.clone());
    }
    let looked = || candidates.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    match shim {
        Some(path) => Err(DriverError::Shim { path }),
        None => Err(DriverError::NotFound { looked: looked().join(", ") }),
    }
}

fn candidates(named: Option<PathBuf>) -> Vec<PathBuf> {
    if let Some(path) = named {
        return vec![path];
    }
    FOLDERS.iter().map(|folder| Path::new(folder).join(FILE_NAME)).collect()
}

/// What `ldconfig -p` lists under the library's name, in its order.
fn from_loader_cache() -> Vec<PathBuf> {
    let tools = ["/sbin/ldconfig", "/usr/sbin/ldconfig"];
    let Some(tool) = tools.into_iter().find(|path| Path::new(path).exists()) else {
        return Vec::new();
    };
    let listed = std::process::Command::new(tool).arg("-p").output();
    listed.map(|output| parse_cache(&String::from_utf8_lossy(&output.stdout))).unwrap_or_default()
}

fn parse_cache(listing: &str) -> Vec<PathBuf> {
    let ours = listing.lines().filter(|line| line.split_whitespace().next() == Some(FILE_NAME));
    ours.filter_map(|line| line.rsplit_once("=> ")).map(|(_, path)| path.trim().into()).collect()
}

/// Whether a file is the shim, by the name that it has behind all links. The loaded library is asked again, by its marker.
fn is_shim(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libringbar_shim"))
}

/// Loads the library at `path`, for the life of the process.
///
/// # Errors
/// [`DriverError::Load`] if the loader refuses, [`DriverError::Shim`] if it is the shim.
pub(crate) fn load(path: &Path) -> Result<Library, DriverError> {
    // SAFETY: the driver's initialisers are made to run in any process; whoever names another library by the variable
    // answers for it.
    let opened = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    let library =
        opened.map_err(|e| DriverError::Load { path: path.into(), reason: e.to_string() })?;
    // SAFETY: the symbol is only looked up, never used.
    let marker = unsafe { library.get::<*const u8>(SHIM_MARKER.as_bytes()) };
    if marker.is_ok() {
        return Err(DriverError::Shim { path: path.into() });
    }
    Ok(library)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_read_by_name_in_its_order() {
        let listing = "3 libs found\n\tlibcuda.so.1 (libc6,x86-64) => /a/libcuda.so.1\n\
            \tlibcudart.so.13 (libc6,x86-64) => /b/libcudart.so.13\n\tlibcuda.so.1 (libc6) => /c/libcuda.so.1\n";
        assert_eq!(
            parse_cache(listing),
            [Path::new("/a/libcuda.so.1"), Path::new("/c/libcuda.so.1")]
        );
    }

    #[test]
    fn a_named_library_is_the_only_candidate() {
        assert_eq!(candidates(Some("/x/libcuda.so.1".into())), [Path::new("/x/libcuda.so.1")]);
    }

    #[test]
    fn the_shim_is_passed_over_and_refused_if_it_is_all_there_is() {
        let folder = std::env::temp_dir().join(format!("ringbar-cuda-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (file, other) = (folder.join("libringbar_shim_cuda.so"), folder.join("driver"));
        std::fs::write(&file, b"").unwrap();
        std::fs::write(&other, b"").unwrap();
        let shim = folder.join("libcuda.so.1");
        std::os::unix::fs::symlink(&file, &shim).unwrap();
        assert_eq!(choose(vec![shim.clone(), other.clone()]).unwrap(), other);
        assert!(matches!(choose(vec![shim]), Err(DriverError::Shim { .. })));
        assert!(matches!(choose(vec![folder.join("none")]), Err(DriverError::NotFound { .. })));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_that_is_no_library_is_an_error_and_not_a_crash() {
        let error = load(Path::new("/proc/self/cmdline")).unwrap_err();
        assert!(matches!(error, DriverError::Load { .. }), "{error}");
    }
}
