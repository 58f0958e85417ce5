//! The sensor gateway as a library: every stage is a struct with `step`, threads are thin loops round it.
