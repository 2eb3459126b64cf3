//! Many rows in one statement: a database takes as long to begin and answer one as to insert several
//! rows.

use std::sync::OnceLock;

/// Most rows in a statement, as a power of two.
const DOUBLINGS_MAX: usize = 6;

/// An `INSERT … VALUES (…)` of one row with its parameters `$1` to `$n`, and the same for 2, 4, 8 … rows.
/// Few sizes, as each is prepared once and kept.
pub struct Many {
    one: &'static str,
    more: [OnceLock<String>; DOUBLINGS_MAX],
}

impl Many {
    /// The same as a statement of one row, for more.
    #[must_use]
    pub const fn new(one: &'static str) -> Self {
        Self {
            one,
            more: [const { OnceLock::new() }; DOUBLINGS_MAX],
        }
    }

    /// The statements that insert some rows, each with how many of them it takes, in their order.
    pub(super) fn statements(&'static self, rows: usize) -> Vec<(&'static str, usize)> {
        let mut left = rows;
        let mut statements = Vec::new();
        while let Some(log) = left.checked_ilog2() {
            let doublings = (log as usize).min(DOUBLINGS_MAX);
            statements.push((self.text(doublings), 1 << doublings));
            left -= 1 << doublings;
        }
        statements
    }

    fn text(&'static self, doublings: usize) -> &'static str {
        let Some(index) = doublings.checked_sub(1) else {
            return self.one;
        };
        self.more[index].get_or_init(|| repeated(self.one, 1 << doublings))
    }
}

/// The statement with its row so many times, every parameter a new one.
fn repeated(one: &str, rows: usize) -> String {
    let (start, end) = row(one);
    let row = &one[start..end];
    let numbers = || parameters(row).map(|(_, number)| number);
    let width = numbers().max().unwrap_or(0);
    let mut text = one[..start].to_owned();
    for index in 0..rows {
        if index > 0 {
            text.push_str(", ");
        }
        let mut copied = 0;
        for (at, number) in parameters(row) {
            text.push_str(&row[copied..at]);
            text.push_str(&format!("${}", number + index * width));
            copied = at + 1 + number.to_string().len();
        }
        text.push_str(&row[copied..]);
    }
    text.push_str(&one[end..]);
    text
}

/// From where to where the row reaches, with its parentheses.
fn row(one: &str) -> (usize, usize) {
    const BEFORE: &str = "VALUES ";
    let start = one.find(BEFORE).map_or(one.len(), |at| at + BEFORE.len());
    let mut depth = 0_usize;
    for (at, letter) in one[start..].char_indices() {
        match letter {
            '(' => depth += 1,
            ')' if depth == 1 => return (start, start + at + 1),
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    (start, one.len())
}

/// Where each parameter stands, and its number.
fn parameters(row: &str) -> impl Iterator<Item = (usize, usize)> {
    row.match_indices('$').filter_map(|(at, _)| {
        let digits = row[at + 1..].split(|letter: char| !letter.is_ascii_digit());
        let number = digits.into_iter().next()?.parse().ok()?;
        Some((at, number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    static TWO: Many = Many::new("INSERT INTO t (a, b, c) VALUES ($1, 'x', $2)");

    #[test]
    fn every_row_has_parameters_of_its_own() {
        let one =
            "INSERT INTO t (a, b, c, d) VALUES ($1, ABS($2), 'x', $1) ON CONFLICT (a) DO NOTHING";
        assert_eq!(
            repeated(one, 3),
            "INSERT INTO t (a, b, c, d) VALUES ($1, ABS($2), 'x', $1), ($3, ABS($4), 'x', $3), \
             ($5, ABS($6), 'x', $5) ON CONFLICT (a) DO NOTHING"
        );
        let wide = "INSERT INTO t VALUES ($9, $10)";
        assert_eq!(
            repeated(wide, 2),
            "INSERT INTO t VALUES ($9, $10), ($19, $20)"
        );
    }

    #[test]
    fn any_number_of_rows_takes_few_sizes() {
        for rows in 0..400 {
            let sizes: Vec<_> = TWO.statements(rows).iter().map(|(_, rows)| *rows).collect();
            assert_eq!(sizes.iter().sum::<usize>(), rows);
            assert!(
                sizes
                    .iter()
                    .all(|size| size.is_power_of_two() && *size <= 64)
            );
            assert!(sizes.len() <= rows / 64 + 6, "{rows}: {sizes:?}");
        }
        let texts = TWO.statements(3);
        assert_eq!(texts[0].0.matches('$').count(), 4);
        assert_eq!(texts[1].0, TWO.one);
    }
}
