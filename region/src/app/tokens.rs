//! Bearer tokens. The secret follows from the token's id and the vault's key, so that it is stored nowhere and a repeated
//! request can still be answered with it.

use chrono::TimeDelta;
use farrier_common::{id::TokenId, name::Name, secret::Secret};

use super::{
    App,
    context::{Ask, Listed, Page, clip, needs, noted},
};
use crate::{
    domain::{
        Error, Result,
        event::EventKind,
        user::{Role, Token, User},
    },
    store::Once,
};

const MOST_SECONDS: u64 = 10 * 366 * 24 * 3600;
const MOST_COMMENT: usize = 200;

/// A token and the name of its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenView {
    /// The token.
    pub token: Token,
    /// Whose.
    pub user: Name,
}

impl App {
    /// A page of the tokens of `user` (empty: the caller).
    ///
    /// # Errors
    /// Another's tokens, and not an admin; the page token is foreign.
    pub async fn token_list(&self, caller: &User, user: &str, page: &Page) -> Result<Listed<TokenView>> {
        let user = self.whose(caller, user).await?;
        let items = self.store.token_list(user.id, page.after()?, page.size + 1).await?;
        let views = items.into_iter().map(|token| TokenView { token, user: user.name.clone() }).collect();
        Ok(page.cut(views, |v: &TokenView| v.token.id.to_string()))
    }

    /// Makes a token for `user` (empty: the caller) that lasts so long (0: for ever).
    ///
    /// # Errors
    /// Another's token, and not an admin; the comment or the time is too long.
    pub async fn token_create(
        &self,
        ask: &Ask<TokenView>,
        user: &str,
        comment: &str,
        seconds: u64,
    ) -> Result<Once<TokenView>> {
        let user = self.whose(&ask.user, user).await?;
        if clip(comment, MOST_COMMENT) != comment {
            return Err(Error::invalid(
                "comment",
                format!("may have {MOST_COMMENT} characters, none of them control characters"),
            ));
        }
        let lasts = i64::try_from(seconds).ok().filter(|_| seconds <= MOST_SECONDS).map(TimeDelta::seconds);
        let lasts = lasts.ok_or_else(|| Error::invalid("valid_seconds", format!("must be 0 to {MOST_SECONDS}")))?;
        let now = self.clock.now();
        let token = Token {
            id: TokenId::generate(),
            user: user.id,
            comment: comment.to_owned(),
            created_at: now,
            expires_at: (seconds > 0).then(|| now + lasts),
            revoked: false,
        };
        let digest = self.token_secret(token.id).digest();
        let event = noted(EventKind::User, ask.actor(), format!("token {} of user {} was made", token.id, user.name));
        let (view, render) = (seen_as(user.name), ask.renderer());
        let rendered = view.clone();
        let made =
            self.store.token_insert(Some(&ask.request), token, &digest, event, move |t| render(&rendered(t))).await?;
        Ok(made.map(|t| view(&t)))
    }

    /// Takes a token back. Doing it again changes nothing.
    ///
    /// # Errors
    /// There is none that the caller may know of.
    pub async fn token_revoke(&self, ask: &Ask<TokenView>, id: &str) -> Result<Once<TokenView>> {
        let missing = || Error::not_found("token", id);
        let id: TokenId = id.parse().map_err(|e| Error::invalid("token", e))?;
        let token = self.store.token_get(id).await?.ok_or_else(missing)?;
        if token.user != ask.user.id {
            needs(&ask.user, Role::Admin, "revoke other users' tokens")?;
        }
        let user = self.store.user_get(token.user).await?.ok_or_else(missing)?;
        let event = noted(EventKind::User, ask.actor(), format!("token {id} of user {} was revoked", user.name));
        let (view, render) = (seen_as(user.name), ask.renderer());
        let rendered = view.clone();
        let made = self.store.token_revoke(Some(&ask.request), id, event, move |t| render(&rendered(t))).await?;
        Ok(made.map(|t| view(&t)))
    }

    /// The bearer token itself.
    #[must_use]
    pub fn token_secret(&self, id: TokenId) -> Secret<String> {
        self.vault.derive(&format!("token/{id}"))
    }
}

fn seen_as(user: Name) -> impl Fn(&Token) -> TokenView + Clone + Send + 'static {
    move |token| TokenView { token: token.clone(), user: user.clone() }
}
