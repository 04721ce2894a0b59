//! `segno explain`: what a property means, why it matters, and how real systems broke it.

use std::fmt::Write as _;

use serde::Serialize;

use crate::exit::{Exit, Usage};
use crate::output;

/// Says what a property means, why it matters, and how real systems broke it.
///
/// Without a name it lists every property that the gate checks.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A property's name, as a violation has it
    #[arg(value_name = "PROPERTY")]
    property: Option<String>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  segno explain
  segno explain replay-equals-live";

/// One property, for people.
#[derive(Debug, Serialize)]
struct Property {
    name: &'static str,
    holds_when: &'static str,
    why: &'static str,
    seen: &'static str,
    look_at: &'static str,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    properties: Vec<&'a Property>,
}

pub fn run(args: Args) -> anyhow::Result<Exit> {
    let chosen: Vec<&Property> = match &args.property {
        None => ALL.iter().collect(),
        Some(name) => vec![named(name)?],
    };
    if args.json {
        output::json(&Document { schema: "segno.explain/1", properties: chosen })?;
    } else {
        output::text(&match &args.property {
            None => list(),
            Some(_) => chosen.iter().map(|property| page(property)).collect(),
        })?;
    }
    Ok(Exit::Held)
}

fn named(name: &str) -> Result<&'static Property, Usage> {
    ALL.iter().find(|property| property.name == name).ok_or_else(|| {
        let known: Vec<&str> = ALL.iter().map(|property| property.name).collect();
        let nearest = sim::names::hint(sim::names::nearest(name, &known));
        Usage(format!("no property is named {name:?};{nearest} `segno explain` lists all"))
    })
}

/// Every property's name.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|property| property.name)
}

fn list() -> String {
    let width = ALL.iter().map(|property| property.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for property in ALL {
        let _ = writeln!(text, "{:width$}  {}", property.name, property.holds_when);
    }
    text.push_str("\nnext: segno explain PROPERTY\n");
    text
}

fn page(property: &Property) -> String {
    let Property { name, holds_when, why, seen, look_at } = property;
    let mut text = format!("{name}\n");
    for (title, body) in [("holds when", holds_when), ("why", why), ("seen", seen), ("look at", look_at)] {
        let _ = writeln!(text, "\n  {title}");
        for line in wrapped(body, 92) {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

/// Lines of at most `width` characters, broken between words.
fn wrapped(body: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in body.split_whitespace() {
        let last = lines.last_mut().expect("there is a line");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

/// Every property, consequences after causes.
const ALL: &[Property] = &[
    Property {
        name: "durable",
        holds_when: "after any crash the log is a valid extension of what was acknowledged",
        why: "An answer is a promise. A broker that answers before the bytes are on the disk, or that trusts bytes which a \
              torn write left behind, keeps it only as long as nothing fails.",
        seen: "Rebello et al., \"Can Applications Recover from fsync Failures?\" (USENIX ATC 2020): ext4, XFS and Btrfs mark \
               pages clean after a failed fsync, and none of PostgreSQL, LMDB, LevelDB, SQLite and Redis handled it well \
               enough to rule out loss or corruption. So here a failed sync ends the broker's process.",
        look_at: "engine/src/log/writer.rs (what is answered, and when), engine/src/log/recovery.rs (what a start believes)",
    },
    Property {
        name: "lost-write",
        holds_when: "every acknowledged send is in the log where the answer said",
        why: "Nothing downstream can repair an event that its producer believes to be stored.",
        seen: "Jepsen, Bufstream 0.1.0 (2024): acknowledged writes were lost in healthy clusters; fixed by 0.1.3. Jepsen, \
               Redpanda 21.10.1 (2022): lost and stale messages.",
        look_at: "the send's partition and offset in the message, then the crash or the fault before it in the timeline",
    },
    Property {
        name: "duplicate",
        holds_when: "every send is in the log at most once",
        why: "A retry after a lost reply must not count an event twice: a sum is wrong for ever, and no reader can tell.",
        seen: "Redpanda issue 3039 (duplicate writes), named in Jepsen's analysis of Redpanda 21.10.1 as found by the team's \
               own fault injection.",
        look_at: "engine/src/log/producers.rs (sequences and epochs), and which request was retried or delivered twice",
    },
    Property {
        name: "inconsistent-offset",
        holds_when: "an offset has one value for ever, and no reader is led past it",
        why: "Two readers that see different records at one offset compute different results from one log. Then replay \
              cannot equal live, whatever the engine does.",
        seen: "Redpanda issue 3003 (inconsistent offsets), in Jepsen's analysis of Redpanda 21.10.1.",
        look_at: "what was shown before it was synced: the high watermark in engine/src/log/writer.rs",
    },
    Property {
        name: "nonmonotonic",
        holds_when: "a reader never moves back, nor does what a partition says of itself",
        why: "A reader that is moved back takes records twice, one that skips never sees them; a high watermark or a group's \
              offset that goes back makes both happen later.",
        seen: "Jepsen's checker for Kafka-like logs has classes of its own for it: nonmonotonic and skipped polls and sends. \
               KIP-320 gave Kafka's consumers a way to notice that a log they had read was truncated.",
        look_at: "restarts of the broker in the timeline, then what the group's offsets were restored from, and where each \
                  instance of a task began to read",
    },
    Property {
        name: "skipped",
        holds_when: "no reader leaves out what another saw, and nothing foreign lies between two sends",
        why: "A record that one reader saw and another went past is in one result and not in the other, and neither reader \
              knows. A task that starts again beyond what was read for it leaves out what lies between.",
        seen: "Jepsen's checker for Kafka-like logs has classes of its own for it, skipped polls and skipped sends.",
        look_at: "the two readers and the offsets that the message names, and what the broker told each of its stable offset; \
                  of a task, what it committed last",
    },
    Property {
        name: "unseen",
        holds_when: "what was acknowledged is read by every reader in the end",
        why: "An event that is in the log and that nobody is shown is lost for every purpose but an audit.",
        seen: "Jepsen's checker for Kafka-like logs has a class of its own for it: acknowledged, and never polled. Its analysis \
               of Bufstream 0.1.0 found stuck consumers.",
        look_at: "what holds the last stable offset back: an open transaction of that partition; of a task that restores, \
                  where it took its changelog to end",
    },
    Property {
        name: "torn-transaction",
        holds_when: "every partition that a transaction touched holds the same marker, and it is the one that was answered",
        why: "Outputs, state and offsets are one transaction. If half of it is committed and half is not, a restart counts \
              an input twice or never.",
        seen: "Jepsen, Bufstream 0.1.0 (2024): in Kafka's own protocol a delayed commit or abort could end a later transaction \
               of the same producer, with lost writes, aborted reads and torn transactions in Kafka too. KIP-890 raises the \
               producer's epoch with every transaction against it; Segno's markers carry that epoch.",
        look_at: "engine/src/broker/coordinator/mod.rs (decision before markers), engine/src/log/producers.rs (the fence)",
    },
    Property {
        name: "aborted-read",
        holds_when: "no committed read shows a record of an aborted or undecided transaction",
        why: "What was aborted did not happen. A reader that acts on it acts on an event that no replay will show.",
        seen: "Redpanda issue 3036 (aborted reads and circular information flow), in Jepsen's analysis of Redpanda 21.10.1; \
               Jepsen's analysis of Bufstream 0.1.0 found aborted reads in Kafka's protocol.",
        look_at: "the last stable offset and the list of aborted transactions of the fetch that the message names",
    },
    Property {
        name: "single-cut",
        holds_when: "each commit record agrees with what the same transaction wrote",
        why: "Offsets, state, timers and outputs must be one cut through the input. A state that is ahead of its offsets \
              takes events twice after a crash, one that is behind loses them.",
        seen: "KAFKA-20685 reports a Kafka Streams store under exactly-once that was not wiped after an unclean crash and may \
               hold writes that were never committed.",
        look_at: "engine/src/stream/worker/writer.rs (what a transaction holds), engine/src/stream/cells.rs (what is dirty)",
    },
    Property {
        name: "trimmed-below-snapshot",
        holds_when: "a changelog begins at a committed snapshot, and what else was deleted is said again",
        why: "A changelog is deleted from its beginning to bound a restore. One record too many, or one moment too soon, and \
              state is gone that nothing can bring back but a whole replay.",
        seen: "It was seen here: a log whose deleted segments a power cut brought back was taken for a log with a hole (two \
               plans of the corpus).",
        look_at: "engine/src/stream/changelog.rs (when a snapshot is due), the trim in engine/src/stream/worker/writer.rs",
    },
    Property {
        name: "watermark-monotonic",
        holds_when: "watermarks never move back and never pass a record that was on time",
        why: "A watermark says that nothing older is to come. Where it follows the order of arrival across partitions, which \
              records are late depends on the reader's speed, and a replay, which reads faster, drops others.",
        seen: "KIP-353 (KAFKA-3514) describes it for Kafka Streams: with several input partitions the order of processing, and \
               so the results, depended on which partition had been fetched; KIP-695 improves on it.",
        look_at: "engine/src/stream/intake.rs (a partition's watermark), and what was restored from the last commit",
    },
    Property {
        name: "loud-gap",
        holds_when: "a needed offset that is gone stops the run or is reported",
        why: "A replay over a log that has lost its beginning gives a smaller answer that looks like an answer.",
        seen: "Kafka's consumers go on at the earliest or latest offset when theirs is out of range, as `auto.offset.reset` \
               says; KIP-320 describes how a consumer then misses data without an error.",
        look_at: "what the task said in the timeline, and the range that the message names",
    },
    Property {
        name: "retention-as-asked",
        holds_when: "a log loses what retention was asked to take, whole segments of it, and nothing else",
        why: "Retention is planned from how long a replay takes. A segment too many is history that nothing brings back, and \
              no replay can tell that it was not meant to go; one that never goes fills the disk.",
        seen: "KIP-32 names it among the reasons for timestamps in Kafka's records: retention went by the time at which a \
               segment's file was last modified, so that moving a replica to another broker made old data young again.",
        look_at: "engine/src/log/state.rs (retained_from), and the times and sizes of the segments in the message",
    },
    Property {
        name: "converges",
        holds_when: "after healing, commits get further until lag is zero and no transaction is open",
        why: "An engine that never gives a wrong answer because it gives none has not survived the fault. What it waits for \
              is a bug: a lock, a transaction that nobody ends, a task that nobody starts.",
        seen: "KIP-890 names transactions that hang for ever in Kafka, which hold back every committed read of the partition. \
               Jepsen, Bufstream 0.1.0: stuck consumers and producers.",
        look_at: "what is missing, in the message; then the last commit of that task in the timeline",
    },
    Property {
        name: "equals-expected",
        holds_when: "live and replay both equal the independent function over the log",
        why: "Two runs of one engine can agree on a mistake. The function is written without the engine, and knows only the \
              log.",
        seen: "Each wrong rule for a window, a session or a late record shows here and nowhere else, since live and replay \
               share it: `segno mutants`, on a build that has them, lists such rules.",
        look_at: "the record in the story that one side is \"as if it were not there\" of, and its lateness",
    },
    Property {
        name: "replay-equals-live",
        holds_when: "the replay's final table, late set and rejected records are those of live",
        why: "It is the promise of a Kappa architecture: one code path, and history is recomputed by reading the log again. If \
              the replay differs, no backfill can be trusted, and no fix of a bug can be rolled out by one.",
        seen: "Jay Kreps, \"Questioning the Lambda Architecture\" (2014) proposes it; KIP-353 (KAFKA-3514) calls Kafka \
               Streams' processing order with several inputs non-deterministic, which is how it breaks.",
        look_at: "equals-expected of the same seed: it says which of the two is wrong",
    },
    Property {
        name: "no-panic",
        holds_when: "no host's software panics, and no process of a seed dies",
        why: "A panic in a task or in the broker is a crash that nobody planned, at a moment that nobody chose.",
        seen: "Jepsen's analysis of Redpanda 21.10.1 found crashes among its ten issues.",
        look_at: "the file and line in the message",
    },
    Property {
        name: "deterministic",
        holds_when: "the same plan gives the same trace in another process",
        why: "A seed that cannot be run again finds bugs that nobody can fix, and no other result of such a build means \
              anything. So it counts for more than a violation.",
        seen: "Two causes were seen here: maps with a random seed, whose order got into what was emitted, and the numbers that \
               a runtime gives its tasks, whose order of destruction got into the trace.",
        look_at: "the first event that differs, in the message; then unordered iteration, clocks and addresses near it",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_property_that_is_checked_is_explained_in_the_words_of_its_check() {
        for check in sim::checks::ALL {
            let property = named(check.name).expect(check.name);
            // Some properties are asked of the log and of the histories: the page has one of the two sentences.
            let mut same = sim::checks::ALL.iter().filter(|other| other.name == check.name);
            assert!(same.any(|other| other.holds_when == property.holds_when), "{}", check.name);
        }
    }

    #[test]
    fn a_page_and_the_list() {
        insta::assert_snapshot!("explain-list", list());
        insta::assert_snapshot!("explain-page", page(named("torn-transaction").expect("a property")));
    }

    #[test]
    fn a_misspelt_property_is_answered_with_the_nearest() {
        let said = named("replay-equal-live").expect_err("no such property").to_string();
        assert!(said.contains("\"replay-equals-live\""), "{said}");
    }
}
