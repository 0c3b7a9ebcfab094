//! What each part makes of good and of broken answers.

mod listing;
mod memory;
mod message;
mod server;
mod trouble;
mod turns;
mod wire;
