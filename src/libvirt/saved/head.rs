//! The head of a file in which libvirt's QEMU driver has saved a domain: a header, the domain's XML, and what libvirt keeps
//! beside it (the cookie). QEMU's own stream follows. libvirt refuses to restore a domain under another name; with
//! another domain's XML in its head the same stream starts that domain.
//!
//! Layout: libvirt's src/qemu/qemu_saveimage.h, `struct _virQEMUSaveHeader`.

use std::io::{self, Read};

const MAGIC: &[u8] = b"LibvirtQemudSave";
/// The version whose header has a cookie; in the byte order of the host.
const VERSION: u32 = 2;
/// Bytes of the header: the magic, five numbers and 14 unused ones.
const HEADER: usize = 16 + (5 + 14) * 4;
/// More than the XML of any domain.
const MOST: u32 = 16 << 20;

/// A head that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// How libvirt compressed the stream.
    compressed: u32,
    /// With its end mark.
    cookie: Vec<u8>,
    /// Bytes of the head: QEMU's stream begins behind it.
    pub length: u64,
}

impl Head {
    /// Reads the head at the start of `file`.
    pub fn read(file: &mut impl Read) -> io::Result<Self> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let mut header = [0; HEADER];
        file.read_exact(&mut header)?;
        let numbers = header.get(MAGIC.len()..).unwrap_or_default().chunks_exact(4);
        let numbers: Vec<u32> = numbers
            .filter_map(|four| four.try_into().ok().map(u32::from_ne_bytes))
            .collect();
        let [version, data_len, _was_running, compressed, cookie_at, ..] = numbers[..] else {
            return Err(invalid("its header is too short"));
        };
        if !header.starts_with(MAGIC) || version != VERSION {
            return Err(invalid("it is not a domain that this libvirt has saved"));
        }
        if data_len > MOST || cookie_at > data_len {
            return Err(invalid("its header has impossible lengths"));
        }
        let mut data = vec![0; data_len as usize];
        file.read_exact(&mut data)?;
        let cookie = match cookie_at {
            0 => Vec::new(),
            at => {
                let text = data.get(at as usize..).unwrap_or_default();
                let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
                [text, &[0]].concat()
            }
        };
        Ok(Self {
            compressed,
            cookie,
            length: (HEADER as u64) + u64::from(data_len),
        })
    }

    /// Returns the head with `xml` as the domain's.
    pub fn with(&self, xml: &str) -> io::Result<Vec<u8>> {
        let mut data = [xml.as_bytes(), &[0]].concat();
        let cookie_at = if self.cookie.is_empty() { 0 } else { data.len() };
        data.extend_from_slice(&self.cookie);
        let number = |length: usize| u32::try_from(length).map_err(io::Error::other);
        // Restored paused, whatever the header says.
        let numbers = [VERSION, number(data.len())?, 0, self.compressed, number(cookie_at)?];
        let mut head = MAGIC.to_vec();
        head.extend(numbers.iter().flat_map(|number| number.to_ne_bytes()));
        head.resize(HEADER, 0);
        head.extend_from_slice(&data);
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(data: &[u8]) -> u32 {
        data.len().try_into().unwrap()
    }

    /// A head as libvirt 9.0 writes one: padding after the XML and after the cookie.
    fn saved(xml: &str, cookie: &str) -> Vec<u8> {
        let mut data = [xml.as_bytes(), &[0]].concat();
        let cookie_at = if cookie.is_empty() { 0 } else { length(&data) };
        data.extend_from_slice(cookie.as_bytes());
        data.resize(data.len() + 1000, 0);
        let mut head = MAGIC.to_vec();
        for number in [2, length(&data), 1, 3, cookie_at] {
            head.extend(number.to_ne_bytes());
        }
        head.resize(HEADER, 0);
        [head, data].concat()
    }

    #[test]
    fn the_xml_of_another_domain_replaces_the_saved_one_and_the_rest_stays() {
        let file = [saved("<domain>one</domain>", "<cookie/>"), b"stream".to_vec()].concat();
        let head = Head::read(&mut &file[..]).unwrap();
        let length = usize::try_from(head.length).unwrap();
        assert_eq!(&file[length..], b"stream");
        let written = head.with("<domain>another, longer</domain>").unwrap();
        let again = Head::read(&mut &written[..]).unwrap();
        assert_eq!((again.compressed, &again.cookie), (3, &b"<cookie/>\0".to_vec()));
        assert_eq!(again.length, written.len() as u64);
        let text = String::from_utf8_lossy(&written);
        assert!(text.contains("<domain>another, longer</domain>\0<cookie/>\0"), "{text}");
        assert!(!text.contains("one"));
    }

    #[test]
    fn a_head_without_a_cookie_is_written_without_one() {
        let head = Head::read(&mut &saved("<domain/>", "")[..]).unwrap();
        assert_eq!(head.cookie, b"");
        let written = head.with("<domain/>").unwrap();
        assert_eq!(Head::read(&mut &written[..]).unwrap().cookie, b"");
    }

    #[test]
    fn what_is_no_saved_domain_is_an_error() {
        let good = saved("<domain/>", "<cookie/>");
        let mut other_version = good.clone();
        other_version[16] = 9;
        let mut impossible = good.clone();
        impossible[20..24].copy_from_slice(&u32::MAX.to_ne_bytes());
        for bad in [
            &good[..40],
            &good[..200],
            b"".as_slice(),
            &[0; 4096],
            &other_version,
            &impossible,
        ] {
            assert!(Head::read(&mut &bad[..]).is_err());
        }
    }
}
