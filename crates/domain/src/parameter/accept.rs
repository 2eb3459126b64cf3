//! Which values a parameter takes, and the one way each of them is stored.

use serde_json::{Number, Value, json};

use crate::order::{Invalid, link};
use crate::parameter::{Kind, Parameter, ShotsRule};
use crate::price::same;

/// Beyond this size (2^53) a float no longer tells neighbouring integers apart.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

impl Parameter {
    /// The canonical form of a value.
    ///
    /// # Errors
    /// A value of another type, or one that is not allowed; the refusal names group and parameter.
    pub fn accept(&self, group: &str, value: &Value) -> Result<Value, Invalid> {
        self.kind.accept(value).map_err(|message| Invalid {
            param: format!("{group}.{}", self.name),
            message,
            allowed: self.kind.allowed(),
        })
    }
}

impl Kind {
    /// The canonical form of a value, or what is wrong with it.
    fn accept(&self, value: &Value) -> Result<Value, String> {
        match (self, value) {
            (Self::Words(words), Value::String(word)) if words.contains(word) => Ok(value.clone()),
            (Self::Words(words), _) => Err(format!("must be one of {}", words.join(", "))),
            (Self::Numbers(numbers), _) => {
                let found = numbers
                    .iter()
                    .map(|number| Value::Number(number.clone()))
                    .find(|number| same(number, value));
                found.ok_or_else(|| {
                    let list: Vec<String> = numbers.iter().map(Number::to_string).collect();
                    format!("must be one of the numbers {}", list.join(", "))
                })
            }
            (Self::Number { min, max }, _) => {
                let number = value.as_f64().filter(|n| (*min..=*max).contains(n));
                number
                    .map(|number| Value::Number(plain(number)))
                    .ok_or_else(|| {
                        let (min, max) = (plain(*min), plain(*max));
                        format!("must be a number between {min} and {max}")
                    })
            }
            (Self::Integer { min, max }, _) => {
                let integer = integer(value).filter(|n| (*min..=*max).contains(n));
                integer
                    .map(Value::from)
                    .ok_or_else(|| format!("must be an integer between {min} and {max}"))
            }
            (Self::Flag, Value::Bool(_)) => Ok(value.clone()),
            (Self::Flag, _) => Err("must be true or false".to_owned()),
            (Self::Text { chars_max }, Value::String(text)) => {
                sound_text(text, *chars_max)?;
                Ok(value.clone())
            }
            (Self::Text { .. }, _) => Err("must be a string".to_owned()),
            (Self::Urls { items_max }, Value::Array(items)) => {
                links(items, *items_max)?;
                Ok(value.clone())
            }
            (Self::Urls { .. }, _) => Err("must be an array of links".to_owned()),
            (Self::Shots(rule), Value::Array(items)) => shots(items, *rule).map(Value::Array),
            (Self::Shots(_), _) => Err("must be an array of shots".to_owned()),
        }
    }
}

/// A text of so many characters, without NUL, which the text type of PostgreSQL cannot hold.
pub(crate) fn sound_text(text: &str, chars_max: u32) -> Result<(), String> {
    let is_short = u32::try_from(text.chars().count()).is_ok_and(|count| count <= chars_max);
    if !is_short {
        return Err(format!("must have at most {chars_max} characters"));
    }
    if text.contains('\0') {
        return Err("must not contain the NUL character (U+0000)".to_owned());
    }
    Ok(())
}

fn links(items: &[Value], items_max: u32) -> Result<(), String> {
    if u32::try_from(items.len()).map_or(true, |count| count > items_max) {
        return Err(format!("must have at most {items_max} links"));
    }
    for (position, item) in items.iter().enumerate() {
        let is_link = item.as_str().is_some_and(link::is_media_link);
        if !is_link {
            return Err(format!(
                "must be an array of http, https or data URLs; item {position} is none"
            ));
        }
    }
    Ok(())
}

/// The canonical form of shots: their prompts and durations, and nothing else that was said of them.
fn shots(items: &[Value], rule: ShotsRule) -> Result<Vec<Value>, String> {
    let ShotsRule {
        items_max,
        chars_max,
        seconds_max,
    } = rule;
    if u32::try_from(items.len()).map_or(true, |count| count > items_max) {
        return Err(format!("must have at most {items_max} shots"));
    }
    let shot = |(position, item): (usize, &Value)| {
        let wrong = |what: String| format!("{what}; item {position} is none such");
        let prompt = item.get("prompt").and_then(Value::as_str);
        let prompt = prompt.filter(|text| !text.trim().is_empty());
        let prompt =
            prompt.ok_or_else(|| wrong("must be an array of shots with a `prompt`".to_owned()))?;
        sound_text(prompt, chars_max)
            .map_err(|problem| format!("the `prompt` of item {position} {problem}"))?;
        let duration = item.get("duration").and_then(integer);
        let duration = duration.filter(|seconds| (1..=i64::from(seconds_max)).contains(seconds));
        let duration = duration.ok_or_else(|| {
            wrong(format!(
                "must be an array of shots with a `duration` of 1 to {seconds_max} whole seconds"
            ))
        })?;
        Ok(json!({ "prompt": prompt, "duration": duration }))
    };
    items.iter().enumerate().map(shot).collect()
}

/// The integer that a JSON number means, whether it is written `5` or `5.0`.
pub(crate) fn integer(value: &Value) -> Option<i64> {
    if let Some(integer) = value.as_i64() {
        return Some(integer);
    }
    plain(value.as_f64()?).as_i64()
}

/// The shortest spelling of a number: an integer where it is one.
pub(crate) fn plain(number: f64) -> Number {
    let is_whole = number.fract() == 0.0 && number.abs() <= WHOLE_MAX;
    let whole = is_whole.then(|| format!("{number:.0}").parse::<i64>().ok());
    match whole.flatten() {
        Some(whole) => Number::from(whole),
        None => Number::from_f64(number).unwrap_or_else(|| Number::from(0)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parameter(kind: Kind) -> Parameter {
        Parameter {
            name: "p".to_owned(),
            kind,
            default: None,
            description: "For a test.".to_owned(),
        }
    }

    #[test]
    fn one_value_has_one_spelling() {
        let listed = parameter(Kind::Numbers(vec![5.into(), 10.into()]));
        assert_eq!(listed.accept("group", &json!(5.0)), Ok(json!(5)));
        let integer = parameter(Kind::Integer { min: -1, max: 15 });
        assert_eq!(integer.accept("group", &json!(15.0)), Ok(json!(15)));
        assert_eq!(integer.accept("group", &json!(-0.0)), Ok(json!(0)));
        let number = parameter(Kind::Number { min: 0.0, max: 2.0 });
        assert_eq!(number.accept("group", &json!(1.0)), Ok(json!(1)));
        assert_eq!(number.accept("group", &json!(0.7)), Ok(json!(0.7)));
    }

    #[test]
    fn what_is_not_allowed_is_named() {
        let cases = [
            (
                Kind::Words(vec!["a".to_owned()]),
                json!("b"),
                Some(json!(["a"])),
            ),
            (Kind::Numbers(vec![5.into()]), json!("5"), Some(json!([5]))),
            (Kind::Numbers(vec![5.into()]), json!(7), Some(json!([5]))),
            (
                Kind::Number { min: 0.0, max: 2.0 },
                json!(2.1),
                Some(json!({"min": 0, "max": 2})),
            ),
            (
                Kind::Integer { min: 1, max: 9 },
                json!(1.5),
                Some(json!({"min": 1, "max": 9})),
            ),
            (
                Kind::Integer { min: 1, max: 9 },
                json!(1e300),
                Some(json!({"min": 1, "max": 9})),
            ),
            (Kind::Flag, json!("true"), Some(json!([true, false]))),
            (Kind::Text { chars_max: 3 }, json!("four"), None),
            (Kind::Text { chars_max: 3 }, json!("a\0"), None),
            (
                Kind::Urls { items_max: 1 },
                json!("https://a.test"),
                Some(json!({"max_items": 1})),
            ),
            (
                Kind::Urls { items_max: 1 },
                json!(["https://a.test", "https://b.test"]),
                Some(json!({"max_items": 1})),
            ),
            (
                Kind::Urls { items_max: 1 },
                json!(["ftp://a.test"]),
                Some(json!({"max_items": 1})),
            ),
        ];
        for (kind, value, allowed) in cases {
            let refusal = parameter(kind).accept("group", &value).unwrap_err();
            assert_eq!(refusal.param, "group.p");
            assert_eq!(refusal.allowed, allowed, "{value}");
        }
    }

    #[test]
    fn shots_have_a_prompt_and_whole_seconds() {
        let shots = parameter(Kind::Shots(ShotsRule {
            items_max: 2,
            chars_max: 5,
            seconds_max: 12,
        }));
        let given = json!([
            {"prompt": "a fox", "duration": 12.0, "camera": "low"},
            {"prompt": "snow", "duration": 1},
        ]);
        let canonical = json!([
            {"prompt": "a fox", "duration": 12},
            {"prompt": "snow", "duration": 1},
        ]);
        assert_eq!(shots.accept("group", &given), Ok(canonical.clone()));
        assert_eq!(shots.accept("group", &canonical), Ok(canonical));
        assert_eq!(shots.accept("group", &json!([])), Ok(json!([])));
        let shot = json!({"prompt": "snow", "duration": 1});
        for (value, part) in [
            (json!("a fox"), "array of shots"),
            (json!({}), "array of shots"),
            (json!([shot, shot, shot]), "at most 2 shots"),
            (json!([shot, "snow"]), "with a `prompt`; item 1"),
            (json!([{"duration": 1}]), "with a `prompt`; item 0"),
            (json!([{"prompt": " ", "duration": 1}]), "with a `prompt`"),
            (json!([{"prompt": 1, "duration": 1}]), "with a `prompt`"),
            (
                json!([{"prompt": "a foxy", "duration": 1}]),
                "item 0 must have at most 5",
            ),
            (json!([{"prompt": "a\0", "duration": 1}]), "NUL"),
            (json!([{"prompt": "snow"}]), "1 to 12 whole seconds"),
            (json!([{"prompt": "snow", "duration": 0}]), "1 to 12"),
            (json!([{"prompt": "snow", "duration": 13}]), "1 to 12"),
            (json!([{"prompt": "snow", "duration": 1.5}]), "1 to 12"),
            (json!([{"prompt": "snow", "duration": "3"}]), "1 to 12"),
        ] {
            let refusal = shots.accept("group", &value).unwrap_err();
            assert_eq!(refusal.param, "group.p");
            assert!(refusal.message.contains(part), "{value}: {refusal}");
            assert_eq!(refusal.allowed, Some(json!({"max_items": 2})));
        }
    }

    #[test]
    fn the_view_describes_the_value() {
        let duration = Parameter {
            default: Some(json!(5)),
            ..parameter(Kind::Numbers(vec![5.into(), 10.into()]))
        };
        assert_eq!(
            duration.view(),
            json!({
                "name": "p", "type": "number", "allowed": [5, 10],
                "default": 5, "description": "For a test.",
            })
        );
        let guidance = parameter(Kind::Number {
            min: 1.0,
            max: 20.0,
        });
        assert_eq!(
            guidance.view(),
            json!({
                "name": "p", "type": "number", "min": 1, "max": 20,
                "default": null, "description": "For a test.",
            })
        );
    }

    proptest! {
        #[test]
        fn whole_numbers_lose_their_point(whole in -9_007_199_254_740_992_i64..=9_007_199_254_740_992) {
            let spelled: f64 = whole.to_string().parse().unwrap();
            prop_assert_eq!(plain(spelled), Number::from(whole));
        }

        #[test]
        fn accepted_is_a_fixed_point(number in proptest::num::f64::NORMAL) {
            let kind = parameter(Kind::Number { min: -1e9, max: 1e9 });
            if let Ok(once) = kind.accept("group", &json!(number)) {
                prop_assert_eq!(kind.accept("group", &once), Ok(once.clone()));
                prop_assert_eq!(once.as_f64(), Some(number));
            }
        }
    }
}
