//! Which backend a worker executes on, as a choice that travels from the command line to the worker process.

use clap::ValueEnum;
use ringbar_cuda::{CudaConfig, DriverError};
use ringbar_mock::{Faults, MockConfig};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use thiserror::Error;

/// A backend and its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// The deterministic software GPU.
    Mock(MockSettings),
    /// A real GPU, through NVIDIA's driver.
    Cuda(CudaSettings),
}

/// Which backend, as the command line spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendName {
    /// This machine's GPU, through NVIDIA's driver.
    Cuda,
    /// A deterministic software GPU, for programs whose kernels it knows.
    Mock,
}

/// What decided for a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The command line.
    Asked,
    /// NVIDIA's driver was found there.
    DriverFound(PathBuf),
    /// It was not found.
    NoDriver,
    /// Settings of the mock were given.
    MockSettings,
}

impl fmt::Display for Choice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => write!(out, "on the backend that was asked for"),
            Self::DriverFound(path) => {
                let path = path.display();
                write!(
                    out,
                    "on this machine's GPU, through {path} (--backend cuda says so without this line)"
                )
            }
            Self::NoDriver => write!(
                out,
                "no NVIDIA driver here, running on the mock GPU (--backend mock says so without this line)"
            ),
            Self::MockSettings => write!(
                out,
                "on the mock GPU, since settings of it were given (--backend mock says so without this line)"
            ),
        }
    }
}

/// Settings of a real GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CudaSettings {
    /// The driver library, by absolute path; `None`: each worker looks for it.
    pub library: Option<PathBuf>,
}

impl CudaSettings {
    /// The driver of this machine.
    ///
    /// # Errors
    /// [`DriverError`] if there is none, or only ringbar's own shim.
    pub fn find() -> Result<Self, DriverError> {
        Ok(Self { library: Some(ringbar_cuda::driver_library()?) })
    }

    /// The configuration that these settings mean, for a worker.
    pub fn config(&self) -> CudaConfig {
        CudaConfig { library: self.library.clone(), captures_output: true }
    }
}

impl Default for Device {
    fn default() -> Self {
        Self::Mock(MockSettings::default())
    }
}

impl Device {
    /// The backend that was `asked` for. If none was, the GPU where NVIDIA's driver is found, else the mock; settings of the
    /// mock ask for the mock.
    ///
    /// # Errors
    /// [`DriverError`] if the GPU was asked for and there is no driver.
    pub fn choose(
        asked: Option<BackendName>,
        mock: Option<MockSettings>,
    ) -> Result<(Self, Choice), DriverError> {
        Self::choose_by(asked, mock, CudaSettings::find)
    }

    fn choose_by(
        asked: Option<BackendName>,
        mock: Option<MockSettings>,
        find: impl FnOnce() -> Result<CudaSettings, DriverError>,
    ) -> Result<(Self, Choice), DriverError> {
        match (asked, mock) {
            (Some(BackendName::Cuda), _) => Ok((Self::Cuda(find()?), Choice::Asked)),
            (Some(BackendName::Mock), mock) => {
                Ok((Self::Mock(mock.unwrap_or_default()), Choice::Asked))
            }
            (None, Some(mock)) => Ok((Self::Mock(mock), Choice::MockSettings)),
            (None, None) => Ok(match find() {
                Ok(cuda) => {
                    let library = cuda.library.clone().unwrap_or_default();
                    (Self::Cuda(cuda), Choice::DriverFound(library))
                }
                Err(_) => (Self::default(), Choice::NoDriver),
            }),
        }
    }

    /// The backend's name, as the command line spells it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mock(_) => "mock",
            Self::Cuda(_) => "cuda",
        }
    }
}

/// Settings of the mock GPU: [`MockConfig`] without kernels of one's own, in a form that can be sent to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MockSettings {
    /// Decides kernel layouts and the UUID.
    pub seed: u64,
    /// How many devices there are.
    pub devices: u32,
    /// Size of each device's memory, in bytes; committed page by page.
    pub device_memory_bytes: u64,
    /// How much of the memory is committed at once, in bytes.
    pub prefault_bytes: u64,
    /// What a launch takes, in nanoseconds.
    pub latency_ns: u64,
    /// What copies reach, in bytes a second; 0 means no limit.
    pub bandwidth_bytes_per_s: u64,
    /// How many operations of different streams go on at once.
    pub device_threads: usize,
    /// Whether kernel layouts are arbitrary.
    pub random_layouts: bool,
    /// Whether freed memory is filled with zeros.
    pub scrub_on_free: bool,
    /// Whether it says that kernels reach all memory of its process, as with HMM.
    pub pageable_memory_access: bool,
    /// The allocation that answers OUT_OF_MEMORY, from 1.
    pub out_of_memory_at_alloc: Option<u64>,
    /// The launch that fails and makes the device unusable, from 1.
    pub fail_at_launch: Option<u64>,
    /// The launch that is slow, from 1, and by how many nanoseconds.
    pub slow_at_launch: Option<(u64, u64)>,
    /// The launch that never ends, from 1.
    pub hang_at_launch: Option<u64>,
    /// The command at which the worker aborts, from 1.
    pub abort_at_command: Option<u64>,
}

impl Default for MockSettings {
    fn default() -> Self {
        let config = MockConfig::default();
        Self {
            seed: config.seed,
            devices: config.devices,
            device_memory_bytes: config.device_memory_bytes,
            prefault_bytes: config.prefault_bytes,
            latency_ns: config.latency_ns,
            bandwidth_bytes_per_s: config.bandwidth_bytes_per_s,
            device_threads: config.device_threads,
            random_layouts: config.random_layouts,
            scrub_on_free: config.scrub_on_free,
            pageable_memory_access: config.pageable_memory_access,
            out_of_memory_at_alloc: None,
            fail_at_launch: None,
            slow_at_launch: None,
            hang_at_launch: None,
            abort_at_command: None,
        }
    }
}

/// A setting that does not exist, or a value that it cannot have.
#[derive(Debug, Error)]
#[error("--mock {text}: {source}; expected NAME=VALUE, for instance latency_ns=2000")]
pub struct SettingError {
    text: String,
    source: serde_json::Error,
}

impl MockSettings {
    /// The configuration that these settings mean.
    pub fn config(&self) -> MockConfig {
        MockConfig {
            seed: self.seed,
            devices: self.devices,
            device_memory_bytes: self.device_memory_bytes,
            prefault_bytes: self.prefault_bytes,
            latency_ns: self.latency_ns,
            bandwidth_bytes_per_s: self.bandwidth_bytes_per_s,
            device_threads: self.device_threads,
            random_layouts: self.random_layouts,
            scrub_on_free: self.scrub_on_free,
            pageable_memory_access: self.pageable_memory_access,
            faults: Faults {
                out_of_memory_at_alloc: self.out_of_memory_at_alloc,
                fail_at_launch: self.fail_at_launch,
                slow_at_launch: self.slow_at_launch,
                hang_at_launch: self.hang_at_launch,
                abort_at_command: self.abort_at_command,
            },
            kernels: Vec::new(),
        }
    }

    /// Changes the setting of `text`, which is `name=value` with the value in JSON.
    ///
    /// # Errors
    /// [`SettingError`] if there is no such setting, or the value is not of its kind.
    pub fn set(&mut self, text: &str) -> Result<(), SettingError> {
        *self = self.with(text).map_err(|source| SettingError { text: text.into(), source })?;
        Ok(())
    }

    fn with(&self, text: &str) -> Result<Self, serde_json::Error> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let mut all = serde_json::to_value(self)?;
        all[name] = serde_json::from_str(value)?;
        serde_json::from_value(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_set_by_name_and_reach_the_configuration() {
        let mut settings = MockSettings::default();
        settings.set("latency_ns=2000").unwrap();
        settings.set("slow_at_launch=[3,500]").unwrap();
        let config = settings.config();
        assert_eq!((config.latency_ns, config.faults.slow_at_launch), (2000, Some((3, 500))));
    }

    #[test]
    fn without_a_wish_the_gpu_is_taken_where_there_is_a_driver_and_else_the_mock() {
        let library: PathBuf = "/driver/libcuda.so.1".into();
        let found = || Ok(CudaSettings { library: Some(library.clone()) });
        let missing = || Err(DriverError::NotFound { looked: "/usr/lib64".into() });
        let choose = |asked, mock, driver: &dyn Fn() -> _| Device::choose_by(asked, mock, driver);
        let (device, choice) = choose(None, None, &found).unwrap();
        assert_eq!((device.name(), &choice), ("cuda", &Choice::DriverFound(library.clone())));
        assert!(choice.to_string().contains("/driver/libcuda.so.1"), "{choice}");
        let (device, choice) = choose(None, None, &missing).unwrap();
        assert_eq!((device.name(), choice), ("mock", Choice::NoDriver));
        let settings = MockSettings { latency_ns: 7, ..MockSettings::default() };
        let (device, choice) = choose(None, Some(settings.clone()), &found).unwrap();
        assert_eq!((device, choice), (Device::Mock(settings), Choice::MockSettings));
        let (device, choice) = choose(Some(BackendName::Mock), None, &found).unwrap();
        assert_eq!((device.name(), choice), ("mock", Choice::Asked));
        let error = choose(Some(BackendName::Cuda), None, &missing).unwrap_err().to_string();
        assert!(error.contains("/usr/lib64") && error.contains("RINGBAR_CUDA_DRIVER"), "{error}");
    }

    #[test]
    fn unknown_names_and_wrong_values_are_refused_by_name() {
        let mut settings = MockSettings::default();
        for (text, part) in
            [("speed=1", "speed"), ("latency_ns=fast", "latency_ns=fast"), ("seed", "--mock seed")]
        {
            let error = settings.set(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(settings, MockSettings::default());
    }
}
