//! The one place where this service's errors become gRPC codes.

use std::io;

use farrier_common::telemetry::Chain;
use farrier_proto::{CERTIFICATE, REASON};
use tonic::{Status, metadata::MetadataValue};

use super::convert::Invalid;
use crate::{blobs::BlobError, bmc::BmcError, boot::state::PutError, gateway::GatewayError};

impl From<Invalid> for Status {
    fn from(invalid: Invalid) -> Self {
        Self::invalid_argument(invalid.to_string())
    }
}

pub(super) fn bmc_status(error: &BmcError) -> Status {
    let text = error.to_string();
    match error {
        BmcError::Unreachable(_) | BmcError::Busy(_) => Status::unavailable(text),
        BmcError::Refused(_) => Status::unauthenticated(text),
        BmcError::Unsupported(_) => Status::unimplemented(text),
        BmcError::Nonsense(_) => Status::data_loss(text),
        BmcError::NotConfirmed(_) => Status::deadline_exceeded(text),
        BmcError::NameTaken(_) => Status::already_exists(text),
        BmcError::NoSlot(_) => Status::resource_exhausted(text),
        BmcError::Rejected(_) => Status::failed_precondition(text),
        // A code that the region does not retry: the next try would find the account working and hide what happened.
        BmcError::OthersChanged(_) => Status::permission_denied(text),
        BmcError::Untrusted(_) => {
            let mut status = Status::permission_denied(text);
            status.metadata_mut().insert(REASON, MetadataValue::from_static(CERTIFICATE));
            status
        }
    }
}

pub(super) fn put_status(error: &PutError) -> Status {
    match error {
        PutError::WrongSnapshot { .. } => Status::failed_precondition(format!("snapshot_id: {error}")),
        PutError::Io(source) => storage_status(source),
    }
}

pub(super) fn storage_status(error: &io::Error) -> Status {
    Status::internal(format!("the rack cannot store it: {error}"))
}

pub(super) fn blob_status(error: &BlobError) -> Status {
    let text = Chain(error).to_string();
    match error {
        BlobError::BadDigest(_) => Status::invalid_argument(format!("blob.sha256: {text}")),
        BlobError::Corrupt { .. } => Status::data_loss(text),
        BlobError::Io { source, .. } => storage_status(source),
        BlobError::Fetch { source, .. } => match source {
            GatewayError::NotFound(_) => Status::not_found(text),
            GatewayError::Denied(_) | GatewayError::Invalid(_) => Status::failed_precondition(text),
            GatewayError::Unavailable(_) => Status::unavailable(text),
        },
    }
}
