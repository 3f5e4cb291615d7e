//! Declarations: a group that has a field in `P:eventbus:groups` is wanted, and holds the stream while it is missing.

use std::fmt;

use serde::Deserialize;

use crate::event::TypeFilter;

/// The declaration that a program of this library makes for itself: of nobody's resource, of all types.
pub const UNOWNED: &str = r#"{"v":1}"#;

/// Content of a group's field in the hash [`StreamKey::groups_key`](crate::names::StreamKey::groups_key).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declaration {
    /// The resource that has the group; `None` where a program declared it by `create_consumer_group`.
    pub owner: Option<Owner>,
    /// The event types that the group wants; all where none are named.
    pub types: TypeFilter,
}

/// A resource that has a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its cluster; empty where that is not told.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// Mistake in a declaration. The message never shows the field's content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeclarationError {
    /// It is no JSON object with the members of a declaration.
    #[error("no declaration in JSON, from line {line}, column {column} on")]
    Json {
        /// From 1; 0 where the whole is meant.
        line: usize,
        /// From 1; 0 where the whole is meant.
        column: usize,
    },
    /// One of its types is no pattern.
    #[error("one of its types is no pattern")]
    Types,
}

impl Declaration {
    /// Reads a field. Members of other names are ignored: programs of different ages share the key.
    ///
    /// # Errors
    /// [`DeclarationError`].
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
}

/// `namespace/name`, and the cluster where it is told.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)?;
        if self.cluster.is_empty() { Ok(()) } else { write!(f, " of cluster {}", self.cluster) }
    }
}

#[derive(Deserialize)]
struct Stored {
    cluster: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
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
    fn without_a_uid_nobody_owns_it_and_without_types_all_are_wanted() {
        for field in [UNOWNED, r#"{"types":[]}"#, r#"{"uid":null,"types":null,"later":[1]}"#] {
            let declaration = Declaration::parse(field.as_bytes()).unwrap();
            assert_eq!(declaration, Declaration::default(), "{field}");
        }
    }

    #[test]
    fn what_is_no_declaration_is_refused_without_being_shown() {
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
