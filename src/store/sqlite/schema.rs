//! The tables, as `migrations/sqlite` makes them.

use diesel::{allow_tables_to_appear_in_same_query, table};

table! {
    runs (run_id) {
        run_id -> Text,
        session_id -> Text,
        agent -> Text,
        user_id -> Nullable<Text>,
        parent_run_id -> Nullable<Text>,
        depth -> SmallInt,
        idempotency_key -> Nullable<Text>,
        status -> Text,
        attempt -> Integer,
        starts -> Integer,
        max_attempts -> Integer,
        node_id -> Nullable<Text>,
        on_crash -> Text,
        session_turn -> Nullable<Text>,
        priority -> SmallInt,
        run_at -> BigInt,
        timeout_ms -> Nullable<BigInt>,
        start_by -> Nullable<BigInt>,
        next_seq -> BigInt,
        cancel_requested_at -> Nullable<BigInt>,
        has_webhook -> Bool,
        created_at -> BigInt,
        started_at -> Nullable<BigInt>,
        paused_at -> Nullable<BigInt>,
        continued_by -> Nullable<Text>,
        settled_at -> Nullable<BigInt>,
    }
}

table! {
    sessions (session_id, user_id) {
        session_id -> Text,
        user_id -> Text,
        state -> Text,
        version -> BigInt,
        updated_at -> BigInt,
    }
}

table! {
    session_updates (run_id, update_id) {
        run_id -> Text,
        update_id -> Text,
        result -> Text,
    }
}

table! {
    run_inputs (run_id) {
        run_id -> Text,
        input -> Text,
        metadata -> Text,
        fingerprint -> Binary,
        webhook -> Nullable<Text>,
        origin -> Nullable<Text>,
        traceparent -> Nullable<Text>,
    }
}

table! {
    run_outputs (run_id) {
        run_id -> Text,
        content -> Nullable<Text>,
        error_kind -> Nullable<Text>,
        error_message -> Nullable<Text>,
        metrics -> Text,
        tools -> Nullable<Text>,
        requirements -> Nullable<Text>,
    }
}

table! {
    run_events (run_id, seq) {
        run_id -> Text,
        seq -> BigInt,
        created_at -> BigInt,
        event -> Text,
    }
}

table! {
    run_steps (run_id, position) {
        run_id -> Text,
        position -> Integer,
        first_attempt -> Integer,
        name -> Text,
        result -> Text,
        created_at -> BigInt,
    }
}

table! {
    cancel_intents (run_id, user_id) {
        run_id -> Text,
        user_id -> Text,
        expires_at -> BigInt,
    }
}

table! {
    webhook_deliveries (event_id) {
        event_id -> Text,
        run_id -> Text,
        url -> Text,
        attempts -> Integer,
        next_at -> BigInt,
        created_at -> BigInt,
    }
}

#[cfg(feature = "webhooks")]
table! {
    webhook_gone (url) {
        url -> Text,
        gone_at -> BigInt,
    }
}

#[cfg(feature = "webhooks")]
allow_tables_to_appear_in_same_query!(webhook_deliveries, webhook_gone);
allow_tables_to_appear_in_same_query!(runs, run_inputs, run_outputs, run_events, run_steps, cancel_intents);
