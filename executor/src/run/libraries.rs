//! The libraries that programs load instead of NVIDIA's: where they are, and links to them under the names that programs ask for.

use super::error::{RunError, system};
use std::io;
use std::path::{Path, PathBuf};

/// File names of the two libraries as Cargo builds them, and the names under which programs look for them.
const LIBRARIES: [(&str, &[&str]); 2] = [
    ("libringbar_shim_cuda.so", &["libcuda.so.1", "libcuda.so"]),
    ("libringbar_shim_cudart.so", &["libcudart.so.13", "libcudart.so"]),
];

/// The names under which the driver library and the runtime library are loaded before a program's own.
pub const PRELOADED: [&str; 2] = ["libcuda.so.1", "libcudart.so.13"];

/// Where libraries may lie, seen from the folder of this program: beside it, where Cargo puts them for tests, and
/// where packages install them.
fn places(program_folder: &Path) -> [PathBuf; 3] {
    [program_folder.to_owned(), program_folder.join("deps"), program_folder.join("../lib/ringbar")]
}

/// The libraries of this build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Libraries {
    /// One path for each of [`LIBRARIES`].
    paths: [PathBuf; 2],
}

impl Libraries {
    /// Looks beside this program, in `deps` beside it, and in `../lib/ringbar`. Of several the newest is taken: Cargo
    /// leaves an old library beside the program when it builds a new one for tests alone, and a session refuses a library
    /// whose commands are not this program's.
    ///
    /// # Errors
    /// [`RunError::LibraryMissing`] with the first one that is nowhere.
    pub fn find() -> Result<Self, RunError> {
        let program = std::env::current_exe().map_err(system("finding this program's folder"))?;
        Self::find_beside(program.parent().unwrap_or(Path::new("/")))
    }

    /// The same for a program in `folder`.
    fn find_beside(folder: &Path) -> Result<Self, RunError> {
        let find = |name: &'static str| {
            let candidates = places(folder).map(|place| place.join(name));
            let found = newest(candidates.into_iter().filter(|path| path.is_file()));
            let missing = || RunError::LibraryMissing { name, program: folder.to_owned() };
            let path = found.ok_or_else(missing)?;
            path.canonicalize().map_err(system(format!("finding {}", path.display())))
        };
        Ok(Self { paths: [find(LIBRARIES[0].0)?, find(LIBRARIES[1].0)?] })
    }

    /// Makes links to the libraries in `folder`, under every name that programs ask for; replaces links of an earlier build.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn stage(&self, folder: &Path) -> Result<(), RunError> {
        for ((_, names), path) in LIBRARIES.iter().zip(&self.paths) {
            for name in *names {
                let link = folder.join(name);
                replace_link(path, &link).map_err(system(format!("linking {}", link.display())))?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Libraries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [driver, runtime] = self.paths.each_ref().map(|path| path.display());
        write!(f, "{driver}, {runtime}")
    }
}

/// The file that was modified last; the first of those that were at once.
fn newest(files: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    let modified = |file: &PathBuf| file.metadata().and_then(|found| found.modified()).ok();
    files.reduce(|best, next| if modified(&next) > modified(&best) { next } else { best })
}

/// Makes or replaces a link in one step, so that a program that starts meanwhile finds either.
fn replace_link(to: &Path, link: &Path) -> io::Result<()> {
    if std::fs::read_link(link).is_ok_and(|found| found == to) {
        return Ok(());
    }
    let mut fresh = link.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    std::os::unix::fs::symlink(to, &fresh)?;
    std::fs::rename(&fresh, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }

    #[test]
    fn libraries_are_found_in_each_place_and_staged_under_the_names_programs_ask_for() {
        let folder = tempfile::tempdir().unwrap();
        let (bin, staged) = (folder.path().join("bin"), folder.path().join("staged"));
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::create_dir_all(&staged).unwrap();
        touch(&bin.join("deps/libringbar_shim_cuda.so"));
        touch(&folder.path().join("lib/ringbar/libringbar_shim_cudart.so"));
        let libraries = Libraries::find_beside(&bin).unwrap();
        libraries.stage(&staged).unwrap();
        let target = |name| staged.join(name).canonicalize().unwrap();
        assert!(target("libcuda.so").ends_with("bin/deps/libringbar_shim_cuda.so"));
        assert_eq!(target("libcuda.so"), target("libcuda.so.1"));
        assert!(target("libcudart.so.13").ends_with("lib/ringbar/libringbar_shim_cudart.so"));
        assert_eq!(target("libcudart.so"), target("libcudart.so.13"));
    }

    #[test]
    fn of_two_libraries_the_newer_is_found_and_of_two_as_new_the_one_beside_the_program() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().canonicalize().unwrap();
        let modified = std::time::SystemTime::UNIX_EPOCH;
        let put = |place: &str, seconds| {
            for (name, _) in LIBRARIES {
                let path = bin.join(place).join(name);
                touch(&path);
                let file = std::fs::File::options().write(true).open(path).unwrap();
                file.set_modified(modified + std::time::Duration::from_secs(seconds)).unwrap();
            }
        };
        let found = || Libraries::find_beside(&bin).unwrap().paths;
        put("", 100);
        put("deps", 200);
        assert_eq!(found(), LIBRARIES.map(|(name, _)| bin.join("deps").join(name)));
        put("", 200);
        assert_eq!(found(), LIBRARIES.map(|(name, _)| bin.join(name)));
    }

    #[test]
    fn staging_anew_replaces_the_links_of_another_build() {
        let folder = tempfile::tempdir().unwrap();
        let build = |name: &str| {
            let bin = folder.path().join(name);
            LIBRARIES.iter().for_each(|(library, _)| touch(&bin.join(library)));
            Libraries::find_beside(&bin).unwrap()
        };
        let staged = folder.path().join("staged");
        std::fs::create_dir_all(&staged).unwrap();
        build("old").stage(&staged).unwrap();
        build("new").stage(&staged).unwrap();
        let target = staged.join("libcuda.so.1").canonicalize().unwrap();
        assert!(target.ends_with("new/libringbar_shim_cuda.so"));
        assert_eq!(std::fs::read_dir(&staged).unwrap().count(), 4);
    }

    #[test]
    fn a_missing_library_is_named_with_the_command_that_builds_it() {
        let folder = tempfile::tempdir().unwrap();
        touch(&folder.path().join("libringbar_shim_cuda.so"));
        let error = Libraries::find_beside(folder.path()).unwrap_err().to_string();
        assert!(error.contains("libringbar_shim_cudart.so"), "{error}");
        assert!(error.contains("cargo build --release"), "{error}");
    }
}
