//! Prices as clients read them: in credits, the operator's margin included.

use domain::credits::Credits;
use domain::price::{Form, MARGIN_BP_NONE, Price, Rate};
use serde_json::{Map, Value, json};

/// A price. `type` says which form it has.
pub(super) fn view(price: &Price) -> Value {
    let whole = |credits: Credits| with_margin(credits, price.margin_bp);
    match &price.form {
        Form::PerRun { credits } => json!({ "type": "per_run", "credits": whole(*credits) }),
        Form::PerSecond { rate, seconds_max } => {
            let mut view = rated("per_second", rate, whole);
            view["max_seconds"] = json!(seconds_max);
            view
        }
        Form::PerImage { rate } => rated("per_image", rate, whole),
        Form::PerMillionTokens { input, output, .. } => json!({
            "type": "per_million_tokens", "input": whole(*input), "output": whole(*output),
        }),
        Form::Table { by, rows } => {
            let row = |row: &domain::price::Row| {
                let named = by.iter().cloned().zip(row.values.iter().cloned());
                let mut view: Map<String, Value> = named.collect();
                view.insert("credits".to_owned(), json!(whole(row.credits)));
                Value::Object(view)
            };
            let rows: Vec<Value> = rows.iter().map(row).collect();
            json!({ "type": "table", "by": by, "rows": rows })
        }
    }
}

fn rated(kind: &str, rate: &Rate, whole: impl Fn(Credits) -> Credits) -> Value {
    match rate {
        Rate::Flat(credits) => json!({ "type": kind, "credits": whole(*credits) }),
        Rate::BySize(sizes) => {
            let size =
                |(size, credits): (&String, &Credits)| (size.clone(), json!(whole(*credits)));
            let sizes: Map<String, Value> = sizes.iter().map(size).collect();
            json!({ "type": kind, "by_size": sizes })
        }
    }
}

fn with_margin(credits: Credits, margin_bp: u32) -> Credits {
    let whole = credits.share(u64::from(margin_bp), u64::from(MARGIN_BP_NONE));
    whole.unwrap_or(Credits(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_shows_what_is_charged() {
        let price = Price {
            form: Form::PerSecond {
                rate: Rate::Flat(Credits(100_000)),
                seconds_max: 10,
            },
            margin_bp: 12_500,
        };
        assert_eq!(
            view(&price),
            json!({ "type": "per_second", "credits": 0.125, "max_seconds": 10 })
        );
        let table = Price::new(Form::Table {
            by: vec!["resolution".to_owned()],
            rows: vec![domain::price::Row {
                values: vec![json!("720p")],
                credits: Credits(350_000),
            }],
        });
        assert_eq!(
            view(&table),
            json!({
                "type": "table", "by": ["resolution"],
                "rows": [{ "resolution": "720p", "credits": 0.35 }],
            })
        );
    }
}
