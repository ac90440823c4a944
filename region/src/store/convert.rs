//! Between columns and the words of the domain.

use std::{fmt::Display, str::FromStr};

use chrono::{NaiveDateTime, SubsecRound as _};
use farrier_common::clock::Timestamp;

use super::error::{Outcome, StoreError};

/// As both databases keep it: UTC, microseconds.
pub(super) fn naive(at: Timestamp) -> NaiveDateTime {
    at.trunc_subsecs(6).naive_utc()
}

pub(super) fn utc(at: NaiveDateTime) -> Timestamp {
    at.and_utc()
}

/// A column that was written by [`ToString`].
pub(super) fn parse<T: FromStr<Err: Display>>(column: &'static str, text: &str) -> Outcome<T> {
    text.parse().map_err(|e: T::Err| StoreError::Corrupt { column, value: text.to_owned(), why: e.to_string() })
}

pub(super) fn parse_option<T: FromStr<Err: Display>>(column: &'static str, text: Option<&str>) -> Outcome<Option<T>> {
    text.map(|t| parse(column, t)).transpose()
}

/// A size or count. Neither database has unsigned numbers.
pub(super) fn unsigned<T: TryFrom<i64>>(column: &'static str, number: i64) -> Outcome<T> {
    let corrupt = |_| StoreError::Corrupt { column, value: number.to_string(), why: "out of range".to_owned() };
    T::try_from(number).map_err(|_| ()).map_err(corrupt)
}

/// Sizes beyond 2^63 do not exist.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// For `LIMIT`.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
