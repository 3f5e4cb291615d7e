//! Frames of records in a segment: length, checksums, body; and the search for the next intact frame after damage.
//!
//! The length has a checksum of its own, to distinguish a record that a crash cut off from one that was damaged later.
//! Both checksums cover the segment's header and the frame's offset, so that equal bytes elsewhere are not a frame.

use std::ops::Range;

/// Size of a frame without its body, in bytes: length, checksum of the length, checksum of the body.
pub(super) const OVERHEAD: usize = 12;
/// Maximum size of a body, in bytes.
pub(crate) const MAX_BODY: usize = 4 * 1024 * 1024;

/// Checksum of a segment's header, which binds frames to their segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seal(u32);

/// Content at an offset of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A whole record, and the offset of the next one.
    Whole {
        body: &'a [u8],
        end: u64,
    },
    /// The start of a record that needs this many bytes.
    Cut {
        needs: usize,
    },
    Damaged,
}

/// Content of a segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    pub records: u64,
    /// Ranges of bytes that are not records.
    pub damaged: Vec<Range<u64>>,
    /// End of the last record, or of the damage after it.
    pub end: u64,
    /// Number of bytes after `end`: a write that a crash cut off.
    pub torn: u64,
}

impl Seal {
    /// Creates the seal of the segment with this header.
    pub fn of(header: &[u8]) -> Self {
        Self(crc32fast::hash(header))
    }

    /// Appends `body` to `bytes`, as the frame at `offset` of the segment.
    pub fn write(self, offset: u64, body: &[u8], bytes: &mut Vec<u8>) {
        let length =
            u32::try_from(body.len()).expect("a body is at most MAX_BODY long").to_le_bytes();
        bytes.extend(length);
        bytes.extend(self.sum(offset, &length).to_le_bytes());
        bytes.extend(self.sum(offset, body).to_le_bytes());
        bytes.extend(body);
    }

    /// Reads the frame at the start of `bytes`, which begin at `offset` of the segment.
    pub fn read(self, offset: u64, bytes: &[u8]) -> Frame<'_> {
        let Some((head, rest)) = bytes.split_at_checked(OVERHEAD) else {
            return Frame::Cut { needs: OVERHEAD };
        };
        let number =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = number(0) as usize;
        if length > MAX_BODY || number(4) != self.sum(offset, &head[..4]) {
            return Frame::Damaged;
        }
        let Some(body) = rest.get(..length) else {
            return Frame::Cut { needs: OVERHEAD + length };
        };
        if number(8) != self.sum(offset, body) {
            return Frame::Damaged;
        }
        Frame::Whole { body, end: offset + (OVERHEAD + length) as u64 }
    }

    /// Returns the number of bytes before the next whole record; `None` if there is none. `bytes` begin at `offset`.
    pub fn find(self, offset: u64, bytes: &[u8]) -> Option<usize> {
        let is_whole = |at: &usize| {
            matches!(self.read(offset + *at as u64, &bytes[*at..]), Frame::Whole { .. })
        };
        (0..bytes.len()).find(is_whole)
    }

    /// Scans a whole segment from `offset`, where a frame begins.
    pub fn scan(self, segment: &[u8], offset: u64) -> Scan {
        let mut scan = Scan { end: offset, ..Scan::default() };
        loop {
            let start = usize::try_from(scan.end).unwrap_or(usize::MAX);
            let Some(rest) = segment.get(start..).filter(|rest| !rest.is_empty()) else {
                return scan;
            };
            match self.read(scan.end, rest) {
                Frame::Whole { end, .. } => (scan.records, scan.end) = (scan.records + 1, end),
                Frame::Cut { .. } => {
                    scan.torn = rest.len() as u64;
                    return scan;
                }
                // After a crash a file may have its new length, but zeros instead of the bytes.
                Frame::Damaged if rest.iter().all(|byte| *byte == 0) => {
                    scan.torn = rest.len() as u64;
                    return scan;
                }
                Frame::Damaged => {
                    let skipped = self.find(scan.end, rest).unwrap_or(rest.len()) as u64;
                    scan.damaged.push(scan.end..scan.end + skipped);
                    scan.end += skipped;
                }
            }
        }
    }

    fn sum(self, offset: u64, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        hasher.update(&offset.to_le_bytes());
        hasher.update(bytes);
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEAL: Seal = Seal(7);
    const HEADER: usize = 5;

    /// Three records behind a header, and where each of them begins and the last one ends.
    fn segment() -> (Vec<u8>, [usize; 4]) {
        let mut bytes = vec![0; HEADER];
        let mut starts = [HEADER; 4];
        for (n, body) in [&b"first"[..], b"", b"the third"].into_iter().enumerate() {
            SEAL.write(bytes.len() as u64, body, &mut bytes);
            starts[n + 1] = bytes.len();
        }
        (bytes, starts)
    }

    fn scan(bytes: &[u8]) -> Scan {
        SEAL.scan(bytes, HEADER as u64)
    }

    #[test]
    fn what_was_written_reads_back() {
        let (bytes, starts) = segment();
        let end = starts[1] as u64;
        let body = &b"first"[..];
        assert_eq!(SEAL.read(HEADER as u64, &bytes[HEADER..]), Frame::Whole { body, end });
        assert_eq!(scan(&bytes), Scan { records: 3, end: starts[3] as u64, ..Scan::default() });
    }

    #[test]
    fn cut_at_every_byte_a_segment_keeps_every_record_before_the_cut() {
        let (bytes, starts) = segment();
        for cut in HEADER..=bytes.len() {
            let records = starts[1..].iter().filter(|end| **end <= cut).count();
            let end = starts[records] as u64;
            let expected =
                Scan { records: records as u64, end, torn: cut as u64 - end, damaged: vec![] };
            assert_eq!(scan(&bytes[..cut]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_costs_the_record_that_it_is_in_and_no_other() {
        let (bytes, starts) = segment();
        for bit in HEADER * 8..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let hit = starts.windows(2).find(|frame| (frame[0]..frame[1]).contains(&(bit / 8)));
            let [start, end] = hit.unwrap() else { unreachable!() };
            let scan = scan(&bytes);
            assert_eq!(scan.records, 2, "bit {bit}");
            let damaged = *start as u64..*end as u64;
            assert_eq!(scan.damaged.as_slice(), std::slice::from_ref(&damaged), "bit {bit}");
            assert_eq!(scan.torn, 0, "bit {bit}");
        }
    }

    #[test]
    fn a_frame_at_another_offset_or_of_another_segment_is_damage() {
        let (bytes, _) = segment();
        assert_eq!(SEAL.read(HEADER as u64 + 1, &bytes[HEADER..]), Frame::Damaged);
        assert_eq!(Seal(8).read(HEADER as u64, &bytes[HEADER..]), Frame::Damaged);
    }

    #[test]
    fn zeros_at_the_end_are_a_torn_write() {
        let (mut bytes, starts) = segment();
        bytes.extend([0; 100]);
        let expected = Scan { records: 3, end: starts[3] as u64, torn: 100, ..Scan::default() };
        assert_eq!(scan(&bytes), expected);
    }

    #[test]
    fn a_scan_from_behind_the_end_finds_nothing() {
        let (bytes, _) = segment();
        assert_eq!(SEAL.scan(&bytes, 1_000), Scan { end: 1_000, ..Scan::default() });
    }
}
