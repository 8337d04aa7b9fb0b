//! Which function of several holds a region: found out by reading, before anything is done to one that is somebody else's.

use super::discovery::{self, Function};
use super::source::Source;
use super::{GuestConfig, GuestError, device};
use crate::layout::DIRECTORY_MAGIC;
use crate::region::RegionError;

/// What looking at a function told.
enum Look {
    /// It holds a region, whatever else may be wrong with it.
    Ours,
    /// It holds something else.
    Foreign(GuestError),
    /// It could not be read.
    Unknown(GuestError),
}

impl Look {
    /// Reads the first words of BAR 2, which is memory: that changes nothing.
    fn at(function: &Function, config: &GuestConfig) -> Self {
        let source = match Source::open(&function.folder.join("resource2")) {
            Ok(source) => source,
            Err(error) => return Self::Unknown(error),
        };
        match device::directory_of(&function.address, &source) {
            Err(error) if is_other_magic(&error) => Self::Foreign(error),
            Ok(_) | Err(GuestError::Region { .. } | GuestError::WrongSize { .. }) => Self::Ours,
            Err(error) => Self::Unknown(device::why_unmapped(function, config, error)),
        }
    }

    /// The same for one whose memory is off: turned on for it, and off again if it is not ours.
    fn at_sleeping(function: &Function, config: &GuestConfig) -> Self {
        if let Err(error) = function.enable() {
            return Self::Unknown(error);
        }
        let look = Self::at(function, config);
        if !matches!(look, Self::Ours) {
            function.disable();
        }
        look
    }
}

fn is_other_magic(error: &GuestError) -> bool {
    let GuestError::Region { source, .. } = error else { return false };
    matches!(source, RegionError::Identity { expected: DIRECTORY_MAGIC, .. })
}

/// The function that `config` names, unseen; else the only one that holds a region.
///
/// One whose memory is off tells nothing. It is turned on for a look only if none of the others holds a region.
pub(super) fn the_one(config: &GuestConfig) -> Result<Function, GuestError> {
    let mut candidates = discovery::candidates(config)?;
    if config.device.is_some()
        && let Some(named) = candidates.pop()
    {
        return Ok(named);
    }
    let (awake, asleep): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|f| f.answers);
    let mut looks: Vec<_> = awake.into_iter().map(|f| (Look::at(&f, config), f)).collect();
    if !looks.iter().any(|(look, _)| matches!(look, Look::Ours)) {
        looks.extend(asleep.into_iter().map(|f| (Look::at_sleeping(&f, config), f)));
    }
    verdict(looks)
}

fn verdict(looks: Vec<(Look, Function)>) -> Result<Function, GuestError> {
    let (mut ours, mut foreign, mut unknown) = (Vec::new(), Vec::new(), None);
    for (look, function) in looks {
        match look {
            Look::Ours => ours.push(function),
            Look::Foreign(error) => foreign.push(error.to_string()),
            Look::Unknown(error) => unknown = unknown.or(Some(error)),
        }
    }
    match (ours.len(), unknown) {
        (0, Some(error)) => Err(error),
        (0, None) => Err(GuestError::NotRingbar { found: foreign.join("; ") }),
        (1, _) => Ok(ours.remove(0)),
        _ => Err(GuestError::Several { found: ours.into_iter().map(|f| f.address).collect() }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Tree;
    use super::super::{Device, Waiting};
    use super::*;
    use crate::testing::small_sizes;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    const OURS: &str = "0000:00:04.0";

    fn enabled(folder: &Path) -> String {
        std::fs::read_to_string(folder.join("enable")).unwrap().trim().to_owned()
    }

    /// Firmware has turned its memory on, or not.
    fn set_command(folder: &Path, command: u8) {
        std::fs::write(folder.join("config"), [0xf4, 0x1a, 0x10, 0x11, command, 0, 0, 0]).unwrap();
    }

    #[test]
    fn a_foreign_function_whose_memory_is_on_is_never_enabled_whether_there_is_a_region_or_not() {
        let tree = Tree::new();
        let foreign = tree.function("0000:00:03.0", 1 << 16);
        set_command(&foreign, 3);
        assert!(matches!(the_one(&tree.config(None)), Err(GuestError::NotRingbar { .. })));
        let _host = tree.region(OURS, &[small_sizes()]);
        assert_eq!(Device::find(&tree.config(None)).unwrap().name, OURS);
        assert_eq!(enabled(&foreign), "0");
    }

    #[test]
    fn one_whose_memory_is_off_is_turned_on_for_a_look_if_no_other_has_a_region_and_off_again() {
        let tree = Tree::new();
        let foreign = tree.function("0000:00:03.0", 1 << 16);
        set_command(&foreign, 1);
        let writes = |folder: &Path| std::fs::metadata(folder.join("enable")).unwrap().len();
        let _host = tree.region(OURS, &[small_sizes()]);
        let ours = tree.sysfs().join("bus/pci/devices").join(OURS);
        set_command(&ours, 2);
        assert_eq!(Device::locate(&tree.config(None)).unwrap(), OURS);
        assert_eq!(writes(&foreign), 2, "nobody wrote over what the tree made, 0 and a line's end");
        assert_eq!(enabled(&ours), "0", "looking enables nothing that answers");
        set_command(&ours, 1);
        assert_eq!(Device::locate(&tree.config(None)).unwrap(), OURS);
        assert_eq!((writes(&foreign), enabled(&foreign)), (1, "0".to_owned()), "looked at");
        assert_eq!(enabled(&ours), "1");
    }

    #[test]
    fn the_group_of_a_foreign_function_is_not_opened_although_this_program_would_be_alone() {
        let tree = Tree::new();
        let foreign = tree.function("0000:00:03.0", 1 << 16);
        symlink("../../drivers/vfio-pci", foreign.join("driver")).unwrap();
        std::fs::write(foreign.join("enable"), "1").unwrap();
        let mut config = tree.config(None);
        config.waiting = Waiting::Alone;
        let text = Device::find(&config).unwrap_err().to_string();
        assert!(text.contains("holds a ringbar region") && !text.contains("VFIO"), "{text}");
        // One that is named is opened, unseen: here its region has to be read through files all the same.
        config.device = Some("0000:00:03.0".to_owned());
        assert!(matches!(Device::find(&config), Err(GuestError::Region { .. })));
    }

    #[test]
    fn one_that_cannot_be_read_is_an_error_of_its_own_unless_another_has_the_region() {
        let tree = Tree::new();
        let hidden = tree.function("0000:00:03.0", 1 << 16);
        std::fs::remove_file(hidden.join("resource2")).unwrap();
        std::fs::write(hidden.join("enable"), "1").unwrap();
        let error = the_one(&tree.config(None)).unwrap_err();
        assert!(matches!(error, GuestError::Map(_)), "{error}");
        assert!(!error.says_no_way());
        let _host = tree.region(OURS, &[small_sizes()]);
        assert_eq!(the_one(&tree.config(None)).unwrap().address, OURS);
    }
}
