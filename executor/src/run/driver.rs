//! Whether this machine has NVIDIA's driver library, and where.

use std::path::{Path, PathBuf};

/// The variable that names the driver library where it is in no usual place.
const DRIVER_VARIABLE: &str = "RINGBAR_CUDA_DRIVER";
/// Where drivers are installed: by Debian and Ubuntu, by Fedora and its kin, in containers, under WSL.
const FOLDERS: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/local/nvidia/lib64",
    "/usr/local/nvidia/lib",
    "/usr/lib/wsl/lib",
    "/usr/lib",
];

/// NVIDIA's `libcuda.so.1`, if it is in a usual place or where `RINGBAR_CUDA_DRIVER` says.
pub fn find() -> Option<PathBuf> {
    match std::env::var_os(DRIVER_VARIABLE).filter(|value| !value.is_empty()) {
        Some(path) => Some(PathBuf::from(path)).filter(|path| path.is_file()),
        None => find_in(&FOLDERS.map(Path::new)),
    }
}

fn find_in(folders: &[&Path]) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join("libcuda.so.1")).find(|path| path.is_file())
}

/// The usual places, for a text.
pub fn places() -> String {
    FOLDERS.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_folder_with_a_driver_wins_and_none_is_no_driver() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        std::fs::create_dir_all(&one).unwrap();
        std::fs::create_dir_all(&two).unwrap();
        assert_eq!(find_in(&[&one, &two]), None);
        std::fs::write(two.join("libcuda.so.1"), "").unwrap();
        assert_eq!(find_in(&[&one, &two]), Some(two.join("libcuda.so.1")));
    }
}
