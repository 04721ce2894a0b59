//! Names that people misspell, and which one was probably meant.
//!
//! In: a name that nothing has, and those that there are. Out: the nearest of them, or none.
//!
//! Invariant: nothing is offered that takes more changes than half of the letters.

/// What was probably meant by `name`: a known one that it is a part of, or the one that takes the fewest changes; nothing,
/// where it takes more than half of the letters.
pub fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    let part = |known: &str| name.len() >= 3 && known.contains(name);
    let near = |known: &str| part(known) || changes(name, known) <= name.len().min(known.len()) / 2;
    let best = known.iter().copied().min_by_key(|known| (!part(known), changes(name, known)));
    best.filter(|best| near(best))
}

/// ` the nearest is "x",` for a message, or nothing.
#[must_use]
pub fn hint(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!(" the nearest is {nearest:?},")).unwrap_or_default()
}

/// How many bytes must be put in, taken out or replaced to make `one` into `other`.
fn changes(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, byte) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, wanted) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(byte != wanted);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_answered_with_the_nearest_and_nonsense_with_none() {
        let known = ["clickstream-sessions", "clickstream-minutes"];
        assert_eq!(nearest("clickstream-session", &known), Some("clickstream-sessions"));
        assert_eq!(nearest("minutes", &known), Some("clickstream-minutes"), "a part of it");
        assert_eq!(nearest("nonsense", &["unseen", "skipped"]), None);
        assert_eq!(
            (hint(nearest("skiped", &["skipped"])).as_str(), hint(None).as_str()),
            (" the nearest is \"skipped\",", "")
        );
        assert_eq!((changes("", "abc"), changes("abc", "abd"), changes("kitten", "sitting")), (3, 1, 3));
    }
}
