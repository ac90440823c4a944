//! Names for machines that nobody named.

use farrier_common::{name::Name, net::MacAddr, secret};

use crate::{
    app::App,
    domain::{Error, Result},
};

const FIRST: [&str; 32] = [
    "able", "brave", "brisk", "calm", "clever", "cosy", "crisp", "eager", "fair", "fleet", "fond", "frank", "gentle",
    "glad", "grand", "happy", "hardy", "jolly", "keen", "kind", "light", "lively", "loyal", "merry", "noble", "plain",
    "proud", "quick", "quiet", "sound", "swift", "warm",
];
const SECOND: [&str; 32] = [
    "adder", "badger", "beaver", "bison", "crane", "deer", "dove", "eagle", "falcon", "finch", "fox", "goose", "hare",
    "hawk", "heron", "horse", "ibis", "jay", "lark", "lynx", "marten", "mole", "moose", "otter", "owl", "pony",
    "raven", "robin", "seal", "stork", "swan", "wren",
];
const TRIES: usize = 6;

impl App {
    /// A name that no machine has: two words, or failing that one made from the MAC address.
    pub(in crate::app) async fn unused_name(&self, mac: MacAddr) -> Result<Name> {
        for candidate in candidates(mac) {
            if self.store.machine_find(candidate.as_str()).await?.is_none() {
                return Ok(candidate);
            }
        }
        Err(Error::Exhausted(format!("no free name could be made up for the machine with {mac}")))
    }
}

fn candidates(mac: MacAddr) -> impl Iterator<Item = Name> {
    let hex = hex::encode(mac.0);
    let words = (0..TRIES).map(|_| two_words(secret::random_bytes()));
    let from_mac = [format!("m-{}", hex.get(6..).unwrap_or_default()), format!("m-{hex}")];
    words.chain(from_mac).filter_map(|text| text.parse().ok())
}

fn two_words([a, b]: [u8; 2]) -> String {
    let pick = |words: [&'static str; 32], byte: u8| words[usize::from(byte % 32)];
    format!("{}-{}", pick(FIRST, a), pick(SECOND, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_candidate_is_a_name() {
        let names: Vec<_> = candidates(MacAddr([0x52, 0x54, 0, 0xab, 0xcd, 0xef])).map(|n| n.to_string()).collect();
        assert_eq!(names.len(), TRIES + 2);
        assert_eq!(names.get(TRIES..), Some(&["m-abcdef".to_owned(), "m-525400abcdef".to_owned()][..]));
        for byte in 0..=255 {
            assert!(two_words([byte, 255 - byte]).parse::<Name>().is_ok());
        }
    }
}
