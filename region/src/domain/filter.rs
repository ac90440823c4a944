//! What a list of machines is filtered by: a subset of AIP-160. `docs/filter.md` is generated from here.
//!
//! **Invariant:** a filter that parses can be evaluated on every machine; what it cannot mean is refused when it is parsed,
//! with the place.

use std::borrow::Cow;

use farrier_common::{
    clock::Timestamp,
    hardware::{Architecture, Firmware, PowerState},
    name::Name,
    words,
};

use super::{
    Error, Result,
    lifecycle::{Phase, State},
    machine::Machine,
};

mod parse;
pub mod render;
#[cfg(test)]
mod tests;

words! {
    /// What of a machine can be asked for.
    Field {
        /// Its id.
        Id = "id",
        /// Its name.
        Name = "name",
        /// Where it is in its life.
        State = "state",
        /// What the engine is at.
        Phase = "phase",
        /// The user who holds it.
        Owner = "owner",
        /// The project that holds it.
        Project = "project",
        /// Its pool.
        Pool = "pool",
        /// Its zone.
        Zone = "zone",
        /// The rack that serves it.
        Rack = "rack",
        /// Of its CPU.
        Architecture = "architecture",
        /// How it boots.
        Firmware = "firmware",
        /// What its BMC said last.
        Power = "power",
        /// Does somebody keep everybody from it?
        Locked = "locked",
        /// Its tags.
        Tags = "tags",
        /// One of its labels.
        Labels = "labels",
        /// SMBIOS manufacturer.
        Vendor = "vendor",
        /// SMBIOS product name.
        Product = "product",
        /// SMBIOS serial number.
        Serial = "serial",
        /// Logical CPUs.
        CpuCores = "cpu_cores",
        /// RAM.
        MemoryBytes = "memory_bytes",
        /// Image of the current or last deployment.
        Image = "image",
        /// Where its BMC is.
        BmcAddress = "bmc_address",
        /// Of its interfaces.
        Mac = "mac",
        /// When it came to be.
        CreatedAt = "created_at",
        /// When it changed last.
        UpdatedAt = "updated_at",
        /// Since when it is in its state.
        Since = "since",
    }
}

words! {
    /// How a field is compared.
    Op {
        /// Is this.
        Eq = "=",
        /// Is not this.
        Ne = "!=",
        /// Is less or earlier.
        Lt = "<",
        /// Is not more or later.
        Le = "<=",
        /// Is more or later.
        Gt = ">",
        /// Is not less or earlier.
        Ge = ">=",
        /// Has this.
        Has = ":",
    }
}

/// What a field is made of, from which follows how it is compared.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Free text.
    Text,
    /// One of a closed set of words.
    Word(fn() -> Vec<&'static str>),
    /// True or false.
    Flag,
    /// A whole number.
    Number,
    /// A point in time.
    Time,
    /// Any number of texts.
    Set,
    /// Texts with a key each.
    Map,
}

impl Field {
    /// What it is made of.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Id
            | Self::Name
            | Self::Owner
            | Self::Project
            | Self::Pool
            | Self::Zone
            | Self::Rack
            | Self::Vendor
            | Self::Product
            | Self::Serial
            | Self::Image
            | Self::BmcAddress => Kind::Text,
            Self::State => Kind::Word(|| State::ALL.iter().map(|w| w.as_str()).collect()),
            Self::Phase => Kind::Word(|| Phase::ALL.iter().map(|w| w.as_str()).collect()),
            Self::Architecture => Kind::Word(|| Architecture::ALL.iter().map(|w| w.as_str()).collect()),
            Self::Firmware => Kind::Word(|| Firmware::ALL.iter().map(|w| w.as_str()).collect()),
            Self::Power => Kind::Word(|| PowerState::ALL.iter().map(|w| w.as_str()).collect()),
            Self::Locked => Kind::Flag,
            Self::CpuCores | Self::MemoryBytes => Kind::Number,
            Self::CreatedAt | Self::UpdatedAt | Self::Since => Kind::Time,
            Self::Tags | Self::Mac => Kind::Set,
            Self::Labels => Kind::Map,
        }
    }

    /// Is it part of what only the inventory knows? That is dear to read.
    #[must_use]
    pub const fn is_hardware(self) -> bool {
        matches!(self, Self::Vendor | Self::Product | Self::Serial | Self::CpuCores | Self::MemoryBytes)
    }
}

impl Kind {
    /// The operators that it has.
    #[must_use]
    pub const fn ops(self) -> &'static [Op] {
        match self {
            Self::Text | Self::Word(_) | Self::Map => &[Op::Eq, Op::Ne, Op::Has],
            Self::Number | Self::Time => &[Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge, Op::Has],
            Self::Set => &[Op::Has],
            // Every machine has it: who asks whether it is there means something else.
            Self::Flag => &[Op::Eq, Op::Ne],
        }
    }
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `:*`: whether there is anything.
    Any,
    /// A text: pieces between which anything may be. One piece: exactly this.
    Text(Vec<String>),
    /// A number.
    Number(u64),
    /// A time.
    Time(Timestamp),
    /// Whether it is so.
    Flag(bool),
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// Of what.
    pub field: Field,
    /// Of which label; empty for `labels:KEY`, which asks whether there is one.
    pub key: String,
    /// How.
    pub op: Op,
    /// With what.
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expr {
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Not(Box<Expr>),
    Test(Test),
}

/// A parsed filter. The default lets everything through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Expr);

impl Default for Filter {
    fn default() -> Self {
        Self(Expr::All(Vec::new()))
    }
}

/// A machine with the names that go with it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// Name of the user who holds it.
    pub owner: Option<&'a Name>,
    /// Name of the project that holds it.
    pub project: Option<&'a Name>,
    /// Name of its pool.
    pub pool: &'a Name,
    /// Name of the rack that serves it.
    pub rack: Option<&'a Name>,
}

impl Filter {
    /// Parses a filter; an empty one lets everything through.
    ///
    /// # Errors
    /// What is wrong, and the character at which it begins, counted from 1.
    pub fn parse(text: &str) -> Result<Self> {
        parse::parse(text).map(Self).map_err(|why| Error::invalid("filter", why))
    }

    /// Does the machine pass?
    #[must_use]
    pub fn matches(&self, seen: &Seen<'_>) -> bool {
        passes(&self.0, seen)
    }

    /// The tests that every machine that passes has to pass each.
    #[must_use]
    pub fn conjuncts(&self) -> Vec<&Test> {
        let mut tests = Vec::new();
        collect(&self.0, &mut tests);
        tests
    }

    /// Is it nothing but those?
    #[must_use]
    pub fn is_conjunction(&self) -> bool {
        fn flat(expr: &Expr) -> bool {
            match expr {
                Expr::Test(_) => true,
                Expr::All(all) => all.iter().all(flat),
                Expr::Any(_) | Expr::Not(_) => false,
            }
        }
        flat(&self.0)
    }

    /// Does it ask for what only the inventory knows?
    #[must_use]
    pub fn asks_hardware(&self) -> bool {
        fn asks(expr: &Expr) -> bool {
            match expr {
                Expr::Test(test) => test.field.is_hardware(),
                Expr::All(parts) | Expr::Any(parts) => parts.iter().any(asks),
                Expr::Not(part) => asks(part),
            }
        }
        asks(&self.0)
    }
}

fn collect<'a>(expr: &'a Expr, tests: &mut Vec<&'a Test>) {
    match expr {
        Expr::All(all) => all.iter().for_each(|one| collect(one, tests)),
        Expr::Test(test) => tests.push(test),
        Expr::Any(_) | Expr::Not(_) => {}
    }
}

fn passes(expr: &Expr, seen: &Seen<'_>) -> bool {
    match expr {
        Expr::All(all) => all.iter().all(|one| passes(one, seen)),
        Expr::Any(any) => any.iter().any(|one| passes(one, seen)),
        Expr::Not(one) => !passes(one, seen),
        Expr::Test(test) => test.passes(seen),
    }
}

impl Test {
    /// The text that the field has to be, if nothing else will do.
    #[must_use]
    pub fn exactly(&self) -> Option<&str> {
        match (&self.value, self.op) {
            (Value::Text(pieces), Op::Eq) => match pieces.as_slice() {
                [one] => Some(one),
                _ => None,
            },
            _ => None,
        }
    }

    fn passes(&self, seen: &Seen<'_>) -> bool {
        match self.field.kind() {
            Kind::Text | Kind::Word(_) => self.text(text(self.field, seen).as_deref()),
            Kind::Map => self.label(seen),
            Kind::Set => self.set(seen),
            Kind::Flag => (self.value == Value::Flag(seen.machine.details.lock.is_some())) == (self.op == Op::Eq),
            Kind::Number => self.number(number(self.field, seen)),
            Kind::Time => time(self.field, seen).is_some_and(|at| match self.value {
                Value::Time(than) => ordered(self.op, &at, &than),
                Value::Any | Value::Text(_) | Value::Number(_) | Value::Flag(_) => true,
            }),
        }
    }

    /// What is absent is the empty text.
    fn text(&self, found: Option<&str>) -> bool {
        let found = found.unwrap_or_default();
        let Value::Text(pieces) = &self.value else { return !found.is_empty() };
        match self.op {
            Op::Ne => !fits(pieces, found),
            Op::Has if matches!(self.field.kind(), Kind::Text | Kind::Map) => has(pieces, found),
            Op::Eq | Op::Has | Op::Lt | Op::Le | Op::Gt | Op::Ge => fits(pieces, found),
        }
    }

    fn label(&self, seen: &Seen<'_>) -> bool {
        let labels = &seen.machine.details.labels;
        match &self.value {
            Value::Text(pieces) if self.key.is_empty() => labels.keys().any(|key| fits(pieces, key)),
            Value::Any if self.key.is_empty() => !labels.is_empty(),
            // A label may be there and empty.
            Value::Any => labels.contains_key(&self.key),
            Value::Text(_) | Value::Number(_) | Value::Time(_) | Value::Flag(_) => {
                self.text(labels.get(&self.key).map(String::as_str))
            }
        }
    }

    fn set(&self, seen: &Seen<'_>) -> bool {
        let m = seen.machine;
        let wanted = |one: &str| match &self.value {
            Value::Text(pieces) => fits(pieces, one),
            Value::Any | Value::Number(_) | Value::Time(_) | Value::Flag(_) => true,
        };
        if self.field == Field::Mac {
            return m.interfaces.iter().any(|i| wanted(&i.mac.to_string()));
        }
        m.tags.iter().any(|tag| wanted(tag.as_str()))
    }

    /// An unknown number differs from each, and is neither more nor less.
    fn number(&self, found: Option<u64>) -> bool {
        match (found, &self.value) {
            (Some(found), Value::Number(than)) => ordered(self.op, &found, than),
            (None, Value::Number(_)) => self.op == Op::Ne,
            (found, Value::Any | Value::Text(_) | Value::Time(_) | Value::Flag(_)) => found.is_some(),
        }
    }
}

fn text<'a>(field: Field, seen: &Seen<'a>) -> Option<Cow<'a, str>> {
    let m = seen.machine;
    let name = |name: Option<&'a Name>| name.map(|n| Cow::Borrowed(n.as_str()));
    let hardware = m.details.hardware.as_ref();
    match field {
        Field::Id => Some(m.id.to_string().into()),
        Field::Name => name(Some(&m.name)),
        Field::State => Some(m.state.as_str().into()),
        Field::Phase => m.work.phase.map(|p| p.as_str().into()),
        Field::Owner => name(seen.owner),
        Field::Project => name(seen.project),
        Field::Pool => name(Some(seen.pool)),
        Field::Zone => name(Some(&m.zone)),
        Field::Rack => name(seen.rack),
        Field::Architecture => Some(m.architecture.as_str().into()),
        Field::Firmware => m.firmware.map(|f| f.as_str().into()),
        Field::Power => m.power.map(|(p, _)| p.as_str().into()),
        Field::Vendor => hardware.map(|h| h.vendor.as_str().into()),
        Field::Product => hardware.map(|h| h.product.as_str().into()),
        Field::Serial => hardware.map(|h| h.serial.as_str().into()),
        Field::Image => m.details.deployment.as_ref().map(|d| d.image.as_str().into()),
        Field::BmcAddress => m.details.bmc.as_ref().map(|b| b.address.to_string().into()),
        Field::Locked
        | Field::Tags
        | Field::Labels
        | Field::Mac
        | Field::CpuCores
        | Field::MemoryBytes
        | Field::CreatedAt
        | Field::UpdatedAt
        | Field::Since => None,
    }
}

fn number(field: Field, seen: &Seen<'_>) -> Option<u64> {
    let hardware = seen.machine.details.hardware.as_ref()?;
    Some(if field == Field::CpuCores { hardware.cpu_cores.into() } else { hardware.memory_bytes })
}

fn time(field: Field, seen: &Seen<'_>) -> Option<Timestamp> {
    let m = seen.machine;
    if field == Field::CreatedAt {
        Some(m.created_at)
    } else if field == Field::UpdatedAt {
        Some(m.updated_at)
    } else {
        (field == Field::Since).then_some(m.since)
    }
}

fn ordered<T: Ord>(op: Op, found: &T, than: &T) -> bool {
    match op {
        Op::Eq | Op::Has => found == than,
        Op::Ne => found != than,
        Op::Lt => found < than,
        Op::Le => found <= than,
        Op::Gt => found > than,
        Op::Ge => found >= than,
    }
}

/// Is `text` these pieces in this order, the first at its beginning and the last at its end?
fn fits(pieces: &[String], text: &str) -> bool {
    let [first, between @ .., last] = pieces else { return pieces.iter().all(|one| one == text) };
    let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
    for piece in between {
        let Some((_, behind)) = rest.split_once(piece.as_str()) else { return false };
        rest = behind;
    }
    rest.ends_with(last.as_str())
}

/// Are these pieces in `text` somewhere, in this order? ASCII letters count the same in either case.
fn has(pieces: &[String], text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let mut rest = text.as_str();
    for piece in pieces {
        let Some((_, behind)) = rest.split_once(piece.to_ascii_lowercase().as_str()) else { return false };
        rest = behind;
    }
    true
}
