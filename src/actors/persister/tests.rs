//! Through the actor's address, on SQLite in memory.
