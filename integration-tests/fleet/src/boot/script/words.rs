//! Lines into commands, and settings into words.

use std::collections::HashMap;

/// Why a command is run after the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joint {
    /// The first of its line, or after `;`.
    Always,
    /// After `&&`.
    IfGood,
    /// After `||`.
    IfBad,
}

impl Joint {
    pub(super) const fn goes_on(self, good: bool) -> bool {
        match self {
            Self::Always => true,
            Self::IfGood => good,
            Self::IfBad => !good,
        }
    }
}

/// The commands of a line. A word that begins with `#` begins a comment.
pub(super) fn commands(line: &str) -> Vec<(Joint, Vec<String>)> {
    let mut commands = vec![(Joint::Always, Vec::new())];
    for word in split(line).into_iter().take_while(|w| !w.starts_with('#')) {
        let joint = match word.as_str() {
            ";" => Joint::Always,
            "&&" => Joint::IfGood,
            "||" => Joint::IfBad,
            _ => {
                if let Some((_, words)) = commands.last_mut() {
                    words.push(word);
                }
                continue;
            }
        };
        commands.push((joint, Vec::new()));
    }
    commands
}

/// At white space, but not within `${…}`.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut depth) = (Vec::new(), String::new(), 0_u32);
    for c in line.chars() {
        match c {
            '{' if word.ends_with('$') => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            c if c.is_ascii_whitespace() && depth == 0 => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// Puts settings into a word; one that is not set is nothing.
pub(super) fn expand(word: &str, settings: &HashMap<String, String>) -> String {
    const MOST: usize = 64;
    const LONGEST: usize = 16 << 10;
    let mut text = word.to_owned();
    for _ in 0..MOST {
        // The innermost first, as iPXE does: the last opening before the first closing.
        let Some(end) = text.find('}') else { break };
        let Some(start) = text[..end].rfind("${") else { break };
        let (name, kind) = text[start + 2..end].split_once(':').unwrap_or((&text[start + 2..end], "string"));
        let value = value(name, kind, settings);
        text.replace_range(start..=end, &value);
        if text.len() > LONGEST {
            break;
        }
    }
    text
}

fn value(name: &str, kind: &str, settings: &HashMap<String, String>) -> String {
    let value = settings.get(name).cloned().unwrap_or_default();
    match kind {
        "hexhyp" => value.replace(':', "-"),
        "hexraw" => value.replace(':', ""),
        "uristring" => value.bytes().fold(String::new(), |mut text, b| {
            if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                text.push(char::from(b));
            } else {
                text.push_str(&format!("%{b:02X}"));
            }
            text
        }),
        _ => value,
    }
}

/// Words that are neither options nor the values of options that take one.
pub(super) fn plain(arguments: &[String]) -> Vec<&String> {
    const WITH_VALUE: [&str; 6] = ["--name", "-n", "--timeout", "-t", "--drive", "-d"];
    let mut value = false;
    arguments
        .iter()
        .filter(|argument| {
            let skip = std::mem::replace(&mut value, WITH_VALUE.contains(&argument.as_str()));
            !skip && !argument.starts_with('-')
        })
        .collect()
}

/// The value of an option, as `--name x` or `--name=x`.
pub(super) fn option(arguments: &[String], name: &str) -> Option<String> {
    let joined = arguments.iter().find_map(|a| a.strip_prefix(name)?.strip_prefix('='));
    let apart = || arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1)).map(String::as_str);
    joined.or_else(apart).map(str::to_owned)
}

/// What iPXE calls an image that nobody named.
pub(super) fn file_name(url: &str) -> String {
    url.rsplit('/').next().unwrap_or(url).to_owned()
}
