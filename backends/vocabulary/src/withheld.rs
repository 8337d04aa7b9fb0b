//! What a device can do and its clients may not: the one list, which every backend applies. Some abilities no client beyond a
//! ring can have, so all are told that the device has none; `shim/programs/differential/declared.tsv` declares the lines that
//! differ for it. Others are withheld from programs in virtual machines alone, and so are the commands that use them.

use crate::{
    Command, IpcEventHandle, IpcEventOpen, IpcMemoryClose, IpcMemoryHandle, IpcMemoryOpen, Row,
};

/// An ability that a client cannot have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Withheld {
    /// Its number in `CUdevice_attribute`.
    pub attribute: u32,
    /// Its name, without `CU_DEVICE_ATTRIBUTE_`.
    pub name: &'static str,
    /// Why it cannot be had.
    pub reason: &'static str,
}

macro_rules! withheld {
    ($(#[$doc:meta])+ $list:ident $($attribute:literal $name:ident $reason:literal;)+) => {
        $(#[$doc])+
        pub const $list: &[Withheld] = &[$(
            Withheld { attribute: $attribute, name: stringify!($name), reason: $reason }
        ),+];
    };
}

withheld! {
    /// Every attribute that is answered with 0, by number.
    WITHHELD
    88 PAGEABLE_MEMORY_ACCESS "the program's own memory is in another process than the device's, or in another machine";
    89 CONCURRENT_MANAGED_ACCESS "managed memory lies in the arena, which does not move by itself";
    91 CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM "registered memory is staged, so the device does not reach it";
    100 PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES "as 88";
    101 DIRECT_MANAGED_MEM_ACCESS_FROM_HOST "as 89";
    103 HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED "a file descriptor of the executor cannot be the program's";
    104 HANDLE_TYPE_WIN32_HANDLE_SUPPORTED "as 103";
    105 HANDLE_TYPE_WIN32_KMT_HANDLE_SUPPORTED "as 103";
    110 GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED "as 116";
    112 SPARSE_CUDA_ARRAY_SUPPORTED "the call that maps memory into arrays is not offered";
    113 READ_ONLY_HOST_REGISTER_SUPPORTED "as 91";
    114 TIMELINE_SEMAPHORE_INTEROP_SUPPORTED "external semaphores are handles of the program's own process";
    116 GPU_DIRECT_RDMA_SUPPORTED "another device's driver would need the program's own mapping of device memory";
    117 GPU_DIRECT_RDMA_FLUSH_WRITES_OPTIONS "as 116";
    119 MEMPOOL_SUPPORTED_HANDLE_TYPES "as 103";
    121 DEFERRED_MAPPING_CUDA_ARRAY_SUPPORTED "as 112";
    124 DMA_BUF_SUPPORTED "as 103";
    128 HANDLE_TYPE_FABRIC_SUPPORTED "as 103";
    132 MULTICAST_SUPPORTED "the calls that join devices into one team of memory are not offered";
    136 MEM_DECOMPRESS_ALGORITHM_MASK "the calls that decompress on the device are not offered";
    137 MEM_DECOMPRESS_MAXIMUM_LENGTH "as 136";
    141 HOST_NUMA_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED "host memory that the device reaches is the arena's";
    142 HOST_NUMA_MEMORY_POOLS_SUPPORTED "as 141";
    144 HOST_MEMORY_POOLS_SUPPORTED "as 141";
    145 HOST_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED "as 141";
    146 HOST_ALLOC_DMA_BUF_SUPPORTED "as 103";
}

withheld! {
    /// Those that programs in virtual machines are answered with 0 besides.
    WITHHELD_FROM_GUESTS
    125 IPC_EVENT_SUPPORTED "the driver opens what a handle names for whoever presents it, another virtual machine's too";
    143 HOST_NUMA_MULTINODE_IPC_SUPPORTED "as 125";
}

/// Commands whose handles the driver takes from anybody, and which therefore no program in a virtual machine may use.
const BY_HANDLE: [&Row; 5] = [
    IpcMemoryHandle::ROW,
    IpcMemoryOpen::ROW,
    IpcMemoryClose::ROW,
    IpcEventHandle::ROW,
    IpcEventOpen::ROW,
];

/// Where a client runs: what its worker was told by whoever started it, never by the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClientOrigin {
    /// A process of the executor's machine, of the same user.
    #[default]
    Host,
    /// A program in a virtual machine.
    Guest,
    /// The same, and whoever runs the executor accepts that its kernels may reach the executor's own memory.
    TrustedGuest,
}

impl ClientOrigin {
    /// What such a client is told of an attribute whose value on the device is `value`.
    pub fn offered(self, attribute: u32, value: i32) -> i32 {
        let lists = match self {
            Self::Host => &[WITHHELD][..],
            Self::Guest | Self::TrustedGuest => &[WITHHELD, WITHHELD_FROM_GUESTS],
        };
        let withheld =
            |list: &&[Withheld]| list.binary_search_by_key(&attribute, |one| one.attribute).is_ok();
        if lists.iter().any(withheld) { 0 } else { value }
    }

    /// Why such a client may not use a row, whatever the device can do; `None` if it may.
    #[inline]
    pub fn refusal(self, opcode: u16) -> Option<&'static str> {
        match self {
            Self::Host => None,
            Self::Guest | Self::TrustedGuest => {
                let refused = BY_HANDLE.iter().any(|row| row.opcode == opcode);
                refused.then_some(
                    "not for programs in virtual machines: NVIDIA's driver opens what a handle names for whoever presents it",
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ClientOrigin::{Guest, Host};
    use super::*;

    #[test]
    fn what_is_withheld_is_sorted_and_says_why() {
        for (list, from) in [(WITHHELD, Host), (WITHHELD_FROM_GUESTS, Guest)] {
            assert!(list.is_sorted_by(|a, b| a.attribute < b.attribute));
            for one in list {
                assert_eq!(from.offered(one.attribute, 7), 0, "{}", one.name);
                let Some(number) = one.reason.strip_prefix("as ") else { continue };
                let other = list.iter().find(|other| other.attribute.to_string() == number);
                assert!(!other.expect("one of the list").reason.starts_with("as "), "{}", one.name);
            }
        }
    }

    #[test]
    fn what_is_not_withheld_is_told_as_it_is() {
        assert_eq!([1, 16, 120, 125].map(|attribute| Host.offered(attribute, 7)), [7; 4]);
        assert_eq!([1, 16, 120, 125].map(|attribute| Guest.offered(attribute, 7)), [7, 7, 7, 0]);
        assert_eq!(Guest.offered(103, 7), 0, "what nobody has no guest has");
    }

    #[test]
    fn handles_that_anybody_may_present_are_for_the_host_alone() {
        let refused = |from: ClientOrigin| {
            crate::ROWS.iter().filter(move |row| from.refusal(row.opcode).is_some())
        };
        assert_eq!(refused(Host).count(), 0);
        let of_guests: Vec<_> = refused(Guest).map(|row| row.name).collect();
        let ipc = crate::ROWS.iter().map(|row| row.name).filter(|name| name.starts_with("Ipc"));
        assert_eq!(of_guests, ipc.collect::<Vec<_>>());
    }
}
