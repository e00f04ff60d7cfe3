//! What the fuzz targets reach of this folder: what a start finds on disk, read and written again.

use super::journal;
use super::record::Record;

/// An environment's record, as it would be written again.
pub fn record(text: &[u8]) -> Option<Vec<u8>> {
    Some(Record::from_json(text).ok()?.to_json())
}

/// The first line of a journal's entry, as it would be written again.
pub fn entry(line: &[u8]) -> Option<Vec<u8>> {
    Some(journal::first_line(&journal::head(line).ok()?))
}
