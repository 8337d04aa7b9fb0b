//! The mock passes the suite of all backends, inline and on device threads.

use ringbar_backend::conformance::{IMAGE, Subject};
use ringbar_mock::{MockConfig, MockGpu};

fn subject(config: MockConfig) -> Subject {
    let backend = Box::new(MockGpu::new(config).expect("a mock GPU"));
    Subject { backend, image: IMAGE.into() }
}

fn small(seed: u64) -> MockConfig {
    MockConfig { seed, device_memory_bytes: 64 << 20, ..MockConfig::default() }
}

mod inline {
    ringbar_backend::conformance!(|| super::subject(super::small(1)));
}

/// A row without a check, or without a check of an error of its own, fails here by name.
#[test]
fn every_row_is_done_in_some_check_and_refused_in_some_check() {
    let two = MockConfig { devices: 2, ..small(3) };
    // What another process opens is done by a program of two processes (24_ipc); the mock has no events for two, as it says.
    let others = ["IpcMemoryOpen", "IpcMemoryClose", "IpcEventHandle", "IpcEventOpen"];
    let but = [&others[..], &["TensorMapEncode"]].concat();
    let gaps = ringbar_backend::conformance::gaps(&but, || subject(two.clone()));
    assert!(gaps.is_empty(), "{gaps:#?}");
}

/// Work takes time, so that an order that is not kept is seen.
mod device_threads {
    ringbar_backend::conformance!(|| super::subject(ringbar_mock::MockConfig {
        latency_ns: 200_000,
        bandwidth_bytes_per_s: 2_000_000_000,
        ..super::small(2)
    }));
}
