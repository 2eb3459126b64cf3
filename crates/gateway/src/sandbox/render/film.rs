//! Films: the picture panned slowly behind its caption, with a bar that shows the time.

use domain::order::Order;
use openh264::OpenH264API;
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, FrameType, IntraFramePeriod,
    RateControlMode, VuiConfig,
};
use openh264::formats::YUVSlices;
use serde_json::Value;

use super::dice::{self, Dice};
use super::layout::{Sheet, overlays};
use super::mp4::Film;
use super::overlay::Veil;
use super::size::{self, Size};
use super::{RenderError, picture};

/// Frames per second; what models make.
const FRAMES_PER_SECOND: u32 = 24;

/// Length without any word about it, and the longest, in seconds.
const SECONDS_DEFAULT: f64 = 5.0;
const SECONDS_MAX: f64 = 120.0;

/// Shots of a film with several, and the shortest film that has the last of them, in seconds.
const SHOTS: u32 = 3;
const THREE_SHOTS_SECONDS_MIN: f64 = 3.0;

/// Frames between two that a player can start at.
const KEY_FRAMES_APART: u32 = 48;

/// The bar's brightness, and how much of the ground it covers is left, of 255.
const BAR_LUMA: u8 = 225;
const BAR_REST: u32 = 110;

/// Where the camera starts and ends, in parts of the margin to the right and downwards.
const MOVES: [[(f32, f32); 2]; 6] = [
    [(0.0, 0.3), (1.0, 0.7)],
    [(1.0, 0.3), (0.0, 0.7)],
    [(0.0, 0.0), (1.0, 1.0)],
    [(1.0, 0.0), (0.0, 1.0)],
    [(0.2, 1.0), (0.8, 0.0)],
    [(1.0, 0.8), (0.0, 0.2)],
];

/// What is to be filmed.
pub(crate) struct Plan {
    size: Size,
    frames: u32,
    shots: u32,
}

/// The plan of an order's film.
pub(crate) fn plan(order: &Order) -> Result<Plan, RenderError> {
    let size = size::of_video(order)?;
    let seconds = seconds(order);
    if !(seconds > 0.0 && seconds <= SECONDS_MAX) {
        return Err(RenderError::Refused(format!(
            "`duration` must be above 0 and at most {SECONDS_MAX} seconds"
        )));
    }
    let shots = match order.flag("multi_shots") {
        true if seconds >= THREE_SHOTS_SECONDS_MIN => SHOTS,
        true => SHOTS - 1,
        false => 1,
    };
    let frames = (seconds * f64::from(FRAMES_PER_SECOND)).round().max(1.0) as u32;
    Ok(Plan {
        size,
        frames,
        shots: shots.min(frames),
    })
}

/// How long the order's film is, in seconds.
pub(crate) fn seconds(order: &Order) -> f64 {
    let seconds = match order.params.get("duration") {
        Some(Value::String(text)) => text.parse().ok(),
        Some(other) => other.as_f64(),
        None => None,
    };
    seconds.unwrap_or(SECONDS_DEFAULT)
}

/// Makes the film of an order.
pub(crate) fn shoot(order: &Order) -> Result<Vec<u8>, RenderError> {
    let plan = plan(order)?;
    let mut encoder = encoder(plan.size)?;
    let mut film = Film::new(plan.size, FRAMES_PER_SECOND);
    let mut frame = Planes::empty(plan.size);
    for number in 0..plan.shots {
        let first = plan.frames * number / plan.shots;
        let last = plan.frames * (number + 1) / plan.shots;
        let shot = Shot::new(order, &plan, number);
        if number > 0 {
            encoder.force_intra_frame();
        }
        for at in first..last {
            let part = (at - first) as f32 / (last - first).max(2).saturating_sub(1) as f32;
            shot.expose(&mut frame, part);
            frame.bar((at + 1) as f32 / plan.frames as f32);
            encode(&mut encoder, &frame, &mut film)?;
        }
    }
    film.finish()
}

fn encoder(size: Size) -> Result<Encoder, RenderError> {
    // Only the level follows from it: a tenth of a bit per pixel is more than the films need.
    let bits_per_second = size.pixels() * FRAMES_PER_SECOND as usize / 10;
    let bits_per_second = u32::try_from(bits_per_second).unwrap_or(u32::MAX / 2);
    let config = EncoderConfig::new()
        .bitrate(BitRate::from_bps(bits_per_second.max(200_000)))
        .max_frame_rate(FrameRate::from_hz(FRAMES_PER_SECOND as f32))
        // The same quality everywhere, or the encoder would leave out frames to keep its rate.
        .rate_control_mode(RateControlMode::Off)
        .complexity(Complexity::Low)
        .intra_frame_period(IntraFramePeriod::from_num_frames(KEY_FRAMES_APART))
        .vui(VuiConfig::bt709())
        .skip_frames(false)
        // What it finds out about the picture only costs time here.
        .scene_change_detect(false)
        .background_detection(false)
        .adaptive_quantization(false)
        // One thread: the caller counts in cores, and the bytes must not depend on chance.
        .num_threads(1);
    Encoder::with_api_config(OpenH264API::from_source(), config).map_err(failed)
}

fn encode(encoder: &mut Encoder, frame: &Planes, film: &mut Film) -> Result<(), RenderError> {
    let (width, height) = (frame.width, frame.height);
    let planes = (&frame.y[..], &frame.u[..], &frame.v[..]);
    let strides = (width, width / 2, width / 2);
    let source = YUVSlices::new(planes, (width, height), strides);
    let stream = encoder.encode(&source).map_err(failed)?;
    let is_key = match stream.frame_type() {
        FrameType::IDR => true,
        FrameType::I | FrameType::P | FrameType::IPMixed => false,
        FrameType::Skip | FrameType::Invalid => {
            return Err(RenderError::Encoder("a frame was left out".to_owned()));
        }
    };
    let layers = (0..stream.num_layers()).filter_map(|layer| stream.layer(layer));
    let layers: Vec<_> = layers.collect();
    let units = layers.iter().flat_map(|layer| {
        let count = layer.nal_count();
        (0..count).filter_map(move |unit| layer.nal_unit(unit))
    });
    film.push(units, is_key)
}

fn failed(error: openh264::Error) -> RenderError {
    RenderError::Encoder(error.to_string())
}

/// One setting: a picture larger than the frame, a move of the camera, and what is written.
struct Shot {
    canvas: Planes,
    from: (f32, f32),
    to: (f32, f32),
    veils: Vec<Veil>,
}

impl Shot {
    fn new(order: &Order, plan: &Plan, number: u32) -> Self {
        let seed = dice::seed(order).wrapping_add(u64::from(number));
        // An eighth more than the frame, and even.
        let larger = |side: u32| (side + side / 8).next_multiple_of(2);
        let size = Size {
            width: larger(plan.size.width),
            height: larger(plan.size.height),
        };
        let [from, to] = *Dice::new(!seed).pick(&MOVES);
        let part = (plan.shots > 1).then(|| format!("shot {} of {}", number + 1, plan.shots));
        let sheet = Sheet {
            order,
            size: plan.size,
            part,
        };
        Self {
            canvas: Planes::of(&picture::paint(seed, size), size),
            from,
            to,
            veils: overlays(&sheet).iter().map(|over| over.veil()).collect(),
        }
    }

    /// Fills the frame with what the camera sees at a part of the shot, 0 to 1.
    fn expose(&self, frame: &mut Planes, part: f32) {
        let along = |from: f32, to: f32, room: usize| {
            let at = from + (to - from) * part;
            ((at * room as f32).round() as usize).min(room)
        };
        let left = along(self.from.0, self.to.0, self.canvas.width - frame.width);
        let top = along(self.from.1, self.to.1, self.canvas.height - frame.height);
        let (wide, width) = (self.canvas.width, frame.width);
        crop(&self.canvas.y, wide, (left, top), &mut frame.y, width);
        let (wide, width, corner) = (wide / 2, width / 2, (left / 2, top / 2));
        crop(&self.canvas.u, wide, corner, &mut frame.u, width);
        crop(&self.canvas.v, wide, corner, &mut frame.v, width);
        for veil in &self.veils {
            veil.dim(&mut frame.y, frame.width);
            veil.fade(&mut frame.u, width);
            veil.fade(&mut frame.v, width);
        }
    }
}

fn crop(from: &[u8], stride: usize, (left, top): (usize, usize), to: &mut [u8], width: usize) {
    for (row, line) in to.chunks_exact_mut(width).enumerate() {
        let start = (top + row) * stride + left;
        line.copy_from_slice(&from[start..][..width]);
    }
}

/// A frame as the encoder wants it: brightness, and two colours at half the size.
struct Planes {
    width: usize,
    height: usize,
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
}

impl Planes {
    fn empty(size: Size) -> Self {
        Self {
            width: size.width as usize,
            height: size.height as usize,
            y: vec![0; size.pixels()],
            u: vec![0; size.pixels() / 4],
            v: vec![0; size.pixels() / 4],
        }
    }

    /// A picture of even size from RGB: BT.709, limited range.
    fn of(picture: &[u8], size: Size) -> Self {
        let mut planes = Self::empty(size);
        let width = planes.width;
        for (luma, pixel) in planes.y.iter_mut().zip(picture.chunks_exact(3)) {
            let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(i32::from);
            *luma = (16 + ((47 * r + 157 * g + 16 * b + 128) >> 8)) as u8;
        }
        let colours = planes.u.iter_mut().zip(planes.v.iter_mut());
        for (at, (u, v)) in colours.enumerate() {
            let (row, column) = (at / (width / 2) * 2, at % (width / 2) * 2);
            let pixel = &picture[(row * width + column) * 3..][..3];
            let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(i32::from);
            *u = (128 + ((-26 * r - 86 * g + 112 * b + 128) >> 8)) as u8;
            *v = (128 + ((112 * r - 102 * g - 10 * b + 128) >> 8)) as u8;
        }
        planes
    }

    /// Draws the bar along the lower edge, filled up to a part of its length.
    fn bar(&mut self, part: f32) {
        let rows = (self.height.min(self.width) / 110).max(2);
        let filled = (part * self.width as f32) as usize;
        let start = (self.height - rows) * self.width;
        for line in self.y[start..].chunks_exact_mut(self.width) {
            line[..filled.min(self.width)].fill(BAR_LUMA);
            for luma in line.iter_mut().skip(filled) {
                *luma = (u32::from(*luma) * BAR_REST / 255).max(16) as u8;
            }
        }
    }
}
