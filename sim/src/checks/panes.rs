//! What a topic carries from the windows of one stage to those of the next: panes, panes that are taken back, and what each
//! task announces about those to come.
//!
//! In: a case and a run. Out: sentences, for the properties that they break. The frame of a pane is read as the page at the
//! top of `engine/src/stream/frame.rs` has it; no code is shared.
//!
//! ```text
//! channel i32 ‖ 1 added, 0 taken back u8 ‖ window start i64 ‖ window end i64 ‖ key, its length before it u32 ‖ state
//! ```
//!
//! A pane's time is the last moment of its window. A task's markers carry its minimum less the time in which a pane may still
//! change: what a channel has announced, none of its panes lies below.

use std::collections::{BTreeMap, BTreeSet};

use super::Case;
use super::log::{Entry, Writer};
use crate::evidence::{PaneTopic, RunNames};

const CHANNEL_HEADER: &str = "segno.channel";

/// A pane on its way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OnItsWay<'a> {
    pub channel: i32,
    pub added: bool,
    pub start: i64,
    pub end: i64,
    /// What the stage before groups by.
    pub key: &'a [u8],
    pub state: &'a [u8],
}

/// The pane of an entry that is no marker.
pub fn frame(entry: &Entry) -> Option<OnItsWay<'_>> {
    let (channel, rest) = entry.value.as_deref()?.split_first_chunk::<4>()?;
    let (added, rest) = rest.split_first()?;
    let (start, rest) = rest.split_first_chunk::<8>()?;
    let (end, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (key, state) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    Some(OnItsWay {
        channel: i32::from_be_bytes(*channel),
        added: (*added <= 1).then_some(*added == 1)?,
        start: i64::from_be_bytes(*start),
        end: i64::from_be_bytes(*end),
        key,
        state,
    })
}

/// Where the markers of a run's panes say what no marker should.
pub fn announcements(case: &Case<'_>, run: &str, names: &RunNames) -> Vec<String> {
    let mut found = Vec::new();
    for topic in &names.pane_topics {
        let promises = promises(case, names, topic);
        for (partition, log) in case.logs.topic(&topic.name) {
            let mut announced: BTreeMap<i32, i64> = BTreeMap::new();
            for entry in log.committed() {
                let place = format!("{run}: {}[{partition}]@{}", topic.name, entry.offset);
                if let Some(watermark) = entry.marker() {
                    let channel = entry.header(CHANNEL_HEADER).and_then(|bytes| bytes.try_into().ok());
                    let Some(channel) = channel.map(i32::from_be_bytes) else {
                        found.push(format!("{place} is a marker without a channel"));
                        continue;
                    };
                    let before = announced.entry(channel).or_insert(watermark);
                    if watermark < *before {
                        found.push(format!(
                            "{place} moves channel {channel} back from {} to {}",
                            show(*before),
                            show(watermark)
                        ));
                    }
                    *before = watermark.max(*before);
                    let writer = entry.transaction.map(|index| log.transactions[index].writer);
                    let due = writer.and_then(|writer| promises.get(&(channel, writer)));
                    if let Some(due) = due.filter(|due| **due != watermark) {
                        found.push(format!(
                            "{place} announces {} for channel {channel}, and the cut that it belongs to may promise {}",
                            show(watermark),
                            show(*due)
                        ));
                    }
                    continue;
                }
                let Some(pane) = frame(entry) else {
                    found.push(format!("{place} is neither a marker nor a pane"));
                    continue;
                };
                let (channel, time) = (pane.channel, pane.end - 1);
                if let Some(announced) = announced.get(&channel).filter(|announced| **announced > time) {
                    let what = if pane.added { "carries" } else { "takes back" };
                    found.push(format!(
                        "{place} {what} a pane of {time}, after its channel {channel} announced {}",
                        show(*announced)
                    ));
                }
            }
        }
    }
    found
}

/// What each transaction of the tasks before `topic` may announce, by channel.
fn promises(case: &Case<'_>, names: &RunNames, topic: &PaneTopic) -> BTreeMap<(i32, Writer), i64> {
    let mut promises = BTreeMap::new();
    for (task, changelog) in case.changelogs(names).filter(|(task, _)| task.stage == topic.from_stage) {
        let Some(rule) = task.window else { continue };
        for cut in &changelog.cuts {
            let minimum = cut.said.watermarks.iter().copied().min().unwrap_or(i64::MIN);
            let promise = match minimum {
                i64::MIN | i64::MAX => minimum,
                known => known - rule.gap.0 - rule.lateness.0,
            };
            promises.insert((task.partition, cut.writer), promise);
        }
    }
    promises
}

/// A pane that is out: start, end, the partition that it went to, state.
type There<'a> = (i64, i64, i32, &'a [u8]);

/// Where a pane counts twice, or is taken back and was not there.
pub fn counted_twice(case: &Case<'_>, run: &str, names: &RunNames) -> Vec<String> {
    let mut found = Vec::new();
    let over = case.evidence.liveness.converged && case.evidence.liveness.replay_converged;
    for topic in &names.pane_topics {
        // By channel and the key of the stage before.
        let mut out: BTreeMap<(i32, &[u8]), BTreeSet<There<'_>>> = BTreeMap::new();
        for (partition, log) in case.logs.topic(&topic.name) {
            for entry in log.committed().filter(|entry| entry.marker().is_none()) {
                let Some(pane) = frame(entry) else { continue };
                let there = out.entry((pane.channel, pane.key)).or_default();
                let it = (pane.start, pane.end, partition, pane.state);
                let place = format!("{run}: {}[{partition}]@{}", topic.name, entry.offset);
                let name = name(pane.key, pane.start, pane.end);
                if pane.added && !there.insert(it) {
                    found.push(format!("{place} carries {name} again, and it was not taken back"));
                } else if !pane.added && !there.remove(&it) {
                    found.push(format!("{place} takes back {name}, and it is not there"));
                }
            }
        }
        if !over {
            continue;
        }
        for ((_, key), there) in &out {
            let panes: Vec<_> = there.iter().collect();
            for pair in panes.windows(2).filter(|pair| pair[1].0 < pair[0].1) {
                found.push(format!(
                    "{run}: {} ends with two panes that share events: {} in partition {} and {} in partition {}",
                    topic.name,
                    name(key, pair[0].0, pair[0].1),
                    pair[0].2,
                    name(key, pair[1].0, pair[1].1),
                    pair[1].2
                ));
            }
        }
    }
    found
}

/// How many panes were taken back on their way.
pub fn taken_back(case: &Case<'_>, names: &RunNames) -> u64 {
    let topics = names.pane_topics.iter().flat_map(|topic| case.logs.topic(&topic.name));
    topics.flat_map(|(_, log)| log.committed()).filter_map(frame).filter(|pane| !pane.added).count() as u64
}

fn name(key: &[u8], start: i64, end: i64) -> String {
    format!("the pane {} [{start}, {end})", String::from_utf8_lossy(key))
}

fn show(watermark: i64) -> String {
    match watermark {
        i64::MIN => "nothing".to_owned(),
        i64::MAX => "the end".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::kit::*;
    use super::super::{duplicate, watermark_monotonic};
    use super::{OnItsWay, frame};
    use crate::evidence::PaneTopic;

    const PANES: &str = "app.1.by-sum-repartition";

    fn on_its_way(added: bool, key: &str, start: i64, end: i64) -> Rec {
        let length = u32::try_from(key.len()).expect("a short key");
        let value = [
            &0i32.to_be_bytes()[..],
            &[u8::from(added)],
            &start.to_be_bytes(),
            &end.to_be_bytes(),
            &length.to_be_bytes(),
            key.as_bytes(),
            b"state",
        ];
        record(end - 1).key("low").value(value.concat())
    }

    fn announce(at: i64) -> Rec {
        watermark(at).header("segno.channel", 0i32.to_be_bytes())
    }

    fn found(property: &super::super::Check, partitions: &[&[Rec]]) -> Vec<String> {
        let mut disk = Disk::new();
        for (partition, records) in (0..).zip(partitions) {
            disk.plain(PANES, partition, records);
        }
        messages(property, &with_topic(&disk))
    }

    fn with_topic(disk: &Disk) -> crate::evidence::Evidence {
        let mut evidence = evidence(disk);
        evidence.live.pane_topics = vec![PaneTopic { name: PANES.into(), from_stage: 0 }];
        evidence
    }

    #[test]
    fn the_frame_is_read_as_it_is_written() {
        let mut disk = Disk::new();
        disk.plain(PANES, 0, &[on_its_way(true, "a", -5, 5), record(0).value("short")]);
        let logs = logs(&disk);
        let entries: Vec<_> = logs.get(PANES, 0).committed().collect();
        let pane = OnItsWay { channel: 0, added: true, start: -5, end: 5, key: b"a", state: b"state" };
        assert_eq!((frame(entries[0]), frame(entries[1])), (Some(pane), None));
    }

    #[test]
    fn panes_above_what_was_announced_pass_and_those_below_are_caught() {
        let fine = [on_its_way(true, "a", 0, 20), announce(19), on_its_way(false, "a", 0, 20), announce(20)];
        assert_eq!(found(&watermark_monotonic::CHECK, &[&fine]), Vec::<String>::new());
        let late = [on_its_way(true, "a", 0, 20), announce(20), on_its_way(false, "a", 0, 20)];
        assert_eq!(
            found(&watermark_monotonic::CHECK, &[&late]),
            [format!("live: {PANES}[0]@2 takes back a pane of 19, after its channel 0 announced 20")]
        );
        let back = [announce(20), announce(19), record(0).key("k").value("short")];
        let found = found(&watermark_monotonic::CHECK, &[&back]);
        assert!(found[0].contains("moves channel 0 back from 20 to 19"), "{found:?}");
        assert!(found[1].contains("is neither a marker nor a pane"), "{found:?}");
    }

    #[test]
    fn a_marker_that_forgets_how_long_a_pane_may_change_is_caught() {
        let announced = |at: i64| {
            let mut disk = Disk::new();
            disk.in_transaction(PANES, 0, (5, 0), &[announce(at)]);
            disk.marker(PANES, 0, (5, 1), true);
            disk.commit((5, 0), &Commit { offset: 0, watermark: 95, outputs: 1, ..Commit::default() });
            let mut evidence = with_topic(&disk);
            evidence.live.tasks = vec![task()];
            let found = messages(&watermark_monotonic::CHECK, &evidence);
            found.into_iter().filter(|message| message.contains("may promise")).collect::<Vec<_>>()
        };
        // The gap is 7, the lateness 0.
        assert_eq!(announced(88), Vec::<String>::new());
        assert_eq!(
            announced(95),
            [format!("live: {PANES}[0]@0 announces 95 for channel 0, and the cut that it belongs to may promise 88")]
        );
    }

    #[test]
    fn a_pane_that_is_taken_back_before_it_comes_again_counts_once() {
        let (add, back) = (|| on_its_way(true, "a", 0, 20), || on_its_way(false, "a", 0, 20));
        let check = &duplicate::CHECK;
        assert_eq!(found(check, &[&[add(), back(), add(), on_its_way(true, "b", 0, 20)]]), Vec::<String>::new());
        assert_eq!(
            found(check, &[&[add(), add()]]),
            [format!("live: {PANES}[0]@1 carries the pane a [0, 20) again, and it was not taken back")]
        );
        assert_eq!(
            found(check, &[&[back()]]),
            [format!("live: {PANES}[0]@0 takes back the pane a [0, 20), and it is not there")]
        );
    }

    #[test]
    fn a_pane_that_stays_beside_the_one_that_it_became_is_caught_across_partitions() {
        let found = found(&duplicate::CHECK, &[&[on_its_way(true, "a", 0, 20)], &[on_its_way(true, "a", 0, 30)]]);
        assert_eq!(
            found,
            [format!(
                "live: {PANES} ends with two panes that share events: the pane a [0, 20) in partition 0 and the pane a [0, 30) \
                 in partition 1"
            )]
        );
    }
}
