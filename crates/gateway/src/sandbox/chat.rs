//! An answer without a model: it says what was asked, is the same every time, and counts its tokens.

use domain::order::Order;
use domain::price::Usage;
use domain::upstream::Answer;

use super::render::dice::{self, Dice};

/// Characters of a token; near enough to what tokenizers make of English.
const CHARS_PER_TOKEN: usize = 4;

/// Most tokens one word counts: a link of any length is priced as one picture.
const WORD_TOKENS_MAX: usize = 1_000;

/// Longest quotation of the prompt, in characters.
const QUOTE_CHARS_MAX: usize = 240;

const OPENINGS: [&str; 5] = [
    "A fine thing to ask a machine that has read nothing.",
    "I thought about this for almost a millisecond.",
    "No model was consulted, so nobody can disagree with what follows.",
    "Asked and answered, at no cost to anyone's graphics card.",
    "Let me be brief, as there is nobody here to be long.",
];

const POINTS: [&str; 9] = [
    "Your request arrived whole, in the right order, and was read from both ends.",
    "Whatever the question, forty-two has been tried and was rejected as too obvious.",
    "The first draft was better, but it was in a language without vowels.",
    "If this were a real model, you would be paying for this sentence.",
    "Two experts were asked; one is a random number, the other is its seed.",
    "The evidence is strong, as it was made up only moments ago.",
    "Nothing was left out except what was not put in.",
    "A committee would have said the same, in a year, with a diagram.",
    "Every claim here can be reproduced exactly, and that is its whole merit.",
];

const CLOSINGS: [&str; 4] = [
    "Ask again and you will get exactly this answer again: the sandbox is nothing if not loyal.",
    "Your plumbing works. That was probably the question.",
    "For opinions, please route this to a real provider.",
    "End of test answer; the token count below is honest.",
];

/// The answer to an order.
pub(crate) fn answer(order: &Order) -> Answer {
    let whole = compose(order);
    let chars = whole.chars().count();
    let tokens_max = order.int("max_tokens").map_or(usize::MAX, |most| {
        usize::try_from(most.max(0)).unwrap_or(usize::MAX)
    });
    let chars_max = tokens_max.saturating_mul(CHARS_PER_TOKEN);
    let (text, finish_reason) = if chars <= chars_max {
        (whole, "stop")
    } else {
        (whole.chars().take(chars_max).collect(), "length")
    };
    let output_tokens = chars.min(chars_max).div_ceil(CHARS_PER_TOKEN);
    Answer {
        text,
        finish_reason: finish_reason.to_owned(),
        usage: Usage {
            input_tokens: input_tokens(order),
            output_tokens: output_tokens as u64,
        },
    }
}

fn compose(order: &Order) -> String {
    let mut dice = Dice::new(dice::seed(order));
    let quote = quote(&order.prompt_text());
    let asked = match (quote.is_empty(), order.messages.is_some()) {
        (true, _) => "You said nothing at all, and I agree.".to_owned(),
        (false, true) => format!("You said, in the end: “{quote}”"),
        (false, false) => format!("You asked: “{quote}”"),
    };
    let mut points = POINTS.to_vec();
    let mut point = || {
        let chosen = *dice.pick(&points);
        points.retain(|other| *other != chosen);
        chosen
    };
    let points = [point(), point(), point()];
    format!(
        "{asked}\n\n{}\n\n1. {}\n2. {}\n3. {}\n\n{} (A test answer from the RouterBase sandbox in \
         place of {}.)",
        dice.pick(&OPENINGS),
        points[0],
        points[1],
        points[2],
        dice.pick(&CLOSINGS),
        order.model
    )
}

/// The last paragraph, as that is where a conversation is, with single spaces.
fn quote(prompt: &str) -> String {
    let last = prompt.trim().rsplit("\n\n").next().unwrap_or_default();
    let mut words = String::new();
    for word in last.split_whitespace() {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
        if words.len() > QUOTE_CHARS_MAX * 4 {
            break;
        }
    }
    if words.chars().count() <= QUOTE_CHARS_MAX {
        return words;
    }
    let cut: String = words.chars().take(QUOTE_CHARS_MAX).collect();
    format!("{}…", cut.trim_end())
}

/// Never more than the price's bound: a word counts fewer tokens than it has bytes, a link no more
/// than a picture.
fn input_tokens(order: &Order) -> u64 {
    let text = order.prompt_text();
    let words = text.split_whitespace().map(|word| {
        let chars = word.chars().count();
        chars.div_ceil(CHARS_PER_TOKEN).min(WORD_TOKENS_MAX) as u64
    });
    words.fold(1, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use domain::credits::Credits;
    use domain::order::Modality;
    use domain::price::{Form, Price};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn order(prompt: &str, messages: Option<Value>, params: Value) -> Order {
        Order {
            model: "gpt-5".to_owned(),
            modality: Modality::Chat,
            prompt: prompt.to_owned(),
            messages,
            params: serde_json::from_value(params).unwrap(),
            scenario: None,
        }
    }

    /// A price at which a token costs a micro-credit, to see the bounds as numbers.
    fn price(input: i64, output: i64) -> Price {
        Price::new(Form::PerMillionTokens {
            input: Credits(input),
            output: Credits(output),
            output_tokens_max: 2_000,
        })
    }

    #[test]
    fn the_answer_says_what_was_asked_and_never_changes() {
        let order = order("Why is the sky blue?", None, json!({ "temperature": 0.5 }));
        let first = answer(&order);
        assert!(first.text.contains("Why is the sky blue?"));
        assert!(first.text.contains("gpt-5"));
        assert_eq!(first.finish_reason, "stop");
        assert_eq!(first, answer(&order));
    }

    #[test]
    fn a_conversation_is_answered_at_its_end() {
        let messages = json!([
            { "role": "system", "content": "Be kind." },
            { "role": "user", "content": [{ "type": "text", "text": "And green?" }] },
        ]);
        let text = answer(&order("", Some(messages), json!({}))).text;
        assert!(text.contains("“And green?”") && !text.contains("Be kind"));
    }

    #[test]
    fn the_answer_ends_where_the_tokens_do() {
        let cut = answer(&order("Why?", None, json!({ "max_tokens": 5 })));
        assert_eq!(
            (cut.finish_reason.as_str(), cut.usage.output_tokens),
            ("length", 5)
        );
        assert_eq!(cut.text.chars().count(), 20);
        let whole = answer(&order("Why?", None, json!({ "max_tokens": 1_000 })));
        assert_eq!(whole.finish_reason, "stop");
        assert!(whole.usage.output_tokens < 1_000);
        assert_eq!(
            answer(&order("Why?", None, json!({ "max_tokens": 0 }))).text,
            ""
        );
    }

    proptest! {
        #[test]
        fn usage_is_within_what_is_held(
            prompt in "(\\PC|[ \n]){0,80}",
            texts in prop::collection::vec("(https://)?(\\PC| ){0,40}", 0..5),
            max_tokens in prop::option::of(1_i64..500),
            length in 0_usize..30_000,
        ) {
            let long = format!("https://{}", "x".repeat(length));
            let messages = texts.iter().chain([&long]).map(|text| json!({ "content": text }));
            let messages = Value::Array(messages.collect());
            let params = max_tokens.map_or(json!({}), |most| json!({ "max_tokens": most }));
            for messages in [None, Some(messages)] {
                let order = order(&prompt, messages, params.clone());
                let usage = answer(&order).usage;
                for price in [price(1_000_000, 0), price(0, 1_000_000)] {
                    let hold = price.hold(&order);
                    let counted = Credits(i64::try_from(if price.form == self::price(0, 1_000_000).form {
                        usage.output_tokens
                    } else {
                        usage.input_tokens
                    }).unwrap());
                    prop_assert!(counted <= hold, "{usage:?} {hold:?}");
                }
            }
        }
    }
}
