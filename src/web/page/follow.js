// Follows the events of a run to its last one, over as many connections as it takes.
//
// Not by EventSource: that one cannot send a token.

import { send } from './api.js';

const SHORTEST_PAUSE = 500;
const LONGEST_PAUSE = 15000;
const LAST = new Set(['RunCompleted', 'RunCancelled', 'RunError']);

// Calls `onEvent` with each event, once and in order, and `onLine` with whether there is a connection. Returns what ends it.
export function follow(runId, onEvent, onLine) {
  const controller = new AbortController();
  const { signal } = controller;
  let last = null;
  let pause = SHORTEST_PAUSE;
  let over = false;

  const take = (event) => {
    if (last !== null && event.seq <= last) return;
    last = event.seq;
    pause = SHORTEST_PAUSE;
    over = LAST.has(event.event);
    onEvent(event);
  };

  const connect = async () => {
    const headers = last === null ? {} : { 'Last-Event-ID': String(last) };
    const response = await send(`runs/${runId}/events`, { headers, signal });
    onLine(true);
    if (response.status === 204) over = true;
    else await read(response.body, take, () => over || signal.aborted);
  };

  (async () => {
    while (!over && !signal.aborted) {
      try {
        await connect();
      } catch (error) {
        // Asking again helps against what is busy or away, and against nothing else.
        if (signal.aborted || (error.status >= 400 && error.status < 500 && error.status !== 429)) break;
      }
      if (over || signal.aborted) break;
      onLine(false);
      await new Promise((resolve) => setTimeout(resolve, pause));
      pause = Math.min(pause * 2, LONGEST_PAUSE);
    }
  })();
  return () => controller.abort();
}

// Reads the frames of an event stream; of them, only `data` matters, as it has the seq too.
async function read(body, take, isOver) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  while (!isOver()) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith('data:')) take(JSON.parse(line.slice(5)));
    }
  }
  await reader.cancel().catch(() => {});
}
