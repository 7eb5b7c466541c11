//! Tells what became of inserts: which runs were new, and what the others have met.

use std::collections::HashMap;
use std::sync::Arc;

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, Bool, Nullable, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::connection::Connection;
use super::error::from_diesel;
use super::inherit;
use super::insert::NewRow;
use super::read::GetRuns;
use super::row::RunRow;
use super::statement::{push, statement};
use super::write::facts;
use crate::run::{Run, RunId, RunStatus, Turn};
use crate::store::StoreResult;
use crate::store::protocol::insert::{Encounter, Met, encounter, may_have_children};
use crate::store::protocol::{InsertRun, Inserted, RowFacts, Written};

/// Puts into `answers` what became of each insert, and returns those that met nobody after all: what kept them out is gone.
pub(super) async fn explain<'a>(
    conn: &mut Connection,
    inserts: Vec<&'a InsertRun>,
    new: Vec<NewRow>,
    answers: &mut HashMap<RunId, Written>,
) -> StoreResult<Vec<&'a InsertRun>> {
    let new: HashMap<Uuid, NewRow> = new.into_iter().map(|row| (row.0, row)).collect();
    let (fresh, old): (Vec<_>, Vec<_>) = inserts.into_iter().partition(|insert| new.contains_key(&uuid(insert)));
    for insert in fresh {
        let inserted = as_inserted(insert, &new[&uuid(insert)]);
        answers.insert(insert.run.output.run_id, Written::Insert(inserted));
    }
    if old.is_empty() {
        return Ok(old);
    }
    let winners = Winners::of(conn, &old).await?;
    let mut open = Vec::new();
    for insert in old {
        let inserted = match encounter(insert, &winners.met(insert)) {
            Encounter::New => {
                open.push(insert);
                continue;
            }
            Encounter::Same(run_id) => {
                let Some(row) = winners.rows.get(&run_id.as_uuid()).cloned() else { continue };
                let node = row.node();
                Inserted::Existing { run: Arc::new(row.into_run()?), node }
            }
            Encounter::IdTaken => Inserted::Conflict,
            Encounter::KeyTaken(run_id) => Inserted::KeyConflict(run_id),
            Encounter::SessionBusy(run_id) => Inserted::SessionBusy(run_id),
            Encounter::NotFailed(run_id) => Inserted::NotFailed(run_id, winners.resumed.get(&run_id).copied()),
            Encounter::ParentOver => Inserted::ParentOver,
        };
        answers.insert(insert.run.output.run_id, Written::Insert(inserted));
    }
    Ok(open)
}

fn uuid(insert: &InsertRun) -> Uuid {
    insert.run.output.run_id.as_uuid()
}

fn as_inserted(insert: &InsertRun, &(_, created_at, run_at, start_by, cancel_wanted): &NewRow) -> Inserted {
    let mut run = insert.run.clone();
    run.output.created_at = created_at;
    run.run_at = run_at;
    run.start_by = start_by;
    run.attempt = u32::from(insert.node.is_some());
    Inserted::New { run: Arc::new(run), cancel_wanted }
}

/// Whose a key is: an agent's and a user's.
type Key<'a> = (&'a str, Option<&'a str>, &'a str);

fn key(insert: &InsertRun) -> Option<Key<'_>> {
    let run = &insert.run;
    let user_id = run.output.user_id.as_ref().map(AsRef::as_ref);
    run.idempotency_key.as_deref().map(|key| (run.output.agent.as_str(), user_id, key))
}

/// The rows that kept inserts out.
struct Winners {
    rows: HashMap<Uuid, RunRow>,
    by_key: HashMap<(String, Option<String>, String), Uuid>,
    /// By the run that is kept out.
    holders: HashMap<Uuid, Uuid>,
    /// The statuses of the runs that are to be resumed.
    resumed: HashMap<RunId, RunStatus>,
    /// What the parents are like.
    parents: HashMap<RunId, RowFacts>,
}

impl Winners {
    async fn of(conn: &mut Connection, losers: &[&InsertRun]) -> StoreResult<Self> {
        let mut holders = KeyHolders::default();
        losers.iter().filter_map(|insert| key(insert)).for_each(|key| holders.push(key));
        let mut run_ids: Vec<Uuid> = losers.iter().map(|insert| uuid(insert)).collect();
        if !holders.keys.is_empty() {
            let held: Vec<Uuid> = holders.get_results(conn).await.map_err(|error| from_diesel(&error))?;
            run_ids.extend(held);
        }
        let rows: Vec<RunRow> = GetRuns { run_ids }.get_results(conn).await.map_err(|error| from_diesel(&error))?;
        let sessions = BusySessions::of(losers);
        let holders: Vec<(Uuid, Uuid)> = if sessions.run_ids.is_empty() {
            Vec::new()
        } else {
            sessions.get_results(conn).await.map_err(|error| from_diesel(&error))?
        };
        let parents: Vec<Uuid> =
            losers.iter().filter_map(|insert| insert.run.output.parent_run_id.map(RunId::as_uuid)).collect();
        let parents = if parents.is_empty() { HashMap::new() } else { facts(conn, parents).await? };
        let keyed = |row: &RunRow| {
            let key = row.idempotency_key.clone()?;
            Some(((row.agent.clone(), row.user_id.clone(), key), row.run_id))
        };
        let by_key = rows.iter().filter_map(keyed).collect();
        Ok(Self {
            rows: rows.into_iter().map(|row| (row.run_id, row)).collect(),
            by_key,
            holders: holders.into_iter().collect(),
            resumed: inherit::statuses(conn, losers).await?,
            parents,
        })
    }

    fn met(&self, insert: &InsertRun) -> Met<'_> {
        let owned = |(agent, user_id, key): Key<'_>| (agent.to_owned(), user_id.map(str::to_owned), key.to_owned());
        let by_key = key(insert).and_then(|key| self.rows.get(self.by_key.get(&owned(key))?));
        Met {
            by_id: self.rows.get(&uuid(insert)).map(|row| &*row.fingerprint),
            by_key: by_key.map(|row| (row.run_id.into(), &*row.fingerprint)),
            holder: self.holders.get(&uuid(insert)).copied().map(RunId::from),
            resumed: insert.resumes.and_then(|failed| self.resumed.get(&failed).copied()),
            parent_is_over: self.parent_is_over(insert),
        }
    }

    fn parent_is_over(&self, insert: &InsertRun) -> bool {
        let child_of = insert.run.output.parent_run_id.zip(insert.parent_attempt);
        child_of.is_some_and(|(parent, attempt)| !may_have_children(self.parents.get(&parent), attempt))
    }
}

/// The runs that have these keys.
#[derive(Default)]
struct KeyHolders {
    agents: Vec<String>,
    user_ids: Vec<String>,
    keys: Vec<String>,
}

impl KeyHolders {
    fn push(&mut self, (agent, user_id, key): Key<'_>) {
        self.agents.push(agent.to_owned());
        self.user_ids.push(user_id.unwrap_or_default().to_owned());
        self.keys.push(key.to_owned());
    }
}

statement!(KeyHolders -> SqlUuid);

impl QueryFragment<Pg> for KeyHolders {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "SELECT r.run_id FROM unnest(", &self.agents => Array<Text>,
            ", ", &self.user_ids => Array<Text>,
            ", ", &self.keys => Array<Text>,
            ") AS k (agent, user_id, key) JOIN runs r \
               ON r.agent = k.agent AND COALESCE(r.user_id, '') = k.user_id AND r.idempotency_key = k.key"
        );
        Ok(())
    }
}

/// The unsettled runs that have sessions to themselves.
#[derive(Default)]
struct BusySessions {
    run_ids: Vec<Uuid>,
    agents: Vec<String>,
    session_ids: Vec<String>,
    user_ids: Vec<String>,
}

impl BusySessions {
    fn of(losers: &[&InsertRun]) -> Self {
        let mut sessions = Self::default();
        for insert in losers.iter().filter(|insert| insert.sessions.turn() == Some(Turn::Holds)) {
            let output = &insert.run.output;
            sessions.run_ids.push(output.run_id.as_uuid());
            sessions.agents.push(output.agent.clone());
            sessions.session_ids.push(output.session_id.to_string());
            sessions.user_ids.push(output.user_id.as_ref().map(ToString::to_string).unwrap_or_default());
        }
        sessions
    }
}

statement!(BusySessions -> (SqlUuid, SqlUuid));

impl QueryFragment<Pg> for BusySessions {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "SELECT s.run_id, r.run_id FROM unnest(", &self.run_ids => Array<SqlUuid>,
            ", ", &self.agents => Array<Text>,
            ", ", &self.session_ids => Array<Text>,
            ", ", &self.user_ids => Array<Text>,
            ") AS s (run_id, agent, session_id, user_id) JOIN runs r \
               ON r.agent = s.agent AND r.session_id = s.session_id AND COALESCE(r.user_id, '') = s.user_id \
                  AND r.session_turn = 'holds' AND r.settled_at IS NULL"
        );
        Ok(())
    }
}

/// Whether a run is there, by its id or by its key.
#[derive(Clone)]
pub(super) struct KnownRun {
    run_id: Uuid,
    agent: String,
    user_id: String,
    key: Option<String>,
}

impl From<&Run> for KnownRun {
    fn from(run: &Run) -> Self {
        Self {
            run_id: run.output.run_id.as_uuid(),
            agent: run.output.agent.clone(),
            user_id: run.output.user_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            key: run.idempotency_key.clone(),
        }
    }
}

statement!(KnownRun -> Bool);

impl QueryFragment<Pg> for KnownRun {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "SELECT EXISTS (SELECT FROM runs WHERE run_id = ", &self.run_id => SqlUuid,
            ") OR EXISTS (SELECT FROM runs WHERE agent = ", &self.agent => Text,
            " AND COALESCE(user_id, '') = ", &self.user_id => Text,
            " AND idempotency_key = ", &self.key => Nullable<Text>, ")"
        );
        Ok(())
    }
}
