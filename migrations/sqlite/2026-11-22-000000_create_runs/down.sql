DROP TABLE webhook_gone;
DROP TABLE webhook_deliveries;
DROP TABLE cancel_intents;
DROP TABLE run_steps;
DROP TABLE run_events;
DROP TABLE run_outputs;
DROP TABLE run_inputs;
DROP TABLE runs;
