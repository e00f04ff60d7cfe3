// Messages of an event stream, as far as it has come.

// An event that was cut off in the middle is no message; comments keep the connection alive and say nothing.
export function messages(text) {
  const events = text.split(/\r?\n\r?\n/);
  events.pop();
  return events.map(data).filter((it) => it !== '').map((it) => JSON.parse(it));
}

function data(event) {
  const lines = event.split(/\r?\n/).filter((line) => line.startsWith('data:'));
  return lines.map((line) => line.slice('data:'.length).replace(/^ /, '')).join('\n');
}
