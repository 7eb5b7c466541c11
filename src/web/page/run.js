// One run: its state, its output as it grows, and what has happened in it.

import { get, poll, post } from './api.js';
import { badge, contentText, cut, el, leave, setStatus } from './dom.js';
import { factsOf } from './facts.js';
import { follow } from './follow.js';
import { once } from './form.js';
import { outputOf, timelineOf } from './log.js';
import { needsOf } from './needs.js';

const SETTLED = new Set(['COMPLETED', 'CANCELLED', 'ERROR']);
const PAUSE = 5000;

// What the runtime tells of a run changes it; what is said in it does not.
const CHANGE = /^Run(?!Content)/;

const OUTCOMES = {
  cancelled: () => 'the run has ended here, and does nothing more.',
  requested: () => 'another process has the run, and has been told.',
  already_settled: ({ status }) => `it was ${status} before.`,
  intent_stored: () => 'there is no such run; one that comes with this id will not start.',
};

export function runView(runId, notice) {
  const status = badge('PENDING');
  const state = el('span', { role: 'status', tabindex: '-1' }, status);
  const line = el('span', { class: 'line', hidden: true }, 'Not connected. Trying again.');
  const facts = factsOf();
  const failure = el('div', { class: 'card failure', hidden: true });
  const output = outputOf();
  const timeline = timelineOf();
  const asked = el('div', {});
  const needs = needsOf(runId, state, () => polling.now());
  const cancel = el('button', { type: 'button', class: 'danger', hidden: true }, 'Cancel');
  const resume = el('button', { type: 'button', hidden: true }, 'Resume from its steps');
  const said = el('p', { class: 'said', role: 'status' });
  const again = el('a', { class: 'button', hidden: true }, 'New run in this session');
  let over = false;

  const draw = ([run, children]) => {
    const settled = SETTLED.has(run.status);
    setStatus(status, run.status);
    if (settled) leave(cancel, state);
    cancel.hidden = settled;
    resume.hidden = run.status !== 'ERROR';
    again.hidden = false;
    again.href = `#/new?${new URLSearchParams({ agent: run.agent, session: run.session_id })}`;
    facts.draw(run, children);
    if (!asked.hasChildNodes()) asked.append(...askedOf(run));
    needs.draw(run.requirements);
    failure.hidden = !run.error;
    if (run.error) {
      failure.replaceChildren(el('h2', {}, `Error: ${run.error.kind}`), el('p', {}, run.error.message));
    }
    if (settled) {
      output.settle(run.content);
      polling.stop();
    }
  };
  const ask = () => Promise.all([get(`runs/${runId}`), get(`runs?parent_run_id=${runId}&limit=100`)]);
  const polling = poll(ask, draw, notice, PAUSE);
  const stopFollowing = follow(runId, (event) => {
    if (over) return;
    timeline.add(event);
    if (event.event === 'RunStarted') output.begin(event.attempt);
    if (event.event === 'ModelRequestCompleted') output.finish();
    if (event.event === 'RunContent') output.add(contentText(event.content));
    if (CHANGE.test(event.event)) polling.now();
  }, (connected) => { line.hidden = connected; });

  cancel.addEventListener('click', once(cancel, said, async () => {
    const answer = await post(`runs/${runId}/cancel`, {});
    const what = OUTCOMES[answer.outcome]?.(answer) ?? '';
    said.replaceChildren(el('strong', {}, answer.outcome), `: ${what}`);
    await polling.now();
  }));

  // A run that has settled stays as it is: another one goes on.
  resume.addEventListener('click', once(resume, said, async () => {
    const { run_id: next } = await post(`runs/${runId}/resume`, {});
    if (!over) location.hash = `#/runs/${next}`;
  }));

  const node = el('article', { class: 'run' },
    el('p', { class: 'back' }, el('a', { href: '#/runs' }, '← All runs')),
    el('div', { class: 'title' }, el('h1', {}, 'Run'), state, line),
    el('p', { class: 'id' }, el('code', {}, runId)),
    facts.node,
    el('div', { class: 'actions' }, cancel, resume, again), said,
    failure, needs.node, output.node, timeline.node, asked);
  return {
    node,
    stop() {
      over = true;
      polling.stop();
      stopFollowing();
    },
  };
}

// What was asked for, for those who want to see it.
function askedOf(run) {
  const shown = [['Input', run.input]];
  if (Object.keys(run.metadata ?? {}).length > 0) shown.push(['Metadata', run.metadata]);
  return shown.map(([name, content]) => el('details', { class: 'card' },
    el('summary', {}, name), el('pre', { tabindex: '0' }, cut(contentText(content), 100000))));
}
