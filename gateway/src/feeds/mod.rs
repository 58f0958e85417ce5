//! Who gets what: subscriptions, ordinary messages in journal order, feeds made of observation frames, retained values.
//!
//! - [`topic_tree`]: filters to subscriptions.
//! - [`router`]: the stage and its thread; hands each shard one batch per group.
//! - [`form`]: topics and JSON of the feeds.
//! - [`tap`]: where the HTTP interface listens.
//! - [`last_values`]: the newest observation of each datastream, which is the retained value of its feed.

mod form;
mod last_values;
mod matching;
mod retained_store;
pub mod router;
mod tap;
mod topic_tree;

pub use form::write_named_observation;
pub use last_values::{LastValue, LastValues, UNRESOLVED_VALUES_MAX};
pub use retained_store::RetainedStore;
pub use router::{Router, RouterInputs, run_router};
pub use tap::ObservationTap;
