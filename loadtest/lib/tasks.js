// Tasks (SEP-2663): a long call that answers with an id, which any replica knows.

import { sleep } from 'k6';
import { persistently } from './retry.js';

const POLLS = 600;
const LONGEST_INTERVAL_MS = 5000;

// A call of a client that declares tasks: the task, or the result where it was quick.
export function taskOf(answer) {
  return answer.kind === 'done' && answer.result.resultType === 'task' ? answer.result : null;
}

export function getTask(client, taskId) {
  return persistently(() => client.request('tasks/get', { taskId }));
}

export function cancelTask(client, taskId) {
  return persistently(() => client.request('tasks/cancel', { taskId }));
}

// Polls at the task's own interval until it works no longer; the result of a completed one is in its `result`.
export function waitForTask(client, { taskId, pollIntervalMs }) {
  let interval = pollIntervalMs;
  for (let poll = 0; poll < POLLS; poll += 1) {
    const answer = getTask(client, taskId);
    if (answer.kind !== 'done' || answer.result.status !== 'working') return answer;
    interval = answer.result.pollIntervalMs || interval;
    sleep(Math.min(interval, LONGEST_INTERVAL_MS) / 1000);
  }
  return { kind: 'failed', why: `the task works on after ${POLLS} polls` };
}
