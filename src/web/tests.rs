//! The door as its callers see it.
