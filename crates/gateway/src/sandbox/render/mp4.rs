//! H.264 in an MP4 file: one track, its index before its pictures, so that players start at once.

use super::RenderError;
use super::size::Size;

/// Ticks of the track per second.
const TICKS_PER_SECOND: u32 = 12_288;

/// Ticks of the whole file's clock per second.
const MOVIE_TICKS_PER_SECOND: u32 = 1_000;

/// Kinds of NAL units that describe the stream.
const SEQUENCE_SET: u8 = 7;
const PICTURE_SET: u8 = 8;

/// Neither turned nor scaled.
const MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// A film in the making.
pub(crate) struct Film {
    size: Size,
    frames_per_second: u32,
    sequence_set: Vec<u8>,
    picture_set: Vec<u8>,
    /// Bytes of every frame.
    lengths: Vec<u32>,
    /// Numbers of the frames a player can start at, counted from 1.
    keys: Vec<u32>,
    frames: Vec<u8>,
}

impl Film {
    /// A film without frames.
    pub(crate) fn new(size: Size, frames_per_second: u32) -> Self {
        Self {
            size,
            frames_per_second,
            sequence_set: Vec::new(),
            picture_set: Vec::new(),
            lengths: Vec::new(),
            keys: Vec::new(),
            frames: Vec::new(),
        }
    }

    /// Adds a frame: its NAL units, each with the start code the encoder puts before it.
    pub(crate) fn push<'a>(
        &mut self,
        units: impl Iterator<Item = &'a [u8]>,
        is_key: bool,
    ) -> Result<(), RenderError> {
        let start = self.frames.len();
        for unit in units {
            let unit = without_start_code(unit);
            match unit.first().map(|first| first & 0x1f) {
                // They are the same every time and belong into the index.
                Some(SEQUENCE_SET) => self.sequence_set = unit.to_vec(),
                Some(PICTURE_SET) => self.picture_set = unit.to_vec(),
                Some(_) => {
                    self.frames.extend(length(unit.len())?.to_be_bytes());
                    self.frames.extend_from_slice(unit);
                }
                None => {}
            }
        }
        self.lengths.push(length(self.frames.len() - start)?);
        if is_key {
            self.keys.push(length(self.lengths.len())?);
        }
        Ok(())
    }

    /// The file.
    pub(crate) fn finish(self) -> Result<Vec<u8>, RenderError> {
        if self.sequence_set.len() < 4 || self.picture_set.is_empty() {
            return Err(RenderError::Encoder("no parameter sets".to_owned()));
        }
        let kinds: [&[u8]; 2] = [b"isom\0\0\x02\0", b"isomiso2avc1mp41"];
        let head = atom(b"ftyp", &kinds)?;
        // The index is as long whatever it says, so its own length tells where the frames begin.
        let index = self.index(0)?;
        let offset = length(head.len() + index.len() + 8)?;
        let index = self.index(offset)?;
        let body = atom(b"mdat", &[&self.frames])?;
        Ok([head, index, body].concat())
    }

    fn index(&self, offset: u32) -> Result<Vec<u8>, RenderError> {
        let frames = u64::try_from(self.lengths.len()).unwrap_or(u64::MAX);
        let rate = u64::from(self.frames_per_second);
        let ticks = frames * u64::from(TICKS_PER_SECOND) / rate;
        let ticks = u32::try_from(ticks).map_err(|_| too_long())?;
        let movie_ticks = (frames * u64::from(MOVIE_TICKS_PER_SECOND)).div_ceil(rate);
        let movie_ticks = u32::try_from(movie_ticks).map_err(|_| too_long())?;
        let movie = [
            words(&[0, 0, 0, MOVIE_TICKS_PER_SECOND, movie_ticks, 0x1_0000]),
            words(&[0x0100_0000, 0, 0]),
            words(&MATRIX),
            words(&[0, 0, 0, 0, 0, 0, 2]),
        ];
        // Flags: enabled, in the movie.
        let track = [
            words(&[3, 0, 0, 1, 0, movie_ticks, 0, 0, 0, 0]),
            words(&MATRIX),
            words(&[self.size.width << 16, self.size.height << 16]),
        ];
        // The language is `und`.
        let media = words(&[0, 0, 0, TICKS_PER_SECOND, ticks, 0x55c4_0000]);
        let kind = [
            words(&[0, 0]),
            b"vide".to_vec(),
            words(&[0; 3]),
            b"Video\0".to_vec(),
        ];
        let here = atom(b"url ", &[&words(&[1])])?;
        let reference = atom(b"dref", &[&words(&[0, 1]), &here])?;
        let minf = atom(
            b"minf",
            &[
                &atom(b"vmhd", &[&words(&[1, 0, 0])])?,
                &atom(b"dinf", &[&reference])?,
                &self.table(offset)?,
            ],
        )?;
        let mdia = atom(
            b"mdia",
            &[
                &atom(b"mdhd", &[&media])?,
                &atom(b"hdlr", &[&kind.concat()])?,
                &minf,
            ],
        )?;
        let trak = atom(b"trak", &[&atom(b"tkhd", &[&track.concat()])?, &mdia])?;
        atom(b"moov", &[&atom(b"mvhd", &[&movie.concat()])?, &trak])
    }

    /// Where every frame is, and how long it is shown.
    fn table(&self, offset: u32) -> Result<Vec<u8>, RenderError> {
        let count = length(self.lengths.len())?;
        let ticks = TICKS_PER_SECOND / self.frames_per_second;
        let keys = [vec![0, length(self.keys.len())?], self.keys.clone()].concat();
        let sizes = [vec![0, 0, count], self.lengths.clone()].concat();
        atom(
            b"stbl",
            &[
                &atom(b"stsd", &[&words(&[0, 1]), &self.format()?])?,
                &atom(b"stts", &[&words(&[0, 1, count, ticks])])?,
                &atom(b"stss", &[&words(&keys)])?,
                &atom(b"stsc", &[&words(&[0, 1, 1, count, 1])])?,
                &atom(b"stsz", &[&words(&sizes)])?,
                &atom(b"stco", &[&words(&[0, 1, offset])])?,
            ],
        )
    }

    fn format(&self) -> Result<Vec<u8>, RenderError> {
        let short = |length: usize| u16::try_from(length).map_err(|_| too_long());
        let profile = &self.sequence_set[1..4];
        let sets = [
            &[1][..],
            profile,
            // Lengths of four bytes, one sequence parameter set.
            &[0xff, 0xe1],
            &short(self.sequence_set.len())?.to_be_bytes(),
            &self.sequence_set,
            &[1],
            &short(self.picture_set.len())?.to_be_bytes(),
            &self.picture_set,
        ];
        // BT.709 in all three, limited range.
        let colour: [&[u8]; 2] = [b"nclx", &[0, 1, 0, 1, 0, 1, 0]];
        let picture = [
            words(&[0, 1, 0, 0, 0, 0, self.size.width << 16 | self.size.height]),
            // 72 dots per inch, one frame per sample.
            words(&[0x48_0000, 0x48_0000, 0]),
            vec![0, 1],
            vec![0; 32],
            // 24 bits of colour, no colour table.
            vec![0, 24, 0xff, 0xff],
        ];
        atom(
            b"avc1",
            &[
                &picture.concat(),
                &atom(b"avcC", &sets)?,
                &atom(b"colr", &colour)?,
            ],
        )
    }
}

fn without_start_code(unit: &[u8]) -> &[u8] {
    let zeros = unit.iter().take_while(|byte| **byte == 0).count();
    match unit.get(zeros) {
        Some(1) if zeros >= 2 => &unit[zeros + 1..],
        _ => unit,
    }
}

fn atom(name: &[u8; 4], parts: &[&[u8]]) -> Result<Vec<u8>, RenderError> {
    let body = parts.concat();
    let size = length(body.len() + 8)?;
    Ok([&size.to_be_bytes()[..], name, &body].concat())
}

fn words(numbers: &[u32]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect()
}

fn length(bytes: usize) -> Result<u32, RenderError> {
    u32::try_from(bytes).map_err(|_| too_long())
}

fn too_long() -> RenderError {
    RenderError::Encoder("the film is too long".to_owned())
}
