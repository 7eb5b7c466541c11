// What forms have in common.

import { el } from './dom.js';

let fields = 0;

// A label and its control, tied together.
export function field(label, control, hint) {
  fields += 1;
  control.id = `field-${fields}`;
  const said = hint ? el('span', { class: 'hint', id: `${control.id}-hint` }, hint) : null;
  if (said) control.setAttribute('aria-describedby', said.id);
  return el('div', { class: 'field' }, el('label', { for: control.id }, label), control, said);
}

// Says what is wrong with a control.
export function wrong(control, text) {
  return Object.assign(new Error(text), { control });
}

export function parsed(control) {
  try {
    return JSON.parse(control.value);
  } catch (error) {
    throw wrong(control, `This is no JSON: ${error.message}`);
  }
}

// Does what the button stands for, once at a time, and has `said` say what is wrong. A disabled button would lose the focus.
export function once(button, said, work) {
  return async (event) => {
    event.preventDefault();
    if (button.ariaDisabled) return;
    button.ariaDisabled = 'true';
    said.textContent = '';
    try {
      await work();
    } catch (error) {
      said.textContent = error.message;
      error.control?.setAttribute('aria-invalid', 'true');
      error.control?.focus();
    }
    button.ariaDisabled = null;
  };
}
