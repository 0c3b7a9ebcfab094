//! What each part makes of good and of broken answers.

mod listing;
mod memory;
mod server;
mod trouble;
