//! Requests that may be repeated: each answer is kept with the request id, in the transaction of what it answers.

use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, sql_types};
use farrier_common::clock::Timestamp;

use crate::domain::{Error, Result};

use super::{Store, Tx, audit, convert::naive, error::Outcome, schema::requests};

/// Who asked for what.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who: request ids of different callers have nothing to do with each other.
    pub principal: String,
    /// Chosen by the caller.
    pub request_id: String,
    /// The call.
    pub method: &'static str,
    /// Digest of the whole body.
    pub body_sha256: String,
    /// Name of the principal, for the audit like all that follows.
    pub user: String,
    /// What is to be changed, as the caller named it; may be empty.
    pub target: String,
    /// Reads from the rendered answer what was changed, where the caller left it open.
    pub subject: fn(&[u8]) -> String,
    /// Why; may be empty.
    pub comment: String,
    /// Address and port that the call came from; may be empty.
    pub peer: String,
    /// Do all of it, answer, and undo it: nothing is kept, not even the answer.
    pub validate_only: bool,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Once<T> {
    /// It was carried out just now.
    Fresh(T),
    /// It was carried out before: the answer of then.
    Replay(Vec<u8>),
}

impl<T> Once<T> {
    /// Makes something else of what was carried out.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Once<U> {
        match self {
            Self::Fresh(made) => Once::Fresh(make(made)),
            Self::Replay(kept) => Once::Replay(kept),
        }
    }
}

impl Store {
    /// The answer, if the request was carried out before.
    ///
    /// # Errors
    /// The id was used for another request.
    pub async fn request_seen(&self, request: &Request) -> Result<Option<Vec<u8>>> {
        let request = request.clone();
        self.read(move |tx| stored(tx, &request)).await
    }

    /// Forgets the requests from before; tells how many.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn requests_prune(&self, before: Timestamp) -> Result<usize> {
        self.write(move |tx| {
            let old = requests::table.filter(requests::created_at.lt(naive(before)));
            Ok(diesel::delete(old).execute(tx.conn)?)
        })
        .await
    }

    /// Carries out `work` unless the request was carried out before; either all is kept, with the answer, or nothing.
    pub(super) async fn once<T, R, W>(&self, request: Option<&Request>, render: R, work: W) -> Result<Once<T>>
    where
        T: Send + 'static,
        R: FnOnce(&T) -> Vec<u8> + Send + 'static,
        W: FnOnce(&mut Tx<'_>) -> Outcome<T> + Send + 'static,
    {
        let request = request.cloned();
        self.write(move |tx| {
            let Some(request) = request else { return work(tx).map(Once::Fresh) };
            if request.validate_only {
                tx.undo = true;
                return work(tx).map(Once::Fresh);
            }
            if !reserve(tx, &request)? {
                return stored(tx, &request)?.map(Once::Replay).ok_or_else(|| {
                    super::error::misuse(format!("request {} is neither new nor known", request.request_id))
                });
            }
            let made = work(tx)?;
            let rendered = render(&made);
            answer(tx, &request, &rendered)?;
            let subject = if request.target.is_empty() { (request.subject)(&rendered) } else { String::new() };
            audit::append(tx, &request, &subject)?;
            Ok(Once::Fresh(made))
        })
        .await
    }
}

/// Takes the id. A second caller with the same id waits here until the first has committed or given up.
fn reserve(tx: &mut Tx<'_>, request: &Request) -> Outcome<bool> {
    let inserted = diesel::sql_query(
        "INSERT INTO requests (principal, request_id, method, body_sha256, answer, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    )
    .bind::<sql_types::Text, _>(&request.principal)
    .bind::<sql_types::Text, _>(&request.request_id)
    .bind::<sql_types::Text, _>(request.method)
    .bind::<sql_types::Text, _>(&request.body_sha256)
    .bind::<sql_types::Binary, _>(Vec::<u8>::new())
    .bind::<sql_types::Timestamp, _>(naive(tx.now))
    .execute(tx.conn)?;
    Ok(inserted == 1)
}

fn answer(tx: &mut Tx<'_>, request: &Request, answer: &[u8]) -> Outcome<()> {
    diesel::update(requests::table.find((&request.principal, &request.request_id)))
        .set(requests::answer.eq(answer))
        .execute(tx.conn)?;
    Ok(())
}

fn stored(tx: &mut Tx<'_>, request: &Request) -> Outcome<Option<Vec<u8>>> {
    let found: Option<(String, String, Vec<u8>)> = requests::table
        .find((&request.principal, &request.request_id))
        .select((requests::method, requests::body_sha256, requests::answer))
        .first(tx.conn)
        .optional()?;
    match found {
        None => Ok(None),
        Some((method, body, answer)) if method == request.method && body == request.body_sha256 => Ok(Some(answer)),
        Some(_) => Err(Error::invalid("request_id", "was used for another request").into()),
    }
}
