//! Which parts of a disk are read back.

use std::ops::Range;

/// The unit of sampling.
pub const BLOCK: u64 = 1 << 20;
/// Read at both ends whatever the share is: partition tables, boot loaders and most file-systems' headers are there.
pub const ENDS: u64 = 16 << 20;
/// Read between the ends whatever the share is.
const FEWEST: u64 = 16;

/// A choice of regions that is the same every time it is asked: what is marked before an erase is what is read after it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    size: u64,
    permille: u64,
    seed: u64,
}

impl Plan {
    /// For a disk of `size` bytes, of which `permille` thousandths are to be read.
    #[must_use]
    pub fn new(size: u64, permille: u32, seed: u64) -> Self {
        Self { size, permille: u64::from(permille), seed }
    }

    /// The disk's size.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The regions in ascending order, none overlapping: the first 16 MiB; blocks spread evenly over the middle, each in
    /// a random place of its share of the disk; the last 16 MiB and what the blocks leave over. Each is at most
    /// [`ENDS`] + [`BLOCK`] long.
    pub fn regions(&self) -> impl Iterator<Item = Range<u64>> + use<> {
        let Self { size, permille, seed } = *self;
        let head = ENDS.min(size);
        let blocks = size.saturating_sub(2 * ENDS) / BLOCK;
        let tail = head + blocks * BLOCK;
        let samples = (u128::from(blocks) * u128::from(permille)).div_ceil(1000);
        let samples = u64::try_from(samples).unwrap_or(u64::MAX).max(FEWEST).min(blocks);
        let border =
            move |i: u64| u64::try_from(u128::from(i) * u128::from(blocks) / u128::from(samples)).unwrap_or(blocks);
        let middle = (0..samples).map(move |i| {
            let (from, to) = (border(i), border(i + 1));
            let block = from + mix(seed ^ i) % (to - from).max(1);
            head + block * BLOCK..head + (block + 1) * BLOCK
        });
        let ends = move |range: Range<u64>| (!range.is_empty()).then_some(range);
        ends(0..head).into_iter().chain(middle).chain(ends(tail..size))
    }
}

/// Scatters numbers (the finaliser of `SplitMix64`).
#[must_use]
pub const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn regions_ascend_within_the_disk_and_cover_both_ends(size in 1_u64..200 << 30, permille in 0_u32..=1000, seed: u64) {
            let size = size / 512 * 512 + 512;
            let plan = Plan::new(size, permille, seed);
            let (mut end, mut sum, mut count) = (0, 0, 0_u64);
            for region in plan.regions().take(5000) {
                prop_assert!(region.start >= end && region.end > region.start && region.end <= size);
                prop_assert!(region.end - region.start <= ENDS + BLOCK);
                (end, sum, count) = (region.end, sum + region.end - region.start, count + 1);
            }
            prop_assert_eq!(plan.regions().next().unwrap().start, 0);
            if count < 5000 {
                prop_assert_eq!(end, size);
                prop_assert!(sum >= size.min(2 * ENDS));
                let middle = size.saturating_sub(2 * ENDS) / BLOCK * BLOCK;
                prop_assert!(u128::from(sum) * 1000 >= u128::from(middle) * u128::from(permille));
            }
        }

        #[test]
        fn the_same_plan_chooses_the_same(size in 1_u64..4 << 30, permille in 0_u32..=1000, seed: u64) {
            let plan = Plan::new(size, permille, seed);
            prop_assert!(plan.regions().eq(plan.regions()));
        }
    }

    #[test]
    fn a_full_share_reads_everything() {
        for size in [512, ENDS, 2 * ENDS, 2 * ENDS + 512, 3 * ENDS + 4096, 100 * BLOCK] {
            let read: u64 = Plan::new(size, 1000, 7).regions().map(|r| r.end - r.start).sum();
            assert_eq!(read, size);
        }
    }

    #[test]
    fn no_share_still_reads_the_ends_and_some_blocks() {
        let regions: Vec<_> = Plan::new(1 << 40, 0, 7).regions().collect();
        assert_eq!(regions.len(), 18);
        assert_eq!((regions[0].clone(), regions[17].clone()), (0..ENDS, (1 << 40) - ENDS..1 << 40));
    }
}
