//! Many machines at once, by id or name.

use diesel::{BoolExpressionMethods as _, ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _};

use crate::{
    domain::Result,
    store::{Store, schema::machines},
};

use super::{MachineView, joined, views};

/// Names in one statement: SQLite has 32,766 parameters for it, and each name is asked for twice.
const CHUNK: usize = 1000;

impl Store {
    /// The machines that have one of these ids or names, in no order; those that do not exist are not among them.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn machines_named(&self, names: Vec<String>) -> Result<Vec<MachineView>> {
        self.read(move |tx| {
            let mut all = Vec::with_capacity(names.len());
            for chunk in names.chunks(CHUNK) {
                let one = machines::id.eq_any(chunk).or(machines::name.eq_any(chunk));
                let found = joined().filter(one).load(tx.conn)?;
                all.extend(views(tx, found)?);
            }
            Ok(all)
        })
        .await
    }
}
