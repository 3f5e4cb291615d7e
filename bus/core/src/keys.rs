//! The Redis data model: the keys beside a stream and the reserved consumer names.

use crate::names::{GroupName, StreamKey};

impl StreamKey {
    /// The prefix of all keys beside this stream, in its hash slot: the key itself if it has a hash tag
    /// (`{…}` with something inside), else the key in braces. `None` where neither gives the same slot:
    /// a key with a `}` but no tag of its own.
    #[must_use]
    pub fn prefix(&self) -> Option<String> {
        if hash_tag(self.as_str()) != self.as_str() {
            return Some(self.as_str().to_owned());
        }
        (!self.as_str().contains('}')).then(|| format!("{{{self}}}"))
    }

    /// The stream of `group`'s dead letters: `P:dlq:<group>`.
    #[must_use]
    pub fn dead_letters(&self, group: &GroupName) -> Self {
        Self::derived(format!("{}:dlq:{group}", self.prefix_or_braced()))
    }

    /// The hash with one field a declared group: `P:eventbus:groups`.
    #[must_use]
    pub fn groups_key(&self) -> String {
        format!("{}:eventbus:groups", self.prefix_or_braced())
    }

    /// The hash with one field a group that lost entries at the hard cap: `P:eventbus:lost`.
    #[must_use]
    pub fn lost_key(&self) -> String {
        format!("{}:eventbus:lost", self.prefix_or_braced())
    }

    /// The hash with one field a consumer of `group`: `P:eventbus:consumers:<group>`.
    #[must_use]
    pub fn consumers_key(&self, group: &GroupName) -> String {
        format!("{}:eventbus:consumers:{group}", self.prefix_or_braced())
    }

    /// Returns `true` if this key may be used in one script with the keys beside `stream`: it shares their hash slot.
    #[must_use]
    pub fn is_beside(&self, stream: &Self) -> bool {
        self != stream && hash_tag(self.as_str()) == hash_tag(&stream.prefix_or_braced())
    }

    /// A single server knows no slots, so there the braces only keep the name readable.
    fn prefix_or_braced(&self) -> String {
        self.prefix().unwrap_or_else(|| format!("{{{self}}}"))
    }
}

/// What Redis Cluster takes the slot from: the text between the first `{` and the first `}` after it if there is some,
/// else the whole key.
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
    fn a_key_lies_beside_a_stream_where_they_share_a_slot() {
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
