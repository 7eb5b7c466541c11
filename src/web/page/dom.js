// Makes elements. Whatever comes from a run becomes the text of a text node, and never markup.

export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

// Leaves alone what is the same already, so that nothing flickers and nothing is announced twice.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Before something goes away: if the focus is in it, it goes to `heir`.
export function leave(node, heir) {
  if (node.contains(document.activeElement)) heir.focus();
}

export function badge(status) {
  return setStatus(el('span'), status);
}

export function setStatus(element, status) {
  element.className = `status ${status.toLowerCase()}`;
  setText(element, status);
  return element;
}

// A time as people say it, with all of it in the tooltip.
export function time(iso) {
  if (!iso) return el('span', {}, '–');
  const at = new Date(iso);
  return el('time', { datetime: iso, title: at.toString() }, clock(at));
}

export function clock(at) {
  const today = at.toDateString() === new Date().toDateString();
  const hour = at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit' });
  return today ? hour : `${at.toLocaleDateString()} ${hour}`;
}

export function duration(seconds) {
  if (seconds < 10) return `${Math.max(seconds, 0).toFixed(1)} s`;
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  if (seconds < 360000) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

// A text as it is, and anything else as JSON.
export function contentText(content) {
  return typeof content === 'string' ? content : JSON.stringify(content, null, 2);
}

export function cut(text, length) {
  return text.length > length ? `${text.slice(0, length)}…` : text;
}
