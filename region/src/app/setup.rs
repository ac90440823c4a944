//! The first admin, without whom nobody could call.

use std::path::{Path, PathBuf};

use farrier_common::{id::TokenId, name::Name, secret::Secret};
use thiserror::Error as ThisError;

use super::{App, context::noted};
use crate::{
    domain::{
        Error,
        event::EventKind,
        user::{Role, Token, User},
    },
    files::{self, Access},
};

/// The first admin could not be made.
#[derive(Debug, ThisError)]
pub enum SetupError {
    /// The database.
    #[error("cannot make the first admin")]
    Store(#[from] Error),
    /// The file for his token.
    #[error("cannot write the admin token to {path}")]
    File {
        /// Where to.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl App {
    /// Makes the user `admin` with a token, if there are no users at all. The token is answered; or written to `file`, for
    /// the owner alone, before it becomes valid, so that no crash can lose it.
    ///
    /// # Errors
    /// The database or the file cannot be written.
    pub async fn first_admin(&self, file: Option<&Path>) -> Result<Option<Secret<String>>, SetupError> {
        if !self.store.user_list(None, 1).await?.is_empty() {
            return Ok(None);
        }
        let now = self.clock.now();
        let name: Name = "admin".parse().map_err(|e| Error::Internal(format!("the first user's name: {e}")))?;
        let user = User::new(name, Role::Admin, now);
        let token = Token {
            id: TokenId::generate(),
            user: user.id,
            comment: "made at the first start".to_owned(),
            created_at: now,
            expires_at: None,
            revoked: false,
        };
        let secret = self.token_secret(token.id);
        if let Some(path) = file {
            let text = Secret::new(format!("{}\n", secret.expose()));
            files::replace(path, text.expose().as_bytes(), Access::Private)
                .map_err(|source| SetupError::File { path: path.to_owned(), source })?;
        }
        let event = noted(EventKind::User, "region".to_owned(), "the first admin was made".to_owned());
        let made = self.store.user_insert_first(user, token, &secret.digest(), event).await?;
        Ok(Some(secret).filter(|_| made && file.is_none()))
    }
}
