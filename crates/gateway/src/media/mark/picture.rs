//! A text over a picture: decoded, drawn on, and encoded in the same format.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{
    DynamicImage, ImageDecoder, ImageEncoder, ImageError, ImageFormat, ImageReader, Limits,
};

use super::super::MediaError;
use super::Stamp;
use super::later;

/// Most pixels of a picture, 64 million: a quarter of a gigabyte while it is drawn on.
pub(super) const PIXELS_MAX: u64 = 64_000_000;

/// Most memory that a decoder takes beside the picture, in bytes.
const DECODER_BYTES_MAX: u64 = 1 << 30;

/// Quality of a JPEG that is encoded again, of 100: the loss cannot be seen.
const JPEG_QUALITY: u8 = 95;

/// Reads a picture from one file and writes it with the text to another. Takes a while.
pub(super) fn mark(from: &Path, to: &Path, extension: &str, text: &str) -> Result<(), MediaError> {
    let format = ImageFormat::from_extension(extension);
    let format = format.ok_or_else(|| MediaError::Never("no such format".to_owned()))?;
    let file = File::open(from).map_err(|error| later(&error))?;
    let mut reader = ImageReader::with_format(BufReader::new(file), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODER_BYTES_MAX);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| unreadable(&error))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > PIXELS_MAX {
        let message = format!("a picture of {width}×{height} pixels is too large to be marked");
        return Err(MediaError::Never(message));
    }
    let profile = decoder.icc_profile().unwrap_or(None);
    let orientation = decoder.orientation();
    let orientation = orientation.map_err(|error| unreadable(&error))?;
    let picture = DynamicImage::from_decoder(decoder);
    let mut picture = picture.map_err(|error| unreadable(&error))?;
    // What is written says nothing of a camera, so that it has to stand upright by itself.
    picture.apply_orientation(orientation);
    let picture = drawn(picture, text, format);
    let file = File::create_new(to).map_err(|error| later(&error))?;
    let mut file = BufWriter::new(file);
    encode(&picture, format, profile, &mut file).map_err(|error| later(&error))?;
    file.flush().map_err(|error| later(&error))
}

/// In eight bits a channel, with transparency where there was some.
fn drawn(picture: DynamicImage, text: &str, format: ImageFormat) -> DynamicImage {
    let has_alpha = picture.color().has_alpha() && format != ImageFormat::Jpeg;
    let stamp = Stamp::new(text, picture.width(), picture.height());
    if has_alpha {
        let mut picture = picture.into_rgba8();
        let width = picture.width();
        stamp.lay(&mut picture, width, 4);
        return picture.into();
    }
    let mut picture = picture.into_rgb8();
    let width = picture.width();
    stamp.lay(&mut picture, width, 3);
    picture.into()
}

fn encode(
    picture: &DynamicImage,
    format: ImageFormat,
    profile: Option<Vec<u8>>,
    to: &mut impl Write,
) -> Result<(), ImageError> {
    fn write(
        mut encoder: impl ImageEncoder,
        picture: &DynamicImage,
        profile: Option<Vec<u8>>,
    ) -> Result<(), ImageError> {
        if let Some(profile) = profile {
            // A format that has no place for one shows the colours as most screens do.
            let _ = encoder.set_icc_profile(profile);
        }
        let (width, height) = (picture.width(), picture.height());
        let colour = picture.color().into();
        encoder.write_image(picture.as_bytes(), width, height, colour)
    }
    match format {
        ImageFormat::Jpeg => {
            let encoder = JpegEncoder::new_with_quality(to, JPEG_QUALITY);
            write(encoder, picture, profile)
        }
        ImageFormat::WebP => write(WebPEncoder::new_lossless(to), picture, profile),
        _ => write(PngEncoder::new(to), picture, profile),
    }
}

/// A picture that cannot be decoded will not be better the next time.
fn unreadable(error: &ImageError) -> MediaError {
    match error {
        ImageError::IoError(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            later(error)
        }
        error => MediaError::Never(format!("the picture cannot be read: {error}")),
    }
}
