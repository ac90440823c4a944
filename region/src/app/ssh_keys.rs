//! Users' public keys for SSH.

use farrier_common::{id::SshKeyId, name::Name};

use super::{
    App,
    context::{Ask, Listed, Page, needs, noted},
};
use crate::{
    domain::{
        Error, Result,
        event::EventKind,
        ssh_key::{MOST_KEYS, PublicKey, SshKey},
        user::{Role, User},
    },
    store::Once,
};

/// A key and the name of its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshKeyView {
    /// The key.
    pub key: SshKey,
    /// Whose.
    pub user: Name,
}

impl App {
    /// A page of the keys of `user` (empty: the caller).
    ///
    /// # Errors
    /// Another's keys, and not an admin; the page token is foreign.
    pub async fn ssh_key_list(&self, caller: &User, user: &str, page: &Page) -> Result<Listed<SshKeyView>> {
        let user = self.whose_keys(caller, user).await?;
        let items = self.store.ssh_key_list(user.id, page.after()?, page.size + 1).await?;
        let views = items.into_iter().map(|key| SshKeyView { key, user: user.name.clone() }).collect();
        Ok(page.cut(views, |v: &SshKeyView| v.key.id.to_string()))
    }

    /// Adds a key of `user` (empty: the caller).
    ///
    /// # Errors
    /// Another's key, and not an admin; it is no key; the user has it, or too many.
    pub async fn ssh_key_add(&self, ask: &Ask<SshKeyView>, user: &str, line: &str) -> Result<Once<SshKeyView>> {
        let user = self.whose_keys(&ask.user, user).await?;
        let key = PublicKey::parse(line).map_err(|why| Error::invalid("public_key", why))?;
        let event =
            noted(EventKind::User, ask.actor(), format!("SSH key {} of user {} was added", key.fingerprint, user.name));
        let key = SshKey { id: SshKeyId::generate(), user: user.id, key, created_at: self.clock.now() };
        let (view, render) = (seen_as(user.name), ask.renderer());
        let rendered = view.clone();
        let made = self.store.ssh_key_insert(Some(&ask.request), key, event, move |k| render(&rendered(k))).await?;
        Ok(made.map(|k| view(&k)))
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// There is none that the caller may know of.
    pub async fn ssh_key_delete(&self, ask: &Ask<SshKeyView>, id: &str) -> Result<Once<SshKeyView>> {
        let missing = || Error::not_found("SSH key", id);
        let parsed: SshKeyId = id.parse().map_err(|e| Error::invalid("ssh_key", e))?;
        let key = self.store.ssh_key_get(parsed).await?.ok_or_else(missing)?;
        if key.user != ask.user.id && ask.user.role != Role::Admin {
            return Err(missing());
        }
        let user = self.store.user_get(key.user).await?.ok_or_else(missing)?;
        let what = format!("SSH key {} of user {} was deleted", key.key.fingerprint, user.name);
        let event = noted(EventKind::User, ask.actor(), what);
        let (view, render) = (seen_as(user.name), ask.renderer());
        let rendered = view.clone();
        let made = self.store.ssh_key_delete(Some(&ask.request), parsed, event, move |k| render(&rendered(k))).await?;
        Ok(made.map(|k| view(&k)))
    }

    /// The lines with which `user` may log in: his own keys and those `given` in `field`, each once.
    pub(super) async fn login_keys(&self, user: &User, field: &str, given: &[String]) -> Result<Vec<String>> {
        if given.len() > MOST_KEYS {
            return Err(Error::invalid(field, format!("at most {MOST_KEYS} keys can be given")));
        }
        let own = self.store.ssh_key_list(user.id, None, MOST_KEYS).await?;
        let mut keys: Vec<PublicKey> = own.into_iter().map(|k| k.key).collect();
        for (place, line) in given.iter().enumerate() {
            let key = PublicKey::parse(line).map_err(|why| Error::invalid(format!("{field}[{place}]"), why))?;
            if !keys.iter().any(|k| k.fingerprint == key.fingerprint) {
                keys.push(key);
            }
        }
        Ok(keys.into_iter().map(|k| k.line).collect())
    }

    /// As [`App::whose`], for keys.
    async fn whose_keys(&self, caller: &User, name: &str) -> Result<User> {
        if name.is_empty() || name == caller.name.as_str() {
            return Ok(caller.clone());
        }
        needs(caller, Role::Admin, "see or change other users' SSH keys")?;
        self.store.user_find(name).await?.ok_or_else(|| Error::not_found("user", name))
    }
}

fn seen_as(user: Name) -> impl Fn(&SshKey) -> SshKeyView + Clone + Send + 'static {
    move |key| SshKeyView { key: key.clone(), user: user.clone() }
}
