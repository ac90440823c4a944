//! The grammar of filters.
//!
//! ```text
//! filter     = [ expression ]
//! expression = term { AND term } | term { OR term }
//! term       = [ NOT | "-" ] ( "(" expression ")" | field operator value )
//! field      = word | "labels." ( word | quoted )
//! value      = bare | quoted
//! ```
//!
//! AIP-160 lets OR bind closer than AND, most languages the other way round: here they need parentheses beside each other,
//! so that nobody releases other machines than he meant.

use farrier_common::{clock::Timestamp, net::MacAddr};

use super::{Expr, Field, Kind, Op, Test, Value};

const MOST_TEXT: usize = 4096;
const MOST_DEPTH: usize = 32;

type Parsed<T> = Result<T, String>;

pub(super) fn parse(text: &str) -> Parsed<Expr> {
    let text: Vec<char> = text.chars().collect();
    if text.len() > MOST_TEXT {
        return Err(format!("has at most {MOST_TEXT} characters, not {}", text.len()));
    }
    let mut parser = Parser { text, at: 0, depth: 0 };
    parser.blanks();
    if parser.peek().is_none() {
        return Ok(Expr::All(Vec::new()));
    }
    let expr = parser.expression()?;
    match parser.peek() {
        None => Ok(expr),
        Some(')') => Err(format!("a ) without its ( at {}", parser.place())),
        Some(_) => Err(format!("AND, OR or the end is expected at {}", parser.place())),
    }
}

struct Parser {
    text: Vec<char>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    /// The place for people, who count from 1.
    const fn place(&self) -> usize {
        self.at + 1
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn take(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    /// Takes a keyword: one that ends there.
    fn keyword(&mut self, word: &str) -> bool {
        let end = self.at + word.len();
        let found = self.text.get(self.at..end).is_some_and(|t| t.iter().copied().eq(word.chars()));
        let ends = self.text.get(end).is_none_or(|c| c.is_whitespace() || matches!(c, '(' | ')'));
        if found && ends {
            self.at = end;
            self.blanks();
        }
        found && ends
    }

    fn expression(&mut self) -> Parsed<Expr> {
        let mut parts = vec![self.term()?];
        let mut joined = None;
        loop {
            let place = self.place();
            let word = ["AND", "OR"].into_iter().find(|word| self.keyword(word));
            let Some(word) = word else { break };
            if *joined.get_or_insert(word) != word {
                return Err(format!("AND and OR beside each other need parentheses, at {place}"));
            }
            parts.push(self.term()?);
        }
        Ok(match (joined, parts.pop()) {
            (None, Some(one)) => one,
            (joined, last) => {
                parts.extend(last);
                if joined == Some("OR") { Expr::Any(parts) } else { Expr::All(parts) }
            }
        })
    }

    fn term(&mut self) -> Parsed<Expr> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(format!("is nested deeper than {MOST_DEPTH} at {}", self.place()));
        }
        let expr = if self.keyword("NOT") || self.take('-') {
            Expr::Not(Box::new(self.term()?))
        } else if self.peek() == Some('(') {
            self.group()?
        } else {
            Expr::Test(self.test()?)
        };
        self.depth -= 1;
        self.blanks();
        Ok(expr)
    }

    fn group(&mut self) -> Parsed<Expr> {
        let open = self.place();
        self.at += 1;
        self.blanks();
        let expr = self.expression()?;
        if self.take(')') {
            return Ok(expr);
        }
        Err(match self.peek() {
            None => format!("the ( at {open} has no )"),
            Some(_) => format!("AND, OR or ) is expected at {}", self.place()),
        })
    }

    fn test(&mut self) -> Parsed<Test> {
        let (field, key) = self.field()?;
        self.blanks();
        let op = self.op(field, &key)?;
        self.blanks();
        let place = self.place();
        let (text, quoted) = self.value()?;
        let value = value(field, op, &text, quoted).map_err(|why| format!("{why}, at {place}"))?;
        Ok(Test { field, key, op, value })
    }

    fn field(&mut self) -> Parsed<(Field, String)> {
        let place = self.place();
        let word = self.word(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
        if word.is_empty() {
            return Err(match self.peek() {
                Some(c) => format!("a field is expected, not {c:?}, at {place}"),
                None => format!("a field is expected at the end, at {place}"),
            });
        }
        let (name, key) = word.split_once('.').map_or((word.as_str(), None), |(name, key)| (name, Some(key)));
        let Ok(field) = name.parse::<Field>() else {
            let all = Field::ALL.iter().map(|f| f.as_str()).collect::<Vec<_>>().join(", ");
            return Err(format!("unknown field {word:?} at {place}; fields are: {all}"));
        };
        match key {
            None => Ok((field, String::new())),
            Some(_) if field != Field::Labels => Err(format!("{field} has no parts: {word:?} at {place}")),
            Some("") if self.peek() == Some('"') => Ok((field, self.quoted()?.into_iter().map(|(c, _)| c).collect())),
            Some("") => Err(format!("labels. needs a key at {}", self.place())),
            Some(key) => Ok((field, key.to_owned())),
        }
    }

    fn op(&mut self, field: Field, key: &str) -> Parsed<Op> {
        let place = self.place();
        let two: String = self.text.iter().skip(self.at).take(2).collect();
        // The longer ones first.
        let mut ops: Vec<Op> = Op::ALL.to_vec();
        ops.sort_by_key(|op| std::cmp::Reverse(op.as_str().len()));
        let bare_map = field == Field::Labels && key.is_empty();
        let allowed = if bare_map { &[Op::Has] } else { field.kind().ops() };
        let words = || allowed.iter().map(|o| o.as_str()).collect::<Vec<_>>().join(" ");
        let Some(op) = ops.into_iter().find(|op| two.starts_with(op.as_str())) else {
            return Err(format!("an operator is expected after {field} at {place}: one of {}", words()));
        };
        if !allowed.contains(&op) {
            let hint = if bare_map { "; one label is labels.KEY" } else { "" };
            return Err(format!("{field} cannot be compared by {op} at {place}; its operators are: {}{hint}", words()));
        }
        self.at += op.as_str().len();
        Ok(op)
    }

    /// A value, each character with whether it stands for itself only.
    fn value(&mut self) -> Parsed<(Vec<(char, bool)>, bool)> {
        if self.peek() == Some('"') {
            return Ok((self.quoted()?, true));
        }
        let word = self.word(|c| !c.is_whitespace() && !matches!(c, '(' | ')' | '"'));
        if word.is_empty() {
            return Err(format!("a value is expected at {}", self.place()));
        }
        Ok((word.chars().map(|c| (c, false)).collect(), false))
    }

    fn word(&mut self, is_part: impl Fn(char) -> bool) -> String {
        let word: String = self.text.iter().skip(self.at).take_while(|c| is_part(**c)).collect();
        self.at += word.chars().count();
        word
    }

    /// What is between double quotes. A backslash makes the next character stand for itself.
    fn quoted(&mut self) -> Parsed<Vec<(char, bool)>> {
        let open = self.place();
        self.at += 1;
        let mut text = Vec::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                '"' => return Ok(text),
                '\\' => {
                    let Some(next) = self.peek() else { break };
                    self.at += 1;
                    text.push((next, true));
                }
                _ => text.push((c, false)),
            }
        }
        Err(format!("the quoted text that begins at {open} has no end"))
    }
}

fn value(field: Field, op: Op, text: &[(char, bool)], quoted: bool) -> Parsed<Value> {
    let plain: String = text.iter().map(|(c, _)| *c).collect();
    if op == Op::Has && text == [('*', false)] && !quoted {
        return Ok(Value::Any);
    }
    match field.kind() {
        Kind::Number => {
            plain.parse().map(Value::Number).map_err(|_| format!("{plain:?} is not a whole number, as {field} is"))
        }
        Kind::Time => plain
            .parse::<Timestamp>()
            .map(Value::Time)
            .map_err(|_| format!("{plain:?} is not an RFC 3339 time such as 2026-03-01T12:00:00Z, as {field} is")),
        Kind::Word(words) => {
            let words = words();
            if !words.contains(&plain.as_str()) {
                return Err(format!("{plain:?} is not a value of {field}; they are: {}", words.join(", ")));
            }
            Ok(Value::Text(vec![plain]))
        }
        Kind::Flag => match plain.as_str() {
            "true" => Ok(Value::Flag(true)),
            "false" => Ok(Value::Flag(false)),
            _ => Err(format!("{plain:?} is neither true nor false, as {field} is")),
        },
        // However it is spelled, it is kept in one way.
        Kind::Set if field == Field::Mac && !plain.contains('*') => match plain.parse::<MacAddr>() {
            Ok(mac) => Ok(Value::Text(vec![mac.to_string()])),
            Err(_) => Err(format!("{plain:?} is not a MAC address")),
        },
        Kind::Text | Kind::Set | Kind::Map => Ok(Value::Text(pieces(text))),
    }
}

/// Cuts at each `*` that was not written `\*`.
fn pieces(text: &[(char, bool)]) -> Vec<String> {
    text.split(|c| *c == ('*', false)).map(|piece| piece.iter().map(|(c, _)| *c).collect()).collect()
}
