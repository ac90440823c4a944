//! Named places at which a daemon can be told to die, so that tests can prove that dying there loses nothing.
//!
//! A daemon takes one from its hidden argument `--crash-at POINT[/CONTEXT][#N]` and hands it down like its clock. Without
//! that argument a [`Crash`] is disarmed: each point then costs one comparison with `None`.

use std::{
    fmt::Display,
    io::Write as _,
    process,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use thiserror::Error;

use crate::words::UnknownWord;

/// Dies at one point, or (the default) never. Clones count the passes of the point together.
#[derive(Debug)]
pub struct Crash<P>(Option<Arc<Armed<P>>>);

#[derive(Debug)]
struct Armed<P> {
    point: P,
    /// Only here; `None`: anywhere.
    context: Option<String>,
    /// At which pass.
    nth: u32,
    passed: AtomicU32,
}

/// What follows `--crash-at` is not `POINT[/CONTEXT][#N]`.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BadCrash {
    /// The point does not exist.
    #[error("crash point: {0}")]
    Point(UnknownWord),
    /// The context does not exist.
    #[error("context of the crash point: {0}")]
    Context(UnknownWord),
    /// The pass is no number that can be reached.
    #[error("pass of the crash point: {0:?} is not a number from 1 to {max}", max = u32::MAX)]
    Pass(String),
}

// By hand: deriving them would ask the same of P.
impl<P> Default for Crash<P> {
    fn default() -> Self {
        Self(None)
    }
}

impl<P> Clone for Crash<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: FromStr<Err = UnknownWord>> Crash<P> {
    /// Reads `POINT[/CONTEXT][#N]`. `contexts`: the words that the daemon's points come with.
    ///
    /// # Errors
    /// Which part is wrong, and what is allowed there.
    pub fn parse(text: &str, contexts: &[&str]) -> Result<Self, BadCrash> {
        let (place, nth) = match text.split_once('#') {
            None => (text, 1),
            Some((place, nth)) => {
                let number = nth.parse().ok().filter(|n| *n > 0);
                (place, number.ok_or_else(|| BadCrash::Pass(nth.to_owned()))?)
            }
        };
        let (point, context) = match place.split_once('/') {
            None => (place, None),
            Some((point, context)) => (point, Some(context.to_owned())),
        };
        let point = point.parse().map_err(BadCrash::Point)?;
        if let Some(word) = context.as_ref().filter(|c| !contexts.contains(&c.as_str())) {
            return Err(BadCrash::Context(UnknownWord { word: word.clone(), allowed: contexts.join(", ") }));
        }
        Ok(Self(Some(Arc::new(Armed { point, context, nth, passed: AtomicU32::new(0) }))))
    }
}

impl<P: Copy + PartialEq + Display> Crash<P> {
    /// Takes down that the process passes `point`. Is this the pass at which it is to die?
    #[must_use]
    pub fn hit(&self, point: P, context: &str) -> bool {
        let Some(armed) = &self.0 else { return false };
        let here = armed.point == point && armed.context.as_deref().is_none_or(|c| c == context);
        here && armed.passed.fetch_add(1, Ordering::Relaxed).checked_add(1) == Some(armed.nth)
    }

    /// Passes `point`: dies here if told to, by SIGABRT, so that nothing is flushed, closed or told to anybody.
    pub fn at(&self, point: P, context: impl AsRef<str>) {
        let context = context.as_ref();
        if self.hit(point, context) {
            // Whether anybody reads the line changes nothing.
            let _unread = writeln!(std::io::stderr().lock(), "crash point {point}/{context} reached");
            process::abort();
        }
    }
}

#[cfg(test)]
#[allow(unreachable_pub, reason = "the macro's items are public")]
mod tests {
    use std::{os::unix::process::ExitStatusExt as _, process::Command};

    use super::*;

    crate::words! {
        /// Places of a made-up daemon.
        Point {
            /// One.
            Claimed = "claimed",
            /// Another.
            Committed = "committed",
        }
    }

    const CONTEXTS: &[&str] = &["deploying", "releasing"];
    /// Tells [`dies_in_a_process_of_its_own`] that it is the one to die.
    const CHILD: &str = "FARRIER_CRASH_TEST";

    fn armed(text: &str) -> Crash<Point> {
        Crash::parse(text, CONTEXTS).unwrap()
    }

    #[test]
    fn disarmed_it_lets_everything_pass() {
        let crash = Crash::default();
        assert!(Point::ALL.iter().all(|p| !crash.hit(*p, "deploying")));
        crash.at(Point::Claimed, "deploying");
    }

    #[test]
    fn it_is_hit_at_its_point_in_its_context_once() {
        let crash = armed("claimed/deploying");
        assert!(!crash.hit(Point::Committed, "deploying"));
        assert!(!crash.hit(Point::Claimed, "releasing"));
        assert!(crash.hit(Point::Claimed, "deploying"));
        assert!(!crash.hit(Point::Claimed, "deploying"));
        assert!(armed("claimed").hit(Point::Claimed, "releasing"), "no context: any");
    }

    #[test]
    fn clones_count_the_passes_together() {
        let crash = armed("claimed/deploying#3");
        let other = crash.clone();
        let hits: Vec<_> = [&crash, &other, &other, &crash].map(|c| c.hit(Point::Claimed, "deploying")).into();
        assert_eq!(hits, [false, false, true, false]);
        assert!(!armed("claimed#2").hit(Point::Claimed, "deploying"));
    }

    #[test]
    fn what_does_not_exist_is_refused_and_what_does_is_named() {
        let told = |text| Crash::<Point>::parse(text, CONTEXTS).unwrap_err().to_string();
        assert_eq!(told("claim"), r#"crash point: "claim" is not one of claimed, committed"#);
        assert_eq!(told(""), r#"crash point: "" is not one of claimed, committed"#);
        assert_eq!(told("claimed/ready"), r#"context of the crash point: "ready" is not one of deploying, releasing"#);
        assert_eq!(told("claimed/"), r#"context of the crash point: "" is not one of deploying, releasing"#);
        for text in ["claimed#0", "claimed#", "claimed#x", "claimed/deploying#-1", "claimed#4294967296"] {
            assert!(told(text).starts_with("pass of the crash point: "), "{text}");
        }
    }

    #[test]
    fn dies_in_a_process_of_its_own() {
        if std::env::var_os(CHILD).is_some() {
            armed("claimed/deploying").at(Point::Claimed, "deploying");
            return;
        }
        let me = std::env::current_exe().unwrap();
        let arguments = ["--exact", "crash::tests::dies_in_a_process_of_its_own", "--nocapture"];
        let ended = Command::new(me).args(arguments).env(CHILD, "1").output().unwrap();
        assert_eq!(ended.status.signal(), Some(6), "SIGABRT: {ended:?}");
        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(told.lines().any(|l| l == "crash point claimed/deploying reached"), "{told}");
    }
}
