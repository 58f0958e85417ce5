//! The questions of the HTTP interface: one table ([`Question`]) of paths, parameters and answers, from which the server
//! makes its routes, the parser its checks and `/openapi.json` its text.
//!
//! What the command line asks too is answered by [`crate::query`]; here are the questions in JSON only. Answers are made as
//! a whole, in bounded memory; rows and events stream, which is the server's work.

mod answer;
mod openapi;
mod payload;
mod quarantine;
mod question;
mod series;

pub use answer::{Answer, ApiError, answer};
pub use openapi::openapi;
pub use question::Question;
