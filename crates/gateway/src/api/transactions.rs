//! The history of an account's credits.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::credits::Credits;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::{Billing, Caller};
use super::query::Query;
use super::refusals::{Invalid, Unauthorized, Unavailable};
use super::{Api, ApiError};
use crate::clock::{parse_rfc3339, rfc3339};
use crate::store::transactions::{LINES_MAX, Origin, Span, Transaction};

/// Most lines of one page.
const PER_PAGE_MAX: i64 = 100;

/// Lines of one page unless asked otherwise.
const PER_PAGE: i64 = 20;

/// A line: a task, a payment, a gift or a correction.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Transaction)]
pub(super) struct TransactionView {
    /// Its id.
    #[schema(example = "txn_dce2ff35b6438fa0ed7ad260ea2c110d")]
    id: String,
    /// What it adds to the balance; negative for what it takes. While a task runs: what is held.
    #[schema(value_type = f64, example = -0.05)]
    credits: Credits,
    /// The same without its sign.
    #[schema(value_type = f64, example = 0.05)]
    amount: Credits,
    /// `usage`, `stripe`, `grant` or `adjustment`.
    #[schema(example = "usage")]
    payment_method: &'static str,
    /// `pending` while a task runs, else `completed`.
    #[schema(example = "completed")]
    status: &'static str,
    /// When the task was submitted, or the credits were entered.
    created_at: String,
    /// The task of a `usage` line, else null.
    task_id: Option<String>,
}

/// A page of the history.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TransactionList {
    /// The lines, newest first.
    data: Vec<TransactionView>,
    /// How many there are, counted up to 10 000: as far as pages reach.
    #[schema(example = 137)]
    total: i64,
    /// Which page this is, from 1.
    page: i64,
    /// Lines of a whole page.
    per_page: i64,
}

/// List transactions, newest first
///
/// One line for each task, payment, gift and correction. Pages reach the newest 10 000; for older
/// ones name a time with `to`, or read month by month with both.
#[utoipa::path(
    get, path = "/api/v1/billing/transactions", operation_id = "listTransactions", tag = "Billing", security(("key" = ["billing"])),
    params(
        ("page" = Option<i64>, Query, minimum = 1, description = "Which page; 1 unless given."),
        ("per_page" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Lines of a page; 20 unless given."),
        ("from" = Option<String>, Query, description = "Only lines that are not older; RFC 3339."),
        ("to" = Option<String>, Query, description = "Only lines that are older; RFC 3339."),
    ),
    responses((status = 200, description = "The lines.", body = TransactionList), Unauthorized, Invalid, Unavailable)
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller<Billing>,
    query: Query,
) -> Result<Json<TransactionList>, ApiError> {
    let per_page = query.number("per_page", 1..=PER_PAGE_MAX)?;
    let per_page = per_page.unwrap_or(PER_PAGE);
    let page = query.number("page", 1..=LINES_MAX.div_euclid(per_page))?;
    let page = page.unwrap_or(1);
    let span = Span {
        from_ms: instant(&query, "from")?.unwrap_or(i64::MIN),
        to_ms: instant(&query, "to")?.unwrap_or(i64::MAX),
        offset: (page - 1) * per_page,
        limit: per_page,
    };
    let read = api.store.transactions(&caller.0.account, span).await?;
    Ok(Json(TransactionList {
        data: read.lines.into_iter().map(view).collect(),
        total: read.total,
        page,
        per_page,
    }))
}

fn instant(query: &Query, name: &'static str) -> Result<Option<i64>, ApiError> {
    let Some(text) = query.text(name)? else {
        return Ok(None);
    };
    let message = "must be an RFC 3339 instant such as 2026-11-24T21:35:27Z";
    parse_rfc3339(text)
        .map(Some)
        .ok_or_else(|| ApiError::invalid(name, message))
}

fn view(line: Transaction) -> TransactionView {
    TransactionView {
        id: line.id.0,
        credits: line.credits,
        amount: Credits(line.credits.0.saturating_abs()),
        payment_method: match line.origin {
            Origin::Usage => "usage",
            Origin::Stripe => "stripe",
            Origin::Grant => "grant",
            Origin::Adjustment => "adjustment",
        },
        status: match line.is_pending {
            true => "pending",
            false => "completed",
        },
        created_at: rfc3339(line.created_ms),
        task_id: line.task.map(|task| task.0),
    }
}
