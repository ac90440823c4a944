//! Who changed what: one row for each mutation, written in its transaction.

use diesel::{ExpressionMethods as _, RunQueryDsl as _};

use super::{Request, Tx, convert::naive, error::Outcome, schema::audit};

/// Notes that the request was carried out.
pub(super) fn append(tx: &mut Tx<'_>, request: &Request) -> Outcome<()> {
    let row = (
        audit::at.eq(naive(tx.now)),
        audit::user_id.eq(&request.principal),
        audit::user_name.eq(&request.user),
        audit::method.eq(request.method),
        audit::target.eq(&request.target),
        audit::comment.eq(&request.comment),
        audit::peer.eq(&request.peer),
        audit::request_id.eq(&request.request_id),
    );
    diesel::insert_into(audit::table).values(row).execute(tx.conn)?;
    Ok(())
}
