//! How functions of this library fail: with a code of CUDA's.

use ringbar::error::ChannelError;
use ringbar_session::SessionError;
use ringbar_vocabulary::Status;

/// The code that a failing function answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure(pub Status);

/// What a function comes to.
pub type Outcome<T = ()> = Result<T, Failure>;

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self(status)
    }
}

impl From<SessionError> for Failure {
    #[cold]
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Lost(cause) => Self(crate::session::lost(&cause)),
            SessionError::Status { status, .. } => Self(status),
            SessionError::PostFailed { status, .. } => {
                tracing::debug!(%error, "reported to the program");
                Self(status)
            }
            SessionError::MorePostsFailed { .. } => match crate::session::device_failure() {
                Some(status) => Self(status),
                None => {
                    tracing::warn!(%error, "reported to the program as CUDA_ERROR_UNKNOWN");
                    Self(Status::UNKNOWN)
                }
            },
            SessionError::Channel(ChannelError::ArenaFull { .. })
            | SessionError::FenceWords { .. }
            | SessionError::NoRoom { .. }
            | SessionError::Ids { .. } => {
                tracing::warn!(%error, "out of memory");
                Self(Status::OUT_OF_MEMORY)
            }
            error => {
                tracing::error!(%error, "the call failed");
                Self(Status::UNKNOWN)
            }
        }
    }
}

impl From<ChannelError> for Failure {
    fn from(error: ChannelError) -> Self {
        SessionError::from(error).into()
    }
}
