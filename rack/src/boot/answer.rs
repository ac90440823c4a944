//! What a machine that asks is told: pure.

use farrier_common::{clock::Timestamp, id::BootId, secret::Secret};

use super::intent::{EphemeralImage, Intent, Target};

/// What a machine is told to boot.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// The ephemeral environment.
    Ephemeral {
        /// Kernel and initrd.
        image: &'a EphemeralImage,
        /// Why, for people.
        purpose: &'a str,
        /// What the agent says Hello with; none: it can only enlist.
        boot: Option<(BootId, &'a Secret<String>)>,
    },
    /// Its local disk.
    LocalDisk,
}

impl Answer<'_> {
    /// The answer in words, such as "commissioning".
    #[must_use]
    pub const fn describe(&self) -> &str {
        match self {
            Self::Ephemeral { purpose, .. } => purpose,
            Self::LocalDisk => "local disk",
        }
    }
}

/// Decides what a machine boots, given its intent (if one names it) and what unknown machines get.
///
/// An expired intent leads to the local disk: nothing destructive follows from a stale one.
#[must_use]
pub fn answer<'a>(intent: Option<&'a Intent>, enlist: Option<&'a EphemeralImage>, now: Timestamp) -> Answer<'a> {
    match (intent.map(|i| &i.target), enlist) {
        (Some(Target::Ephemeral(e)), _) if now < e.expires => {
            Answer::Ephemeral { image: &e.image, purpose: &e.purpose, boot: Some((e.boot_id, &e.token)) }
        }
        (None, Some(image)) => Answer::Ephemeral { image, purpose: "enlisting", boot: None },
        (Some(Target::Ephemeral(_) | Target::LocalDisk { .. }), _) | (None, None) => Answer::LocalDisk,
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::boot::state::samples;

    #[test]
    fn an_intent_decides_until_it_expires() {
        let intent = samples::ephemeral(1, "10.77.0.20");
        let Target::Ephemeral(e) = &intent.target else { panic!("sample") };
        let before = e.expires - TimeDelta::microseconds(1);
        assert!(matches!(answer(Some(&intent), None, before), Answer::Ephemeral { boot: Some(_), .. }));
        assert!(matches!(answer(Some(&intent), Some(&samples::image()), e.expires), Answer::LocalDisk));
    }

    #[test]
    fn unknown_machines_enlist_if_they_can() {
        let now = samples::now();
        assert!(matches!(answer(None, Some(&samples::image()), now), Answer::Ephemeral { boot: None, .. }));
        assert!(matches!(answer(None, None, now), Answer::LocalDisk));
        let known = samples::local_disk(1);
        assert!(matches!(answer(Some(&known), Some(&samples::image()), now), Answer::LocalDisk));
    }
}
