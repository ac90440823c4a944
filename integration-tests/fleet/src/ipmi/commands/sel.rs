//! The System Event Log (IPMI 2.0 section 31).

use farrier_common::clock::Clock;

use super::{Answer, Call, code};
use crate::{
    event_log::{RECORD, ROOM, number},
    ipmi::server::Server,
};

/// Version 1.5 of the commands, in BCD with its digits swapped.
const VERSION: u8 = 0x51;
/// A time stamp that was never set.
const NEVER: [u8; 4] = [0xff; 4];
/// Delete, reserve and allocation info are there.
const OFFERS: u8 = 0x0b;
const FIRST: u16 = 0;
const LAST: u16 = 0xffff;

/// Get SEL Info.
pub(super) fn info(server: &mut Server, _: &Call<'_>) -> Answer {
    let (there, free) = room(server);
    let bytes = free.saturating_mul(16);
    Ok([&[VERSION][..], &there.to_le_bytes(), &bytes.to_le_bytes(), &NEVER, &NEVER, &[OFFERS]].concat())
}

/// Get SEL Allocation Info: units of sixteen bytes.
pub(super) fn allocation(server: &mut Server, _: &Call<'_>) -> Answer {
    let (there, free) = room(server);
    let (units, free) = ((there + free).to_le_bytes(), free.to_le_bytes());
    Ok([&units[..], &[16, 0], &free, &free, &[1]].concat())
}

/// Get SEL Entry: the record or part of it, and the number of the next one.
pub(super) fn read(server: &mut Server, call: &Call<'_>) -> Answer {
    let &[_, _, low, high, offset, count, ..] = call.data else { return Err(code::LENGTH) };
    let log = server.chassis.log();
    let place = match u16::from_le_bytes([low, high]) {
        FIRST => 0,
        LAST => log.records().len().checked_sub(1).ok_or(code::NOT_PRESENT)?,
        id => log.place(id).ok_or(code::NOT_PRESENT)?,
    };
    let record = log.records().get(place).ok_or(code::NOT_PRESENT)?;
    let next = log.records().get(place + 1).map_or(LAST, number);
    let rest = record.get(usize::from(offset)..).ok_or(code::RANGE)?;
    Ok([&next.to_le_bytes()[..], &rest[..usize::from(count).min(rest.len())]].concat())
}

/// Add SEL Entry: the BMC gives it a number and the time.
pub(super) fn add(server: &mut Server, call: &Call<'_>) -> Answer {
    let record = *call.data.first_chunk::<RECORD>().ok_or(code::LENGTH)?;
    let now = u32::try_from(Clock::System.now().timestamp()).unwrap_or_default();
    let id = server.chassis.log().add(record, now).ok_or(code::SPACE)?;
    Ok(id.to_le_bytes().to_vec())
}

/// Delete SEL Entry.
pub(super) fn delete(server: &mut Server, call: &Call<'_>) -> Answer {
    let &[_, _, low, high, ..] = call.data else { return Err(code::LENGTH) };
    let mut log = server.chassis.log();
    let id = match u16::from_le_bytes([low, high]) {
        FIRST => log.records().first().map(number),
        LAST => log.records().last().map(number),
        id => Some(id),
    };
    let id = id.filter(|id| log.delete(*id)).ok_or(code::NOT_PRESENT)?;
    Ok(id.to_le_bytes().to_vec())
}

/// Clear SEL: is done at once.
pub(super) fn clear(server: &mut Server, call: &Call<'_>) -> Answer {
    match call.data {
        [_, _, b'C', b'L', b'R', 0xaa, ..] => server.chassis.log().clear(),
        [_, _, b'C', b'L', b'R', 0x00, ..] => {}
        [_, _, _, _, _, _, ..] => return Err(code::INVALID_FIELD),
        _ => return Err(code::LENGTH),
    }
    Ok(vec![1])
}

/// Records that are there, and that there is room for.
fn room(server: &Server) -> (u16, u16) {
    let there = server.chassis.log().records().len();
    let small = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
    (small(there), small(ROOM.saturating_sub(there)))
}
