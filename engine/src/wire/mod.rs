//! What broker and client share: the published table of APIs and versions, the frame codec, and the [`Transport`]
//! between them. The messages themselves are the `kafka-protocol` crate's.
//!
//! A module of its own so that neither side depends on the other.

pub mod api;
pub mod frame;
mod shape;

use kafka_protocol::messages::{RequestKind, ResponseKind};

use crate::env::BoxFuture;

/// One request, one response. Two implementations: a framed socket (in `client`) and the broker in this process (in
/// `broker`), each for reads and for writes.
pub trait Transport: Send + Sync {
    /// Sends `request` at `api_version` (a version of [`api::TABLE`]) and waits for its response.
    ///
    /// # Errors
    /// [`TransportError`] when no response came; whether the request took effect is then unknown.
    fn call(&self, api_version: i16, request: RequestKind) -> BoxFuture<'_, Result<ResponseKind, TransportError>>;
}

/// Why there is no response. Except for [`TransportError::Refused`], the request may have taken effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection could be made: the request was not sent.
    #[error("no connection to {address}: {reason}")]
    Refused { address: String, reason: String },
    /// The connection broke after the request was sent.
    #[error("the connection to {address} broke: {reason}")]
    Broken { address: String, reason: String },
    /// The deadline passed first.
    #[error("no answer from {address} within {ms} ms")]
    Deadline { address: String, ms: u64 },
    /// The peer closed, or sent what is not a response to this request.
    #[error("{address} answered with something else: {reason}")]
    Malformed { address: String, reason: String },
}
