//! A needed offset that is gone stops the run or is reported; it is never skipped.

use super::{Case, Check, Violation};

const NAME: &str = "loud-gap";

pub const CHECK: Check = Check {
    name: NAME,
    holds_when: "a needed offset that is gone stops the run or is reported",
    examined: |case| case.evidence.gaps.len() as u64,
    run: check,
};

fn check(case: &Case<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for gap in &case.evidence.gaps {
        assert!(gap.needed < gap.log_start, "no gap: {} is needed and the log starts at {}", gap.needed, gap.log_start);
        let range = format!("{} offsets {} to {}", gap.partition, gap.needed, gap.log_start.0 - 1);
        match gap.reported.as_deref() {
            None => {
                found.push(Violation::new(NAME, format!("{} went on without {range}, and said nothing", gap.group)))
            }
            // A report that does not say which offsets are missing helps nobody.
            Some(text) if !(text.contains(&gap.needed.to_string()) && text.contains(&gap.log_start.to_string())) => {
                let message = format!("{} lost {range} and its report does not name them: {text}", gap.group);
                found.push(Violation::new(NAME, message));
            }
            Some(_) => {}
        }
    }
    for poll in &case.evidence.history.polls {
        if poll.from < poll.log_start {
            let message = format!(
                "{} asked {} from {} and was answered although the log starts at {}",
                poll.reader, poll.partition, poll.from, poll.log_start
            );
            found.push(Violation::new(NAME, message));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use engine::types::{Offset, TopicPartition};

    use super::super::kit::*;
    use crate::evidence::Gap;

    fn gap(reported: Option<&str>) -> Vec<String> {
        let mut evidence = evidence(&Disk::new());
        evidence.gaps = vec![Gap {
            group: "app.2".into(),
            partition: TopicPartition::new(SOURCE, 0),
            needed: Offset(0),
            log_start: Offset(40),
            reported: reported.map(str::to_owned),
        }];
        messages(&super::CHECK, &evidence)
    }

    #[test]
    fn a_gap_that_is_named_passes() {
        assert_eq!(gap(Some("source-0: offset 0 is needed and the log starts at 40")), Vec::<String>::new());
    }

    #[test]
    fn a_gap_that_is_skipped_is_caught() {
        assert_eq!(gap(None), ["app.2 went on without source-0 offsets 0 to 39, and said nothing"]);
    }

    #[test]
    fn a_report_without_the_range_is_caught() {
        assert_eq!(
            gap(Some("something is missing")),
            ["app.2 lost source-0 offsets 0 to 39 and its report does not name them: something is missing"]
        );
    }

    #[test]
    fn an_answer_to_a_fetch_below_the_start_is_caught() {
        let mut disk = Disk::new();
        disk.plain(SOURCE, 0, &[event("a", 1, 1), event("b", 1, 1)]);
        let mut evidence = evidence(&disk);
        let mut poll = poll(&disk, "r", 0, 0, 2);
        poll.log_start = Offset(1);
        evidence.history.polls = vec![poll];
        assert_eq!(
            messages(&super::CHECK, &evidence),
            ["r asked source-0 from 0 and was answered although the log starts at 1"]
        );
    }
}
