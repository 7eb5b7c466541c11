//! What every store must do: one suite of claims, stamped out once per store.
//!
//! A store joins by one line, `suite!(name)`, where `name` is also an `async fn(StoreLimits) -> Fresh` that opens an empty
//! database. A case that the list below forgets is dead code, which the compiler tells of.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::{RunStore, Store, StoreLimits};

mod advances;
mod batches;
mod cancels;
mod children;
mod claims;
mod counts;
#[cfg(feature = "webhooks")]
mod deliveries;
mod inserts;
mod intents;
mod keys;
mod lists;
mod pauses;
mod prunes;
mod reads;
mod resumptions;
pub(crate) mod samples;
mod sessions;
mod steps;
mod turns;
mod verdicts;
mod waits;

/// Intents that live through every case, and few enough of them to run out.
const LIMITS: StoreLimits = StoreLimits { intent_ttl: Duration::from_secs(3600), max_intents: 3 };
/// Intents that have expired as soon as they are stored.
const EXPIRED_AT_ONCE: StoreLimits = StoreLimits { intent_ttl: Duration::ZERO, max_intents: 3 };

/// A store over an empty database, and what has to live as long as it does.
struct Fresh {
    store: Arc<dyn RunStore>,
    _keep: Box<dyn Any + Send>,
}

macro_rules! each_case {
    ($fresh:ident, $limits:ident; $($subject:ident: $($case:ident)*;)*) => {
        $($(
            #[tokio::test]
            async fn $case() {
                let fresh = crate::store::conformance::$fresh(crate::store::conformance::$limits).await;
                crate::store::conformance::$subject::$case(&*fresh.store).await;
                fresh.store.close().await;
            }
        )*)*
    };
}

macro_rules! suite {
    ($store:ident) => {
        mod $store {
            each_case! { $store, LIMITS;
                inserts:
                    a_new_run_is_stored_as_it_was_asked_for
                    a_run_that_is_taken_up_at_once_is_in_its_first_attempt
                    a_run_for_later_keeps_its_time
                    the_same_run_again_is_the_one_that_is_there
                    another_run_with_the_same_id_is_a_conflict
                    any_text_survives
                    any_json_survives
                    a_megabyte_survives
                    every_kind_of_failure_survives;
                advances:
                    a_life_is_written_step_by_step
                    the_same_step_again_changes_nothing
                    only_the_latest_attempt_writes
                    a_step_that_does_not_follow_on_the_log_is_refused
                    a_settled_run_never_changes_again
                    a_settlement_and_its_last_event_come_together
                    a_run_that_is_handed_back_has_all_its_starts
                    user_code_starts_no_more_often_than_the_run_allows
                    a_run_that_somebody_wants_cancelled_does_not_start;
                verdicts: every_change_of_every_state_is_answered_as_it_is_judged;
                cancels:
                    a_run_that_nobody_has_is_cancelled_at_once
                    a_run_that_was_handed_back_is_cancelled_with_its_log_intact
                    a_cancel_of_a_run_that_a_node_has_is_left_for_the_node
                    several_cancels_of_a_run_in_a_batch_are_each_answered
                    a_cancel_of_a_settled_run_tells_how_it_settled
                    cancel_requests_are_those_of_unsettled_runs_of_the_node
                    a_cancel_on_behalf_of_a_user_hits_runs_of_that_user_only
                    a_cancel_by_a_stranger_leaves_no_trace_on_a_run;
                children:
                    a_child_is_stored_with_its_parent_and_listed_by_it
                    only_the_attempt_that_is_at_work_has_children
                    children_of_a_cancelled_run_are_found_until_somebody_has_asked
                    a_child_of_a_cancelled_run_is_never_started
                    a_cancel_is_handed_down_one_after_the_other
                    a_cancel_is_handed_down_past_runs_that_have_settled
                    nothing_below_a_cancelled_run_is_started
                    children_are_no_part_of_the_history_of_a_session
                    a_settled_child_is_kept_as_long_as_its_parent_lives
                    a_run_that_resumes_a_failed_one_takes_over_its_children;
                claims:
                    the_most_urgent_and_then_the_oldest_run_comes_first
                    a_claim_takes_no_more_than_its_limit
                    a_claim_takes_only_runs_of_its_agents
                    a_claim_takes_no_more_of_an_agent_than_there_is_room_for
                    a_claim_leaves_what_is_owned_or_settled_or_for_later
                    a_run_that_cannot_be_read_holds_up_no_other
                    a_claim_is_a_new_attempt_that_goes_on_with_the_log
                    claims_at_the_same_time_take_no_run_twice
                    a_node_finds_again_what_it_has_not_started
                    waiting_runs_are_counted_up_to_the_limit;
                intents:
                    an_intent_meets_its_run
                    a_run_that_settles_as_cancelled_takes_its_intent_along
                    there_are_only_so_many_intents
                    an_intent_can_be_stored_again_when_there_is_no_room_for_another
                    an_unexpired_intent_is_not_forgotten
                    an_intent_of_a_user_meets_runs_of_that_user_only
                    intents_of_several_users_for_one_id_are_each_kept;
                keys:
                    the_same_run_with_the_same_key_is_the_one_that_is_there
                    another_run_with_the_same_key_is_a_conflict_that_names_the_run
                    a_key_is_that_of_an_agent_and_a_user
                    one_key_in_one_batch_is_one_run;
                sessions:
                    a_state_changes_from_the_version_that_was_read
                    a_change_is_made_once_and_its_result_kept
                    only_the_attempt_that_is_at_work_changes_a_state
                    a_state_is_that_of_a_session_and_a_user
                    of_changes_at_the_same_time_none_is_lost
                    a_state_is_kept_as_long_as_its_session_has_runs
                    a_run_that_resumes_a_failed_one_knows_the_changes_that_it_has_made;
                turns:
                    runs_of_a_session_are_taken_up_one_after_the_other
                    a_session_is_that_of_an_agent_and_a_user_and_of_runs_that_ask_for_it
                    a_run_that_was_taken_up_has_its_session_until_it_settles
                    a_run_for_later_is_in_nobodys_way_before_its_time
                    a_second_run_of_a_session_is_refused_until_the_first_has_settled
                    of_several_in_one_batch_one_is_accepted
                    policies_that_differ_leave_a_session_to_one_run_all_the_same;
                waits:
                    a_run_that_is_not_started_in_time_settles_with_its_last_event
                    a_run_for_later_waits_from_then_on
                    a_run_that_somebody_has_or_that_was_started_once_is_never_late
                    overdue_runs_are_settled_up_to_the_limit
                    a_run_that_is_tried_again_waits_unowned_until_it_is_due
                    a_run_is_tried_again_as_often_as_it_may
                    a_cancel_and_another_attempt_do_not_both_win
                    a_run_that_is_to_be_tried_again_keeps_its_session;
                pauses:
                    a_paused_run_is_nobodys_and_says_what_it_waits_for
                    a_run_that_is_continued_waits_for_anybody_with_what_was_decided
                    a_run_is_continued_once
                    decisions_that_do_not_fit_change_nothing
                    a_paused_run_is_cancelled_at_once_and_keeps_what_it_said
                    a_run_that_somebody_wants_cancelled_does_not_pause
                    a_paused_run_that_nobody_continues_in_time_settles
                    a_run_that_pauses_again_needs_other_decisions
                    a_paused_run_keeps_its_session_and_is_never_pruned
                    many_continues_in_a_batch_are_each_answered;
                counts:
                    runs_are_counted_by_status_and_by_user
                    unsettled_runs_are_counted_however_old_and_settled_ones_while_they_are_new
                    no_more_are_counted_than_the_limit;
                lists:
                    each_condition_leaves_out_what_does_not_meet_it
                    conditions_hold_together
                    pages_hold_each_run_once
                    runs_that_come_while_one_pages_shift_nothing
                    a_listed_run_is_all_there;
                prunes:
                    a_run_that_settled_long_ago_is_forgotten_with_all_that_belongs_to_it
                    what_has_not_settled_or_not_for_long_is_kept
                    the_oldest_are_forgotten_first_and_only_so_many_at_a_time;
                reads:
                    what_does_not_exist_is_not_found
                    events_are_read_from_any_seq
                    the_marks_of_runs_are_read_together
                    the_tails_of_logs_are_read_together
                    history_is_what_completed_before_in_the_session
                    history_of_a_session_shows_nothing_of_other_users
                    history_is_the_latest_runs_oldest_first
                    a_closed_store_refuses_everything;
                resumptions:
                    a_run_that_resumes_a_failed_one_begins_with_its_steps
                    only_a_failed_run_is_resumed
                    a_failed_run_that_is_resumed_again_is_resumed_by_the_same_run;
                steps:
                    finished_steps_are_read_back_in_order
                    the_same_steps_again_change_nothing
                    a_write_that_is_refused_remembers_no_step
                    only_steps_that_began_together_are_read_back
                    any_result_survives_as_it_was;
                batches:
                    an_empty_batch_does_nothing
                    five_hundred_writes_are_each_answered
                    the_same_batch_again_gets_the_same_answers
                    one_impossible_write_keeps_all_others_out;
            }
            #[cfg(feature = "metrics")]
            each_case! { $store, LIMITS;
                counts: what_may_start_and_waits_is_counted_by_agent;
            }
            #[cfg(feature = "webhooks")]
            each_case! { $store, LIMITS;
                deliveries:
                    each_way_of_settling_writes_one_delivery
                    a_run_without_a_webhook_or_that_has_not_settled_writes_none
                    a_settlement_that_is_written_again_or_refused_writes_no_second_delivery
                    a_pause_writes_a_delivery_and_what_follows_takes_its_place
                    a_delivery_is_for_one_at_a_time_until_it_is_not_held_any_more
                    deliveries_are_taken_once_by_many_at_a_time
                    what_waits_longest_is_taken_first_and_nothing_for_who_is_busy
                    a_url_that_is_gone_is_known_to_be
                    a_run_that_resumes_a_failed_one_tells_the_same_url
                    a_run_that_is_forgotten_takes_its_delivery_along
                    a_run_whose_node_was_given_up_writes_its_delivery_when_it_settles;
            }
            each_case! { $store, EXPIRED_AT_ONCE;
                intents:
                    an_expired_intent_is_as_good_as_none;
            }
        }
    };
}

#[cfg(feature = "sqlite")]
async fn sqlite_file(limits: StoreLimits) -> Fresh {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::sqlite(folder.path().join("greenroom.db")).open(limits).await.unwrap();
    Fresh { store, _keep: Box::new(folder) }
}

#[cfg(feature = "sqlite")]
async fn sqlite_memory(limits: StoreLimits) -> Fresh {
    Fresh { store: Store::sqlite_in_memory().open(limits).await.unwrap(), _keep: Box::new(()) }
}

#[cfg(feature = "postgres")]
async fn postgres(limits: StoreLimits) -> Fresh {
    let database = crate::test_postgres::fresh_database().await;
    let store = Store::postgres(database.url()).open(limits).await.unwrap();
    Fresh { store, _keep: Box::new(database) }
}

/// Behind a pooler in transaction mode with a single connection to the server, where there is a PgBouncer.
#[cfg(feature = "postgres")]
async fn postgres_poll_only(limits: StoreLimits) -> Fresh {
    let database = crate::test_postgres::fresh_database().await;
    let url = crate::test_postgres::pooled(&database).await.unwrap_or_else(|| database.url().to_owned());
    let store = super::PostgresOptions::new(url).poll_only();
    Fresh { store: Store::from(store).open(limits).await.unwrap(), _keep: Box::new(database) }
}

#[cfg(feature = "postgres")]
suite!(postgres);
#[cfg(feature = "postgres")]
suite!(postgres_poll_only);
#[cfg(feature = "sqlite")]
suite!(sqlite_file);
#[cfg(feature = "sqlite")]
suite!(sqlite_memory);
