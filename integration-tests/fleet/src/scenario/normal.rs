//! Makes what is told the same in every run: names, addresses, times and digests give way to words.

use std::collections::HashMap;

/// The text without what differs from run to run; `names` are those that the region gave to machines, and ours for them.
#[must_use]
pub fn text(text: &str, names: &HashMap<String, String>) -> String {
    let mut words: Vec<String> = Vec::new();
    for raw in text.split_whitespace() {
        let word = normal(raw, names);
        let follows = |last: &str| words.last().is_some_and(|w| w.trim_start_matches(START) == last);
        // A date and its time of day are one time; a duration may be in two words.
        if word.starts_with("<time>") && follows("<time>") {
            let last = words.pop().unwrap_or_default();
            let kept = last.trim_end_matches("<time>").to_owned();
            words.push(format!("{kept}{word}"));
        } else if matches!(word.trim_end_matches(END), "times" | "tries") && words.last().is_some_and(|w| is_number(w))
        {
            words.pop();
            words.push(format!("<n> {word}"));
        } else {
            words.push(word);
        }
    }
    words.join(" ")
}

const START: [char; 4] = ['(', '"', '[', '\''];
const END: [char; 8] = [')', '"', ']', '\'', ',', ';', '.', ':'];

fn normal(raw: &str, names: &HashMap<String, String>) -> String {
    let begin = raw.len() - raw.trim_start_matches(START).len();
    let (before, rest) = raw.split_at(begin);
    let core = rest.trim_end_matches(END);
    let after = &rest[core.len()..];
    let put = |core: &str| format!("{before}{core}{after}");
    if let Some(name) = names.get(core) {
        return put(name);
    }
    if core.len() == 36 && core.matches('-').count() == 4 && core.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()) {
        return put("<id>");
    }
    if core.len() == 64 && core.bytes().all(|b| b.is_ascii_hexdigit()) {
        return put("<digest>");
    }
    let host = core.rsplit_once(':').map_or(core, |(host, _)| host);
    if host.parse::<std::net::Ipv4Addr>().is_ok() {
        return put("<address>");
    }
    if is_time(core) {
        return put("<time>");
    }
    put(core)
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit())
}

/// `2026-11-22`, `19:54:04`, `2026-11-22T19:54:04.5Z`, or `1.5s`.
fn is_time(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let date = |w: &str| w.len() >= 8 && digits >= 6 && w.bytes().all(|b| b.is_ascii_digit() || b"-:.TZ+".contains(&b));
    let number = ["ms", "µs", "ns", "s"].iter().find_map(|unit| word.strip_suffix(unit));
    let length = number.is_some_and(|n| n.parse::<f64>().is_ok());
    length || word != "UTC" && date(word) && word.contains([':', '-'])
}

/// Machines in few words: `m1-m3,m7`.
#[must_use]
pub fn machines(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &n in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == n => *last = n,
            _ => ranges.push((n, n)),
        }
    }
    let each = ranges.iter().map(|(a, b)| if a == b { format!("m{a}") } else { format!("m{a}-m{b}") });
    each.collect::<Vec<_>>().join(",")
}

/// What is told of several machines: once if it is the same of all, else once for each group, in the machines' order.
#[must_use]
pub fn merged(of_each: &[(u32, String)]) -> Vec<String> {
    let mut groups: Vec<(&str, Vec<u32>)> = Vec::new();
    for (number, text) in of_each {
        match groups.iter_mut().find(|(known, _)| known == text) {
            Some((_, numbers)) => numbers.push(*number),
            None => groups.push((text, vec![*number])),
        }
    }
    match &groups[..] {
        [(text, _)] => vec![(*text).to_owned()],
        groups => groups.iter().map(|(text, numbers)| format!("{}: {text}", machines(numbers))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_gives_way() {
        let names = HashMap::from([("brave-yak".to_owned(), "m1".to_owned())]);
        let check = |given: &str, wanted: &str| assert_eq!(text(given, &names), wanted);
        check("machine brave-yak: id 0190b3a4-1111-7222-8333-123456789abc.", "machine m1: id <id>.");
        check("no answer from 10.79.1.0:623 (10.1.2.3)", "no answer from <address> (<address>)");
        check("sent 5 times in 8.003s; again in 500ms", "sent <n> times in <time>; again in <time>");
        check("fails at 2026-11-22 19:54:04 UTC", "fails at <time> UTC");
        check("disk S7BYNG0W00000201 failed (os error 5)", "disk S7BYNG0W00000201 failed (os error 5)");
        check("install 1, wipe 2 and mini", "install 1, wipe 2 and mini");
        check(&format!("its digest is {}", "ab".repeat(32)), "its digest is <digest>");
    }

    #[test]
    fn machines_that_are_alike_are_told_once() {
        assert_eq!(machines(&[1, 2, 3, 7, 9, 10]), "m1-m3,m7,m9-m10");
        let each = |texts: [&str; 3]| merged(&[(1, texts[0].into()), (2, texts[1].into()), (3, texts[2].into())]);
        assert_eq!(each(["a", "a", "a"]), ["a"]);
        assert_eq!(each(["a", "b", "a"]), ["m1,m3: a", "m2: b"]);
    }
}
