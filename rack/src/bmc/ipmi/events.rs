//! The System Event Log (IPMI 2.0 chapter 31).

use std::{collections::VecDeque, time::Duration};

use chrono::DateTime;
use farrier_ipmi::sel::{GetSelEntry, RecordId, SelRecord};
use ipmi_rs_core::storage::sel::GetSelInfo;
use tokio::time::Instant;

use super::{
    super::{
        BmcError, Login,
        events::{BmcEvent, EventLog},
    },
    lanplus::{Pace, Session, SessionError},
};

/// "Requested sensor, data, or record not present" (IPMI 2.0 table 5-2).
const ABSENT: u8 = 0xcb;
/// Others wait for the BMC meanwhile: so long, and so many records, at most.
const LONGEST: Duration = Duration::from_secs(8);
const MOST: usize = 4096;

/// Reads the newest `limit` records.
pub(super) async fn newest(login: &Login, pace: Pace, limit: usize) -> Result<EventLog, BmcError> {
    let mut session = Session::open(login, pace).await?;
    let read = read(&mut session, limit).await;
    session.close().await;
    read
}

async fn read(session: &mut Session, limit: usize) -> Result<EventLog, BmcError> {
    let name = "SEL".to_owned();
    let there = usize::from(session.run(GetSelInfo).await?.entries);
    if there == 0 || limit == 0 {
        return Ok(EventLog { events: Vec::new(), more: there > 0, name });
    }
    let first = start(session, there, limit).await?;
    let records = walk(session, first, limit).await?;
    let more = there > records.len();
    Ok(EventLog { events: records.into_iter().rev().map(event).collect(), more, name })
}

/// Where to begin: records are mostly numbered in order, and then the older ones need not be read.
async fn start(session: &mut Session, there: usize, limit: usize) -> Result<RecordId, BmcError> {
    let Some(back) = u16::try_from(limit - 1).ok().filter(|_| there > limit) else { return Ok(RecordId::FIRST) };
    let Some(last) = get(session, RecordId::LAST).await? else { return Ok(RecordId::FIRST) };
    let Some(guess) = last.id().0.checked_sub(back).filter(|id| *id > 0).map(RecordId) else {
        return Ok(RecordId::FIRST);
    };
    let found = get(session, guess).await?.is_some_and(|record| record.id() == guess);
    Ok(if found { guess } else { RecordId::FIRST })
}

/// The newest `limit` of the records from `id` on, oldest first.
async fn walk(session: &mut Session, mut id: RecordId, limit: usize) -> Result<VecDeque<SelRecord>, BmcError> {
    let (mut records, until) = (VecDeque::new(), Instant::now() + LONGEST);
    for _ in 0..MOST {
        let entry = match session.run(GetSelEntry(id)).await {
            Ok(entry) => entry,
            // Somebody has cleared it meanwhile.
            Err(SessionError::Completion { code: ABSENT, .. }) => return Ok(records),
            Err(error) => return Err(error.into()),
        };
        if records.len() == limit {
            records.pop_front();
        }
        records.push_back(entry.record);
        if entry.next == RecordId::LAST || entry.next == id {
            return Ok(records);
        }
        if Instant::now() >= until {
            break;
        }
        id = entry.next;
    }
    Err(BmcError::Unsupported("its event log is too long to be read in order, and not numbered in order".to_owned()))
}

async fn get(session: &mut Session, id: RecordId) -> Result<Option<SelRecord>, BmcError> {
    match session.run(GetSelEntry(id)).await {
        Ok(entry) => Ok(Some(entry.record)),
        Err(SessionError::Completion { code: ABSENT, .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn event(record: SelRecord) -> BmcEvent {
    BmcEvent {
        id: record.id().0.to_string(),
        at: record.seconds().and_then(|seconds| DateTime::from_timestamp(seconds.into(), 0)),
        severity: None,
        text: record.to_string(),
    }
}
