//! How the start of a log moves: deletion on demand, by time and by size, and crashes in the middle of it.

use super::*;

#[test]
fn the_start_moves_durably_and_whole_segments_go() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        for n in 0..40 {
            put(&log, batch(&[&format!("{n:0>200}")], ProducerStamp::NONE)).await;
        }
        put(&log, batch(&["open"], within(1, 0, 0))).await;
        let segments = |disk: &TestDisk| {
            disk.list_files().iter().filter(|path| path.extension().is_some_and(|extension| extension == "log")).count()
        };
        let before = segments(&disk);
        assert_eq!(log.delete_below(Offset(17)).await.unwrap(), Offset(17));
        assert!(segments(&disk) < before);
        assert_eq!(log.delete_below(Offset(3)).await.unwrap(), Offset(17));
        let error = log.read(Offset(16), 10, Isolation::ReadCommitted).await.unwrap_err();
        assert!(matches!(error, ReadError::OutOfRange { start: Offset(17), .. }), "{error}");

        disk.freeze();
        disk.power_cut(&mut Dice(1));
        disk.thaw();
        let log = open(&disk).await;
        assert_eq!(log.start(), Offset(17));
        assert_eq!(
            values(&log, Isolation::ReadUncommitted).await.len() as i64,
            log.high_watermark().0 - 17 + batch_head(&log).await
        );
        // Not past an open transaction.
        assert_eq!(log.delete_below(Offset(1_000)).await.unwrap(), Offset(40));
        assert_eq!(log.open_transactions().len(), 1);
    });
}

/// Records of the first batch that lie below the start.
async fn batch_head(log: &Log) -> i64 {
    let fetched = log.read(log.start(), 1, Isolation::ReadUncommitted).await.unwrap();
    let first = batches(&fetched.bytes).next().unwrap().unwrap().header().base_offset;
    log.start().0 - first.0
}

#[test]
fn a_crash_after_the_start_moved_leaves_files_that_the_next_start_removes() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        for _ in 0..40 {
            put(&log, batch(&[&"x".repeat(200)], ProducerStamp::NONE)).await;
        }
        disk.freeze_at(Point::LogStartMoved, 0);
        assert!(tokio::time::timeout(Duration::from_secs(1), log.delete_below(Offset(30))).await.is_err());
        assert_eq!(log.start(), Offset(0));
        kill(&disk).await;
        assert!(disk.read_file(&dir().join("00000000000000000000.log")).is_some());
        let log = open(&disk).await;
        assert_eq!(log.start(), Offset(30));
        assert_eq!(disk.read_file(&dir().join("00000000000000000000.log")), None);
        assert_eq!(disk.read_file(&dir().join("00000000000000000000.index")), None);
    });
}

#[test]
fn a_start_that_a_kill_left_in_the_page_cache_is_durable_before_anything_below_it_goes() {
    for (killed_after, cut_after, dice) in
        (2..12).flat_map(|killed| (8..20).flat_map(move |cut| (1..5).map(move |dice| (killed, cut, dice))))
    {
        let disk = TestDisk::default();
        local(async {
            let log = open(&disk).await;
            for _ in 0..40 {
                put(&log, batch(&[&"x".repeat(200)], ProducerStamp::NONE)).await;
            }
            disk.freeze_after(killed_after);
            drop(tokio::time::timeout(Duration::from_secs(1), log.delete_below(Offset(30))).await);
            kill(&disk).await;
            disk.freeze_after(cut_after);
            drop(tokio::time::timeout(Duration::from_secs(1), try_open(&disk)).await);
            disk.freeze();
            disk.power_cut(&mut Dice(dice));
            disk.thaw();
            let when = format!("killed after {killed_after} operations, cut after {cut_after}, dice {dice}");
            let log = try_open(&disk).await.unwrap_or_else(|error| panic!("{when}: {error}"));
            assert!([Offset(0), Offset(30)].contains(&log.start()), "{when}: it starts at {}", log.start());
            let left = values(&log, Isolation::ReadUncommitted).await.len() as i64;
            assert_eq!(left, 40 - log.start().0, "{when}");
        });
    }
}

#[test]
fn a_segment_stays_until_no_recovery_point_names_it() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        // The writer stops after the roll: the recovery point still names the segment before as the active one.
        disk.hold_at(Point::LogRolled);
        let last = (0..40)
            .map(|_| log.append(batch(&[&"x".repeat(200)], ProducerStamp::NONE)).unwrap())
            .fold(None, |_, appended| Some(appended))
            .unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(1), log.durable(&last)).await.is_err());
        let end = log.high_watermark();
        assert_eq!(log.delete_below(end).await.unwrap(), end);
        kill(&disk).await;
        let log = open(&disk).await;
        assert_eq!((log.start(), log.high_watermark()), (end, end));
    });
}

#[test]
fn retention_keeps_whole_segments_from_a_moment_on_or_so_many_bytes_and_never_takes_the_active_one() {
    let disk = TestDisk::default();
    local(async {
        let log = open(&disk).await;
        for n in 0..40 {
            put(&log, batch(&[&format!("{n:0>200}")], ProducerStamp::NONE)).await;
        }
        let all = log.retained_from(Retention::Bytes(u64::MAX));
        assert_eq!(all, Offset(0));
        let few = log.retained_from(Retention::Bytes(1));
        assert!(few > Offset(0) && few < log.end(), "{few}: the active segment stays");
        assert!(log.retained_from(Retention::Bytes(3_000)) <= few);
        assert_eq!(log.retained_from(Retention::From(Timestamp::MIN)), Offset(0));
        assert_eq!(log.retained_from(Retention::From(Timestamp(i64::MAX))), few);

        let start = log.delete_below(few).await.unwrap();
        assert_eq!(start, few);
        assert_eq!(log.retained_from(Retention::Bytes(u64::MAX)), few, "it never moves back");
    });
}
