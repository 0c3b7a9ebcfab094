//! Good and broken answers, read by each part.

mod listing;
mod memory;
mod message;
mod server;
mod trouble;
mod turns;
mod wire;
