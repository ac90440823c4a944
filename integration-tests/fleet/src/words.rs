//! The words of one line of a fault plan or a scenario: positional ones, and `key=value` in any order after them.

use std::{collections::VecDeque, str::FromStr, time::Duration};

/// What is still unread of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(VecDeque<String>);

impl Words {
    /// Splits at white space; `"…"` holds words together.
    ///
    /// # Errors
    /// A quotation mark without its partner.
    pub fn split(line: &str) -> Result<Self, String> {
        let (mut words, mut word, mut quoted, mut begun) = (VecDeque::new(), String::new(), false, false);
        for c in line.chars() {
            match c {
                '"' => (quoted, begun) = (!quoted, true),
                c if c.is_whitespace() && !quoted => {
                    if std::mem::take(&mut begun) {
                        words.push_back(std::mem::take(&mut word));
                    }
                }
                c => {
                    begun = true;
                    word.push(c);
                }
            }
        }
        if quoted {
            return Err("a quotation mark (\") has no partner".to_owned());
        }
        if begun {
            words.push_back(word);
        }
        Ok(Self(words))
    }

    /// The next word, which must be there.
    ///
    /// # Errors
    /// The line is over.
    pub fn next(&mut self, what: &str) -> Result<String, String> {
        self.0.pop_front().ok_or_else(|| format!("{what} is missing at the end of the line"))
    }

    /// The next word, read.
    ///
    /// # Errors
    /// The line is over, or the word cannot be read.
    pub fn read<T: FromStr<Err: ToString>>(&mut self, what: &str) -> Result<T, String> {
        let word = self.next(what)?;
        word.parse().map_err(|e: T::Err| wrong(what, &word, &e.to_string()))
    }

    /// Is the line over?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next word, if it is this one.
    pub fn takes(&mut self, word: &str) -> bool {
        let is_it = self.0.front().is_some_and(|next| next == word);
        if is_it {
            self.0.pop_front();
        }
        is_it
    }

    /// The value of `key=value` among the words left.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn pair<T: FromStr<Err: ToString>>(&mut self, key: &str) -> Result<Option<T>, String> {
        let value = |word: &String| word.strip_prefix(key)?.strip_prefix('=').map(ToOwned::to_owned);
        let Some((at, value)) = self.0.iter().enumerate().find_map(|(at, word)| Some((at, value(word)?))) else {
            return Ok(None);
        };
        self.0.remove(at);
        value.parse().map(Some).map_err(|e: T::Err| wrong(key, &value, &e.to_string()))
    }

    /// The value of `key=value`, which must be there.
    ///
    /// # Errors
    /// It is not, or it cannot be read.
    pub fn need<T: FromStr<Err: ToString>>(&mut self, key: &str) -> Result<T, String> {
        self.pair(key)?.ok_or_else(|| format!("{key}= is missing"))
    }

    /// The `xCOUNT` among the words left.
    ///
    /// # Errors
    /// It is no number from 1.
    pub fn count(&mut self) -> Result<Option<u32>, String> {
        let is_count = |w: &String| w.strip_prefix('x').is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()));
        let Some(at) = self.0.iter().position(is_count) else { return Ok(None) };
        let word = self.0.remove(at).unwrap_or_default();
        let count = word.trim_start_matches('x').parse().ok().filter(|n| *n > 0);
        count.map(Some).ok_or_else(|| wrong("how often", &word, "must be x1 or more"))
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// Something is; `allowed` tells what could have been said.
    pub fn end(self, allowed: &str) -> Result<(), String> {
        let allowed = if allowed.is_empty() { "nothing" } else { allowed };
        self.0.front().map_or(Ok(()), |word| Err(format!("{word:?} is not known here; allowed is {allowed}")))
    }
}

fn wrong(what: &str, word: &str, why: &str) -> String {
    if why.contains(&format!("{word:?}")) { format!("{what}: {why}") } else { format!("{what}: {word:?} {why}") }
}

/// A time as it is written: `5s`, `500ms`, `2m`, or `-10m` where it may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// How long.
    pub length: Duration,
    /// Backwards.
    pub negative: bool,
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || "must be a time such as 500ms, 5s or 2m, at most a day".to_owned();
        let (negative, number) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (number, unit) =
            number.find(|c: char| !c.is_ascii_digit()).map(|at| number.split_at(at)).ok_or_else(bad)?;
        let number: u64 = number.parse().map_err(|_| bad())?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            _ => return Err(bad()),
        };
        let length = Duration::from_millis(number.checked_mul(millis).ok_or_else(bad)?);
        if length > Duration::from_hours(24) { Err(bad()) } else { Ok(Self { length, negative }) }
    }
}

/// A share: `50%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// In thousandths.
    pub permille: u32,
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = text.strip_suffix('%').and_then(|n| n.parse::<u32>().ok()).filter(|n| *n <= 100);
        let percent = percent.ok_or_else(|| "must be a share from 0% to 100%".to_owned())?;
        Ok(Self { permille: percent * 10 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_word_by_word() {
        let mut words = Words::split(r#" m1  by=5s x3 "two words" "" "#).unwrap();
        assert_eq!(words.next("who").unwrap(), "m1");
        let by: Option<Span> = words.pair("by").unwrap();
        assert_eq!(by.map(|s| s.length.as_secs()), Some(5));
        assert_eq!((words.count(), words.next("text").unwrap()), (Ok(Some(3)), "two words".to_owned()));
        assert!(words.takes("") && words.is_empty() && Words::split("a\"b").is_err());
        assert_eq!(words.next("more"), Err("more is missing at the end of the line".to_owned()));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let of = |line: &str| Words::split(line).unwrap();
        assert_eq!(
            of("by=soon").pair::<Span>("by").unwrap_err(),
            "by: \"soon\" must be a time such as 500ms, 5s or 2m, at most a day"
        );
        assert_eq!(of("at=101%").need::<Share>("at").unwrap_err(), "at: \"101%\" must be a share from 0% to 100%");
        assert_eq!(of("").need::<Share>("at").unwrap_err(), "at= is missing");
        assert_eq!(of("x0").count().unwrap_err(), "how often: \"x0\" must be x1 or more");
        assert_eq!(of("why").end("xCOUNT").unwrap_err(), "\"why\" is not known here; allowed is xCOUNT");
        assert_eq!("-10m".parse(), Ok(Span { length: Duration::from_mins(10), negative: true }));
    }
}
