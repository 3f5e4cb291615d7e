//! Redis data model: the keys beside a stream.

use crate::names::{GroupName, StreamKey};

impl StreamKey {
    /// Returns `P`, the prefix of all keys beside this stream, in the stream's hash slot: the key itself if it has a hash
    /// tag (`{…}`, not empty), else the key in braces. `None` if neither has the same slot: a key with a `}` but without
    /// a tag.
    #[must_use]
    pub fn prefix(&self) -> Option<String> {
        if hash_tag(self.as_str()) != self.as_str() {
            return Some(self.as_str().to_owned());
        }
        (!self.as_str().contains('}')).then(|| format!("{{{self}}}"))
    }

    /// Returns the stream of `group`'s dead letters: `P:dlq:<group>`.
    #[must_use]
    pub fn dead_letters(&self, group: &GroupName) -> Self {
        Self::derived(format!("{}:dlq:{group}", self.prefix_or_braced()))
    }

    /// Returns the hash with one field for each declared group: `P:eventbus:groups`.
    #[must_use]
    pub fn groups_key(&self) -> String {
        format!("{}:eventbus:groups", self.prefix_or_braced())
    }

    /// Returns the hash with one field for each group that lost entries at the hard cap: `P:eventbus:lost`.
    #[must_use]
    pub fn lost_key(&self) -> String {
        format!("{}:eventbus:lost", self.prefix_or_braced())
    }

    /// Returns the hash with one field for each consumer of `group`: `P:eventbus:consumers:<group>`.
    #[must_use]
    pub fn consumers_key(&self, group: &GroupName) -> String {
        format!("{}:eventbus:consumers:{group}", self.prefix_or_braced())
    }

    /// Returns `true` if this key shares the hash slot of the keys beside `stream`, so that one script may use both.
    #[must_use]
    pub fn is_beside(&self, stream: &Self) -> bool {
        self != stream && hash_tag(self.as_str()) == hash_tag(&stream.prefix_or_braced())
    }

    /// Returns the prefix, or the key in braces where no prefix has the stream's slot. A single server has no slots.
    fn prefix_or_braced(&self) -> String {
        self.prefix().unwrap_or_else(|| format!("{{{self}}}"))
    }
}

/// Returns the part of a key that Redis Cluster hashes: the text between the first `{` and the first `}` after it if it is
/// not empty, else the whole key.
fn hash_tag(key: &str) -> &str {
    let within = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    within.map(|(tag, _)| tag).filter(|tag| !tag.is_empty()).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_beside_a_stream_share_its_hash_slot() {
        let group = GroupName::new("g").unwrap();
        let cases = [("s:e", "{s:e}:dlq:g"), ("{s}:e", "{s}:e:dlq:g"), ("a{}b", "{a{}b}:dlq:g")];
        for (stream, dead_letters) in cases {
            let key = StreamKey::new(stream).unwrap();
            assert_eq!(key.dead_letters(&group).as_str(), dead_letters);
        }
        assert_eq!(StreamKey::new("a{}b").unwrap().prefix(), None);
    }

    #[test]
    fn a_key_is_beside_a_stream_if_they_share_a_slot() {
        let key = |text: &str| StreamKey::new(text).unwrap();
        for (other, stream, beside) in [
            ("{s}:dlq:g", "s", true),
            ("{s}:other", "{s}:e", true),
            ("s:dlq:g", "s", false),
            ("{t}:dlq:g", "s", false),
            ("{s}", "{s}", false),
        ] {
            assert_eq!(key(other).is_beside(&key(stream)), beside, "{other} beside {stream}");
        }
    }
}
