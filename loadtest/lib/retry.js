// Sending again what may be sent again, and nothing else.

import { sleep } from 'k6';

const ATTEMPTS = 12;
const PATIENCE_MS = 40_000;
const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 5000;

// Sends until there is an answer that is final. What was refused before it ran is sent again after the wait that the
// server asks for; what may have run only with an idempotency key, under which it runs once. The last answer carries
// the number of `attempts`; its kind is never `refused` unless patience ran out.
export function persistently(send, { key } = {}) {
  const until = Date.now() + PATIENCE_MS;
  let ownWait = FIRST_WAIT_MS;
  for (let attempts = 1; ; attempts += 1) {
    const answer = send(key);
    const again = answer.kind === 'refused' || (answer.kind === 'unknown' && key !== undefined && !isFinal(answer));
    const wait = Math.max(answer.waitMs, Math.min(ownWait, LONGEST_WAIT_MS));
    if (!again || attempts === ATTEMPTS || Date.now() + wait > until) return { ...answer, attempts };
    // Those who were refused together come back apart.
    sleep((wait * (1 + Math.random() / 4)) / 1000);
    ownWait *= 2;
  }
}

// A stored outcome: the worker was interrupted in the middle, and says so for ever.
function isFinal({ result }) {
  return result !== undefined;
}
