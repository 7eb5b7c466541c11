// Which view is shown: the fragment of the address says it, so that links and the back button work.

import { isTokenWanted, wantToken } from './api.js';
import { el } from './dom.js';
import { newView } from './new.js';
import { runView } from './run.js';
import { runsView } from './runs.js';

const RUN_ID = /^[0-9a-f-]{32,36}$/i;
const main = document.getElementById('main');
const noticeBox = document.getElementById('notice');
let stop = () => {};
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
  const button = isTokenWanted() ? el('button', { type: 'button', onclick: retry }, 'Give a token') : null;
  noticeBox.replaceChildren(el('span', {}, text), ...(button ? [button] : []));
  noticeBox.hidden = false;
}

function retry() {
  wantToken();
  notice(null);
  show();
}

function viewAt(fragment) {
  const [path, query] = fragment.replace(/^#/, '').split('?');
  const parameters = new URLSearchParams(query);
  const [, first, second] = path.split('/');
  if (first === 'new') return { title: 'New run', tab: '#/new', ...newView(parameters) };
  if (first === 'runs' && RUN_ID.test(second)) return { title: 'Run', tab: null, ...runView(second, notice) };
  return { title: 'Runs', tab: '#/runs', ...runsView(parameters, notice) };
}

function show() {
  stop();
  notice(null);
  const view = viewAt(location.hash);
  stop = view.stop;
  document.title = `${view.title} · Greenroom`;
  for (const link of document.querySelectorAll('header nav a')) {
    if (link.getAttribute('href') === view.tab) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  main.replaceChildren(view.node);
  // Whoever reads by ear or by keyboard is taken along, but not when only a filter of the same view has changed.
  if (shown !== null && shown !== view.title) main.focus();
  shown = view.title;
}

document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
window.addEventListener('hashchange', show);
show();
