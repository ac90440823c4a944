//! What each machine boots now.
//!
//! The region publishes intents, this module keeps them on disk and answers from memory; it knows neither the wire that
//! intents come by nor the protocols that machines speak.

pub mod answer;
pub mod breaker;
pub mod files;
pub mod intent;
pub mod script;
pub mod state;
pub mod steps;
