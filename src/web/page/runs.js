// The runs, newest first: how many there are, and a page of those that are asked for.

import { get, poll } from './api.js';
import { badge, clock, duration, el, leave, setStatus, setText } from './dom.js';
import { field } from './form.js';

const STATUSES = ['PENDING', 'RUNNING', 'PAUSED', 'COMPLETED', 'CANCELLED', 'ERROR'];
const PAUSE = 2000;

// What a filter is made of, and what the service calls it.
const NAMES = { status: 'status', agent: 'agent', session: 'session_id', parent: 'parent_run_id', after: 'after' };

function address(filter) {
  const query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value)).toString();
  return query ? `#/runs?${query}` : '#/runs';
}

function asked(filter) {
  const query = new URLSearchParams({ limit: '50' });
  for (const [name, value] of Object.entries(filter)) if (value) query.set(NAMES[name], value);
  return `runs?${query}`;
}

export function runsView(parameters, notice) {
  const counts = countsOf();
  const filters = filtersOf();
  const rows = new Map();
  const list = el('ol', { class: 'runs', 'aria-label': 'Runs', tabindex: '-1' });
  const empty = el('p', { class: 'empty', hidden: true });
  const newest = el('a', {}, '← Newest');
  const older = el('a', { hidden: true }, 'Older →');
  let filter = null;

  const goOn = (link, there) => {
    if (!there) leave(link, list);
    link.hidden = !there;
  };
  const draw = ({ runs, next }) => {
    const seen = new Set(runs.map((run) => run.run_id));
    for (const [id, row] of rows) {
      if (!seen.has(id)) {
        row.node.remove();
        rows.delete(id);
      }
    }
    runs.forEach((run, place) => {
      const row = rows.get(run.run_id) ?? rowOf(run);
      rows.set(run.run_id, row);
      row.update(run);
      // What is in its place already stays: a row that is moved loses the focus.
      if (list.children[place] !== row.node) list.insertBefore(row.node, list.children[place] ?? null);
    });
    setText(empty, Object.values(filter).some(Boolean) ? 'No run is like that.' : 'There is no run yet.');
    empty.hidden = runs.length > 0;
    goOn(older, next);
    if (next) older.href = address({ ...filter, after: next });
  };
  const choose = (parameters) => {
    const before = filter?.after ?? '';
    filter = Object.fromEntries(Object.keys(NAMES).map((name) => [name, parameters.get(name) ?? '']));
    counts.choose(filter);
    filters.choose(filter);
    newest.href = address({ ...filter, after: '' });
    goOn(newest, filter.after);
    if (filter.after !== before) scrollTo(0, 0);
  };

  choose(parameters);
  const ask = () => Promise.all([filter, get(asked(filter)), get('runs/counts')]);
  const polling = poll(ask, ([wanted, page, counted]) => {
    if (wanted !== filter) return;
    draw(page);
    counts.update(counted.counts);
  }, notice, PAUSE);

  const node = el('div', {}, el('h1', {}, 'Runs'), counts.node, filters.node, list, empty,
    el('nav', { class: 'pages', 'aria-label': 'Pages of runs' }, newest, older));
  return {
    node,
    // Shows other runs. All that can have the focus stays.
    take(parameters) {
      choose(parameters);
      polling.now();
    },
    stop: polling.stop,
  };
}

// A number for each status, which is also the filter by it.
function countsOf() {
  const links = STATUSES.map((status) => {
    const number = el('strong', {}, '–');
    return { status, number, link: el('a', {}, number, badge(status)) };
  });
  return {
    node: el('ul', { class: 'counts', 'aria-label': 'Runs by status' }, links.map(({ link }) => el('li', {}, link))),
    choose(filter) {
      for (const { status, link } of links) {
        const chosen = filter.status === status;
        link.href = address({ ...filter, status: chosen ? '' : status, after: '' });
        link.ariaCurrent = chosen ? 'true' : null;
      }
    },
    update(counts) {
      for (const { status, number } of links) setText(number, (counts[status] ?? 0).toLocaleString('en'));
    },
  };
}

function filtersOf() {
  const agent = el('select', { name: 'agent' }, el('option', { value: '' }, 'All agents'));
  const session = el('input', { name: 'session', type: 'search', autocomplete: 'off', spellcheck: 'false', placeholder: 'All sessions' });
  let status = '';
  const apply = () => {
    location.hash = address({ status, agent: agent.value, session: session.value.trim() });
  };
  const offer = (name) => {
    if (![...agent.options].some(({ value }) => value === name)) agent.append(el('option', { value: name }, name));
  };
  get('agents').then(({ agents }) => agents.forEach(({ name }) => offer(name))).catch(() => {});
  const node = el('form', { class: 'filters', role: 'search', 'aria-label': 'Which runs' },
    field('Agent', agent), field('Session', session),
    el('button', { type: 'submit' }, 'Filter'));
  node.addEventListener('submit', (event) => {
    event.preventDefault();
    apply();
  });
  agent.addEventListener('change', apply);
  return {
    node,
    choose(filter) {
      ({ status } = filter);
      offer(filter.agent);
      agent.value = filter.agent;
      session.value = filter.session;
    },
  };
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
