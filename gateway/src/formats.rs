//! Formats of what lies in a data directory. A build reads one format of the catalogue and one of the logs, refuses every other
//! one before it writes anything, and says which build reads it. The catalogue's number stands for the store's files as well:
//! it is raised when theirs is.

/// "start the … build that wrote it".
pub(crate) fn age_of_build<T: Ord>(found: &T, known: &T) -> &'static str {
    if found > known { "newer" } else { "older" }
}
