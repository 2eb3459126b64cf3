//! The field `messages`: a conversation in the form of the OpenAI chat API.

use serde_json::Value;

use crate::order::Invalid;

/// Most messages of a conversation.
const MESSAGES_MAX: usize = 1_000;

/// Most levels of arrays and objects in a conversation; what reads it later recurses.
const DEPTH_MAX: u32 = 64;

/// Who may speak.
pub(crate) const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// Checks the form of a conversation; what the parts of a message mean is the provider's to judge.
///
/// # Errors
/// The path of the first message that has not the form, and why.
pub(crate) fn check(messages: &Value) -> Result<(), Invalid> {
    let Value::Array(items) = messages else {
        return Err(Invalid::new("messages", "must be an array of messages"));
    };
    if items.is_empty() || items.len() > MESSAGES_MAX {
        let message = format!("must have 1 to {MESSAGES_MAX} messages");
        return Err(Invalid::new("messages", message));
    }
    for (position, item) in items.iter().enumerate() {
        let path = format!("messages[{position}]");
        check_message(&path, item)?;
        check_depth(&path, item, DEPTH_MAX)?;
    }
    Ok(())
}

fn check_message(path: &str, item: &Value) -> Result<(), Invalid> {
    let Value::Object(message) = item else {
        return Err(Invalid::new(path, "must be an object"));
    };
    let role = message.get("role").and_then(Value::as_str);
    if !role.is_some_and(|role| ROLES.contains(&role)) {
        let wrong = format!("must be one of {}", ROLES.join(", "));
        return Err(Invalid::new(format!("{path}.role"), wrong).allowing(ROLES.to_vec()));
    }
    let refuse = |wrong| Err(Invalid::new(format!("{path}.content"), wrong));
    match message.get("content") {
        None | Some(Value::Null | Value::String(_)) => Ok(()),
        Some(Value::Array(parts)) if parts.iter().all(Value::is_object) => Ok(()),
        Some(Value::Array(_)) => refuse("must be an array of objects"),
        Some(_) => refuse("must be a string, an array or null"),
    }
}

/// Looks for nesting that is too deep and for NUL, which the text type of PostgreSQL cannot hold.
fn check_depth(path: &str, value: &Value, depth_left: u32) -> Result<(), Invalid> {
    let has_nul = |text: &str| text.contains('\0');
    let nul = || {
        let wrong = "must not contain the NUL character (U+0000)";
        Err(Invalid::new(path, wrong))
    };
    let Some(below) = depth_left.checked_sub(1) else {
        let wrong = format!("must be nested at most {DEPTH_MAX} levels deep");
        return Err(Invalid::new(path, wrong));
    };
    match value {
        Value::String(text) if has_nul(text) => nul(),
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| check_depth(path, item, below)),
        Value::Object(fields) => fields.iter().try_for_each(|(name, field)| {
            if has_nul(name) {
                return nul();
            }
            check_depth(path, field, below)
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_documented_forms_pass() {
        let messages = json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            ]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]},
            {"role": "assistant", "tool_calls": [{"id": "1"}]},
            {"role": "tool", "tool_call_id": "1", "content": "42"},
        ]);
        assert_eq!(check(&messages), Ok(()));
        let many = vec![json!({"role": "user", "content": "x"}); MESSAGES_MAX];
        assert_eq!(check(&json!(many)), Ok(()));
    }

    #[test]
    fn other_forms_are_refused_with_their_place() {
        let many = vec![json!({"role": "user", "content": "x"}); MESSAGES_MAX + 1];
        let mut deep = json!("x");
        for _ in 0..DEPTH_MAX {
            deep = json!([deep]);
        }
        let user = json!({"role": "user", "content": "x"});
        for (messages, param) in [
            (json!({}), "messages"),
            (json!([]), "messages"),
            (json!(many), "messages"),
            (json!([user, "x"]), "messages[1]"),
            (json!([user, {"content": "x"}]), "messages[1].role"),
            (
                json!([{"role": "robot", "content": "x"}]),
                "messages[0].role",
            ),
            (json!([{"role": 1, "content": "x"}]), "messages[0].role"),
            (
                json!([{"role": "user", "content": 1}]),
                "messages[0].content",
            ),
            (
                json!([{"role": "user", "content": ["x"]}]),
                "messages[0].content",
            ),
            (
                json!([{"role": "user", "content": "a\u{0}"}]),
                "messages[0]",
            ),
            (json!([{"role": "user", "a\u{0}": 1}]), "messages[0]"),
            (json!([{"role": "user", "deep": deep}]), "messages[0]"),
        ] {
            assert_eq!(check(&messages).unwrap_err().param, param);
        }
    }
}
