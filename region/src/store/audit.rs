//! Who changed what: one row for each mutation, written in its transaction.

use chrono::NaiveDateTime;
use diesel::{
    ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _, SelectableHelper as _, dsl,
    prelude::{Queryable, Selectable},
};
use farrier_common::clock::Timestamp;

use crate::domain::Result;

use super::{
    Request, Store, Tx,
    convert::{limit as rows, naive, utc},
    dialect,
    error::Outcome,
    schema::audit,
};

#[derive(Queryable, Selectable)]
#[diesel(table_name = audit)]
struct Row {
    number: i64,
    at: NaiveDateTime,
    user_name: String,
    method: String,
    target: String,
    comment: String,
    peer: String,
    request_id: String,
}

/// A mutation that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Grows by commit.
    pub number: i64,
    /// When.
    pub at: Timestamp,
    /// Who: his name then.
    pub user: String,
    /// The call.
    pub method: String,
    /// What was changed, as the caller named it; if he did not, as the answer names it.
    pub target: String,
    /// Why, as the caller said.
    pub comment: String,
    /// Address and port that the call came from.
    pub peer: String,
    /// The caller's name of the call.
    pub request_id: String,
}

impl From<Row> for AuditRow {
    fn from(row: Row) -> Self {
        Self {
            number: row.number,
            at: utc(row.at),
            user: row.user_name,
            method: row.method,
            target: row.target,
            comment: row.comment,
            peer: row.peer,
            request_id: row.request_id,
        }
    }
}

/// Which of them; an empty text means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// By this user.
    pub user: String,
    /// Of this call.
    pub method: String,
    /// Of what was named so.
    pub target: String,
}

impl Store {
    /// Mutations that were carried out, the newest first, and the number of the newest of all. `before`: only those with a
    /// smaller number.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn audit_list(
        &self,
        filter: AuditFilter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<(Vec<AuditRow>, i64)> {
        self.read(move |tx| {
            let newest: Option<i64> = audit::table.select(dsl::max(audit::number)).first(tx.conn)?;
            let mut page = audit::table.order(audit::number.desc()).limit(rows(limit)).into_boxed();
            if let Some(before) = before {
                page = page.filter(audit::number.lt(before));
            }
            if !filter.user.is_empty() {
                page = page.filter(audit::user_name.eq(filter.user));
            }
            if !filter.method.is_empty() {
                page = page.filter(audit::method.eq(filter.method));
            }
            if !filter.target.is_empty() {
                page = page.filter(audit::target.eq(filter.target));
            }
            let found: Vec<Row> = page.select(Row::as_select()).load(tx.conn)?;
            Ok((found.into_iter().map(AuditRow::from).collect(), newest.unwrap_or(0)))
        })
        .await
    }
}

/// Notes that the request was carried out. Called last, because numbers are given out under the lock of the event log, so
/// that they grow as transactions commit: what follows is at most the events, which need the lock anyway. `subject`: what was
/// changed, if the request does not name it.
pub(super) fn append(tx: &mut Tx<'_>, request: &Request, subject: &str) -> Outcome<()> {
    dialect::lock_event_log(tx)?;
    let row = (
        audit::at.eq(naive(tx.now)),
        audit::user_id.eq(&request.principal),
        audit::user_name.eq(&request.user),
        audit::method.eq(request.method),
        audit::target.eq(if request.target.is_empty() { subject } else { &request.target }),
        audit::comment.eq(&request.comment),
        audit::peer.eq(&request.peer),
        audit::request_id.eq(&request.request_id),
    );
    diesel::insert_into(audit::table).values(row).execute(tx.conn)?;
    Ok(())
}
