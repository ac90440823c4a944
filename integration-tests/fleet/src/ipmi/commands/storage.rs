//! FRU and SDR repository (IPMI 2.0 sections 33 and 34): a small inventory, and one record.

use super::{Answer, Call, code};
use crate::ipmi::server::Server;

/// Version 1.5 of the SDR commands, in BCD with its digits swapped.
const VERSION: u8 = 0x51;
const FREE: u16 = 0x2000;
/// A time stamp that was never set.
const NEVER: [u8; 4] = [0xff; 4];

/// Get FRU Inventory Area Info.
pub(super) fn fru_info(server: &mut Server, call: &Call<'_>) -> Answer {
    let &[device, ..] = call.data else { return Err(code::LENGTH) };
    if device != 0 {
        return Err(code::NOT_PRESENT);
    }
    let length = u16::try_from(inventory(server).len()).unwrap_or(u16::MAX);
    Ok([&length.to_le_bytes()[..], &[0]].concat())
}

/// Read FRU Data.
pub(super) fn fru_read(server: &mut Server, call: &Call<'_>) -> Answer {
    let &[device, low, high, count, ..] = call.data else { return Err(code::LENGTH) };
    if device != 0 {
        return Err(code::NOT_PRESENT);
    }
    let inventory = inventory(server);
    let from = usize::from(u16::from_le_bytes([low, high]));
    let rest = inventory.get(from..).filter(|rest| !rest.is_empty()).ok_or(code::RANGE)?;
    let read = &rest[..usize::from(count).min(rest.len())];
    Ok([&[u8::try_from(read.len()).unwrap_or_default()][..], read].concat())
}

/// The one record, of the BMC itself: "management controller locator", chassis, FRU, SEL and SDR, on the system board. Without
/// any, ipmitool takes the repository for broken and sets out to rebuild it.
const LOCATOR: [u8; 19] = [1, 0, VERSION, 0x12, 14, 0x20, 0, 0, 0x8e, 0, 0, 0, 0x07, 0x01, 0, 0xc3, b'B', b'M', b'C'];
const FIRST: [u8; 2] = [0x00, 0x00];
const LAST: [u8; 2] = [0xff, 0xff];

/// Get SDR Repository Info: one record.
pub(super) fn sdr_info(_: &mut Server, _: &Call<'_>) -> Answer {
    Ok([&[VERSION, 1, 0][..], &FREE.to_le_bytes(), &NEVER, &NEVER, &[0x02]].concat())
}

/// Reserve SEL, Reserve SDR Repository.
pub(super) fn reserve(_: &mut Server, _: &Call<'_>) -> Answer {
    Ok(vec![1, 0])
}

/// Get SDR: the record, or part of it.
pub(super) fn sdr_read(_: &mut Server, call: &Call<'_>) -> Answer {
    let &[_, _, low, high, offset, count, ..] = call.data else { return Err(code::LENGTH) };
    if ![FIRST, LAST, [1, 0]].contains(&[low, high]) {
        return Err(code::NOT_PRESENT);
    }
    let rest = LOCATOR.get(usize::from(offset)..).ok_or(code::RANGE)?;
    Ok([&LAST[..], &rest[..usize::from(count).min(rest.len())]].concat())
}

/// The inventory in the form of IPMI's FRU storage definition 1.0.
fn inventory(server: &Server) -> Vec<u8> {
    let (personality, identity) = (&server.personality, &server.identity);
    let (maker, product, serial) = (&personality.manufacturer, &personality.product, &identity.serial);
    // Rack-mounted; part number and serial number.
    let chassis = area(&[0x17], &["", serial]);
    // English, made at an unknown time.
    let board = area(&[0x19, 0, 0, 0], &[maker, product, serial, "", ""]);
    let named = area(&[0x19], &[maker, product, "", &personality.firmware, serial, "", ""]);
    let mut all = vec![0x01, 0x00];
    let mut offset = 1;
    for area in [&chassis, &board, &named] {
        all.push(u8::try_from(offset).unwrap_or_default());
        offset += area.len() / 8;
    }
    all.extend([0, 0]);
    all.push(zero_sum(&all));
    [all, chassis, board, named].concat()
}

/// One area: version, length in units of eight bytes, head, fields of text, end, padding, checksum.
fn area(head: &[u8], fields: &[&str]) -> Vec<u8> {
    let mut bytes = [&[0x01, 0x00], head].concat();
    for field in fields {
        // The length has six bits, and one character alone would mean "no more fields".
        let mut text = field.as_bytes()[..field.len().min(62)].to_vec();
        if text.len() == 1 {
            text.push(b' ');
        }
        bytes.push(0xc0 | u8::try_from(text.len()).unwrap_or_default());
        bytes.extend(text);
    }
    bytes.push(0xc1);
    bytes.resize((bytes.len() + 1).next_multiple_of(8) - 1, 0);
    bytes[1] = u8::try_from((bytes.len() + 1) / 8).unwrap_or_default();
    bytes.push(zero_sum(&bytes));
    bytes
}

fn zero_sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}
