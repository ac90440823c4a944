//! The Range header (RFC 9110 section 14), as far as one range.

/// Which part of a file to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// From `start` on, `length` bytes.
    Slice {
        /// The first byte.
        start: u64,
        /// How many; at least one.
        length: u64,
    },
    /// Nothing of what is asked for exists.
    Unsatisfiable,
}

/// Reads a Range header. What is no single range of bytes is ignored, as the RFC allows.
pub(super) fn part(header: Option<&str>, size: u64) -> Part {
    let Some((first, last)) = header.and_then(|h| h.strip_prefix("bytes=")).and_then(|set| set.trim().split_once('-'))
    else {
        return Part::Whole;
    };
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let (start, end) = match (first, last) {
        // The last so many bytes.
        ("", last) => match number(last) {
            Some(0) => return Part::Unsatisfiable,
            Some(length) => (size.saturating_sub(length), size),
            None => return Part::Whole,
        },
        (first, "") => match number(first) {
            Some(start) => (start, size),
            None => return Part::Whole,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(start), Some(last)) if start <= last => (start, size.min(last.saturating_add(1))),
            _ => return Part::Whole,
        },
    };
    if start < end { Part::Slice { start, length: end - start } } else { Part::Unsatisfiable }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges() {
        let slice = |start, length| Part::Slice { start, length };
        for (header, expected) in [
            ("bytes=0-0", slice(0, 1)),
            ("bytes=10-19", slice(10, 10)),
            ("bytes=90-", slice(90, 10)),
            ("bytes=90-1000", slice(90, 10)),
            ("bytes=-30", slice(70, 30)),
            ("bytes=-300", slice(0, 100)),
            ("bytes=100-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=100-200", Part::Unsatisfiable),
            ("bytes=20-10", Part::Whole),
            ("bytes=0-1,5-6", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("lines=1-2", Part::Whole),
        ] {
            assert_eq!(part(Some(header), 100), expected, "{header}");
        }
        assert_eq!(part(None, 100), Part::Whole);
        assert_eq!(part(Some("bytes=0-"), 0), Part::Unsatisfiable);
    }

    proptest! {
        #[test]
        fn a_slice_is_inside_the_file(header in "(bytes=)?[0-9]{0,21}-?[0-9]{0,21}|.*", size: u64) {
            if let Part::Slice { start, length } = part(Some(&header), size) {
                prop_assert!(length > 0 && start.checked_add(length).is_some_and(|end| end <= size));
            }
        }
    }
}
