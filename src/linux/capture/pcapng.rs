//! Writes a pcapng file (draft-ietf-opsawg-pcapng) with an interface for each place where frames were captured, as Wireshark
//! and tcpdump read it.

use std::io::{self, Write};

use super::pcap::Packet;

/// Ethernet (LINKTYPE_ETHERNET).
const ETHERNET: u16 = 1;
/// Bytes of a frame at most.
const LONGEST: u32 = 262_144;

/// A file that is written frame by frame.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
}

impl<W: Write> Writer<W> {
    /// Begins a file with these interfaces, which frames refer to by their index: name and description of each.
    pub fn begin(output: W, interfaces: &[(String, String)]) -> io::Result<Self> {
        let mut writer = Self { output };
        // Section header: byte order, version 1.0, length unknown.
        let mut body = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
        body.extend([1, 0, 0, 0]);
        body.extend((-1_i64).to_le_bytes());
        option(&mut body, 4, concat!("netlab ", env!("CARGO_PKG_VERSION")).as_bytes());
        body.extend([0; 4]);
        writer.block(0x0a0d_0d0a, &body)?;
        for (name, description) in interfaces {
            let mut body = ETHERNET.to_le_bytes().to_vec();
            body.extend([0, 0]);
            body.extend(LONGEST.to_le_bytes());
            option(&mut body, 2, name.as_bytes());
            option(&mut body, 3, description.as_bytes());
            // Times are in nanoseconds.
            option(&mut body, 9, &[9]);
            body.extend([0; 4]);
            writer.block(1, &body)?;
        }
        writer.output.flush()?;
        Ok(writer)
    }

    /// Adds a frame that was captured at interface `at`.
    pub fn add(&mut self, at: u32, packet: &Packet) -> io::Result<()> {
        let [high, low] = [packet.time >> 32, packet.time & 0xffff_ffff];
        let kept = u32::try_from(packet.bytes.len()).unwrap_or(u32::MAX);
        let mut body = at.to_le_bytes().to_vec();
        for part in [high, low] {
            body.extend(u32::try_from(part).unwrap_or(u32::MAX).to_le_bytes());
        }
        body.extend(kept.to_le_bytes());
        body.extend(packet.length.to_le_bytes());
        body.extend(&packet.bytes);
        body.resize(body.len().next_multiple_of(4), 0);
        self.block(6, &body)?;
        // A reader behind a pipe shows frames as they come.
        self.output.flush()
    }

    /// Writes a block, whose body is a multiple of four bytes.
    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len() + 12).unwrap_or(u32::MAX).to_le_bytes();
        let parts: [&[u8]; 4] = [&kind.to_le_bytes(), &length, body, &length];
        self.output.write_all(&parts.concat())
    }
}

/// Adds an option with its padding.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(1000)];
    body.extend(code.to_le_bytes());
    body.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn a_file_has_a_header_an_interface_for_each_place_and_the_frames_in_whole_blocks() {
        let places = [
            ("vm1".to_owned(), "the tap".to_owned()),
            ("eth0".to_owned(), String::new()),
        ];
        let mut file = Vec::new();
        let mut writer = Writer::begin(&mut file, &places).unwrap();
        let packet = Packet {
            time: 1_700_000_000_123_456_789,
            length: 60,
            bytes: vec![1, 2, 3, 4, 5],
        };
        writer.add(1, &packet).unwrap();

        let (mut at, mut kinds) = (0, Vec::new());
        while at < file.len() {
            let length = number(&file, at + 4) as usize;
            assert_eq!(length % 4, 0);
            assert_eq!(
                number(&file, at + length - 4) as usize,
                length,
                "the length is repeated"
            );
            kinds.push((number(&file, at), at));
            at += length;
        }
        let types: Vec<u32> = kinds.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(types, [0x0a0d_0d0a, 1, 1, 6]);
        let (_, frame) = kinds[3];
        assert_eq!(number(&file, frame + 8), 1, "the interface");
        let time = u64::from(number(&file, frame + 12)) << 32 | u64::from(number(&file, frame + 16));
        assert_eq!(time, packet.time);
        assert_eq!((number(&file, frame + 20), number(&file, frame + 24)), (5, 60));
        assert_eq!(file[frame + 28..frame + 36], [1, 2, 3, 4, 5, 0, 0, 0]);
        assert!(file.windows(3).any(|window| window == b"vm1"));
    }
}
