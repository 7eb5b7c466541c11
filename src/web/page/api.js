// Talks to the routes beside the page: all addresses are relative, so any prefix will do.

// What the service refuses, as it says it.
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `The service answered ${status}.`);
    this.status = status;
    this.field = body.field;
  }
}

// In memory only: what is stored in a browser outlives the reason why it was stored.
let token = null;
let asking = null;
let declined = false;

// Sends a request, with the token if there is one, and asks for one if there has to be.
export async function send(path, options = {}) {
  for (;;) {
    const sent = token;
    const headers = { ...options.headers };
    if (sent !== null) headers.Authorization = `Bearer ${sent}`;
    const response = await fetch(path, { ...options, headers, cache: 'no-store' });
    if (response.ok) return response;
    const problem = new Problem(response.status, await response.json().catch(() => ({})));
    if (response.status !== 401 || declined) throw problem;
    if (sent === token && !(await askOnce(sent !== null))) throw problem;
  }
}

export async function get(path, options) {
  return (await send(path, options)).json();
}

export async function post(path, body, headers = {}) {
  const options = {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  };
  return (await send(path, options)).json();
}

export function isTokenWanted() {
  return declined;
}

export function wantToken() {
  declined = false;
}

function askOnce(wasWrong) {
  asking ??= ask(wasWrong).finally(() => { asking = null; });
  return asking;
}

function ask(wasWrong) {
  const dialog = document.getElementById('ask-token');
  const input = document.getElementById('token');
  if (wasWrong) document.getElementById('ask-token-why').textContent = 'That token did not open the door. Another one?';
  input.value = '';
  // Such a character cannot be sent at all.
  input.oninput = () => input.setCustomValidity(/[^ -\xff]/.test(input.value)
    ? 'There is a character in it that no token has, perhaps one that cannot be seen.' : '');
  dialog.returnValue = '';
  dialog.showModal();
  document.getElementById('token-later').onclick = () => dialog.close('');
  dialog.querySelector('form').onsubmit = (event) => {
    event.preventDefault();
    dialog.close('given');
  };
  return new Promise((resolve) => {
    dialog.onclose = () => {
      const given = dialog.returnValue === 'given' && input.value !== '';
      if (given) token = input.value;
      else declined = true;
      input.value = '';
      resolve(given);
    };
  });
}

// Asks again and again while somebody looks, and also `now`, and draws what is answered.
//
// Never twice at a time: an answer that comes late would be drawn over a newer one.
export function poll(ask, draw, notice, pause) {
  let timer = null;
  let busy = null;
  let next = null;
  let over = false;
  const turn = async () => {
    clearTimeout(timer);
    try {
      const answers = await ask();
      if (!over) {
        draw(answers);
        notice(null);
      }
    } catch (error) {
      if (!over) notice(error);
    }
    busy = null;
    if (!over) timer = setTimeout(look, pause);
  };
  const now = () => {
    if (over) return null;
    if (!busy) return busy = turn();
    return next ??= busy.then(() => {
      next = null;
      return now();
    });
  };
  const look = () => {
    if (!busy && !document.hidden) now();
  };
  document.addEventListener('visibilitychange', look);
  look();
  return {
    now,
    stop() {
      over = true;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', look);
    },
  };
}
