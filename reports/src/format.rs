//! Documents that are read back: which format and version one claims to be, before anything else is believed.
//!
//! In: a document's text and the schema that the reader knows, `segno.gate/1` for one. Out: the document, or a sentence
//! that says what was found and what to do.

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Why a document was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It has no field `schema`, or is no JSON object at all.
    Unnamed { wanted: &'static str, why: String },
    /// It is something else.
    Other { wanted: &'static str, found: String },
    /// It is the right thing in a version that this build does not know.
    Version { wanted: &'static str, found: String },
    /// It says what it is and does not keep to it.
    Broken { wanted: &'static str, why: String },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Unnamed { wanted, why } => write!(f, "this is no {wanted} document: {why}"),
            Refused::Other { wanted, found } => write!(f, "this is a {found} document; what is read here is {wanted}"),
            Refused::Version { wanted, found } => {
                write!(f, "this document is {found}, and this build reads {wanted}: use the build that wrote it")
            }
            Refused::Broken { wanted, why } => write!(f, "this document claims to be {wanted} and is not: {why}"),
        }
    }
}

impl std::error::Error for Refused {}

/// A document that must be of `wanted`.
///
/// # Errors
/// When it is of another format or version, or not what it claims to be.
pub fn parse<T: DeserializeOwned>(text: &str, wanted: &'static str) -> Result<T, Refused> {
    #[derive(Deserialize)]
    struct Head {
        schema: String,
    }
    let head: Head = serde_json::from_str(text).map_err(|error| Refused::Unnamed { wanted, why: error.to_string() })?;
    if head.schema != wanted {
        let name = |schema: &str| schema.split('/').next().unwrap_or_default().to_owned();
        let found = head.schema;
        return Err(if name(&found) == name(wanted) {
            Refused::Version { wanted, found }
        } else {
            Refused::Other { wanted, found }
        });
    }
    serde_json::from_str(text).map_err(|error| Refused::Broken { wanted, why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GateReport;

    fn refused(text: &str) -> String {
        parse::<GateReport>(text, "segno.gate/1").expect_err("not a gate report").to_string()
    }

    #[test]
    fn a_document_is_refused_in_words_that_say_what_it_is() {
        assert_eq!(
            refused(r#"{"schema":"segno.gate/2"}"#),
            "this document is segno.gate/2, and this build reads segno.gate/1: use the build that wrote it"
        );
        assert_eq!(
            refused(r#"{"schema":"segno.run/1"}"#),
            "this is a segno.run/1 document; what is read here is segno.gate/1"
        );
        let said = refused(r#"{"seed":1}"#);
        assert!(said.starts_with("this is no segno.gate/1 document: missing field `schema`"), "{said}");
        let said = refused(r#"{"schema":"segno.gate/1","seeds_run":true}"#);
        assert!(said.starts_with("this document claims to be segno.gate/1 and is not: "), "{said}");
    }
}
