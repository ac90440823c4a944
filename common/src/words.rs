//! Closed sets of words, each with one stored spelling.

use thiserror::Error;

/// A text that is not one of a closed set of words.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{word:?} is not one of {allowed}")]
pub struct UnknownWord {
    /// What was given.
    pub word: String,
    /// The words that exist, separated by commas.
    pub allowed: String,
}

/// Declares an enum with a spelling for each variant, `ALL`, `as_str`, `Display` and `FromStr`.
///
/// The one macro of this workspace: a list of variants and a list of spellings that could drift apart is what it prevents.
#[macro_export]
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant,)* }

        impl $name {
            /// Every word, in order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stored and displayed spelling.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::words::UnknownWord;

            fn from_str(text: &str) -> ::std::result::Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|w| w.as_str() == text).ok_or_else(|| $crate::words::UnknownWord {
                    word: text.to_owned(),
                    allowed: Self::ALL.iter().map(|w| w.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}
