//! Pictures of MiniMax (platform.minimax.io, image generation).
//!
//! `POST /v1/image_generation` ends the work: `data.image_urls`. Pictures that the content rules forbid are
//! missing there and counted in `metadata.failed_count`. The field `subject_reference` of a route holds
//! the pictures of a person, as links or `data:` URLs. Errors are those of the videos.

use domain::order::Order;
use domain::upstream::{Call, Cursor, Fault, FaultClass, Next, Reply};
use serde_json::{Value, json};

use crate::fault::{fault, nonsense};
use crate::minimax::{opened, post};
use crate::queue::made;
use crate::{Context, Dialect};

/// The protocol.
pub(crate) struct MinimaxImages;

impl Dialect for MinimaxImages {
    fn start(&self, order: &Order, cx: &Context<'_>) -> Result<Call, Fault> {
        let mut fields = cx.fields.clone();
        if let Some(Value::Array(people)) = fields.get_mut("subject_reference") {
            for person in people {
                *person = json!({ "type": "character", "image_file": person });
            }
        }
        let cx = Context {
            fields: &fields,
            ..*cx
        };
        Ok(Call::creates(post(order, &cx, "image_generation")))
    }

    fn resume(
        &self,
        _order: &Order,
        _cx: &Context<'_>,
        _at: &Cursor,
        reply: &Reply,
    ) -> Result<Next, Fault> {
        let body = opened(reply)?;
        let links = body.pointer("/data/image_urls").and_then(Value::as_array);
        let links: Vec<&str> = links
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if links.is_empty() {
            let failed = body.pointer("/metadata/failed_count");
            // A count is a number or a text.
            let failed = failed.and_then(|count| domain::mapping::word(count).parse::<u64>().ok());
            return Err(match failed.is_some_and(|count| count > 0) {
                true => fault(FaultClass::Moderated, reply, None),
                false => nonsense(reply),
            });
        }
        made(reply, links).map(Next::Done)
    }
}
