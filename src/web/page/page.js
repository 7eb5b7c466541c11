// Which view is shown: the fragment of the address says it, so that links and the back button work.

import { isTokenWanted, wantToken } from './api.js';
import { el } from './dom.js';
import { newView } from './new.js';
import { runView } from './run.js';
import { runsView } from './runs.js';

const RUN_ID = /^[0-9a-f-]{32,36}$/i;
const main = document.getElementById('main');
const noticeBox = document.getElementById('notice');
let view = null;
let shown = null;

// Says what is wrong, until it is not; `null` takes it away.
function notice(error) {
  if (error === null) {
    noticeBox.hidden = true;
    noticeBox.replaceChildren();
    return;
  }
  const text = error instanceof TypeError ? 'The service does not answer. Trying again.' : error.message;
  if (noticeBox.dataset.text === text && !noticeBox.hidden) return;
  noticeBox.dataset.text = text;
  noticeBox.replaceChildren(el('span', {}, text));
  if (isTokenWanted()) {
    const button = el('button', { type: 'button' }, 'Give a token');
    button.addEventListener('click', retry);
    noticeBox.append(button);
  }
  noticeBox.hidden = false;
}

function retry() {
  wantToken();
  shown = '';
  show();
}

function viewAt(path, parameters) {
  const [, first, second] = path.split('/');
  if (first === 'new') return { title: 'New run', tab: '#/new', ...newView(parameters) };
  if (first === 'runs' && RUN_ID.test(second)) return { title: 'Run', tab: null, ...runView(second, notice) };
  return { title: 'Runs', tab: '#/runs', ...runsView(parameters, notice) };
}

function show() {
  const [path, query] = (location.hash || '#/runs').slice(1).split('?');
  const parameters = new URLSearchParams(query);
  notice(null);
  if (path === shown && view.take) {
    view.take(parameters);
    return;
  }
  view?.stop();
  view = viewAt(path, parameters);
  document.title = `${view.title} · Greenroom`;
  for (const link of document.querySelectorAll('header nav a')) {
    link.ariaCurrent = link.getAttribute('href') === view.tab ? 'page' : null;
  }
  main.replaceChildren(view.node);
  // Whoever reads by ear or by keyboard is taken along.
  if (shown !== null) main.focus();
  shown = path;
}

document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
window.addEventListener('hashchange', show);
show();
