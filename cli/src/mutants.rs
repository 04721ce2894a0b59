//! `--mutant NAME`: the bug of the engine that this process and its seed workers have.
//!
//! In: a name. Out: the choice, made before anything of the engine runs. Without the feature `mutants` there is no such
//! argument, and nothing to choose.

/// The chosen mutant, if there is one.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Choice {
    /// Run the engine with this bug in it: `segno mutants` lists them
    #[cfg(feature = "mutants")]
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
}

#[cfg(not(feature = "mutants"))]
impl Choice {
    #[expect(clippy::unnecessary_wraps, reason = "a build with the feature refuses unknown names")]
    pub fn apply(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// For a seed worker.
    pub fn arguments(&self) -> Vec<String> {
        Vec::new()
    }

    /// For the command that runs a seed again.
    pub fn suffix(&self) -> String {
        String::new()
    }
}

#[cfg(feature = "mutants")]
impl Choice {
    /// From now on this process has the bug.
    ///
    /// # Errors
    /// [`Usage`](crate::exit::Usage) with the nearest name.
    pub fn apply(&self) -> anyhow::Result<()> {
        let Some(name) = &self.mutant else { return Ok(()) };
        let Some(mutant) = engine::mutant::named(name) else {
            let known: Vec<&str> = engine::mutant::ALL.iter().map(|mutant| mutant.name).collect();
            let nearest = sim::names::hint(sim::names::nearest(name, &known));
            let said = format!("no mutant is named {name:?};{nearest} `segno mutants` lists all");
            return Err(crate::exit::Usage(said).into());
        };
        engine::mutant::choose(mutant);
        Ok(())
    }

    /// For a seed worker.
    pub fn arguments(&self) -> Vec<String> {
        self.mutant.iter().flat_map(|name| ["--mutant".to_owned(), name.clone()]).collect()
    }

    /// For the command that runs a seed again.
    pub fn suffix(&self) -> String {
        self.mutant.as_ref().map(|name| format!(" --mutant {name}")).unwrap_or_default()
    }
}

#[cfg(all(test, feature = "mutants"))]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_mutant_is_wrong_use_and_answered_with_the_nearest() {
        let choice = Choice { mutant: Some("ack-befor-sync".to_owned()) };
        let error = choice.apply().expect_err("no such mutant");
        assert!(error.is::<crate::exit::Usage>());
        assert!(error.to_string().contains("the nearest is \"ack-before-sync\""), "{error}");
    }

    #[test]
    fn a_seed_worker_and_the_command_that_reproduces_get_the_name() {
        let choice = Choice { mutant: Some("x".to_owned()) };
        assert_eq!((choice.arguments(), choice.suffix()), (vec!["--mutant".into(), "x".into()], " --mutant x".into()));
        let none = Choice::default();
        assert_eq!((none.arguments(), none.suffix()), (Vec::new(), String::new()));
    }
}
