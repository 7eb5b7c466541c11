//! Statements of our own, which diesel-async prepares once per connection.
//!
//! Diesel never caches an `UPDATE` or a batch insert of its own making, so each hot statement is a query fragment. Most have a
//! static id: their text must not depend on their values. Some have parts, and leave out those that have nothing to do: they
//! are `of_parts`, and known by their text, of which there are few.

/// Gives a statement what it is known by, and the type of its rows.
macro_rules! statement {
    (of_parts $name:ident -> $row:ty) => {
        statement!(@known by (), false; $name -> $row);
    };
    ($name:ident -> $row:ty) => {
        statement!(@known by $name, true; $name -> $row);
    };
    (@known by $id:ty, $is_static:literal; $name:ident -> $row:ty) => {
        impl diesel::query_builder::QueryId for $name {
            type QueryId = $id;
            const HAS_STATIC_QUERY_ID: bool = $is_static;
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

/// How the values of a part of a statement come to the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// The statement is for one write: where there is a single row, it comes as plain values, which takes a tenth less.
    Lone,
    /// Always as arrays, so that the number of rows does not make other statements of it: each keeps a plan in each session.
    Any,
}

impl Width {
    /// Of a statement for nothing but so many writes.
    pub(super) const fn of(writes: usize) -> Self {
        if writes == 1 { Self::Lone } else { Self::Any }
    }
}

/// Pushes a query for rows of which each column comes as an array: `rows!(out, width, run_id: &self.run_ids => Uuid, …)`.
///
/// The arrays are unnested in the select list, where they go side by side. As functions in a `FROM`, each would be copied to a
/// store of its own first. Source: <https://www.postgresql.org/docs/current/xfunc-sql.html#XFUNC-SQL-FUNCTIONS-RETURNING-SET>.
macro_rules! rows {
    ($out:ident, $width:expr, $first:ident: $values:expr => $kind:ty $(, $name:ident: $others:expr => $other:ty)* $(,)?) => {
        let is_plain = $width == $crate::store::postgres::statement::Width::Lone && $values.len() == 1;
        $out.push_sql("SELECT ");
        rows!(@column $out, is_plain, $first: $values => $kind);
        $(
            $out.push_sql(", ");
            rows!(@column $out, is_plain, $name: $others => $other);
        )*
    };
    (@column $out:ident, $is_plain:ident, $name:ident: $values:expr => $kind:ty) => {
        if $is_plain {
            $out.push_bind_param::<$kind, _>(&$values[0])?;
        } else {
            $out.push_sql("unnest(");
            $out.push_bind_param::<diesel::sql_types::Array<$kind>, _>($values)?;
            $out.push_sql(")");
        }
        $out.push_sql(concat!(" AS ", stringify!($name)));
    };
}

pub(super) use push;
pub(super) use rows;
pub(super) use statement;
