//! Result files over a folder and over a bucket behind a real S3 server.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop here"
)]

mod full;
mod hostile;
mod keeping;
mod losing;
mod place;
mod served;
mod shelf;
mod sweeping;
mod uploads;
mod upstream;

/// A PNG of so many bytes: its start is real, the rest is noise that no two places share.
fn png(bytes: usize) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x40\0\0\0\x20\x08\x06\0\0\0".to_vec();
    let mut state = 7_u32;
    while file.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        file.extend_from_slice(&state.to_be_bytes());
    }
    file.truncate(bytes);
    file
}
