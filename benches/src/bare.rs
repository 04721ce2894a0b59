//! The bare loop: what the two computations cost when nothing else is done. No log, no checksum, no commit, no timers, no
//! output but the sums; the records lie in memory, 32 bytes each, split by user among threads that share nothing.
//!
//! It is the floor that an engine is seen against, not an engine: it may know that no record of the dataset is later than
//! half a minute, that users are numbers up to 100 000, and that the output is not wanted.

use std::time::Instant;

use engine::env::real::threads;
use workloads::clickstream::{ClickRecord, Clickstream, Settings};

use crate::sums::{MINUTE_MS, SESSION_GAP_MS, Summed, Sums};

const NEVER: i64 = i64::MIN / 2;

/// The seconds of the loop alone, and what it adds up to. `None`: there is no bare loop for this.
///
/// # Errors
/// When a thread cannot be started.
pub fn run(computation: Summed, events: u64, count: usize) -> anyhow::Result<Option<(f64, Sums)>> {
    let part: fn(&[ClickRecord], usize) -> [i64; 3] = match computation {
        Summed::Sessions => sessions,
        Summed::Minutes => minutes,
        Summed::UniqueMinutes => return Ok(None),
    };
    let settings = Settings::at_density(events);
    let users = settings.users as usize;
    let mut parts = vec![Vec::new(); count];
    for record in Clickstream::new(settings).iter() {
        parts[record.user_id as usize % count].push(record);
    }
    let began = Instant::now();
    let mut workers = Vec::new();
    for (thread, records) in parts.into_iter().enumerate() {
        workers.push(threads::start("bare", Some(thread), move || async move { (part(&records, users), records) })?);
    }
    let mut all = [0i64; 3];
    let mut kept = Vec::new();
    for worker in workers {
        let ([panes, events, third], records) = worker.join()?;
        let third = if computation == Summed::Sessions { all[2] + third } else { all[2].max(third) };
        all = [all[0] + panes, all[1] + events, third];
        kept.push(records);
    }
    let seconds = began.elapsed().as_secs_f64();
    let names = match computation {
        Summed::Sessions => ["sessions", "events", "duration_ms"],
        _ => ["panes", "events", "max_events"],
    };
    Ok(Some((seconds, names.into_iter().map(str::to_owned).zip(all).collect())))
}

/// A user's session that grows, and where the one before it ended: a late record may still join the two.
#[derive(Clone, Copy)]
struct Session {
    first: i64,
    last: i64,
    before: i64,
    kinds: [u32; 4],
}

/// Sessions, events, the sum of last − first.
fn sessions(records: &[ClickRecord], users: usize) -> [i64; 3] {
    let mut open = vec![Session { first: NEVER, last: NEVER, before: NEVER, kinds: [0; 4] }; users + 1];
    let (mut sessions, mut duration) = (0, 0);
    for record in records {
        let (session, time) = (&mut open[record.user_id as usize], record.ts_ms);
        if time - session.last > SESSION_GAP_MS {
            *session = Session { first: time, last: time, before: session.last, kinds: [0; 4] };
            sessions += 1;
        } else if time > session.last {
            duration += time - session.last;
            session.last = time;
        } else if time < session.first {
            if time - session.before <= SESSION_GAP_MS {
                sessions -= 1;
                duration += session.first - session.before;
                // Nothing is late enough to be before this.
                session.first = NEVER;
            } else {
                duration += session.first - time;
                session.first = time;
            }
        }
        session.kinds[record.kind as usize] += 1;
    }
    std::hint::black_box(&open);
    [sessions, records.len() as i64, duration]
}

/// A user's latest minute and the one before it, each with its events.
#[derive(Clone, Copy)]
struct Minutes {
    latest: (i64, i64),
    before: (i64, i64),
}

/// Panes, events, the most events of a pane.
fn minutes(records: &[ClickRecord], users: usize) -> [i64; 3] {
    let mut open = vec![Minutes { latest: (NEVER, 0), before: (NEVER, 0) }; users + 1];
    let (mut panes, mut most) = (0, 0);
    for record in records {
        let (user, minute) = (&mut open[record.user_id as usize], record.ts_ms / MINUTE_MS);
        if minute > user.latest.0 {
            user.before = user.latest;
            user.latest = (minute, 0);
            panes += 1;
        } else if minute < user.latest.0 && minute != user.before.0 {
            // A minute between the two; nothing is late enough for the one before it.
            user.before = (minute, 0);
            panes += 1;
        }
        let events = if minute == user.latest.0 { &mut user.latest.1 } else { &mut user.before.1 };
        *events += 1;
        most = most.max(*events);
    }
    [panes, records.len() as i64, most]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{DEFAULT_USERS, Dataset, Key};
    use crate::sums::Expected;

    #[test]
    fn the_bare_loop_adds_up_to_the_expected_sums() {
        let dataset = Dataset { events: 200_000, users: DEFAULT_USERS, key: Key::User, value_bytes: None };
        let mut expected = Expected::default();
        for computation in [Summed::Sessions, Summed::Minutes] {
            let (_, sums) = run(computation, dataset.events, 2).expect("threads start").expect("there is a loop");
            assert_eq!(sums, expected.table(computation, &dataset).sums, "{computation:?}");
        }
    }
}
