//! Faults of a Redfish service, as data: which requests, what goes wrong, how often.

use hyper::Method;
use serde::Deserialize;

/// So many rules are kept at a time.
const MOST: usize = 64;

/// One rule. The first rule that fits a request is the one that acts.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// The method; every one if absent.
    #[serde(default)]
    pub method: Option<String>,
    /// The path without the slash at its end; a `*` stands for any run of characters. Every path if absent.
    #[serde(default)]
    pub path: Option<String>,
    /// What goes wrong.
    pub fault: Fault,
    /// How often; without limit if absent.
    #[serde(default)]
    pub count: Option<u32>,
}

/// What goes wrong.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Fault {
    /// 503 with `Retry-After`.
    Unavailable {
        /// Its seconds.
        retry_after: u64,
    },
    /// An error without a reason.
    Refuse {
        /// Its status, 400 to 599.
        status: u16,
    },
    /// The right answer, late.
    Delay {
        /// By how much.
        ms: u32,
    },
    /// 200 with something that is not JSON.
    NotJson,
    /// 200 with JSON of the wrong shape.
    WrongShape,
    /// `PowerState` is the opposite of what is.
    LieAboutPower,
    /// A change is answered as if it was done.
    AcknowledgeOnly,
    /// No session can be made.
    SessionsFull,
    /// The request is read and never answered; without method, path and count, not even TLS is.
    BlackHole,
    /// The connection is closed instead of an answer.
    Hangup,
}

/// The rules of one BMC.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Each with the number by which it is taken back.
    all: Vec<(u64, FaultRule)>,
    next: u64,
}

// === impl Faults ===

impl Faults {
    /// Puts `rules` in the place of those that were.
    pub fn set(&mut self, rules: Vec<FaultRule>) {
        self.clear();
        for rule in rules {
            self.add(rule);
        }
    }

    /// Adds one rule after the others; `None` if there are too many. The number is for [`Faults::remove`].
    pub fn add(&mut self, rule: FaultRule) -> Option<u64> {
        if self.all.len() >= MOST {
            return None;
        }
        self.next += 1;
        self.all.push((self.next, rule));
        Some(self.next)
    }

    /// Takes back one rule, if it is still there.
    pub fn remove(&mut self, number: u64) {
        self.all.retain(|(n, _)| *n != number);
    }

    /// Takes back all rules.
    pub fn clear(&mut self) {
        self.all.clear();
    }

    /// What is still to happen.
    #[must_use]
    pub fn left(&self) -> Vec<FaultRule> {
        self.all.iter().map(|(_, rule)| rule.clone()).collect()
    }

    /// The fault that meets this request, counted as used.
    pub(super) fn meet(&mut self, method: &Method, path: &str) -> Option<Fault> {
        let at = self.all.iter().position(|(_, rule)| rule.fits(method, path))?;
        let (_, rule) = self.all.get_mut(at)?;
        let fault = rule.fault.clone();
        if let Some(left) = &mut rule.count {
            *left -= 1;
            if *left == 0 {
                self.all.remove(at);
            }
        }
        Some(fault)
    }

    /// Does a connection meet silence before anything is said?
    pub(super) fn deaf(&self) -> bool {
        // What is counted has to be read first.
        self.all.iter().any(|(_, rule)| *rule == FaultRule::always(Fault::BlackHole))
    }
}

impl FaultRule {
    /// `fault` for every request, always.
    #[must_use]
    pub const fn always(fault: Fault) -> Self {
        Self { method: None, path: None, fault, count: None }
    }

    fn fits(&self, method: &Method, path: &str) -> bool {
        let fits_session =
            self.fault != Fault::SessionsFull || (*method == Method::POST && path.contains("/SessionService/Sessions"));
        let fits_change = self.fault != Fault::AcknowledgeOnly
            || ((*method == Method::PATCH || *method == Method::POST || *method == Method::DELETE)
                && !path.contains("/SessionService/"));
        // Only where a power state is, so that nothing else uses the rule up.
        let has_power = path.matches('/').count() == 4 && (path.contains("/Systems/") || path.contains("/Chassis/"));
        let fits_power = self.fault != Fault::LieAboutPower || (*method == Method::GET && has_power);
        fits_session
            && fits_change
            && fits_power
            && self.count != Some(0)
            && self.method.as_deref().is_none_or(|m| m.eq_ignore_ascii_case(method.as_str()))
            && self.path.as_deref().is_none_or(|p| glob(p, path))
    }
}

/// Does `text` fit `pattern`, in which `*` stands for any run of characters?
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        assert!(glob("/redfish/v1", "/redfish/v1"));
        assert!(!glob("/redfish/v1", "/redfish/v1/Systems"));
        assert!(glob("*/Systems/*", "/redfish/v1/Systems/1"));
        assert!(glob("*", ""));
        assert!(!glob("*/Reset", "/Resetting"));
        assert!(!glob("/a*a", "/a"));
    }

    #[test]
    fn a_rule_is_spent() {
        let mut faults = Faults::default();
        assert_eq!(faults.add(FaultRule { count: Some(1), ..FaultRule::always(Fault::Hangup) }), Some(1));
        assert_eq!(faults.meet(&Method::GET, "/"), Some(Fault::Hangup));
        assert_eq!(faults.meet(&Method::GET, "/"), None);
    }

    #[test]
    fn a_rule_is_taken_back_alone() {
        let mut faults = Faults::default();
        let (deaf, late) = (FaultRule::always(Fault::BlackHole), FaultRule::always(Fault::Delay { ms: 1 }));
        let first = faults.add(deaf).unwrap();
        assert!(faults.deaf() && faults.add(late.clone()).is_some());
        faults.remove(first);
        assert!(!faults.deaf() && faults.left() == [late.clone()]);
        assert_eq!((0..100).filter(|_| faults.add(late.clone()).is_some()).count(), MOST - 1);
    }

    #[test]
    fn a_session_fault_meets_logins_only() {
        let mut faults = Faults::default();
        faults.set(vec![FaultRule::always(Fault::SessionsFull)]);
        assert_eq!(faults.meet(&Method::GET, "/redfish/v1/Systems"), None);
        assert_eq!(faults.meet(&Method::POST, "/redfish/v1/SessionService/Sessions"), Some(Fault::SessionsFull));
    }
}
