//! Reads a pcap file (pcap-savefile(5)) while it is written.

use std::io::{self, ErrorKind, Read};

/// A captured frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// When, in nanoseconds since 1970-01-01 00:00 UTC.
    pub time: u64,
    /// Its length on the link, in bytes; the capture may have less of it.
    pub length: u32,
    /// Its bytes, from the Ethernet header on.
    pub bytes: Vec<u8>,
}

/// The longest frame that is read; a longer one is a mistake of the file.
const LONGEST: u32 = 1 << 20;

/// A pcap file that is read frame by frame.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    swapped: bool,
    nanoseconds: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the header; none where the file ends before it.
    pub fn open(mut input: R) -> io::Result<Option<Self>> {
        let mut header = [0; 24];
        match input.read_exact(&mut header) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let magic = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let (swapped, nanoseconds) = match magic {
            0xa1b2_c3d4 => (false, false),
            0xa1b2_3c4d => (false, true),
            0xd4c3_b2a1 => (true, false),
            0x4d3c_b2a1 => (true, true),
            _ => return Err(io::Error::new(ErrorKind::InvalidData, "not a pcap file")),
        };
        Ok(Some(Self {
            input,
            swapped,
            nanoseconds,
        }))
    }

    /// Returns the next frame; none at the end, also where the last one is cut off.
    pub fn read(&mut self) -> io::Result<Option<Packet>> {
        let mut header = [0; 16];
        if !self.whole(&mut header)? {
            return Ok(None);
        }
        let number = |at: usize| {
            let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
            if self.swapped {
                u32::from_be_bytes(bytes)
            } else {
                u32::from_le_bytes(bytes)
            }
        };
        let (seconds, part, kept, length) = (number(0), number(4), number(8), number(12));
        if kept > LONGEST {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "a frame of a pcap file is too long",
            ));
        }
        let part = u64::from(part) * if self.nanoseconds { 1 } else { 1000 };
        let mut bytes = vec![0; kept as usize];
        if !self.whole(&mut bytes)? {
            return Ok(None);
        }
        Ok(Some(Packet {
            time: u64::from(seconds) * 1_000_000_000 + part,
            length,
            bytes,
        }))
    }

    fn whole(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        match self.input.read_exact(buffer) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(endless: fn(u32) -> [u8; 4], short: fn(u16) -> [u8; 2], magic: u32, part: u32) -> Vec<u8> {
        let mut file = endless(magic).to_vec();
        file.extend(short(2).into_iter().chain(short(4)));
        file.extend([0, 0, 262_144, 1].into_iter().flat_map(endless));
        file.extend([5, part, 3, 60].into_iter().flat_map(endless));
        file.extend([7, 8, 9]);
        file
    }

    #[test]
    fn files_of_both_byte_orders_and_precisions_are_read_to_their_last_whole_frame() {
        let micro = file(u32::to_le_bytes, u16::to_le_bytes, 0xa1b2_c3d4, 6);
        let nano = file(u32::to_be_bytes, u16::to_be_bytes, 0xa1b2_3c4d, 6000);
        for mut bytes in [micro, nano] {
            bytes.extend([1, 2, 3]); // a frame that is cut off
            let mut reader = Reader::open(&bytes[..]).unwrap().unwrap();
            let packet = reader.read().unwrap().unwrap();
            assert_eq!(packet.time, 5_000_006_000);
            assert_eq!((packet.length, packet.bytes), (60, vec![7, 8, 9]));
            assert_eq!(reader.read().unwrap(), None);
        }
        assert!(Reader::open(&b""[..]).unwrap().is_none());
        assert!(Reader::open(&[0; 24][..]).is_err());
    }
}
