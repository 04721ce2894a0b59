//! Why a plan file cannot be used.
//!
//! In: what the parser of TOML or a rule of plans says. Out: the same with what was probably meant: the nearest name, a newer
//! build, another file.

use toml::de::Error;

use super::FORMAT;
use crate::names::nearest;

/// Why a plan file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error(
        "this is no plan: no line of it says `format = {FORMAT}`; a gate leaves plans in its folder, as SEED.plan.toml"
    )]
    NoPlan,
    #[error("{}", syntax(.0))]
    Syntax(#[from] Error),
    #[error("the plan's format is {found}; this build reads format {FORMAT}")]
    Format { found: u32 },
    #[error("{0}")]
    Invalid(String),
}

impl PlanError {
    /// What is wrong with a text of which not even the format can be read.
    pub(super) fn of_head(text: &str, error: Error) -> PlanError {
        let names_a_format = |line: &str| {
            line.trim_start().strip_prefix("format").is_some_and(|rest| rest.trim_start().starts_with('='))
        };
        if text.lines().any(names_a_format) { PlanError::Syntax(error) } else { PlanError::NoPlan }
    }
}

/// Plans get fields under one format: an older build reads what is written without them.
fn syntax(error: &Error) -> String {
    let said = error.to_string();
    let message = error.message();
    let said = said.replacen(message, &with_nearest(message), 1);
    let said = said.trim_end();
    match message.contains("unknown field `") {
        true => format!("{said}\nif it is spelled right, a newer Segno has written this plan"),
        false => said.to_owned(),
    }
}

/// ``unknown point `x`, expected one of `a`, `b` `` with the nearest of the names, where one is near enough to have been
/// meant.
fn with_nearest(message: &str) -> String {
    let told = || {
        let (unknown, known) = message.split_once("`, expected ")?;
        let (_, name) = unknown.split_once('`')?;
        let names: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        Some(format!("{unknown}`; the nearest is `{}`, expected {known}", nearest(name, &names)?))
    };
    told().unwrap_or_else(|| message.to_owned())
}

#[cfg(test)]
mod tests {
    use crate::plan::Plan;

    /// What is said of a plan with one word of its file changed.
    fn said(from: &str, to: &str) -> String {
        let good = (0..)
            .map(|seed| Plan::expand("p", seed, None).to_toml())
            .find(|text| text.contains(from))
            .expect("some seed draws it");
        Plan::parse(&good.replacen(from, to, 1)).expect_err("it was changed for the worse").to_string()
    }

    #[test]
    fn a_misspelt_name_is_answered_with_the_nearest() {
        for (from, to, expected) in [
            (
                "point = \"log-written\"",
                "point = \"log-writen\"",
                "unknown point `log-writen`; the nearest is `log-written`",
            ),
            (
                "kind = \"power-cut\"",
                "kind = \"powercut\"",
                "unknown kind of fault `powercut`; the nearest is `power-cut`",
            ),
            ("tier = \"soak\"", "tier = \"soack\"", "unknown variant `soack`; the nearest is `soak`"),
            ("phase = \"replay\"", "phase = \"reply\"", "unknown variant `reply`; the nearest is `replay`"),
            ("host = \"broker\"", "host = \"broke\"", "unknown host `broke`; the nearest is `broker`"),
            ("rotate = ", "rotat = ", "unknown field `rotat`; the nearest is `rotate`"),
            ("at_ms = ", "atms = ", "unknown field `atms`; the nearest is `at_ms`"),
        ] {
            let said = said(from, to);
            assert!(said.contains(expected) && said.contains(", expected ") && said.contains("at line "), "{said}");
        }
        let said = said("kind = \"power-cut\"", "kind = \"earthquake!\"");
        assert!(said.contains("unknown kind of fault `earthquake!`, expected one of `kill`, "), "{said}");
    }

    #[test]
    fn another_file_is_no_plan_and_a_broken_plan_is_one() {
        for text in ["", "# Segno\n\nSegno is two things.\n", "[gate]\nformats = 2\ncount = 3\n"] {
            let said = Plan::parse(text).expect_err("it is no plan").to_string();
            assert!(said.starts_with("this is no plan: no line of it says `format = 1`; "), "{said}");
        }
        let said = Plan::parse("format = 1\npipeline = \n").expect_err("it has no value there").to_string();
        assert!(said.contains("at line 2"), "{said}");
        let said = Plan::parse("format = 1\npipeline = \"p\"\n").expect_err("most of it is missing").to_string();
        assert!(said.contains("missing field"), "{said}");
    }
}
