// What a run has said and what has happened in it, from its events. Bounded: a log may be longer than a page can be.

import { clock, contentText, cut, duration, el, setText } from './dom.js';

const LONGEST_OUTPUT = 200000;
const MOST_ENTRIES = 500;
const LONGEST_DATA = 2000;

// The output of the attempt that counts.
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
  const clear = () => {
    waiting = '';
    dropped = 0;
    note.hidden = true;
    text.data = '';
  };
  return {
    node,
    begin(attempt) {
      if (final) return;
      clear();
      flush();
      if (attempt > 1) {
        note.hidden = false;
        setText(note, `Of attempt ${attempt}; what earlier ones said is void.`);
      }
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
      clear();
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
  switch (event.event) {
    case 'RunStarted': return [event.event, `attempt ${event.attempt}`];
    case 'RunRetrying': {
      const why = `${event.error_type}: ${event.content}`;
      return [event.event, `after attempt ${event.attempt}, in ${duration(event.delay)}; ${cut(why, LONGEST_DATA)}`];
    }
    case 'RunPaused': return [event.event, `for ${event.requirements.map(({ name }) => name).join(', ')}`];
    case 'ModelRequestStarted': return [event.event, `${event.model_provider} ${event.model}`];
    case 'ModelRequestCompleted': return [event.event, tokens(event)];
    case 'ToolCallStarted': return [event.event, `${event.tool.tool_name} ${cut(contentText(event.tool.tool_args), LONGEST_DATA)}`];
    case 'ToolCallCompleted': return [event.event, `${event.tool.tool_name} ${cut(contentText(event.tool.result ?? ''), LONGEST_DATA)}`];
    case 'ToolCallError': return [event.event, cut(event.error, LONGEST_DATA)];
    case 'CustomEvent': return [event.name, cut(contentText(event.data), LONGEST_DATA)];
    case 'RunCompleted': return [event.event, tokens(event.metrics ?? {})];
    case 'RunCancelled': return [event.event, event.reason];
    case 'RunError': return [event.event, `${event.error_type}: ${cut(event.content, LONGEST_DATA)}`];
    default: return [String(event.event), ''];
  }
}

function tokens({ input_tokens: read, output_tokens: written }) {
  return read || written ? `${read ?? 0} tokens in, ${written ?? 0} out` : '';
}
