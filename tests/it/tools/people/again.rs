//! What people have decided, and what was done then, is neither asked nor done again.

use super::*;
use crate::steps::on_each_lasting_store;

on_each_lasting_store!(what_was_decided_and_done_is_neither_asked_nor_done_again);

async fn what_was_decided_and_done_is_neither_asked_nor_done_again(store: &dyn Fn() -> Store) {
    let (looked, deleted): (Called, Called) = Default::default();
    let agent = |stalls: bool| {
        // It is asked again after the calls, and says nothing in the first process.
        let model = ScriptedModel::answering(move |request| match outputs(request) {
            outputs if outputs.is_empty() => {
                ScriptedTurn::default().then_call("look", number(1)).then_call("delete", number(2))
            }
            _ if stalls => ScriptedTurn::default().then_stall(),
            outputs => ScriptedTurn::text(Value::from(outputs).to_string()),
        });
        let tools = [noting("look", &looked), noting("delete", &deleted).requires_confirmation()];
        (model.clone(), tools.into_iter().fold(Agent::builder("a").model(model), AgentBuilder::tool))
    };
    let (model, first) = agent(true);
    let runtime = start(store(), first).await;
    let run = runtime.submit(NewRun::new("a", "go")).await.unwrap();
    run.continue_run([Decision::confirm(id(&paused(&run).await))]).await.unwrap();
    soon(async {
        while model.requests().len() < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let run_id = run.run_id();
    drop(run);
    soon(runtime.shutdown(Duration::ZERO)).await;

    let (model, second) = agent(false);
    let runtime = start(store(), second).await;
    let output = runtime.wait(run_id, LONG).await.unwrap();
    assert_eq!((output.status, text(&output)), (RunStatus::Completed, "[1,2]"), "{:?}", output.error);
    assert_eq!((calls(&looked), calls(&deleted), model.requests().len()), (vec![1], vec![2], 1));
}
