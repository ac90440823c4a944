//! Scripts that the agent runs, what is chosen of them, and what they did.

use farrier_common::{id::ScriptId, name::Name};

use super::{
    App,
    context::{Ask, Listed, Page, needs},
};
use crate::{
    domain::{
        Error, Result,
        script::{BUILT_IN, BuiltIn, Known, NO_TESTS, Run, Script, ScriptKind, built_in},
        user::{Role, User},
    },
    store::{Once, RunKey},
};

/// Runs on one page at most, and bytes of output after which a page ends: an answer has to fit into a message.
const MOST_RUNS: usize = 50;
const MOST_PAGE_OUTPUT: usize = 1 << 20;

/// A script to make. What its fields may hold was checked.
#[derive(Clone, Debug)]
pub struct NewScript {
    /// Unique.
    pub name: Name,
    /// When it runs.
    pub kind: ScriptKind,
    /// With a #! line.
    pub content: String,
    /// How long it may take.
    pub timeout_seconds: u32,
    /// Free text.
    pub description: String,
}

/// A script in a list.
#[derive(Clone, Debug)]
pub enum Listing {
    /// The agent brings it along.
    BuiltIn(&'static BuiltIn),
    /// Somebody made it.
    Made(Script),
}

impl Listing {
    /// By which it is listed.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::BuiltIn(b) => b.name,
            Self::Made(s) => s.name.as_str(),
        }
    }
}

impl App {
    /// A script, by id or name.
    ///
    /// # Errors
    /// There is none.
    pub async fn script_get(&self, which: &str) -> Result<Listing> {
        if let Some(b) = built_in(which) {
            return Ok(Listing::BuiltIn(b));
        }
        let found = self.store.script_find(which).await?;
        found.map(Listing::Made).ok_or_else(|| Error::not_found("script", which))
    }

    /// A page of scripts in order of name, built-in ones among them.
    ///
    /// # Errors
    /// The page token is foreign.
    pub async fn script_list(&self, page: &Page) -> Result<Listed<Listing>> {
        let after: Option<Name> = page.after_key()?;
        let made = self.store.script_list(after.clone(), page.size + 1).await?;
        let built_in = BUILT_IN.iter().filter(|b| after.as_ref().is_none_or(|a| b.name > a.as_str()));
        let mut all: Vec<Listing> = built_in.map(Listing::BuiltIn).chain(made.into_iter().map(Listing::Made)).collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(page.cut(all, |s| s.name().to_owned()))
    }

    /// Makes a script.
    ///
    /// # Errors
    /// Not an admin; the name is taken or a built-in test's.
    pub async fn script_create(&self, ask: &Ask<Script>, new: NewScript) -> Result<Once<Script>> {
        needs(&ask.user, Role::Admin, "make scripts")?;
        let name = new.name.as_str();
        if built_in(name).is_some() || name == NO_TESTS {
            return Err(Error::Exists { kind: "built-in script", name: name.to_owned() });
        }
        let script = Script {
            id: ScriptId::generate(),
            name: new.name,
            kind: new.kind,
            content: new.content,
            timeout_seconds: new.timeout_seconds,
            description: new.description,
            created_at: self.clock.now(),
        };
        self.store.script_insert(Some(&ask.request), script, ask.renderer()).await
    }

    /// Takes a script away. A machine that is still to run it fails with that as the reason.
    ///
    /// # Errors
    /// Not an admin; it is built in; there is none.
    pub async fn script_delete(&self, ask: &Ask<Script>, which: &str) -> Result<Once<Script>> {
        needs(&ask.user, Role::Admin, "delete scripts")?;
        if built_in(which).is_some() {
            return Err(Error::Precondition(format!("{which} is built in and cannot be deleted")));
        }
        self.store.script_delete(Some(&ask.request), which, ask.renderer()).await
    }

    /// What is there of the scripts that somebody named, and of those of the configuration.
    pub(super) async fn scripts_known<'a>(&self, named: impl IntoIterator<Item = &'a String>) -> Result<Vec<Known>> {
        let mut names: Vec<String> = named.into_iter().cloned().collect();
        names.extend(self.policy.default_tests.iter().map(ToString::to_string));
        names.sort();
        names.dedup();
        self.store.scripts_known(names).await
    }

    /// A page of what scripts did on a machine, newest first; it ends early if there is much output.
    ///
    /// # Errors
    /// There is no such machine that the caller may know of, or the page token is foreign.
    pub async fn script_runs(&self, user: &User, which: &str, page: &Page) -> Result<Listed<Run>> {
        let machine = self.machine_get(user, which).await?.machine.id;
        let size = page.size.min(MOST_RUNS);
        let found = self.store.script_runs(machine, page.after_key()?, size + 1).await?;
        let mut listed = Page { after: None, size: fitting(&found).min(size) }.cut(found, |(key, _)| key.to_string());
        let items = listed.items.drain(..).map(|(_, run)| run).collect();
        Ok(Listed { items, next: listed.next })
    }
}

/// How many of the runs go onto one page: at least one.
fn fitting(found: &[(RunKey, Run)]) -> usize {
    let mut bytes = 0;
    let fits = found.iter().take_while(|(_, run)| {
        bytes += run.outcome.output.len();
        bytes <= MOST_PAGE_OUTPUT
    });
    fits.count().max(1)
}
