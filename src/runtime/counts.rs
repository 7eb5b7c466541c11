//! How many runs there are of each status.

use super::Runtime;
use crate::error::Error;
use crate::store::{COUNTED, CountQuery, RunCounts};

impl Runtime {
    /// How many runs there are of each status, by what the store has: all that have not settled, up to 10,000, and those that
    /// have settled among the newest 10,000. So it costs the same however large the table is.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when the database cannot be read.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn counts(&self) -> Result<RunCounts, Error> {
        let user_id = self.caller()?;
        Ok(self.inner.store.count(CountQuery { user_id, limit: COUNTED }).await?)
    }
}
