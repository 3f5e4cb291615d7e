//! Header of a segment: version of the format, stream, and number of the segment.

use eventbus_core::names::StreamKey;

use super::frame::Seal;

const MAGIC: [u8; 8] = *b"eboutbox";
const VERSION: u32 = 1;
/// Maximum size of a header, in bytes.
pub(super) const MAX_HEADER: u64 = 1024;

/// Kind of a header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// The header that this version writes for this segment.
    Ours,
    /// The segment ends within its header.
    Cut,
    Damaged,
    /// The header of a segment of another stream.
    OtherStream(StreamKey),
    /// The header of another version or of another segment.
    Foreign {
        found: String,
        expected: String,
    },
}

/// Returns the header of segment `number` of an outbox for `stream`.
pub(super) fn write(stream: &StreamKey, number: u64) -> Vec<u8> {
    let key = stream.as_str().as_bytes();
    let length = u16::try_from(key.len()).expect("a key has at most 512 bytes");
    let mut bytes = Vec::from(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(number.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend(key);
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// Returns the seal of that segment's frames.
pub(super) fn seal(stream: &StreamKey, number: u64) -> Seal {
    Seal::of(&write(stream, number))
}

/// Reads the header of a segment.
pub(super) fn read(segment: &[u8], stream: &StreamKey, number: u64) -> Header {
    let ours = write(stream, number);
    if segment.starts_with(&ours) {
        return Header::Ours;
    }
    if ours.starts_with(segment) || segment.iter().all(|byte| *byte == 0) {
        return Header::Cut;
    }
    let foreign = |found, expected| Header::Foreign { found, expected };
    let Some((version, rest)) = split(segment.strip_prefix(&MAGIC[..]).unwrap_or_default()) else {
        return Header::Damaged;
    };
    let version = u32::from_le_bytes(version);
    let (found_number, found_stream) = match whole(rest) {
        Some(found) => found,
        // All versions have only the offset of the version in common.
        None if version != VERSION => {
            let ours_but_for_version = segment.get(MAGIC.len() + 4..ours.len());
            return if ours_but_for_version == Some(&ours[MAGIC.len() + 4..]) {
                Header::Damaged
            } else {
                foreign(format!("version {version}"), format!("version {VERSION}"))
            };
        }
        None => return Header::Damaged,
    };
    if version != VERSION {
        return Header::Damaged;
    }
    if found_number != number {
        return foreign(format!("segment {found_number}"), format!("segment {number}"));
    }
    Header::OtherStream(found_stream)
}

fn split<const N: usize>(bytes: &[u8]) -> Option<([u8; N], &[u8])> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    Some((*first, rest))
}

/// Decodes number and stream of a header of this version, from the bytes after the version; `None` if the checksum is
/// wrong.
fn whole(rest: &[u8]) -> Option<(u64, StreamKey)> {
    let (number, rest) = split(rest)?;
    let (length, rest) = split(rest)?;
    let (key, rest) = rest.split_at_checked(u16::from_le_bytes(length).into())?;
    let (sum, _) = split::<4>(rest)?;
    let number = u64::from_le_bytes(number);
    let stream = StreamKey::new(str::from_utf8(key).ok()?).ok()?;
    let bytes = write(&stream, number);
    (bytes[bytes.len() - 4..] == sum).then_some((number, stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str) -> StreamKey {
        StreamKey::new(name).unwrap()
    }

    fn read(segment: &[u8]) -> Header {
        super::read(segment, &stream("s"), 3)
    }

    fn foreign(found: &str, expected: &str) -> Header {
        Header::Foreign { found: found.to_owned(), expected: expected.to_owned() }
    }

    #[test]
    fn a_header_reads_back_with_and_without_records_behind_it() {
        let mut bytes = write(&stream("s"), 3);
        assert_eq!(read(&bytes), Header::Ours);
        bytes.extend(b"records");
        assert_eq!(read(&bytes), Header::Ours);
    }

    #[test]
    fn a_header_that_a_crash_cut_off_anywhere_is_cut() {
        let bytes = write(&stream("s"), 3);
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), Header::Cut, "cut at {cut}");
        }
        assert_eq!(read(&[0; 100]), Header::Cut);
    }

    #[test]
    fn a_flipped_bit_is_damage_and_never_another_version_or_stream() {
        let bytes = write(&stream("s"), 3);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&bytes), Header::Damaged, "bit {bit}");
        }
    }

    #[test]
    fn headers_of_another_version_stream_or_segment_are_recognised() {
        let mut newer = MAGIC.to_vec();
        newer.extend(2_u32.to_le_bytes());
        newer.extend(b"whatever version 2 has here");
        assert_eq!(read(&newer), foreign("version 2", "version 1"));
        assert_eq!(read(&write(&stream("t"), 3)), Header::OtherStream(stream("t")));
        assert_eq!(read(&write(&stream("s"), 4)), foreign("segment 4", "segment 3"));
    }
}
