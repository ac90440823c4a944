//! The part of iPXE's command language that boot scripts use, as a machine that asks for what it needs.

mod words;

use std::{collections::HashMap, time::Duration};

use self::words::{Joint, commands};

/// What the script needs to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Load this; a script's text is wanted, of anything else only that it is there.
    Fetch {
        /// From where.
        url: String,
        /// Is it to be run as a script?
        script: bool,
    },
    /// Do nothing for a while.
    Sleep(Duration),
    /// Start the local disk: answered only if it cannot be started.
    Disk,
    /// Begins the kernel: the end.
    Kernel {
        /// Its command line.
        cmdline: String,
    },
    /// iPXE ends and the firmware goes on.
    Exit {
        /// With success? UEFI shows its menu then, and tries the next entry otherwise.
        good: bool,
        /// What did not work in the last script; empty if it asked for this.
        why: String,
    },
}

/// What came of the last question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It worked.
    Done,
    /// The script's text.
    Script(String),
    /// It did not work.
    Failed(String),
}

#[derive(Debug)]
struct Frame {
    lines: Vec<String>,
    at: usize,
    /// What is left of the line that waits for an answer.
    rest: Vec<(Joint, Vec<String>)>,
}

#[derive(Debug, Default)]
struct Images {
    kernel: Option<(String, Vec<String>)>,
    initrds: Vec<String>,
}

/// What is done when the answer is there.
#[derive(Debug)]
enum Pending {
    Chain { replace: bool },
    Kernel { name: String, arguments: Vec<String> },
    Initrd { name: String },
    Nothing,
}

/// A running iPXE.
#[derive(Debug)]
pub struct Ipxe {
    uefi: bool,
    settings: HashMap<String, String>,
    frames: Vec<Frame>,
    images: Images,
    pending: Pending,
    why: String,
    fuel: u32,
    echoes: Vec<String>,
}

/// Scripts that start scripts.
const DEEPEST: usize = 8;
/// Commands in one boot: a script that asks again every ten seconds does so for a day.
const MOST_COMMANDS: u32 = 100_000;
const LONGEST_SLEEP: u64 = 3600;
const MOST_ECHOES: usize = 64;
/// Scripts are text that fits a screen or two.
pub const LARGEST_SCRIPT: usize = 64 << 10;

/// How a command ended.
enum Outcome {
    Good,
    /// A comparison that does not hold: nothing wrong.
    No,
    Bad(String),
    Ask(Ask),
    /// The script ends.
    Stop(bool),
}

impl Ipxe {
    /// iPXE of a UEFI or BIOS that begins with the script at `url`.
    #[must_use]
    pub fn new(uefi: bool, settings: HashMap<String, String>, url: &str) -> (Self, Ask) {
        let ipxe = Self {
            uefi,
            settings,
            frames: Vec::new(),
            images: Images::default(),
            pending: Pending::Chain { replace: false },
            why: String::new(),
            fuel: MOST_COMMANDS,
            echoes: Vec::new(),
        };
        (ipxe, Ask::Fetch { url: url.to_owned(), script: true })
    }

    /// What it wrote on the console, the last lines of it.
    #[must_use]
    pub fn echoes(&self) -> &[String] {
        &self.echoes
    }

    /// Takes the answer to the last question and runs to the next one.
    pub fn on(&mut self, answer: Answer) -> Ask {
        let pending = std::mem::replace(&mut self.pending, Pending::Nothing);
        let good = match (pending, answer) {
            (_, Answer::Failed(why)) => self.bad(why),
            (Pending::Chain { replace }, Answer::Script(text)) => match self.enter(&text, replace) {
                Ok(()) => None,
                Err(why) => self.bad(why),
            },
            (Pending::Chain { .. }, Answer::Done) => self.bad("what was chained is no script".to_owned()),
            (Pending::Kernel { name, arguments }, Answer::Done | Answer::Script(_)) => {
                self.images.kernel = Some((name, arguments));
                Some(true)
            }
            (Pending::Initrd { name }, Answer::Done | Answer::Script(_)) => {
                self.images.initrds.push(name);
                Some(true)
            }
            (Pending::Nothing, Answer::Done | Answer::Script(_)) => Some(true),
        };
        self.run(good)
    }

    fn bad(&mut self, why: String) -> Option<bool> {
        self.why = why;
        Some(false)
    }

    fn enter(&mut self, text: &str, replace: bool) -> Result<(), String> {
        if !text.starts_with("#!ipxe") {
            return Err("what was chained is no script: it does not begin with #!ipxe".to_owned());
        }
        if text.len() > LARGEST_SCRIPT {
            return Err(format!("the script is longer than {LARGEST_SCRIPT} bytes"));
        }
        if replace {
            self.frames.pop();
        }
        if self.frames.len() >= DEEPEST {
            return Err(format!("more than {DEEPEST} scripts deep"));
        }
        self.why.clear();
        let lines = text.lines().map(str::to_owned).collect();
        self.frames.push(Frame { lines, at: 1, rest: Vec::new() });
        Ok(())
    }

    /// Runs on; `last` is how the last command ended, none at the beginning of a script.
    fn run(&mut self, mut last: Option<bool>) -> Ask {
        loop {
            let Some(frame) = self.frames.last_mut() else {
                return Ask::Exit { good: last.unwrap_or(false), why: self.why.clone() };
            };
            let command = loop {
                match frame.rest.first() {
                    None => break None,
                    Some((joint, _)) => {
                        let wanted = joint.goes_on(last.unwrap_or(true));
                        let (_, command) = frame.rest.remove(0);
                        if wanted {
                            break Some(command);
                        }
                    }
                }
            };
            let Some(command) = command else {
                last = self.next_line(last);
                continue;
            };
            if self.fuel == 0 {
                return Ask::Exit { good: false, why: "the script does not come to an end".to_owned() };
            }
            self.fuel -= 1;
            last = match self.execute(&command) {
                Outcome::Good => Some(true),
                Outcome::No => Some(false),
                Outcome::Bad(why) => self.bad(why),
                Outcome::Ask(ask) => return ask,
                Outcome::Stop(good) => {
                    self.frames.pop();
                    Some(good)
                }
            };
        }
    }

    /// Begins the next line, or ends the script: a line that failed ends it, too.
    fn next_line(&mut self, last: Option<bool>) -> Option<bool> {
        let Some(frame) = self.frames.last_mut() else { return last };
        if last == Some(false) {
            self.frames.pop();
            return Some(false);
        }
        match frame.lines.get(frame.at) {
            None => {
                self.frames.pop();
                Some(true)
            }
            Some(line) => {
                frame.rest = commands(line);
                frame.at += 1;
                None
            }
        }
    }

    fn execute(&mut self, words: &[String]) -> Outcome {
        let words: Vec<String> = words.iter().map(|w| words::expand(w, &self.settings)).collect();
        let Some((name, arguments)) = words.split_first() else { return Outcome::Good };
        let flags: Vec<&str> = arguments.iter().map(String::as_str).filter(|a| a.starts_with('-')).collect();
        match name.as_str() {
            label if label.starts_with(':') => Outcome::Good,
            "echo" => {
                if self.echoes.len() >= MOST_ECHOES {
                    self.echoes.remove(0);
                }
                self.echoes.push(arguments.join(" "));
                Outcome::Good
            }
            "set" => match arguments.split_first() {
                Some((name, value)) => {
                    self.settings.insert(name.clone(), value.join(" "));
                    Outcome::Good
                }
                None => Outcome::Bad("set: a name is missing".to_owned()),
            },
            "clear" => {
                arguments.iter().for_each(|name| drop(self.settings.remove(name)));
                Outcome::Good
            }
            "isset" => holds(arguments.first().is_some_and(|text| !text.is_empty())),
            "iseq" => holds(matches!(arguments, [a, b] if a == b)),
            "goto" => self.goto(arguments),
            "imgfree" => {
                self.images = Images::default();
                Outcome::Good
            }
            "dhcp" | "ifopen" | "ifconf" | "ifclose" | "prompt" | "menu" | "cpair" | "colour" => Outcome::Good,
            "sleep" => match arguments.first().and_then(|t| t.parse().ok()) {
                Some(seconds) => Outcome::Ask(Ask::Sleep(Duration::from_secs(LONGEST_SLEEP.min(seconds)))),
                None => Outcome::Bad("sleep: seconds are missing".to_owned()),
            },
            "chain" | "boot" if !words::plain(arguments).is_empty() => {
                let replace = flags.iter().any(|f| matches!(*f, "--replace" | "-r"));
                self.fetch(arguments, Pending::Chain { replace }, true)
            }
            "kernel" => self.kernel(arguments),
            "initrd" | "imgfetch" | "module" => self.initrd(arguments),
            "imgargs" => self.imgargs(arguments),
            "boot" => self.boot(),
            "sanboot" => Outcome::Ask(Ask::Disk),
            "exit" => Outcome::Stop(arguments.first().is_none_or(|code| code == "0")),
            _ => Outcome::Bad(format!("{name}: command not found")),
        }
    }

    fn goto(&mut self, arguments: &[String]) -> Outcome {
        let Some((frame, label)) = self.frames.last_mut().zip(arguments.first()) else {
            return Outcome::Bad("goto: a label is missing".to_owned());
        };
        match frame.lines.iter().position(|line| line.trim().strip_prefix(':') == Some(label)) {
            Some(line) => {
                (frame.at, frame.rest) = (line + 1, Vec::new());
                Outcome::Good
            }
            None => Outcome::Bad(format!("goto: there is no label {label}")),
        }
    }

    fn fetch(&mut self, arguments: &[String], pending: Pending, script: bool) -> Outcome {
        let Some(url) = words::plain(arguments).first().map(|u| (*u).clone()) else {
            return Outcome::Bad("an address is missing".to_owned());
        };
        self.pending = pending;
        Outcome::Ask(Ask::Fetch { url, script })
    }

    fn kernel(&mut self, arguments: &[String]) -> Outcome {
        // Words after the address are the kernel's, also those that look like options.
        let Some(at) = arguments.iter().position(|a| !a.starts_with('-')) else {
            return Outcome::Bad("kernel: an address is missing".to_owned());
        };
        let name = words::option(&arguments[..at], "--name").unwrap_or_else(|| words::file_name(&arguments[at]));
        let pending = Pending::Kernel { name, arguments: arguments[at + 1..].to_vec() };
        self.fetch(&arguments[at..=at], pending, false)
    }

    fn initrd(&mut self, arguments: &[String]) -> Outcome {
        let plain = words::plain(arguments);
        let Some(url) = plain.first() else { return Outcome::Bad("initrd: an address is missing".to_owned()) };
        // Older scripts name the file after its address, newer ones by an option.
        let name = words::option(arguments, "--name").or_else(|| plain.get(1).map(|n| (*n).clone()));
        let pending = Pending::Initrd { name: name.unwrap_or_else(|| words::file_name(url)) };
        self.fetch(arguments, pending, false)
    }

    fn imgargs(&mut self, arguments: &[String]) -> Outcome {
        match (&mut self.images.kernel, arguments.split_first()) {
            (Some((name, words)), Some((image, given))) if name == image => {
                *words = given.to_vec();
                Outcome::Good
            }
            _ => Outcome::Bad("imgargs: there is no such image".to_owned()),
        }
    }

    fn boot(&mut self) -> Outcome {
        let Some((_, arguments)) = &self.images.kernel else {
            return Outcome::Bad("boot: there is no image to boot".to_owned());
        };
        let named = |initrd: &String| {
            arguments.iter().any(|a| a.strip_prefix("initrd=").is_some_and(|n| n.split(',').any(|n| n == initrd)))
        };
        // An EFI stub finds only the initrd that its command line names; without one it would panic.
        if self.uefi && !self.images.initrds.iter().all(named) {
            return Outcome::Bad(
                "boot: the kernel would not find its initrd: its command line does not name it".into(),
            );
        }
        Outcome::Ask(Ask::Kernel { cmdline: arguments.join(" ") })
    }
}

const fn holds(condition: bool) -> Outcome {
    if condition { Outcome::Good } else { Outcome::No }
}

#[cfg(test)]
mod tests;
