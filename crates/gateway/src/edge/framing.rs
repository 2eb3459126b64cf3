//! Where a request ends, judged before anything else reads it.
//!
//! Invariant: only what every reader of HTTP/1.1 understands in the same way passes. Two readers of
//! one connection that disagree about the end of a request are a way to smuggle one in (RFC 9112,
//! section 11.2), so everything doubtful is refused, not repaired.

use super::chunked::Chunked;

/// The longest head, in bytes.
pub const HEAD_BYTES_MAX: usize = 16 << 10;

/// Most fields of a head.
const FIELDS_MAX: usize = 100;

/// Why a connection is ended from our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Violation {
    /// Doubtful framing of a head.
    Head = 1,
    /// No `Host`, or more than one.
    Host,
    /// A length that is none, is there twice, or is there beside chunks.
    Length,
    /// A transfer coding that is not exactly `chunked`.
    Coding,
    /// Malformed chunks.
    Chunks,
    /// A head beyond [`HEAD_BYTES_MAX`], or too many fields.
    HeadTooLarge,
    /// The head did not end in time.
    SlowHead,
    /// The body stopped coming.
    SlowBody,
    /// Nothing came in time; not worth a reply.
    Silent,
}

impl Violation {
    /// Every one, by its number less one.
    const ALL: [Self; 9] = [
        Self::Head,
        Self::Host,
        Self::Length,
        Self::Coding,
        Self::Chunks,
        Self::HeadTooLarge,
        Self::SlowHead,
        Self::SlowBody,
        Self::Silent,
    ];

    /// The one of a number; 0 is none.
    pub(super) fn of(number: u8) -> Option<Self> {
        let index = usize::from(number).checked_sub(1)?;
        Self::ALL.get(index).copied()
    }

    /// Whether it was found in a body, so that a request is under way.
    pub(super) fn is_in_body(self) -> bool {
        matches!(self, Self::Chunks | Self::SlowBody)
    }
}

/// What a connection is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Head,
    /// With the bytes left.
    Body(u64),
    Chunks(Chunked),
}

/// How far it got with some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scan {
    /// So many bytes are sound; the rest belongs to a head that is not complete, or not sound.
    pub(super) passed: usize,
    /// What is wrong with the byte after them.
    pub(super) violation: Option<Violation>,
}

/// The framing of one connection. What follows a sound head is its body.
#[derive(Debug)]
pub(super) struct Framing {
    part: Part,
    /// So much of the incomplete head has been searched for its end.
    searched: usize,
}

impl Framing {
    pub(super) fn new() -> Self {
        Self {
            part: Part::Head,
            searched: 0,
        }
    }

    /// Whether a body is not complete.
    pub(super) fn is_in_body(&self) -> bool {
        self.part != Part::Head
    }

    /// Goes over the next bytes. Those of an incomplete head must come again, with more.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Scan {
        let mut passed = 0;
        let violation = loop {
            let rest = &bytes[passed..];
            if rest.is_empty() {
                break None;
            }
            match &mut self.part {
                Part::Head => match self.head(rest) {
                    Ok(Some(length)) => passed += length,
                    Ok(None) => break None,
                    Err(violation) => break Some(violation),
                },
                Part::Body(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= taken as u64;
                    passed += taken;
                    if *left == 0 {
                        self.part = Part::Head;
                    }
                }
                Part::Chunks(chunks) => {
                    let (taken, is_complete) = match chunks.take(rest) {
                        Ok(taken) => taken,
                        Err(violation) => break Some(violation),
                    };
                    passed += taken;
                    if is_complete {
                        self.part = Part::Head;
                    }
                }
            }
        };
        Scan { passed, violation }
    }

    /// The length of a head once it is complete.
    fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Violation> {
        let Some(length) = self.end(bytes)? else {
            return match bytes.len() > HEAD_BYTES_MAX {
                true => Err(Violation::HeadTooLarge),
                false => Ok(None),
            };
        };
        self.searched = 0;
        if length > HEAD_BYTES_MAX {
            return Err(Violation::HeadTooLarge);
        }
        self.part = body(&bytes[..length])?;
        Ok(Some(length))
    }

    /// Finds the empty line; a line that ends without CR is refused as soon as it is seen.
    fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Violation> {
        loop {
            let from = self.searched.min(bytes.len());
            let Some(found) = bytes[from..].iter().position(|byte| *byte == b'\n') else {
                self.searched = bytes.len();
                return Ok(None);
            };
            let at = from + found;
            self.searched = at + 1;
            let line = bytes[..at].strip_suffix(b"\r").ok_or(Violation::Head)?;
            if line.ends_with(b"\n") {
                return Ok(Some(at + 1));
            }
        }
    }
}

/// What follows a complete head.
fn body(head: &[u8]) -> Result<Part, Violation> {
    let text = head.strip_suffix(b"\r\n\r\n").ok_or(Violation::Head)?;
    // One empty line before a request is a known habit of old clients.
    let text = text.strip_prefix(b"\r\n").unwrap_or(text);
    let mut lines = text.split(|byte| *byte == b'\n');
    let first = lines.next().ok_or(Violation::Head)?;
    let version = request_line(trimmed(first))?;
    let mut hosts = 0;
    let mut length = None;
    let mut is_chunked = false;
    let mut fields = 0;
    for line in lines {
        fields += 1;
        let (name, value) = field(trimmed(line))?;
        if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let first = length.replace(content_length(value)?);
            first.map_or(Ok(()), |_| Err(Violation::Length))?;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Violation::Coding);
            }
            is_chunked = true;
        }
    }
    if fields > FIELDS_MAX {
        return Err(Violation::HeadTooLarge);
    }
    // HTTP/1.0 knows no Host: health checks of balancers come without. It knows no chunks either.
    let is_old = version == Version::Old;
    if hosts > 1 || (hosts == 0 && !is_old) {
        return Err(Violation::Host);
    }
    match (is_chunked, length) {
        (true, _) if is_old => Err(Violation::Coding),
        (true, Some(_)) => Err(Violation::Length),
        (true, None) => Ok(Part::Chunks(Chunked::new())),
        (false, None | Some(0)) => Ok(Part::Head),
        (false, Some(length)) => Ok(Part::Body(length)),
    }
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// HTTP/1.0
    Old,
    /// HTTP/1.1
    Current,
}

/// `METHOD target HTTP/1.x`, one space each.
fn request_line(line: &[u8]) -> Result<Version, Violation> {
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target) = (words.next(), words.next());
    let (Some(method), Some(target), Some(version), None) =
        (method, target, words.next(), words.next())
    else {
        return Err(Violation::Head);
    };
    let is_target = !target.is_empty() && target.iter().all(|byte| (0x21..0x7f).contains(byte));
    // A tunnel has no framing; there is nothing here to tunnel to.
    if !is_token(method) || method == b"CONNECT" || !is_target {
        return Err(Violation::Head);
    }
    match version {
        b"HTTP/1.1" => Ok(Version::Current),
        b"HTTP/1.0" => Ok(Version::Old),
        _ => Err(Violation::Head),
    }
}

/// Name and value of a field line. A folded line has no name, a space before the colon is no name's.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, rest) = line.split_at(colon.ok_or(Violation::Head)?);
    let value = rest[1..].trim_ascii();
    let is_text = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    if !is_token(name) || !value.iter().all(is_text) {
        return Err(Violation::Head);
    }
    Ok((name, value))
}

fn is_token(word: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !word.is_empty() && word.iter().all(is_plain)
}

/// Digits alone; no sign, no list.
fn content_length(value: &[u8]) -> Result<u64, Violation> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Violation::Length);
    }
    let text = std::str::from_utf8(value).map_err(|_| Violation::Length)?;
    text.parse().map_err(|_| Violation::Length)
}
