//! A frame as one line of text, in the words of tcpdump(8): addresses, protocol, and what pings and TCP say.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Returns a frame in words.
pub fn line(frame: &[u8]) -> String {
    let mut text = String::new();
    let Some(mut kind) = number(frame, 12) else {
        return format!("{} bytes, too short for Ethernet", frame.len());
    };
    let mut at = 14;
    // Tags of 802.1Q and 802.1ad.
    while let (0x8100 | 0x88a8, Some(tag), Some(next)) = (kind, number(frame, at), number(frame, at + 2)) {
        // Writing to a `String` cannot fail; here and below.
        let _ = write!(text, "vlan {}, ", tag & 0xfff);
        (kind, at) = (next, at + 4);
    }
    let inner = frame.get(at..).unwrap_or_default();
    let length = inner.len();
    let words = match kind {
        0x0800 => ipv4(inner),
        0x0806 => arp(inner),
        0x86dd => ipv6(inner),
        kind if kind < 0x600 => Some("IEEE 802.3 frame, e.g. of spanning tree".to_owned()),
        _ => None,
    };
    text + &words.unwrap_or_else(|| format!("type 0x{kind:04x}, length {length}"))
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(octets.into())
}

/// RFC 826.
fn arp(packet: &[u8]) -> Option<String> {
    let (sender, target) = (address(packet, 14)?, address(packet, 24)?);
    match number(packet, 6)? {
        1 => Some(format!("ARP, who has {target}, asked by {sender}")),
        2 => {
            let mac: Vec<String> = packet.get(8..14)?.iter().map(|byte| format!("{byte:02x}")).collect();
            Some(format!("ARP, {sender} is at {}", mac.join(":")))
        }
        other => Some(format!("ARP, operation {other}")),
    }
}

/// RFC 791.
fn ipv4(packet: &[u8]) -> Option<String> {
    let header = usize::from(packet.first()? & 15) * 4;
    let (from, to) = (address(packet, 12)?, address(packet, 16)?);
    let total = usize::from(number(packet, 2)?);
    let offset = (number(packet, 6)? & 0x1fff) * 8;
    let protocol = *packet.get(9)?;
    if offset > 0 {
        return Some(format!(
            "IP {from} > {to}: fragment at {offset}, length {}",
            total.saturating_sub(header)
        ));
    }
    let inner = packet.get(header..).unwrap_or_default();
    Some(transport(
        protocol,
        &from.to_string(),
        &to.to_string(),
        inner,
        total.saturating_sub(header),
    ))
}

/// RFC 8200, without extension headers.
fn ipv6(packet: &[u8]) -> Option<String> {
    let address = |at: usize| -> Option<Ipv6Addr> {
        let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(octets.into())
    };
    let (from, to) = (address(8)?, address(24)?);
    let length = usize::from(number(packet, 4)?);
    let words = transport(
        *packet.get(6)?,
        &from.to_string(),
        &to.to_string(),
        packet.get(40..)?,
        length,
    );
    Some(words.replacen("IP ", "IP6 ", 1))
}

fn transport(protocol: u8, from: &str, to: &str, inner: &[u8], length: usize) -> String {
    let ports = || Some((number(inner, 0)?, number(inner, 2)?));
    let words = match protocol {
        1 => icmp(inner, length).map(|words| format!("IP {from} > {to}: {words}")),
        6 => ports().map(|(source, target)| {
            let header = usize::from(inner.get(12).copied().unwrap_or_default() >> 4) * 4;
            let flags = inner.get(13).copied().unwrap_or_default();
            let names = [(2, "S"), (1, "F"), (4, "R"), (8, "P"), (16, ".")];
            let flags: String = names
                .iter()
                .filter(|(bit, _)| flags & bit != 0)
                .map(|(_, name)| *name)
                .collect();
            format!(
                "IP {from}.{source} > {to}.{target}: TCP [{flags}], length {}",
                length.saturating_sub(header)
            )
        }),
        17 => ports().map(|(source, target)| {
            format!(
                "IP {from}.{source} > {to}.{target}: UDP, length {}",
                length.saturating_sub(8)
            )
        }),
        47 => Some(format!("IP {from} > {to}: GRE, length {length}")),
        58 => Some(format!("IP {from} > {to}: ICMP6, length {length}")),
        _ => None,
    };
    words.unwrap_or_else(|| format!("IP {from} > {to}: protocol {protocol}, length {length}"))
}

/// RFC 792.
fn icmp(packet: &[u8], length: usize) -> Option<String> {
    let name = match packet.first()? {
        8 => "echo request",
        0 => "echo reply",
        3 => return Some(format!("ICMP unreachable, code {}, length {length}", packet.get(1)?)),
        11 => return Some(format!("ICMP time exceeded, length {length}")),
        other => return Some(format!("ICMP type {other}, length {length}")),
    };
    let (id, sequence) = (number(packet, 4)?, number(packet, 6)?);
    Some(format!("ICMP {name}, id {id}, seq {sequence}, length {length}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An Ethernet frame of this type.
    fn frame(kind: u16, inner: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(kind.to_be_bytes());
        frame.extend(inner);
        frame
    }

    fn ip(protocol: u8, inner: &[u8]) -> Vec<u8> {
        let total = u8::try_from(20 + inner.len()).unwrap();
        let mut packet = vec![
            0x45, 0, 0, total, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 1, 2, 10, 0, 1, 3,
        ];
        packet.extend(inner);
        packet
    }

    #[test]
    fn frames_are_named_by_what_they_carry() {
        let ping = ip(1, &[8, 0, 0, 0, 0, 7, 0, 1, 1, 2, 3, 4]);
        let text = "IP 10.0.1.2 > 10.0.1.3: ICMP echo request, id 7, seq 1, length 12";
        assert_eq!(line(&frame(0x0800, &ping)), text);
        let mut tagged = vec![0, 10, 8, 0];
        tagged.extend(&ping);
        assert_eq!(line(&frame(0x8100, &tagged)), format!("vlan 10, {text}"));
        let mut syn = vec![0x30, 0x39, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2];
        syn.resize(20, 0);
        assert_eq!(
            line(&frame(0x0800, &ip(6, &syn))),
            "IP 10.0.1.2.12345 > 10.0.1.3.80: TCP [S], length 0"
        );
        let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0, 0, 0, 1, 10, 0, 1, 2];
        arp.extend([0; 6]);
        arp.extend([10, 0, 1, 3]);
        assert_eq!(line(&frame(0x0806, &arp)), "ARP, who has 10.0.1.3, asked by 10.0.1.2");
        assert_eq!(line(&frame(0x88cc, &[0; 4])), "type 0x88cc, length 4");
    }

    #[test]
    fn a_frame_that_is_cut_off_anywhere_is_no_panic() {
        let whole = frame(0x0800, &ip(6, &[0; 20]));
        for end in 0..whole.len() {
            assert!(!line(&whole[..end]).is_empty());
        }
    }
}
