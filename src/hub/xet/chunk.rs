//! Chunks as stored in a xorb: a header of 8 bytes, then the packed bytes. The format is in `xorb_chunk_format.rs` and
//! `compression_scheme.rs` of `huggingface/xet-core`.

use std::io::Read;

use lz4_flex::frame::FrameDecoder;

use crate::http::network;
use crate::retry::Failure;

/// Bytes of a chunk's header.
pub(super) const HEADER: usize = 8;
/// The most bytes of a chunk, packed or not: twice what the format allows a chunk.
const MAX_CHUNK: usize = 256 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Plain,
    Lz4,
    /// All first bytes of groups of four, then all second ones, and so on; then LZ4. For numbers.
    Grouped,
}

/// A chunk's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    scheme: Scheme,
    /// Bytes that follow.
    pub packed: usize,
    /// Bytes after unpacking.
    pub unpacked: usize,
}

impl Header {
    /// Version, packed bytes (3, little endian), scheme, unpacked bytes (3).
    pub fn parse(bytes: [u8; HEADER]) -> Result<Header, Failure> {
        let [version, p0, p1, p2, scheme, u0, u1, u2] = bytes;
        let length = |a, b, c| u32::from_le_bytes([a, b, c, 0]) as usize;
        let (packed, unpacked) = (length(p0, p1, p2), length(u0, u1, u2));
        let scheme = match (version, scheme) {
            (0, 0) => Scheme::Plain,
            (0, 1) => Scheme::Lz4,
            (0, 2) => Scheme::Grouped,
            _ => return Err(network(format!("a chunk of version {version}, scheme {scheme}: unknown")).into()),
        };
        let fits = (1..=MAX_CHUNK).contains(&packed) && (1..=MAX_CHUNK).contains(&unpacked);
        match fits && (scheme != Scheme::Plain || packed == unpacked) {
            true => Ok(Header { scheme, packed, unpacked }),
            false => Err(damaged(format!("{packed} bytes for {unpacked}"))),
        }
    }
}

/// Unpacks chunks one after the other, in memory that it keeps: chunks are so large that new memory for each would cost
/// more than unpacking.
#[derive(Default)]
pub(super) struct Unpacker {
    packed: Vec<u8>,
    grouped: Vec<u8>,
}

impl Unpacker {
    /// Where the packed bytes of the next chunk belong.
    pub fn room(&mut self, header: &Header) -> &mut [u8] {
        self.packed.resize(header.packed, 0);
        &mut self.packed
    }

    /// Replaces `bytes` by those of the chunk.
    pub fn unpack(&mut self, header: &Header, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        match header.scheme {
            Scheme::Plain => std::mem::swap(bytes, &mut self.packed),
            Scheme::Lz4 => decompress(&self.packed, header.unpacked, bytes)?,
            Scheme::Grouped => {
                decompress(&self.packed, header.unpacked, &mut self.grouped)?;
                ungroup(&self.grouped, bytes);
            }
        }
        Ok(())
    }
}

/// One frame of so many bytes, which replace `bytes`.
fn decompress(frame: &[u8], length: usize, bytes: &mut Vec<u8>) -> Result<(), Failure> {
    bytes.clear();
    bytes.reserve(length + 1);
    // One more, to see a chunk that is too long.
    let mut decoder = FrameDecoder::new(frame).take(length as u64 + 1);
    decoder.read_to_end(bytes).map_err(|e| damaged(e.to_string()))?;
    match bytes.len() == length {
        true => Ok(()),
        false => Err(damaged(format!("{} bytes or more instead of {length}", bytes.len()))),
    }
}

fn damaged(what: String) -> Failure {
    Failure::transient(network(format!("a damaged chunk: {what}")))
}

fn ungroup(grouped: &[u8], bytes: &mut Vec<u8>) {
    bytes.resize(grouped.len(), 0);
    let mut rest = grouped;
    for first in 0..4 {
        let (group, others) = rest.split_at((grouped.len() + 3 - first) / 4);
        rest = others;
        for (byte, from) in bytes.iter_mut().skip(first).step_by(4).zip(group) {
            *byte = *from;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lz4(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn header(scheme: u8, packed: usize, unpacked: usize) -> Result<Header, Failure> {
        let (p, u) = (packed.to_le_bytes(), unpacked.to_le_bytes());
        Header::parse([0, p[0], p[1], p[2], scheme, u[0], u[1], u[2]])
    }

    fn unpack(unpacker: &mut Unpacker, header: &Header, packed: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut bytes = vec![9; 10];
        unpacker.room(header).copy_from_slice(packed);
        unpacker.unpack(header, &mut bytes).map(|()| bytes)
    }

    #[test]
    fn bytes_come_back_in_all_schemes() {
        let mut bytes = Vec::new();
        ungroup(&[0, 4, 8, 1, 5, 2, 6, 3, 7], &mut bytes);
        assert_eq!(bytes, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let mut unpacker = Unpacker::default();
        for n in [131_072, 1usize, 2, 3, 4, 5, 1000, 131_072, 70_001] {
            let bytes: Vec<u8> = (0..n).map(|i| (i * 7 / 5) as u8).collect();
            let grouped: Vec<u8> = (0..4).flat_map(|g| bytes.iter().skip(g).step_by(4).copied()).collect();
            for (scheme, packed) in [(0, bytes.clone()), (1, lz4(&bytes)), (2, lz4(&grouped))] {
                let header = header(scheme, packed.len(), n).unwrap();
                assert!(unpack(&mut unpacker, &header, &packed).unwrap() == bytes, "{n} bytes, scheme {scheme}");
            }
        }
    }

    #[test]
    fn lengths_must_be_right_and_bounded() {
        let packed = lz4(&[7; 1000]);
        for wrong in [999, 1001] {
            let header = header(1, packed.len(), wrong).unwrap();
            assert!(unpack(&mut Unpacker::default(), &header, &packed).unwrap_err().transient);
        }
        let cut = &packed[..packed.len() / 2];
        assert!(unpack(&mut Unpacker::default(), &header(1, cut.len(), 1000).unwrap(), cut).is_err());
        for (packed, unpacked) in [(0, 1), (1, 0), (MAX_CHUNK + 1, 1), (1, MAX_CHUNK + 1)] {
            assert!(header(1, packed, unpacked).is_err(), "{packed} {unpacked}");
        }
        assert!(header(0, 5, 6).is_err());
    }

    #[test]
    fn what_is_unknown_is_not_tried_again() {
        assert!(!Header::parse([1, 1, 0, 0, 0, 1, 0, 0]).unwrap_err().transient);
        assert!(!header(3, 1, 1).unwrap_err().transient);
    }
}
