//! Errors of YAML files that may hold secrets.

/// Returns the place of an error, such as `line 4, column 3`: the error's own text quotes the file.
pub(crate) fn place(error: &serde_yaml::Error) -> String {
    error.location().map_or_else(
        || "the file".to_owned(),
        |place| format!("line {}, column {}", place.line(), place.column()),
    )
}
