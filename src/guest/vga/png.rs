//! Converts a screenshot to PNG: libvirt passes on what QEMU writes, which is PPM in most versions.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// The picture is neither PNG nor a PPM of 8 bits per color.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the screenshot is neither PNG nor PPM with 8 bits per color")]
pub struct PictureError;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Returns `picture`, a PNG or a PPM (`P6`, see ppm(5)), as PNG.
pub fn to_png(picture: Vec<u8>) -> Result<Vec<u8>, PictureError> {
    if picture.starts_with(SIGNATURE) {
        return Ok(picture);
    }
    let (width, height, pixels) = read_ppm(&picture).ok_or(PictureError)?;
    let mut image = ZlibEncoder::new(Vec::new(), Compression::default());
    for row in pixels.chunks_exact(width * 3).take(height) {
        // Filter 0: unfiltered bytes.
        image
            .write_all(&[0])
            .and_then(|()| image.write_all(row))
            .map_err(|_| PictureError)?;
    }
    let image = image.finish().map_err(|_| PictureError)?;
    let size = |length: usize| u32::try_from(length).map(u32::to_be_bytes).map_err(|_| PictureError);
    // 8 bits, RGB, and the only methods there are (PNG specification, 11.2.2).
    let header = [&size(width)?[..], &size(height)?, &[8, 2, 0, 0, 0]].concat();
    let mut png = SIGNATURE.to_vec();
    for (kind, content) in [(b"IHDR", &header[..]), (b"IDAT", &image), (b"IEND", &[])] {
        png.extend(size(content.len())?);
        let mut sum = flate2::Crc::new();
        for part in [&kind[..], content] {
            sum.update(part);
            png.extend(part);
        }
        png.extend(sum.sum().to_be_bytes());
    }
    Ok(png)
}

/// Returns width, height and pixels.
fn read_ppm(picture: &[u8]) -> Option<(usize, usize, &[u8])> {
    let mut rest = picture.strip_prefix(b"P6")?;
    let mut numbers = [0_usize; 3];
    for number in &mut numbers {
        while rest.first()?.is_ascii_whitespace() {
            rest = &rest[1..];
        }
        let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        *number = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        rest = &rest[digits..];
    }
    let [width, height, brightest] = numbers;
    let pixels = rest.get(1..)?;
    let fits = width > 0 && brightest == 255 && pixels.len() >= width.checked_mul(height)?.checked_mul(3)?;
    fits.then_some((width, height, pixels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ppm_becomes_a_png_with_the_same_pixels() {
        let ppm = b"P6\n2 1\n255\n\x01\x02\x03\xff\xfe\xfd".to_vec();
        let png = to_png(ppm).unwrap();
        assert_eq!(&png[..8], SIGNATURE);
        assert_eq!(&png[16..24], [0, 0, 0, 2, 0, 0, 0, 1]);
        let length = u32::from_be_bytes(png[33..37].try_into().unwrap()) as usize;
        let mut pixels = Vec::new();
        std::io::copy(&mut flate2::read::ZlibDecoder::new(&png[41..41 + length]), &mut pixels).unwrap();
        assert_eq!(pixels, [0, 1, 2, 3, 0xff, 0xfe, 0xfd]);
        assert_eq!(to_png(png.clone()).unwrap(), png);
    }

    #[test]
    fn anything_else_is_refused() {
        for picture in [
            &b""[..],
            b"P6",
            b"P5\n1 1\n255\nabc",
            b"P6\n2 2\n255\nabc",
            b"P6\n0 0\n255\n",
        ] {
            assert_eq!(to_png(picture.to_vec()), Err(PictureError));
        }
    }
}
