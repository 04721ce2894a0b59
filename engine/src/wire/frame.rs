//! Kafka frames: a 4-byte length, a header, a message.
//!
//! In: bytes from a peer that may say anything. Out: a message of [`super::api::TABLE`], or an error; and the reverse.
//!
//! Invariant: a frame's length is bounded before its body is read, and memory grows as bytes arrive, not by the length
//! that was claimed.
//! Invariant: a request is walked by [`super::shape`] before the crate decodes it, since its decoder allocates whatever
//! an array claims to hold. So arbitrary bytes are an error, never a panic and never an exhausted memory.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::api;
use super::shape;

/// Length, key, version, correlation id: what every request begins with.
const REQUEST_HEAD_BYTES: usize = 8;
/// How much is reserved for a frame whose bytes have not come yet.
const RESERVE_BYTES: usize = 256 << 10;

/// Bytes that are no message of ours.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {size} bytes; the limit is {max}")]
    TooLarge { size: i64, max: usize },
    #[error("the connection ended {missing} bytes before its frame did")]
    CutShort { missing: usize },
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("API key {0} is not spoken here")]
    UnknownApi(i16),
    #[error("{key:?} version {version} is not spoken here")]
    UnsupportedVersion { key: ApiKey, version: i16, correlation_id: i32 },
    #[error("malformed {what}: {reason}")]
    Malformed { what: String, reason: String },
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub correlation_id: i32,
    pub client_id: Option<String>,
    pub api_version: i16,
    pub body: RequestKind,
}

/// The API that a request belongs to, when it is one of ours.
pub fn request_key(request: &RequestKind) -> Option<ApiKey> {
    Some(match request {
        RequestKind::Produce(_) => ApiKey::Produce,
        RequestKind::Fetch(_) => ApiKey::Fetch,
        RequestKind::ListOffsets(_) => ApiKey::ListOffsets,
        RequestKind::Metadata(_) => ApiKey::Metadata,
        RequestKind::OffsetFetch(_) => ApiKey::OffsetFetch,
        RequestKind::FindCoordinator(_) => ApiKey::FindCoordinator,
        RequestKind::ApiVersions(_) => ApiKey::ApiVersions,
        RequestKind::CreateTopics(_) => ApiKey::CreateTopics,
        RequestKind::DeleteRecords(_) => ApiKey::DeleteRecords,
        RequestKind::InitProducerId(_) => ApiKey::InitProducerId,
        RequestKind::EndTxn(_) => ApiKey::EndTxn,
        RequestKind::TxnOffsetCommit(_) => ApiKey::TxnOffsetCommit,
        _ => return None,
    })
}

/// The API that a response belongs to, when it is one of ours.
pub fn response_key(response: &ResponseKind) -> Option<ApiKey> {
    Some(match response {
        ResponseKind::Produce(_) => ApiKey::Produce,
        ResponseKind::Fetch(_) => ApiKey::Fetch,
        ResponseKind::ListOffsets(_) => ApiKey::ListOffsets,
        ResponseKind::Metadata(_) => ApiKey::Metadata,
        ResponseKind::OffsetFetch(_) => ApiKey::OffsetFetch,
        ResponseKind::FindCoordinator(_) => ApiKey::FindCoordinator,
        ResponseKind::ApiVersions(_) => ApiKey::ApiVersions,
        ResponseKind::CreateTopics(_) => ApiKey::CreateTopics,
        ResponseKind::DeleteRecords(_) => ApiKey::DeleteRecords,
        ResponseKind::InitProducerId(_) => ApiKey::InitProducerId,
        ResponseKind::EndTxn(_) => ApiKey::EndTxn,
        ResponseKind::TxnOffsetCommit(_) => ApiKey::TxnOffsetCommit,
        _ => return None,
    })
}

/// Reads one frame's body. `None`: the peer closed between two frames.
pub async fn read_frame<R: AsyncRead + Unpin>(reader: &mut R, max: usize) -> Result<Option<Bytes>, FrameError> {
    let mut length = [0; 4];
    let mut have = 0;
    while have < length.len() {
        match reader.read(&mut length[have..]).await? {
            0 if have == 0 => return Ok(None),
            0 => return Err(FrameError::CutShort { missing: length.len() - have }),
            count => have += count,
        }
    }
    let claimed = i32::from_be_bytes(length);
    let size = usize::try_from(claimed).ok().filter(|size| *size <= max);
    let size = size.ok_or(FrameError::TooLarge { size: i64::from(claimed), max })?;
    let mut body = BytesMut::with_capacity(size.min(RESERVE_BYTES));
    while body.len() < size {
        let missing = size - body.len();
        if reader.read_buf(&mut (&mut body).limit(missing)).await? == 0 {
            return Err(FrameError::CutShort { missing });
        }
    }
    Ok(Some(body.freeze()))
}

/// A whole frame, its length included.
pub fn encode_request(
    correlation_id: i32,
    client_id: &str,
    api_version: i16,
    request: &RequestKind,
) -> Result<Bytes, FrameError> {
    let key = request_key(request)
        .ok_or_else(|| FrameError::Malformed { what: "request".to_owned(), reason: "not of our APIs".to_owned() })?;
    check_version(key, api_version, correlation_id)?;
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(api_version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_string(client_id.to_owned())));
    seal(key, |frame| {
        header.encode(frame, key.request_header_version(api_version))?;
        request.encode(frame, api_version)
    })
}

/// Decodes a frame's body (without the length).
pub fn decode_request(frame: Bytes) -> Result<Request, FrameError> {
    if frame.len() < REQUEST_HEAD_BYTES {
        return Err(FrameError::Malformed {
            what: "request".to_owned(),
            reason: format!("{} bytes, shorter than a header", frame.len()),
        });
    }
    let mut head = &frame[..REQUEST_HEAD_BYTES];
    let (code, version, correlation_id) = (head.get_i16(), head.get_i16(), head.get_i32());
    let key = ApiKey::try_from(code).map_err(|()| FrameError::UnknownApi(code))?;
    if api::lookup(key).is_none() {
        return Err(FrameError::UnknownApi(code));
    }
    check_version(key, version, correlation_id)?;
    let malformed = |reason: String| FrameError::Malformed { what: format!("{key:?} request v{version}"), reason };
    let flexible = key.request_header_version(version) >= 2;
    let (client_id, header_size) = shape::check_request(key, version, flexible, &frame, REQUEST_HEAD_BYTES)
        .map_err(|error| malformed(error.to_string()))?;
    let mut body = frame.slice(header_size..);
    let request = RequestKind::decode(key, &mut body, version).map_err(|error| malformed(format!("{error:#}")))?;
    if !body.is_empty() {
        return Err(malformed(format!("{} bytes too many", body.len())));
    }
    Ok(Request { correlation_id, client_id, api_version: version, body: request })
}

/// A whole frame, its length included.
pub fn encode_response(correlation_id: i32, api_version: i16, response: &ResponseKind) -> Result<Bytes, FrameError> {
    let key = response_key(response)
        .ok_or_else(|| FrameError::Malformed { what: "response".to_owned(), reason: "not of our APIs".to_owned() })?;
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    seal(key, |frame| {
        // ApiVersions' own rule: its header is the oldest at any version, for it is read before versions are agreed.
        header.encode(frame, key.response_header_version(api_version))?;
        response.encode(frame, api_version)
    })
}

/// Decodes a frame's body (without the length) as the response to a request of `key` at `api_version`. Responses come
/// from a broker that was chosen: their arrays are not walked first.
pub fn decode_response(key: ApiKey, api_version: i16, mut frame: Bytes) -> Result<(i32, ResponseKind), FrameError> {
    let malformed = |reason: String| FrameError::Malformed { what: format!("{key:?} response v{api_version}"), reason };
    let header = ResponseHeader::decode(&mut frame, key.response_header_version(api_version))
        .map_err(|error| malformed(format!("{error:#}")))?;
    let response =
        ResponseKind::decode(key, &mut frame, api_version).map_err(|error| malformed(format!("{error:#}")))?;
    if !frame.is_empty() {
        return Err(malformed(format!("{} bytes too many", frame.len())));
    }
    Ok((header.correlation_id, response))
}

fn check_version(key: ApiKey, version: i16, correlation_id: i32) -> Result<(), FrameError> {
    match api::lookup(key) {
        None => Err(FrameError::UnknownApi(key as i16)),
        Some(range) if (range.min..=range.max).contains(&version) => Ok(()),
        Some(_) => Err(FrameError::UnsupportedVersion { key, version, correlation_id }),
    }
}

fn seal<E: std::fmt::Display>(
    key: ApiKey,
    write: impl FnOnce(&mut BytesMut) -> Result<(), E>,
) -> Result<Bytes, FrameError> {
    let failed = |reason: String| FrameError::Malformed { what: format!("{key:?} message of our own"), reason };
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    write(&mut frame).map_err(|error| failed(format!("{error:#}")))?;
    let size = i32::try_from(frame.len() - 4).map_err(|_| failed(format!("{} bytes", frame.len())))?;
    frame[..4].copy_from_slice(&size.to_be_bytes());
    Ok(frame.freeze())
}

#[cfg(test)]
mod tests;
