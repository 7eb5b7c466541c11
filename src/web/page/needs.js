// What a paused run waits for, as a form in which it is decided.

import { post } from './api.js';
import { contentText, cut, el, leave } from './dom.js';
import { field, once, parsed, wrong } from './form.js';

const LONGEST_DETAILS = 100000;

const TITLES = {
  confirmation: 'To be confirmed',
  user_input: 'A question',
  external_execution: 'To be executed elsewhere',
};

// Calls `decided` when the run goes on, or does not wait any more. The focus that was in the form then goes to `heir`.
export function needsOf(runId, heir, decided) {
  const node = el('section', { class: 'card needs', hidden: true });
  let shown = '';
  return {
    node,
    // What somebody has begun to write is left alone for as long as the same is asked.
    draw(requirements = []) {
      const asked = requirements.map(({ requirement_id: id }) => id).join();
      if (asked === shown) return;
      shown = asked;
      leave(node, heir);
      node.hidden = asked === '';
      node.replaceChildren(...(asked === '' ? [] : [el('h2', {}, 'The run waits for you'), formOf(runId, requirements, decided)]));
    },
  };
}

function formOf(runId, requirements, decided) {
  const parts = requirements.map(partOf);
  const button = el('button', { type: 'submit', class: 'primary' }, 'Continue the run');
  const said = el('p', { class: 'said error', role: 'alert' });
  const form = el('form', {}, parts.map(({ node }) => node), el('p', { class: 'actions' }, button), said);
  form.addEventListener('input', ({ target }) => target.removeAttribute('aria-invalid'));
  form.addEventListener('submit', once(button, said, async () => {
    try {
      await post(`runs/${runId}/continue`, { decisions: parts.map(({ read }) => read()) });
    } catch (error) {
      // Somebody else was faster, or it is too late.
      if (error.status === 409) await decided();
      throw error;
    }
    await decided();
  }));
  return form;
}

function partOf(requirement) {
  const { requirement_id: id, kind, name, details } = requirement;
  const { nodes, read } = kind === 'confirmation' ? confirmationOf(id) : answerOf(requirement);
  const node = el('fieldset', {},
    el('legend', {}, `${TITLES[kind] ?? kind}: ${name}`),
    el('pre', { tabindex: '0', 'aria-label': 'Details' }, cut(contentText(details), LONGEST_DETAILS)),
    nodes);
  return { node, read: () => ({ requirement_id: id, ...read() }) };
}

function confirmationOf(id) {
  const choice = (value, text) => {
    const radio = el('input', { type: 'radio', name: `confirmed-${id}`, value, id: `${value}-${id}`, required: true });
    return { radio, node: el('span', {}, radio, ' ', el('label', { for: radio.id }, text)) };
  };
  const yes = choice('yes', 'Confirm');
  const no = choice('no', 'Reject');
  const note = el('input', { name: 'note', autocomplete: 'off' });
  const read = () => ({ confirmed: yes.radio.checked, ...(note.value === '' ? {} : { note: note.value }) });
  return { nodes: [el('p', { class: 'check' }, yes.node, no.node), field('Note', note, 'What the agent is told beside it.')], read };
}

// A question without a form, or a result, is a text or any JSON.
function answerOf({ requirement_id: id, fields = [] }) {
  if (fields.length > 0) return fieldsOf(fields);
  const text = el('textarea', { name: 'value', rows: 4, spellcheck: 'false' });
  const json = el('input', { type: 'checkbox', name: 'json', id: `json-${id}` });
  const read = () => ({ value: json.checked ? parsed(text) : text.value });
  const check = el('p', { class: 'check' }, json, ' ', el('label', { for: json.id }, 'This is JSON'));
  return { nodes: [field('Answer', text), check], read };
}

function fieldsOf(fields) {
  const inputs = fields.map((one) => ({ ...one, control: controlOf(one) }));
  const read = () => {
    const given = inputs.filter(({ control, optional, kind }) => kind === 'boolean' || !optional || control.value !== '');
    return { value: Object.fromEntries(given.map((one) => [one.name, valueOf(one)])) };
  };
  return { nodes: inputs.map(({ name, control, optional }) => field(name, control, optional ? 'May be left empty.' : null)), read };
}

function controlOf({ name, kind, optional }) {
  const common = { name, required: !optional, autocomplete: 'off' };
  switch (kind) {
    case 'boolean': return el('input', { type: 'checkbox', name });
    case 'integer': return el('input', { ...common, inputmode: 'numeric', pattern: '[+\\-]?[0-9]+' });
    case 'number': return el('input', { ...common, type: 'number', step: 'any' });
    case 'json': return el('textarea', { ...common, rows: 4, spellcheck: 'false' });
    default: return el('input', { ...common, required: false });
  }
}

function valueOf({ control, kind }) {
  switch (kind) {
    case 'boolean': return control.checked;
    case 'integer': {
      const number = Number(control.value);
      if (!Number.isSafeInteger(number)) throw wrong(control, `${control.name} must be a whole number, and not so large.`);
      return number;
    }
    case 'number': return Number(control.value);
    case 'json': return parsed(control);
    default: return control.value;
  }
}
