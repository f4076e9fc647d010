//! The client against origins that are scripted byte for byte.

mod body;
mod script;
mod sending;
mod several;
mod tls;
