//! Two nodes that claim runs of an agent of which only so many may be live everywhere.

use super::{connection, fresh, somebody_waits, sql};
use crate::store::conformance::samples::{self, AGENT, taken_ids, unowned};
use crate::store::postgres::claim::{ClaimRuns, take_up_counted};
use crate::store::postgres::connect::Purpose;
use crate::store::{AgentRoom, Claim, RunStore};

async fn claim_of_one(store: &dyn RunStore) -> Claim {
    let room = AgentRoom { agent: AGENT.to_owned(), runs: 10, everywhere: Some(1) };
    Claim { node: samples::node(store).await, agents: Vec::new(), limited: vec![room], limit: 10 }
}

#[tokio::test]
async fn a_claim_waits_for_another_that_counts_the_same_runs_and_counts_what_that_has_taken() {
    for (end, taken) in [("COMMIT", 0), ("ROLLBACK", 1)] {
        let (database, store) = fresh().await;
        let mut conn = connection(&database, Purpose::Write).await;
        for _ in 0..3 {
            samples::submit(&*store, &unowned()).await;
        }

        sql(&mut conn, "BEGIN").await;
        let first = ClaimRuns::from(claim_of_one(&*store).await);
        assert_eq!(take_up_counted(&mut conn, vec![AGENT.to_owned()], first).await.unwrap().len(), 1);
        let claim = claim_of_one(&*store).await;
        let other = {
            let store = store.clone();
            tokio::spawn(async move { taken_ids(&store.claim(claim).await.unwrap()).len() })
        };
        somebody_waits(&database).await;
        sql(&mut conn, end).await;

        assert_eq!(other.await.unwrap(), taken, "{end}");
    }
}
