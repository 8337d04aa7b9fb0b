//! Starting the driver: on a thread of its own, so that it overlaps with the rest of a worker's start.

use crate::api::{Api, Raw};
use crate::library::{self, DriverError};
use ringbar_vocabulary::Status;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use thiserror::Error;

/// What a GPU is started with.
#[derive(Clone, Debug, Default)]
pub struct CudaConfig {
    /// The driver library; `None`: see [`crate::driver_library`].
    pub library: Option<PathBuf>,
    /// Whether to put a private file in place of this process's standard output, from which clients take what kernels
    /// print. Without it that command is not supported.
    pub captures_output: bool,
}

/// Why there is no GPU.
#[derive(Debug, Error)]
pub enum CudaError {
    /// No driver library.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// A call failed.
    #[error("{call}: {status}; likely cause: {cause}")]
    Call {
        /// The driver's function.
        call: &'static str,
        /// Its result.
        status: Status,
        /// In words.
        cause: &'static str,
    },
    /// No thread, no memory, no file.
    #[error("{what}: {source}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl CudaError {
    /// The number that a client's `cuInit` gets.
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Driver(_) => Status::NO_DEVICE,
            Self::Call { status, .. } => *status,
            Self::System { .. } => Status::OPERATING_SYSTEM,
        }
    }
}

/// A driver that runs, with the primary context of device 0.
pub(crate) struct Started {
    pub api: Arc<Api>,
    pub version: u32,
    pub devices: Vec<i32>,
    pub context: Raw,
}

pub(crate) type Starting = JoinHandle<Result<Started, CudaError>>;

pub(crate) fn begin(config: &CudaConfig) -> Result<Starting, CudaError> {
    let library = config.library.clone();
    std::thread::Builder::new()
        .name("ringbar-cuda-start".into())
        .spawn(move || start(library))
        .map_err(|source| CudaError::System { what: "starting a thread", source })
}

fn call(name: &'static str) -> impl Fn(Status) -> CudaError {
    move |status| CudaError::Call {
        call: name,
        status,
        cause: "no usable GPU, a GPU of which another process has exclusive use, or a driver that does not match its kernel module",
    }
}

fn start(library: Option<PathBuf>) -> Result<Started, CudaError> {
    let path = match library {
        Some(path) => path,
        None => library::driver_library()?,
    };
    let api = Arc::new(Api::of(library::load(&path)?, &path)?);
    api.cuInit(0).map_err(call("cuInit"))?;
    let (mut version, mut count) = (0, 0);
    api.cuDriverGetVersion(&mut version).map_err(call("cuDriverGetVersion"))?;
    api.cuDeviceGetCount(&mut count).map_err(call("cuDeviceGetCount"))?;
    let device = |ordinal| {
        let mut device = 0;
        api.cuDeviceGet(&mut device, ordinal).map(|()| device).map_err(call("cuDeviceGet"))
    };
    let devices = (0..count).map(device).collect::<Result<Vec<_>, _>>()?;
    let first = *devices.first().ok_or_else(|| call("cuDeviceGetCount")(Status::NO_DEVICE))?;
    let mut context = 0;
    api.cuDevicePrimaryCtxRetain(&mut context, first).map_err(call("cuDevicePrimaryCtxRetain"))?;
    tracing::debug!(path = %path.display(), version, count, "the driver is started");
    Ok(Started { api, version: version as u32, devices, context })
}
