//! The System Event Log of a BMC (IPMI 2.0 chapters 31 and 32): reading it, and saying in words what a record tells.

use std::fmt;

use ipmi_rs_core::{
    connection::{IpmiCommand, Message, NetFn, NotEnoughData},
    storage::{
        sdr::SensorType,
        sel::{Entry, EventDirection},
    },
};

/// Bytes of a record.
const RECORD: usize = 16;
/// Times below this count seconds since the BMC started to run, not since 1970 (IPMI 2.0 section 37).
const SET: u32 = 0x2000_0000;
const UNSPECIFIED: u32 = u32::MAX;
/// Data bytes that say nothing.
const NOTHING: u8 = 0xff;

/// Which record is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordId(pub u16);

impl RecordId {
    /// The oldest record.
    pub const FIRST: Self = Self(0);
    /// The newest record; as the next one: there is none.
    pub const LAST: Self = Self(0xffff);
}

/// Get SEL Entry (31.5), the whole record.
#[derive(Clone, Copy, Debug)]
pub struct GetSelEntry(pub RecordId);

impl From<GetSelEntry> for Message {
    fn from(GetSelEntry(RecordId(id)): GetSelEntry) -> Self {
        let [low, high] = id.to_le_bytes();
        Self::new_request(NetFn::Storage, 0x43, vec![0, 0, low, high, 0, 0xff])
    }
}

/// A record, and which one comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelEntry {
    /// [`RecordId::LAST`] if there is none.
    pub next: RecordId,
    /// The record.
    pub record: SelRecord,
}

impl IpmiCommand for GetSelEntry {
    type Output = SelEntry;
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<SelEntry, NotEnoughData> {
        let (&[low, high], rest) = data.split_first_chunk().ok_or(NotEnoughData)?;
        let &record = rest.first_chunk().ok_or(NotEnoughData)?;
        Ok(SelEntry { next: RecordId(u16::from_le_bytes([low, high])), record: SelRecord(record) })
    }
}

/// One record, as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelRecord(pub [u8; RECORD]);

impl SelRecord {
    /// Its number. Records are not always numbered in order.
    #[must_use]
    pub const fn id(&self) -> RecordId {
        RecordId(u16::from_le_bytes([self.0[0], self.0[1]]))
    }

    /// When it was logged, in seconds since 1970 by the BMC's clock; `None`: the clock was not set, or the record has no time.
    #[must_use]
    pub const fn seconds(&self) -> Option<u32> {
        let [_, _, kind, a, b, c, d, ..] = self.0;
        let seconds = u32::from_le_bytes([a, b, c, d]);
        if kind >= 0xe0 || seconds < SET || seconds == UNSPECIFIED { None } else { Some(seconds) }
    }
}

/// What it tells, for people.
impl fmt::Display for SelRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.0;
        let entry = Entry::parse(&record);
        match &entry {
            Ok(Entry::System { sensor_type, sensor_number, event_direction, .. }) => {
                write!(f, "{}, sensor {sensor_number:#04x}: ", SensorType::from(*sensor_type))?;
                if let Ok(entry) = &entry {
                    entry.event_description(f)?;
                }
                f.write_str(match event_direction {
                    EventDirection::Assert => "",
                    EventDirection::Deassert => ", no longer",
                })?;
                let data = [record[13], record[14], record[15]];
                if data[1] == NOTHING && data[2] == NOTHING {
                    return Ok(());
                }
                write!(f, " (data {:02x} {:02x} {:02x})", data[0], data[1], data[2])
            }
            Ok(Entry::OemTimestamped { ty, manufacturer_id, data, .. }) => {
                write!(f, "record of type {ty:#04x} of IANA enterprise {manufacturer_id}:")?;
                hex(f, data)
            }
            Ok(Entry::OemNotTimestamped { ty, data, .. }) => {
                write!(f, "record of type {ty:#04x}:")?;
                hex(f, data)
            }
            Err(_) => {
                write!(f, "record of unknown type {:#04x}:", record[2])?;
                hex(f, &record[3..])
            }
        }
    }
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(kind: u8, time: u32, event: [u8; 6]) -> SelRecord {
        let [a, b, c, d] = time.to_le_bytes();
        let [sensor_type, sensor, direction, data1, data2, data3] = event;
        SelRecord([7, 1, kind, a, b, c, d, 0x20, 0, 4, sensor_type, sensor, direction, data1, data2, data3])
    }

    #[test]
    fn records_are_told_in_words() {
        let told = |kind, event| record(kind, 1_700_000_000, event).to_string();
        assert_eq!(
            told(2, [0x0c, 0x12, 0x6f, 0x01, 0xff, 0xff]),
            "Memory, sensor 0x12: Uncorrectable ECC / other uncorrectable memory error"
        );
        assert_eq!(
            told(2, [0x08, 0x40, 0xef, 0x03, 0xff, 0xff]),
            "Power Supply, sensor 0x40: Power Supply input lost (AC/DC), no longer"
        );
        assert!(told(2, [0x01, 0x30, 0x01, 0x59, 0x60, 0x5a]).ends_with("(data 59 60 5a)"));
        assert!(told(0xc1, [1, 2, 3, 4, 5, 6]).starts_with("record of type 0xc1 of IANA enterprise"));
        assert!(told(0xe5, [1, 2, 3, 4, 5, 6]).starts_with("record of type 0xe5:"));
        assert!(told(0x77, [1, 2, 3, 4, 5, 6]).starts_with("record of unknown type 0x77:"));
        assert_eq!(record(2, 1, [0; 6]).id(), RecordId(0x0107));
    }

    #[test]
    fn a_clock_that_was_not_set_tells_no_time() {
        let seconds = |kind, time| record(kind, time, [0; 6]).seconds();
        assert_eq!(seconds(2, 1_700_000_000), Some(1_700_000_000));
        assert_eq!([seconds(2, 300), seconds(2, u32::MAX), seconds(0xe0, 1_700_000_000)], [None; 3]);
    }

    proptest! {
        #[test]
        fn any_answer_is_read_and_told_without_panic(data in proptest::collection::vec(any::<u8>(), 0..32)) {
            if let Ok(entry) = GetSelEntry::parse_success_response(&data) {
                let _ = (entry.record.to_string(), entry.record.seconds());
            }
        }
    }
}
