//! A text over a film, by the program `ffmpeg` where it is installed.
//!
//! Invariant: no shell, and nothing of a client or an upstream among the arguments: only paths in a
//! folder of ours and numbers. The program sees no variables of this one, reads nothing but those
//! files, in the format they were judged to be, and is killed with the step that waits for it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::Semaphore;

use super::super::MediaError;
use super::{Draft, Stamp, folder, later};

/// How long the marking of one film may take.
const MARK: Duration = Duration::from_secs(600);

/// How long a question to one of the programs may take.
const ASK: Duration = Duration::from_secs(20);

/// Most pixels of a frame: one of 8,192 by 4,320.
const FRAME_PIXELS_MAX: u64 = 8_192 * 4_320;

/// How much of an answer is read, and of what goes to the log, in bytes.
const ANSWER_BYTES: u64 = 1 << 20;
const COMPLAINT_BYTES: u64 = 2_000;

/// The programs that mark films.
#[derive(Debug)]
pub struct Films {
    /// Where programs are looked for.
    path: String,
    /// One film for each core.
    slots: Semaphore,
}

/// What a program said.
struct Said {
    is_well: bool,
    answer: String,
    complaint: String,
}

impl Films {
    /// The programs, if they are in one of the folders of a `PATH` and can do what is wanted of them.
    pub async fn find(path: &str, now_ms: i64) -> Option<Self> {
        let cores = std::thread::available_parallelism().map_or(1, Into::into);
        let films = Self {
            path: path.to_owned(),
            slots: Semaphore::new(cores),
        };
        let encoders = films.run("ffmpeg", &["-hide_banner", "-encoders"], ASK);
        let version = films.run("ffprobe", &["-version"], ASK);
        let (encoders, version) = tokio::join!(encoders, version);
        if !version.ok()?.is_well || !encoders.ok()?.answer.contains(" libx264 ") {
            return None;
        }
        folder::remove_left(now_ms);
        Some(films)
    }

    /// Marks a film. Its sound stays as it is; WebM becomes MP4.
    pub(super) async fn mark(
        &self,
        draft: &Draft,
        text: &str,
        bytes_max: u64,
    ) -> Result<(), MediaError> {
        let _slot = self.slots.acquire().await;
        let (width, height) = self.frame(draft).await?;
        let mark = draft.folder.path("mark.png");
        let stamp = Stamp::new(text, width, height);
        stamp.pixels.save(&mark).map_err(|error| later(&error))?;
        let format = if draft.extension == "mov" {
            "mov"
        } else {
            "mp4"
        };
        // Padded to even sides, which the encoder wants; all films but a few have them.
        let filter = format!(
            "[0:v:0][1:v]overlay={}:{},pad=ceil(iw/2)*2:ceil(ih/2)*2[marked]",
            stamp.left, stamp.top
        );
        let (pixels, bytes) = (FRAME_PIXELS_MAX.to_string(), bytes_max.to_string());
        let (from, mark, to) = (shown(&draft.from)?, shown(&mark)?, shown(&draft.to)?);
        #[rustfmt::skip]
        let arguments = [
            "-nostdin", "-hide_banner", "-v", "error", "-n",
            "-threads", "1", "-max_pixels", &pixels,
            "-protocol_whitelist", "file", "-f", demuxer(draft.extension), "-i", from,
            "-protocol_whitelist", "file", "-f", "png_pipe", "-i", mark,
            "-filter_complex_threads", "1", "-filter_complex", &filter,
            "-map", "[marked]", "-map", "0:a?", "-c:a", "copy",
            "-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-pix_fmt", "yuv420p",
            "-threads", "1", "-map_metadata", "-1", "-map_chapters", "-1",
            "-fflags", "+bitexact", "-flags:v", "+bitexact",
            "-movflags", "+faststart", "-fs", &bytes, "-f", format, to,
        ];
        let said = self.run("ffmpeg", &arguments, MARK).await?;
        if !said.is_well {
            return Err(later(&format!("ffmpeg: {}", said.complaint)));
        }
        let written = std::fs::metadata(&draft.to).map_err(|error| later(&error))?;
        // It ends well, and too early, at the limit.
        if written.len() >= bytes_max {
            let message = format!("the film with its text is over {bytes_max} bytes");
            return Err(MediaError::Never(message));
        }
        Ok(())
    }

    /// Width and height of a film as it is shown.
    async fn frame(&self, draft: &Draft) -> Result<(u32, u32), MediaError> {
        let from = shown(&draft.from)?;
        #[rustfmt::skip]
        let arguments = [
            "-v", "error", "-protocol_whitelist", "file", "-f", demuxer(draft.extension),
            "-select_streams", "v:0", "-show_entries",
            "stream=width,height:stream_side_data=rotation", "-of", "json", from,
        ];
        let said = self.run("ffprobe", &arguments, ASK).await?;
        let (width, height) = frame_of(&said.answer).ok_or_else(|| {
            MediaError::Never(format!("the film cannot be read: {}", said.complaint))
        })?;
        if u64::from(width) * u64::from(height) > FRAME_PIXELS_MAX {
            let message = format!("a film of {width}×{height} pixels is too large to be marked");
            return Err(MediaError::Never(message));
        }
        Ok((width, height))
    }

    async fn run(
        &self,
        program: &str,
        arguments: &[&str],
        time: Duration,
    ) -> Result<Said, MediaError> {
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", &self.path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| later(&error))?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let said = async {
            let (answer, complaint, status) = tokio::join!(
                start_of(out, ANSWER_BYTES),
                start_of(err, COMPLAINT_BYTES),
                child.wait()
            );
            status.map(|status| Said {
                is_well: status.success(),
                answer,
                complaint,
            })
        };
        let said = tokio::time::timeout(time, said).await;
        let said = said.map_err(|_| {
            let message = format!("{program} took longer than {} s", time.as_secs());
            MediaError::Never(message)
        })?;
        said.map_err(|error| later(&error))
    }
}

/// The reader of a format: `ffmpeg` is not to guess, as some formats lead to other files.
fn demuxer(extension: &str) -> &'static str {
    match extension {
        "webm" => "matroska",
        _ => "mov",
    }
}

fn shown(path: &Path) -> Result<&str, MediaError> {
    let path = path.to_str();
    path.ok_or_else(|| later(&"the folder for temporary files is no text"))
}

fn frame_of(answer: &str) -> Option<(u32, u32)> {
    let answer: Value = serde_json::from_str(answer).ok()?;
    let stream = answer.get("streams")?.get(0)?;
    let side = |name: &str| {
        let side = u32::try_from(stream.get(name)?.as_u64()?).ok()?;
        (side > 0).then_some(side)
    };
    let (width, height) = (side("width")?, side("height")?);
    let turns = stream.get("side_data_list").and_then(Value::as_array);
    let mut turns = turns.into_iter().flatten();
    let turn = turns.find_map(|one| one.get("rotation")?.as_i64());
    match turn.unwrap_or(0).rem_euclid(180) {
        90 => Some((height, width)),
        _ => Some((width, height)),
    }
}

/// The first bytes of what a program writes; the rest is read as well, or it would wait for that.
async fn start_of(stream: Option<impl AsyncRead + Unpin>, bytes: u64) -> String {
    let mut start = Vec::new();
    if let Some(stream) = stream {
        let mut limited = stream.take(bytes);
        let _ = limited.read_to_end(&mut start).await;
        let _ = tokio::io::copy(&mut limited.into_inner(), &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&start).trim().to_owned()
}
