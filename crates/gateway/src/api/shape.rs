//! The shapes of the submit, for the document. The body itself is read by the model it goes to.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::ToSchema;

/// What to run. The common set; a model's own table, `GET /api/v1/models/{model_id}`, decides.
#[derive(ToSchema)]
#[schema(as = Submit)]
#[expect(dead_code, reason = "describes the body, which the model reads")]
pub(super) struct SubmitBody {
    /// What to make; required unless the model says otherwise.
    #[schema(example = "a fox in the snow")]
    prompt: Option<String>,
    /// A conversation in the form of the OpenAI chat API, in place of `prompt`; chat models only.
    #[schema(value_type = Option<Vec<Object>>)]
    messages: Option<Value>,
    /// `video`, `image` or `chat`; a hint.
    generation_type: Option<String>,
    /// Where the finished task is sent.
    callback_url: Option<String>,
    /// For video models.
    video_params: Option<VideoParams>,
    /// For image models.
    image_params: Option<ImageParams>,
    /// For chat models.
    llm_params: Option<LlmParams>,
    /// At most 16 pairs and 2 KiB; echoed in the task and the callback.
    metadata: Option<BTreeMap<String, String>>,
    /// Refuse parameters the model has no use for instead of ignoring them.
    strict: Option<bool>,
}

/// Parameters of video models.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body, which the model reads")]
pub(super) struct VideoParams {
    /// `16:9`, `9:16`, `1:1`, `4:3` or `3:4`.
    #[schema(example = "16:9")]
    aspect_ratio: Option<String>,
    /// Seconds; most models take 5 or 10.
    #[schema(example = 5)]
    duration: Option<f64>,
    /// `720p` or `1080p`.
    resolution: Option<String>,
    /// Pictures to start from: links, or `data:` URLs in base64 of up to 10 MiB each.
    image_urls: Option<Vec<String>>,
    /// Videos to start from, in the same way.
    video_urls: Option<Vec<String>>,
    /// Translate the prompt to English first.
    enable_translation: Option<bool>,
    /// Text to lay over the result.
    watermark: Option<String>,
    /// Make several shots.
    multi_shots: Option<bool>,
}

/// Parameters of image models.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body, which the model reads")]
pub(super) struct ImageParams {
    /// `1:1`, `16:9`, `9:16`, `4:3` or `3:4`.
    #[schema(example = "1:1")]
    aspect_ratio: Option<String>,
    /// Pixels; together with `height`, in place of the ratio.
    width: Option<f64>,
    /// Pixels; together with `width`.
    height: Option<f64>,
    /// What should not be seen.
    negative_prompt: Option<String>,
    /// The same seed gives a similar result.
    seed: Option<f64>,
    /// Pictures to start from: links, or `data:` URLs in base64 of up to 10 MiB each.
    image_urls: Option<Vec<String>>,
    /// Text to lay over the result.
    watermark: Option<String>,
    /// 1 to 20.
    guidance_scale: Option<f64>,
    /// Refinement steps.
    steps: Option<f64>,
}

/// Parameters of chat models.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body, which the model reads")]
pub(super) struct LlmParams {
    /// 0 to 2.
    temperature: Option<f64>,
    /// At least 1.
    max_tokens: Option<u64>,
    /// 0 to 1.
    top_p: Option<f64>,
}

/// The reply to a submit; with `Prefer: wait=N` and a task that ended in time, the fields of the task
/// as well.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the reply, which is written by hand")]
pub(super) struct Submitted {
    /// 200.
    #[schema(example = 200)]
    code: u16,
    /// That it worked.
    #[schema(example = "Task submitted successfully")]
    message: String,
    /// The task.
    #[schema(example = "f47ac10b-58cc-4372-a567-0e02b2c3d479")]
    task_id: String,
    /// `waiting`.
    #[schema(example = "waiting")]
    status: String,
    /// Known parameters the model has no use for; absent when there are none.
    ignored: Option<Vec<String>>,
}

/// A task that ended well.
pub(super) fn task_example() -> Value {
    let url = "https://gateway.example/results/3q2xkz7b/film.mp4";
    json!({
        "task_id": "f47ac10b-58cc-4372-a567-0e02b2c3d479",
        "status": "success",
        "result_urls": [url],
        "error_message": null,
        "created_at": "2026-11-24T21:35:27.045Z",
        "model_id": "video_generate.kling_2_6",
        "generation_type": "video",
        "updated_at": "2026-11-24T21:36:40.120Z",
        "started_at": "2026-11-24T21:35:28.310Z",
        "finished_at": "2026-11-24T21:36:40.120Z",
        "metadata": {},
        "progress": 1,
        "output": null,
        "results": [{
            "url": url, "content_type": "video/mp4", "bytes": 1_482_113,
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "width": 1280, "height": 720, "duration_s": 5,
            "expires_at": "2026-12-08T21:36:40.120Z",
        }],
        "error": null,
        "credits": { "held": 0, "charged": 0.275 },
        "callback": null,
    })
}
