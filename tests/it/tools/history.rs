//! What later runs of a session are told of the calls of earlier ones.

use super::*;

on_each_store!(a_model_is_told_of_earlier_calls_with_their_outputs_as_far_as_the_budget_goes);

/// Looks twice, in one turn, and once more in another one, and answers with how often it looked in this run.
fn looking(history_tokens: Option<u64>) -> (ScriptedModel, AgentBuilder) {
    let model = ScriptedModel::answering(|request| {
        let since = request.messages.iter().rposition(|message| message.role == Role::User).unwrap();
        match request.messages[since..].iter().filter(|message| message.role == Role::Tool).count() {
            0 => ScriptedTurn::text("Hm. ").then_call("look", number(1)).then_call("look", number(2)),
            2 => ScriptedTurn::default().then_call("look", number(3)),
            looks => ScriptedTurn::text(format!("{looks} looks")),
        }
    });
    let look = Tool::new("look", "Looks.", |_: ToolContext, args: Number| async move { Ok(args.number * 10) });
    let agent = Agent::builder("a").model(model.clone()).tool(look).history(5);
    (model, history_tokens.into_iter().fold(agent, AgentBuilder::history_tokens))
}

async fn a_model_is_told_of_earlier_calls_with_their_outputs_as_far_as_the_budget_goes(store: Store) {
    let (model, agent) = looking(Some(40));
    let runtime = start(store, agent).await;
    for asked in ["one", "two"] {
        let output = settled(&runtime.submit(NewRun::new("a", asked).session_id("s")).await.unwrap()).await;
        assert_eq!(text(&output), "3 looks");
        let made: Vec<_> = output.tools.iter().map(|call| (call.turn, call.result.clone().unwrap())).collect();
        assert_eq!(made, [(1, 10.into()), (1, 20.into()), (2, 30.into())]);
    }
    let told = model.requests()[3].messages.clone();
    let roles: Vec<Role> = told.iter().map(|message| message.role).collect();
    let [user, assistant, tool] = [Role::User, Role::Assistant, Role::Tool];
    assert_eq!(roles, [user, assistant, tool, tool, assistant, tool, assistant, user]);
    for at in [2, 3, 5] {
        let called = &told[at - 1 - usize::from(at == 3)].tool_calls;
        let of = |message: &greenroom::model::Message| message.tool_call_id.clone().unwrap();
        assert!(called.iter().any(|call| call.id == of(&told[at])), "{at}");
    }
    assert_eq!(outputs(&model.requests()[3]), [10, 20, 30]);
    assert_eq!(
        (told[1].tool_calls[0].arguments.as_str(), told[6].content.as_text()),
        (r#"{"number":1}"#, Some("3 looks"))
    );

    // The third one has two before it, of which one fits.
    settled(&runtime.submit(NewRun::new("a", "three").session_id("s")).await.unwrap()).await;
    let told = &model.requests()[6].messages;
    assert_eq!((told.len(), told[0].content.as_text()), (8, Some("two")));
}
