//! One value per offset for ever: whoever read an offset, whenever, saw what the log holds there now; and a reader that
//! went past a committed record saw it. (What two readers saw is compared by [`super::history`].)

use super::log::Fate;
use super::{Case, Check, Violation};

const NAME: &str = "inconsistent-offset";

pub const CHECK: Check = Check {
    name: NAME,
    holds_when: "an offset has one value for ever, and no reader is led past it",
    examined: |case| case.evidence.history.polls.iter().map(|poll| poll.seen.len() as u64).sum(),
    run: check,
};

fn check(case: &Case<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for poll in &case.evidence.history.polls {
        let log = case.logs.get(&poll.partition.topic, poll.partition.partition.0);
        let place = |offset: i64| format!("{}[{}]@{offset}", poll.partition.topic, poll.partition.partition);
        for seen in &poll.seen {
            if seen.offset.0 < log.start {
                continue; // Deleted on purpose since.
            }
            match log.at(seen.offset.0) {
                None => {
                    let message =
                        format!("{} read a record at {} that is not in the log", poll.reader, place(seen.offset.0));
                    found.push(Violation::new(NAME, message));
                }
                Some(entry) if entry.digest() != seen.digest => {
                    let message = format!(
                        "{} read a record at {} where the log holds another",
                        poll.reader,
                        place(seen.offset.0)
                    );
                    found.push(Violation::new(NAME, message));
                }
                Some(_) => {}
            }
        }
        let passed = |offset: i64| offset >= poll.from.0 && offset < poll.next.0;
        let from = log.entries.partition_point(|entry| entry.offset < poll.from.0);
        for entry in log.entries[from..].iter().take_while(|entry| passed(entry.offset)) {
            let visible = !poll.read_committed || entry.fate == Fate::Committed;
            if visible && poll.seen.binary_search_by_key(&entry.offset, |seen| seen.offset.0).is_err() {
                let message = format!(
                    "{} went from {} to {} and was not shown the record at {}",
                    poll.reader,
                    poll.from,
                    poll.next,
                    place(entry.offset)
                );
                found.push(Violation::new(NAME, message));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::kit::*;

    fn disk() -> Disk {
        let mut disk = Disk::new();
        disk.plain(SOURCE, 0, &[event("a", 1, 1), event("b", 2, 2)]);
        disk.in_transaction(SOURCE, 0, (5, 0), &[event("c", 3, 3)]);
        disk.marker(SOURCE, 0, (5, 1), false);
        disk
    }

    #[test]
    fn readers_that_saw_what_is_there_pass() {
        let disk = disk();
        let mut evidence = evidence(&disk);
        evidence.history.polls = vec![poll(&disk, "r1", 0, 0, 4), poll(&disk, "r2", 0, 1, 2)];
        assert_eq!(messages(&super::CHECK, &evidence), Vec::<String>::new());
    }

    #[test]
    fn a_record_that_changed_since_it_was_read_is_named() {
        let disk = disk();
        let mut evidence = evidence(&disk);
        evidence.history.polls = vec![poll(&disk, "r1", 0, 0, 2), poll(&disk, "r2", 0, 0, 2)];
        evidence.history.polls[1].seen[1].digest ^= 1;
        let found = messages(&super::CHECK, &evidence);
        assert_eq!(found, ["r2 read a record at source[0]@1 where the log holds another"]);
    }

    #[test]
    fn a_record_that_was_read_and_is_gone_is_named() {
        let longer = {
            let mut disk = disk();
            disk.plain(SOURCE, 0, &[event("d", 4, 4)]);
            disk
        };
        let mut evidence = evidence(&disk());
        evidence.history.polls = vec![poll(&longer, "r1", 0, 4, 5)];
        assert_eq!(messages(&super::CHECK, &evidence), ["r1 read a record at source[0]@4 that is not in the log"]);
    }

    #[test]
    fn a_reader_that_is_led_past_a_record_is_named() {
        let disk = disk();
        let mut evidence = evidence(&disk);
        evidence.history.polls = vec![poll(&disk, "r1", 0, 0, 4)];
        evidence.history.polls[0].seen.remove(0);
        assert_eq!(
            messages(&super::CHECK, &evidence),
            ["r1 went from 0 to 4 and was not shown the record at source[0]@0"]
        );
    }
}
