//! People and programs.

use farrier_common::{name::Name, secret::Secret};

use super::{
    App,
    context::{Ask, Listed, Page, needs, noted},
};
use crate::{
    domain::{
        Error, Result,
        event::EventKind,
        user::{Role, User, UserEdit},
    },
    store::Once,
};

impl App {
    /// Whose bearer token it is.
    ///
    /// # Errors
    /// Nobody's, or it is revoked or has expired.
    pub async fn authenticate(&self, token: &Secret<String>) -> Result<User> {
        let found = self.store.user_by_token_digest(&token.digest(), self.clock.now()).await?;
        let unknown = || Error::Unauthenticated("the bearer token is unknown, revoked or has expired".to_owned());
        let user = found.ok_or_else(unknown)?;
        if user.disabled {
            return Err(Error::Unauthenticated(format!("user {} is disabled; an admin can enable him", user.name)));
        }
        Ok(user)
    }

    /// A page of the users.
    ///
    /// # Errors
    /// The page token is foreign.
    pub async fn user_list(&self, page: &Page) -> Result<Listed<User>> {
        let items = self.store.user_list(page.after()?, page.size + 1).await?;
        Ok(page.cut(items, |u| u.id.to_string()))
    }

    /// Makes a user; he has no token yet.
    ///
    /// # Errors
    /// Not an admin; the name is taken.
    pub async fn user_create(&self, ask: &Ask<User>, name: Name, role: Role) -> Result<Once<User>> {
        needs(&ask.user, Role::Admin, "make users")?;
        let user = User::new(name, role, self.clock.now());
        let event = noted(EventKind::User, ask.actor(), format!("user {} was made, with the role {role}", user.name));
        self.store.user_insert(Some(&ask.request), user, event, ask.renderer()).await
    }

    /// Changes a user.
    ///
    /// # Errors
    /// Not an admin; there is no such user; he has changed; or no enabled admin would be left.
    pub async fn user_update(&self, ask: &Ask<User>, which: &str, edit: UserEdit) -> Result<Once<User>> {
        needs(&ask.user, Role::Admin, "change users")?;
        let user = self.store.user_find(which).await?.ok_or_else(|| Error::not_found("user", which))?;
        let role = edit.role.map(|role| format!("has the role {role}"));
        let most = edit.max_machines.map(|most| match most {
            Some(most) => format!("may hold {most} machines"),
            None => "may hold any number of machines".to_owned(),
        });
        let able = edit.disabled.map(|disabled| if disabled { "is disabled" } else { "is enabled" }.to_owned());
        let what = [role, most, able].into_iter().flatten().collect::<Vec<_>>().join(", ");
        let event = noted(EventKind::User, ask.actor(), format!("user {} now {what}", user.name));
        self.store.user_update(Some(&ask.request), user.id, ask.etag.clone(), edit, event, ask.renderer()).await
    }

    /// The user of that name; an empty name means the caller. Others are for admins.
    pub(super) async fn whose(&self, caller: &User, name: &str) -> Result<User> {
        if name.is_empty() || name == caller.name.as_str() {
            return Ok(caller.clone());
        }
        needs(caller, Role::Admin, "see or make other users' tokens")?;
        self.store.user_find(name).await?.ok_or_else(|| Error::not_found("user", name))
    }
}
