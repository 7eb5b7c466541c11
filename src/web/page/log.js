// What a run has said and what has happened in it, from its events. Bounded: a log may be longer than a page can be.

import { clock, contentText, cut, duration, el, setText } from './dom.js';

const LONGEST_OUTPUT = 200000;
const MOST_ENTRIES = 500;
const LONGEST_DATA = 2000;

// What was said and may count.
export function outputOf() {
  const text = document.createTextNode('');
  const pane = el('pre', { class: 'output', tabindex: '0', 'aria-label': 'Output' }, text);
  const note = el('p', { class: 'hint', hidden: true });
  const empty = el('p', { class: 'empty' }, 'Nothing has been said yet.');
  const node = el('section', { class: 'card' }, el('h2', {}, 'Output'), note, empty, pane);
  let waiting = '';
  let timer = null;
  let final = false;
  let dropped = 0;
  let finished = 0;

  const flush = () => {
    clearTimeout(timer);
    timer = null;
    const atEnd = pane.scrollHeight - pane.scrollTop - pane.clientHeight < 40;
    text.appendData(waiting);
    waiting = '';
    const over = text.length - LONGEST_OUTPUT;
    if (over > 0) {
      text.deleteData(0, over);
      dropped += over;
      note.hidden = false;
      setText(note, `The first ${dropped.toLocaleString('en')} characters are not shown.`);
    }
    empty.hidden = text.length > 0;
    // Whoever has scrolled up to read is left there.
    if (atEnd) pane.scrollTop = pane.scrollHeight;
  };
  return {
    node,
    // A turn of the model that has ended is remembered by later attempts, which do not say it again.
    finish() {
      finished = dropped + text.length + waiting.length;
    },
    begin(attempt) {
      flush();
      if (final || text.length === 0) return;
      const kept = Math.max(finished - dropped, 0);
      text.deleteData(kept, text.length - kept);
      flush();
      note.hidden = false;
      setText(note, `Attempt ${attempt} goes on from what it remembers; what else was said is void.`);
    },
    add(piece) {
      if (final) return;
      waiting += piece;
      if (waiting.length > LONGEST_OUTPUT) flush();
      timer ??= setTimeout(flush, 50);
    },
    // What has come of the run counts, however it was said.
    settle(content) {
      setText(empty, 'The run ended without a word.');
      if (final || content == null) return;
      final = true;
      dropped = 0;
      note.hidden = true;
      text.data = '';
      waiting = contentText(content);
      flush();
    },
  };
}

// What has happened, in order; pieces of output are counted rather than shown.
export function timelineOf() {
  const list = el('ol', { class: 'timeline', 'aria-label': 'What has happened' });
  const note = el('p', { class: 'hint', hidden: true });
  const node = el('section', { class: 'card' }, el('h2', {}, 'Timeline'), note, list);
  let dropped = 0;
  let pieces = null;

  const push = (event, name, detail) => {
    const said = el('span', { class: 'detail' }, detail);
    const entry = el('li', { class: name === event.event ? name : 'CustomEvent' },
      el('time', { datetime: event.created_at, title: `seq ${event.seq}` }, clock(new Date(event.created_at))),
      el('span', { class: 'name' }, name), said);
    list.append(entry);
    if (list.children.length > MOST_ENTRIES) {
      list.firstElementChild.remove();
      dropped += 1;
      note.hidden = false;
      setText(note, `${dropped.toLocaleString('en')} earlier entries are not shown.`);
    }
    return said;
  };
  return {
    node,
    add(event) {
      if (event.event !== 'RunContent' && event.event !== 'ReasoningContentDelta') {
        pieces = null;
        push(event, ...wordsOf(event));
        return;
      }
      if (pieces?.of !== event.event) pieces = { of: event.event, count: 0, said: push(event, event.event, '') };
      pieces.count += 1;
      setText(pieces.said, pieces.count === 1 ? '1 piece' : `${pieces.count.toLocaleString('en')} pieces`);
    },
  };
}

// The name of an event and what there is to say about it.
function wordsOf(event) {
  const short = (content) => cut(contentText(content), LONGEST_DATA);
  switch (event.event) {
    case 'RunStarted': return [event.event, `attempt ${event.attempt}`];
    case 'RunRetrying':
      return [event.event, `after attempt ${event.attempt}, in ${duration(event.delay)}; ${event.error_type}: ${short(event.content)}`];
    case 'RunPaused': return [event.event, `for ${event.requirements.map(({ name }) => name).join(', ')}`];
    case 'ModelRequestStarted': return [event.event, `${event.model_provider} ${event.model}`];
    case 'ModelRequestCompleted': return [event.event, tokens(event)];
    case 'ToolCallStarted': return [event.event, `${event.tool.tool_name} ${short(event.tool.tool_args)}`];
    case 'ToolCallCompleted': return [event.event, `${event.tool.tool_name} ${short(event.tool.result ?? '')}`];
    case 'ToolCallError': return [event.event, short(event.error)];
    case 'CustomEvent': return [event.name, short(event.data)];
    case 'RunCompleted': return [event.event, tokens(event.metrics ?? {})];
    case 'RunCancelled': return [event.event, event.reason];
    case 'RunError': return [event.event, `${event.error_type}: ${short(event.content)}`];
    default: return [String(event.event), ''];
  }
}

function tokens({ input_tokens: read, output_tokens: written }) {
  return read || written ? `${read ?? 0} tokens in, ${written ?? 0} out` : '';
}
