//! The JSON Schema of a model's submit body.

use serde_json::{Map, Value, json};

use super::Model;
use crate::order::{Modality, ROLES};
use crate::parameter::Kind;

impl Model {
    /// JSON Schema (draft 2020-12) of the bodies this model takes. Everything it allows is accepted, if
    /// only shots add up to `duration`; beyond it, `null` means not given and unknown fields are ignored.
    #[must_use]
    pub fn schema(&self) -> Value {
        let group = self.modality.group();
        let mut properties = Map::new();
        properties.insert("prompt".to_owned(), self.prompt_schema());
        properties.insert(group.to_owned(), self.group_schema());
        properties.insert(
            "generation_type".to_owned(),
            json!({
                "enum": Modality::ALL.map(Modality::as_str), "default": self.modality.as_str(),
                "description": "A hint; the model decides.",
            }),
        );
        properties.insert(
            "callback_url".to_owned(),
            json!({
                "type": "string", "format": "uri", "maxLength": 2048,
                "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://",
                "description": "Where the finished task is sent.",
            }),
        );
        properties.insert(
            "metadata".to_owned(),
            json!({
                "type": "object", "maxProperties": 16,
                "additionalProperties": { "type": "string", "maxLength": 2048 },
                "description": "Echoed in the task and the callback; at most 2 KiB.",
            }),
        );
        properties.insert(
            "strict".to_owned(),
            json!({
                "type": "boolean", "default": false,
                "description": "Refuse parameters the model has no use for.",
            }),
        );
        if self.modality == Modality::Chat {
            properties.insert("messages".to_owned(), messages_schema());
        }
        let mut schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": self.name,
            "description": self.description,
            "type": "object",
            "properties": properties,
        });
        if self.modality == Modality::Chat {
            let either = json!([{ "required": ["prompt"] }, { "required": ["messages"] }]);
            if self.prompt.is_required {
                schema["oneOf"] = either;
            } else {
                schema["not"] = json!({ "required": ["prompt", "messages"] });
            }
        } else if self.prompt.is_required {
            schema["required"] = json!(["prompt"]);
        }
        schema
    }

    fn prompt_schema(&self) -> Value {
        let mut schema = json!({
            "type": "string", "maxLength": self.prompt.chars_max, "description": "What to make.",
        });
        if self.prompt.is_required {
            schema["minLength"] = json!(1);
            schema["pattern"] = json!("\\S");
        }
        schema
    }

    fn group_schema(&self) -> Value {
        let parameters = self.parameters.iter();
        let properties: Map<String, Value> = parameters
            .map(|parameter| (parameter.name.clone(), parameter.schema()))
            .collect();
        let mut schema = json!({ "type": "object", "properties": properties });
        if self.parameter("width").is_some() {
            schema["dependentRequired"] = json!({ "width": ["height"], "height": ["width"] });
        }
        let mut parameters = self.parameters.iter();
        if let Some(shots) = parameters.find(|known| matches!(known.kind, Kind::Shots(_))) {
            schema["if"] = json!({
                "properties": { (&shots.name): { "type": "array", "minItems": 1 } },
                "required": [&shots.name],
            });
            schema["then"] = json!({
                "properties": {
                    "multi_shots": { "const": true }, "enable_translation": { "const": false },
                },
                "required": ["multi_shots"],
            });
        }
        schema
    }
}

fn messages_schema() -> Value {
    json!({
        "type": "array", "minItems": 1, "maxItems": 1000,
        "description": "A conversation, in place of the prompt.",
        "items": {
            "type": "object",
            "required": ["role"],
            "properties": {
                "role": { "enum": ROLES },
                "content": {
                    "type": ["string", "array", "null"], "items": { "type": "object" },
                },
            },
        },
    })
}
