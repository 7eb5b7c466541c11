DROP TABLE webhook_gone, webhook_deliveries, nodes, cancel_intents, session_updates, sessions, run_steps, run_events, run_outputs, run_inputs, runs;
DROP FUNCTION write_webhook_delivery();
