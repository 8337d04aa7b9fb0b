//! The environment in which a program finds the libraries and the executor.

use super::error::RunError;
use super::libraries::PRELOADED;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Where a program's libraries append their counts.
pub const STATS_VARIABLE: &str = "RINGBAR_STATS";
/// Where a program's libraries write a recording.
pub const RECORD_VARIABLE: &str = "RINGBAR_RECORD";
/// Where a program's libraries find the executor.
pub const SOCKET_VARIABLE: &str = "RINGBAR_SOCKET";

/// The device by which a program in a virtual machine reaches its host, where it is not the only one.
pub const DEVICE_VARIABLE: &str = "RINGBAR_VM";

/// Names and values, in the order in which they are shown.
pub type Variables = Vec<(&'static str, OsString)>;

/// The variables that make a program load the libraries staged in `folder` and connect to `socket`; without one the
/// libraries find the way out of this virtual machine by themselves.
///
/// `inherited` tells what a list held before; ours come first, so that they win. Libraries with a search path built in
/// (PyTorch's) do not look at `LD_LIBRARY_PATH`: for them the libraries are loaded before the program. Triton asks
/// for a folder of its own.
///
/// # Errors
/// [`RunError::UnusablePath`] if `folder` cannot be part of a list.
pub fn variables(
    folder: &Path,
    socket: Option<&Path>,
    inherited: impl Fn(&str) -> Option<OsString>,
) -> Result<Variables, RunError> {
    let bytes = folder.as_os_str().as_bytes();
    if bytes.iter().any(|byte| byte.is_ascii_whitespace() || matches!(byte, b':' | b';')) {
        return Err(RunError::UnusablePath(folder.to_owned()));
    }
    let preloaded = PRELOADED.map(|name| folder.join(name).into_os_string());
    let list = |name: &str, ours: &[OsString]| {
        let before = inherited(name).filter(|value| !value.is_empty());
        ours.iter().cloned().chain(before).collect::<Vec<_>>().join(OsStr::new(":"))
    };
    let mut variables = vec![
        ("LD_LIBRARY_PATH", list("LD_LIBRARY_PATH", &[folder.into()])),
        ("LD_PRELOAD", list("LD_PRELOAD", &preloaded)),
        ("TRITON_LIBCUDA_PATH", folder.into()),
    ];
    variables.extend(socket.map(|socket| (SOCKET_VARIABLE, socket.into())));
    Ok(variables)
}

/// `value` as one word of a shell.
pub fn shell_word(value: &OsStr) -> OsString {
    let mut word = OsString::from("'");
    for (part_number, part) in value.as_bytes().split(|byte| *byte == b'\'').enumerate() {
        if part_number > 0 {
            word.push("'\\''");
        }
        word.push(OsStr::from_bytes(part));
    }
    word.push("'");
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(variables: &Variables, name: &str) -> String {
        let found = variables.iter().find(|(found, _)| *found == name);
        found.unwrap().1.to_string_lossy().into_owned()
    }

    #[test]
    fn our_libraries_come_before_what_the_lists_held() {
        let inherited = |name: &str| (name != "LD_PRELOAD").then(|| "/opt/lib".into());
        let found = variables(Path::new("/f"), Some(Path::new("/s")), inherited).unwrap();
        assert_eq!(value(&found, "LD_LIBRARY_PATH"), "/f:/opt/lib");
        assert_eq!(value(&found, "LD_PRELOAD"), "/f/libcuda.so.1:/f/libcudart.so.13");
        assert_eq!(value(&found, "TRITON_LIBCUDA_PATH"), "/f");
        assert_eq!(value(&found, "RINGBAR_SOCKET"), "/s");
    }

    #[test]
    fn in_a_virtual_machine_no_socket_is_named() {
        let found = variables(Path::new("/f"), None, |_| None).unwrap();
        assert!(found.iter().all(|(name, _)| *name != SOCKET_VARIABLE));
    }

    #[test]
    fn a_folder_that_would_fall_apart_in_a_list_is_refused() {
        for folder in ["/a b", "/a:b", "/a\tb"] {
            let error = variables(Path::new(folder), Some(Path::new("/s")), |_| None).unwrap_err();
            assert!(error.to_string().contains("TMPDIR"), "{error}");
        }
    }

    #[test]
    fn a_shell_reads_a_word_back_as_it_was() {
        for text in ["/plain", "it's", "a $HOME `x` \"y\"", "''"] {
            let mut line = OsString::from("printf %s ");
            line.push(shell_word(OsStr::new(text)));
            let output = std::process::Command::new("sh").arg("-c").arg(line).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }
}
