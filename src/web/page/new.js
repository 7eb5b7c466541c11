// The form for a new run.

import { get, post } from './api.js';
import { el } from './dom.js';
import { field, once, parsed } from './form.js';

// A submit that is sent twice is one run.
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export function newView(parameters) {
  let over = false;
  let key = newKey();
  const agent = el('select', { name: 'agent', required: true });
  const about = el('span', { class: 'hint' });
  const input = el('textarea', { name: 'input', rows: 6, required: true, spellcheck: 'false' });
  const json = el('input', { type: 'checkbox', name: 'json', id: 'input-is-json' });
  const session = el('input', { name: 'session_id', autocomplete: 'off', spellcheck: 'false' });
  session.value = parameters.get('session') ?? '';
  const button = el('button', { type: 'submit', class: 'primary' }, 'Submit');
  const said = el('p', { class: 'said error', role: 'alert' });
  const form = el('form', { class: 'card new' },
    field('Agent', agent), about,
    field('Input', input),
    el('p', { class: 'check' }, json, el('label', { for: json.id }, 'The input is JSON')),
    field('Session', session, 'Leave it empty for a session of its own.'),
    el('p', { class: 'actions' }, button), said);

  let agents = [];
  const describe = () => {
    about.textContent = agents.find(({ name }) => name === agent.value)?.description ?? '';
  };
  get('agents').then((answer) => {
    ({ agents } = answer);
    agent.replaceChildren(...agents.map(({ name }) => el('option', { value: name }, name)));
    const wanted = parameters.get('agent');
    if (agents.some(({ name }) => name === wanted)) agent.value = wanted;
    describe();
  }).catch((error) => { said.textContent = error.message; });
  agent.addEventListener('change', describe);
  form.addEventListener('input', ({ target }) => {
    key = newKey();
    target.removeAttribute('aria-invalid');
  });
  form.addEventListener('submit', once(button, said, async () => {
    const body = { input: json.checked ? parsed(input) : input.value };
    if (session.value !== '') body.session_id = session.value;
    try {
      const path = `agents/${encodeURIComponent(agent.value)}/runs`;
      const run = await post(path, body, { 'Idempotency-Key': `"${key}"` });
      if (!over) location.hash = `#/runs/${run.run_id}`;
    } catch (error) {
      throw Object.assign(error, { control: { input, session_id: session }[error.field] });
    }
  }));
  return { node: el('div', {}, el('h1', {}, 'New run'), form), stop() { over = true; } };
}
