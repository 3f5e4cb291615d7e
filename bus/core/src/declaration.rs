//! Declarations of groups in `P:eventbus:groups`: while a declared group is missing, the stream is not trimmed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::TypeFilter;

/// Version of a declaration.
const VERSION: u32 = 1;

/// Content of a group's field in the hash [`StreamKey::groups_key`](crate::names::StreamKey::groups_key).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declaration {
    /// The resource that owns the group; `None` if a program declared it for itself.
    pub owner: Option<Owner>,
    /// The event types that the group handles; all if none are listed.
    pub types: TypeFilter,
}

/// Resource that owns a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its cluster; empty if the declaration has none.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// Malformed declaration. The message never shows the field's content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeclarationError {
    /// The field is not a JSON object with the members of a declaration.
    #[error("not a declaration in JSON, at line {line}, column {column}")]
    Json {
        /// Line, from 1; 0 for the whole text.
        line: usize,
        /// Column, from 1; 0 for the whole text.
        column: usize,
    },
    /// One of the types is not a pattern.
    #[error("one of its types is not a pattern")]
    Types,
}

impl Declaration {
    /// Parses a field. Unknown members are ignored, because programs of different versions share the key.
    ///
    /// # Errors
    /// [`DeclarationError`] with the position of a mistake in the JSON, or for a malformed pattern.
    pub fn parse(field: &[u8]) -> Result<Self, DeclarationError> {
        let stored: Stored = serde_json::from_slice(field).map_err(|error| {
            DeclarationError::Json { line: error.line(), column: error.column() }
        })?;
        let patterns = stored.types.unwrap_or_default();
        let types = TypeFilter::parse(patterns.iter().map(String::as_str))
            .map_err(|_| DeclarationError::Types)?;
        let owner = stored.uid.map(|uid| Owner {
            cluster: stored.cluster.unwrap_or_default(),
            namespace: stored.namespace.unwrap_or_default(),
            name: stored.name.unwrap_or_default(),
            uid,
        });
        Ok(Self { owner, types })
    }

    /// Formats the field, for [`parse`](Self::parse). Members without a value are left out.
    #[must_use]
    pub fn field(&self) -> String {
        let owner = self.owner.as_ref();
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let types = self.types.patterns();
        let stored = Stored {
            v: VERSION,
            cluster: owner.and_then(|owner| text(&owner.cluster)),
            namespace: owner.and_then(|owner| text(&owner.namespace)),
            name: owner.and_then(|owner| text(&owner.name)),
            uid: owner.map(|owner| owner.uid.clone()),
            types: (!types.is_empty()).then(|| types.to_vec()),
        };
        serde_json::to_string(&stored).expect("texts can be written as JSON")
    }
}

/// Formats the owner as `namespace/name`, with its cluster if the declaration has one.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)?;
        if self.cluster.is_empty() { Ok(()) } else { write!(f, " of cluster {}", self.cluster) }
    }
}

#[derive(Deserialize, Serialize)]
struct Stored {
    /// Written only: all versions so far are parsed in the same way.
    #[serde(skip_deserializing)]
    v: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    types: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_names_its_owner_and_its_types() {
        let field = br#"{"v":1,"cluster":"c","namespace":"shop","name":"orders","uid":"u-1",
            "generation":3,"types":["order.*"]}"#;
        let declaration = Declaration::parse(field).unwrap();
        let owner = declaration.owner.unwrap();
        assert_eq!(
            (owner.to_string().as_str(), owner.uid.as_str()),
            ("shop/orders of cluster c", "u-1")
        );
        assert_eq!(declaration.types.patterns(), ["order.*"]);
    }

    #[test]
    fn without_a_uid_there_is_no_owner_and_without_types_all_are_handled() {
        for field in [r#"{"v":1}"#, r#"{"types":[]}"#, r#"{"uid":null,"types":null,"later":[1]}"#] {
            let declaration = Declaration::parse(field.as_bytes()).unwrap();
            assert_eq!(declaration, Declaration::default(), "{field}");
        }
    }

    #[test]
    fn a_written_declaration_reads_back_and_leaves_out_what_has_no_value() {
        let types = TypeFilter::parse(["order.*", "user.login"]).unwrap();
        let (uid, name) = ("u-1".to_owned(), "orders".to_owned());
        let (namespace, cluster) = ("shop".to_owned(), String::new());
        let owner = Some(Owner { cluster, namespace, name, uid });
        let cases = [
            (Declaration::default(), r#"{"v":1}"#),
            (
                Declaration { owner: None, types: types.clone() },
                r#"{"v":1,"types":["order.*","user.login"]}"#,
            ),
            (
                Declaration { owner, types },
                r#"{"v":1,"namespace":"shop","name":"orders","uid":"u-1","types":["order.*","user.login"]}"#,
            ),
        ];
        for (declaration, field) in cases {
            assert_eq!(declaration.field(), field);
            assert_eq!(Declaration::parse(field.as_bytes()), Ok(declaration));
        }
    }

    #[test]
    fn a_malformed_declaration_is_refused_without_being_shown() {
        let no_json = [
            &br#"{"uid": "hunter2""#[..],
            b"hunter2",
            b"[]x",
            br#"{"types":"hunter2"}"#,
            b"",
            b"\xff",
        ];
        for field in no_json {
            let error = Declaration::parse(field).unwrap_err();
            assert!(matches!(error, DeclarationError::Json { .. }), "{error:?}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        let bad_pattern = br#"{"types":["a","hunter2 !"]}"#;
        assert_eq!(Declaration::parse(bad_pattern), Err(DeclarationError::Types));
    }
}
