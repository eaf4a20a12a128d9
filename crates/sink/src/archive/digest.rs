//! The digest of the records of a range: of their own digests in order. A range that was merged of others
//! has the digest of theirs, so that the same records read again can be compared with it.

use std::fmt;

use lapwing_event::archive::META_MERGED_OF;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// A range that became part of a merged one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Its records.
    pub(super) records: u64,
    /// Their digest.
    pub(super) digest: String,
}

/// The parts of a merged range.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parts(pub(super) Vec<Part>);

impl Parts {
    /// Reads what [`META_MERGED_OF`] holds; `None` if it is not that.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let part = |text: &str| {
            let (records, digest) = text.split_once(':')?;
            Some(Part { records: records.parse().ok()?, digest: digest.to_owned() })
        };
        text.split(',').map(part).collect::<Option<_>>().map(Self)
    }

    /// The digest of all of them.
    pub(super) fn digest(&self) -> String {
        format!("{:032x}", xxh3_128(self.to_string().as_bytes()))
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Part { records, digest }) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{records}:{digest}")?;
        }
        Ok(())
    }
}

/// A digest that is being made.
pub(super) struct RangeDigest {
    hash: Xxh3,
    /// Records in `hash`.
    records: u64,
    /// The ends of the parts that are still to come, as numbers of records, the next one last.
    ahead: Vec<u64>,
    done: Parts,
}

impl RangeDigest {
    /// That of a range, which may have been merged of parts.
    pub(super) fn new(parts: Option<&Parts>) -> Self {
        let ahead = parts.map(|parts| parts.0.iter().rev().map(|part| part.records).collect());
        Self {
            hash: Xxh3::new(),
            records: 0,
            ahead: ahead.unwrap_or_default(),
            done: Parts::default(),
        }
    }

    /// Takes the digests of the next records.
    pub(super) fn update(&mut self, mut digests: &[u64]) {
        while let Some(rest) = self.ahead.last().map(|records| records - self.records) {
            let Some((part, others)) = digests.split_at_checked(rest as usize) else { break };
            self.take(part);
            self.end_part();
            self.ahead.pop();
            digests = others;
        }
        self.take(digests);
    }

    fn take(&mut self, digests: &[u64]) {
        self.records += digests.len() as u64;
        // At most 4 KiB at a time.
        for chunk in digests.chunks(512) {
            let mut bytes = [0; 512 * 8];
            for (to, digest) in bytes.chunks_exact_mut(8).zip(chunk) {
                to.copy_from_slice(&digest.to_le_bytes());
            }
            self.hash.update(&bytes[..chunk.len() * 8]);
        }
    }

    fn end_part(&mut self) {
        let digest = format!("{:032x}", self.hash.digest128());
        self.done.0.push(Part { records: self.records, digest });
        (self.hash, self.records) = (Xxh3::new(), 0);
    }

    /// The digest, and what [`META_MERGED_OF`] is to hold.
    pub(super) fn finish(mut self) -> (String, Option<(&'static str, String)>) {
        if self.done.0.is_empty() {
            return (format!("{:032x}", self.hash.digest128()), None);
        }
        if self.records > 0 {
            self.end_part();
        }
        (self.done.digest(), Some((META_MERGED_OF, self.done.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_of(digests: &[u64]) -> String {
        let mut digest = RangeDigest::new(None);
        digest.update(digests);
        digest.finish().0
    }

    #[test]
    fn a_merged_range_has_the_digest_of_its_parts_however_its_records_come() {
        let digests: Vec<u64> = (0..2000).map(|i| i * 0x9e37_79b9).collect();
        let part = |rows: std::ops::Range<usize>| Part {
            records: rows.len() as u64,
            digest: digest_of(&digests[rows]),
        };
        let parts = Parts(vec![part(0..1), part(1..700), part(700..2000)]);
        assert_eq!(Parts::parse(&parts.to_string()), Some(parts.clone()));
        for cut in [1, 3, 699, 2000] {
            let mut digest = RangeDigest::new(Some(&parts));
            digests.chunks(cut).for_each(|digests| digest.update(digests));
            let (found, text) = digest.finish();
            assert_eq!((found, text), (parts.digest(), Some((META_MERGED_OF, parts.to_string()))));
        }
        let mut other = RangeDigest::new(Some(&parts));
        other.update(&digests[..1999]);
        assert_ne!(other.finish().0, parts.digest());
    }
}
