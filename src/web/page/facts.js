// What is known of a run, by name.

import { duration, el, setText, time } from './dom.js';

const LONG = new Set(['Session', 'Goes on from', 'Parent', 'Attempts']);

export function factsOf() {
  const node = el('dl', { class: 'facts' });
  const shown = new Map();
  return {
    node,
    draw(run, children) {
      const facts = new Map(known(run, children));
      for (const [name, { row }] of shown) {
        if (!facts.has(name)) {
          row.remove();
          shown.delete(name);
        }
      }
      [...facts].forEach(([name, value], place) => {
        if (shown.has(name)) {
          renew(shown.get(name).value, value);
          return;
        }
        const row = el('div', { class: LONG.has(name) && 'long' }, el('dt', {}, name), el('dd', {}, value));
        shown.set(name, { row, value });
        node.insertBefore(row, node.children[place] ?? null);
      });
    },
  };
}

// A link that is replaced loses the focus.
function renew(value, now) {
  for (const { name, value: said } of now.attributes) value.setAttribute(name, said);
  setText(value, now.textContent);
}

function known(run, children) {
  const link = (address, text) => el('a', { href: address }, text);
  const runs = (filter) => `#/runs?${new URLSearchParams(filter)}`;
  const plain = (text) => el('span', {}, text);
  const facts = [
    ['Agent', plain(run.agent)],
    ['Session', link(runs({ session: run.session_id }), run.session_id)],
    ['Submitted', time(run.created_at)],
  ];
  if (run.origin) facts.push(['Goes on from', link(`#/runs/${run.origin}`, run.origin)]);
  if (run.user_id) facts.push(['User', plain(run.user_id)]);
  if (run.parent_run_id) facts.push(['Parent', link(`#/runs/${run.parent_run_id}`, run.parent_run_id)]);
  if (children.runs.length > 0) {
    const number = `${children.runs.length}${children.next ? ' and more' : ''}`;
    facts.push(['Children', link(runs({ parent: run.run_id }), number)]);
  }
  if (run.started_at) facts.push(['Started', time(run.started_at)]);
  else if (new Date(run.run_at) > new Date()) facts.push(['Waits until', time(run.run_at)]);
  if (run.paused_at) facts.push(['Paused', time(run.paused_at)]);
  if (run.settled_at) facts.push(['Settled', time(run.settled_at)]);
  if (run.started_at && run.settled_at) {
    facts.push(['Took', plain(duration((new Date(run.settled_at) - new Date(run.started_at)) / 1000))]);
  }
  facts.push(['Attempts', plain(`${run.attempt}; started ${run.starts} of ${run.max_attempts} times`)]);
  return facts;
}
