//! The mock passes the suite of all backends, inline and on device threads.

use ringbar_backend::conformance::Subject;
use ringbar_mock::{MockConfig, MockGpu, image};

fn subject(config: MockConfig) -> Subject {
    let backend = Box::new(MockGpu::new(config).expect("a mock GPU"));
    Subject { backend, image: image(&["fill_u32", "axpy_f32", "copy"]) }
}

fn small(seed: u64) -> MockConfig {
    MockConfig { seed, device_memory_bytes: 64 << 20, ..MockConfig::default() }
}

mod inline {
    ringbar_backend::conformance!(|| super::subject(super::small(1)));
}

/// Work takes time, so that an order that is not kept is seen.
mod device_threads {
    ringbar_backend::conformance!(|| super::subject(ringbar_mock::MockConfig {
        latency_ns: 200_000,
        bandwidth_bytes_per_s: 2_000_000_000,
        ..super::small(2)
    }));
}
