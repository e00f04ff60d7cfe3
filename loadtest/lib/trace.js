// W3C trace context: a trace of its own for each call, its id kept beside the result.

const VERSION = '00';
const SAMPLED = '01';

export function newTrace() {
  const traceId = hex(16);
  return { traceId, traceparent: [VERSION, traceId, hex(8), SAMPLED].join('-') };
}

function hex(bytes) {
  let text = '';
  for (let i = 0; i < bytes; i += 1) text += (256 + Math.floor(Math.random() * 256)).toString(16).slice(1);
  return /^0+$/.test(text) ? hex(bytes) : text;
}
