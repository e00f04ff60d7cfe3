// What became of each call, counted by kind: the series behind every threshold, summary and plot.

import { Counter, Trend } from 'k6/metrics';

const KINDS = {
  done: new Counter('mcp_done'),
  notice: new Counter('mcp_notices'),
  refused: new Counter('mcp_refused'),
  failed: new Counter('mcp_failed'),
  unknown: new Counter('mcp_unknown'),
};
const served = new Trend('mcp_served', true);
const turnedAway = new Trend('mcp_turned_away', true);
const resent = new Counter('mcp_resent');
const bare = new Counter('mcp_refused_bare');

// `began` makes the time that of the whole call, waits and repeats included; without it, of its last exchange.
export function count(answer, of, began) {
  const tags = { of, code: String(answer.code || 0), replica: answer.replica || 'none' };
  KINDS[answer.kind].add(1, tags);
  if (answer.kind === 'done') served.add(began ? Date.now() - began : answer.milliseconds, { of });
  if (answer.kind === 'refused') turnedAway.add(answer.milliseconds, { of });
  if (answer.attempts > 1) resent.add(answer.attempts - 1, { of });
  // Only a refusal over HTTP has headers of its own; one within a result says when to come back in its data.
  if (answer.kind === 'refused' && !answer.result && !answer.retryAfter) bare.add(1, { of });
  if (answer.kind === 'failed' || answer.kind === 'unknown') complain(of, answer);
  return answer;
}

// Counts always, but says it only a few times.
let said = 0;
function complain(of, { status, code, executed, why }) {
  if ((said += 1) <= 3) console.error(`${of}: HTTP ${status} code ${code} executed ${executed}: ${String(why).slice(0, 300)}`);
}
