//! Reading TOML so that every complaint has a line.
//!
//! Invariant: a read that gives `None` for something that is there has noted a problem.

use std::cell::RefCell;

use serde_json::{Number, Value};
use toml::de::{DeTable, DeValue};

use crate::catalogue::{Problem, SourceFile};
use crate::credits::Credits;
use crate::parameter::plain;

/// A file and what is wrong with it.
pub(super) struct Page<'s> {
    path: &'s str,
    text: &'s str,
    problems: RefCell<Vec<Problem>>,
}

/// A table of a file.
#[derive(Clone, Copy)]
pub(super) struct Section<'s> {
    pub(super) page: &'s Page<'s>,
    pub(super) at: usize,
    table: &'s DeTable<'s>,
}

/// A value of a file.
#[derive(Clone, Copy)]
pub(super) struct Item<'s> {
    pub(super) page: &'s Page<'s>,
    pub(super) key: &'s str,
    /// Offset of the value in the text.
    pub(super) at: usize,
    value: &'s DeValue<'s>,
}

impl<'s> Page<'s> {
    pub(super) fn new(file: &'s SourceFile) -> Self {
        Self {
            path: &file.path,
            text: &file.text,
            problems: RefCell::default(),
        }
    }

    /// Notes a problem at an offset of the text.
    pub(super) fn note(&self, at: usize, message: impl Into<String>) {
        let before = self.text.bytes().take(at);
        let line = before.filter(|byte| *byte == b'\n').count();
        self.problems.borrow_mut().push(Problem {
            path: self.path.to_owned(),
            line: line.saturating_add(1),
            message: message.into(),
        });
    }

    pub(super) fn has_problems(&self) -> bool {
        !self.problems.borrow().is_empty()
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        self.problems.borrow().clone()
    }

    /// The file's table; `None` where the text is no TOML.
    pub(super) fn parse(&self) -> Option<DeTable<'s>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            self.note(at, format!("is not valid TOML: {}", error.message()));
        }
        errors.is_empty().then(|| table.into_inner())
    }
}

impl<'s> Section<'s> {
    /// A table that may have only the `known` keys.
    pub(super) fn new(
        page: &'s Page<'s>,
        table: &'s DeTable<'s>,
        at: usize,
        known: &[&str],
    ) -> Self {
        for key in table.keys() {
            if !known.contains(&key.get_ref().as_ref()) {
                let message = format!(
                    "unknown key `{}`; known are {}",
                    key.get_ref(),
                    known.join(", ")
                );
                page.note(key.span().start, message);
            }
        }
        Self { page, at, table }
    }

    pub(super) fn note(&self, message: impl Into<String>) {
        self.page.note(self.at, message);
    }

    pub(super) fn get(&self, key: &str) -> Option<Item<'s>> {
        let (key, value) = self.table.get_key_value(key)?;
        Some(Item {
            page: self.page,
            key: key.get_ref(),
            at: key.span().start,
            value: value.get_ref(),
        })
    }

    /// A value that must be there.
    pub(super) fn demand(&self, key: &str) -> Option<Item<'s>> {
        let item = self.get(key);
        if item.is_none() {
            self.note(format!("`{key}` is missing"));
        }
        item
    }

    /// A text that must be there.
    pub(super) fn text(&self, key: &str) -> String {
        let text = self.demand(key).and_then(|item| item.text());
        text.unwrap_or_default().to_owned()
    }

    /// A text that may be there.
    pub(super) fn text_or_none(&self, key: &str) -> Option<String> {
        Some(self.get(key)?.text()?.to_owned())
    }

    /// An integer within bounds, or another where it is not given.
    pub(super) fn int(&self, key: &str, least: i64, most: i64, otherwise: i64) -> i64 {
        let Some(item) = self.get(key) else {
            return otherwise;
        };
        let found = item.int();
        if found.is_some_and(|int| !(least..=most).contains(&int)) {
            item.note(format!("must be between {least} and {most}"));
        }
        found.unwrap_or(otherwise)
    }

    /// A yes or no; no where it is not given.
    pub(super) fn flag(&self, key: &str) -> bool {
        self.get(key).and_then(|item| item.flag()).unwrap_or(false)
    }

    /// Every value, in the order of the file.
    pub(super) fn items(&self) -> Vec<Item<'s>> {
        let item = |key: &str| self.get(key);
        let names = self.table.keys().map(|key| key.get_ref().as_ref());
        let mut items: Vec<Item<'s>> = names.filter_map(item).collect();
        items.sort_by_key(|item| item.at);
        items
    }
}

impl<'s> Item<'s> {
    /// Notes a problem that begins with the value's key.
    pub(super) fn note(&self, message: impl AsRef<str>) {
        let message = format!("`{}` {}", self.key, message.as_ref());
        self.page.note(self.at, message);
    }

    fn expect<T>(&self, found: Option<T>, wanted: &str) -> Option<T> {
        if found.is_none() {
            let given = self.value.type_str();
            self.note(format!("must be {wanted}, not a value of type {given}"));
        }
        found
    }

    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    pub(super) fn is_list(&self) -> bool {
        self.value.is_array()
    }

    /// A text with something to read in it.
    pub(super) fn text(&self) -> Option<&'s str> {
        let text = self.expect(self.value.as_str(), "a text")?;
        if text.trim().is_empty() || text.contains('\0') {
            self.note("must not be blank, nor contain NUL");
            return None;
        }
        Some(text)
    }

    pub(super) fn flag(&self) -> Option<bool> {
        self.expect(self.value.as_bool(), "true or false")
    }

    pub(super) fn int(&self) -> Option<i64> {
        let int = self.value.as_integer().and_then(|int| {
            let plain = int.as_str();
            i64::from_str_radix(plain, int.radix()).ok()
        });
        self.expect(int, "an integer of at most 64 bits")
    }

    /// A decimal number as it is written.
    fn decimal(&self) -> Option<&'s str> {
        match self.value {
            DeValue::Integer(int) if int.radix() == 10 => Some(int.as_str()),
            DeValue::Float(float) => Some(float.as_str()),
            _ => None,
        }
    }

    /// A price: the decimal as it is written, never a float; not negative.
    pub(super) fn credits(&self) -> Option<Credits> {
        let text = self.expect(self.decimal(), "a decimal number of credits")?;
        match Credits::parse(text.trim_start_matches('+')) {
            Ok(credits) if credits >= Credits::ZERO => Some(credits),
            Ok(_) => {
                self.note("must not be negative");
                None
            }
            Err(error) => {
                self.note(format!("is no price: {error}"));
                None
            }
        }
    }

    /// A decimal number in ten-thousandths.
    pub(super) fn basis_points(&self) -> Option<u32> {
        let text = self.expect(self.decimal(), "a decimal number")?;
        let scaled = crate::credits::scaled(text.trim_start_matches('+'), 4);
        let found = scaled.ok().filter(|(_, is_exact)| *is_exact);
        found.and_then(|(points, _)| u32::try_from(points).ok())
    }

    /// A number in its shortest spelling: `5` for `5.0`.
    pub(super) fn number(&self) -> Option<Number> {
        let number = match self.value {
            DeValue::Integer(_) => self.int().map(Number::from),
            _ => {
                let float = self.decimal().and_then(|text| text.parse::<f64>().ok());
                float.filter(|float| float.is_finite()).map(plain)
            }
        };
        self.expect(number, "a finite number")
    }

    /// A plain value as JSON.
    pub(super) fn json(&self) -> Option<Value> {
        match self.value {
            DeValue::String(text) => Some(Value::from(text.as_ref())),
            DeValue::Boolean(flag) => Some(Value::Bool(*flag)),
            DeValue::Integer(_) | DeValue::Float(_) => self.number().map(Value::Number),
            DeValue::Array(_) => {
                let items = self.list()?;
                items.iter().map(Item::json).collect()
            }
            DeValue::Table(_) => {
                let section = self.open_section()?;
                let items = section.items();
                let pairs = items
                    .iter()
                    .map(|item| Some((item.key.to_owned(), item.json()?)));
                pairs.collect::<Option<_>>().map(Value::Object)
            }
            _ => self.expect(
                None,
                "a text, a number, true, false, or a list or table of them",
            ),
        }
    }

    /// The items of a list; each carries the list's key.
    pub(super) fn list(&self) -> Option<Vec<Item<'s>>> {
        let array = self.expect(self.value.as_array(), "a list")?;
        let items = array.iter().map(|value| Item {
            at: value.span().start,
            value: value.get_ref(),
            ..*self
        });
        Some(items.collect())
    }

    /// A table that may have only the `known` keys.
    pub(super) fn section(&self, known: &[&str]) -> Option<Section<'s>> {
        let table = self.expect(self.value.as_table(), "a table")?;
        Some(Section::new(self.page, table, self.at, known))
    }

    /// A table whose keys are names of the file's own choice.
    pub(super) fn open_section(&self) -> Option<Section<'s>> {
        let table = self.expect(self.value.as_table(), "a table")?;
        Some(Section {
            page: self.page,
            at: self.at,
            table,
        })
    }

    /// One of some words and what it stands for.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let word = self.text()?;
        let found = choices.iter().find(|(known, _)| *known == word);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(known, _)| *known).collect();
            self.note(format!("must be one of {}", words.join(", ")));
        }
        found.map(|(_, value)| *value)
    }
}
