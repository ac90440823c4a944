//! Randomness from a seed: the same seed gives the same run, on every machine and with every version of every library.

use std::time::Duration;

/// A generator of eight bytes (`SplitMix64`). Not for secrets that must hold against anybody.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Dice of their own for the part called `label`: what one part rolls does not move another's.
    #[must_use]
    pub fn fork(&self, label: &str) -> Self {
        let fold = |state, byte: u8| scatter(state ^ u64::from(byte));
        Self(label.bytes().fold(scatter(self.0), fold))
    }

    /// The next number.
    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scatter(self.0)
    }

    /// The next number, of four bytes.
    pub const fn roll32(&mut self) -> u32 {
        let [.., a, b, c, d] = self.roll().to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// A number below `end`; 0 if `end` is 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.roll() % end }
    }

    /// True in `permille` of a thousand cases.
    pub const fn happens(&mut self, permille: u32) -> bool {
        self.below(1000) < permille as u64
    }

    /// Between `base` and `base` plus a quarter: no two machines do things at the same moment.
    pub fn jitter(&mut self, base: Duration) -> Duration {
        let quarter = u64::try_from(base.as_micros() / 4).unwrap_or(u64::MAX);
        base + Duration::from_micros(self.below(quarter.saturating_add(1)))
    }

    /// The next `N` bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(8) {
            let rolled = self.roll().to_be_bytes();
            chunk.copy_from_slice(&rolled[..chunk.len()]);
        }
        bytes
    }
}

const fn scatter(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything() {
        let rolls = |mut dice: Dice| [dice.roll(), dice.below(10), u64::from(dice.roll32())];
        assert_eq!(rolls(Dice::new(7)), rolls(Dice::new(7)));
        assert_ne!(rolls(Dice::new(7)), rolls(Dice::new(8)));
        assert_ne!(rolls(Dice::new(7).fork("bmc")), rolls(Dice::new(7).fork("agent")));
        assert_eq!(Dice::new(0).roll(), 0xe220_a839_7b1d_cdaf, "the published first number of seed 0");
    }

    #[test]
    fn bounds_are_kept() {
        let mut dice = Dice::new(1);
        let base = Duration::from_millis(100);
        assert!((0..1000).all(|_| dice.below(3) < 3 && (base..=base * 5 / 4).contains(&dice.jitter(base))));
        assert!((0..100).all(|_| !dice.happens(0) && dice.happens(1000)));
        assert_eq!(dice.below(0), 0);
    }
}
