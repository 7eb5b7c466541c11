// The runs, newest first: how many there are, and a page of those that are asked for.

import { get, poll } from './api.js';
import { badge, clock, duration, el, field, setStatus, setText } from './dom.js';

const STATUSES = ['PENDING', 'RUNNING', 'PAUSED', 'COMPLETED', 'CANCELLED', 'ERROR'];
const PAUSE = 2000;

function address(filter) {
  const query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value)).toString();
  return query ? `#/runs?${query}` : '#/runs';
}

export function runsView(parameters, notice) {
  const filter = {};
  for (const name of ['status', 'agent', 'session', 'parent', 'after']) filter[name] = parameters.get(name) ?? '';
  const { status, agent, session, parent, after } = filter;

  const counts = countsOf(filter);
  const rows = new Map();
  const list = el('ol', { class: 'runs', 'aria-label': 'Runs' });
  const empty = el('p', { class: 'empty', hidden: true },
    status || agent || session || parent ? 'No run is like that.' : 'There is no run yet.');
  const newest = el('a', { href: address({ ...filter, after: '' }), hidden: !after }, '← Newest');
  const older = el('a', { hidden: true }, 'Older →');

  const draw = ({ runs, next }) => {
    const seen = new Set(runs.map((run) => run.run_id));
    for (const [id, row] of rows) {
      if (!seen.has(id)) {
        row.node.remove();
        rows.delete(id);
      }
    }
    runs.forEach((run, place) => {
      let row = rows.get(run.run_id);
      if (!row) {
        row = rowOf(run);
        rows.set(run.run_id, row);
      }
      row.update(run);
      // What is in its place already stays: a row that is moved loses the focus.
      if (list.children[place] !== row.node) list.insertBefore(row.node, list.children[place] ?? null);
    });
    empty.hidden = runs.length > 0;
    older.hidden = !next;
    if (next) older.href = address({ ...filter, after: next });
  };

  const query = new URLSearchParams({ limit: '50' });
  if (status) query.set('status', status);
  if (agent) query.set('agent', agent);
  if (session) query.set('session_id', session);
  if (parent) query.set('parent_run_id', parent);
  if (after) query.set('after', after);
  let over = false;
  const polling = poll(async () => {
    try {
      const [page, counted] = await Promise.all([get(`runs?${query}`), get('runs/counts')]);
      if (over) return;
      draw(page);
      counts.update(counted.counts);
      notice(null);
    } catch (error) {
      if (!over) notice(error);
    }
  }, PAUSE);

  const node = el('div', {}, el('h1', {}, 'Runs'), counts.node, filters(filter), list, empty,
    el('nav', { class: 'pages', 'aria-label': 'Pages of runs' }, newest, older));
  return {
    node,
    stop() {
      over = true;
      polling.stop();
    },
  };
}

// A number for each status, which is also the filter by it.
function countsOf(filter) {
  const numbers = new Map();
  const link = (status) => {
    const chosen = filter.status === status;
    const number = el('strong', {}, '–');
    numbers.set(status, number);
    const href = address({ ...filter, status: chosen ? '' : status, after: '' });
    return el('li', {}, el('a', { href, 'aria-current': chosen && 'true' }, number, badge(status)));
  };
  const node = el('ul', { class: 'counts', 'aria-label': 'Runs by status' }, STATUSES.map(link));
  return {
    node,
    update(counts) {
      for (const [status, number] of numbers) setText(number, (counts[status] ?? 0).toLocaleString('en'));
    },
  };
}

function filters(filter) {
  const agent = el('select', { name: 'agent' }, el('option', { value: '' }, 'All agents'));
  if (filter.agent) agent.append(el('option', { value: filter.agent, selected: true }, filter.agent));
  const session = el('input', { name: 'session', type: 'search', autocomplete: 'off', spellcheck: 'false', placeholder: 'All sessions' });
  session.value = filter.session;
  const apply = () => {
    location.hash = address({ status: filter.status, agent: agent.value, session: session.value.trim() });
  };
  get('agents').then(({ agents }) => {
    const others = agents.filter(({ name }) => name !== filter.agent);
    agent.append(...others.map(({ name }) => el('option', { value: name }, name)));
  }).catch(() => {});
  const form = el('form', { class: 'filters', role: 'search', 'aria-label': 'Which runs' },
    field('Agent', agent), field('Session', session),
    el('button', { type: 'submit' }, 'Filter'));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    apply();
  });
  agent.addEventListener('change', apply);
  return form;
}

function rowOf(run) {
  const status = badge(run.status);
  const lasted = el('span', { class: 'lasted' });
  const error = el('span', { class: 'why' });
  const link = el('a', { href: `#/runs/${run.run_id}` },
    status,
    el('span', { class: 'agent' }, run.agent),
    el('span', { class: 'session', title: run.session_id }, run.session_id),
    el('time', { datetime: run.created_at, title: run.run_id }, clock(new Date(run.created_at))),
    lasted, error);
  return {
    node: el('li', {}, link),
    update(now) {
      setStatus(status, now.status);
      setText(error, now.error ? now.error.message : '');
      const from = now.started_at && new Date(now.started_at);
      const until = now.settled_at ? new Date(now.settled_at) : new Date();
      setText(lasted, from ? duration((until - from) / 1000) : '');
    },
  };
}
