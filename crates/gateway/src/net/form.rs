//! Forms of parts (`multipart/form-data`, RFC 7578).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::upstream::{Content, Part};
use http::HeaderValue;
use sha2::{Digest, Sha256};

use super::outgoing::Refused;

/// The content type and the body of a form. The boundary follows from the content, so that the same
/// form is the same bytes.
pub(super) fn encoded(parts: &[Part]) -> Result<(HeaderValue, Bytes), Refused> {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.name.as_bytes());
        match &part.content {
            Content::Text(text) => hash.update(text.as_bytes()),
            Content::File { data, .. } => hash.update(data.as_bytes()),
        }
    }
    let boundary = hex::encode(hash.finalize());
    let mut body = Vec::new();
    for part in parts {
        let (head, content) = said(part)?;
        body.extend_from_slice(format!("--{boundary}\r\n{head}\r\n\r\n").as_bytes());
        body.extend_from_slice(&content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let kind = HeaderValue::try_from(format!("multipart/form-data; boundary={boundary}"));
    let kind = kind.map_err(|_| Refused("the boundary does not fit a header"))?;
    Ok((kind, Bytes::from(body)))
}

fn said(part: &Part) -> Result<(String, Vec<u8>), Refused> {
    let name = plain(&part.name)?;
    let head = format!("content-disposition: form-data; name=\"{name}\"");
    match &part.content {
        Content::Text(text) => Ok((head, text.as_bytes().to_vec())),
        Content::File { name, data } => {
            let malformed = Refused("a file of a form is no data: URL in base64");
            let rest = data.strip_prefix("data:");
            let (kind, base64) = rest
                .and_then(|rest| rest.split_once(";base64,"))
                .ok_or(malformed.clone())?;
            let bytes = STANDARD.decode(base64).map_err(|_| malformed)?;
            let (name, kind) = (plain(name)?, plain(kind)?);
            let head = format!("{head}; filename=\"{name}\"\r\ncontent-type: {kind}");
            Ok((head, bytes))
        }
    }
}

/// A text that can stand in the head of a part as it is.
fn plain(text: &str) -> Result<&str, Refused> {
    if text.contains(|c: char| c.is_control() || c == '"') {
        return Err(Refused("a name in a form is malformed"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_a_part_for_every_field() {
        let parts = [
            Part::text("prompt", "a fox\r\n--x"),
            Part::file("image[]", "image-0", "data:image/png;base64,QUJD"),
        ];
        let (kind, body) = encoded(&parts).unwrap();
        let boundary = kind.to_str().unwrap().split_once("boundary=").unwrap().1;
        let expected = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"prompt\"\r\n\r\na fox\r\n--x\r\n\
             --{boundary}\r\ncontent-disposition: form-data; name=\"image[]\"; filename=\"image-0\"\r\n\
             content-type: image/png\r\n\r\nABC\r\n--{boundary}--\r\n"
        );
        assert_eq!(body, expected.as_bytes());
    }

    #[test]
    fn what_would_break_out_of_a_part_is_refused() {
        for part in [
            Part::text("a\"b", "x"),
            Part::text("a\r\nb", "x"),
            Part::file("a", "b\"", "data:image/png;base64,QUJD"),
            Part::file("a", "b", "data:image/png\r\nx: y;base64,QUJD"),
            Part::file("a", "b", "https://example.com/a.png"),
            Part::file("a", "b", "data:image/png;base64,%%"),
        ] {
            assert!(encoded(&[part]).is_err());
        }
    }
}
