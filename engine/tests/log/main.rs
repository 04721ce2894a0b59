//! The log, one law a test: durability, visibility, producers, transactions, recovery, retention.

#![expect(clippy::disallowed_methods, reason = "a test runs on a runtime of its own")]

mod retention;
#[expect(dead_code, reason = "each test file uses its part of the support")]
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use engine::env::Point;
use engine::log::*;
use engine::record::*;
use engine::types::*;
use support::{Dice, TestDisk};

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 2_000,
        index_interval_bytes: 300,
        recovery_point_every_bytes: 1_000,
        ..LogConfig::default()
    }
}

fn dir() -> PathBuf {
    PathBuf::from("/data/t-0")
}

async fn try_open(disk: &TestDisk) -> Result<Log, LogError> {
    Log::open(&disk.env(), &dir(), TopicPartition::new("t", 0), config()).await
}

/// Opens the log and starts its writer.
async fn open(disk: &TestDisk) -> Log {
    let log = try_open(disk).await.unwrap();
    let writer = log.clone();
    tokio::spawn(async move { writer.run().await });
    log
}

/// The host dies: nothing of it runs on, and what it wrote is in the page cache.
async fn kill(disk: &TestDisk) {
    disk.freeze();
    tokio::time::sleep(Duration::from_secs(1)).await;
    disk.thaw();
}

fn batch(values: &[&str], stamp: ProducerStamp) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for (index, value) in values.iter().enumerate() {
        builder.push(Timestamp(index as i64), Some(b"k"), Some(value.as_bytes()), &[]);
    }
    builder.finish(stamp)
}

fn stamp(id: i64, epoch: i16, sequence: i32) -> ProducerStamp {
    ProducerStamp {
        producer_id: ProducerId(id),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: Sequence(sequence),
        transactional: false,
    }
}

fn within(id: i64, epoch: i16, sequence: i32) -> ProducerStamp {
    ProducerStamp { transactional: true, ..stamp(id, epoch, sequence) }
}

async fn put(log: &Log, batch: Bytes) -> Appended {
    let appended = log.append(batch).unwrap();
    log.durable(&appended).await.unwrap();
    appended
}

async fn end(log: &Log, marker: ControlMarker, id: i64, epoch: i16) -> Appended {
    let appended = log.append_marker(marker, ProducerId(id), ProducerEpoch(epoch), 1).unwrap();
    log.durable(&appended).await.unwrap();
    appended
}

async fn values(log: &Log, isolation: Isolation) -> Vec<String> {
    let mut values = Vec::new();
    let mut from = log.start();
    loop {
        let fetched = log.read(from, 1, isolation).await.unwrap();
        if fetched.bytes.is_empty() {
            return values;
        }
        for batch in batches(&fetched.bytes) {
            let batch = batch.unwrap();
            if let Some(marker) = batch.control_marker() {
                values.push(format!("{marker:?}"));
                continue;
            }
            let mut scratch = Vec::new();
            for record in batch.records(&mut scratch).unwrap() {
                values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
            }
        }
        from = fetched.next;
    }
}

fn local(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(test);
}

#[test]
fn futures_of_a_log_may_move_between_threads() {
    fn is_send<T: Send>(_: T) {}
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        is_send(log.run());
        is_send(log.read(Offset(0), 1, Isolation::ReadCommitted));
        is_send(log.delete_below(Offset(0)));
        is_send(log.offset_for_time(Timestamp(0)));
        is_send(log.changed(0));
        is_send(log.close());
        is_send(Log::open(&disk.env(), &dir(), TopicPartition::new("t", 0), config()));
    });
}

#[test]
fn nothing_is_visible_before_it_is_synced() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        put(&log, batch(&["a"], ProducerStamp::NONE)).await;
        disk.freeze_at(Point::LogSynced, 0);
        let appended = log.append(batch(&["b"], ProducerStamp::NONE)).unwrap();
        assert_eq!((appended.base, appended.next), (Offset(1), Offset(2)));
        let waited = tokio::time::timeout(Duration::from_secs(9), log.durable(&appended)).await;
        assert!(waited.is_err(), "it was acknowledged before the sync had returned");
        assert_eq!((log.high_watermark(), log.end()), (Offset(1), Offset(2)));
        let fetched = disk_aside(&disk, log.read(Offset(1), 1_000, Isolation::ReadUncommitted)).await;
        assert!(fetched.bytes.is_empty());
    });
}

/// A read that needs no disk, from a host whose disk is frozen.
async fn disk_aside<T, E: std::fmt::Debug>(disk: &TestDisk, read: impl Future<Output = Result<T, E>>) -> T {
    assert!(disk.is_frozen());
    tokio::time::timeout(Duration::from_secs(9), read).await.expect("it needs no disk").unwrap()
}

#[test]
fn appends_that_gather_during_a_sync_share_the_next_one() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        let before = disk.counts().2;
        let appended: Vec<_> = (0..20).map(|_| log.append(batch(&["x"], ProducerStamp::NONE)).unwrap()).collect();
        log.durable(&appended[19]).await.unwrap();
        let syncs = disk.counts().2 - before;
        assert!(syncs <= 3, "{syncs} syncs for 20 appends");
        assert_eq!(log.high_watermark(), Offset(20));
    });
}

#[test]
fn a_failed_sync_is_fatal() {
    let disk = TestDisk::default();
    local(async {
        let log = try_open(&disk).await.unwrap();
        let writer = tokio::spawn({
            let log = log.clone();
            async move { log.run().await }
        });
        put(&log, batch(&["a"], ProducerStamp::NONE)).await;
        let generation = log.generation();
        disk.fail_syncs(true);
        let appended = log.append(batch(&["b"], ProducerStamp::NONE)).unwrap();
        assert!(matches!(log.durable(&appended).await, Err(LogError::Poisoned)));
        assert!(matches!(writer.await.unwrap(), Err(LogError::Io { action: "syncing", .. })));
        disk.fail_syncs(false);
        assert!(matches!(log.append(batch(&["c"], ProducerStamp::NONE)), Err(AppendError::Poisoned)));
        assert!(matches!(
            log.read(Offset(0), 9, Isolation::ReadCommitted).await,
            Err(ReadError::Log(LogError::Poisoned))
        ));
        assert!(matches!(log.delete_below(Offset(1)).await, Err(LogError::Poisoned)));
        assert!(matches!(log.run().await, Err(LogError::Poisoned)));
        assert_ne!(log.changed(generation).await, generation);
        log.close().await;
    });
}

#[test]
fn a_writer_dropped_in_the_middle_of_a_write_poisons_the_log() {
    let disk = TestDisk::default();
    local(async {
        let log = try_open(&disk).await.unwrap();
        let appended = log.append(batch(&["a"], ProducerStamp::NONE)).unwrap();
        disk.freeze_at(Point::LogWritten, 0);
        assert!(tokio::time::timeout(Duration::from_secs(1), log.run()).await.is_err());
        assert!(matches!(log.durable(&appended).await, Err(LogError::Poisoned)));
    });
}

#[test]
fn a_clean_stop_drains_and_the_next_start_scans_nothing() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        let last = (0..30)
            .map(|n| log.append(batch(&[&format!("v{n}")], ProducerStamp::NONE)).unwrap())
            .fold(None, |_, appended| Some(appended))
            .unwrap();
        log.close().await;
        log.durable(&last).await.unwrap();
        assert_eq!(log.recovery_point(), Offset(30));
        assert!(matches!(log.append(batch(&["late"], ProducerStamp::NONE)), Err(AppendError::Closed)));
        assert_eq!(values(&log, Isolation::ReadUncommitted).await.len(), 30);

        let log = open(&disk).await;
        assert_eq!((log.start(), log.high_watermark(), log.end()), (Offset(0), Offset(30), Offset(30)));
        let expected: Vec<_> = (0..30).map(|n| format!("v{n}")).collect();
        assert_eq!(values(&log, Isolation::ReadUncommitted).await, expected);
    });
}

#[test]
fn close_without_a_writer_does_the_writing_itself() {
    let disk = TestDisk::default();
    local(async {
        let log = try_open(&disk).await.unwrap();
        log.append(batch(&["a"], ProducerStamp::NONE)).unwrap();
        log.close().await;
        assert_eq!(log.high_watermark(), Offset(1));
        log.run().await.unwrap();
    });
}

#[test]
fn a_start_reads_no_segment_below_the_recovery_point() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        for _ in 0..100 {
            put(&log, batch(&[&"x".repeat(500)], ProducerStamp::NONE)).await;
        }
        let above = log.high_watermark().0 - log.recovery_point().0;
        assert!(above <= 3, "{above} batches above the recovery point");
        kill(&disk).await;
        let before = disk.counts().1;
        let point = disk.read_file(&dir().join("recovery-point")).unwrap().len() as u64;
        let log = open(&disk).await;
        let read = disk.counts().1 - before - point;
        assert_eq!(log.high_watermark(), Offset(100));
        assert!(read < 3 * 2_000, "{read} bytes were read to open a log of 60 kB");
    });
}

#[test]
fn a_sequential_read_costs_one_read_of_the_file_per_fetch() {
    let disk = TestDisk::default();
    local(async {
        let config = LogConfig { segment_bytes: 1 << 30, index_interval_bytes: 4_000, ..config() };
        let log = Log::open(&disk.env(), &dir(), TopicPartition::new("t", 0), config).await.unwrap();
        let writer = log.clone();
        tokio::spawn(async move { writer.run().await });
        for _ in 0..200 {
            put(&log, batch(&["some value"], ProducerStamp::NONE)).await;
        }
        let before = disk.counts().0;
        let (mut from, mut fetches) = (Offset(0), 0);
        while from < Offset(200) {
            from = log.read(from, 5_000, Isolation::ReadCommitted).await.unwrap().next;
            fetches += 1;
        }
        assert_eq!(disk.counts().0 - before, fetches);
    });
}

#[test]
fn at_least_one_batch_comes_whatever_the_limit() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        put(&log, batch(&["small"], ProducerStamp::NONE)).await;
        put(&log, batch(&[&"x".repeat(50_000)], ProducerStamp::NONE)).await;
        put(&log, batch(&["after"], ProducerStamp::NONE)).await;
        let fetched = log.read(Offset(1), 0, Isolation::ReadCommitted).await.unwrap();
        assert_eq!(fetched.next, Offset(2));
        assert!(fetched.bytes.len() > 50_000);
    });
}

#[test]
fn a_read_in_the_middle_of_a_batch_brings_the_whole_batch() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        put(&log, batch(&["a", "b", "c"], ProducerStamp::NONE)).await;
        put(&log, batch(&["d", "e", "f"], ProducerStamp::NONE)).await;
        let fetched = log.read(Offset(4), 10_000, Isolation::ReadCommitted).await.unwrap();
        let first = batches(&fetched.bytes).next().unwrap().unwrap();
        assert_eq!((first.header().base_offset, fetched.next), (Offset(3), Offset(6)));
        assert!(log.read(Offset(6), 10, Isolation::ReadCommitted).await.unwrap().bytes.is_empty());
        let error = log.read(Offset(7), 10, Isolation::ReadCommitted).await.unwrap_err();
        assert!(matches!(error, ReadError::OutOfRange { requested: Offset(7), start: Offset(0), end: Offset(6) }));
    });
}

#[test]
fn a_retry_of_any_of_the_last_five_batches_gets_the_first_offsets() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        let mut appended = Vec::new();
        for n in 0..7 {
            appended.push(put(&log, batch(&["a", "b"], stamp(1, 0, 2 * n))).await);
        }
        for reopened in [false, true] {
            let log = if reopened {
                kill(&disk).await;
                open(&disk).await
            } else {
                log.clone()
            };
            for n in 2..7 {
                let again = log.append(batch(&["a", "b"], stamp(1, 0, 2 * n))).unwrap();
                assert_eq!(again, Appended { duplicate: true, ..appended[n as usize] });
            }
            let error = log.append(batch(&["a", "b"], stamp(1, 0, 2))).unwrap_err();
            assert!(
                matches!(error, AppendError::OutOfOrderSequence { expected: Sequence(14), found: Sequence(2), .. }),
                "{error}"
            );
            let error = log.append(batch(&["a"], stamp(1, 0, 15))).unwrap_err();
            assert!(matches!(error, AppendError::OutOfOrderSequence { .. }), "{error}");
            let error = log.append(batch(&["a"], stamp(2, 0, 1))).unwrap_err();
            assert!(matches!(error, AppendError::OutOfOrderSequence { expected: Sequence(0), .. }), "{error}");
            assert_eq!(log.end(), Offset(14));
        }
    });
}

#[test]
fn sequences_wrap_and_a_new_epoch_starts_at_zero() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        put(&log, batch(&["a"], stamp(1, 0, 0))).await;
        let error = log.append(batch(&["a"], stamp(1, 1, 1))).unwrap_err();
        assert!(matches!(error, AppendError::OutOfOrderSequence { expected: Sequence(0), .. }), "{error}");
        put(&log, batch(&["b"], stamp(1, 1, 0))).await;
        let error = log.append(batch(&["a"], stamp(1, 0, 1))).unwrap_err();
        assert!(matches!(error, AppendError::InvalidProducerEpoch { current: ProducerEpoch(1), .. }), "{error}");
        assert_eq!(Sequence(i32::MAX).plus(1), Sequence(0));
    });
}

#[test]
fn the_last_stable_offset_waits_for_the_marker_to_be_synced() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        put(&log, batch(&["plain"], ProducerStamp::NONE)).await;
        put(&log, batch(&["one"], within(1, 0, 0))).await;
        put(&log, batch(&["other"], within(2, 0, 0))).await;
        put(&log, batch(&["plain too"], ProducerStamp::NONE)).await;
        assert_eq!((log.last_stable(), log.high_watermark()), (Offset(1), Offset(4)));
        assert_eq!(values(&log, Isolation::ReadCommitted).await, ["plain"]);
        let open_now = log.open_transactions();
        assert_eq!(open_now.iter().map(|open| open.first_offset).collect::<Vec<_>>(), [Offset(1), Offset(2)]);

        let marker = log.append_marker(ControlMarker::Abort, ProducerId(1), ProducerEpoch(1), 0).unwrap();
        assert_eq!(log.last_stable(), Offset(1), "the marker is not synced");
        log.durable(&marker).await.unwrap();
        assert_eq!(log.last_stable(), Offset(2));
        end(&log, ControlMarker::Commit, 2, 1).await;
        assert_eq!(log.last_stable(), Offset(6));

        for log in [log.clone(), {
            kill(&disk).await;
            open(&disk).await
        }] {
            let fetched = log.read(Offset(0), 10_000, Isolation::ReadCommitted).await.unwrap();
            let expected = [Aborted { producer_id: ProducerId(1), first_offset: Offset(1) }];
            assert_eq!(fetched.aborted, expected);
            let fetched = log.read(Offset(0), 1, Isolation::ReadCommitted).await.unwrap();
            assert_eq!((fetched.next, fetched.aborted.len()), (Offset(1), 0));
            assert!(log.open_transactions().is_empty());
        }
    });
}

#[test]
fn a_marker_fences_what_was_delayed_past_it() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        put(&log, batch(&["in time"], within(1, 5, 0))).await;
        let first = end(&log, ControlMarker::Commit, 1, 6).await;
        let error = log.append(batch(&["delayed"], within(1, 5, 1))).unwrap_err();
        assert!(matches!(error, AppendError::InvalidProducerEpoch { .. }), "{error}");

        let again = log.append_marker(ControlMarker::Commit, ProducerId(1), ProducerEpoch(6), 0).unwrap();
        assert_eq!((again.base, again.duplicate), (first.base, true));
        let error = log.append_marker(ControlMarker::Abort, ProducerId(1), ProducerEpoch(6), 0).unwrap_err();
        assert!(matches!(error, AppendError::InvalidTxnState { .. }), "{error}");

        // The next transaction runs under epoch 6. A repeated marker of the one before must not end it.
        put(&log, batch(&["next"], within(1, 6, 0))).await;
        let again = log.append_marker(ControlMarker::Commit, ProducerId(1), ProducerEpoch(6), 0).unwrap();
        assert_eq!((again.base, again.duplicate), (first.base, true));
        assert_eq!(log.open_transactions().len(), 1);
        end(&log, ControlMarker::Abort, 1, 7).await;

        // A partition that was registered and never written to is fenced as well.
        end(&log, ControlMarker::Abort, 9, 1).await;
        let error = log.append(batch(&["delayed"], within(9, 0, 0))).unwrap_err();
        assert!(matches!(error, AppendError::InvalidProducerEpoch { .. }), "{error}");
    });
}

#[test]
fn what_is_not_a_proper_batch_is_refused() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        let good = batch(&["a", "b"], ProducerStamp::NONE);
        let refused = |bytes: Vec<u8>| log.append(Bytes::from(bytes)).unwrap_err();
        assert!(matches!(refused(vec![]), AppendError::InvalidBatch { .. }));
        assert!(matches!(refused(good[..good.len() - 1].to_vec()), AppendError::Truncated));
        let mut flipped = good.to_vec();
        flipped[70] ^= 1;
        assert!(matches!(refused(flipped), AppendError::Corrupt(CorruptReason::Checksum { .. })));
        let control = control_batch(ControlMarker::Commit, ProducerId(1), ProducerEpoch(0), 0, Timestamp(0));
        assert!(matches!(refused(control.to_vec()), AppendError::InvalidBatch { .. }));
        let resealed = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.to_vec();
            change(&mut bytes);
            let checksum = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
            bytes
        };
        assert!(matches!(refused(resealed(&|bytes| bytes[60] = 1)), AppendError::InvalidBatch { .. }));
        assert!(matches!(refused(resealed(&|bytes| (bytes[60], bytes[26]) = (1, 0))), AppendError::InvalidRecords(_)));
        assert!(matches!(refused(resealed(&|bytes| bytes[42] = 9)), AppendError::InvalidBatch { .. }));
        assert!(matches!(refused(resealed(&|bytes| bytes[22] = 1)), AppendError::InvalidRecords(_)));
        let two = [batch(&["a"], stamp(1, 0, 0)), batch(&["b"], stamp(1, 0, 1))].concat();
        assert!(matches!(refused(two), AppendError::InvalidBatch { .. }));
        assert_eq!(log.end(), Offset(0));
        let two = [good.clone(), good.clone()].concat();
        assert_eq!(log.append(two.into()).unwrap().next, Offset(4));
    });
}

#[test]
fn a_torn_tail_is_cut_and_the_log_goes_on() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        put(&log, batch(&["a"], ProducerStamp::NONE)).await;
        put(&log, batch(&["b"], ProducerStamp::NONE)).await;
        kill(&disk).await;
        let path = dir().join("00000000000000000000.log");
        let len = disk.read_file(&path).unwrap().len();
        for tail in [vec![0; 5], vec![0; 500], vec![0xff; 100], batch(&["c"], ProducerStamp::NONE)[..70].to_vec()] {
            disk.tamper(&path, |content| content.extend_from_slice(&tail));
            // A second stop in the middle of the cut.
            disk.freeze_at(Point::LogTruncated, 0);
            assert!(tokio::time::timeout(Duration::from_secs(1), try_open(&disk)).await.is_err());
            disk.power_cut(&mut Dice(tail.len() as u64));
            disk.thaw();
            let log = open(&disk).await;
            assert_eq!(disk.read_file(&path).unwrap().len(), len);
            assert_eq!(values(&log, Isolation::ReadUncommitted).await, ["a", "b"]);
            kill(&disk).await;
        }
        // A whole batch out of its place: its checksum is right, its offset is not.
        disk.tamper(&path, |content| content.extend_from_slice(&batch(&["c"], ProducerStamp::NONE)));
        let log = open(&disk).await;
        put(&log, batch(&["c"], ProducerStamp::NONE)).await;
        assert_eq!(values(&log, Isolation::ReadUncommitted).await, ["a", "b", "c"]);
    });
}

async fn damaged(disk: &TestDisk) -> (PathBuf, u64, Offset, &'static str) {
    match try_open(disk).await {
        Err(LogError::Damaged { file, position, offset, what, .. }) => (file, position, offset, what),
        Err(other) => panic!("{other}"),
        Ok(log) => panic!("opened up to {}", log.high_watermark()),
    }
}

#[test]
fn damage_below_the_recovery_point_is_refused_by_name() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        for _ in 0..40 {
            put(&log, batch(&[&"x".repeat(200)], ProducerStamp::NONE)).await;
        }
        log.close().await;
        let mut segments: Vec<_> =
            disk.list_files().into_iter().filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
        let active = segments.pop().unwrap();
        let first = segments[0].clone();
        let content = disk.read_file(&first).unwrap();

        disk.tamper(&first, |content| content.truncate(1_000));
        assert_eq!(damaged(&disk).await.0, first);
        disk.remove_file(&first);
        assert_eq!(damaged(&disk).await, (first.clone(), 0, Offset(0), "segment"));
        disk.put_file(&first, content.clone());

        let whole = disk.read_file(&active).unwrap();
        disk.tamper(&active, |content| {
            content.pop();
        });
        assert_eq!(damaged(&disk).await.0, active);
        disk.tamper(&active, |content| {
            content.push(whole[whole.len() - 1] ^ 1);
        });
        let (file, position, _, what) = damaged(&disk).await;
        assert_eq!((file, what), (active.clone(), "checksum"));
        assert!(position < whole.len() as u64);
        disk.put_file(&active, whole);

        for name in ["recovery-point", "log-start"] {
            let path = dir().join(name);
            let before = disk.read_file(&path);
            disk.put_file(
                &path,
                before.clone().map_or(vec![1, 2, 3], |mut content| {
                    content[9] ^= 4;
                    content
                }),
            );
            assert_eq!(damaged(&disk).await.0, path);
            match before {
                Some(content) => disk.put_file(&path, content),
                None => disk.remove_file(&path),
            }
        }

        // A flip in a closed segment is found when it is read, and at the start only if that was asked for.
        disk.tamper(&first, |content| content[100] ^= 1);
        let log = open(&disk).await;
        let error = log.read(Offset(0), 1, Isolation::ReadCommitted).await.unwrap_err();
        assert!(matches!(error, ReadError::Log(LogError::Damaged { position: 0, what: "checksum", .. })), "{error}");
        log.close().await;
        let strict = LogConfig { verify_on_open: true, ..config() };
        let opened = Log::open(&disk.env(), &dir(), TopicPartition::new("t", 0), strict).await;
        assert!(matches!(opened.err(), Some(LogError::Damaged { position: 0, what: "checksum", .. })));
    });
}

#[test]
fn damage_before_the_last_segment_is_no_torn_tail() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        // The host stops after the roll, before the recovery point has followed.
        disk.freeze_at(Point::LogRolled, 0);
        let last = (0..40)
            .map(|_| log.append(batch(&[&"x".repeat(200)], ProducerStamp::NONE)).unwrap())
            .fold(None, |_, appended| Some(appended))
            .unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(1), log.durable(&last)).await.is_err());
        let synced = log.high_watermark();
        kill(&disk).await;
        let first = dir().join("00000000000000000000.log");
        let content = disk.read_file(&first).unwrap();
        let len = content.len();
        disk.tamper(&first, |content| content[len - 1] ^= 1);
        assert_eq!(damaged(&disk).await.3, "checksum");
        disk.put_file(&first, content);
        assert_eq!(open(&disk).await.high_watermark(), synced);
    });
}

#[test]
fn a_segment_that_came_without_our_small_files_is_opened() {
    let disk = TestDisk::default();
    local(async {
        let mut bytes = batch(&["a", "b"], ProducerStamp::NONE).to_vec();
        patch(&mut bytes, Offset(70), 12);
        disk.put_file(&dir().join("00000000000000000070.log"), bytes);
        let log = open(&disk).await;
        assert_eq!((log.start(), log.high_watermark()), (Offset(70), Offset(72)));
        assert_eq!(values(&log, Isolation::ReadCommitted).await, ["a", "b"]);
        put(&log, batch(&["c"], ProducerStamp::NONE)).await;
        assert_eq!(values(&log, Isolation::ReadCommitted).await, ["a", "b", "c"]);
    });
}

#[test]
fn an_index_is_a_cache() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        for _ in 0..40 {
            put(&log, batch(&[&"x".repeat(200)], ProducerStamp::NONE)).await;
        }
        log.close().await;
        let index = dir().join("00000000000000000000.index");
        let content = disk.read_file(&index).unwrap();
        let middle = |log: Log| async move {
            let fetched = log.read(Offset(4), 1, Isolation::ReadCommitted).await.unwrap();
            fetched.next
        };
        assert_eq!(middle(open(&disk).await).await, Offset(5));
        for damage in [content[..20].to_vec(), vec![], {
            let mut c = content.clone();
            c[40] ^= 1;
            c
        }] {
            disk.put_file(&index, damage);
            assert_eq!(middle(open(&disk).await).await, Offset(5));
        }
        disk.remove_file(&index);
        assert_eq!(middle(open(&disk).await).await, Offset(5));
    });
}

#[test]
fn a_waiter_hears_of_every_move() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        let seen = log.generation();
        let waiter = tokio::spawn({
            let log = log.clone();
            async move { log.changed(seen).await }
        });
        tokio::task::yield_now().await;
        put(&log, batch(&["a"], ProducerStamp::NONE)).await;
        let now = waiter.await.unwrap();
        assert_ne!(now, seen);
        let waiter = tokio::spawn({
            let log = log.clone();
            async move { log.changed(now).await }
        });
        log.delete_below(Offset(1)).await.unwrap();
        assert_ne!(waiter.await.unwrap(), now);
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test is about several threads")]
fn several_runtimes_share_a_log() {
    let disk = TestDisk::default();
    let home = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let log = home.block_on(try_open(&disk)).unwrap();
    let writer = home.spawn({
        let log = log.clone();
        async move { log.run().await }
    });
    std::thread::scope(|scope| {
        for id in 0..4 {
            let log = log.clone();
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                runtime.block_on(async {
                    for n in 0..100 {
                        let appended = put(&log, batch(&["a", "b"], stamp(id, 0, 2 * n))).await;
                        let fetched = log.read(appended.base, 1, Isolation::ReadCommitted).await.unwrap();
                        let first = batches(&fetched.bytes).next().unwrap().unwrap();
                        assert_eq!(first.header().producer_id, ProducerId(id));
                        assert_eq!(first.header().base_sequence, Sequence(2 * n));
                    }
                });
            });
        }
    });
    home.block_on(log.close());
    home.block_on(writer).unwrap().unwrap();
    assert_eq!(log.high_watermark(), Offset(800));
}

#[test]
fn a_time_finds_the_first_record_at_or_after_it() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        let mut builder = BatchBuilder::new(Compression::Lz4);
        let times: Vec<i64> = (0..200).map(|n| (n * 37) % 101 - 50 + n).collect();
        for chunk in times.chunks(5) {
            for &time in chunk {
                builder.push(Timestamp(time), None, Some(&[7; 60]), &[]);
            }
            put(&log, builder.finish(ProducerStamp::NONE)).await;
        }
        end(&log, ControlMarker::Abort, 1, 1).await;
        log.delete_below(Offset(13)).await.unwrap();
        for log in [log.clone(), {
            log.close().await;
            open(&disk).await
        }] {
            assert_eq!(Some(log.deleted_to().0), times[..13].iter().copied().max());
            for at in -60..320 {
                let expected = times
                    .iter()
                    .enumerate()
                    .skip(13)
                    .find(|&(_, &time)| time >= at)
                    .map(|(offset, &time)| (Offset(offset as i64), Timestamp(time)));
                assert_eq!(log.offset_for_time(Timestamp(at)).await.unwrap(), expected, "at {at}");
            }
        }
    });
}

#[test]
fn every_point_of_the_log_is_passed() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        for _ in 0..40 {
            put(&log, batch(&[&"x".repeat(200)], ProducerStamp::NONE)).await;
        }
        log.delete_below(Offset(20)).await.unwrap();
        log.close().await;
        let active = disk.list_files().into_iter().rfind(|path| path.extension().is_some_and(|e| e == "log")).unwrap();
        disk.tamper(Path::new(&active), |content| content.push(1));
        open(&disk).await;
        for &point in Point::ALL.iter().filter(|point| point.name().starts_with("log-")) {
            assert!(disk.passed(point) > 0, "{}", point.name());
        }
    });
}
