//! Which machines: `all`, `m3`, `m1-m5`, `m2,m7`, `every=10`, `vendor=dell`, `firmware=uefi`, `share=5%`, joined by `&`.

use std::{fmt, str::FromStr};

use crate::{dice::Dice, words::Share};

const ALLOWED: &str =
    "must be all, m3, m1-m5, m2,m7, every=10, vendor=dell, firmware=uefi or share=5%, or several joined by &";

/// What a machine is to a selector.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Counted from 1.
    pub number: u32,
    /// Its personality.
    pub vendor: &'a str,
    /// How it boots.
    pub firmware: &'a str,
    /// Of the whole fleet.
    pub seed: u64,
}

/// A choice of machines. It remembers how it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    text: String,
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    All,
    /// First and last, each.
    Numbers(Vec<(u32, u32)>),
    Every(u32),
    Vendor(String),
    Firmware(String),
    Share(u32),
}

impl Selector {
    /// Is this machine meant? Every term must fit.
    #[must_use]
    pub fn chooses(&self, target: Target<'_>) -> bool {
        self.terms.iter().all(|term| match term {
            Term::All => true,
            Term::Numbers(ranges) => ranges.iter().any(|(first, last)| (first..=last).contains(&&target.number)),
            Term::Every(n) => target.number.is_multiple_of(*n),
            Term::Vendor(name) => target.vendor == name,
            Term::Firmware(name) => target.firmware == name,
            Term::Share(permille) => {
                let label = format!("{} for {}", self.text, target.number);
                Dice::new(target.seed).fork(&label).happens(*permille)
            }
        })
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let terms = text.split('&').map(|word| term(word).ok_or_else(|| ALLOWED.to_owned()));
        Ok(Self { text: text.to_owned(), terms: terms.collect::<Result<_, _>>()? })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn term(word: &str) -> Option<Term> {
    if word == "all" {
        return Some(Term::All);
    }
    let Some((key, value)) = word.split_once('=') else {
        return word.split(',').map(range).collect::<Option<_>>().map(Term::Numbers);
    };
    if value.is_empty() {
        return None;
    }
    match key {
        "every" => value.parse().ok().filter(|n| *n > 0).map(Term::Every),
        "vendor" => Some(Term::Vendor(value.to_owned())),
        "firmware" => Some(Term::Firmware(value.to_owned())),
        "share" => value.parse().ok().map(|share: Share| Term::Share(share.permille)),
        _ => None,
    }
}

fn range(text: &str) -> Option<(u32, u32)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((number(first)?, number(last)?)).filter(|(first, last)| first <= last)
}

/// The number in `m3`.
#[must_use]
pub fn number(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('m').filter(|d| d.starts_with(|c: char| c.is_ascii_digit()))?;
    digits.parse().ok().filter(|n| *n > 0)
}
