//! What a file for cloud-init is, by its first line, as cloud-init itself sees it (its documentation, "User-data formats").

use std::io::Read as _;

use crate::yaml;

/// First lines of a file, and the MIME type of such a one.
const TYPES: [(&str, &str); 8] = [
    ("#cloud-config-archive", "text/cloud-config-archive"),
    ("#cloud-config", "text/cloud-config"),
    ("#cloud-boothook", "text/cloud-boothook"),
    ("#part-handler", "text/part-handler"),
    ("#include-once", "text/x-include-once-url"),
    ("#include", "text/x-include-url"),
    ("## template: jinja", "text/jinja2"),
    ("#!", "text/x-shellscript"),
];
/// First bytes of a gzip file.
const GZIP: &[u8] = b"\x1f\x8b";

/// A kind of file that cloud-init reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserData {
    /// One of its own kinds: the MIME type.
    Part(&'static str),
    /// A MIME document, which begins with its headers.
    Mime,
}

impl UserData {
    /// Returns what `text` is, or nothing where cloud-init would ignore it.
    pub fn of(text: &str) -> Option<Self> {
        let line = text.lines().next().unwrap_or_default().trim_end();
        let part = TYPES.iter().find(|(begin, _)| match *begin {
            "#!" => line.starts_with("#!"),
            // cloud-init takes these with anything behind them; a slip in a cloud-config is better reported.
            "#cloud-config" => line == *begin,
            _ => line
                .strip_prefix(begin)
                .is_some_and(|rest| !rest.starts_with(|one: char| one.is_alphanumeric())),
        });
        if let Some((_, mime)) = part {
            return Some(Self::Part(mime));
        }
        let mut headers = text.lines().take_while(|line| !line.trim().is_empty());
        let is_mime = headers.any(|line| line.to_ascii_lowercase().starts_with("content-type: multipart/"));
        is_mime.then_some(Self::Mime)
    }
}

/// Returns the file's text, unpacked where it is compressed by gzip, and not longer than `most` bytes. The error is what
/// follows the file's name, and what to do.
pub(super) fn text(bytes: &[u8], most: u64) -> Result<String, (String, &'static str)> {
    let help = "correct the file; `cloud-init schema --config-file FILE` checks what its keys mean";
    let unpacked = if bytes.starts_with(GZIP) {
        let mut unpacked = Vec::new();
        let mut decoder = flate2::read::MultiGzDecoder::new(bytes).take(most + 1);
        decoder
            .read_to_end(&mut unpacked)
            .map_err(|error| (format!("it cannot be unpacked: {error}"), "compress it again with gzip"))?;
        if unpacked.len() as u64 > most {
            return Err((
                format!("it is larger than {} KiB once unpacked", most >> 10),
                "shorten it, or let it `#include` a URL",
            ));
        }
        unpacked
    } else {
        bytes.to_vec()
    };
    let text = String::from_utf8(unpacked).map_err(|_| ("it is not UTF-8 text".to_owned(), help))?;
    match UserData::of(&text) {
        None => Err((
            "it is nothing that cloud-init reads".to_owned(),
            "its first line is `#cloud-config`, and YAML follows; or `#!/bin/sh`, `#include`, `#cloud-config-archive`, \
             `#cloud-boothook`, `#part-handler`, `## template: jinja`, or the headers of a MIME document",
        )),
        Some(UserData::Part("text/cloud-config")) => match yaml::mapping(&text) {
            Ok(()) => Ok(text),
            Err(why) => Err((why, help)),
        },
        Some(_) => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_is_what_its_first_line_says() {
        let part = |mime| Some(UserData::Part(mime));
        for (text, wanted) in [
            ("#cloud-config\na: 1\n", part("text/cloud-config")),
            ("#cloud-config \r\na: 1\n", part("text/cloud-config")),
            ("#cloud-config-archive\n- {}\n", part("text/cloud-config-archive")),
            ("#!/bin/sh\nls\n", part("text/x-shellscript")),
            ("#include\nhttp://h/x\n", part("text/x-include-url")),
            ("#include-once\nhttp://h/x\n", part("text/x-include-once-url")),
            ("## template: jinja\n#cloud-config\n", part("text/jinja2")),
            ("#cloud-boothook\n#!/bin/sh\n", part("text/cloud-boothook")),
            (
                "MIME-Version: 1.0\nContent-type: multipart/mixed; boundary=\"b\"\n\n--b\n",
                Some(UserData::Mime),
            ),
            ("Content-Type: multipart/mixed; boundary=b\n\n", Some(UserData::Mime)),
            ("Hello\n\nContent-Type: multipart/mixed\n", None),
            ("#cloud-confg\n", None),
            ("# cloud-config\n", None),
            ("#includes\n", None),
            ("", None),
        ] {
            assert_eq!(UserData::of(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_gzip_file_is_unpacked_and_its_text_checked() {
        let packed = |text: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(
            text(&packed(b"#cloud-config\na: 1\n"), 100).unwrap(),
            "#cloud-config\na: 1\n"
        );
        let error = |bytes: &[u8]| text(bytes, 100).unwrap_err().0;
        assert!(error(&packed(&[b'#'; 200])).contains("larger"));
        assert!(error(&packed(b"#!/bin/sh\nls\n")[..15]).contains("unpacked"));
        assert!(error(&packed(b"\xff")).contains("UTF-8"));
        assert!(error(b"hello").contains("nothing that cloud-init reads"));
        assert!(error(b"#cloud-config\n- a\n").contains("mapping"));
    }
}
