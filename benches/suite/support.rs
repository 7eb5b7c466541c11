//! What the groups share.

pub(crate) mod bare;
pub(crate) mod child;
pub(crate) mod host;
pub(crate) mod recorder;
pub(crate) mod report;
pub(crate) mod runtime;
pub(crate) mod size;
