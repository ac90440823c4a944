//! The sliding window of session sequence numbers (IPMI 2.0 6.12.13): each is taken once, and none that is long past.

/// Which of the last 32 sequence numbers came already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    highest: u32,
    /// Bit n: `highest - n` came.
    seen: u32,
}

impl Window {
    /// Takes a number, unless it came before or is more than 31 below the highest.
    pub(super) const fn accept(&mut self, number: u32) -> bool {
        if number > self.highest || self.seen == 0 {
            let ahead = number.saturating_sub(self.highest);
            self.seen = if ahead > 31 { 1 } else { self.seen << ahead | 1 };
            self.highest = number;
            return true;
        }
        let behind = self.highest - number;
        if behind > 31 || self.seen >> behind & 1 == 1 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn order_does_not_matter_but_repetition_does() {
        let mut window = Window::default();
        for (number, taken) in
            [(3, true), (1, true), (3, false), (1, false), (2, true), (40, true), (8, false), (9, true)]
        {
            assert_eq!(window.accept(number), taken, "{number}");
        }
    }

    proptest! {
        #[test]
        fn no_number_is_taken_twice(numbers in proptest::collection::vec(0_u32..100, 0..300)) {
            let (mut window, mut taken) = (Window::default(), std::collections::HashSet::new());
            for number in numbers {
                if window.accept(number) {
                    prop_assert!(taken.insert(number), "{} twice", number);
                }
            }
        }

        #[test]
        fn extremes_do_not_overflow(numbers: Vec<u32>) {
            let mut window = Window::default();
            for number in numbers {
                window.accept(number);
            }
        }
    }
}
