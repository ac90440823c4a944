//! On whose behalf a use case runs, and what every mutation has in common.

use std::sync::Arc;

use farrier_common::id::{Id, Kind};

use crate::{
    domain::{
        Error, Result,
        event::{EventKind, NewEvent},
        lifecycle::State,
        machine::Machine,
        user::{Role, User},
    },
    store::Request,
};

/// How an answer is kept for the case that the request is repeated.
pub type Render<T> = Arc<dyn Fn(&T) -> Vec<u8> + Send + Sync>;

/// A change that somebody asks for.
#[derive(Clone)]
pub struct Ask<T> {
    /// Who.
    pub user: User,
    /// Names the request, so that it is carried out once.
    pub request: Request,
    /// The resource must still be at this version.
    pub etag: Option<String>,
    /// The machine must still be in this state.
    pub expected: Option<State>,
    /// Renders the answer.
    pub render: Render<T>,
}

impl<T> Ask<T> {
    /// The renderer in the form that the store takes.
    pub(super) fn renderer(&self) -> impl FnOnce(&T) -> Vec<u8> + Send + 'static
    where
        T: 'static,
    {
        let render = Arc::clone(&self.render);
        move |t| render(t)
    }

    /// Who, for the log.
    pub(super) fn actor(&self) -> String {
        format!("user:{}", self.user.name)
    }

    /// Refuses if the resource is no longer what the caller saw.
    pub(super) fn still(&self, name: &str, etag: String) -> Result<()> {
        match &self.etag {
            Some(seen) if *seen != etag => Err(Error::Conflict { name: name.to_owned(), etag }),
            Some(_) | None => Ok(()),
        }
    }
}

impl<T> Ask<T> {
    /// Refuses if the machine is no longer in the state that the caller expects.
    pub(super) fn still_in(&self, m: &Machine) -> Result<()> {
        match self.expected {
            Some(expected) if expected != m.state => {
                Err(Error::Elsewhere { machine: m.name.to_string(), state: m.state, expected })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Refuses whoever has less than `role`.
pub(super) fn needs(user: &User, role: Role, what: &str) -> Result<()> {
    if user.role >= role {
        return Ok(());
    }
    Err(Error::Denied(format!("to {what} one needs the role {role}; {} is {}", user.name, user.role)))
}

/// What is logged of something that is not of a machine.
pub(super) fn noted(kind: EventKind, actor: String, reason: String) -> NewEvent {
    NewEvent { kind, machine: None, event: None, from: None, to: None, phase: None, actor, reason }
}

/// Which part of a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// What the previous page said comes next; `None`: the first page.
    pub after: Option<String>,
    /// How many.
    pub size: usize,
}

impl Page {
    /// The id after which the page begins.
    pub(super) fn after<K: Kind>(&self) -> Result<Option<Id<K>>> {
        self.after.as_deref().map(str::parse).transpose().map_err(|_| Self::foreign())
    }

    /// The key after which the page begins.
    pub(super) fn after_key<K: std::str::FromStr>(&self) -> Result<Option<K>> {
        self.after.as_deref().map(str::parse).transpose().map_err(|_| Self::foreign())
    }

    /// The revision after which the page begins.
    pub(super) fn after_revision(&self) -> Result<i64> {
        self.after.as_deref().map_or(Ok(0), str::parse).map_err(|_| Self::foreign())
    }

    fn foreign() -> Error {
        Error::invalid("page.page_token", "is of another list; take it from the previous answer of this one")
    }

    /// Cuts `items`, of which one more than asked for was fetched.
    pub(super) fn cut<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> String) -> Listed<T> {
        let more = items.len() > self.size;
        items.truncate(self.size);
        let next = if more { items.last().map(key) } else { None };
        Listed { items, next }
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// What to ask for next; `None` on the last page.
    pub next: Option<String>,
}

/// Cuts a text that came from outside to at most `most` characters, without control characters.
pub(super) fn clip(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_cut_and_tells_what_comes_next() {
        let page = Page { after: None, size: 2 };
        assert_eq!(
            page.cut(vec![1, 2, 3], ToString::to_string),
            Listed { items: vec![1, 2], next: Some("2".to_owned()) }
        );
        assert_eq!(page.cut(vec![1, 2], ToString::to_string), Listed { items: vec![1, 2], next: None });
    }

    #[test]
    fn texts_from_outside_are_cut_and_cleaned() {
        assert_eq!(clip("a\u{1b}[31mb\n", 3), "a[3");
    }
}
