//! The command line: settings, keys, `baton call`, `baton doctor`, `baton migrate`.
//!
//! In reading order: [`Command::parse`] makes one command of the arguments (of its [`settings`], or one of `help`,
//! [`key`], [`Call`], [`Migration`]), and [`run`] runs it; what a person reads goes through a [`console::Console`].

mod banner;
mod call;
mod command;
pub mod console;
pub mod doctor;
mod help;
pub mod key;
mod migrate;
mod roles;
mod serving;
pub mod settings;

pub use banner::{Access, Offer, banner};
pub use call::Call;
pub use command::{Command, Refusal};
pub use key::KeyRequest;
pub use migrate::Migration;
pub use roles::{refuse, run};
