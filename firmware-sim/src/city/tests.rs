//! A city as a whole; its parts have their tests beside them.
