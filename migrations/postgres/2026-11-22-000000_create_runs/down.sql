DROP TABLE nodes, cancel_intents, run_steps, run_events, run_outputs, run_inputs, runs;
