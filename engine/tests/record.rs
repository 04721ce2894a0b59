//! The batch codec against the `kafka-protocol` crate's, both ways, and against arbitrary and damaged bytes.

use std::io::{Read, Write};

use bytes::{Bytes, BytesMut};
use engine::record::{self, *};
use engine::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as theirs;
use proptest::prelude::*;

#[derive(Clone, Debug, PartialEq)]
struct Row {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn bytes(max: usize) -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::weighted(0.8, proptest::collection::vec(any::<u8>(), 0..max))
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    // Few distinct timestamps, so that equal ones are common; negative ones too.
    let timestamp =
        prop_oneof![Just(0i64), Just(-7), Just(1_700_000_000_000), -1_000_000_000_000i64..4_000_000_000_000];
    // Names are distinct: the other codec keeps headers in a map.
    let headers = proptest::collection::btree_map("[a-z.]{0,9}", bytes(20), 0..4);
    let row = (timestamp, bytes(40), bytes(300), headers).prop_map(|(timestamp, key, value, headers)| Row {
        timestamp,
        key,
        value,
        headers: headers.into_iter().collect(),
    });
    proptest::collection::vec(row, 1..20)
}

fn stamp() -> impl Strategy<Value = ProducerStamp> {
    (0i64..1 << 40, 0i16..i16::MAX, 0i32..1_000_000, any::<bool>(), any::<bool>()).prop_map(
        |(id, epoch, sequence, transactional, none)| {
            if none {
                return ProducerStamp::NONE;
            }
            ProducerStamp {
                producer_id: ProducerId(id),
                producer_epoch: ProducerEpoch(epoch),
                base_sequence: Sequence(sequence),
                transactional,
            }
        },
    )
}

fn compression() -> impl Strategy<Value = Compression> {
    prop_oneof![Just(Compression::None), Just(Compression::Lz4)]
}

fn build(rows: &[Row], compression: Compression, stamp: ProducerStamp) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression);
    for row in rows {
        let headers: Vec<_> = row.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref())).collect();
        builder.push(Timestamp(row.timestamp), row.key.as_deref(), row.value.as_deref(), &headers);
    }
    assert_eq!(builder.len(), rows.len());
    let batch = builder.finish(stamp).to_vec();
    assert!(builder.is_empty());
    batch
}

fn complete(bytes: &[u8]) -> BatchRef<'_> {
    match scan(bytes) {
        Scan::Complete(batch) => batch,
        other => panic!("{other:?}"),
    }
}

fn read(batch: &BatchRef<'_>) -> Vec<(i64, Row)> {
    let mut scratch = Vec::new();
    let records = batch.records(&mut scratch).unwrap();
    records
        .map(|record| {
            let record = record.unwrap();
            let row = Row {
                timestamp: record.timestamp.0,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record
                    .headers()
                    .map(|(name, value)| (String::from_utf8(name.to_vec()).unwrap(), value.map(<[u8]>::to_vec)))
                    .collect(),
            };
            assert_eq!(record.has_headers(), !row.headers.is_empty());
            (record.offset.0, row)
        })
        .collect()
}

fn unpack(packed: &mut Bytes, compression: theirs::Compression) -> anyhow::Result<Bytes> {
    match compression {
        theirs::Compression::None => Ok(packed.clone()),
        theirs::Compression::Lz4 => {
            let mut out = Vec::new();
            lz4_flex::frame::FrameDecoder::new(&packed[..]).read_to_end(&mut out)?;
            Ok(out.into())
        }
        other => panic!("{other:?}"),
    }
}

fn pack(raw: &mut BytesMut, out: &mut BytesMut, compression: theirs::Compression) -> anyhow::Result<()> {
    match compression {
        theirs::Compression::None => out.extend_from_slice(raw),
        theirs::Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(raw)?;
            out.extend_from_slice(&encoder.finish().unwrap());
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}

fn to_theirs(rows: &[Row], stamp: ProducerStamp, base: i64) -> Vec<theirs::Record> {
    let record = |(index, row): (usize, &Row)| theirs::Record {
        transactional: stamp.transactional,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 3,
        producer_id: stamp.producer_id.0,
        producer_epoch: stamp.producer_epoch.0,
        timestamp_type: theirs::TimestampType::Creation,
        offset: base + index as i64,
        sequence: stamp.base_sequence.0 + index as i32,
        timestamp: row.timestamp,
        key: row.key.clone().map(Bytes::from),
        value: row.value.clone().map(Bytes::from),
        headers: row
            .headers
            .iter()
            .map(|(name, value)| (StrBytes::from_string(name.clone()), value.clone().map(Bytes::from)))
            .collect::<IndexMap<_, _>>(),
    };
    rows.iter().enumerate().map(record).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_built_reads_back(rows in rows(), compression in compression(), stamp in stamp(), base in 0i64..1 << 40) {
        let mut bytes = build(&rows, compression, stamp);
        record::patch(&mut bytes, Offset(base), 9);
        let batch = complete(&bytes);
        let header = batch.header();
        prop_assert_eq!(header.base_offset, Offset(base));
        prop_assert_eq!(header.next_offset(), Offset(base + rows.len() as i64));
        prop_assert_eq!(header.leader_epoch, 9);
        prop_assert_eq!(header.count as usize, rows.len());
        prop_assert_eq!(header.size, bytes.len());
        prop_assert_eq!(header.producer_id, stamp.producer_id);
        prop_assert_eq!(header.producer_epoch, stamp.producer_epoch);
        prop_assert_eq!(header.base_sequence, stamp.base_sequence);
        prop_assert_eq!(header.transactional, stamp.transactional);
        prop_assert_eq!(header.compression, compression);
        prop_assert_eq!(header.base_timestamp.0, rows[0].timestamp);
        prop_assert_eq!(header.max_timestamp.0, rows.iter().map(|row| row.timestamp).max().unwrap());
        prop_assert_eq!(batch.control_marker(), None);
        let expected: Vec<_> = rows.iter().cloned().enumerate().map(|(index, row)| (base + index as i64, row)).collect();
        prop_assert_eq!(read(&batch), expected);
    }

    #[test]
    fn the_other_codec_reads_what_is_built(rows in rows(), compression in compression(), stamp in stamp(), base in 0i64..1 << 40) {
        let mut bytes = build(&rows, compression, stamp);
        record::patch(&mut bytes, Offset(base), 3);
        let mut bytes = Bytes::from(bytes);
        let set = theirs::RecordBatchDecoder::decode_with_custom_compression(&mut bytes, Some(unpack)).unwrap();
        prop_assert_eq!(set.records, to_theirs(&rows, stamp, base));
    }

    #[test]
    fn what_the_other_codec_builds_is_read(rows in rows(), packed in any::<bool>(), stamp in stamp(), base in 0i64..1 << 40) {
        // The other codec builds a batch where sequences follow offsets, so one without a producer breaks up.
        prop_assume!(stamp != ProducerStamp::NONE);
        let compression = if packed { theirs::Compression::Lz4 } else { theirs::Compression::None };
        let options = theirs::RecordEncodeOptions { version: 2, compression };
        let mut bytes = BytesMut::new();
        let records = to_theirs(&rows, stamp, base);
        theirs::RecordBatchEncoder::encode_with_custom_compression(&mut bytes, &records, &options, Some(pack)).unwrap();
        let batch = complete(&bytes);
        prop_assert_eq!(batch.bytes().len(), bytes.len());
        prop_assert_eq!(batch.header().base_sequence, stamp.base_sequence);
        let expected: Vec<_> = rows.iter().cloned().enumerate().map(|(index, row)| (base + index as i64, row)).collect();
        prop_assert_eq!(read(&batch), expected);
        // The base timestamp is the first record's for Kafka and us, the least for this codec; else the bytes agree.
        if !packed && rows.iter().all(|row| row.timestamp >= rows[0].timestamp) {
            let mut ours = build(&rows, Compression::None, stamp);
            record::patch(&mut ours, Offset(base), 3);
            prop_assert_eq!(&ours[..], &bytes[..]);
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_records_and_no_panic(noise in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(!matches!(scan(&noise), Scan::Complete(_)));
        let mut scratch = Vec::new();
        // With the right magic and a believable length, past the checksum, into the records.
        let mut front = noise.clone();
        front.resize(noise.len().max(61), 0);
        let length = (front.len() - 12) as i32;
        front[8..12].copy_from_slice(&length.to_be_bytes());
        front[16] = 2;
        if let Scan::Complete(batch) = scan_trusted(&front) {
            let _ = batch.control_marker();
            if let Ok(records) = batch.records(&mut scratch) {
                for record in records.flatten() {
                    let _ = record.headers().count();
                }
            }
        }
        prop_assert!(scratch.len() <= UNPACKED_BYTES_MAX);
    }

    #[test]
    fn a_batch_cut_short_is_a_partial_tail(rows in rows(), compression in compression(), at in any::<prop::sample::Index>()) {
        let bytes = build(&rows, compression, ProducerStamp::NONE);
        let at = at.index(bytes.len());
        match scan(&bytes[..at]) {
            Scan::End => prop_assert_eq!(at, 0),
            Scan::PartialTail => prop_assert!(at > 0),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn a_flipped_bit_is_seen_or_is_in_the_offset_or_the_leader_epoch(
        rows in rows(), compression in compression(), at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let bytes = build(&rows, compression, ProducerStamp::NONE);
        let mut flipped = bytes.clone();
        let at = at.index(bytes.len());
        flipped[at] ^= 1 << bit;
        match scan(&flipped) {
            Scan::Complete(batch) => {
                prop_assert!(at < 8 || (12..16).contains(&at), "a flip in byte {} was not seen", at);
                if at < 8 {
                    prop_assert!(batch.header().base_offset != Offset::ZERO);
                }
                let rows_read: Vec<_> = read(&batch).into_iter().map(|(_, row)| row).collect();
                prop_assert_eq!(rows_read, rows);
            }
            Scan::PartialTail => prop_assert!((8..12).contains(&at), "byte {}", at),
            Scan::Corrupt(_) => {}
            Scan::End => prop_assert!(false),
        }
    }

    #[test]
    fn damaged_records_behind_a_right_checksum_never_panic(
        rows in rows(), compression in compression(), flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = build(&rows, compression, ProducerStamp::NONE);
        for (at, value) in flips {
            let at = 61 + at.index(bytes.len() - 61);
            bytes[at] = value;
        }
        let checksum = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
        let batch = complete(&bytes);
        let mut scratch = Vec::new();
        if let Ok(records) = batch.records(&mut scratch) {
            let mut last = -1;
            for record in records.map_while(Result::ok) {
                prop_assert!(record.offset.0 > last);
                last = record.offset.0;
                let _ = record.headers().count();
            }
        }
    }

    #[test]
    fn batches_are_read_one_after_another(sets in proptest::collection::vec(rows(), 0..5), cut in 0usize..40) {
        let mut bytes = Vec::new();
        for rows in &sets {
            bytes.extend(build(rows, Compression::None, ProducerStamp::NONE));
        }
        let tail = build(&[Row { timestamp: 0, key: None, value: None, headers: vec![] }], Compression::None, ProducerStamp::NONE);
        bytes.extend(&tail[..cut]);
        let mut all = batches(&bytes);
        let read: Vec<usize> = all.by_ref().map(|batch| batch.unwrap().header().count as usize).collect();
        prop_assert_eq!(read, sets.iter().map(Vec::len).collect::<Vec<_>>());
        prop_assert_eq!(all.rest().len(), cut);
    }
}

#[test]
fn a_marker_is_a_control_batch_that_both_codecs_know() {
    for (marker, kind) in [(ControlMarker::Commit, 1), (ControlMarker::Abort, 0)] {
        let bytes = control_batch(marker, ProducerId(7), ProducerEpoch(4), 12, Timestamp(99));
        let batch = complete(&bytes);
        assert_eq!(batch.control_marker(), Some(marker));
        assert!(batch.header().transactional && batch.header().control);
        assert_eq!(batch.header().base_sequence, Sequence::NONE);
        assert_eq!(batch.header().last_sequence(), Sequence::NONE);
        let set = theirs::RecordBatchDecoder::decode(&mut bytes.clone()).unwrap();
        let record = &set.records[0];
        assert!(record.control && record.transactional);
        assert_eq!((record.producer_id, record.producer_epoch, record.timestamp), (7, 4, 99));
        assert_eq!(record.key.as_deref(), Some(&[0, 0, 0, kind][..]));
        assert_eq!(record.value.as_deref(), Some(&[0, 0, 0, 0, 0, 12][..]));
    }
}

#[test]
fn an_empty_builder_gives_no_bytes_and_serves_on() {
    let mut builder = BatchBuilder::new(Compression::Lz4);
    assert!(builder.finish(ProducerStamp::NONE).is_empty());
    builder.push(Timestamp(5), None, None, &[]);
    builder.clear();
    assert!(builder.is_empty() && builder.max_timestamp().is_none());
    builder.push(Timestamp(-5), None, Some(b"v"), &[(b"h", None)]);
    let bytes = builder.finish(ProducerStamp::NONE);
    let row = Row { timestamp: -5, key: None, value: Some(b"v".to_vec()), headers: vec![("h".into(), None)] };
    assert_eq!(read(&complete(&bytes)), vec![(0, row)]);
}

#[test]
fn the_ends_of_time_fit_into_one_batch() {
    let row = |timestamp| Row { timestamp, key: None, value: None, headers: vec![] };
    let rows = vec![row(i64::MIN), row(i64::MAX), row(-1), row(0)];
    let bytes = build(&rows, Compression::None, ProducerStamp::NONE);
    let back: Vec<_> = read(&complete(&bytes)).into_iter().map(|(_, row)| row).collect();
    assert_eq!(back, rows);
}

#[test]
fn a_length_that_is_too_long_or_too_short_is_corrupt() {
    let good =
        build(&[Row { timestamp: 0, key: None, value: None, headers: vec![] }], Compression::None, ProducerStamp::NONE);
    for length in [i32::MIN, -1, 0, 48, i32::MAX] {
        let mut bytes = good.clone();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        assert!(matches!(scan(&bytes), Scan::Corrupt(CorruptReason::Size { found }) if found == length), "{length}");
        assert_eq!(claimed_size(&bytes), None);
    }
    assert_eq!(claimed_size(&good), Some(good.len()));
}

#[test]
fn records_that_unpack_to_more_than_the_limit_are_refused() {
    let row = Row { timestamp: 0, key: None, value: Some(vec![0; UNPACKED_BYTES_MAX]), headers: vec![] };
    let bytes = build(&[row], Compression::Lz4, ProducerStamp::NONE);
    assert!(bytes.len() < UNPACKED_BYTES_MAX / 100);
    let mut scratch = Vec::new();
    assert_eq!(complete(&bytes).records(&mut scratch).err(), Some(RecordError::TooLarge { max: UNPACKED_BYTES_MAX }));
}

#[test]
fn a_codec_we_do_not_unpack_is_a_whole_batch_all_the_same() {
    let mut bytes =
        build(&[Row { timestamp: 0, key: None, value: None, headers: vec![] }], Compression::None, ProducerStamp::NONE);
    bytes[22] |= 4;
    let checksum = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    let batch = complete(&bytes);
    assert_eq!(batch.header().compression, Compression::Other(4));
    assert_eq!(batch.records(&mut Vec::new()).err(), Some(RecordError::Unsupported { codec: 4 }));
}

#[test]
fn the_log_append_time_stands_for_every_timestamp() {
    let row = |timestamp| Row { timestamp, key: None, value: None, headers: vec![] };
    let mut bytes = build(&[row(3), row(8), row(5)], Compression::None, ProducerStamp::NONE);
    bytes[22] |= 8;
    let checksum = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    assert!(read(&complete(&bytes)).iter().all(|(_, row)| row.timestamp == 8));
}
