use super::*;
#[cfg(not(miri))]
use crate::os::mapping_file::dax_size_in;
use crate::sync::AtomicU64;
#[cfg(not(miri))]
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, ftruncate};

/// The word at `offset`, through the atomics that every user of a mapping has to use.
fn word(mapping: &Mapping, offset: usize) -> &AtomicU64 {
    let ptr = mapping.ptr_at(offset, 8).unwrap();
    assert!(ptr.cast::<AtomicU64>().is_aligned());
    // SAFETY: inside the mapping, aligned, accessed by atomics only, and borrowed from the mapping.
    unsafe { AtomicU64::from_ptr(ptr.as_ptr().cast()) }
}

#[test]
fn heap_is_zeroed_and_page_aligned() {
    let mapping = Mapping::heap(3 * MAPPING_ALIGN).unwrap();
    assert_eq!(mapping.as_ptr().addr() % MAPPING_ALIGN, 0);
    assert!(
        (0..mapping.len()).step_by(8).all(|at| word(&mapping, at).load(Ordering::Relaxed) == 0)
    );
    assert_eq!(mapping.kind(), MappingKind::Heap);
}

#[test]
fn empty_and_impossible_lengths_are_refused() {
    for len in [0, usize::MAX] {
        assert!(matches!(Mapping::heap(len), Err(MapError::Length { .. })));
        #[cfg(not(miri))]
        assert!(matches!(Mapping::memfd_create("t", len), Err(MapError::Length { .. })));
    }
}

#[test]
fn ranges_outside_a_mapping_are_refused() {
    let mapping = Arc::new(Mapping::heap(100).unwrap());
    for (offset, len) in [(0, 101), (100, 1), (101, 0), (usize::MAX, 2), (1, usize::MAX)] {
        assert!(matches!(mapping.ptr_at(offset, len), Err(MapError::Range { .. })));
        assert!(matches!(mapping.subrange(offset, len), Err(MapError::Range { .. })));
    }
    assert_eq!(mapping.ptr_at(99, 1).unwrap().as_ptr().addr(), mapping.as_ptr().addr() + 99);
}

#[test]
fn a_subrange_keeps_the_whole_alive() {
    let mapping = Arc::new(Mapping::heap(MAPPING_ALIGN).unwrap());
    word(&mapping, 64).store(7, Ordering::Relaxed);
    let part = mapping.subrange(64, 8).unwrap();
    drop(mapping);
    assert_eq!(word(part.mapping(), 64).load(Ordering::Relaxed), 7);
    assert_eq!((part.len(), part.is_empty()), (8, false));
    assert_eq!(part.as_ptr().addr(), part.mapping().as_ptr().addr() + 64);
}

#[test]
fn a_register_store_writes_its_four_bytes_only() {
    let mapping = Mapping::heap(64).unwrap();
    mapping.store_register_u32(12, 0xdead_beef).unwrap();
    let bytes = word(&mapping, 8).load(Ordering::Relaxed).to_ne_bytes();
    assert_eq!(bytes[..4], [0; 4]);
    assert_eq!(bytes[4..], 0xdead_beef_u32.to_ne_bytes());
    assert!(matches!(mapping.store_register_u32(13, 0), Err(MapError::Misaligned { .. })));
    assert!(matches!(mapping.store_register_u32(64, 0), Err(MapError::Range { .. })));
}

#[cfg(not(miri))]
mod kernel {
    use super::*;
    use std::os::fd::AsFd;

    fn memfd(len: u64, seals: SealFlags) -> OwnedFd {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("test", flags).unwrap();
        ftruncate(&fd, len).unwrap();
        rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
        fd
    }

    #[test]
    fn two_mappings_of_a_memfd_share_their_bytes() {
        let (ours, fd) = Mapping::memfd_create("test", 5000).unwrap();
        let theirs = Mapping::memfd_attach(&fd).unwrap();
        word(&ours, 4096).store(42, Ordering::Release);
        assert_eq!(word(&theirs, 4096).load(Ordering::Acquire), 42);
        assert_eq!(theirs.kind(), MappingKind::Memfd);
        assert_eq!(ours.len() % rustix::param::page_size(), 0, "rounded up to whole pages");
        assert_eq!(theirs.len(), ours.len());
    }

    #[test]
    fn a_memfd_of_ours_can_neither_shrink_nor_grow_nor_be_sealed_further() {
        let (mapping, fd) = Mapping::memfd_create("test", 8192).unwrap();
        assert_eq!(ftruncate(&fd, 4096), Err(Errno::PERM));
        assert_eq!(ftruncate(&fd, 1 << 20), Err(Errno::PERM));
        assert_eq!(rustix::fs::fcntl_add_seals(&fd, SealFlags::FUTURE_WRITE), Err(Errno::PERM));
        drop(mapping);
        assert!(Mapping::memfd_attach(&fd).is_ok(), "a later worker can still map it");
    }

    #[test]
    fn a_hole_punched_by_the_peer_reads_as_zeros_and_does_not_fault() {
        let (ours, fd) = Mapping::memfd_create("test", 16384).unwrap();
        for offset in [0, 4096, 8192, 12288] {
            word(&ours, offset).store(u64::MAX, Ordering::Relaxed);
        }
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&fd, hole, 4096, 8192).unwrap();
        let seen = [0, 4096, 8192, 12288].map(|offset| word(&ours, offset).load(Ordering::Relaxed));
        assert_eq!(seen, [u64::MAX, 0, 0, u64::MAX]);
        word(&ours, 4096).store(5, Ordering::Relaxed);
        assert_eq!(word(&ours, 4096).load(Ordering::Relaxed), 5, "and it can be written again");
    }

    #[test]
    fn attaching_refuses_a_memfd_that_can_still_shrink() {
        for seals in [SealFlags::empty(), SealFlags::SHRINK, SealFlags::GROW] {
            let error = Mapping::memfd_attach(memfd(4096, seals)).unwrap_err();
            assert!(matches!(error, MapError::MissingSeals { .. }), "{error}");
        }
        let error = Mapping::memfd_attach(memfd(4096, SealFlags::SHRINK)).unwrap_err();
        assert!(
            error.to_string().contains("found a memfd with the seals SHRINK, expected"),
            "{error}"
        );
    }

    #[test]
    fn attaching_refuses_a_memfd_that_cannot_be_written() {
        for fatal in [SealFlags::WRITE, SealFlags::FUTURE_WRITE] {
            let error = Mapping::memfd_attach(memfd(4096, SEALS_NEEDED | fatal)).unwrap_err();
            assert!(matches!(error, MapError::WriteSealed { .. }), "{error}");
        }
    }

    #[test]
    fn attaching_refuses_an_empty_memfd() {
        let error = Mapping::memfd_attach(memfd(0, SEALS_NEEDED)).unwrap_err();
        assert!(matches!(error, MapError::Length { found: 0, .. }), "{error}");
    }

    #[test]
    fn attaching_refuses_what_is_no_memfd_and_names_it() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let error = Mapping::memfd_attach(reader).unwrap_err();
        assert!(matches!(error, MapError::NotMemfd { found: "a pipe" }), "{error}");
        // On tmpfs a plain file answers the question about seals, on other file systems it does not.
        let error = Mapping::memfd_attach(tempfile::tempfile().unwrap()).unwrap_err();
        assert!(
            matches!(error, MapError::NotMemfd { .. } | MapError::MissingSeals { .. }),
            "{error}"
        );
    }

    #[test]
    fn attaching_refuses_reserved_huge_pages() {
        let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB;
        let Ok(fd) = rustix::fs::memfd_create("test", flags) else {
            println!("did not run: this kernel has no huge page memfd");
            return;
        };
        ftruncate(&fd, 1 << 30).unwrap();
        rustix::fs::fcntl_add_seals(&fd, SEALS_NEEDED).unwrap();
        assert!(matches!(Mapping::memfd_attach(fd), Err(MapError::HugeTlb)));
    }

    #[test]
    fn a_file_serves_friends_and_is_refused_to_strangers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("region");
        let made = Mapping::file_create(&path, 8192).unwrap();
        let opened = Mapping::file(&path, PeerTrust::Own).unwrap();
        word(&made, 8000).store(9, Ordering::Relaxed);
        assert_eq!(word(&opened, 8000).load(Ordering::Relaxed), 9);
        assert_eq!((opened.len(), opened.kind()), (8192, MappingKind::File));
        let error = Mapping::file(&path, PeerTrust::Strangers).unwrap_err();
        assert!(matches!(error, MapError::Shrinkable { .. }), "{error}");
    }

    #[test]
    fn a_region_file_is_private_and_never_replaces_another() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("region");
        let _mapping = Mapping::file_create(&path, 4096).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = Mapping::file_create(&path, 4096).unwrap_err();
        assert!(error.to_string().contains("it exists already"), "{error}");
        assert!(path.exists(), "the failed attempt left the first file alone");
    }

    #[test]
    fn a_file_that_could_not_be_made_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("region");
        assert!(Mapping::file_create(&path, isize::MAX as usize).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn missing_empty_and_unfit_paths_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Mapping::file(folder.path().join("no"), PeerTrust::Own).unwrap_err();
        assert!(missing.to_string().contains("no such file"), "{missing}");
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "").unwrap();
        let error = Mapping::file(&empty, PeerTrust::Own).unwrap_err();
        assert!(matches!(error, MapError::Length { .. }), "{error}");
        let error = Mapping::file("/dev/null", PeerTrust::Own).unwrap_err();
        assert!(matches!(error, MapError::WrongKind { .. }), "{error}");
    }

    #[test]
    fn the_size_of_a_dax_device_comes_from_sysfs() {
        let sysfs = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("../../../bus/dax", sysfs.path().join("subsystem")).unwrap();
        std::fs::write(sysfs.path().join("size"), "268435456\n").unwrap();
        assert_eq!(dax_size_in("dax0.0", sysfs.path()).unwrap(), 256 << 20);
        std::fs::write(sysfs.path().join("size"), "much\n").unwrap();
        assert!(dax_size_in("dax0.0", sysfs.path()).unwrap_err().to_string().contains("much"));
    }

    #[test]
    fn a_pci_resource_is_enabled_once_and_mapped_whole() {
        let device = tempfile::tempdir().unwrap();
        let enable = device.path().join("enable");
        for (name, write_combining) in [("resource2", false), ("resource2_wc", true)] {
            std::fs::write(&enable, "0\n").unwrap();
            std::fs::write(device.path().join(name), vec![0u8; 8192]).unwrap();
            let mapping = Mapping::pci_resource(device.path().join(name)).unwrap();
            assert_eq!(mapping.len(), 8192);
            assert_eq!(mapping.kind(), MappingKind::PciResource { write_combining });
            assert_eq!(std::fs::read_to_string(&enable).unwrap(), "1");
        }
    }

    #[test]
    fn an_enabled_pci_function_is_left_as_it_is() {
        let device = tempfile::tempdir().unwrap();
        std::fs::write(device.path().join("enable"), "3\n").unwrap();
        std::fs::write(device.path().join("resource0"), vec![0u8; 256]).unwrap();
        Mapping::pci_resource(device.path().join("resource0")).unwrap();
        assert_eq!(std::fs::read_to_string(device.path().join("enable")).unwrap(), "3\n");
    }

    #[test]
    fn what_is_no_pci_resource_is_refused_by_name() {
        for name in ["config", "resource", "resource6", "resource2_w", "resource22"] {
            let error = Mapping::pci_resource(Path::new("/sys/x").join(name)).unwrap_err();
            assert!(matches!(error, MapError::WrongKind { .. }), "{error}");
        }
    }

    #[test]
    fn a_part_of_a_memfd_maps_anywhere_or_at_an_address() {
        let page = rustix::param::page_size();
        let (whole, fd) = Mapping::memfd_create("test", 4 * page).unwrap();
        word(&whole, 2 * page).store(77, Ordering::Relaxed);
        let (offset, len) = (2 * page as u64, page as u64);
        let part = Mapping::range(&fd, offset, len, PeerTrust::Strangers).unwrap();
        assert_eq!(word(&part, 0).load(Ordering::Relaxed), 77);
        let address = free_address(page);
        let fixed = Mapping::map_at(&fd, offset, len, address, PeerTrust::Strangers).unwrap();
        assert_eq!(fixed.as_ptr().addr(), address);
        assert_eq!(word(&fixed, 0).load(Ordering::Relaxed), 77);
    }

    #[test]
    fn an_address_in_use_is_never_mapped_over() {
        let page = rustix::param::page_size();
        let (whole, fd) = Mapping::memfd_create("test", page).unwrap();
        word(&whole, 0).store(1, Ordering::Relaxed);
        let (_, other) = Mapping::memfd_create("other", page).unwrap();
        let address = whole.as_ptr().addr();
        let error = Mapping::map_at(&other, 0, page as u64, address, PeerTrust::Own).unwrap_err();
        assert!(matches!(error, MapError::AddressTaken { .. }), "{error}");
        assert_eq!(word(&whole, 0).load(Ordering::Relaxed), 1, "what was there is still there");
        drop(fd);
    }

    #[test]
    fn an_address_is_free_again_after_the_mapping_is_dropped() {
        let page = rustix::param::page_size();
        let (_whole, fd) = Mapping::memfd_create("test", page).unwrap();
        let address = free_address(page);
        for _ in 0..2 {
            Mapping::map_at(&fd, 0, page as u64, address, PeerTrust::Own).unwrap();
        }
    }

    #[test]
    fn parts_off_the_page_grid_or_behind_the_end_are_refused() {
        let page = rustix::param::page_size() as u64;
        let (_whole, fd) = Mapping::memfd_create("test", 2 * page as usize).unwrap();
        let range = |offset, len| Mapping::range(&fd, offset, len, PeerTrust::Own).unwrap_err();
        assert!(matches!(range(64, page), MapError::Misaligned { what: "offset", .. }));
        assert!(matches!(range(page, 2 * page), MapError::Range { .. }));
        assert!(matches!(range(u64::MAX - page + 1, page), MapError::Range { .. }));
        assert!(matches!(range(0, 0), MapError::Length { .. }));
        let at = |address| Mapping::map_at(&fd, 0, page, address, PeerTrust::Own).unwrap_err();
        assert!(matches!(at(free_address(page as usize) + 8), MapError::Misaligned { .. }));
    }

    #[test]
    fn a_part_of_an_unsealed_file_is_refused_to_strangers() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 16).unwrap();
        let error = Mapping::range(file.as_fd(), 0, 4096, PeerTrust::Strangers).unwrap_err();
        assert!(matches!(error, MapError::Shrinkable { .. }), "{error}");
    }

    #[test]
    fn prefaulting_makes_every_page_present() {
        let page = rustix::param::page_size();
        let (mapping, _fd) = Mapping::memfd_create("test", 16 * page).unwrap();
        mapping.prefault().unwrap();
        let mut present = [0u8; 16];
        let start = mapping.as_ptr().cast();
        // SAFETY: the range is one mapping of 16 pages and the answer has a byte for each.
        let answer = unsafe { libc::mincore(start, mapping.len(), present.as_mut_ptr()) };
        assert_eq!(answer, 0);
        assert!(present.iter().all(|byte| byte & 1 == 1), "{present:?}");
    }

    #[test]
    fn the_old_kernels_way_of_prefaulting_makes_every_page_present_too() {
        let page = rustix::param::page_size();
        let (mapping, fd) = Mapping::memfd_create("test", 16 * page).unwrap();
        mapping.read_each_page();
        assert_eq!(rustix::fs::fstat(&fd).unwrap().st_blocks as u64 * 512, 16 * page as u64);
    }

    #[test]
    fn the_huge_page_hint_is_taken_or_refused_with_a_typed_error() {
        let (mapping, _fd) = Mapping::memfd_create("test", 4 << 20).unwrap();
        match mapping.advise_huge_pages() {
            Ok(()) => mapping.prefault().unwrap(),
            Err(error) => assert!(error.to_string().contains("MADV_HUGEPAGE"), "{error}"),
        }
    }

    /// An address that was free a moment ago, far from where the kernel places things by itself.
    fn free_address(page: usize) -> usize {
        use crate::sync::AtomicUsize;
        static NEXT: AtomicUsize = AtomicUsize::new(0x2000_0000_0000);
        NEXT.fetch_add(16 * page, Ordering::Relaxed)
    }
}
