//! The Lua scripts that Redis runs.

use std::fs;
use std::path::{Path, PathBuf};

use super::identifiers::{Lua, lua};

/// Lists the files below `folder` with the extension `extension`, in order.
///
/// # Panics
/// If a folder cannot be read.
#[must_use]
pub fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.expect("a folder can be read").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|is| is == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Lists the lines of a script that call Redis by another command than a literal one. A proxy that reads the script
/// could not know which it is.
#[must_use]
pub fn hidden_commands(code: &str) -> Vec<usize> {
    let pieces = lua(code);
    let is_name = |at: usize, names: &[&str]| matches!(pieces.get(at), Some((Lua::Name(name), _)) if names.contains(&name.as_str()));
    let is_sign = |at: usize, signs: &[char]| matches!(pieces.get(at), Some((Lua::Sign(sign), _)) if signs.contains(sign));
    let is_text = |at: usize| matches!(pieces.get(at), Some((Lua::Text(_), _)));
    let mut hidden = Vec::new();
    for (at, (_, line)) in pieces.iter().enumerate() {
        // A field of another table: `reply.redis`.
        if !is_name(at, &["redis"]) || (at > 0 && is_sign(at - 1, &['.', ':'])) {
            continue;
        }
        let is_field = is_sign(at + 1, &['.']);
        let is_call = is_field && is_name(at + 2, &["call", "pcall"]);
        let literal = is_sign(at + 3, &['(']) && is_text(at + 4) && is_sign(at + 5, &[',', ')']);
        if !is_field || (is_call && !literal) {
            hidden.push(*line);
        }
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_no_literal_is_found() {
        let code = "local a = redis.call('GET', KEYS[1])
            redis.pcall(\"PING\")
            -- redis.call(name)
            redis.error_reply('redis.call(name)')
            redis.call(name, key)
            redis.pcall(...)
            local call = redis.call
            redis['call']('GET')
            redis.call('G' .. 'ET')
            pcall(redis.call, 'GET')";
        assert_eq!(hidden_commands(code), [5, 6, 7, 8, 9, 10]);
    }
}
