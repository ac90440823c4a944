//! A lock of PostgreSQL, held until so many others wait for it: so that they are sure to meet.

use std::time::{Duration, Instant};

use diesel::{
    Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, connection::SimpleConnection as _, sql_query,
    sql_types,
};

/// A transaction of somebody else's.
pub(crate) struct Held(PgConnection);

#[derive(QueryableByName)]
struct Waiting {
    #[diesel(sql_type = sql_types::BigInt)]
    count: i64,
}

impl Held {
    /// Begins one on the database at `url` with this statement.
    pub(crate) fn take(url: &str, statement: &str) -> Self {
        let mut conn = PgConnection::establish(url).unwrap();
        conn.batch_execute(&format!("BEGIN; {statement}")).unwrap();
        Self(conn)
    }

    /// Ends it without effect when so many transactions wait for a lock.
    pub(crate) async fn until_wait(self, transactions: i64) {
        self.ends(transactions, "ROLLBACK").await;
    }

    /// The same, but it takes effect.
    pub(crate) async fn commits_when_wait(self, transactions: i64) {
        self.ends(transactions, "COMMIT").await;
    }

    async fn ends(mut self, transactions: i64, how: &str) {
        const WAITING: &str = "SELECT count(*) AS count FROM pg_stat_activity \
                               WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let begun = Instant::now();
        loop {
            // Within one transaction PostgreSQL tells of others what it told the first time, unless it is told to forget that.
            self.0.batch_execute("SELECT pg_stat_clear_snapshot()").unwrap();
            let now: Waiting = sql_query(WAITING).get_result(&mut self.0).unwrap();
            if now.count >= transactions {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{} of {transactions} wait", now.count);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.0.batch_execute(how).unwrap();
    }
}
