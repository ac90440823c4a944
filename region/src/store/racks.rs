//! Racks, and the join tokens with which they enrol.

use chrono::NaiveDateTime;
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _,
    SelectableHelper as _,
    prelude::{AsChangeset, Identifiable, Insertable, Queryable, Selectable},
};
use farrier_common::{clock::Timestamp, id::RackId, name::Name};

use crate::domain::{
    Error, Result,
    event::{EventKind, NewEvent},
    rack::Rack,
};

use super::{
    Once, Request, Store, Tx,
    convert::{limit as rows, naive, parse, signed, unsigned, utc},
    error::{Outcome, StoreError, unique},
    schema::{join_tokens, racks},
};

/// Where racks serve HTTP unless they are told otherwise.
const HTTP_PORT: u16 = 5248;

/// A one-time token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinToken {
    /// Name that the rack will have.
    pub rack: Name,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A rack that wants in.
#[derive(Clone, Debug)]
pub struct Enrollment {
    /// Digest of the join token's secret.
    pub join_digest: String,
    /// Digest of the rack's public key. A spent token is good again for the key that spent it: the rack may repeat an
    /// enrolment whose answer was lost.
    pub key_digest: String,
    /// `host:port` at which the region dials it.
    pub address: String,
    /// What it runs.
    pub software_version: String,
    /// When the certificate that it is about to be given ends.
    pub certificate_expires_at: Timestamp,
}

/// A sign of life.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// `host:port` at which the region dials it.
    pub address: String,
    /// What it runs.
    pub software_version: String,
    /// Snapshot of intents that it holds.
    pub snapshot: Option<String>,
    /// How many intents it holds.
    pub intents: u64,
    /// Where it serves HTTP; `None`: a rack of an earlier release does not say.
    pub http_port: Option<u16>,
}

#[derive(AsChangeset, Identifiable, Insertable, Queryable, Selectable)]
#[diesel(table_name = racks, treat_none_as_null = true)]
struct Row {
    id: String,
    name: String,
    address: String,
    software_version: String,
    last_seen: Option<NaiveDateTime>,
    snapshot: Option<String>,
    intents: i64,
    certificate_expires_at: NaiveDateTime,
    http_port: i32,
}

impl TryFrom<Row> for Rack {
    type Error = StoreError;

    fn try_from(row: Row) -> Outcome<Self> {
        Ok(Self {
            id: parse("racks.id", &row.id)?,
            name: parse("racks.name", &row.name)?,
            address: row.address,
            software_version: row.software_version,
            last_seen: row.last_seen.map(utc),
            snapshot: row.snapshot,
            intents: unsigned("racks.intents", row.intents)?,
            certificate_expires_at: utc(row.certificate_expires_at),
            http_port: u16::try_from(row.http_port).unwrap_or(HTTP_PORT),
        })
    }
}

impl Store {
    /// Makes a join token. Those that have expired are forgotten on the way.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn join_token_insert<R>(
        &self,
        request: Option<&Request>,
        token: JoinToken,
        digest: &str,
        event: NewEvent,
        render: R,
    ) -> Result<Once<JoinToken>>
    where
        R: FnOnce(&JoinToken) -> Vec<u8> + Send + 'static,
    {
        let digest = digest.to_owned();
        self.once(request, render, move |tx| {
            diesel::delete(join_tokens::table.filter(join_tokens::expires_at.le(naive(tx.now)))).execute(tx.conn)?;
            let row = (
                join_tokens::digest.eq(digest),
                join_tokens::rack_name.eq(token.rack.as_str()),
                join_tokens::expires_at.eq(naive(token.expires_at)),
            );
            diesel::insert_into(join_tokens::table).values(row).execute(tx.conn)?;
            tx.log(event);
            Ok(token)
        })
        .await
    }

    /// Spends a join token: makes the rack, or takes over the one of that name, whose id and machines stay.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`]: the token is unknown, has expired, or was spent by another key.
    pub async fn rack_enroll(&self, enrollment: Enrollment) -> Result<Rack> {
        self.write(move |tx| {
            let name = spend(tx, &enrollment)?;
            let known = racks::table.filter(racks::name.eq(&name)).select(racks::id).first(tx.conn).optional()?;
            let id: RackId = known.map_or_else(|| Ok(RackId::generate()), |id: String| parse("racks.id", &id))?;
            let row = Row {
                id: id.to_string(),
                name: name.clone(),
                address: enrollment.address,
                software_version: enrollment.software_version,
                last_seen: Some(naive(tx.now)),
                snapshot: None,
                intents: 0,
                certificate_expires_at: naive(enrollment.certificate_expires_at),
                http_port: HTTP_PORT.into(),
            };
            let reason = format!("enrolled; it is dialled at {}", row.address);
            if diesel::update(racks::table.find(&row.id)).set(&row).execute(tx.conn)? == 0 {
                unique(diesel::insert_into(racks::table).values(&row).execute(tx.conn), "rack", &name)?;
            }
            tx.log(NewEvent {
                kind: EventKind::Rack,
                machine: None,
                event: None,
                from: None,
                to: None,
                phase: None,
                actor: format!("rack:{name}"),
                reason,
            });
            row.try_into()
        })
        .await
    }

    /// The rack of that id.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn rack_get(&self, id: RackId) -> Result<Option<Rack>> {
        self.read(move |tx| get(tx, id)).await
    }

    /// The rack of that id or name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn rack_find(&self, id_or_name: &str) -> Result<Option<Rack>> {
        let text = id_or_name.to_owned();
        self.read(move |tx| {
            if let Ok(id) = text.parse()
                && let Some(found) = get(tx, id)?
            {
                return Ok(Some(found));
            }
            let row = racks::table.filter(racks::name.eq(text)).select(Row::as_select()).first(tx.conn).optional()?;
            row.map(TryInto::try_into).transpose()
        })
        .await
    }

    /// A page of racks in order of id.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn rack_list(&self, after: Option<RackId>, limit: usize) -> Result<Vec<Rack>> {
        self.read(move |tx| {
            let mut page = racks::table.order(racks::id.asc()).limit(rows(limit)).into_boxed();
            if let Some(after) = after {
                page = page.filter(racks::id.gt(after.to_string()));
            }
            page.select(Row::as_select()).load(tx.conn)?.into_iter().map(TryInto::try_into).collect()
        })
        .await
    }

    /// Takes down a heartbeat.
    ///
    /// # Errors
    /// There is no such rack.
    pub async fn rack_heartbeat(&self, id: RackId, beat: Heartbeat, now: Timestamp) -> Result<()> {
        self.write(move |tx| {
            let updated = diesel::update(racks::table.find(id.to_string()))
                .set((
                    racks::address.eq(beat.address),
                    racks::software_version.eq(beat.software_version),
                    racks::last_seen.eq(naive(now)),
                    racks::snapshot.eq(beat.snapshot),
                    racks::intents.eq(signed(beat.intents)),
                    racks::http_port.eq(i32::from(beat.http_port.unwrap_or(HTTP_PORT))),
                ))
                .execute(tx.conn)?;
            found(id, updated)
        })
        .await
    }

    /// Takes down when the rack's new certificate ends.
    ///
    /// # Errors
    /// There is no such rack.
    pub async fn rack_certificate(&self, id: RackId, expires_at: Timestamp) -> Result<()> {
        self.write(move |tx| {
            let rack = diesel::update(racks::table.find(id.to_string()));
            let updated = rack.set(racks::certificate_expires_at.eq(naive(expires_at))).execute(tx.conn)?;
            found(id, updated)
        })
        .await
    }
}

fn found(id: RackId, updated: usize) -> Outcome<()> {
    if updated == 1 { Ok(()) } else { Err(Error::not_found("rack", id).into()) }
}

fn get(tx: &mut Tx<'_>, id: RackId) -> Outcome<Option<Rack>> {
    let row = racks::table.find(id.to_string()).select(Row::as_select()).first(tx.conn).optional()?;
    row.map(TryInto::try_into).transpose()
}

/// Marks the token as spent by this key; tells the name that it gives.
fn spend(tx: &mut Tx<'_>, enrollment: &Enrollment) -> Outcome<String> {
    let good = join_tokens::table
        .find(&enrollment.join_digest)
        .filter(join_tokens::expires_at.gt(naive(tx.now)))
        .filter(join_tokens::key_digest.is_null().or(join_tokens::key_digest.eq(&enrollment.key_digest)));
    if diesel::update(good).set(join_tokens::key_digest.eq(&enrollment.key_digest)).execute(tx.conn)? != 1 {
        let why = "the join token is unknown, has expired or was used by another rack; make a new one";
        return Err(Error::Unauthenticated(why.to_owned()).into());
    }
    Ok(join_tokens::table.find(&enrollment.join_digest).select(join_tokens::rack_name).first(tx.conn)?)
}
