//! The published table: which APIs we speak and at which versions. Ours, never the crate's `valid_versions()`, which in
//! 0.18 claims versions that its codecs lack. Capped so that topic ids are not needed.

use kafka_protocol::messages::ApiKey;

/// An API and the versions that we serve and send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiRange {
    pub key: ApiKey,
    pub min: i16,
    pub max: i16,
}

const fn range(key: ApiKey, min: i16, max: i16) -> ApiRange {
    ApiRange { key, min, max }
}

/// Every API of ours. The client always sends `max`.
pub const TABLE: &[ApiRange] = &[
    range(ApiKey::Produce, 9, 12),
    range(ApiKey::Fetch, 4, 12),
    range(ApiKey::ListOffsets, 1, 6),
    range(ApiKey::Metadata, 4, 9),
    range(ApiKey::OffsetFetch, 8, 9),
    range(ApiKey::FindCoordinator, 3, 4),
    range(ApiKey::ApiVersions, 0, 4),
    range(ApiKey::CreateTopics, 2, 5),
    range(ApiKey::DeleteRecords, 0, 2),
    range(ApiKey::InitProducerId, 2, 5),
    range(ApiKey::EndTxn, 5, 5),
    range(ApiKey::TxnOffsetCommit, 5, 5),
];

/// The tag of a field of ours in the answers of ListOffsets: the greatest timestamp, i64 big endian, of the records that
/// were deleted at the log's beginning. It is there when something was. Who does not know it steps over it.
pub const DELETED_TO_TAG: i32 = 10_000;

/// The entry for `key`.
pub fn lookup(key: ApiKey) -> Option<ApiRange> {
    TABLE.iter().copied().find(|range| range.key == key)
}

/// The version that the client sends.
///
/// # Panics
/// When `key` is not in [`TABLE`]: a bug of ours.
pub fn latest(key: ApiKey) -> i16 {
    lookup(key).unwrap_or_else(|| panic!("{key:?} is not in the table of APIs")).max
}
