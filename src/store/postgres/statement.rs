//! Statements of our own, which diesel-async prepares once per connection.
//!
//! Diesel never caches an `UPDATE` or a batch insert of its own making, so each hot statement is a query fragment with a
//! static id: its text must not depend on its values.

/// Gives a statement its static id and the type of its rows.
macro_rules! statement {
    ($name:ident -> $row:ty) => {
        impl diesel::query_builder::QueryId for $name {
            type QueryId = $name;
            const HAS_STATIC_QUERY_ID: bool = true;
        }

        impl diesel::query_builder::Query for $name {
            type SqlType = $row;
        }
    };
}

/// Pushes SQL and binds in turn: `push!(out, "… ", self.ids => Array<Uuid>, " …")`.
macro_rules! push {
    ($out:ident $(,)?) => {};
    ($out:ident, $sql:literal $(, $($rest:tt)*)?) => {
        $out.push_sql($sql);
        push!($out $(, $($rest)*)?);
    };
    ($out:ident, $value:expr => $kind:ty $(, $($rest:tt)*)?) => {
        $out.push_bind_param::<$kind, _>($value)?;
        push!($out $(, $($rest)*)?);
    };
}

pub(super) use push;
pub(super) use statement;
