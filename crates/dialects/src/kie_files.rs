//! KIE's upload of files (docs.kie.ai, `/file-upload-api/*`), free, and the same for all of its protocols.
//!
//! `POST /api/file-base64-upload` with `{"base64Data", "uploadPath", "fileName"}`, or for larger files
//! `POST /api/file-stream-upload` with a form, answers `{"success", "code", "msg", "data": {"downloadUrl"}}`.
//! A name that comes twice overwrites the first file, so no name comes twice.

use domain::order::Order;
use domain::upstream::{Call, Cursor, Fault, FaultClass, Kind, Next, Part, Reply, Request, Wait};
use serde_json::json;

use crate::fault::{fault, nonsense, text_at};
use crate::{Context, Dialect, Hook, InputFile};

/// Where files are put at KIE.
const FOLDER: &str = "inputs";

/// Beyond this size, in bytes, KIE advises the form.
const BASE64_BYTES_MAX: u64 = 10 << 20;

/// A protocol of KIE with the upload beside it.
pub(crate) struct Kie<D>(pub(crate) D);

impl<D: Dialect> Dialect for Kie<D> {
    fn start(&self, order: &Order, cx: &Context<'_>) -> Result<Call, Fault> {
        self.0.start(order, cx)
    }

    fn resume(
        &self,
        order: &Order,
        cx: &Context<'_>,
        at: &Cursor,
        reply: &Reply,
    ) -> Result<Next, Fault> {
        self.0.resume(order, cx, at, reply)
    }

    fn find(&self, order: &Order, cx: &Context<'_>) -> Option<Call> {
        self.0.find(order, cx)
    }

    fn cancel(&self, order: &Order, cx: &Context<'_>, at: &Cursor) -> Option<Call> {
        self.0.cancel(order, cx, at)
    }

    fn hook(&self) -> Option<&'static Hook> {
        self.0.hook()
    }

    fn adopt(&self, order: &Order, cx: &Context<'_>, work: &str) -> Option<Wait> {
        self.0.adopt(order, cx, work)
    }

    fn upload(&self, file: &InputFile<'_>, _cx: &Context<'_>) -> Option<Call> {
        let url = |name: &str| format!("{}/api/{name}", file.upload_url);
        let request = if file.bytes > BASE64_BYTES_MAX {
            let parts = vec![
                Part::text("uploadPath", FOLDER),
                Part::text("fileName", file.name),
                Part::file("file", file.name, file.content),
            ];
            Request::form(url("file-stream-upload"), parts)
        } else {
            let body = json!({
                "base64Data": file.content, "uploadPath": FOLDER, "fileName": file.name,
            });
            Request::post(url("file-base64-upload"), body)
        };
        Some(Call {
            request,
            at: Cursor::default(),
            kind: Kind::Reads,
        })
    }

    fn uploaded(&self, reply: &Reply) -> Result<String, Fault> {
        let body = reply.json();
        let code = body.get("code").map(domain::mapping::word);
        let code = code.and_then(|code| code.parse().ok());
        let link = text_at(&body, &["/data/downloadUrl", "/data/fileUrl"]);
        match (reply.status, code.unwrap_or(reply.status), link) {
            (200, 200, Some(link)) => Ok(link.to_owned()),
            (200, 200, None) => Err(nonsense(reply)),
            (401 | 402, _, _) | (_, 401 | 402, _) => Err(fault(
                FaultClass::Credential,
                reply,
                text_at(&body, &["/msg"]),
            )),
            (429, _, _) | (_, 429, _) => Err(fault(
                FaultClass::Throttled,
                reply,
                text_at(&body, &["/msg"]),
            )),
            _ => Err(fault(
                FaultClass::Unavailable,
                reply,
                text_at(&body, &["/msg"]),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DIALECTS, NOTHING, dialect};

    fn reply(status: u16, body: &str) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn every_protocol_of_kie_uploads_in_the_same_way() {
        let cx = Context {
            base_url: "https://api.kie.test",
            model: "m",
            token: "t",
            fields: &NOTHING,
            webhook: None,
        };
        let all = DIALECTS.iter().filter(|(name, _)| name.starts_with("kie"));
        for (_, kie) in all {
            let mut file = InputFile {
                upload_url: "https://files.kie.test",
                name: "a.png",
                bytes: 3,
                content: "data:image/png;base64,QUJD",
            };
            let call = kie.upload(&file, &cx).unwrap();
            assert_eq!(call.kind, Kind::Reads);
            let request = Request::post(
                "https://files.kie.test/api/file-base64-upload",
                json!({
                    "base64Data": "data:image/png;base64,QUJD", "uploadPath": "inputs", "fileName": "a.png",
                }),
            );
            assert_eq!(call.request, request);
            file.bytes = BASE64_BYTES_MAX + 1;
            let request = kie.upload(&file, &cx).unwrap().request;
            assert_eq!(request.url, "https://files.kie.test/api/file-stream-upload");
            let said =
                r#"{"success":true,"code":200,"data":{"downloadUrl":"https://x.test/a.png"}}"#;
            let link = kie.uploaded(&reply(200, said));
            assert_eq!(link.unwrap(), "https://x.test/a.png");
        }
    }

    #[test]
    fn a_refused_upload_says_what_to_do() {
        let kie = dialect("kie").unwrap();
        for (status, body, class) in [
            (200, "{}", FaultClass::Ambiguous),
            (200, "<html>", FaultClass::Ambiguous),
            (200, r#"{"code":401,"msg":"no"}"#, FaultClass::Credential),
            (429, "", FaultClass::Throttled),
            (200, r#"{"code":500,"msg":"down"}"#, FaultClass::Unavailable),
            (502, "", FaultClass::Unavailable),
        ] {
            let fault = kie.uploaded(&reply(status, body)).unwrap_err();
            assert_eq!(fault.class, class, "{status} {body}");
        }
    }
}
