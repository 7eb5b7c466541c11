//! Single disasters, each at its worst moment.
